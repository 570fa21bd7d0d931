// A Node service of the accuracy harness, with Node's own modules alone.
//
// Serves the calls of a plan and makes the calls below them in the way the plan names, with
// the truth headers that tests/accuracy/target/main.go describes.
//
// --als runs each request in a frame of an AsyncLocalStorage; --express serves with Express;
// --cluster serves with two processes, which have the plan from a file.
'use strict';
const fs = require('fs');
const http = require('http');
const os = require('os');
const cluster = require('cluster');
const { AsyncLocalStorage } = require('async_hooks');

const als = new AsyncLocalStorage();
const options = process.argv.slice(2);
const kept = `${os.tmpdir()}/node-target-${cluster.isPrimary ? process.pid : process.ppid}.json`;

let plan = { services: {}, nodes: {} };
const agents = {
  pooled: new http.Agent({ keepAlive: true }),
  fresh: new http.Agent({ keepAlive: false }),
  limited: new http.Agent({ keepAlive: true, maxSockets: 4 }),
};
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// As in pg's pool, who waits is called by whoever is done, in that one's context.
const waiting = [];
let free = 4;
function queued(done, ...words) {
  const start = () => send('pooled', ...words).then(
    (status) => { next(); done(status); }, () => { next(); done(0); });
  const next = () => { if (waiting.length) waiting.shift()(); else free += 1; };
  if (free) { free -= 1; start(); } else waiting.push(start);
}

function send(transport, address, path, method, body, headers) {
  if (transport === 'queued') {
    return new Promise((done) => queued(done, address, path, method, body, headers));
  }
  if (transport === 'fetch') {
    return fetch(`http://${address}${path}`, { method, headers, body: body || undefined })
      .then((response) => response.text().then(() => response.status));
  }
  return new Promise((resolve, reject) => {
    const [host, port] = address.split(':');
    const request = http.request(
      { host, port, path, method, headers, agent: agents[transport] }, (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode));
        response.on('error', reject);
      });
    request.on('error', reject);
    request.end(body);
  });
}

async function call(transport, child, parent, pause) {
  const node = plan.nodes[child];
  if (pause) await sleep(Math.random() * pause);
  const headers = { 'X-Truth-Id': child, 'X-Truth-Parent': parent };
  const body = node.post ? 'body '.repeat(60) : '';
  const status = await send(transport, plan.services[node.service], `/call/${child}`,
    node.post ? 'POST' : 'GET', body, headers);
  if (status !== 200) throw new Error(`call ${child}: status ${status}`);
}

async function perform(node, name) {
  const pause = node.pause_ms || 0;
  if (node.mode === 'parallel') {
    await Promise.all(node.calls.map((child) => call(node.transport, child, name, pause)));
    return;
  }
  for (const child of node.calls) await call(node.transport, child, name, pause);
}

async function respond(path, body) {
  if (path === '/load') {
    if (cluster.isWorker) fs.writeFileSync(kept, body);
    plan = JSON.parse(body);
    return [200, String(Object.keys(plan.nodes).length)];
  }
  if (path === '/pending') return [200, '0 0'];
  const name = path.slice('/call/'.length);
  if (cluster.isWorker && !plan.nodes[name]) plan = JSON.parse(fs.readFileSync(kept));
  const node = plan.nodes[name];
  if (!node) return [404, 'no such call in the plan'];
  if (node.sleep_ms) await sleep(node.sleep_ms);
  try {
    await perform(node, name);
  } catch (error) {
    console.error(`call ${name}: ${error}`);
    return [500, String(error)];
  }
  return [200, name];
}

function handle(request, response) {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', async () => {
    const [status, text] = await respond(request.url, Buffer.concat(parts).toString());
    response.writeHead(status, { 'Content-Length': Buffer.byteLength(text) });
    response.end(text);
  });
}

const inFrame = (request, response) => als.run({ url: request.url }, handle, request, response);
const serve = options.includes('--als') ? inFrame : handle;
let app = serve;
if (options.includes('--express')) {
  app = require('express')();
  app.use((request, response) => serve(request, response));
}
if (options.includes('--cluster') && cluster.isPrimary) {
  let waiting = 2;
  cluster.on('listening', (_, address) => {
    waiting -= 1;
    if (waiting === 0) console.log(`listening 127.0.0.1:${address.port}`);
  });
  process.on('SIGTERM', () => {
    fs.rmSync(kept, { force: true });
    process.exit(0);
  });
  for (let n = 0; n < 2; n += 1) cluster.fork();
} else {
  const server = http.createServer(app);
  server.listen(0, '127.0.0.1', 1024, () => {
    if (cluster.isPrimary) console.log(`listening 127.0.0.1:${server.address().port}`);
  });
}
