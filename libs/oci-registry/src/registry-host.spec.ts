import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RegistryError } from './error.ts';
import { mediaTypes } from './manifest.ts';
import { Registries, type RegistriesOptions } from './registries.ts';
import { type CandidateCredentials, RegistryClient } from './registry.ts';
import { type Script, ScriptedRegistry } from './scripted-registry.ts';

const config = { mediaType: mediaTypes.ociConfig, digest: `sha256:${'c'.repeat(64)}`, size: 2 };
const content = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [] };
const alice = { username: 'alice', password: 'a' };
const bob = { username: 'bob', password: 'b' };
const basic = ({ username, password }: typeof alice) => `Basic ${btoa(`${username}:${password}`)}`;

let registry: ScriptedRegistry;
let registries: Registries;
let digest: string;
let now: number;

beforeEach(async () => {
  registry = await ScriptedRegistry.start();
  digest = registry.manifest('team/app', content, { tag: 'v1' });
  now = Date.parse('2026-11-21T12:00:00Z');
});

afterEach(async () => {
  await registries?.close();
  await registry.close();
});

function client(credentials?: CandidateCredentials, options: RegistriesOptions = {}): RegistryClient {
  registries = new Registries({ timeoutMs: 1_000, now: () => now, ...options });
  return registries.client({ registry: `http://${registry.address}`, credentials });
}

const manifestPath = '/v2/team/app/manifests/v1';
const manifestHeaders = () => ({ 'content-type': mediaTypes.ociManifest, 'docker-content-digest': digest });
const good = (headers: Record<string, string> = {}): Script => ({ headers: { ...manifestHeaders(), ...headers }, body: content });
const failure = (asked: Promise<unknown>): Promise<RegistryError> =>
  asked.then(
    () => Promise.reject(new Error('there was no error')),
    (error: RegistryError) => error,
  );

describe('the limits of a registry', () => {
  it('are kept by everybody with that account: nothing is sent before the time it asked for', async () => {
    registry.on(manifestPath, { status: 429, headers: { 'retry-after': '60' } });
    const one = client(alice);
    await failure(one.headManifest('team/app', 'v1'));

    const second = await failure(one.withCredentials({ ...alice }).headManifest('team/other', 'v1'));
    expect(second).toMatchObject({ code: 'rate-limited', retryable: true, retryAfterMs: 60_000 });
    expect(second.message).toContain('not sent');
    expect(one.nextTurnMs('import')).toBe(60_000);
    expect(registry.requests).toHaveLength(1);

    registry.on(manifestPath, good());
    now += 60_000;
    expect(await one.headManifest('team/app', 'v1')).toMatchObject({ digest });
  });

  it('are waited for no longer when the client is closed', async () => {
    registry.on(manifestPath, { status: 429, headers: { 'retry-after': '60' } });
    const one = client(alice);
    await failure(one.headManifest('team/app', 'v1'));
    const waiting = failure(one.headManifest('team/app', 'v1', { maxWaitMs: 100_000 }));

    await one.close();

    expect(await waiting).toMatchObject({ code: 'closed' });
  });

  it('of one account are not those of another', async () => {
    registry.on(manifestPath, (request, response) => {
      if (request.headers.authorization === basic(bob)) response.writeHead(200, { ...manifestHeaders(), 'content-length': 9 }).end();
      else if (request.headers.authorization) response.writeHead(429, { 'retry-after': '60' }).end();
      else response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
    });
    const one = client(alice);

    expect(await failure(one.headManifest('team/app', 'v1'))).toMatchObject({ code: 'rate-limited' });
    expect(await one.withCredentials(bob).headManifest('team/app', 'v1')).toMatchObject({ digest });
  });

  it('let a check wait when a fifth of the quota is left, and an import go until nothing is', async () => {
    registry.on(manifestPath, good({ 'x-ratelimit-limit': '10', 'x-ratelimit-remaining': '2', 'x-ratelimit-reset': '30' }));
    const one = client();
    await one.getManifest('team/app', 'v1');

    expect(one.nextTurnMs('check')).toBe(30_000);
    expect(await failure(one.checkTag('team/app', 'v1', digest))).toMatchObject({ code: 'rate-limited', retryAfterMs: 30_000 });
    expect(one.nextTurnMs('import')).toBe(0);
    expect(await one.getManifest('team/app', 'v1')).toMatchObject({ digest });
  });

  it('are waited for as long as the caller has time', async () => {
    registry.on(manifestPath, { status: 429, headers: { 'retry-after': '1' } });
    const one = client(undefined, { now: Date.now });
    await failure(one.headManifest('team/app', 'v1'));
    registry.on(manifestPath, good());

    expect(await failure(one.headManifest('team/app', 'v1', { maxWaitMs: 100 }))).toMatchObject({ code: 'rate-limited' });
    expect(await one.headManifest('team/app', 'v1', { maxWaitMs: 5_000 })).toMatchObject({ digest });
    expect(registry.requests).toHaveLength(2);
  });

  it('are those of the token server where it has some', async () => {
    registry.on(manifestPath, { status: 401, headers: { 'www-authenticate': `Bearer realm="http://${registry.address}/token"` } });
    registry.on('/token', { status: 429, headers: { 'retry-after': '60' } });
    const one = client(alice);
    for (let n = 0; n < 3; n++) {
      expect(await failure(one.headManifest('team/app', 'v1'))).toMatchObject({ code: 'rate-limited', retryAfterMs: 60_000 });
    }

    expect(registry.requests.filter(({ url }) => url.startsWith('/token'))).toHaveLength(1);
    expect(one.nextTurnMs('import')).toBe(0);
  });
});

describe('requests at the same time', () => {
  it('are so many checks at most that an import finds room', async () => {
    registry.on(manifestPath, () => undefined);
    registry.manifest('team/other', content, { tag: 'v1' });
    const one = client(undefined, { timeoutMs: 60_000, connections: 4 });
    const checks = Array.from({ length: 10 }, () => one.checkTag('team/app', 'v1', digest));
    await expect.poll(() => registry.requests.length).toBe(3);

    expect(await one.headManifest('team/other', 'v1')).toMatchObject({ digest });

    expect(registry.requests).toHaveLength(4);
    registry.on(manifestPath, good());
    registry.breakConnections();
    await Promise.allSettled(checks);
  });

  it('all come to an end, and leave room for others, whatever the registry does', async () => {
    const answers: Script[] = [
      good(),
      { status: 401, headers: { 'www-authenticate': 'Basic realm="r"' } },
      { status: 403 },
      { status: 404 },
      { status: 307, headers: { location: manifestPath } },
      { status: 500 },
      (request) => request.socket.destroy(),
      () => undefined,
      (_request, response) => response.writeHead(200, { 'content-length': '1000' }).write('{', () => response.destroy()),
    ];
    let asked = 0;
    registry.on(manifestPath, (request, response) => {
      const script = answers[asked++ % answers.length] as Script;
      if (typeof script === 'function') script(request, response);
      else
        response
          .writeHead(script.status ?? 200, script.headers)
          .end(request.method === 'HEAD' ? undefined : JSON.stringify(script.body ?? {}));
    });
    const one = client([alice, bob, undefined], { timeoutMs: 150, connections: 4, circuit: { failures: Infinity } });
    const calls = [
      () => one.checkTag('team/app', 'v1', digest, { tenant: 'a' }),
      () => one.headManifest('team/app', 'v1'),
      () => one.getManifest('team/app', 'v1', { tenant: 'b' }),
    ];
    await Promise.allSettled(Array.from({ length: 120 }, (_, n) => calls[n % calls.length]?.()));

    registry.on(manifestPath, good());
    const after = await Promise.all(
      Array.from({ length: 40 }, (_, n) => one.checkTag('team/app', 'v1', digest, { purpose: n % 2 ? 'check' : 'import' })),
    );
    expect(after).toEqual(Array(40).fill({ kind: 'unchanged', digest }));
  });
});

describe('a registry that fails', () => {
  const circuit = { failures: 3, pauseMs: 10_000 };

  it('several times in a row is left alone, then asked once, and all may go on when that goes well', async () => {
    registry.on(manifestPath, { status: 503 });
    const one = client(undefined, { circuit });
    for (let n = 0; n < 3; n++) expect(await failure(one.headManifest('team/app', 'v1'))).toMatchObject({ code: 'server-error' });

    const refused = await failure(one.headManifest('team/other', 'v1'));
    expect(refused).toMatchObject({ code: 'circuit-open', retryable: true, retryAfterMs: 10_000 });
    expect(refused.message).toContain(
      `HEAD ${registry.address}/team/other:v1: not sent, ${registry.address} failed 3 times in a row and is asked again in 10 s; the last time: 503`,
    );
    expect(registry.requests).toHaveLength(3);
    expect(one.nextTurnMs('check', 'team/other')).toBe(10_000);

    now += 10_000;
    let answer: () => void = () => undefined;
    registry.on(manifestPath, (_request, response) => {
      answer = () => response.writeHead(200, { ...manifestHeaders(), 'content-length': 9 }).end();
    });
    const probe = one.headManifest('team/app', 'v1');
    expect(await failure(one.headManifest('team/app', 'v1'))).toMatchObject({ code: 'circuit-open' });
    await expect.poll(() => registry.requests.length).toBe(4);
    answer();
    expect(await probe).toMatchObject({ digest });
    registry.on(manifestPath, good());
    expect(await one.headManifest('team/app', 'v1')).toMatchObject({ digest });
  });

  it.each<[string, Script]>([
    ['closes the connection', (request) => request.socket.destroy()],
    ['says nothing', () => undefined],
    [
      'sends half an answer',
      (_request, response) => response.writeHead(200, { 'content-length': '1000' }).write('{', () => response.destroy()),
    ],
  ])('is left alone when it %s', async (_title, script) => {
    registry.on(manifestPath, script);
    const one = client(undefined, { circuit, timeoutMs: 200 });
    for (let n = 0; n < 3; n++) await failure(one.getManifest('team/app', 'v1'));

    expect(await failure(one.getManifest('team/app', 'v1'))).toMatchObject({ code: 'circuit-open' });
  });

  it('for one manifest only is asked for others', async () => {
    registry.on(manifestPath, { status: 500 });
    registry.manifest('team/other', content, { tag: 'v1' });
    const one = client(undefined, { circuit });
    for (let n = 0; n < 10; n++) await failure(one.headManifest('team/app', 'v1'));

    expect(await one.headManifest('team/other', 'v1')).toMatchObject({ digest });
  });

  it('is asked on while what it refuses is the request', async () => {
    const one = client(undefined, { circuit });
    for (let n = 0; n < 10; n++) expect(await failure(one.headManifest('team/none', 'v1'))).toMatchObject({ code: 'not-found' });
  });

  it('is not blamed for its token server', async () => {
    registry.on(manifestPath, {
      status: 401,
      headers: { 'www-authenticate': `Bearer realm="http://localhost:${registry.address.split(':')[1]}/token"` },
    });
    registry.on('/token', { status: 502 });
    registry.manifest('team/open', content, { tag: 'v1' });
    const one = client(undefined, { circuit });
    for (let n = 0; n < 3; n++) await failure(one.headManifest('team/app', 'v1'));

    expect(await failure(one.headManifest('team/app', 'v1'))).toMatchObject({ code: 'circuit-open' });
    expect(await one.headManifest('team/open', 'v1')).toMatchObject({ digest });
  });
});

describe('several credentials', () => {
  const accepts = (accepted: string | undefined, otherwise: { status: number; body?: string }): Script => {
    return (request, response) => {
      if (request.headers.authorization === accepted) response.writeHead(200, { ...manifestHeaders(), 'content-length': 9 }).end();
      else if (request.headers.authorization && otherwise.status !== 401) response.writeHead(otherwise.status).end(otherwise.body);
      else response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
    };
  };
  const seen = () => registry.requests.map(({ headers }) => headers.authorization);

  it.each([401, 403])('are tried one after the other while the registry says %i', async (status) => {
    registry.on(manifestPath, accepts(basic(bob), { status }));
    const one = client([alice, bob]);

    expect(await one.headManifest('team/app', 'v1')).toMatchObject({ digest });
    registry.requests.length = 0;
    expect(await one.headManifest('team/app', 'v1')).toMatchObject({ digest });

    expect(seen()).toEqual([basic(bob)]);
  });

  it('begin with the first again where the remembered one is refused', async () => {
    registry.on(manifestPath, accepts(basic(bob), { status: 403 }));
    const one = client([alice, bob]);
    await one.headManifest('team/app', 'v1');
    registry.on(manifestPath, accepts(basic(alice), { status: 403 }));
    registry.requests.length = 0;

    await one.headManifest('team/app', 'v1');

    expect(seen()).toEqual([basic(bob), basic(alice)]);
  });

  it('are remembered for each repository by itself', async () => {
    registry.on(manifestPath, accepts(basic(bob), { status: 403 }));
    registry.on('/v2/team/other/manifests/v1', accepts(basic(alice), { status: 403 }));
    const one = client([alice, bob]);
    await one.headManifest('team/app', 'v1');
    await one.headManifest('team/other', 'v1');
    registry.requests.length = 0;

    await one.headManifest('team/app', 'v1');
    await one.headManifest('team/other', 'v1');

    expect(seen()).toEqual([basic(bob), basic(alice)]);
  });

  it('that are wrong are not tried first with every repository', async () => {
    registry.on(manifestPath, accepts(basic(bob), { status: 401 }));
    registry.on('/v2/team/other/manifests/v1', accepts(basic(bob), { status: 401 }));
    registry.on('/v2/team/third/manifests/v1', accepts(basic(alice), { status: 401 }));
    const one = client([alice, bob]);
    await one.headManifest('team/app', 'v1');

    registry.requests.length = 0;
    await one.headManifest('team/other', 'v1');
    expect(seen()).toEqual([undefined, basic(bob)]);

    registry.requests.length = 0;
    await one.headManifest('team/third', 'v1');
    expect(seen()).toEqual([undefined, basic(bob), basic(alice)]);
  });

  it('are tried without at last, where the list says so', async () => {
    registry.on(manifestPath, (request, response) => {
      if (request.headers.authorization) response.writeHead(403).end();
      else response.writeHead(200, { ...manifestHeaders(), 'content-length': 9 }).end();
    });
    registry.on('/v2/team/app/tags/list', { status: 401, headers: { 'www-authenticate': 'Basic realm="r"' } });
    const one = client([alice, undefined]);
    await failure(one.listTags('team/app'));

    expect(await one.headManifest('team/app', 'v1')).toMatchObject({ digest });
  });

  it('that are all refused are reported with what the first was told', async () => {
    registry.on(manifestPath, (request, response) => {
      if (request.headers.authorization === basic(alice))
        response.writeHead(403).end('{"errors":[{"code":"DENIED","message":"not alice"}]}');
      else response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
    });

    expect(await failure(client([alice, bob, undefined]).getManifest('team/app', 'v1'))).toMatchObject({
      code: 'forbidden',
      registryCode: 'DENIED',
      message: expect.stringContaining('not alice'),
    });
  });

  it.each([404, 429, 503])('are not tried on when the registry says %i', async (status) => {
    registry.on(manifestPath, accepts(basic(bob), { status }));

    await failure(client([alice, bob]).headManifest('team/app', 'v1'));

    expect(seen()).toEqual([undefined, basic(alice)]);
  });
});
