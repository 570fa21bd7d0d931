// Asks itself in three frames of AsyncLocalStorage, with collections of garbage in between.
'use strict';
const http = require('http');
const { AsyncLocalStorage } = require('async_hooks');

const als = new AsyncLocalStorage();
const agent = new http.Agent({ keepAlive: true });
let port = 0;

const ask = (path) => new Promise((resolve, reject) => {
  http.get({ port, path, agent, host: '127.0.0.1' }, (response) => {
    response.resume();
    response.on('end', resolve);
  }).on('error', reject);
});

async function work(name) {
  for (let n = 0; n < 8; n += 1) {
    await ask(`/of-${name}`);
    if (name === 'a') gc(n > 3 ? undefined : { type: 'minor' });
  }
}

const server = http.createServer(async (request, response) => {
  if (request.url === '/start') {
    await Promise.all(['a', 'b', 'c'].map((name) => als.run({ name }, work, name)));
  }
  response.end('done');
});
server.listen(0, '127.0.0.1', () => {
  port = server.address().port;
  console.log(`listening 127.0.0.1:${port}`);
});
