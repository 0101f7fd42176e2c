import type { ServiceDefinition } from '@millrace/platform/service';
import { Changes } from './changes.ts';
import { config } from './config.ts';
import { Deliveries } from './deliveries.ts';
import { DueChanges } from './due-changes.ts';
import { FanOutWorker } from './fan-out-worker.ts';
import { Resealing } from '@millrace/platform/resealing';
import { NamespaceSecrets } from './namespace-secrets.ts';
import { database } from './tables.ts';
import { Timers } from './timers.ts';
import { WebhookFindings } from './webhook-findings.ts';
import { WebhookRechecks } from './webhook-rechecks.ts';
import { TriggerDispatcherModule } from './trigger-dispatcher.module.ts';

/** Owner of triggers, of build and deploy events and of webhook deliveries. */
export const service: ServiceDefinition<typeof config> = {
  name: 'trigger-dispatcher',
  config,
  database,
  module: TriggerDispatcherModule,
  workers: [Changes, NamespaceSecrets, WebhookFindings, WebhookRechecks, Deliveries, FanOutWorker, DueChanges, Timers, Resealing],
};
