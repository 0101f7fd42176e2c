import { Module } from '@nestjs/common';
import { HttpController } from './http.controller.ts';
import { EventsController } from './events.controller.ts';
import { Hints } from './hints.ts';
import { IdentityTokens } from './identity-tokens.ts';
import { MappingWorkers } from './mapping-workers.ts';
import { Measures } from './measures.ts';
import { Notifications } from './notifications.ts';
import { PushQueue } from './push-queue.ts';
import { Registries } from './registries.ts';
import { RegistryMapping } from './registry-mapping.ts';
import { RequestsController } from './requests.controller.ts';
import { Senders } from './senders.ts';
import { Submitted } from './submitted.ts';
import { Timers } from './timers.ts';

/** What is in the service. */
@Module({
  controllers: [HttpController, EventsController, RequestsController],
  providers: [
    RegistryMapping,
    MappingWorkers,
    PushQueue,
    Registries,
    Senders,
    IdentityTokens,
    Hints,
    Submitted,
    Notifications,
    Measures,
    Timers,
  ],
})
export class RegistryMappingModule {}
