import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { access, constants, copyFile, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { EnvHttpProxyAgent, request } from 'undici';
import { EmbeddedServerError } from './process.ts';

const run = promisify(execFile);

export type ProgramName = 'nats-server' | 'docker-registry';

/** An official archive and its SHA-256; `executable` is the path inside. */
export interface Release {
  version: string;
  url: string;
  sha256: string;
  executable: string;
}

interface Recipe {
  /** What the executable is called on PATH, best first. */
  names: readonly string[];
  /** `--version` of the right program says this; other programs are called `registry` too. */
  signature: RegExp;
  oldest: string;
  debian: { package: string; executable: string };
  releases: Readonly<Partial<Record<string, Release>>>;
  install: string;
}

const nats = (platform: string, sha256: string): Release => ({
  version: '2.12.15',
  url: `https://github.com/nats-io/nats-server/releases/download/v2.12.15/nats-server-v2.12.15-${platform}.tar.gz`,
  sha256,
  executable: `nats-server-v2.12.15-${platform}/nats-server`,
});

const distribution = (platform: string, sha256: string): Release => ({
  version: '3.0.0',
  url: `https://github.com/distribution/distribution/releases/download/v3.0.0/registry_3.0.0_${platform}.tar.gz`,
  sha256,
  executable: 'registry',
});

const RECIPES: Record<ProgramName, Recipe> = {
  'nats-server': {
    names: ['nats-server'],
    signature: /nats-server/,
    oldest: '2.9.0',
    debian: { package: 'nats-server', executable: 'usr/sbin/nats-server' },
    // Sums from the official image: github.com/nats-io/nats-docker, 2.12.x/alpine3.22/Dockerfile at aa0caa5. It names no macOS archive.
    releases: {
      'linux-x64': nats('linux-amd64', '58ab8131f819263897e2fc38e503e1b755b63bcafeecc7d12582487df48ca15e'),
      'linux-arm64': nats('linux-arm64', 'b724db99fefbf8f5c808baa82819ee50350aee9734017e4a478f7e545cef3ab6'),
    },
    install:
      'Install NATS server 2.9 or newer (Debian, Ubuntu: apt install nats-server; macOS: brew install nats-server) so that `nats-server` is on PATH.',
  },
  'docker-registry': {
    names: ['docker-registry', 'registry'],
    signature: /distribution/,
    oldest: '2.7.0',
    debian: { package: 'docker-registry', executable: 'usr/bin/docker-registry' },
    // Sums from the official image: github.com/distribution/distribution-library-image, Dockerfile at a829ed8. Distribution releases no macOS archive.
    releases: {
      'linux-x64': distribution('linux_amd64', '61c9a2c0d5981a78482025b6b69728521fbc78506d68b223d4a2eb825de5ca3d'),
      'linux-arm64': distribution('linux_arm64', '6c2ee1d135626fa42e0d6fb66a0e0f42e22439e5050087d04f4c5ff53655892e'),
    },
    install:
      'Install the CNCF Distribution registry (Debian, Ubuntu: apt install docker-registry; ' +
      'elsewhere: go install github.com/distribution/distribution/v3/cmd/registry@v3.0.0) so that `docker-registry` or `registry` is on PATH.',
  },
};

export interface Program {
  path: string;
  /** `2.9.10`. */
  version: string;
  origin: 'path' | 'cache' | 'debian' | 'release';
}

export interface SearchOptions {
  /** PATH, XDG_CACHE_HOME and HOME are read from here; the process's environment, and the directories of daemons, where not given. */
  env?: NodeJS.ProcessEnv;
  progress?: (message: string) => void;
  /** Where to look after PATH and the cache, in this order. */
  sources?: readonly ('debian' | 'release')[];
  /** Instead of the pinned official one. */
  release?: Release;
}

/**
 * An executable of the program that runs here: from PATH, the user's cache, Debian's package or the pinned official release; the last two are unpacked
 * into the cache (nothing is installed into the system) and found there the next time.
 * @throws EmbeddedServerError `program-missing`: every place looked at, and what to install.
 */
export async function findProgram(name: ProgramName, options: SearchOptions = {}): Promise<Program> {
  const { env = withSystemDirectories(process.env), progress = () => undefined, sources = ['debian', 'release'] } = options;
  const recipe = RECIPES[name];
  const cache = cacheDirectory(env);
  const present = (await onPath(recipe, env)) ?? (await inCache(name, recipe, cache));
  if (present) return present;

  const failures = ['not on PATH'];
  for (const source of sources) {
    try {
      return source === 'debian'
        ? await fromDebian(name, recipe, cache, progress)
        : await fromRelease(name, recipe, cache, progress, options.release ?? recipe.releases[`${process.platform}-${process.arch}`]);
    } catch (error) {
      failures.push(reasonOf(error));
    }
  }
  throw new EmbeddedServerError({ code: 'program-missing', message: `No usable ${name}: ${failures.join('; ')}. ${recipe.install}` });
}

function cacheDirectory(env: NodeJS.ProcessEnv): string {
  const xdg = env['XDG_CACHE_HOME'];
  return join(xdg && isAbsolute(xdg) ? xdg : join(env['HOME'] || homedir(), '.cache'), 'millrace');
}

/** Debian keeps daemons in sbin, which is not on every user's PATH. */
function withSystemDirectories(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...env, PATH: [env['PATH'] ?? '', '/usr/local/sbin', '/usr/sbin'].join(delimiter) };
}

async function onPath(recipe: Recipe, env: NodeJS.ProcessEnv): Promise<Program | undefined> {
  const directories = (env['PATH'] ?? '').split(delimiter).filter(isAbsolute);
  for (const executable of recipe.names) {
    for (const directory of directories) {
      const path = join(directory, executable);
      const version = await usableVersion(path, recipe);
      if (version) return { path, version, origin: 'path' };
    }
  }
  return undefined;
}

async function inCache(name: ProgramName, recipe: Recipe, cache: string): Promise<Program | undefined> {
  const entries = await readdir(cache).catch(() => []);
  const newestFirst = entries.filter((entry) => entry.startsWith(`${name}-`)).sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  for (const entry of newestFirst) {
    const path = join(cache, entry, name);
    const version = await usableVersion(path, recipe);
    if (version) return { path, version, origin: 'cache' };
  }
  return undefined;
}

async function fromDebian(name: ProgramName, recipe: Recipe, cache: string, progress: (message: string) => void): Promise<Program> {
  const { package: debianPackage, executable } = recipe.debian;
  return unpacked(name, recipe, cache, 'debian', async (work) => {
    progress(`${name}: taking Debian's package`);
    const bounds = [
      '-o',
      'Acquire::http::Timeout=15',
      '-o',
      'Acquire::https::Timeout=15',
      '-o',
      'Acquire::Retries=1',
      '-o',
      'APT::Sandbox::User=root',
    ];
    const apt = (args: string[]) =>
      run('apt-get', [...bounds, '-qq', ...args], {
        cwd: work,
        timeout: 120_000,
        killSignal: 'SIGKILL',
        env: { ...process.env, LC_ALL: 'C' },
      });
    try {
      await apt(['download', debianPackage]);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new Error('no apt-get here', { cause: error });
      // Missing or outdated package lists: fetch lists of our own, which needs no root and leaves the system's as they are.
      progress(`${name}: fetching Debian's package lists`);
      await Promise.all(['lists/partial', 'archives/partial'].map((directory) => mkdir(join(work, directory), { recursive: true })));
      const own = ['-o', `Dir::State::Lists=${join(work, 'lists')}`, '-o', `Dir::Cache=${work}`];
      await apt([...own, 'update']);
      await apt([...own, 'download', debianPackage]);
    }
    const archive = (await readdir(work)).find((file) => file.endsWith('.deb'));
    if (!archive) throw new Error(`apt-get download ${debianPackage} left no .deb`);
    await run('dpkg-deb', ['-x', join(work, archive), join(work, 'tree')], { timeout: 60_000, killSignal: 'SIGKILL' });
    return { executable: join(work, 'tree', executable), version: archive.split('_')[1] ?? 'debian' };
  }).catch((error: unknown) => {
    throw new Error(`Debian's package: ${reasonOf(error)}`, { cause: error });
  });
}

async function fromRelease(
  name: ProgramName,
  recipe: Recipe,
  cache: string,
  progress: (message: string) => void,
  release: Release | undefined,
): Promise<Program> {
  if (!release) throw new Error(`no official archive is known for ${process.platform}-${process.arch}`);
  return unpacked(name, recipe, cache, 'release', async (work) => {
    progress(`${name}: downloading ${release.url}`);
    const archive = join(work, 'archive.tar.gz');
    await download(release, archive);
    await run('tar', ['-xzf', archive, '-C', work, release.executable], { timeout: 60_000, killSignal: 'SIGKILL' });
    return { executable: join(work, release.executable), version: release.version };
  }).catch((error: unknown) => {
    throw new Error(`official release ${release.url}: ${reasonOf(error)}`, { cause: error });
  });
}

const LARGEST_ARCHIVE = 200 * 1024 * 1024;

async function download(release: Release, file: string): Promise<void> {
  const signal = AbortSignal.timeout(180_000);
  let url = release.url;
  for (let redirects = 0; redirects < 6; redirects += 1) {
    // The agent honours HTTPS_PROXY and NO_PROXY, as the package manager that brought us here did.
    const { statusCode, headers, body } = await request(url, {
      dispatcher: new EnvHttpProxyAgent(),
      signal,
      headersTimeout: 20_000,
      bodyTimeout: 20_000,
    });
    const location = headers['location'];
    if (statusCode >= 300 && statusCode < 400 && typeof location === 'string') {
      await body.dump();
      url = new URL(location, url).href;
      continue;
    }
    if (statusCode !== 200) {
      await body.dump();
      throw new Error(`HTTP ${statusCode}`);
    }
    const hash = createHash('sha256');
    let bytes = 0;
    const measured = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        bytes += chunk.length;
        hash.update(chunk);
        done(bytes > LARGEST_ARCHIVE ? new Error(`more than ${LARGEST_ARCHIVE} bytes`) : null, chunk);
      },
    });
    await pipeline(Readable.from(body), measured, createWriteStream(file), { signal });
    const sum = hash.digest('hex');
    if (sum !== release.sha256) throw new Error(`its SHA-256 is ${sum}, expected ${release.sha256}; not used`);
    return;
  }
  throw new Error('too many redirects');
}

/** Unpacks in a directory of its own and moves the finished entry into place, so that a start beside this one sees all of it or nothing. */
async function unpacked(
  name: ProgramName,
  recipe: Recipe,
  cache: string,
  origin: 'debian' | 'release',
  fetchInto: (work: string) => Promise<{ executable: string; version: string }>,
): Promise<Program> {
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, '.unpacking-'));
  try {
    const got = await fetchInto(work);
    const version = await usableVersion(got.executable, recipe);
    if (!version) throw new Error(`its ${name} does not run here`);
    const entry = join(work, 'entry');
    await mkdir(entry);
    await copyFile(got.executable, join(entry, name));
    const place = join(cache, `${name}-${got.version}`);
    try {
      await rename(entry, place);
    } catch (error) {
      // Somebody beside us was faster, or an unusable entry lies there: only the latter is ours to replace.
      if (!(await usableVersion(join(place, name), recipe))) {
        await rm(place, { recursive: true, force: true });
        await rename(entry, place).catch(() => Promise.reject(error));
      }
    }
    return { path: join(place, name), version, origin };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The version that the executable reports; undefined when it is not there, another program, too old, or does not run. */
async function usableVersion(path: string, recipe: Recipe): Promise<string | undefined> {
  try {
    await access(path, constants.X_OK);
    const { stdout, stderr } = await run(path, ['--version'], { timeout: 10_000, killSignal: 'SIGKILL' });
    const said = stdout + stderr;
    const version = /\d+\.\d+\.\d+/.exec(said)?.[0];
    return version && recipe.signature.test(said) && isAtLeast(version, recipe.oldest) ? version : undefined;
  } catch {
    return undefined;
  }
}

/** Compares `1.2.3` versions by number. */
export function isAtLeast(version: string, oldest: string): boolean {
  return version.localeCompare(oldest, 'en', { numeric: true }) >= 0;
}

function reasonOf(error: unknown): string {
  const { message, stderr, killed } = error as Error & { stderr?: string; killed?: boolean };
  if (killed) return 'took too long';
  const lastWords = stderr?.trim().split('\n').at(-1);
  return lastWords ? lastWords : message;
}
