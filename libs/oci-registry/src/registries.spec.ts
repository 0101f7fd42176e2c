import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mediaTypes } from './manifest.ts';
import { Registries, type RegistryAccess } from './registries.ts';
import { ScriptedRegistry } from './scripted-registry.ts';

const config = { mediaType: mediaTypes.ociConfig, digest: `sha256:${'c'.repeat(64)}`, size: 2 };
const content = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [] };
const alice = { username: 'alice', password: 'a' };
const bob = { username: 'bob', password: 'b' };

let registry: ScriptedRegistry;
let registries: Registries;
let digest: string;

beforeEach(async () => {
  registry = await ScriptedRegistry.start();
  registries = new Registries({ timeoutMs: 2_000 });
  digest = registry.manifest('team/app', content, { tag: 'v1' });
});

afterEach(async () => {
  await registries.close();
  await registry.close();
});

const access = (more: Partial<RegistryAccess> = {}): RegistryAccess => ({ registry: `http://${registry.address}`, ...more });

describe('registries', () => {
  it('give the same client for the same access', () => {
    const one = registries.client(access({ credentials: [alice, undefined] }));

    expect(registries.client(access({ credentials: [{ ...alice }, undefined] }))).toBe(one);
    expect(registries.client(access({ credentials: [undefined, alice] }))).not.toBe(one);
  });

  it('share connections and tokens among the clients of a host', async () => {
    registry.on('/token', { body: { token: 'secret', expires_in: 300 } });
    registry.on('/v2/team/app/manifests/v1', (request, response) => {
      if (request.headers.authorization === 'Bearer secret')
        response.writeHead(200, { 'content-type': mediaTypes.ociManifest, 'docker-content-digest': digest, 'content-length': 10 }).end();
      else response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${registry.address}/token"` }).end();
    });

    for (const credentials of [alice, [alice], [alice, bob]])
      await registries.client(access({ credentials })).headManifest('team/app', 'v1');

    expect(registry.requests.map(({ method, url }) => `${method} ${url.split('?')[0]}`)).toEqual([
      'HEAD /v2/team/app/manifests/v1',
      'GET /token',
      'HEAD /v2/team/app/manifests/v1',
      'HEAD /v2/team/app/manifests/v1',
      'HEAD /v2/team/app/manifests/v1',
    ]);
    expect(registry.connections).toBeLessThanOrEqual(2);
  });

  it('know the names of Docker Hub as one host, and name it as its user does', () => {
    const names = ['docker.io', 'index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com'];
    const clients = names.map((name) => registries.client({ registry: name }));

    expect(clients.map(({ host }) => host)).toEqual(names);
    expect(registries.state()).toHaveLength(1);
  });

  it('keep hosts apart that are reached in another way', () => {
    for (const more of [{}, { insecure: true }, { ca: 'x' }, { proxy: { http: 'http://proxy.test' } }, { registry: 'b.test' }])
      registries.client({ registry: 'a.test', ...more });

    expect(registries.state()).toHaveLength(5);
  });

  it('forget the host used longest ago; a client of it works on', async () => {
    registries = new Registries({ maxHosts: 2 });
    const first = registries.client(access());
    await first.headManifest('team/app', 'v1');

    registries.client({ registry: 'b.test' });
    registries.client({ registry: 'c.test' });

    expect(registries.state().map(({ host }) => host)).toEqual(['b.test', 'c.test']);
    expect(await first.headManifest('team/app', 'v1')).toMatchObject({ digest });
    expect(registries.client(access())).not.toBe(first);
  });

  it('tell where each host stands', async () => {
    registry.on('/v2/team/app/manifests/v1', {
      headers: {
        'content-type': mediaTypes.ociManifest,
        'docker-content-digest': digest,
        'ratelimit-limit': '100;w=60',
        'ratelimit-remaining': '7',
      },
      body: content,
    });
    await registries
      .client(access({ credentials: alice }))
      .getManifest('team/app', 'v1')
      .catch(() => undefined);

    expect(registries.state()).toMatchObject([
      {
        host: registry.address,
        budgets: [{ account: 'alice', limit: 100, remaining: 7 }],
        circuits: [{ origin: `http://${registry.address}`, state: 'closed' }],
      },
    ]);
  });

  it('send nothing after they are closed', async () => {
    const client = registries.client(access());
    await registries.close();

    await expect(client.headManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'closed' });
    await expect(registries.client({ registry: 'b.test' }).headManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'closed' });
  });
});
