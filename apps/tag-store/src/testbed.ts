import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { EventData } from '@millrace/contracts/define';
import type { MappingPublished, TagMoved } from '@millrace/contracts/events';
import type { TagReference } from '@millrace/domain/image-stream';
import { Bus } from '@millrace/platform/bus';
import { Clock } from '@millrace/platform/clock';
import type { Fact } from '@millrace/platform/facts';
import { createLog } from '@millrace/platform/log';
import { Store } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import { DueTags } from './due-tags.ts';
import { Mappings } from './mappings.ts';
import { database } from './tables.ts';
import { Tags } from './tags.ts';

/* What the specs of this room start from: an instance without its doors, and values that are valid until a spec says otherwise. */

export interface Instance {
  store: Store;
  changes: Changes;
  tags: Tags;
  mappings: Mappings;
  /** Looks at what is due only when it is told to. */
  due: DueTags;
  /** Acts on facts as one batch; answers the reasons of those that were refused. */
  apply: (...facts: MappingFact[]) => Promise<string[]>;
  /** Every tag.moved that was told, in order. */
  told: (stream?: string) => Promise<TagMoved[]>;
  /** Images of a tag's history, newest first. */
  history: (stream: string, tag?: string) => Promise<string[]>;
  close: () => Promise<void>;
}

export type MappingFact = EventData<typeof MappingPublished>;

export async function anInstance(
  urls: { database: string; nats: string },
  host = '',
  { clock = new Clock(), ...given }: { clock?: Clock; CDEVENTS?: boolean } = {},
): Promise<Instance> {
  const log = pino({ level: 'silent' });
  const bus = new Bus({ url: urls.nats, name: 'tag-store spec', retentionHours: 1, stopTimeoutMs: 500 }, log);
  const store = new Store({ ...database, url: urls.database, poolSize: 16 });
  await Promise.all([bus.open(), store.open()]);
  const config = { INTERNAL_REGISTRY_HOST: host, CHANGE_RETENTION_MINUTES: 60, CDEVENTS: false, ...given };
  const changes = new Changes(store, bus, config, log);
  const tags = new Tags(store, changes, config, createLog('silent'), clock);
  const mappings = new Mappings(store, tags, changes, config);
  const due = new DueTags(store, tags, clock, { EVENT_RETENTION_HOURS: 168 }, log, new Registry());
  changes.start();
  return {
    store,
    changes,
    tags,
    mappings,
    due,
    apply: async (...data) => {
      const reasons: string[] = [];
      await mappings.apply({
        read: (take) => data.map(asFact).map((fact) => ({ origin: fact, made: take(fact) })),
        settle: () => Promise.resolve(),
        refuse: (_tx, _fact, reason) => Promise.resolve(void reasons.push(reason)),
      });
      return reasons;
    },
    told: async (stream) =>
      (await store.query<{ body: string }>("SELECT body FROM outbox WHERE event = 'tag.moved' ORDER BY id"))
        .map((row) => JSON.parse(row.body) as TagMoved)
        .filter((move) => stream === undefined || move.stream === stream),
    history: async (stream, tag = 'latest') =>
      (
        await store.query<{ image: string }>(
          'SELECT i.image FROM tag_item i JOIN stream s ON s.uid = i.stream_uid WHERE s.name = $1 AND i.tag = $2 ORDER BY i.position DESC',
          [stream, tag],
        )
      ).map((row) => row.image),
    close: async () => {
      await changes.stop();
      await store.close();
      await bus.close();
    },
  };
}

/** A clock that stands still until it is set. */
export class SetClock extends Clock {
  constructor(private time: string) {
    super();
  }

  set(time: string): void {
    this.time = time;
  }

  override now(): Date {
    return new Date(this.time);
  }
}

/** A key under which an instance seals secrets. */
export const aSecretsKey = (): string => randomBytes(32).toString('base64');

/** The digest that stands for a letter or word. */
export const digest = (of: string): string => `sha256:${createHash('sha256').update(of).digest('hex')}`;

/** The `n`th second of a registry's day. */
export const second = (n: number): string => new Date(Date.UTC(2026, 0, 1) + n * 1000).toISOString();

/** A push of the image `of` to `demo/<stream>:latest`, accepted at the given second; its id is made of these unless given. */
export function aPush(stream: string, of: string, at: number, more: Partial<MappingFact> = {}): MappingFact {
  const tag = more.tag ?? 'latest';
  const id = more.id ?? `push ${stream}:${tag} ${of} ${at}`;
  return {
    namespace: 'demo',
    stream,
    tag,
    createStream: true,
    image: {
      metadata: { name: digest(of) },
      dockerImageReference: `registry.example/demo/${stream}@${digest(of)}`,
      dockerImageMetadata: { Id: digest(`config ${of}`), Config: { Labels: { commit: of } } },
    },
    children: [],
    source: { registry: 'main', eventId: id, observedAt: second(at), actor: 'ci' },
    ...more,
    id,
  };
}

const asFact = (data: MappingFact): Fact<typeof MappingPublished> => ({
  body: () => JSON.stringify(data),
  id: data.id,
  subject: `millrace.v1.mapping.published.${data.namespace}.${data.stream}.${data.tag}`,
  data,
  time: new Date(),
  traceparent: `00-${randomUUID().replaceAll('-', '')}-00f067aa0ba902b7-01`,
});

/** A stream with these spec tags. */
export async function aStream({ store }: Instance, name: string, tags: Partial<TagReference>[] = [], generation = 1): Promise<string> {
  const uid = randomUUID();
  await store.query('INSERT INTO stream (uid, namespace, name, created, generation, spec) VALUES ($1, $2, $3, now(), $4, $5)', [
    uid,
    'demo',
    name,
    generation,
    JSON.stringify({ lookupPolicy: { local: false }, tags }),
  ]);
  return uid;
}

/** A spec tag that follows another of its stream. */
export const following = (name: string, source: string): Partial<TagReference> => ({
  name,
  generation: 1,
  from: { kind: 'ImageStreamTag', name: source },
});
