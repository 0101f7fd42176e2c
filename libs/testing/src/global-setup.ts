import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startNats } from '@millrace/embedded/nats';
import { startPostgres } from '@millrace/embedded/postgres';

/**
 * One Postgres and one NATS for the run, unless TEST_POSTGRES_URL (a superuser's) and TEST_NATS_URL name running ones, or
 * TEST_CONTAINERS=true takes them from Docker through testcontainers: same tests, one switch.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = { postgres: process.env['TEST_POSTGRES_URL'], nats: process.env['TEST_NATS_URL'] };
  const made = process.env['TEST_CONTAINERS'] === 'true' ? await fromContainers(given) : await fromPrograms(given);
  project.provide('postgresUrl', made.postgres);
  project.provide('natsUrl', made.nats);
  return made.stop;
}

interface Servers {
  postgres: string;
  nats: string;
  stop: () => Promise<void>;
}
type Given = { [K in 'postgres' | 'nats']: string | undefined };

async function fromPrograms(given: Given): Promise<Servers> {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-tests-'));
  const [postgres, nats] = await Promise.all([
    given.postgres ? undefined : startPostgres({ dataDir: join(directory, 'postgres'), port: 0 }),
    given.nats ? undefined : startNats({ dataDir: join(directory, 'nats'), port: 0 }),
  ]);
  return {
    postgres: given.postgres ?? postgres?.superuserUrl ?? '',
    nats: given.nats ?? nats?.url ?? '',
    stop: async () => {
      await Promise.all([postgres?.stop(), nats?.stop()]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function fromContainers(given: Given): Promise<Servers> {
  const { GenericContainer, Wait } = await import('testcontainers');
  const postgres = given.postgres
    ? undefined
    : await new GenericContainer('postgres:18')
        .withEnvironment({ POSTGRES_PASSWORD: 'postgres' })
        .withExposedPorts(5432)
        .withCommand(['postgres', '-c', 'max_connections=200'])
        .withWaitStrategy(Wait.forListeningPorts())
        .start();
  const nats = given.nats
    ? undefined
    : await new GenericContainer('nats:2')
        .withExposedPorts(4222)
        .withCommand(['--jetstream'])
        .withWaitStrategy(Wait.forListeningPorts())
        .start();
  return {
    postgres: given.postgres ?? `postgres://postgres:postgres@${postgres?.getHost()}:${postgres?.getMappedPort(5432)}/postgres`,
    nats: given.nats ?? `nats://${nats?.getHost()}:${nats?.getMappedPort(4222)}`,
    stop: async () => void (await Promise.all([postgres?.stop(), nats?.stop()])),
  };
}
