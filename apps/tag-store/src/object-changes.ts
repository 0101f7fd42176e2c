import { Injectable } from '@nestjs/common';
import type { ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import {
  fieldsOf,
  Images,
  ImageStreams,
  Namespaces as NamespacesResource,
  ServiceAccounts as ServiceAccountsResource,
} from '@millrace/contracts/resources';
import type { ObjectMeta } from '@millrace/domain/object-meta';
import { matchesFields, matchesLabels, parseFieldSelector, parseLabelSelector } from '@millrace/domain/selectors';
import { badRequest, gone, StatusError } from '@millrace/domain/status';
import type { Tx } from '@millrace/platform/store';
import { type Change, Changes, type FeedEntry } from './changes.ts';
import { readImages } from './images.ts';
import { Namespaces } from './namespaces.ts';
import { ServiceAccounts } from './service-accounts.ts';
import { Streams } from './streams.ts';
import { asObject, type Kind } from './views.ts';

type Question = Extract<ObjectQuestion, { verb: 'changes' }>;
type Told = Extract<ObjectAnswer, { kind: 'changes' }>['changes'][number];
type Shown = { metadata: ObjectMeta };

/** How the feed tells objects of one resource. */
interface Feed<T extends Shown> {
  resource: Change['resource'];
  kind: Kind;
  fields: readonly string[];
  read: (tx: Tx, uids: string[]) => Promise<T[]>;
}

/** The change feed as objects, for who watches. */
@Injectable()
export class ObjectChanges {
  constructor(
    private readonly changes: Changes,
    private readonly streams: Streams,
    private readonly namespaces: Namespaces,
    private readonly serviceAccounts: ServiceAccounts,
  ) {}

  ofStreams(question: Question): Promise<ObjectAnswer> {
    const read = (tx: Tx, uids: string[]) => this.streams.read(tx, 'uid = ANY($2)', [uids]);
    return this.answer(question, { resource: 'imagestreams', kind: 'ImageStream', fields: fieldsOf(ImageStreams), read });
  }

  ofImages(question: Question): Promise<ObjectAnswer> {
    const read = (tx: Tx, uids: string[]) => readImages(tx, 'uid = ANY($1)', [uids]);
    return this.answer(question, { resource: 'images', kind: 'Image', fields: fieldsOf(Images), read });
  }

  /** Of those that somebody made. */
  ofNamespaces(question: Question, kind: 'Namespace' | 'Project'): Promise<ObjectAnswer> {
    const read = (tx: Tx, uids: string[]) => this.namespaces.read(tx, 'made AND uid = ANY($1)', [uids]);
    return this.answer(question, { resource: 'namespaces', kind, fields: fieldsOf(NamespacesResource), read });
  }

  ofServiceAccounts(question: Question): Promise<ObjectAnswer> {
    const read = (tx: Tx, uids: string[]) => this.serviceAccounts.read(tx, 'uid = ANY($1)', [uids]);
    return this.answer(question, { resource: 'serviceaccounts', kind: 'ServiceAccount', fields: fieldsOf(ServiceAccountsResource), read });
  }

  /**
   * What has changed of the objects that the question selects. An object that was changed and is not selected as it is now may have
   * been before: it is told as DELETED, which means nothing to who has not seen it.
   */
  private async answer<T extends Shown>(question: Question, feed: Feed<T>): Promise<ObjectAnswer> {
    const { namespace, name, since, limit, waitMs, labelSelector = '', fieldSelector = '' } = question;
    if (!/^\d+$/.test(since)) throw new StatusError(badRequest(`resourceVersion: Invalid value: ${JSON.stringify(since)}: not a number`));
    const labels = parseLabelSelector(labelSelector);
    const fields = parseFieldSelector(fieldSelector, feed.fields);
    const selects = (object: T) =>
      matchesLabels(labels, object.metadata.labels) && matchesFields(fields, (field) => fieldOf(object, field));

    const told = await this.changes.read({ resource: feed.resource, namespace, name, since, limit, waitMs }, async (tx, entries) => {
      const present = entries.filter((entry) => entry.lastState === null).map((entry) => entry.uid);
      const objects = new Map((await feed.read(tx, present)).map((object) => [object.metadata.uid, object]));
      return entries.flatMap((entry): Told[] => {
        const object = entry.lastState === null ? objects.get(entry.uid) : (JSON.parse(entry.lastState) as T);
        const type = object && typeTold(entry.type, selects(object));
        return type ? [{ type, object: asObject(feed.kind, object) }] : [];
      });
    });
    if (told.kind === 'expired') throw new StatusError(gone(`too old resource version: ${since} (${told.oldest})`));
    return told;
  }
}

function typeTold(type: FeedEntry['type'], selected: boolean): FeedEntry['type'] | undefined {
  if (selected) return type;
  return type === 'MODIFIED' ? 'DELETED' : undefined;
}

function fieldOf(object: Shown, field: string): string {
  const value = field.split('.').reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], object);
  return typeof value === 'string' ? value : '';
}
