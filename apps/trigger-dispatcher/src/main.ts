import type { ServiceDefinition } from '@millrace/platform/service';
import { Changes } from './changes.ts';
import { config } from './config.ts';
import { Deliveries } from './deliveries.ts';
import { FanOutWorker } from './fan-out-worker.ts';
import { Resealing } from '@millrace/platform/resealing';
import { database } from './tables.ts';
import { Timers } from './timers.ts';
import { TriggerDispatcherModule } from './trigger-dispatcher.module.ts';

/** Owner of triggers, of build and deploy events and of webhook deliveries. */
export const service: ServiceDefinition<typeof config> = {
  name: 'trigger-dispatcher',
  config,
  database,
  module: TriggerDispatcherModule,
  workers: [Changes, Deliveries, FanOutWorker, Timers, Resealing],
};
