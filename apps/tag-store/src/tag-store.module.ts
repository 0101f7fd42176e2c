import { Module } from '@nestjs/common';
import { Sealing } from '@millrace/platform/sealing';
import { Changes } from './changes.ts';
import { DeadFactObjects } from './dead-facts.ts';
import { EventsController } from './events.controller.ts';
import { ImageTags } from './image-tags.ts';
import { Images } from './images.ts';
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
import { Tags } from './tags.ts';

const nouns = [
  Changes,
  Tags,
  Mappings,
  Streams,
  StreamStatus,
  StreamTags,
  ImageTags,
  StreamImages,
  Layers,
  Images,
  Signatures,
  Sealing,
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
