import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { certificate } from '@millrace/testing/certificates';
import { eventually } from '@millrace/testing/eventually';
import { DeliveriesBed } from '@millrace/testing/deliveries-bed';
import { service } from './main.ts';
import { database } from './tables.ts';

const bed = new DeliveriesBed(service as never, database);
const answers = (onData: (socket: Socket) => void) => async () =>
  (await bed.aSocketServer((socket) => socket.once('data', () => onData(socket)))).url;
const pours = (head: string, chunk: Buffer) =>
  answers((socket) => {
    socket.write(head);
    const pour = (): void => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on('drain', pour);
    pour();
  });

/** A listener that never accepts, with its queue full: the next connection is not answered at all. */
async function unconnectable(): Promise<string> {
  const program = `const s = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    process.stdout.write(String(s.address().port), () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
  });`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [port] = (await once(child.stdout, 'data')) as [Buffer];
  const fillers = Array.from({ length: 4 }, () => connect(Number(String(port)), '127.0.0.1').on('error', () => undefined));
  onTestFinished(() => {
    for (const filler of fillers) filler.destroy();
    child.kill('SIGKILL');
  });
  await eventually(() => expect(fillers.filter(({ connecting }) => !connecting).length).toBeGreaterThanOrEqual(2));
  return `http://127.0.0.1:${String(port)}/`;
}

async function distrusted(): Promise<string> {
  const server = createTlsServer(await certificate('nobody'), (_request, response) => response.end());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const redirect = (location: string) =>
  answers((socket) => socket.end(`HTTP/1.1 302 Found\r\nlocation: ${location}\r\ncontent-length: 0\r\n\r\n`));

it.each([
  [
    'that redirects to the metadata of its cloud',
    redirect('http://169.254.169.254/latest/meta-data?token=hunter2'),
    /^answered 302: redirects are not followed$/,
  ],
  ['that redirects to itself', redirect('/'), /^answered 302: redirects are not followed$/],
  ['that answers forever', pours('HTTP/1.1 500 No\r\n\r\n', Buffer.alloc(65_536, 'x')), /^answered 500$/],
  [
    'that answers ten gigabytes',
    pours('HTTP/1.1 500 No\r\ncontent-length: 10737418240\r\n\r\n', Buffer.alloc(65_536, 'x')),
    /^answered 500$/,
  ],
  ['that sends headers forever', pours('HTTP/1.1 200 OK\r\n', Buffer.from(`x-filler: ${'y'.repeat(1_000)}\r\n`)), /header/i],
  ['that never answers', answers(() => undefined), /^no answer within 1 s$/],
  ['that hangs within its headers', answers((socket) => socket.write('HTTP/1.1 200 OK\r\nx-one: ')), /^no answer within 1 s$/],
  ['that speaks no HTTP', answers((socket) => socket.end('220 smtp.example.com ESMTP\r\n')), /Expected HTTP/],
  [
    'that speaks HTTP of another kind',
    answers((socket) => socket.end(Buffer.from('00000604000000000000040010000000', 'hex'))),
    /Expected HTTP/,
  ],
  ['that closes early', answers((socket) => socket.destroy()), /other side closed|ECONNRESET|hang up/],
  ['that lets nobody connect', unconnectable, /^no answer within 1 s$/],
  ['that is not there', async () => 'http://127.0.0.1:9/', /ECONNREFUSED/],
  ['whose name is not known', async () => 'http://nowhere.invalid/', /ENOTFOUND|EAI_AGAIN|did not answer/],
  ['with a certificate of its own', distrusted, /self-signed certificate/],
  [
    'that speaks no TLS',
    async () => `https://127.0.0.1:${new URL(bed.sink.url).port}/`,
    /wrong version number|packet length too long|EPROTO/i,
  ],
])('a receiver %s is told as that, and delays no other team', async (_title, receiver, reason) => {
  const other = await bed.aSink();
  const url = await receiver();
  await bed.trigger([bed.hook({ url, timeoutSeconds: 1 })], 'bad');
  await bed.trigger([bed.hook({ url: other.url })], 'good', 'other');
  await bed.pushTimes(3);
  const pushed = Date.now();
  await bed.push('other:latest');
  await eventually(() => expect(other.received).toHaveLength(1));

  expect((other.received[0]?.at ?? 0) - pushed).toBeLessThan(500);
  const [one] = await eventually(async () => {
    const tried = (await bed.list('trigger=bad')).filter(({ status }) => status.attempts > 0);
    expect(tried.length).toBeGreaterThan(0);
    return tried;
  });
  const { status } = await bed.get(one?.metadata.name ?? '');
  expect(status.lastAttempt?.error).toMatch(reason);
  const [attempt] = status.attemptLog ?? [];
  expect(attempt).toMatchObject({ outcome: 'retry', error: expect.stringMatching(reason), request: { method: 'POST' } });
  expect(JSON.stringify(attempt).length).toBeLessThan(6_000);
  expect(JSON.stringify(attempt)).not.toContain('hunter2');
});
