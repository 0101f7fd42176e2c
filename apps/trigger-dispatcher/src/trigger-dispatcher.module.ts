import { Module } from '@nestjs/common';
import { Sealing } from '@millrace/platform/sealing';
import { Builds } from './builds.ts';
import { Changes } from './changes.ts';
import { Deliveries } from './deliveries.ts';
import { DeliveryObjects } from './delivery-objects.ts';
import { EventsController } from './events.controller.ts';
import { Firings } from './firings.ts';
import { FollowedTags } from './followed-tags.ts';
import { ImageTriggers } from './image-triggers.ts';
import { Outcomes } from './outcomes.ts';
import { RequestsController } from './requests.controller.ts';
import { Retention } from './retention.ts';
import { Timers } from './timers.ts';
import { Triggers } from './triggers.ts';
import { WebhookTable } from './webhook-table.ts';
import { Webhooks } from './webhook.ts';
import { WorkloadTriggers } from './workload-triggers.ts';
import { Workloads } from './workloads.ts';

@Module({
  controllers: [EventsController, RequestsController],
  providers: [
    Builds,
    Changes,
    Deliveries,
    DeliveryObjects,
    Firings,
    FollowedTags,
    ImageTriggers,
    Outcomes,
    Retention,
    Sealing,
    Timers,
    Triggers,
    Webhooks,
    WebhookTable,
    Workloads,
    WorkloadTriggers,
  ],
})
export class TriggerDispatcherModule {}
