import { Module } from '@nestjs/common';
import { PullCredentials } from '@millrace/platform/pull-credentials';
import { Sealing } from '@millrace/platform/sealing';
import { CheckQueue } from './check-queue.ts';
import { Clock } from './clock.ts';
import { EventsController } from './events.controller.ts';
import { Followers } from './followers.ts';
import { Hints } from './hints.ts';
import { operatorCredentials } from './operator-credentials.ts';
import { OutsideImages } from './outside-images.ts';
import { RequestsController } from './requests.controller.ts';
import { Schedule } from './schedule.ts';
import { ScheduleMeasures } from './schedule-measures.ts';
import { ScheduleObjects } from './schedule-objects.ts';
import { WantedImports } from './wanted-imports.ts';

/** What is in the service. */
@Module({
  controllers: [EventsController, RequestsController],
  providers: [
    CheckQueue,
    Clock,
    Followers,
    Hints,
    OutsideImages,
    PullCredentials,
    Schedule,
    ScheduleMeasures,
    ScheduleObjects,
    Sealing,
    WantedImports,
    operatorCredentials,
  ],
})
export class ImportSchedulerModule {}
