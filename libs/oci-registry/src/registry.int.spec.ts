import { once } from 'node:events';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, connect, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { type RegistryServer, startRegistry } from '@millrace/embedded/registry';
import { aTokenServer, type TokenServer } from '@millrace/testing/token-server';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { describeImage } from './image.ts';
import { digestOf, mediaTypes } from './manifest.ts';
import { Registries } from './registries.ts';
import { type CandidateCredentials, RegistryClient } from './registry.ts';

const builder = { username: 'builder', password: 'secret' };

let directory: string;
let registry: RegistryServer;
let counter: { server: Server; connections: number };
let client: RegistryClient;
let address: string;

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'millrace-registry-'));
  registry = await startRegistry({ dataDir: directory, port: 0 });
  counter = await countingProxy(registry.port);
  address = `127.0.0.1:${(counter.server.address() as AddressInfo).port}`;
  client = new RegistryClient({ registry: address, insecure: true });
});

afterAll(async () => {
  await client?.close();
  counter?.server.close();
  await registry?.stop();
  await rm(directory, { recursive: true, force: true });
});

describe('with Distribution', () => {
  it('a pushed image is described completely', async () => {
    const pushed = await pushImage('team/app', { tag: 'v1', architecture: 'arm64' });

    expect(await client.headManifest('team/app', 'v1')).toEqual({
      digest: pushed.digest,
      mediaType: mediaTypes.ociManifest,
      size: pushed.size,
    });
    expect((await describeImage(client, 'team/app', 'v1')).image).toEqual({
      metadata: { name: pushed.digest, annotations: { 'image.openshift.io/dockerLayersOrder': 'ascending' } },
      dockerImageReference: `${address}/team/app@${pushed.digest}`,
      dockerImageMetadata: {
        kind: 'DockerImage',
        apiVersion: 'image.openshift.io/1.0',
        Id: pushed.config.digest,
        Created: '2026-01-02T03:04:05Z',
        ContainerConfig: {},
        Config: { Env: ['A=1'] },
        Architecture: 'arm64',
        Size: pushed.config.size + pushed.layer.size,
      },
      dockerImageMetadataVersion: '1.0',
      dockerImageLayers: [{ name: pushed.layer.digest, size: pushed.layer.size, mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' }],
      dockerImageManifestMediaType: mediaTypes.ociManifest,
    });
  });

  it('a moved tag gives the new digest, and the old one stays readable', async () => {
    const first = await pushImage('team/moving', { tag: 'latest', architecture: 'amd64' });
    const second = await pushImage('team/moving', { tag: 'latest', architecture: 's390x' });

    expect((await client.headManifest('team/moving', 'latest')).digest).toBe(second.digest);
    expect((await client.getManifest('team/moving', first.digest)).digest).toBe(first.digest);
  });

  it('an index brings its images', async () => {
    const images = [await pushImage('team/multi', { architecture: 'amd64' }), await pushImage('team/multi', { architecture: 'ppc64le' })];
    const manifests = images.map(({ digest, size, architecture }) => ({
      mediaType: mediaTypes.ociManifest,
      digest,
      size,
      platform: { architecture, os: 'linux' },
    }));
    const digest = await putManifest('team/multi', 'all', mediaTypes.ociIndex, {
      schemaVersion: 2,
      mediaType: mediaTypes.ociIndex,
      manifests,
    });

    const { image, children, missingChildren } = await describeImage(client, 'team/multi', 'all');

    expect(image).toMatchObject({ metadata: { name: digest }, dockerImageManifestMediaType: mediaTypes.ociIndex });
    expect(children.map((child) => child.dockerImageMetadata.Architecture)).toEqual(['amd64', 'ppc64le']);
    expect(missingChildren).toEqual([]);
  });

  it('tags are listed in whatever order and pages the registry gives them', async () => {
    for (const tag of ['a', 'b', 'c', 'd', 'e']) await pushImage('team/tags', { tag, architecture: 'amd64' });

    const all = await client.listTags('team/tags', { pageSize: 2 });
    const some = await client.listTags('team/tags', { pageSize: 2, maxTags: 3 });

    expect({ ...all, tags: all.tags.toSorted() }).toEqual({ tags: ['a', 'b', 'c', 'd', 'e'], truncated: false });
    expect(some).toEqual({ tags: all.tags.slice(0, 3), truncated: true });
  });

  it('what is not there is not found', async () => {
    await expect(client.headManifest('team/app', 'nope')).rejects.toMatchObject({ code: 'not-found' });
    await expect(client.getManifest('team/app', 'nope')).rejects.toMatchObject({ code: 'not-found', registryCode: 'MANIFEST_UNKNOWN' });
    await expect(client.listTags('nobody/nothing')).rejects.toMatchObject({ code: 'not-found', registryCode: 'NAME_UNKNOWN' });
    await expect(client.getBlob('team/app', `sha256:${'0'.repeat(64)}`)).rejects.toMatchObject({
      code: 'not-found',
      registryCode: 'BLOB_UNKNOWN',
    });
  });

  it('a check of a tag says that it is unchanged, or where it has moved to', async () => {
    const first = await pushImage('team/checked', { tag: 'latest', architecture: 'amd64' });
    expect(await client.checkTag('team/checked', 'latest', first.digest)).toEqual({ kind: 'unchanged', digest: first.digest });

    const second = await pushImage('team/checked', { tag: 'latest', architecture: 'arm64' });
    const head = { digest: second.digest, mediaType: mediaTypes.ociManifest, size: second.size };
    expect(await client.checkTag('team/checked', 'latest', first.digest)).toEqual({ kind: 'moved', head });
    expect(await client.checkTag('team/checked', 'latest', undefined)).toEqual({ kind: 'moved', head });
    await expect(client.checkTag('team/checked', 'gone', first.digest)).rejects.toMatchObject({ code: 'not-found' });
  });

  it('a thousand questions in a row need a handful of connections', async () => {
    await pushImage('team/busy', { tag: 'v1', architecture: 'amd64' });
    await client.headManifest('team/busy', 'v1');
    const before = counter.connections;

    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let request = 0; request < 125; request++) await client.headManifest('team/busy', 'v1');
      }),
    );

    expect(counter.connections - before).toBeLessThanOrEqual(16);
  });
});

describe('with Distribution that asks for users', () => {
  let guarded: RegistryServer;
  let at: string;

  beforeAll(async () => {
    const htpasswd = path.join(directory, 'htpasswd');
    // "builder" with password "secret".
    await writeFile(htpasswd, 'builder:$2b$04$9WApY/pgR6aFSo6CFPZn8usvcVciiaDWGiYJEQrpbLUY3da4ohPb.\n');
    guarded = await startRegistry({ dataDir: path.join(directory, 'guarded'), port: 0, htpasswd });
    at = `http://127.0.0.1:${guarded.port}`;
  });

  afterAll(() => guarded?.stop());

  it.each<[string, string, CandidateCredentials]>([
    ['nobody', 'credentials-missing', undefined],
    ['somebody else', 'credentials-refused', { username: 'other', password: 'secret' }],
    ['a wrong password, and nobody after it,', 'credentials-refused', [{ username: 'builder', password: 'wrong' }, undefined]],
    ['the right password', 'not-found', builder],
    ['the right one among others', 'not-found', [{ username: 'other', password: 'secret' }, undefined, builder]],
  ])('%s is told %s', async (_title, code, credentials) => {
    const one = new RegistryClient({ registry: at, credentials });

    await expect(one.getManifest('team/none', 'v1')).rejects.toMatchObject({ code });
    await one.close();
  });
});

describe('with Distribution that trusts a token server', () => {
  let tokens: TokenServer;
  let trusting: RegistryServer;
  let registries: Registries;
  let digest: string;

  beforeAll(async () => {
    tokens = await aTokenServer({
      users: { builder: 'secret', stranger: 'secret' },
      identityTokens: { 'identity-1': 'builder' },
      mayPull: (account, repository) => account === 'builder' || repository.startsWith('public/'),
    });
    // Pushed to the open registry; the other one has a copy of its storage.
    for (const repository of ['team/app', 'public/app'])
      digest = (await pushImage(repository, { tag: 'v1', architecture: 'amd64' })).digest;
    const rootCertificates = path.join(directory, 'token-server.pem');
    await writeFile(rootCertificates, tokens.certificate);
    const dataDir = path.join(directory, 'trusting');
    await cp(path.join(directory, 'storage'), path.join(dataDir, 'storage'), { recursive: true });
    const { realm, service, issuer } = tokens;
    trusting = await startRegistry({ dataDir, port: 0, tokenServer: { realm, service, issuer, rootCertificates } });
  });

  beforeEach(() => {
    tokens.asked.length = 0;
    registries = new Registries();
  });

  afterEach(() => registries.close());

  afterAll(async () => {
    await trusting?.stop();
    await tokens?.close();
  });

  const clientOf = (credentials?: CandidateCredentials) =>
    registries.client({ registry: `http://127.0.0.1:${trusting.port}`, credentials });

  it('one token serves all who ask at the same time, and all after them', async () => {
    const asks = Array.from({ length: 100 }, () => clientOf(builder).headManifest('team/app', 'v1'));
    for (const head of await Promise.all(asks)) expect(head.digest).toBe(digest);
    for (const credentials of [builder, [builder, undefined]]) await clientOf(credentials).checkTag('team/app', 'v1', digest);

    expect(tokens.asked).toEqual([{ account: 'builder', grant: 'basic', scopes: ['repository:team/app:pull'] }]);
  });

  it('nobody may pull what is public, and nothing else', async () => {
    expect(await clientOf().headManifest('public/app', 'v1')).toMatchObject({ digest });
    await expect(clientOf().headManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'unauthorized', status: 401 });
  });

  it('an identity token is exchanged with OAuth2', async () => {
    const identity = { username: '00000000-0000-0000-0000-000000000000', password: '', identityToken: 'identity-1' };
    expect(await clientOf(identity).headManifest('team/app', 'v1')).toMatchObject({ digest });

    const stale = { ...identity, identityToken: 'identity-0' };
    await expect(clientOf(stale).headManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'credentials-refused' });
    expect(tokens.asked.map(({ grant }) => grant)).toEqual(['refresh_token', 'refresh_token']);
  });

  it('a registry token is shown as it is', async () => {
    const registryToken = tokens.token('builder', ['repository:team/app:pull']);

    expect(await clientOf({ username: '', password: '', registryToken }).headManifest('team/app', 'v1')).toMatchObject({ digest });
    expect(tokens.asked).toEqual([]);
  });

  it('several credentials are tried in order, and the one that worked is remembered for the repository', async () => {
    const wrong = { username: 'builder', password: 'old' };
    const stranger = { username: 'stranger', password: 'secret' };
    const one = clientOf([wrong, stranger, builder, undefined]);

    for (let n = 0; n < 3; n++) expect(await one.headManifest('team/app', 'v1')).toMatchObject({ digest });
    expect(tokens.asked.map(({ account }) => account)).toEqual(['builder', 'stranger', 'builder']);

    await expect(clientOf([wrong, stranger]).headManifest('team/app', 'v1')).rejects.toMatchObject({
      code: 'credentials-refused',
      message: expect.stringContaining('incorrect username or password'),
    });
  });
});

async function pushImage(repository: string, { tag, architecture }: { tag?: string; architecture: string }) {
  const layer = await putBlob(repository, gzipSync(Buffer.alloc(2000, architecture)));
  const config = await putBlob(
    repository,
    Buffer.from(
      JSON.stringify({
        architecture,
        os: 'linux',
        created: '2026-01-02T03:04:05.6Z',
        config: { Env: ['A=1'] },
        rootfs: { type: 'layers', diff_ids: [] },
      }),
    ),
  );
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, ...config },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', ...layer }],
  };
  const digest = await putManifest(repository, tag ?? digestOf(Buffer.from(JSON.stringify(manifest))), mediaTypes.ociManifest, manifest);
  return { digest, size: JSON.stringify(manifest).length, architecture, config, layer };
}

async function putBlob(repository: string, bytes: Buffer): Promise<{ digest: string; size: number }> {
  const digest = digestOf(bytes);
  const upload = await fetch(`http://${address}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
  const location = new URL(upload.headers.get('location') ?? '', `http://${address}`);
  location.searchParams.set('digest', digest);
  const stored = await fetch(location, {
    method: 'PUT',
    body: new Uint8Array(bytes),
    headers: { 'content-type': 'application/octet-stream' },
  });
  expect(stored.status).toBe(201);
  return { digest, size: bytes.length };
}

async function putManifest(repository: string, reference: string, mediaType: string, manifest: object): Promise<string> {
  const body = JSON.stringify(manifest);
  const stored = await fetch(`http://${address}/v2/${repository}/manifests/${reference}`, {
    method: 'PUT',
    body,
    headers: { 'content-type': mediaType },
  });
  expect(stored.status).toBe(201);
  return stored.headers.get('docker-content-digest') ?? '';
}

/** Passes everything on and counts connections: Distribution itself does not say how many it was given. */
async function countingProxy(port: number): Promise<{ server: Server; connections: number }> {
  const proxy = {
    connections: 0,
    server: createServer((inner) => {
      proxy.connections++;
      const outer = connect(port, '127.0.0.1');
      inner.on('error', () => outer.destroy());
      outer.on('error', () => inner.destroy());
      inner.pipe(outer).pipe(inner);
    }).listen(0, '127.0.0.1'),
  };
  await once(proxy.server, 'listening');
  return proxy;
}
