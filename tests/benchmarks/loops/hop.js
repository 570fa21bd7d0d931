// A Node service for the benchmark: /hello answers, /hop asks the service that -next names.
'use strict';
const http = require('http');

const place = process.argv.indexOf('-next');
const next = place < 0 ? '' : process.argv[place + 1];
const agent = new http.Agent({ keepAlive: true });

function answer(response, status, text) {
  response.writeHead(status, { 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

const server = http.createServer((request, response) => {
  if (request.url !== '/hop') {
    answer(response, 200, 'hello\n');
    return;
  }
  http.get(`${next}/hello`, { agent }, (reply) => {
    reply.resume();
    reply.on('end', () => answer(response, reply.statusCode, 'hopped\n'));
  }).on('error', (error) => answer(response, 502, String(error)));
});
server.listen(0, '127.0.0.1', 1024, () => {
  console.log(`listening 127.0.0.1:${server.address().port}`);
});
