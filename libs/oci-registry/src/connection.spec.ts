import { once } from 'node:events';
import http from 'node:http';
import { type AddressInfo, connect as dial, createServer, type LookupFunction } from 'node:net';
import type { Duplex } from 'node:stream';
import { inspect } from 'node:util';
import type { AddressPolicy } from '@millrace/domain/address';
import { guardedConnector } from '@millrace/platform/guarded-connector';
import { certificate, type Certified } from '@millrace/testing/certificates';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { mediaTypes } from './manifest.ts';
import { RegistryClient, type RegistryOptions } from './registry.ts';
import { ScriptedRegistry } from './scripted-registry.ts';

const config = { mediaType: mediaTypes.ociConfig, digest: `sha256:${'c'.repeat(64)}`, size: 2 };
const content = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [] };

let clients: RegistryClient[] = [];
const client = (options: RegistryOptions) => {
  const made = new RegistryClient({ timeoutMs: 2_000, ...options });
  clients.push(made);
  return made;
};
const look = (options: RegistryOptions) => client(options).headManifest('team/app', 'v1');

afterEach(async () => {
  await Promise.all(clients.map((each) => each.close()));
  clients = [];
});

describe('TLS', () => {
  let authority: Certified;
  let mine: Certified;
  let server: ScriptedRegistry;
  let strict: ScriptedRegistry;
  let digest: string;

  beforeAll(async () => {
    authority = await certificate('authority');
    const own = await certificate('registry.test', authority);
    mine = await certificate('a client', authority);
    server = await ScriptedRegistry.start(own);
    strict = await ScriptedRegistry.start({ ...own, ca: authority.cert, requestCert: true, rejectUnauthorized: true });
    for (const each of [server, strict]) digest = each.manifest('team/app', content, { tag: 'v1' });
  });

  afterAll(() => Promise.all([server.close(), strict.close()]));

  it('trusts the authority that it is given, beside those of the system', async () => {
    await expect(look({ registry: server.address })).rejects.toMatchObject({ code: 'tls' });
    const other = await certificate('another authority');

    await expect(look({ registry: server.address, ca: other.cert })).rejects.toMatchObject({ code: 'tls' });
    expect(await look({ registry: server.address, ca: [other.cert, authority.cert] })).toMatchObject({ digest });
  });

  it('shows the certificate that it is given', async () => {
    const registry = { registry: strict.address, ca: authority.cert };

    await expect(look(registry)).rejects.toMatchObject({ name: 'RegistryError' });
    expect(await look({ ...registry, clientCertificate: mine })).toMatchObject({ digest });
  });

  it('with a certificate, a key or an authority that is none is an error that says so', async () => {
    for (const options of [
      { ca: 'none' },
      { clientCertificate: { ...mine, key: 'none' } },
      { clientCertificate: { ...mine, cert: authority.cert } },
    ]) {
      await expect(look({ registry: server.address, ...options })).rejects.toMatchObject({ name: 'RegistryError', code: 'tls' });
    }
  });

  it('is not verified where the registry is insecure', async () => {
    expect(await look({ registry: server.address, insecure: true })).toMatchObject({ digest });
    expect(server.requests.at(-1)?.headers.host).toBe(server.address);
  });

  it.each<[string, (proxy: string) => RegistryOptions]>([
    ['with its authority', (proxy) => ({ registry: server.address, ca: authority.cert, proxy: { https: proxy } })],
    ['insecure', (proxy) => ({ registry: server.address, insecure: true, proxy: { https: proxy } })],
    [
      'with a client certificate',
      (proxy) => ({ registry: strict.address, ca: authority.cert, clientCertificate: mine, proxy: { http: proxy } }),
    ],
  ])('goes through a proxy, %s', async (_title, options) => {
    const proxy = await aProxy();

    expect(await look(options(proxy.url))).toMatchObject({ digest });
    expect(proxy.seen).toEqual([`CONNECT ${options('').registry}`]);
    await proxy.close();
  });
});

describe('a proxy', () => {
  let registry: ScriptedRegistry;
  let proxy: Awaited<ReturnType<typeof aProxy>>;

  beforeEach(async () => {
    registry = await ScriptedRegistry.start();
    registry.manifest('team/app', content, { tag: 'v1' });
    proxy = await aProxy();
  });

  afterEach(() => Promise.all([registry.close(), proxy.close()]));

  const through = (proxyOptions: RegistryOptions['proxy']) => look({ registry: `http://${registry.address}`, proxy: proxyOptions });

  it('is sent plain HTTP as it is', async () => {
    await through({ http: proxy.url });

    expect(proxy.seen).toEqual([`HEAD http://${registry.address}/v2/team/app/manifests/v1`]);
  });

  it('is told user and password', async () => {
    await through({ http: proxy.url.replace('//', '//me:pw@') });

    expect(proxy.authorizations).toEqual([`Basic ${btoa('me:pw')}`]);
    expect(registry.requests[0]?.headers).not.toHaveProperty('proxy-authorization');
  });

  it.each(['*', '127.0.0.1', 'a.test, 127.0.0.1'])('is left out for %s', async (no) => {
    await through({ http: proxy.url, no });

    expect(proxy.seen).toEqual([]);
  });

  it('that is not there is an error that may pass', async () => {
    const { url } = proxy;
    await proxy.close();

    await expect(through({ http: url })).rejects.toMatchObject({ code: 'unreachable', retryable: true });
  });

  it('that is no URL is an error that does not repeat it', async () => {
    const error: Error = await through({ http: 'me:secret@proxy' }).then(
      () => new Error('no error'),
      (thrown: Error) => thrown,
    );

    expect(error.message).toContain('the proxy cannot be read (UND_ERR_INVALID_ARG)');
    expect(inspect(error)).not.toContain('secret');
  });

  it('is never taken from the environment', async () => {
    process.env['HTTP_PROXY'] = process.env['http_proxy'] = proxy.url;
    try {
      await through(undefined);
      await through({ https: proxy.url });
    } finally {
      delete process.env['HTTP_PROXY'];
      delete process.env['http_proxy'];
    }

    expect(proxy.seen).toEqual([]);
  });
});

describe('a guarded connection', () => {
  let registry: ScriptedRegistry;
  let port: string;

  beforeEach(async () => {
    registry = await ScriptedRegistry.start();
    registry.manifest('team/app', content, { tag: 'v1' });
    port = registry.address.split(':')[1] ?? '';
  });

  afterEach(() => registry.close());

  /** Names resolve to what is said, others to nothing. */
  const guarded = (names: Record<string, string>, allow: AddressPolicy = 'loopback') => {
    const lookup: LookupFunction = (name, options, callback) => {
      const address = names[name];
      if (address === undefined) callback(Object.assign(new Error(`no ${name}`), { code: 'ENOTFOUND' }), '', 0);
      else if (options.all) callback(null, [{ address, family: 4 }]);
      else callback(null, address, 4);
    };
    return { connect: (options: object) => guardedConnector({ allow, lookup }, options) };
  };

  it('reaches no name that resolves to an internal address, whatever the scheme', async () => {
    for (const name of ['http://metadata.test', 'https://metadata.test', 'metadata.test']) {
      const options = { registry: name, insecure: true, ...guarded({ 'metadata.test': '169.254.169.254' }) };
      await expect(look(options)).rejects.toMatchObject({ code: 'blocked-address', retryable: false });
    }
  });

  it('reaches this machine only where that is allowed', async () => {
    const options = { registry: `http://registry.test:${port}` };

    await expect(look({ ...options, ...guarded({ 'registry.test': '127.0.0.1' }, 'private') })).rejects.toMatchObject({
      code: 'blocked-address',
    });
    expect(await look({ ...options, ...guarded({ 'registry.test': '127.0.0.1' }) })).toMatchObject({ mediaType: mediaTypes.ociManifest });
  });

  it('follows neither a redirect nor a challenge to an internal address', async () => {
    const inside = 'http://inside.test/x';
    registry.on('/v2/team/app/manifests/moved', { status: 307, headers: { location: inside } });
    registry.on('/v2/team/app/manifests/locked', { status: 401, headers: { 'www-authenticate': `Bearer realm="${inside}"` } });
    const names = { 'registry.test': '127.0.0.1', 'inside.test': '169.254.169.254' };
    const one = client({ registry: `http://registry.test:${port}`, ...guarded(names) });

    for (const tag of ['moved', 'locked'])
      await expect(one.getManifest('team/app', tag)).rejects.toMatchObject({ code: 'blocked-address' });
  });
});

describe('time limits', () => {
  it.each([
    ['connecting', 'connectTimeoutMs'],
    ['headers', 'headersTimeoutMs'],
    ['the body', 'bodyTimeoutMs'],
    ['the whole', 'timeoutMs'],
  ] as const)('hold for %s', async (_title, limit) => {
    // Takes connections and says nothing; of TLS not even the first word.
    const silent = createServer((socket) => {
      socket.on('error', () => undefined);
      if (limit === 'bodyTimeoutMs') socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{');
    }).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const scheme = limit === 'connectTimeoutMs' ? 'https' : 'http';
    const one = client({ registry: `${scheme}://127.0.0.1:${(silent.address() as AddressInfo).port}`, timeoutMs: 60_000, [limit]: 100 });

    await expect(one.getManifest('team/app', 'v1')).rejects.toMatchObject({ code: 'timeout', retryable: true });
    silent.close();
  });
});

/** Tunnels and forwards, and notes what was asked of it. */
async function aProxy() {
  const seen: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const server = http.createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    authorizations.push(request.headers['proxy-authorization']);
    const { 'proxy-authorization': _mine, ...headers } = request.headers;
    const onward = http.request(request.url ?? '', { method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    request.pipe(onward);
  });
  const tunnels = new Set<Duplex>();
  server.on('connect', (request, socket) => {
    seen.push(`CONNECT ${request.url}`);
    const [host, port] = (request.url ?? '').split(':');
    const onward = dial(Number(port), host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      onward.pipe(socket).pipe(onward);
    });
    for (const each of [socket, onward]) tunnels.add(each.on('error', () => onward.destroy()));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const close = async () => {
    for (const each of tunnels) each.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, authorizations, close };
}
