import { Module } from '@nestjs/common';
import { Changes } from './changes.ts';
import { EventsController } from './events.controller.ts';
import { Mappings } from './mappings.ts';
import { Tags } from './tags.ts';

@Module({ controllers: [EventsController], providers: [Changes, Tags, Mappings] })
export class TagStoreModule {}
