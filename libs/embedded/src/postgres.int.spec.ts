import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type PostgresOptions, type PostgresServer } from './postgres.ts';
import type { Exit } from './process.ts';

let dataDir: string;
let server: PostgresServer;
const others: string[] = [];

const start = async (options: Partial<PostgresOptions> = {}): Promise<void> => {
  server = await startPostgres({ dataDir, ...options });
};
const query = async (sql: string, url = server.url): Promise<unknown[][]> => {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<unknown[]>({ text: sql, rowMode: 'array' })).rows;
  } finally {
    await client.end();
  }
};

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'millrace-postgres-'));
  chmodSync(dataDir, 0o755);
  await start();
  await query('CREATE TABLE pushed (n int PRIMARY KEY)');
});
afterEach(() => others.splice(0).forEach((path) => rmSync(path, { recursive: true, force: true })));
afterAll(async () => {
  await server.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

describe('embedded PostgreSQL', () => {
  it('gives a role that owns its database and is no superuser', async () => {
    expect(await query('SELECT current_user, current_database(), rolsuper FROM pg_roles WHERE rolname = current_user')).toEqual([
      ['millrace', 'millrace', false],
    ]);
    await expect(query('CREATE DATABASE mine')).rejects.toThrow('permission denied');
    expect(await query('SELECT rolsuper FROM pg_roles WHERE rolname = current_user', server.superuserUrl)).toEqual([[true]]);
  });

  it.each([
    ['listen_addresses', '127.0.0.1'],
    ['unix_socket_directories', ''],
    ['fsync', 'on'],
    ['shared_buffers', '128MB'],
    ['max_connections', '100'],
    ['server_encoding', 'UTF8'],
    ['password_encryption', 'scram-sha-256'],
    ['TimeZone', 'UTC'],
  ])('runs with %s = %s', async (setting, value) => {
    expect(await query(`SELECT current_setting('${setting}')`, server.superuserUrl)).toEqual([[value]]);
  });

  it('compresses large values with lz4 where the build has it', async () => {
    const compression = await query(`SELECT setting, 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'`);

    expect([[['lz4', true]], [['pglz', false]]]).toContainEqual(compression);
  });

  it('sorts text by code point', async () => {
    expect((await query(`SELECT x FROM unnest(ARRAY['b', 'B', 'a', 'ä', '-']) AS x ORDER BY x`)).flat()).toEqual(['-', 'B', 'a', 'b', 'ä']);
  });

  it('asks for the password, which only the owner can read', async () => {
    const wrong = new URL(server.url);
    wrong.password = 'guess';

    await expect(query('SELECT 1', wrong.href)).rejects.toThrow('password authentication failed');
    expect(statSync(join(dataDir, 'credentials.json')).mode & 0o777).toBe(0o600);
    expect(Object.keys(JSON.parse(readFileSync(join(dataDir, 'credentials.json'), 'utf8')) as object)).toEqual(['superuser', 'role']);
  });

  it('keeps committed rows, the passwords and the URL’s port over a stop and a start', async () => {
    const before = server;
    await query('INSERT INTO pushed VALUES (1)');

    await server.stop();
    await start({ port: before.port });

    expect(server.url).toBe(before.url);
    expect(await query('SELECT n FROM pushed WHERE n = 1')).toEqual([[1]]);
  });

  it('keeps committed rows over a SIGKILL, and starts again at once', async () => {
    await query('INSERT INTO pushed VALUES (2)');
    const open = new pg.Client({ connectionString: server.url });
    open.on('error', () => undefined);
    await open.connect();

    await server.kill();
    expect(existsSync(join(dataDir, 'cluster', 'postmaster.pid'))).toBe(true);
    await start();

    expect(await query('SELECT n FROM pushed WHERE n = 2')).toEqual([[2]]);
    await open.end().catch(() => undefined);
  });

  it('starts although another program now has the pid of the postmaster that died', async () => {
    const lock = join(dataDir, 'cluster', 'postmaster.pid');
    await server.kill();
    writeFileSync(lock, readFileSync(lock, 'utf8').replace(/^\d+/, String(process.ppid)));

    await start();

    expect(await query('SELECT n FROM pushed WHERE n = 2')).toEqual([[2]]);
  });

  it('tells when it is killed from outside', async () => {
    await server.stop();
    const ended = Promise.withResolvers<Exit>();
    await start({ onExit: ended.resolve });

    process.kill(server.pid, 'SIGKILL');

    expect(await ended.promise).toEqual({ code: null, signal: 'SIGKILL' });
    await start();
  });

  it('says which port is taken', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'millrace-postgres-'));
    others.push(dir);

    await expect(startPostgres({ dataDir: dir, port: server.port, portSetting: 'MILLRACE_POSTGRES_PORT' })).rejects.toMatchObject({
      code: 'port-taken',
      message: expect.stringMatching(/PostgreSQL cannot listen on 127\.0\.0\.1:\d+: .*MILLRACE_POSTGRES_PORT/),
    });
  });

  it('begins anew where making the cluster was interrupted', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'millrace-postgres-'));
    others.push(dir);
    execFileSync('mkdir', ['-p', join(dir, 'cluster.12345', 'base')]);

    const fresh = await startPostgres({ dataDir: dir });

    expect(await query('SELECT 1', fresh.url)).toEqual([[1]]);
    expect(existsSync(join(dir, 'cluster.12345'))).toBe(false);
    await fresh.stop();
  });

  it.runIf(process.getuid?.() === 0)('runs as root on data below a directory that only root may enter', async () => {
    const closed = mkdtempSync(join(tmpdir(), 'millrace-postgres-'));
    others.push(closed);
    expect(statSync(closed).mode & 0o077).toBe(0);

    const fresh = await startPostgres({ dataDir: join(closed, 'data', 'postgres') });

    expect(await query('SELECT 1', fresh.url)).toEqual([[1]]);
    expect(statSync(`/proc/${fresh.pid}`).uid).not.toBe(0);
    await fresh.stop();
  });
});
