import { Module } from '@nestjs/common';
import { EventsController } from './events.controller.ts';
import { WantedImports } from './wanted-imports.ts';

/** What is in the service. */
@Module({ controllers: [EventsController], providers: [WantedImports] })
export class ImportSchedulerModule {}
