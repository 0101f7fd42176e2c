import { once } from 'node:events';
import { request as httpsRequest } from 'node:https';
import { connect as tcp, type Socket } from 'node:net';
import { connect as tls } from 'node:tls';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ImageStreams } from '@millrace/contracts/resources';
import type { RunningService } from '@millrace/platform/service';
import { aNatsServer } from '@millrace/testing/servers';
import { anApi, type Api } from './fixture-api.ts';
import { anOwner, type MapOwner } from './fixture-owner.ts';

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let api: Api;
let owner: MapOwner;
let service: RunningService;
const streams = '/apis/image.openshift.io/v1/namespaces/hostile/imagestreams';

beforeAll(async () => {
  nats = await aNatsServer();
  ({ owner, service } = await anOwner('tag-store', nats.url));
  api = await anApi(nats.url, { BODY_LIMIT_BYTES: '100000' });
  owner.put(ImageStreams, { metadata: { name: 'calm', namespace: 'hostile' } });
});
afterAll(async () => {
  await api?.stop();
  await service?.stop();
  await nats?.stop();
});

const post = (body: string | Buffer, type = 'application/json', headers: Record<string, string> = {}) =>
  api.call(streams, { method: 'POST', body, headers: { 'content-type': type, ...headers } });

/** Whoever else asks is served, and soon. */
async function othersAreServed(): Promise<void> {
  const before = performance.now();
  expect((await api.call(`${streams}/calm`)).status).toBe(200);
  expect(performance.now() - before).toBeLessThan(1_000);
}

/** What the server says on a raw TLS connection before it closes it. */
async function raw(write: (socket: Socket) => void): Promise<string> {
  const socket = tls({ host: '127.0.0.1', port: api.running.port, ca: api.ca, servername: 'localhost' });
  await once(socket, 'secureConnect');
  let said = '';
  socket.setEncoding('utf8').on('data', (text: string) => (said += text));
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  write(socket);
  await closed;
  return said;
}

describe('a body', () => {
  it('that is too large is 413, by its length and without one', async () => {
    const large = Buffer.alloc(150_000, 0x20);

    expect((await post(large)).json).toMatchObject({ kind: 'Status', code: 413, reason: 'RequestEntityTooLarge' });
    const chunked = httpsRequest(api.options(streams, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } }));
    chunked.on('error', () => undefined);
    chunked.end(large);
    const [response] = (await once(chunked, 'response')) as [{ statusCode: number; resume: () => void }];
    expect(response.statusCode).toBe(413);
    response.resume();
    await othersAreServed();
  });

  it('nested a thousand levels deep is refused', async () => {
    for (const deep of ['['.repeat(40_000), `${'{"a":'.repeat(1_000)}1${'}'.repeat(1_000)}`])
      expect((await post(deep)).json).toMatchObject({ code: 400, message: 'the body is nested more than 128 levels deep' });
    expect((await post('- '.repeat(20_000), 'application/yaml')).status).toBe(400);
    await othersAreServed();
  });

  it('of YAML that grows by aliases is refused', async () => {
    const levels = Array.from({ length: 12 }, (_, i) => `l${i + 1}: &l${i + 1} [${Array(9).fill(`*l${i}`).join(', ')}]`);

    expect((await post(`l0: &l0 [x, x]\n${levels.join('\n')}\n`, 'application/yaml')).json).toMatchObject({
      code: 400,
      reason: 'BadRequest',
    });
    await othersAreServed();
  });

  it('that is packed is refused', async () => {
    expect((await post(gzipSync('{}'), 'application/json', { 'content-encoding': 'gzip' })).json).toMatchObject({ code: 415 });
  });

  it.each([
    ['{bad json', `json parse error: invalid character 'b' looking for beginning of object key string ({bad json)`],
    ['', 'json parse error: unexpected end of JSON input (<empty>)'],
    ['{"a":', 'json parse error: unexpected end of JSON input ({"a":)'],
    ['{"a" 1}', `json parse error: invalid character '1' after object key ({"a" 1})`],
    ['{"a":1 x}', `json parse error: invalid character 'x' after object key:value pair ({"a":1 x})`],
    ['[1 2]', `json parse error: invalid character '2' after array element (5b3120325d)`],
    ['{} x', `json parse error: invalid character 'x' after top-level value ({} x)`],
  ])('%j is refused in the words of Go', async (body, words) => {
    expect((await post(body)).json).toMatchObject({
      code: 400,
      reason: 'BadRequest',
      message: `the object provided is unrecognized (must be of type ImageStream): couldn't get version/kind; ${words}`,
    });
  });

  it.each([
    ['a list', '[]', /no JSON object/],
    ['null', 'null', /no JSON object/],
    ['a NUL character', String.raw`{"metadata":{"name":"a\u0000"}}`, /NUL/],
    ['half of a surrogate pair', String.raw`{"metadata":{"name":"\ud800"}}`, /surrogate/],
    [
      'another kind',
      '{"kind":"Image"}',
      /Image in version "v1" cannot be handled as a ImageStream: converting \(v1.Image\) to \(image.ImageStream\)/,
    ],
    [
      'another version',
      '{"apiVersion":"v1"}',
      /the API version in the data \(v1\) does not match the expected API version \(image.openshift.io\/v1\)/,
    ],
    ['another namespace', '{"metadata":{"namespace":"x"}}', /the namespace of the provided object does not match/],
    ['metadata that is none', '{"metadata":7}', /Go struct field ImageStream.metadata of type v1.ObjectMeta$/],
  ])('with %s is 400', async (_, body, message) => {
    expect((await post(body)).json).toMatchObject({ code: 400, reason: 'BadRequest', message: expect.stringMatching(message) });
  });

  it('in YAML that only begins like JSON is read to its end', async () => {
    expect((await post(`{metadata: {name: it"s}}`, 'application/yaml')).status).toBeLessThan(500);
    await othersAreServed();
  });

  it('in YAML with an anchor that holds itself is 400', async () => {
    expect((await post('a: &a [*a]', 'application/yaml')).json).toMatchObject({
      code: 400,
      message: expect.stringMatching(/yaml parse error: Converting circular structure/),
    });
  });

  it.each(['text/plain', 'application/vnd.kubernetes.protobuf', 'multipart/form-data', 'x'])('of type %s is 415', async (type) => {
    expect((await post('x', type)).json).toMatchObject({ code: 415, reason: 'UnsupportedMediaType' });
  });

  it('with a __proto__ changes no prototype', async () => {
    const patch = '{"__proto__":{"polluted":1},"metadata":{"__proto__":{"polluted":1}}}';
    const headers = { 'content-type': 'application/merge-patch+json' };

    await api.call(`${streams}/calm`, { method: 'PATCH', body: patch, headers });

    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it('of a JSON patch that doubles the object is stopped', async () => {
    const copies = Array.from({ length: 40 }, (_, i) => ({ op: 'copy', from: '/metadata', path: `/metadata/copy${i}` }));
    const headers = { 'content-type': 'application/json-patch+json' };

    const answer = await api.call(`${streams}/calm`, { method: 'PATCH', body: JSON.stringify(copies), headers });

    expect(answer.json).toMatchObject({ code: 413 });
    await othersAreServed();
  });
});

describe('a URL', () => {
  it.each(['/apis/image.openshift.io/v1/namespaces/a%zz/imagestreams', '/%', `${streams}/%ff%fe`, `${streams}/a%00b`, `${streams}/a%0Ab`])(
    '%s is 400',
    async (path) => {
      expect((await api.call(path)).json).toMatchObject({ kind: 'Status', code: 400, reason: 'BadRequest' });
    },
  );

  it('with odd queries is answered', async () => {
    for (const query of ['?%zz=1', '?=', '?&&&', '?limit=abc', '?limit=99999999999999999999', '?fieldValidation=%00'])
      expect([200, 400]).toContain((await api.call(`${streams}${query}`)).status);
    expect((await api.call(`${streams}?limit=abc`)).json.message).toBe('strconv.ParseInt: parsing "abc": invalid syntax');
  });

  it('climbs nowhere', async () => {
    for (const path of ['/apis/../metrics', '/apis//v1', `${streams}/..%2f..%2fx`, '/apis/image.openshift.io/v1/namespaces//imagestreams'])
      expect((await api.call(path)).status).toBe(404);
  });
});

describe('a client', () => {
  it('with endless headers is told so and cut off', async () => {
    const said = await raw((socket) => {
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n');
      for (let i = 0; i < 320; i++) socket.write(`X-${i}: ${'y'.repeat(100)}\r\n`);
    });

    expect(said).toMatch(/^HTTP\/1.1 431 /);
    expect(JSON.parse(said.slice(said.indexOf('{')))).toMatchObject({ kind: 'Status', code: 431 });
    await othersAreServed();
  });

  it('that speaks no HTTP is told so', async () => {
    expect(await raw((socket) => socket.write('HELLO\r\n\r\n'))).toMatch(/^HTTP\/1.1 400 Bad Request\r\n[^]*"kind":"Status"/);
  });

  it('that speaks no TLS, or breaks off within it, harms nobody', async () => {
    for (const words of ['GET / HTTP/1.1\r\n\r\n', '\u0016\u0003\u0001', 'x'.repeat(10_000)]) {
      const socket = tcp(api.running.port, '127.0.0.1');
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      socket.end(words);
      await once(socket, 'close');
    }
    await othersAreServed();
  });

  it('that sends its body drop by drop holds nobody up', async () => {
    const slow = httpsRequest(api.options(streams, { method: 'POST', headers: { 'content-length': '1000' } }));
    slow.on('error', () => undefined);
    slow.write('{');

    await othersAreServed();
    slow.destroy();
  });

  it('that goes away in the middle of an answer harms nobody', async () => {
    for (let i = 0; i < 20; i++) {
      const sent = httpsRequest(api.options(streams, {}));
      sent.on('error', () => undefined);
      sent.end();
      setImmediate(() => sent.destroy());
    }
    await othersAreServed();
  });

  it('without a token may not even send a body', async () => {
    const answer = await api.call(streams, { method: 'POST', body: Buffer.alloc(99_000), token: null });

    expect(answer.status).toBe(403);
  });
});
