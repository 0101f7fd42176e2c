// What a Node.js TLS server can do at best: answers every path with the bytes that it was given for it. `node bare-server.mjs FILE`, a JSON file of
// {key, cert, answers: {PATH: BASE64}}; prints its port.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';

const { key, cert, answers } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const bodies = new Map(Object.entries(answers).map(([path, body]) => [path, Buffer.from(body, 'base64')]));
const server = createServer({ key, cert }, (request, response) => {
  const body = bodies.get(request.url);
  response.writeHead(body ? 200 : 404, { 'content-type': 'application/json', 'content-length': body?.length ?? 0 });
  response.end(body);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
