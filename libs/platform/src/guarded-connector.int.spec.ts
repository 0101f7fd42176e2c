import http from 'node:http';
import type { AddressInfo, LookupFunction } from 'node:net';
import { BlockedAddress, type AddressPolicy } from '@millrace/domain/address';
import { Agent, interceptors, request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guardedConnector } from './guarded-connector.ts';

let server: http.Server;
let port: number;
let reached: string[];

beforeAll(async () => {
  server = http.createServer((incoming, answer) => {
    reached.push(incoming.headers.host ?? '');
    const target = new URL(incoming.url ?? '/', 'http://server').searchParams.get('to');
    if (target) answer.writeHead(302, { location: target });
    answer.end('reached');
  });
  await new Promise<void>((resolve) => server.listen(0, '::', resolve));
  port = (server.address() as AddressInfo).port;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

describe('a guarded connector', () => {
  it.each([
    'http://127.0.0.1:PORT',
    'http://127.1:PORT',
    'http://2130706433:PORT',
    'http://0x7f000001:PORT',
    'http://0177.0.0.1:PORT',
    'http://localhost:PORT',
    'http://[::1]:PORT',
    'http://[::ffff:127.0.0.1]:PORT',
    'http://[64:ff9b::7f00:1]:PORT',
    'http://0.0.0.0:PORT',
    'http://[::]:PORT',
    'http://169.254.169.254',
    'http://10.0.0.1',
    'http://192.168.1.1:8080',
    'https://10.1.2.3',
    'https://[fe80::1]',
    'http://[fd00:ec2::254]',
  ])('for the public only refuses %s and opens no connection', async (url) => {
    const outcome = await get(url, { allow: 'public' });

    expect(outcome).toBeInstanceOf(BlockedAddress);
    expect(reached).toEqual([]);
  });

  it.each(['127.0.0.1', '10.0.0.1', '169.254.169.254', '::1', '::ffff:10.0.0.1', 'fd00::1'])(
    'for the public only refuses a name that resolves to %s',
    async (address) => {
      const outcome = await get('http://registry.test:PORT', { allow: 'public', resolvesTo: [[address]] });

      expect(outcome).toMatchObject({ code: 'ERR_BLOCKED_ADDRESS', host: 'registry.test', address });
    },
  );

  it('refuses a name when one of its addresses is refused, whichever is tried first', async () => {
    const outcome = await get('http://registry.test:PORT', { allow: 'public', resolvesTo: [['192.0.66.1', '127.0.0.1']] });

    expect(outcome).toMatchObject({ address: '127.0.0.1' });
    expect(reached).toEqual([]);
  });

  it('connects to the address it checked: the name is resolved once a connection', async () => {
    const answers = [['127.0.0.1'], ['169.254.169.254']];

    const outcome = await get('http://registry.test:PORT', { allow: 'loopback', resolvesTo: answers });

    expect(outcome).toBe('reached');
    expect(answers).toEqual([['169.254.169.254']]);
  });

  it('checks again for the next connection, so a name that moves inside later is refused then', async () => {
    const answers = [['127.0.0.1'], ['169.254.169.254']];
    const lookup = resolver(answers);
    const first = await get('http://registry.test:PORT', { allow: 'loopback', lookup });

    const second = await get('http://registry.test:PORT', { allow: 'loopback', lookup });

    expect(first).toBe('reached');
    expect(second).toMatchObject({ code: 'ERR_BLOCKED_ADDRESS', address: '169.254.169.254' });
  });

  it.each(['http://169.254.169.254/latest/meta-data', 'http://[fe80::1]', 'http://[fd00:ec2::254]', 'https://metadata.test'])(
    'refuses a redirect to %s',
    async (target) => {
      const lookup: LookupFunction = (name, options, callback) =>
        resolver([[name === 'metadata.test' ? '169.254.169.254' : '127.0.0.1']])(name, options, callback);

      const outcome = await get(`http://registry.test:PORT/?to=${encodeURIComponent(target)}`, { allow: 'loopback', lookup });

      expect(outcome).toBeInstanceOf(BlockedAddress);
      expect(reached).toEqual([`registry.test:${port}`]);
    },
  );

  it.each([
    ['loopback', 'http://127.0.0.1:PORT'],
    ['loopback', 'http://localhost:PORT'],
    ['loopback', 'http://[::1]:PORT'],
  ] as const)('allowing %s reaches %s', async (allow, url) => {
    expect(await get(url, { allow })).toBe('reached');
  });

  it('allowing private networks still refuses this machine', async () => {
    expect(await get('http://127.0.0.1:PORT', { allow: 'private' })).toMatchObject({ kind: 'loopback' });
  });

  it('passes on that a name does not resolve', async () => {
    expect(await get('http://registry.invalid', { allow: 'public' })).toMatchObject({ syscall: 'getaddrinfo' });
  });
});

interface Attempt {
  allow: AddressPolicy;
  resolvesTo?: string[][];
  lookup?: LookupFunction;
}

/** The body, or the error; forgets who was reached before. */
async function get(url: string, { allow, resolvesTo, lookup = resolvesTo && resolver(resolvesTo) }: Attempt): Promise<unknown> {
  reached = [];
  const agent = new Agent({ connect: guardedConnector({ allow, lookup }, { timeout: 2_000 }) });
  try {
    const dispatcher = agent.compose(interceptors.redirect({ maxRedirections: 3 }));
    const answer = await request(url.replace('PORT', String(port)), { dispatcher });
    return await answer.body.text();
  } catch (error) {
    return error;
  } finally {
    await agent.destroy();
  }
}

/** Gives the next of the answers each time it is asked. */
function resolver(answers: string[][]): LookupFunction {
  return (_name, options, callback) => {
    const found = (answers.shift() ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
    if (options.all) callback(null, found);
    else callback(null, found[0]?.address ?? '', found[0]?.family);
  };
}
