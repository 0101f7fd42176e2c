import { defineConfig } from 'vitest/config';

/** Unit specs need nothing; `.int.` specs get one Postgres, NATS and registry for the run; `.e2e.` specs start the built product. */
export default defineConfig({
  test: {
    include: ['apps/*/src/**/*.spec.ts', 'libs/*/src/**/*.spec.ts', 'tools/**/*.spec.ts'],
    globalSetup: ['libs/testing/src/global-setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
