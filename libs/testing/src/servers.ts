import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { inject } from 'vitest';
import { startNats } from '@millrace/embedded/nats';

declare module 'vitest' {
  interface ProvidedContext {
    /** Superuser's connection to the run's Postgres. */
    postgresUrl: string;
    natsUrl: string;
  }
}

/** A database of its own for one spec file; dropped by `drop`. */
export async function aDatabase(): Promise<{ url: string; drop: () => Promise<void> }> {
  const server = inject('postgresUrl');
  const name = `spec_${randomBytes(6).toString('hex')}`;
  await onServer(server, `CREATE DATABASE ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => onServer(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

async function onServer(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** A NATS server of its own for a spec that counts facts or takes the server down; `wipe` loses its disk. */
export async function aNatsServer(
  port = 0,
): Promise<{ url: string; kill: () => Promise<void>; restart: () => Promise<void>; wipe: () => Promise<void>; stop: () => Promise<void> }> {
  const dataDir = mkdtempSync(join(tmpdir(), 'millrace-nats-'));
  let server = await startNats({ dataDir, port });
  const again = { dataDir, port: server.port };
  return {
    url: server.url,
    kill: () => server.kill(),
    wipe: () => server.wipe(),
    restart: async () => {
      server = await startNats(again);
    },
    stop: async () => {
      await server.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
