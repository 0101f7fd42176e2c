import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findProgram, isAtLeast, type Release, type SearchOptions } from './programs.ts';

let home: string;
let downloads: Server;
/** What the download server answers, by path. */
const answers = new Map<string, { status: number; body?: Buffer; location?: string }>();
const asked: string[] = [];

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'millrace-programs-'));
  asked.length = 0;
  answers.clear();
  downloads = createServer((request, response) => {
    asked.push(request.url ?? '');
    const { status, body, location } = answers.get(request.url ?? '') ?? { status: 404 };
    response.writeHead(status, location ? { location } : {}).end(body);
  }).listen(0, '127.0.0.1');
  await once(downloads, 'listening');
});
afterEach(() => {
  downloads.close();
  rmSync(home, { recursive: true, force: true });
});

function anExecutable(directory: string, name: string, says: string): string {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, name), `#!/bin/sh\necho '${says}'\n`);
  chmodSync(join(directory, name), 0o755);
  return join(directory, name);
}

/** An archive with one executable, served at `/release.tar.gz`. */
function aRelease(says = 'nats-server: v2.12.15'): Release {
  anExecutable(join(home, 'build', 'nats-9'), 'nats-server', says);
  const body = execFileSync('tar', ['-czf', '-', '-C', join(home, 'build'), 'nats-9']);
  answers.set('/release.tar.gz', { status: 200, body });
  const url = `http://127.0.0.1:${(downloads.address() as AddressInfo).port}/release.tar.gz`;
  return { version: '2.12.15', url, sha256: createHash('sha256').update(body).digest('hex'), executable: 'nats-9/nats-server' };
}

const cache = (): string => join(home, 'cache', 'millrace');
const entries = (): string[] => readdirSync(cache()).toSorted();
/** Nothing on PATH: only the cache and the sources. */
const search = (options: SearchOptions = {}): SearchOptions => ({
  env: { XDG_CACHE_HOME: join(home, 'cache') },
  sources: ['release'],
  ...options,
});

describe('a program', () => {
  it('is taken from PATH first', async () => {
    const path = anExecutable(join(home, 'bin'), 'nats-server', 'nats-server: v2.10.1');
    anExecutable(join(cache(), 'nats-server-2.12.15'), 'nats-server', 'nats-server: v2.12.15');

    const found = await findProgram('nats-server', search({ env: { PATH: join(home, 'bin'), XDG_CACHE_HOME: join(home, 'cache') } }));

    expect(found).toEqual({ path, version: '2.10.1', origin: 'path' });
  });

  it.each([
    ['of another kind with the same name', 'docker-registry', 'registry', 'registry: a tool for feature flags 1.2.3'],
    ['too old', 'nats-server', 'nats-server', 'nats-server: v2.8.4'],
    ['without a version', 'nats-server', 'nats-server', 'nats-server: dev'],
  ] as const)('on PATH that is %s is passed over', async (_, name, executable, says) => {
    anExecutable(join(home, 'bin'), executable, says);

    const found = findProgram(name, search({ env: { PATH: join(home, 'bin'), XDG_CACHE_HOME: join(home, 'cache') }, sources: [] }));

    await expect(found).rejects.toMatchObject({ code: 'program-missing' });
  });

  it('called registry is a registry', async () => {
    const path = anExecutable(join(home, 'bin'), 'registry', 'registry github.com/distribution/distribution/v3 v3.0.0');

    expect(await findProgram('docker-registry', search({ env: { PATH: join(home, 'bin') } }))).toEqual({
      path,
      version: '3.0.0',
      origin: 'path',
    });
  });

  it('is taken from the cache in its newest version that runs', async () => {
    anExecutable(join(cache(), 'nats-server-2.9.10-1'), 'nats-server', 'nats-server: v2.9.10');
    const path = anExecutable(join(cache(), 'nats-server-2.10.2'), 'nats-server', 'nats-server: v2.10.2');
    anExecutable(join(cache(), 'nats-server-2.11.0'), 'nats-server', 'cannot execute');

    expect(await findProgram('nats-server', search())).toEqual({ path, version: '2.10.2', origin: 'cache' });
  });

  it('is downloaded, checked, unpacked and found in the cache the next time', async () => {
    const release = aRelease();
    const said: string[] = [];

    const first = await findProgram('nats-server', search({ release, progress: (message) => said.push(message) }));
    const second = await findProgram('nats-server', search({ release }));

    expect(first).toEqual({ path: join(cache(), 'nats-server-2.12.15', 'nats-server'), version: '2.12.15', origin: 'release' });
    expect(second).toEqual({ ...first, origin: 'cache' });
    expect(asked).toEqual(['/release.tar.gz']);
    expect(said).toEqual([`nats-server: downloading ${release.url}`]);
    expect(entries()).toEqual(['nats-server-2.12.15']);
  });

  it('is downloaded through a redirect', async () => {
    const release = aRelease();
    answers.set('/latest', { status: 302, location: '/release.tar.gz' });

    const found = await findProgram('nats-server', search({ release: { ...release, url: new URL('/latest', release.url).href } }));

    expect(found.origin).toBe('release');
    expect(asked).toEqual(['/latest', '/release.tar.gz']);
  });

  it('started by four at once is whole for each of them', async () => {
    const release = aRelease();

    const found = await Promise.all([1, 2, 3, 4].map(() => findProgram('nats-server', search({ release }))));

    expect(new Set(found.map(({ path }) => path)).size).toBe(1);
    expect(execFileSync(found[0]?.path ?? '', { encoding: 'utf8' })).toContain('v2.12.15');
    expect(entries()).toEqual(['nats-server-2.12.15']);
  });

  it('that does not run in the cache is replaced', async () => {
    const broken = anExecutable(join(cache(), 'nats-server-2.12.15'), 'nats-server', 'half');

    await findProgram('nats-server', search({ release: aRelease() }));

    expect(readFileSync(broken, 'utf8')).toContain('v2.12.15');
  });

  it.each([
    [
      'another sum than the pinned one',
      () => ({ ...aRelease(), sha256: '0'.repeat(64) }),
      /its SHA-256 is [0-9a-f]{64}, expected 0{64}; not used/,
    ],
    ['no answer but an error', () => ({ ...aRelease(), url: aRelease().url.replace('release.tar', 'gone.tar') }), /HTTP 404/],
    ['a program that does not run here', () => aRelease('Exec format error'), /its nats-server does not run here/],
    ['no server', () => ({ ...aRelease(), url: 'http://127.0.0.1:1/nats.tar.gz' }), /ECONNREFUSED/],
  ])('whose download has %s leaves nothing behind and says what to install', async (_, release, reason) => {
    const found = findProgram('nats-server', search({ release: release() }));

    await expect(found).rejects.toMatchObject({ code: 'program-missing', message: expect.stringMatching(reason) });
    await expect(found).rejects.toThrow(
      /^No usable nats-server: not on PATH; official release .*Install NATS server 2\.9 or newer .* so that `nats-server` is on PATH\.$/,
    );
    expect(entries()).toEqual([]);
  });
});

const hasApt = readdirSync('/usr/bin').includes('apt-get');

describe.runIf(hasApt)('from Debian', () => {
  it.for(['nats-server', 'docker-registry'] as const)('%s is unpacked into the cache and runs', async (name, context) => {
    const found = await findProgram(name, search({ sources: ['debian'] })).catch((error: Error) => {
      if (!/resolve|connect|took too long|locate package/i.test(error.message)) throw error;
      return context.skip(`no package mirror from here: ${error.message}`);
    });

    expect(found).toMatchObject({ origin: 'debian', path: expect.stringContaining(cache()) });
    expect(execFileSync(found.path, ['--version'], { encoding: 'utf8' })).toContain(found.version);
  });
});

describe('versions', () => {
  it.each([
    ['2.10.0', '2.9.0', true],
    ['2.9.0', '2.9.0', true],
    ['2.9.10', '2.10.0', false],
    ['3.0.0', '2.12.15', true],
  ])('%s is at least %s: %s', (version, oldest, expected) => {
    expect(isAtLeast(version, oldest)).toBe(expected);
  });
});
