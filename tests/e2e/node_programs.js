// A Fastify service that calls in the ways of Node's libraries, with names that tell the request.
//
//   node_programs.js redis PORT SLEEP_MS
//   node_programs.js pg PORT SLEEP_MS PASSWORD
//   node_programs.js fetch|http|https|worker URL SLEEP_MS
//   node_programs.js leaf CERTIFICATE KEY
//
// /N makes three calls named after N: the first by itself, then two at once. SLEEP_MS: at most so
// long before each of them. Prints `listening HOST:PORT`; a leaf prints its TLS port as well.
'use strict';
const fs = require('fs');
const http = require('http');
const https = require('https');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

function get(module, agent, url) {
  return new Promise((resolve, reject) => {
    module.get(url, { agent, rejectUnauthorized: false }, (reply) => {
      reply.resume();
      reply.on('end', resolve);
    }).on('error', reject);
  });
}

function leaf(certificate, key) {
  const answer = (request, response) => setTimeout(() => response.end('ok'), Math.random() * 4);
  const pair = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
  const plain = http.createServer(answer).listen(0, '127.0.0.1', 1024, () => {
    const secure = https.createServer(pair, answer).listen(0, '127.0.0.1', 1024, () => {
      console.log(`listening 127.0.0.1:${plain.address().port}`);
      console.log(secure.address().port);
    });
  });
}

function work() { // a thread that calls for others
  const agent = new http.Agent({ keepAlive: true });
  parentPort.on('message', async ([id, name]) => {
    await get(http, agent, `${workerData}/${name}`);
    parentPort.postMessage(id);
  });
}

const few = { keepAlive: true, maxSockets: 4 };
const libraries = {
  redis(port) {
    const client = new (require('ioredis'))(Number(port), '127.0.0.1', { lazyConnect: true });
    return (name) => client.get(name);
  },
  pg(port, password) {
    const { Pool } = require('pg');
    const pool = new Pool({
      host: '127.0.0.1', port: Number(port), user: 'postgres', password, max: 4,
    });
    return (name) => pool.query(`SELECT 1 AS "${name}"`);
  },
  fetch: (url) => (name) => fetch(`${url}/${name}`).then((reply) => reply.text()),
  http(url) {
    const agent = new http.Agent(few);
    return (name) => get(http, agent, `${url}/${name}`);
  },
  https(url) {
    const agent = new https.Agent(few);
    return (name) => get(https, agent, `${url}/${name}`);
  },
  worker(url) {
    const worker = new Worker(__filename, { workerData: url });
    const waiting = new Map();
    let handed = 0;
    worker.on('message', (id) => waiting.get(id)());
    return (name) => new Promise((done) => {
      handed += 1;
      waiting.set(handed, done);
      worker.postMessage([handed, name]);
    });
  },
};

async function serve(kind, place, pause, ...more) {
  const call = libraries[kind](place, ...more);
  const ask = async (name) => {
    if (Number(pause)) await new Promise((done) => setTimeout(done, Math.random() * pause));
    await call(name);
  };
  const app = require('fastify')();
  app.get('/:number', async (request) => {
    const { number } = request.params;
    await ask(`id-${number}`);
    await Promise.all([ask(`id-${number}-a`), ask(`id-${number}-b`)]);
    return number;
  });
  console.log(`listening ${(await app.listen({ port: 0, host: '127.0.0.1' })).slice(7)}`);
}

const words = process.argv.slice(2);
if (!isMainThread) work();
else if (words[0] === 'leaf') leaf(words[1], words[2]);
else serve(...words);
