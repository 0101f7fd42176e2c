import { Controller, Inject, Injectable, Module, type Type } from '@nestjs/common';
import type { Owner } from '@millrace/contracts/define';
import {
  objectsRequestOf,
  touchedRequestOf,
  TagStoreTouched,
  type ObjectAnswer,
  type ObjectQuestion,
  type Touched,
} from '@millrace/contracts/requests';
import { resources, type Resource } from '@millrace/contracts/resources';
import { alreadyExists, conflict, gone, notFound, success, type Status } from '@millrace/domain/status';
import { Bell } from '@millrace/platform/backoff';
import { integer } from '@millrace/platform/config';
import { OnRequest } from '@millrace/platform/doors';
import { startService, type RunningService, type ServiceDefinition } from '@millrace/platform/service';

interface Stored {
  kind: string;
  apiVersion: string;
  metadata: {
    name: string;
    namespace?: string;
    resourceVersion: string;
    uid: string;
    labels?: Record<string, string>;
    [key: string]: unknown;
  };
  [key: string]: unknown;
}
type Change = { type: 'ADDED' | 'MODIFIED' | 'DELETED'; resource: string; object: Stored };

/** An outside room for the api's specs: it owns objects in a Map and knows none of their rules. */
@Injectable()
export class MapOwner {
  private readonly objects = new Map<string, Stored>();
  private readonly log: Change[] = [];
  private readonly bells = new Set<Bell>();
  private revision = 100;
  /** Every question that was asked. */
  readonly asked: ObjectQuestion[] = [];
  touchedAsked = 0;
  /** So many updates are answered with a conflict. */
  conflicts = 0;
  /** Changes up to here are forgotten. */
  forgotten = 0;
  /** Sent with every object. */
  warnings: string[] | undefined;

  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    this.asked.push(question);
    const resource = resources.find((one) => one.resource === question.resource);
    if (!resource) return refused(notFound({ group: '', resource: question.resource }, ''));
    switch (question.verb) {
      case 'get': {
        const found = this.objects.get(keyOf(resource, question.namespace, question.name));
        return found ? this.told(found, 200) : refused(notFound(resource, question.name));
      }
      case 'list':
        return this.list(resource, question);
      case 'create':
        return this.create(resource, question);
      case 'update':
        return this.update(resource, question);
      case 'delete': {
        const key = keyOf(resource, question.namespace, question.name);
        const found = this.objects.get(key);
        if (!found) return refused(notFound(resource, question.name));
        if (question.preconditions?.uid && question.preconditions.uid !== found.metadata.uid)
          return refused(conflict(resource, question.name, 'the UID in the precondition does not match'));
        if (!question.dryRun) this.drop(resource, key, found);
        return {
          kind: 'object',
          code: 200,
          object: success({ name: question.name, group: resource.group, kind: resource.resource, uid: found.metadata.uid }),
        };
      }
      case 'deletecollection': {
        const found = this.selected(resource, question);
        for (const object of found) this.drop(resource, keyOf(resource, object.metadata.namespace, object.metadata.name), object);
        return { kind: 'list', items: found, resourceVersion: String(this.revision) };
      }
      case 'changes':
        return this.changes(resource, question);
      default:
        return question satisfies never;
    }
  }

  async touched(since?: string): Promise<Touched> {
    this.touchedAsked++;
    const position = String(this.revision);
    if (since === undefined || Number(since) < this.forgotten) return { position };
    const changes = this.log.filter(({ object }) => Number(object.metadata.resourceVersion) > Number(since));
    const objects = changes.map(({ type, resource, object: { metadata } }) => ({
      ...{ type, resource },
      namespace: metadata.namespace ?? '',
      name: metadata.name,
    }));
    return { position, objects };
  }

  /** Stores what a test gives, as if it had been created. */
  put(
    resource: Resource,
    object: Record<string, unknown> & { metadata: { name: string; namespace?: string; [key: string]: unknown } },
  ): Stored {
    const key = keyOf(resource, object.metadata.namespace, object.metadata.name);
    const before = this.objects.get(key);
    const stored = this.stamped(resource, object, before);
    this.objects.set(key, stored);
    this.tell({ type: before ? 'MODIFIED' : 'ADDED', resource: resource.resource, object: stored });
    return stored;
  }

  private list(resource: Resource, question: Extract<ObjectQuestion, { verb: 'list' }>): ObjectAnswer {
    const all = this.selected(resource, question);
    const from = Number(question.continue ?? 0);
    const to = from + (question.limit ?? all.length);
    const left = all.length - to;
    return {
      kind: 'list',
      items: all.slice(from, to),
      resourceVersion: String(this.revision),
      ...(left > 0 ? { continue: String(to), remainingItemCount: left } : {}),
    };
  }

  private create(resource: Resource, question: Extract<ObjectQuestion, { verb: 'create' }>): ObjectAnswer {
    const object = question.object as Stored;
    if (question.subresource) return this.told(this.objects.get(keyOf(resource, question.namespace, question.name ?? '')), 201);
    if (this.objects.has(keyOf(resource, question.namespace, object.metadata.name)))
      return refused(alreadyExists(resource, object.metadata.name));
    return this.told(question.dryRun ? this.stamped(resource, object) : this.put(resource, object), 201);
  }

  private update(resource: Resource, question: Extract<ObjectQuestion, { verb: 'update' }>): ObjectAnswer {
    const object = question.object as Stored;
    const found = this.objects.get(keyOf(resource, question.namespace, question.name));
    if (!found) return refused(notFound(resource, question.name));
    const stale = object.metadata.resourceVersion !== undefined && object.metadata.resourceVersion !== found.metadata.resourceVersion;
    if (this.conflicts-- > 0 || stale) return refused(conflict(resource, question.name, 'the object has been modified'));
    return this.told(question.dryRun ? this.stamped(resource, object, found) : this.put(resource, object), 200);
  }

  private async changes(resource: Resource, question: Extract<ObjectQuestion, { verb: 'changes' }>): Promise<ObjectAnswer> {
    const since = Number(question.since);
    if (since < this.forgotten) return refused(gone(`too old resource version: ${since} (${this.forgotten})`));
    const deadline = Date.now() + question.waitMs;
    const bell = new Bell();
    this.bells.add(bell);
    try {
      for (;;) {
        const found = this.log.flatMap((one): Change[] => {
          const concerns = one.resource === resource.resource && Number(one.object.metadata.resourceVersion) > since;
          if (!concerns || !matches(one.object, { namespace: question.namespace })) return [];
          if (matches(one.object, question)) return [one];
          return one.type === 'MODIFIED' ? [{ ...one, type: 'DELETED' }] : [];
        });
        if (found.length || Date.now() >= deadline)
          return {
            kind: 'changes',
            changes: found.slice(0, question.limit).map(({ type, object }) => ({ type, object })),
            resourceVersion:
              found.length > question.limit ? String(found[question.limit - 1]?.object.metadata.resourceVersion) : String(this.revision),
          };
        await bell.wait(deadline - Date.now());
      }
    } finally {
      this.bells.delete(bell);
    }
  }

  private drop(resource: Resource, key: string, object: Stored): void {
    this.objects.delete(key);
    const metadata = { ...object.metadata, resourceVersion: String(++this.revision) };
    this.tell({ type: 'DELETED', resource: resource.resource, object: { ...object, metadata } });
  }

  private tell(change: Change): void {
    this.log.push(change);
    for (const bell of this.bells) bell.ring();
  }

  private stamped(resource: Resource, object: Record<string, unknown> & { metadata: object }, before?: Stored): Stored {
    const metadata = {
      ...object.metadata,
      uid: before?.metadata.uid ?? `uid-${this.revision}`,
      resourceVersion: String(++this.revision),
      creationTimestamp: before?.metadata['creationTimestamp'] ?? '2026-11-21T01:00:00Z',
    };
    return { ...object, kind: resource.kind, apiVersion: resource.group ? `${resource.group}/v1` : 'v1', metadata } as unknown as Stored;
  }

  private told(object: Stored | undefined, code: number): ObjectAnswer {
    return { kind: 'object', code, object, ...(this.warnings ? { warnings: this.warnings } : {}) };
  }

  private selected(resource: Resource, question: { namespace?: string; labelSelector?: string; fieldSelector?: string }): Stored[] {
    return [...this.objects]
      .filter(([key, object]) => key.startsWith(`${resource.resource}/`) && matches(object, question))
      .map(([, object]) => object)
      .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }
}

const refused = (status: Status): ObjectAnswer => ({ kind: 'refused', status });
const keyOf = (resource: Resource, namespace: string | undefined, name: string): string =>
  `${resource.resource}/${namespace ?? ''}/${name}`;

function matches(
  object: Stored,
  { namespace, labelSelector, fieldSelector }: { namespace?: string; labelSelector?: string; fieldSelector?: string },
): boolean {
  if (namespace !== undefined && object.metadata.namespace !== namespace) return false;
  const [key, value] = (labelSelector ?? '').split('=');
  if (key && object.metadata.labels?.[key] !== value) return false;
  return !fieldSelector || fieldSelector.split(',').every((one) => one === `metadata.name=${object.metadata.name}`);
}

/** Starts a MapOwner as the service of that name. */
export async function anOwner(name: Owner, natsUrl: string): Promise<{ owner: MapOwner; service: RunningService }> {
  @Controller()
  class Door {
    constructor(@Inject(MapOwner) private readonly owner: MapOwner) {}

    @OnRequest(objectsRequestOf(name))
    async objects(question: ObjectQuestion): Promise<ObjectAnswer> {
      return this.owner.answer(question);
    }

    @OnRequest(touchedRequestOf(name) ?? TagStoreTouched)
    async touched({ since }: { since?: string }): Promise<Touched> {
      return this.owner.touched(since);
    }
  }
  @Module({ controllers: [Door], providers: [MapOwner] })
  class OwnerModule {}
  const definition: ServiceDefinition = { name, config: { HTTP_PORT: integer(0, 65_535).default(0) }, module: OwnerModule as Type };
  // Written differently, so that it is asked over NATS as a service in a process of its own is.
  const service = await startService(definition, { NATS_URL: `${natsUrl}/`, HTTP_PORT: '0', LOG_LEVEL: 'silent' });
  return { owner: service.app.get(MapOwner), service };
}
