import type { ServiceDefinition } from '@millrace/platform/service';
import { config } from './config.ts';
import { ImportSchedulerModule } from './import-scheduler.module.ts';
import { database } from './tables.ts';

/** Looks at images in registries outside, when asked to and when a stream's spec wants it. */
export const service: ServiceDefinition<typeof config> = {
  name: 'import-scheduler',
  config,
  database,
  module: ImportSchedulerModule,
};
