// A WebSocket server: `ws` over Node's http. Prints where it listens.
const http = require('http');
const { WebSocketServer } = require('ws');

const server = http.createServer((request, response) => response.end('ok'));
const sockets = new WebSocketServer({ server });
sockets.on('connection', (socket) => {
  socket.on('message', (data, binary) => {
    if (String(data) === 'fail') socket.close(1011, 'a fault');
    else socket.send(data, { binary });
  });
});
server.listen(0, '127.0.0.1', () => console.log(`listening 127.0.0.1:${server.address().port}`));
