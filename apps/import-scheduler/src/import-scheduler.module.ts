import { Module } from '@nestjs/common';
import { Clock } from '@millrace/platform/clock';
import { PullCredentials } from '@millrace/platform/pull-credentials';
import { Sealing } from '@millrace/platform/sealing';
import { CheckQueue } from './check-queue.ts';
import { EventsController } from './events.controller.ts';
import { Followers } from './followers.ts';
import { Hints } from './hints.ts';
import { ImageLookups } from './image-lookups.ts';
import { ImportQueue } from './import-queue.ts';
import { ImportWorkers } from './import-workers.ts';
import { Imports } from './imports.ts';
import { operatorCredentials } from './operator-credentials.ts';
import { OutsideImages } from './outside-images.ts';
import { RegistryPool } from './registry-pool.ts';
import { RequestsController } from './requests.controller.ts';
import { ScheduleMeasures } from './schedule-measures.ts';
import { ScheduleObjects } from './schedule-objects.ts';
import { Schedule } from './schedule.ts';
import { WantedImports } from './wanted-imports.ts';

/** What is in the service. */
@Module({
  controllers: [EventsController, RequestsController],
  providers: [
    Sealing,
    operatorCredentials,
    PullCredentials,
    RegistryPool,
    ImageLookups,
    Imports,
    WantedImports,
    ImportQueue,
    ImportWorkers,
    Clock,
    CheckQueue,
    Followers,
    Hints,
    OutsideImages,
    Schedule,
    ScheduleMeasures,
    ScheduleObjects,
  ],
})
export class ImportSchedulerModule {}
