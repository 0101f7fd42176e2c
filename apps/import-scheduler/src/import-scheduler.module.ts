import { Module } from '@nestjs/common';
import { PullCredentials } from '@millrace/platform/pull-credentials';
import { Sealing } from '@millrace/platform/sealing';
import { EventsController } from './events.controller.ts';
import { ImageLookups } from './image-lookups.ts';
import { ImportQueue } from './import-queue.ts';
import { ImportWorkers } from './import-workers.ts';
import { Imports } from './imports.ts';
import { RegistryPool } from './registry-pool.ts';
import { RequestsController } from './requests.controller.ts';
import { WantedImports } from './wanted-imports.ts';

/** What is in the service. */
@Module({
  controllers: [EventsController, RequestsController],
  providers: [Sealing, PullCredentials, RegistryPool, ImageLookups, Imports, WantedImports, ImportQueue, ImportWorkers],
})
export class ImportSchedulerModule {}
