import type { ServiceDefinition } from '@millrace/platform/service';
import { Changes } from './changes.ts';
import { config } from './config.ts';
import { DueTags } from './due-tags.ts';
import { Resealing } from '@millrace/platform/resealing';
import { database } from './tables.ts';
import { TagStoreModule } from './tag-store.module.ts';

/** Owner of image streams, their tags and history, and images. */
export const service: ServiceDefinition = {
  name: 'tag-store',
  config,
  database,
  module: TagStoreModule,
  workers: [Changes, Resealing, DueTags],
};
