import type { ServiceDefinition } from '@millrace/platform/service';
import { config } from './config.ts';
import { leaveBodiesUnread, REQUEST_TIMEOUT_MS } from './http.controller.ts';
import { MappingWorkers } from './mapping-workers.ts';
import { RegistryMappingModule } from './registry-mapping.module.ts';
import { database } from './tables.ts';
import { Timers } from './timers.ts';

/** A registry says that something was pushed: this makes an image stream mapping of it, or a hint. */
export const service: ServiceDefinition<typeof config> = {
  name: 'registry-mapping',
  config,
  database,
  module: RegistryMappingModule,
  workers: [MappingWorkers, Timers],
  http: () => ({ requestTimeout: REQUEST_TIMEOUT_MS }),
  prepare: leaveBodiesUnread,
};
