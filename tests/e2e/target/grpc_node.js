// gRPC by grpc-js, as grpc_echo.py: `serve`, or `call ADDRESS` for the lines of standard input.
const readline = require('readline');
const grpc = require('@grpc/grpc-js');

const same = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/shop.Echo/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same,
  responseSerialize: same, responseDeserialize: same,
});
const service = {
  Unary: method('Unary', false, false), Fail: method('Fail', false, false),
  Hang: method('Hang', false, false), List: method('List', false, true),
  Chat: method('Chat', true, true),
};

function serve() {
  const server = new grpc.Server();
  server.addService(service, {
    Unary: (call, done) => done(null, call.request),
    Fail: (call, done) => done({ code: grpc.status.NOT_FOUND, details: 'no such thing' }),
    Hang: () => {},
    List: (call) => {
      for (let i = 0; i < 5; i++) call.write(Buffer.alloc(15000, 'x'));
      call.end();
    },
    Chat: (call) => {
      call.on('data', (bytes) => call.write(bytes));
      call.on('end', () => call.end());
    },
  });
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    console.log(`listening 127.0.0.1:${port}`);
  });
}

function one(client, name) {
  return new Promise((resolve) => {
    const deadline = new Date(Date.now() + (name === 'Hang' ? 500 : 20000));
    const failed = (error) => resolve(error ? `${name} ${error.message}` : '');
    if (name === 'List' || name === 'Chat') {
      const call = name === 'List' ? client.List(Buffer.from('hello'), { deadline })
        : client.Chat({ deadline });
      call.on('data', () => {});
      call.on('error', failed);
      call.on('end', () => resolve(''));
      if (name === 'Chat') {
        for (const word of ['a', 'b', 'c']) call.write(Buffer.from(word));
        call.end();
      }
    } else if (service[name]) {
      client[name](Buffer.from('hello'), { deadline }, failed);
    } else {
      client.makeUnaryRequest(`/shop.Echo/${name}`, same, same, Buffer.from('x'), failed);
    }
  });
}

function call(address) {
  const Client = grpc.makeGenericClientConstructor(service, 'Echo');
  const client = new Client(address, grpc.credentials.createInsecure());
  console.log(`listening ${address}`);
  readline.createInterface({ input: process.stdin }).on('line', async (line) => {
    const [, name, times] = line.split(' ');
    const said = await Promise.all(Array.from({ length: Number(times) }, () => one(client, name)));
    said.filter(Boolean).forEach((words) => console.log(words.split('\n')[0]));
    console.log('done');
  }).on('close', () => process.exit(0));
}

if (process.argv[2] === 'serve') serve();
else call(process.argv[3]);
