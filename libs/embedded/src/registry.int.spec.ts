import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { startRegistry, type RegistryOptions, type RegistryServer } from './registry.ts';

interface Notification {
  headers: IncomingHttpHeaders;
  action: string;
  tag: string | undefined;
}

let dataDir: string;
let server: RegistryServer;
let sink: Server;
const received: Notification[] = [];

const start = async (options: Partial<RegistryOptions> = {}): Promise<void> => {
  const url = `http://127.0.0.1:${(sink.address() as AddressInfo).port}/hooks/distribution`;
  server = await startRegistry({
    dataDir,
    notifications: [{ name: 'millrace', url, headers: { Authorization: 'Bearer hook' } }],
    ...options,
  });
};

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'millrace-registry-'));
  sink = createServer((request, response) => {
    void text(request).then((body) => {
      const { events } = JSON.parse(body) as { events: { action: string; target: { tag?: string } }[] };
      for (const { action, target } of events) received.push({ headers: request.headers, action, tag: target.tag });
      response.end();
    });
  }).listen(0, '127.0.0.1');
  await once(sink, 'listening');
  await start();
}, 180_000);
beforeEach(() => void received.splice(0));
afterAll(async () => {
  await server.stop();
  sink.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const digestOf = (body: string): string => `sha256:${createHash('sha256').update(body).digest('hex')}`;
const call = (path: string, init: RequestInit = {}): Promise<Response> => fetch(`${server.url}/v2/${path}`, init);

async function upload(repository: string, body: string): Promise<{ digest: string; size: number }> {
  const begun = await call(`${repository}/blobs/uploads/`, { method: 'POST' });
  const location = new URL(begun.headers.get('location') ?? '', server.url);
  location.searchParams.set('digest', digestOf(body));
  const put = await fetch(location, { method: 'PUT', body, headers: { 'content-type': 'application/octet-stream' } });
  expect(put.status).toBe(201);
  return { digest: digestOf(body), size: body.length };
}

async function push(repository: string, tag: string, content: string): Promise<string> {
  const config = {
    mediaType: 'application/vnd.oci.image.config.v1+json',
    ...(await upload(repository, JSON.stringify({ config: { Labels: { content } } }))),
  };
  const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar', ...(await upload(repository, content)) };
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [layer] });
  const put = await call(`${repository}/manifests/${tag}`, { method: 'PUT', body: manifest, headers: { 'content-type': MANIFEST } });
  expect(put.status).toBe(201);
  return digestOf(manifest);
}
const pull = (repository: string, tag: string): Promise<Response> =>
  call(`${repository}/manifests/${tag}`, { headers: { accept: MANIFEST } });

describe('the embedded registry', () => {
  it('takes a push and gives it back', async () => {
    const digest = await push('test/python', 'one', 'layer of one');

    const answer = await pull('test/python', 'one');

    expect(answer.headers.get('docker-content-digest')).toBe(digest);
    expect(digestOf(await answer.text())).toBe(digest);
  });

  it('reports the push of a tag with the given headers, and neither pulls nor layers', async () => {
    await push('test/python', 'two', 'layer of two');
    await (await pull('test/python', 'two')).text();
    await push('test/python', 'three', 'layer of three');

    // Reports come in order: whatever came before the last push is here with it.
    await vi.waitFor(
      () =>
        expect(received.map(({ action, tag }) => [action, tag])).toEqual([
          ['push', 'two'],
          ['push', 'three'],
        ]),
      { timeout: 5_000 },
    );
    expect(received[0]?.headers).toMatchObject({ authorization: 'Bearer hook' });
  });

  it('deletes a manifest and reports it', async () => {
    const digest = await push('test/gone', 'latest', 'layer of gone');

    const answer = await call(`test/gone/manifests/${digest}`, { method: 'DELETE' });

    expect(answer.status).toBe(202);
    expect((await pull('test/gone', 'latest')).status).toBe(404);
    await vi.waitFor(() => expect(received.map(({ action }) => action)).toContain('delete'), { timeout: 5_000 });
  });

  it('keeps images over a SIGKILL', async () => {
    const digest = await push('test/kept', 'latest', 'layer of kept');

    await server.kill();
    await start({ port: server.port });

    expect((await pull('test/kept', 'latest')).headers.get('docker-content-digest')).toBe(digest);
  });

  it('reports pulls too where that is wanted', async () => {
    await server.stop();
    await start({ ignorePulls: false });

    await (await pull('test/kept', 'latest')).text();

    await vi.waitFor(() => expect(received.map(({ action }) => action)).toContain('pull'), { timeout: 5_000 });
  });

  it('asks for the users of an htpasswd file', async () => {
    const htpasswd = join(dataDir, 'htpasswd');
    // "builder" with password "secret".
    writeFileSync(htpasswd, 'builder:$2b$04$9WApY/pgR6aFSo6CFPZn8usvcVciiaDWGiYJEQrpbLUY3da4ohPb.\n');
    await server.stop();
    await start({ htpasswd });

    expect((await call('')).status).toBe(401);
    expect((await call('', { headers: { authorization: `Basic ${btoa('builder:wrong')}` } })).status).toBe(401);
    expect((await call('', { headers: { authorization: `Basic ${btoa('builder:secret')}` } })).status).toBe(200);
  });

  it('keeps its configuration, which holds the headers, to its owner', () => {
    expect(statSync(join(dataDir, 'config.yml')).mode & 0o777).toBe(0o600);
  });
});
