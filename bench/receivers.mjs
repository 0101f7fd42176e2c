// Receivers of webhooks in a process of their own: `fork('receivers.mjs', [HEALTHY, HANGING])`. Sends the ports that answer at once, and those that never do;
// then, whenever it is asked, how many calls came, when the last one did, how long each took from the firing on, and one of the bodies.
import { createServer } from 'node:http';

const [healthy, hanging] = process.argv.slice(2).map(Number);
let seen = fresh();

function fresh() {
  return { calls: 0, lastAt: 0, took: [], body: '', hung: 0 };
}

function answer(request, response) {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString();
    seen.lastAt = Date.now();
    seen.calls++;
    const fired = /"time":"([^"]+)"/.exec(body)?.[1];
    if (fired) seen.took.push(seen.lastAt - Date.parse(fired));
    seen.body ||= body;
    response.writeHead(204).end();
  });
}

const listening = (onRequest) =>
  new Promise((resolve) => {
    const server = createServer(onRequest);
    server.keepAliveTimeout = 60_000;
    server.listen(0, '127.0.0.1', () => resolve(server.address().port));
  });

const ports = { healthy: [], hanging: [] };
for (let i = 0; i < healthy; i++) ports.healthy.push(await listening(answer));
for (let i = 0; i < hanging; i++) ports.hanging.push(await listening(() => void seen.hung++));
process.on('message', (what) => {
  if (what === 'end') process.exit();
  process.send(what === 'calls' ? seen.calls : seen);
  if (what === 'forget') seen = fresh();
});
process.send(ports);
