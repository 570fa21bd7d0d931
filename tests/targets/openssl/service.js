// The same on Node: service.js CERT KEY [NEXT [close: a connection for each call]]
const https = require('https'), fs = require('fs');
const [cert, key, next, close] = process.argv.slice(2);
const agent = new https.Agent({ keepAlive: !close, rejectUnauthorized: false });
const server = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, (q, r) => {
  const body = 'x'.repeat(+(new URL(q.url, 'https://x').searchParams.get('n') || 5));
  if (!next || !q.url.startsWith('/hop/')) { r.end(body); return; }
  const [host, port] = next.split(':');
  https.get({ host, port, path: '/leaf/' + q.url.slice(5), agent }, (x) => {
    x.resume();
    x.on('end', () => r.end(body));
  }).on('error', (e) => { r.statusCode = 500; r.end(String(e)); });
});
server.listen(0, '127.0.0.1', () => console.log(`listening 127.0.0.1:${server.address().port}`));
