import { Module } from '@nestjs/common';
import { Clock } from '@millrace/platform/clock';
import { METRICS } from '@millrace/platform/health';
import type { Log } from '@millrace/platform/log';
import { Resealing } from '@millrace/platform/resealing';
import { Sealing } from '@millrace/platform/sealing';
import { LOG } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import type { Registry } from 'prom-client';
import { Alarm } from './alarm.ts';
import { Builds } from './builds.ts';
import { Changes } from './changes.ts';
import { Deliveries } from './deliveries.ts';
import { DeliveryObjects } from './delivery-objects.ts';
import { DueChanges } from './due-changes.ts';
import { Endpoints } from './endpoints.ts';
import { EventsController } from './events.controller.ts';
import { Explanations } from './explanations.ts';
import { FanOutWorker } from './fan-out-worker.ts';
import { FanOuts } from './fan-outs.ts';
import { Firings } from './firings.ts';
import { FollowedTags } from './followed-tags.ts';
import { ImageTriggers } from './image-triggers.ts';
import { Outcomes } from './outcomes.ts';
import { PresetObjects } from './preset-objects.ts';
import { QueueMetrics } from './queue-metrics.ts';
import { Replays } from './replays.ts';
import { RequestsController } from './requests.controller.ts';
import { Retention } from './retention.ts';
import { sealedTable } from './tables.ts';
import { Timers } from './timers.ts';
import { TriggerActs } from './trigger-acts.ts';
import { TriggerDecisions } from './trigger-decisions.ts';
import { Triggers } from './triggers.ts';
import { WebhookTable } from './webhook-table.ts';
import { WebhookFindings } from './webhook-findings.ts';
import { WebhookRechecks } from './webhook-rechecks.ts';
import { WebhookRequests } from './webhook-requests.ts';
import { Webhooks } from './webhook.ts';
import { NamespaceSecrets } from './namespace-secrets.ts';
import { WorkloadTriggers } from './workload-triggers.ts';
import { Workloads } from './workloads.ts';

const resealing = {
  provide: Resealing,
  inject: [Store, Sealing, LOG, METRICS],
  useFactory: (store: Store, sealing: Sealing, log: Log, metrics: Registry) => new Resealing(sealedTable, { store, sealing, log, metrics }),
};

@Module({
  controllers: [EventsController, RequestsController],
  providers: [
    Alarm,
    Builds,
    Changes,
    Clock,
    Deliveries,
    DeliveryObjects,
    DueChanges,
    Endpoints,
    Explanations,
    FanOuts,
    FanOutWorker,
    Firings,
    FollowedTags,
    ImageTriggers,
    NamespaceSecrets,
    Outcomes,
    PresetObjects,
    QueueMetrics,
    Replays,
    Retention,
    Sealing,
    resealing,
    Timers,
    TriggerActs,
    TriggerDecisions,
    Triggers,
    WebhookFindings,
    WebhookRechecks,
    WebhookRequests,
    Webhooks,
    WebhookTable,
    Workloads,
    WorkloadTriggers,
  ],
})
export class TriggerDispatcherModule {}
