import 'reflect-metadata'; // the certificate generator needs it first
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { BlockedAddress } from '@millrace/domain/address';
import * as x509 from '@peculiar/x509';
import { buildConnector } from 'undici';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { digestOf, mediaTypes } from './manifest.ts';
import { RegistryClient, type RegistryOptions } from './registry.ts';
import { type Script, ScriptedRegistry } from './scripted-registry.ts';

const config = { mediaType: mediaTypes.ociConfig, digest: `sha256:${'c'.repeat(64)}`, size: 2 };
const content = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [] };
const body = Buffer.from(JSON.stringify(content));
const digest = digestOf(body);
const otherDigest = `sha256:${'0'.repeat(64)}`;
const secret = { username: 'puller', password: 'pw:123' };
const secretHeader = `Basic ${Buffer.from('puller:pw:123').toString('base64')}`;

let registry: ScriptedRegistry;
let elsewhere: ScriptedRegistry;
const clients: RegistryClient[] = [];

beforeAll(async () => {
  elsewhere = await ScriptedRegistry.start();
});

beforeEach(async () => {
  await registry?.close();
  registry = await ScriptedRegistry.start();
  elsewhere.requests.length = 0;
  registry.manifest('team/app', content, { tag: 'v1' });
});

afterAll(async () => {
  await Promise.all([registry.close(), elsewhere.close()]);
  await Promise.all(clients.map((each) => each.close()));
});

function client(options: Partial<RegistryOptions> = {}): RegistryClient {
  const made = new RegistryClient({ registry: `http://${registry.address}`, timeoutMs: 2_000, ...options });
  clients.push(made);
  return made;
}

const manifestPath = '/v2/team/app/manifests/v1';
const manifestHeaders = { 'content-type': mediaTypes.ociManifest, 'docker-content-digest': digest };

describe('getManifest', () => {
  it('asks for all kinds but schema 1 in one request and gives the bytes, the digest and the content', async () => {
    const manifest = await client({ userAgent: 'millrace/test' }).getManifest('team/app', 'v1');

    expect(manifest).toEqual({
      digest,
      mediaType: mediaTypes.ociManifest,
      body,
      json: content,
      content: { kind: 'image', config, layers: [], annotations: {} },
    });
    expect(registry.requests).toMatchObject([
      { method: 'GET', url: manifestPath, headers: { 'user-agent': 'millrace/test', 'accept-encoding': 'identity' } },
    ]);
    expect(registry.requests[0]?.headers.accept?.split(', ').toSorted()).toEqual(
      [mediaTypes.ociIndex, mediaTypes.ociManifest, mediaTypes.dockerManifest, mediaTypes.dockerManifestList].toSorted(),
    );
  });

  it('hashes the body where the registry tells no digest', async () => {
    registry.on(manifestPath, { headers: { 'content-type': mediaTypes.ociManifest }, body });

    expect(await client().getManifest('team/app', 'v1')).toMatchObject({ digest });
  });

  it.each(['sha256', 'sha384', 'sha512'])('verifies a %s reference and keeps it as the digest', async (algorithm) => {
    const good = `${algorithm}:${createHash(algorithm).update(body).digest('hex')}`;
    const bad = good.replace(/:.*/, (hex) => `:${'1'.repeat(hex.length - 1)}`);
    for (const reference of [good, bad]) registry.on(`/v2/team/app/manifests/${reference}`, { headers: manifestHeaders, body });

    expect(await client().getManifest('team/app', good)).toMatchObject({ digest: good });
    await expect(client().getManifest('team/app', bad)).rejects.toMatchObject({ code: 'digest-mismatch' });
  });

  it.each<[string, string, Script]>([
    ['the digest asked for', otherDigest, { headers: { 'content-type': mediaTypes.ociManifest }, body }],
    ['the digest that the registry tells', 'v1', { headers: { ...manifestHeaders, 'docker-content-digest': otherDigest }, body }],
  ])('refuses content that is not %s', async (_title, reference, script) => {
    registry.on(`/v2/team/app/manifests/${reference}`, script);

    await expect(client().getManifest('team/app', reference)).rejects.toMatchObject({ code: 'digest-mismatch', retryable: false });
  });

  const index = {
    schemaVersion: 2,
    manifests: [{ mediaType: mediaTypes.ociManifest, digest, size: 1, platform: { architecture: 'arm64', os: 'linux' } }],
  };

  it.each([
    ['application/json', content, mediaTypes.ociManifest, 'image'],
    ['', content, mediaTypes.ociManifest, 'image'],
    [`${mediaTypes.ociManifest}; charset=utf-8`, content, mediaTypes.ociManifest, 'image'],
    [mediaTypes.dockerManifest, { ...content, mediaType: undefined }, mediaTypes.dockerManifest, 'image'],
    ['text/plain', { ...content, mediaType: undefined }, mediaTypes.ociManifest, 'image'],
    ['application/octet-stream', index, mediaTypes.ociIndex, 'index'],
    [mediaTypes.dockerManifestList, index, mediaTypes.dockerManifestList, 'index'],
    [mediaTypes.ociIndex, { ...index, mediaType: mediaTypes.dockerManifestList }, mediaTypes.dockerManifestList, 'index'],
  ])(
    'served as %j takes the media type from the content, then the header, then the shape (%#)',
    async (contentType, json, mediaType, kind) => {
      registry.manifest('team/app', json, { tag: 'v1', mediaType: contentType });

      expect(await client().getManifest('team/app', 'v1')).toMatchObject({ mediaType, content: { kind } });
    },
  );

  it.each([
    ['application/vnd.docker.distribution.manifest.v1+prettyjws', { schemaVersion: 1, fsLayers: [] }, 'unsupported-manifest'],
    ['application/vnd.docker.distribution.manifest.v1+json', { schemaVersion: 1 }, 'unsupported-manifest'],
    ['application/json', { schemaVersion: 1, fsLayers: [] }, 'unsupported-manifest'],
    [
      'application/vnd.oci.artifact.manifest.v1+json',
      { mediaType: 'application/vnd.oci.artifact.manifest.v1+json' },
      'unsupported-manifest',
    ],
    ['application/json', {}, 'unsupported-manifest'],
    [mediaTypes.ociIndex, content, 'malformed'],
    [mediaTypes.ociManifest, { ...index, mediaType: mediaTypes.ociIndex }, 'malformed'],
    [mediaTypes.ociManifest, { ...content, manifests: [] }, 'malformed'],
    [mediaTypes.ociManifest, [], 'malformed'],
    [mediaTypes.ociManifest, { schemaVersion: 2, layers: [] }, 'malformed'],
    [mediaTypes.ociManifest, { ...content, config: { ...config, digest: '../../etc' } }, 'malformed'],
    [mediaTypes.ociIndex, { schemaVersion: 2, manifests: {} }, 'malformed'],
  ])('served as %s refuses %j: %s', async (mediaType, json, code) => {
    registry.manifest('team/app', json, { tag: 'v1', mediaType });

    await expect(client().getManifest('team/app', 'v1')).rejects.toMatchObject({ code, retryable: false });
  });

  it('says that schema 1 is refused, whatever its digest', async () => {
    const mediaType = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
    registry.on(manifestPath, {
      headers: { 'content-type': mediaType, 'docker-content-digest': otherDigest },
      body: '{"schemaVersion":1}',
    });

    await expect(client().getManifest('team/app', 'v1')).rejects.toThrow(/:v1: unsupported image manifest type: Docker schema 1/);
    await expect(client().headManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'unsupported-manifest' });
  });

  it.each([
    ['Team/app', 'v1'],
    ['../app', 'v1'],
    ['team//app', 'v1'],
    ['team/app/../../x', 'v1'],
    ['team/app?x', 'v1'],
    ['a'.repeat(256), 'v1'],
    ['team/app', ''],
    ['team/app', '../v1'],
    ['team/app', 'a b'],
    ['team/app', 'v1?x=1'],
    ['team/app', 'md5:0123456789abcdef0123456789abcdef'],
  ])('sends nothing for %j and %j', async (repository, reference) => {
    await expect(client().getManifest(repository, reference)).rejects.toMatchObject({ code: 'invalid-reference' });
    expect(registry.requests).toEqual([]);
  });
});

describe('headManifest', () => {
  it('needs one request', async () => {
    expect(await client().headManifest('team/app', 'v1')).toEqual({ digest, mediaType: mediaTypes.ociManifest, size: body.length });
    expect(registry.requests.map(({ method }) => method)).toEqual(['HEAD']);
  });

  it.each<[string, Script]>([
    ['no digest', { headers: { 'content-type': mediaTypes.ociManifest }, body }],
    ['a digest that is none', { headers: { ...manifestHeaders, 'docker-content-digest': 'latest' }, body }],
    ['no media type', { headers: { 'docker-content-digest': digest }, body }],
    ['no length', (request, response) => response.writeHead(200, manifestHeaders).end(request.method === 'GET' ? body : undefined)],
    [
      '405',
      (request, response) =>
        request.method === 'HEAD' ? response.writeHead(405).end() : response.writeHead(200, manifestHeaders).end(body),
    ],
  ])('asks with GET when HEAD answers %s', async (_title, script) => {
    registry.on(manifestPath, script);

    expect(await client().headManifest('team/app', 'v1')).toEqual({ digest, mediaType: mediaTypes.ociManifest, size: body.length });
    expect(registry.requests.map(({ method }) => method)).toEqual(['HEAD', 'GET']);
  });

  it('takes a length of several MiB, which is only announced', async () => {
    registry.on(manifestPath, (_request, response) => response.writeHead(200, { ...manifestHeaders, 'content-length': '3000000' }).end());

    expect(await client().headManifest('team/app', 'v1')).toMatchObject({ size: 3_000_000 });
  });

  it('notices when the registry answers with another digest than asked for', async () => {
    registry.on(`/v2/team/app/manifests/${otherDigest}`, { headers: manifestHeaders, body });

    await expect(client().headManifest('team/app', otherDigest)).rejects.toMatchObject({ code: 'digest-mismatch' });
  });

  it('keeps connections for requests in a row', async () => {
    const one = client();

    for (let request = 0; request < 20; request++) await one.headManifest('team/app', 'v1');

    expect(registry.connections).toBeLessThanOrEqual(2);
  });

  it('is not confused by a body that should not be there', async () => {
    registry.on(manifestPath, (request) => {
      const head = `HTTP/1.1 200 OK\r\ncontent-type: ${mediaTypes.ociManifest}\r\ndocker-content-digest: ${digest}\r\ncontent-length: ${body.length}\r\n\r\n`;
      request.socket.write(head + body.toString());
    });
    const one = client();

    for (let request = 0; request < 5; request++) expect(await one.headManifest('team/app', 'v1')).toMatchObject({ digest });
  });

  it('asks again when a kept connection breaks under it, once', async () => {
    registry.on(manifestPath, (request, response) => {
      if (registry.requests.length === 2) request.socket.destroy();
      else response.writeHead(200, { ...manifestHeaders, 'content-length': body.length }).end();
    });
    const one = client();
    await one.headManifest('team/app', 'v1');

    expect(await one.headManifest('team/app', 'v1')).toMatchObject({ digest });
    registry.on(manifestPath, (request) => request.socket.destroy());
    await expect(one.headManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'unreachable', retryable: true });
    expect(registry.requests).toHaveLength(5);
  });
});

describe('getBlob', () => {
  const blob = Buffer.from('{"architecture":"amd64"}');

  it('gives bytes that match the digest and nothing else', async () => {
    const good = registry.blob('team/app', blob);
    registry.on(`/v2/team/app/blobs/${otherDigest}`, { body: blob });

    expect(await client().getBlob('team/app', good)).toEqual(blob);
    await expect(client().getBlob('team/app', otherDigest)).rejects.toMatchObject({ code: 'digest-mismatch' });
    await expect(client().getBlob('team/app', 'v1')).rejects.toMatchObject({ code: 'invalid-reference' });
  });

  it('refuses one byte more than allowed', async () => {
    const good = registry.blob('team/app', blob);

    expect(await client().getBlob('team/app', good, blob.length)).toEqual(blob);
    await expect(client().getBlob('team/app', good, blob.length - 1)).rejects.toMatchObject({ code: 'too-large' });
  });

  it('follows the registry to its storage, without the credentials', async () => {
    const good = digestOf(blob);
    registry.on(`/v2/team/app/blobs/${good}`, (request, response) => {
      if (request.headers.authorization !== secretHeader) response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
      else response.writeHead(307, { location: `http://${elsewhere.address}/bucket/x?signature=abc` }).end();
    });
    elsewhere.on('/bucket/x', { body: blob });

    expect(await client({ credentials: secret }).getBlob('team/app', good)).toEqual(blob);
    expect(elsewhere.requests).toMatchObject([{ url: '/bucket/x?signature=abc' }]);
    expect(elsewhere.requests[0]?.headers).not.toHaveProperty('authorization');
  });
});

describe('listTags', () => {
  const list = '/v2/team/app/tags/list';
  const pages = (link: (last: number) => string, count: number) => {
    registry.on(list, (request, response) => {
      const last = Number(new URL(request.url ?? '', 'http://r').searchParams.get('last') ?? 0);
      const more = last + 1 < count ? { link: link(last + 1) } : {};
      response.writeHead(200, more).end(JSON.stringify({ name: 'team/app', tags: [`t${last}`] }));
    });
  };

  it.each([
    ['relative', (last: number) => `</v2/team/app/tags/list?last=${last}&n=1>; rel="next"`],
    ['absolute', (last: number) => `<http://${registry.address}/v2/team/app/tags/list?last=${last}>; rel=next`],
    ['to an inner host', (last: number) => `<http://10.0.0.1:8080/v2/team/app/tags/list?last=${last}>; rel="next"`],
    ['without the repository prefix', (last: number) => `</v2/app/tags/list?last=${last}>; rel="next"`],
    ['among others', (last: number) => `</docs>; rel="help", <?last=${last}>; title="x"; rel="next"`],
  ])('follows links that are %s', async (_title, link) => {
    pages(link, 4);

    expect(await client().listTags('team/app')).toEqual({ tags: ['t0', 't1', 't2', 't3'], truncated: false });
    expect(registry.requests).toHaveLength(4);
  });

  it('goes on over a page without tags', async () => {
    registry.on(list, (request, response) => {
      if (request.url?.includes('last=')) response.end('{"tags":["a"]}');
      else response.writeHead(200, { link: '<?last=x>; rel="next"' }).end('{"tags":null}');
    });

    expect(await client().listTags('team/app')).toEqual({ tags: ['a'], truncated: false });
  });

  it('ends when the links lead in a circle, go on for ever, or there are too many tags', async () => {
    registry.on(list, { headers: { link: '<?last=same>; rel="next"' }, body: { tags: ['a'] } });
    expect(await client().listTags('team/app')).toEqual({ tags: ['a'], truncated: true });

    pages((last) => `<?last=${last}>; rel="next"`, Infinity);
    expect(await client().listTags('team/app', { maxPages: 7 })).toMatchObject({ tags: { length: 7 }, truncated: true });
    expect(await client().listTags('team/app', { maxTags: 3 })).toMatchObject({ tags: { length: 3 }, truncated: true });
  });

  it('ends with what it has when the pages take too long', async () => {
    let now = 0;
    pages((last) => {
      now += 12_000;
      return `<?last=${last}>; rel="next"`;
    }, Infinity);

    const listed = await client({ now: () => now }).listTags('team/app', { withinMs: 60_000 });

    expect(listed).toMatchObject({ tags: { length: 5 }, truncated: true });
  });

  it('leaves out repeated tags and text that is no tag', async () => {
    registry.on(list, { body: { tags: ['a', 'a', '../x', 'b c', '-x', 'x'.repeat(129), 'b'] } });

    expect(await client().listTags('team/app')).toEqual({ tags: ['a', 'b'], truncated: false });
  });

  it.each(['[]', 'null', '', '<html>', '{"tags":"a"}', '{"tags":[1]}'])('refuses %j', async (text) => {
    registry.on(list, { body: text });

    await expect(client().listTags('team/app')).rejects.toMatchObject({ code: 'malformed' });
  });

  it('tells an unknown repository', async () => {
    registry.on(list, { status: 404, body: { errors: [{ code: 'NAME_UNKNOWN', message: 'repository name not known to registry' }] } });

    await expect(client().listTags('team/app')).rejects.toMatchObject({
      code: 'not-found',
      registryCode: 'NAME_UNKNOWN',
      message: `GET tags of ${registry.address}/team/app: 404 NAME_UNKNOWN: repository name not known to registry`,
    });
  });
});

describe('authentication', () => {
  const challenge = (more = '') => `Bearer realm="http://${elsewhere.address}/token",service="reg",scope="repository:team/app:pull"${more}`;
  let issued: number;
  let lifetime: number | undefined;
  let valid: Set<string>;

  /** The registry takes the tokens that the token server on another host gives to the right credentials. */
  beforeEach(() => {
    issued = 0;
    lifetime = undefined;
    valid = new Set();
    elsewhere.on('/token', (request, response) => {
      if (request.headers.authorization && request.headers.authorization !== secretHeader) {
        response.writeHead(401).end('{"details":"incorrect username or password"}');
        return;
      }
      const token = `token-${++issued}`;
      valid.add(`Bearer ${token}`);
      response.end(JSON.stringify({ [issued % 2 ? 'token' : 'access_token']: token, expires_in: lifetime }));
    });
    registry.on(manifestPath, (request, response) => {
      if (valid.has(request.headers.authorization ?? '')) response.writeHead(200, manifestHeaders).end(body);
      else
        response
          .writeHead(401, { 'www-authenticate': challenge() })
          .end('{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}');
    });
  });

  it('with a token asks its server once, for the service and scope of the challenge', async () => {
    const one = client({ credentials: secret });

    for (let request = 0; request < 3; request++) await one.getManifest('team/app', 'v1');

    expect(elsewhere.requests).toMatchObject([
      { url: '/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull', headers: { authorization: secretHeader } },
    ]);
    expect(registry.requests.map(({ headers }) => headers.authorization)).toEqual([
      undefined,
      'Bearer token-1',
      'Bearer token-1',
      'Bearer token-1',
    ]);
  });

  it('without credentials asks for an anonymous token', async () => {
    await client().getManifest('team/app', 'v1');

    expect(elsewhere.requests[0]?.headers).not.toHaveProperty('authorization');
  });

  it('asks for one token for fifty requests at the same time', async () => {
    const one = client({ credentials: secret });

    await Promise.all(Array.from({ length: 50 }, () => one.getManifest('team/app', 'v1')));

    expect(issued).toBe(1);
  });

  it.each([
    ['60 s unless said otherwise', undefined, 53_000, 1],
    ['60 s unless said otherwise', undefined, 61_000, 2],
    ['as long as said', 3600, 3_000_000, 1],
    ['as long as said', 3600, 3_600_000, 2],
  ])('keeps a token %s', async (_title, expires, passed, tokens) => {
    lifetime = expires;
    let now = 0;
    const one = client({ now: () => now });
    await one.getManifest('team/app', 'v1');

    now = passed;
    await one.getManifest('team/app', 'v1');

    expect(issued).toBe(tokens);
  });

  it('gets a new token when the registry takes the kept one no longer', async () => {
    const one = client();
    await one.getManifest('team/app', 'v1');

    valid.clear();
    await one.getManifest('team/app', 'v1');

    expect(issued).toBe(2);
  });

  it('shares tokens among clients of the same credentials, and not with others', async () => {
    const one = client({ credentials: secret });
    await one.getManifest('team/app', 'v1');
    await one.withCredentials({ ...secret }).getManifest('team/app', 'v1');
    expect(issued).toBe(1);

    await one.withCredentials(undefined).getManifest('team/app', 'v1');
    expect(issued).toBe(2);
    await expect(one.withCredentials({ username: 'puller', password: 'wrong' }).getManifest('team/app', 'v1')).rejects.toMatchObject({
      code: 'credentials-refused',
    });
  });

  it('gives up on a registry that takes no token, after a second one at most', async () => {
    registry.on(manifestPath, { status: 401, headers: { 'www-authenticate': challenge(',error="invalid_token"') } });
    const one = client({ credentials: secret });

    await expect(one.getManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'unauthorized', status: 401 });
    expect(registry.requests).toHaveLength(2);
    await expect(one.getManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'unauthorized' });
    expect(registry.requests.length).toBeLessThanOrEqual(5);
  });

  it('gives up on a registry that asks for Bearer and Basic in turns', async () => {
    registry.on(manifestPath, (request, response) => {
      const isBasic = request.headers.authorization?.startsWith('Basic');
      response.writeHead(401, { 'www-authenticate': isBasic ? challenge() : 'Basic realm="r"' }).end();
    });

    await expect(client({ credentials: secret }).getManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'unauthorized' });
    expect(registry.requests).toHaveLength(3);
  });

  it('with Basic sends the credentials from the second request on', async () => {
    registry.on(manifestPath, (request, response) => {
      if (request.headers.authorization === secretHeader) response.writeHead(200, manifestHeaders).end(body);
      else response.writeHead(401, { 'www-authenticate': 'Basic realm="Artifactory Realm"' }).end();
    });
    const one = client({ credentials: secret });

    await one.getManifest('team/app', 'v1');
    await one.getManifest('team/app', 'v1');

    expect(registry.requests).toHaveLength(3);
    await expect(client().getManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'credentials-missing' });
    await expect(client({ credentials: { username: 'puller', password: 'wrong' } }).getManifest('team/app', 'v1')).rejects.toMatchObject({
      code: 'credentials-refused',
    });
  });

  it('takes Bearer where both are offered', async () => {
    registry.on(manifestPath, (request, response) => {
      if (valid.has(request.headers.authorization ?? '')) response.writeHead(200, manifestHeaders).end(body);
      else response.writeHead(401, { 'www-authenticate': ['Basic realm="r"', challenge()] }).end();
    });

    expect(await client().getManifest('team/app', 'v1')).toMatchObject({ digest });
  });

  it('makes up the scope that the challenge leaves out, and splits several', async () => {
    registry.on(manifestPath, (request, response) => {
      if (valid.has(request.headers.authorization ?? '')) response.writeHead(200, manifestHeaders).end(body);
      else response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${elsewhere.address}/token?account=x"` }).end();
    });
    registry.on('/v2/team/app/tags/list', { status: 401, headers: { 'www-authenticate': challenge().replace('pull"', 'pull aws"') } });

    await client().getManifest('team/app', 'v1');
    await client()
      .listTags('team/app')
      .catch(() => undefined);

    expect(elsewhere.requests.map(({ url }) => url)).toEqual([
      '/token?account=x&scope=repository%3Ateam%2Fapp%3Apull',
      '/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull&scope=aws',
    ]);
  });

  it.each<[string, Script, object]>([
    ['429', { status: 429, headers: { 'retry-after': '7' } }, { code: 'rate-limited', retryAfterMs: 7_000 }],
    ['503', { status: 503 }, { code: 'server-error', retryable: true }],
    ['403', { status: 403 }, { code: 'credentials-refused' }],
    ['404', { status: 404 }, { code: 'not-found' }],
    ['no token', { body: {} }, { code: 'malformed' }],
    ['an empty token', { body: { token: '' } }, { code: 'malformed' }],
    ['a token with a line break', { body: { token: 'a\r\nx: y' } }, { code: 'malformed' }],
    ['a page', { body: '<html>' }, { code: 'malformed' }],
    ['a token of a megabyte', { body: { token: 'x'.repeat(1_000_000) } }, { code: 'too-large' }],
    ['nothing for ever', () => undefined, { code: 'timeout', retryable: true }],
  ])('reports a token server that answers %s', async (_title, script, error) => {
    elsewhere.on('/token', script);

    await expect(client({ credentials: secret, timeoutMs: 300 }).getManifest('team/app', 'v1')).rejects.toMatchObject(error);
  });

  it('does not send the credentials on when the token server redirects elsewhere', async () => {
    elsewhere.on('/token', { status: 302, headers: { location: `http://${registry.address}/steal` } });

    await client({ credentials: secret })
      .getManifest('team/app', 'v1')
      .catch(() => undefined);

    const stolen = registry.requests.find(({ url }) => url.startsWith('/steal'));
    expect(stolen).toBeDefined();
    expect(stolen?.headers).not.toHaveProperty('authorization');
  });

  it('gives no credentials to the target of a redirect that asks for them', async () => {
    registry.on(manifestPath, { status: 307, headers: { location: `http://${elsewhere.address}/evil` } });
    elsewhere.on('/evil', { status: 401, headers: { 'www-authenticate': 'Basic realm="mine"' } });

    await expect(client({ credentials: secret }).getManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'unauthorized' });
    expect(elsewhere.requests).toHaveLength(1);
  });

  it('writes no credential, token or signature into an error', async () => {
    registry.on('/v2/team/app/tags/list', { status: 307, headers: { location: `ftp://u:p@${elsewhere.address}/x?signature=abc` } });
    const one = client({ credentials: secret });
    await one.getManifest('team/app', 'v1');

    const error: Error = await one.listTags('team/app').then(
      () => new Error('no error'),
      (thrown: Error) => thrown,
    );

    expect(error.message).toContain(`redirected by http://${registry.address}`);
    expect(JSON.stringify([error.message, error.stack, error])).not.toMatch(/signature|pw:123|token-1|u:p|cHVsbGVy/);
  });
});

describe('a registry that misbehaves', () => {
  const big = Buffer.alloc(5 * 1024 * 1024, 0x20);

  it.each<[string, Script, object]>([
    ['says nothing', () => undefined, { code: 'timeout', retryable: true }],
    ['sends a byte now and then', (_request, response) => void response.writeHead(200, manifestHeaders).write('{'), { code: 'timeout' }],
    ['drips', (_request, response) => drip(response), { code: 'timeout' }],
    ['closes at once', (request) => request.socket.destroy(), { code: 'unreachable', retryable: true }],
    [
      'stops in the middle',
      (_request, response) => truncate(response, { 'content-length': '1000' }),
      { code: 'unreachable', retryable: true },
    ],
    ['stops in the middle of chunks', (_request, response) => truncate(response, {}), { code: 'unreachable', retryable: true }],
    ['talks no HTTP', (request) => void request.socket.end('SSH-2.0-OpenSSH_9.2\r\n\r\n'), { code: 'malformed' }],
    [
      'has endless headers',
      (request) => void request.socket.end(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`),
      { code: 'malformed' },
    ],
    ['announces 5 MiB', { headers: manifestHeaders, body: big }, { code: 'too-large', retryable: false }],
    ['sends 5 MiB unannounced', (_request, response) => response.writeHead(200, manifestHeaders).end(big), { code: 'too-large' }],
    ['never ends', (_request, response) => pour(response), { code: 'too-large' }],
    ['sends a bomb', { headers: { ...manifestHeaders, 'content-encoding': 'gzip' }, body: gzipSync(big) }, { code: 'malformed' }],
    ['redirects to itself', { status: 307, headers: { location: manifestPath } }, { code: 'redirect-loop' }],
    ['redirects nowhere', { status: 302 }, { code: 'malformed', status: 302 }],
    ['redirects to a file', { status: 302, headers: { location: 'file:///etc/passwd' } }, { code: 'malformed' }],
    ['redirects to what is no URL', { status: 302, headers: { location: 'http://' } }, { code: 'malformed' }],
    [
      'is busy',
      { status: 429, headers: { 'retry-after': '120' }, body: { errors: [{ code: 'TOOMANYREQUESTS', message: 'slow down' }] } },
      { code: 'rate-limited', retryAfterMs: 120_000 },
    ],
    ['is down', { status: 503, headers: { 'retry-after': '5' } }, { code: 'server-error', retryAfterMs: 5_000 }],
    ['fails with an endless page', (_request, response) => pour(response, 500), { code: 'server-error', status: 500 }],
    ['answers 204', (_request, response) => response.writeHead(204).end(), { code: 'malformed', status: 204 }],
    ['asks for authentication without a challenge', { status: 401 }, { code: 'unauthorized' }],
  ])('and %s is reported in time', async (_title, script, error) => {
    registry.on(manifestPath, script);
    const started = performance.now();

    await expect(client({ timeoutMs: 400 }).getManifest('team/app', 'v1')).rejects.toMatchObject({ name: 'RegistryError', ...error });

    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it('is named in the error, with the method and the reference', async () => {
    registry.on(manifestPath, { status: 500 });

    await expect(client().headManifest('team/app', 'v1')).rejects.toThrow(`HEAD ${registry.address}/team/app:v1: 500`);
    await expect(client().getManifest('team/app', otherDigest)).rejects.toThrow(
      `GET ${registry.address}/team/app@${otherDigest}: 404 MANIFEST_UNKNOWN`,
    );
  });

  it('does not harm the next request', async () => {
    registry.on(manifestPath, (_request, response) => pour(response));
    const one = client();
    await one.getManifest('team/app', 'v1').catch(() => undefined);

    registry.on(manifestPath, { headers: manifestHeaders, body });

    expect(await one.getManifest('team/app', 'v1')).toMatchObject({ digest });
  });
});

describe('the way to a registry', () => {
  let tls: ScriptedRegistry;

  beforeAll(async () => {
    tls = await ScriptedRegistry.start(await selfSigned());
    tls.manifest('team/app', content, { tag: 'v1' });
  });

  afterAll(() => tls.close());

  it('is https, and plain HTTP only when insecure', async () => {
    await expect(client({ registry: registry.address }).headManifest('team/app', 'v1')).rejects.toMatchObject({
      code: 'plain-http',
      retryable: false,
    });
    expect(registry.requests).toEqual([]);

    const insecure = client({ registry: registry.address, insecure: true });
    expect(await insecure.headManifest('team/app', 'v1')).toMatchObject({ digest });
    const before = registry.connections;
    for (let request = 0; request < 20; request++) await insecure.headManifest('team/app', 'v1');
    expect(registry.connections).toBeLessThanOrEqual(before + 1);
  });

  it('needs a certificate that verifies, unless insecure', async () => {
    await expect(client({ registry: tls.address }).headManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'tls', retryable: false });
    expect(await client({ registry: tls.address, insecure: true }).headManifest('team/app', 'v1')).toMatchObject({ digest });
    await expect(client({ registry: `https://${registry.address}` }).headManifest('team/app', 'v1')).rejects.toMatchObject({
      code: 'plain-http',
    });
  });

  it('does not lead from https to http by a redirect or a token server', async () => {
    const { cert, key } = await selfSigned();
    const secure = await ScriptedRegistry.start({ cert, key });
    secure.on(manifestPath, { status: 307, headers: { location: `http://${elsewhere.address}/x` } });
    secure.on('/v2/team/app/tags/list', {
      status: 401,
      headers: { 'www-authenticate': `Bearer realm="http://${elsewhere.address}/token"` },
    });
    const trusting = client({
      registry: secure.address,
      credentials: secret,
      connect: (options) => buildConnector({ ...options, ca: cert }),
    });

    await expect(trusting.getManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'malformed' });
    await expect(trusting.listTags('team/app')).rejects.toMatchObject({ code: 'plain-http' });
    expect(elsewhere.requests).toEqual([]);
    await secure.close();
  });

  it('is refused by the given connector for the registry, its redirects and its token server', async () => {
    registry.on(manifestPath, { status: 307, headers: { location: `http://${elsewhere.address}/x` } });
    registry.on('/v2/team/app/tags/list', {
      status: 401,
      headers: { 'www-authenticate': `Bearer realm="http://${elsewhere.address}/token"` },
    });
    const refusing = (port: string) => (options: buildConnector.BuildOptions) => {
      const connect = buildConnector(options);
      return (target: buildConnector.Options, callback: buildConnector.Callback) =>
        target.port === port
          ? callback(new BlockedAddress(target.hostname, target.hostname, 'loopback', 'public'), null)
          : connect(target, callback);
    };
    const portOf = (server: ScriptedRegistry) => server.address.split(':')[1] ?? '';
    const blocked = { code: 'blocked-address', retryable: false };

    await expect(client({ connect: refusing(portOf(registry)) }).headManifest('team/app', 'v1')).rejects.toMatchObject(blocked);
    await expect(client({ connect: refusing(portOf(elsewhere)) }).headManifest('team/app', 'v1')).rejects.toMatchObject(blocked);
    await expect(client({ connect: refusing(portOf(elsewhere)) }).listTags('team/app')).rejects.toMatchObject(blocked);
    expect(elsewhere.requests).toEqual([]);
  });

  it('to nobody is an error that may pass', async () => {
    const gone = await ScriptedRegistry.start();
    const { address } = gone;
    await gone.close();

    await expect(client({ registry: address, insecure: true }).headManifest('team/app', 'v1')).rejects.toMatchObject({
      code: 'unreachable',
      retryable: true,
    });
  });

  it('ends with close, which waits for what is under way', async () => {
    const one = new RegistryClient({ registry: `http://${registry.address}` });
    const underWay = one.headManifest('team/app', 'v1');

    await Promise.all([one.close(), one.close()]);

    expect(await underWay).toMatchObject({ digest });
    await expect(one.headManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'closed' });
  });

  it.each(['docker.io', 'quay.io', 'registry:5000', '[::1]:5000', 'https://quay.io/', 'HTTP://registry:5000'])('takes %s', (name) => {
    expect(client({ registry: name }).host).toBe(name.replace(/^https?:\/\//i, '').replace(/\/$/, ''));
  });

  it.each(['', 'a b', 'user:pw@host', 'host/path', 'ftp://host', 'host?x', 'http://'])('refuses %j', (name) => {
    expect(() => client({ registry: name })).toThrow(expect.objectContaining({ code: 'invalid-reference' }));
  });

  it('to Docker Hub goes to its API host', async () => {
    const hosts: string[] = [];
    const connect = () => (target: buildConnector.Options, callback: buildConnector.Callback) => {
      hosts.push(target.hostname);
      callback(Object.assign(new Error('no network'), { code: 'ENETUNREACH' }), null);
    };

    await client({ registry: 'docker.io', connect })
      .headManifest('library/ruby', 'latest')
      .catch(() => undefined);

    expect(hosts).toEqual(['registry-1.docker.io']);
  });
});

type Response = Parameters<Extract<Script, (...args: never[]) => unknown>>[1];

function drip(response: Response): void {
  response.writeHead(200, manifestHeaders);
  const timer = setInterval(() => response.write(' '), 20);
  response.on('close', () => clearInterval(timer));
}

function truncate(response: Response, headers: Record<string, string>): void {
  response.writeHead(200, { ...manifestHeaders, ...headers });
  response.write(body.subarray(0, 20), () => response.destroy());
}

function pour(response: Response, status = 200): void {
  response.writeHead(status, manifestHeaders);
  const chunk = Buffer.alloc(65_536, 0x20);
  const more = () => {
    while (!response.destroyed && response.write(chunk));
  };
  response.on('drain', more);
  more();
}

async function selfSigned(): Promise<{ cert: string; key: string }> {
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=registry.test',
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])],
  });
  const key = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return { cert: cert.toString('pem'), key: `-----BEGIN PRIVATE KEY-----\n${key.replace(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n` };
}
