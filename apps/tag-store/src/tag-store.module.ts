import { Module } from '@nestjs/common';
import { Clock } from '@millrace/platform/clock';
import { METRICS } from '@millrace/platform/health';
import type { Log } from '@millrace/platform/log';
import { Resealing } from '@millrace/platform/resealing';
import { Sealing } from '@millrace/platform/sealing';
import { LOG } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import type { Registry } from 'prom-client';
import { Changes } from './changes.ts';
import { DeadFactObjects } from './dead-facts.ts';
import { DueTags } from './due-tags.ts';
import { EventsController } from './events.controller.ts';
import { Explanations } from './explanations.ts';
import { ImageTags } from './image-tags.ts';
import { Images } from './images.ts';
import { Imports } from './imports.ts';
import { Layers } from './layers.ts';
import { Mappings } from './mappings.ts';
import { Namespaces } from './namespaces.ts';
import { ObjectChanges } from './object-changes.ts';
import { Objects } from './objects.ts';
import { Projects } from './projects.ts';
import { RequestsController } from './requests.controller.ts';
import { Secrets } from './secrets.ts';
import { ServiceAccounts } from './service-accounts.ts';
import { Signatures } from './signatures.ts';
import { StreamImages } from './stream-images.ts';
import { StreamStatus } from './stream-status.ts';
import { StreamTags } from './stream-tags.ts';
import { Streams } from './streams.ts';
import { sealedTable } from './tables.ts';
import { TagChanges } from './tag-changes.ts';
import { Tags } from './tags.ts';

const resealing = {
  provide: Resealing,
  inject: [Store, Sealing, LOG, METRICS],
  useFactory: (store: Store, sealing: Sealing, log: Log, metrics: Registry) => new Resealing(sealedTable, { store, sealing, log, metrics }),
};

const nouns = [
  Clock,
  Changes,
  Tags,
  Mappings,
  Imports,
  Streams,
  StreamStatus,
  StreamTags,
  ImageTags,
  TagChanges,
  DueTags,
  Explanations,
  StreamImages,
  Layers,
  Images,
  Signatures,
  Sealing,
  resealing,
  Secrets,
  ServiceAccounts,
  Namespaces,
  Projects,
  ObjectChanges,
  DeadFactObjects,
  Objects,
];

@Module({ controllers: [EventsController, RequestsController], providers: nouns })
export class TagStoreModule {}
