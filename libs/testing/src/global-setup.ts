import type { TestProject } from 'vitest/node';

/** One Postgres and one NATS for the run: those of TEST_POSTGRES_URL and TEST_NATS_URL. */
export default function setup(project: TestProject): void {
  project.provide('postgresUrl', process.env['TEST_POSTGRES_URL'] ?? '');
  project.provide('natsUrl', process.env['TEST_NATS_URL'] ?? '');
}
