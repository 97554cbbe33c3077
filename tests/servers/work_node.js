// A Node server that calls a database, a cache and another service as the path says, and writes down what it did.
//
// PORT LOG POSTGRES REDIS OTHER: its port, a file, two ports and a URL. `pg` and `redis` come from NODE_PATH.

const fs = require('fs');
const http = require('http');
const { Pool } = require('pg');
const redis = require('redis');

const [port, logFile, postgres, redisPort, other] = process.argv.slice(2);
// As many as there are requests at once: none waits for a connection.
const database = new Pool({ host: '127.0.0.1', port: +postgres, user: 'postgres', max: 40 });
const cache = redis.createClient({ socket: { port: +redisPort } });
const agent = new http.Agent({ keepAlive: true, maxSockets: 40 });
const now = () => Number(process.hrtime.bigint());

const ask = () => new Promise((resolve, reject) => {
  http.get(other, { agent }, (answer) => {
    answer.resume();
    answer.on('end', resolve);
  }).on('error', reject);
});

const server = http.createServer(async (request, response) => {
  const [, , databases, caches, externals] = request.url.split('/');
  const calls = [];
  const timed = async (kind, call) => {
    const began = now();
    await call;
    calls.push([kind, began, now()]);
  };
  for (let turn = 0; turn < Math.max(databases, caches, externals); turn++) {
    if (turn < databases) await timed('database', database.query('SELECT pg_sleep(0.005)'));
    if (turn < caches) await timed('cache', cache.get(`key${turn}`));
    if (turn < externals) await timed('external', ask());
  }
  fs.appendFileSync(logFile, JSON.stringify({ id: request.headers['x-request-id'], calls }) + '\n');
  response.end('done');
});

cache.connect().then(() => server.listen(+port, '127.0.0.1'));
