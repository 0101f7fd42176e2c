import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { Identity } from '@millrace/domain/access';
import { RegistryAllowList } from '@millrace/domain/allowed-registries';
import { INSECURE_ANNOTATION } from '@millrace/domain/import-plan';
import { IMAGE_GROUP, type ImageStream, type ImageStreamSpec, type NamedTagEventList, type TagEvent } from '@millrace/domain/image-stream';
import { validateLabels } from '@millrace/domain/labels';
import type { ObjectMeta } from '@millrace/domain/object-meta';
import {
  alreadyExists,
  type FieldError,
  forbiddenField,
  internalField,
  invalid,
  notFound,
  type Status,
  StatusError,
  success,
} from '@millrace/domain/status';
import { nextSpec, type StreamDefaults } from '@millrace/domain/stream-spec';
import { type Admission, validateStream } from '@millrace/domain/stream-validation';
import { rollbackReason } from '@millrace/domain/tag-change';
import { changedControls, keepControls } from '@millrace/domain/tag-control';
import { CONFIG } from '@millrace/platform/service';
import { Store, type Tx } from '@millrace/platform/store';
import { scheduleProblem } from '@millrace/platform/windows';
import { Changes, type Recorded } from './changes.ts';
import type { TagStoreConfig } from './config.ts';
import { jsonb } from './image-rows.ts';
import { type Listed, type ListRequest, pageOf, type Page } from './pages.ts';
import { resolveSources } from './sources.ts';
import type { StreamRow } from './tables.ts';
import { inSeconds, type LockedStream } from './stream-rows.ts';
import { Tags } from './tags.ts';
import { tellGone, tellWanted } from './wanted-imports.ts';
import { type Registries, streamView } from './views.ts';
import { checkPreconditions, checkUpdate, type Preconditions, type PutOptions, sameJson, withName, type WriteOptions } from './writes.ts';

export const STREAMS = { group: IMAGE_GROUP, resource: 'imagestreams' };
const KIND = 'ImageStream';
const BY_KIND = { group: IMAGE_GROUP, resource: KIND };

/** What a write wants a stream to be: its name, what a client may set of its metadata, and its spec. */
export type WantedStream = Pick<ImageStream, 'metadata' | 'spec'>;

/** A list, or a page of one. */
export interface Listing<T extends object = object> extends Omit<Page, 'keys' | 'deleted'> {
  items: T[];
}

/** A stream as a transaction leaves it; the number of the change is known when that has committed. */
export interface Written {
  stream: ImageStream;
  recorded?: Recorded;
}

/** The stream with the number that the commit gave it; in a dry run, or where nothing changed, as it is. */
export const numbered = ({ stream, recorded }: Written): ImageStream =>
  recorded?.resourceVersion ? { ...stream, metadata: { ...stream.metadata, resourceVersion: recorded.resourceVersion } } : stream;

/** Image streams. Each write locks the stream's row first and takes its number last. */
@Injectable()
export class Streams {
  readonly registries: Registries;
  readonly defaults: StreamDefaults;
  private readonly allowed: RegistryAllowList;

  constructor(
    private readonly store: Store,
    private readonly tags: Tags,
    private readonly changes: Changes,
    @Inject(CONFIG) config: TagStoreConfig,
  ) {
    this.registries = { internal: config.INTERNAL_REGISTRY_HOST, external: config.EXTERNAL_REGISTRY_HOST };
    this.allowed = new RegistryAllowList(config.ALLOWED_REGISTRIES, [config.INTERNAL_REGISTRY_HOST]);
    this.defaults = { importMode: config.IMPORT_MODE };
  }

  /** From where a stream may take images: what it names already it may keep. */
  admission(old: Pick<ImageStream, 'metadata' | 'spec'> | undefined): Admission {
    const known = new Set([old?.spec.dockerImageRepository, ...(old?.spec.tags ?? []).map((tag) => tag.from?.name)]);
    const isInsecure = old?.metadata.annotations?.[INSECURE_ANNOTATION] === 'true';
    return (pullSpec, insecure) =>
      known.has(pullSpec) ? undefined : this.allowed.refusalOf(pullSpec, insecure || isInsecure ? 'any' : 'secure');
  }

  async get(namespace: string, name: string, historyLimit?: number): Promise<ImageStream> {
    const [stream] = await this.read(this.store, 'namespace = $2 AND name = $3', [namespace, name], historyLimit);
    if (!stream) throw new StatusError(notFound(STREAMS, name));
    return stream;
  }

  list(request: ListRequest, historyLimit?: number): Promise<Listing<ImageStream>> {
    return this.store.transaction((tx) => this.page(tx, request, historyLimit), { isolation: 'REPEATABLE READ', readOnly: true });
  }

  /** Streams of which something is held back. */
  listControlled(request: ListRequest): Promise<Listing<ImageStream>> {
    const listed: Listed = { ...this.listed, table: 'controlled_stream', columns: '' };
    return this.store.transaction((tx) => this.page(tx, request, 1, listed), { isolation: 'REPEATABLE READ', readOnly: true });
  }

  async create(namespace: string, submitted: WantedStream, options: WriteOptions): Promise<ImageStream> {
    const wanted = { ...submitted, metadata: { ...withName(submitted.metadata), namespace } };
    return numbered(await this.store.write(options.dryRun, (tx) => this.write(tx, undefined, wanted, options.user)));
  }

  async update(namespace: string, name: string, submitted: WantedStream, options: PutOptions): Promise<ImageStream> {
    const written = await this.store.write(options.dryRun, async (tx) => {
      const old = await this.lock(tx, namespace, name);
      if (!old) throw new StatusError(notFound(STREAMS, name));
      checkUpdate(STREAMS, old.metadata, submitted.metadata);
      const spec = options.patched ? submitted.spec : { ...submitted.spec, tags: keepControls(old.spec.tags, submitted.spec.tags) };
      return this.write(tx, old, { spec, metadata: { ...submitted.metadata, namespace, name } }, options.user);
    });
    return numbered(written);
  }

  remove(namespace: string, name: string, preconditions: Preconditions, options: WriteOptions): Promise<Status> {
    return this.store.write(options.dryRun, async (tx) => {
      const old = await this.lock(tx, namespace, name, 'whole');
      if (!old) throw new StatusError(notFound(STREAMS, name));
      checkPreconditions(BY_KIND, old.metadata, preconditions);
      await this.erase(tx, old);
      return success({ name, group: IMAGE_GROUP, kind: STREAMS.resource, uid: old.metadata.uid });
    });
  }

  /** Deletes what the request selects, and answers what that was. */
  removeAll(request: ListRequest, options: WriteOptions): Promise<Listing<ImageStream>> {
    return this.store.write(options.dryRun, async (tx) => {
      const page = await this.page(tx, request, 1);
      const keys = page.items.map(({ metadata: { namespace = '', name = '' } }) => ({ namespace, name }));
      const locked = new Set([...(await this.tags.lock(tx, keys)).values()].map(({ uid }) => uid));
      // Read again: somebody may have written, deleted or made anew between the list and the lock.
      const uids = page.items.map(({ metadata }) => metadata.uid ?? '').filter((uid) => locked.has(uid));
      const current = new Map((await this.read(tx, 'uid = ANY($2)', [uids])).map((stream) => [stream.metadata.uid, stream]));
      const items = uids.map((uid) => current.get(uid)).filter((stream) => stream !== undefined);
      for (const stream of items) await this.erase(tx, stream);
      return { ...page, items };
    });
  }

  /** The stream as it stands, with the newest item of each tag or with whole histories; its row is locked until the transaction ends. */
  async lock(tx: Tx, namespace: string, name: string, history: 'newest' | 'whole' = 'newest'): Promise<ImageStream | undefined> {
    const [locked] = (await this.tags.lock(tx, [{ namespace, name }])).values();
    return locked && this.again(tx, locked.uid, history === 'newest' ? 1 : undefined);
  }

  /**
   * Stores a stream as wanted (made where there is no `old`, which is locked): generations, defaults, validation, and what its changed
   * tags get from their sources. Where nothing differs nothing is written. What it wants from registries now is told.
   */
  async write(tx: Tx, old: ImageStream | undefined, wanted: WantedStream, user: Identity, historyLimit?: number): Promise<Written> {
    const written = await this.writeQuietly(tx, old, wanted, user, historyLimit);
    if (written.recorded) tellWanted(tx, old, written.stream);
    return written;
  }

  /** {@link write} without a word of what the stream wants, for whoever has more to do to it first. */
  async writeQuietly(tx: Tx, old: ImageStream | undefined, wanted: WantedStream, user: Identity, historyLimit?: number): Promise<Written> {
    const { namespace = '', name = '' } = wanted.metadata;
    const now = new Date();
    const next = nextSpec(old && { spec: old.spec, generation: old.metadata.generation ?? 0 }, wanted.spec, {
      namespace,
      defaults: this.defaults,
    });
    const uid = old?.metadata.uid ?? randomUUID();
    const stream: ImageStream = {
      metadata: { ...wanted.metadata, uid, generation: next.generation },
      spec: next.spec,
      status: old?.status ?? { dockerImageRepository: '' },
    };
    const options = { user, internalRegistry: this.registries.internal, now: inSeconds(now) };
    const { events, errors } = await resolveSources(tx, stream, next.changedTags, options);
    refuse(stream, errors, this.admission(old));
    await holdRollbacks(tx, stream, events, user);

    if (old && !next.changed && sameJson(settable(old.metadata), settable(wanted.metadata)))
      return { stream: await this.again(tx, uid, historyLimit) };
    const row = [
      uid,
      next.generation,
      ...metadataColumns({ ...wanted.metadata, generateName: old?.metadata.generateName ?? wanted.metadata.generateName }),
    ];
    if (old)
      await tx.run('UPDATE stream SET generation = $2, labels = $3, annotations = $4, metadata = $5, spec = $6 WHERE uid = $1', [
        ...row,
        JSON.stringify(next.spec),
      ]);
    else {
      const inserted = await tx.run(
        `INSERT INTO stream (uid, generation, labels, annotations, metadata, spec, namespace, name, created)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (namespace, name) DO NOTHING`,
        [...row, JSON.stringify(next.spec), namespace, name, now],
      );
      if (!inserted) throw new StatusError(alreadyExists(STREAMS, name));
    }
    const recorded = this.record(tx, stream, old ? 'MODIFIED' : 'ADDED');
    const locked: LockedStream = { namespace, name, uid, generation: next.generation, spec: next.spec };
    const cause = { kind: 'tag' as const, id: randomUUID(), actor: user.name };
    const settling = changedControls(old?.spec.tags, next.spec.tags).map((tag) => ({ stream: locked, tag }));
    const changes = events.map(({ tag, event }) => ({ stream: locked, tag, event, cause }));
    const outcomes = await this.tags.settle(tx, { tags: settling, by: user.name }, changes);
    refuseDenied(
      stream,
      events.filter((_, i) => outcomes[i] === 'refused'),
    );
    const moved = events.filter((_, i) => outcomes[i] === 'moved').map(({ tag }) => tag);
    if (old) await this.tags.tellPullSpecs(tx, old, locked, new Set(moved));
    return { stream: await this.again(tx, uid, historyLimit), recorded };
  }

  /** {@link write} of a stream of which only the spec is to be another; it is answered with the newest item of each tag. */
  writeSpec(
    tx: Tx,
    old: ImageStream | undefined,
    key: { namespace: string; name: string },
    spec: ImageStreamSpec,
    user: Identity,
  ): Promise<Written> {
    return this.write(tx, old, { metadata: { ...old?.metadata, ...key }, spec }, user, 1);
  }

  /** Notes that the stream was changed by other means than {@link write}. */
  record(tx: Tx, { metadata }: Pick<ImageStream, 'metadata'>, type: 'ADDED' | 'MODIFIED'): Recorded {
    const { namespace = '', name = '', uid = '' } = metadata;
    return this.changes.record(tx, { resource: 'imagestreams', namespace, name, uid, type });
  }

  /** Streams of a condition on table `stream`, in one statement and so in one snapshot; parameters of the condition begin with $2. */
  async read(on: Pick<Tx, 'query'>, condition: string, parameters: unknown[], historyLimit?: number): Promise<ImageStream[]> {
    const rows = await on.query<StreamRow & { lists: NamedTagEventList[] | null }>(
      `SELECT uid, namespace, name, created, generation, resource_version AS "resourceVersion", labels, annotations, metadata, spec,
              (SELECT json_agg(json_build_object('tag', tag.name, 'items', history.items, 'conditions', tag.conditions, 'control', tag.control::json))
                 FROM tag LEFT JOIN LATERAL (
                   SELECT json_agg(json_build_object(
                            'created', to_char(item.created AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                            'dockerImageReference', item.reference, 'image', item.image, 'generation', item.generation)
                            ORDER BY item.position DESC) AS items
                     FROM (SELECT * FROM tag_item WHERE stream_uid = tag.stream_uid AND tag_item.tag = tag.name
                            ORDER BY position DESC LIMIT $1) AS item
                 ) AS history ON true
                WHERE tag.stream_uid = stream.uid AND (tag.items > 0 OR tag.conditions IS NOT NULL OR tag.control IS NOT NULL)) AS lists
         FROM stream WHERE ${condition}`,
      [historyLimit ?? null, ...parameters],
    );
    return rows.map(({ lists, ...row }) => streamView(row, lists ?? [], this.registries));
  }

  /** Items of one tag, newest first. */
  async history(on: Pick<Tx, 'query'>, uid: string, tag: string, limit?: number): Promise<TagEvent[]> {
    const rows = await on.query<{ created: Date; reference: string; image: string; generation: string }>(
      'SELECT created, reference, image, generation FROM tag_item WHERE stream_uid = $1 AND tag = $2 ORDER BY position DESC LIMIT $3',
      [uid, tag, limit ?? null],
    );
    return rows.map(({ created, reference, image, generation }) => ({
      created: inSeconds(created),
      dockerImageReference: reference,
      image,
      generation: Number(generation),
    }));
  }

  private async again(tx: Tx, uid: string, historyLimit?: number): Promise<ImageStream> {
    const [stream] = await this.read(tx, 'uid = $2', [uid], historyLimit);
    if (!stream) throw new Error(`stream ${uid} is gone though its row is locked`);
    return stream;
  }

  private async page(tx: Tx, request: ListRequest, historyLimit?: number, listed = this.listed): Promise<Listing<ImageStream>> {
    const { keys, deleted, ...page } = await pageOf(tx, listed, request);
    const streams = new Map((await this.read(tx, 'uid = ANY($2)', [keys], historyLimit)).map((stream) => [stream.metadata.uid, stream]));
    const items = keys.map((uid) => streams.get(uid) ?? (deleted.get(uid) as ImageStream | undefined));
    return { ...page, items: items.filter((stream) => stream !== undefined) };
  }

  private readonly listed: Listed = {
    table: 'stream',
    key: 'uid',
    resource: 'imagestreams',
    namespace: 'namespace',
    columns: `, spec ->> 'dockerImageRepository' AS repository`,
    fieldOf: ({ namespace, name, repository }, field) => {
      if (field === 'metadata.name') return name;
      if (field === 'metadata.namespace') return namespace;
      const own = typeof repository === 'string' ? repository : '';
      const { internal } = this.registries;
      return field === 'status.dockerImageRepository' && internal ? `${internal}/${namespace}/${name}` : own;
    },
  };

  /** The row goes, with all its tags; the feed keeps what it was. */
  private async erase(tx: Tx, stream: ImageStream): Promise<void> {
    const { namespace = '', name = '', uid = '' } = stream.metadata;
    await tx.run('DELETE FROM stream WHERE uid = $1', [uid]);
    tellGone(tx, stream);
    this.changes.record(tx, { resource: 'imagestreams', namespace, name, uid, type: 'DELETED', object: stream });
  }
}

function refuse(stream: ImageStream, sourceErrors: FieldError[], admission: Admission): void {
  const { namespace = '', name = '' } = stream.metadata;
  const errors = [...validateStream(stream, { namespace, admission, scheduleProblem }), ...validateLabels(stream.metadata)];
  // What is wrong with sources is one error inside another: clients have learnt to read it so.
  if (sourceErrors.length) errors.unshift(internalField('[]', invalid('', STREAMS.resource, name, sourceErrors).message ?? ''));
  if (errors.length) throw new StatusError(invalid(IMAGE_GROUP, KIND, name, errors));
}

/** Who tags is told that an image is denied. */
function refuseDenied({ metadata, spec }: ImageStream, events: readonly { tag: string; event: TagEvent }[]): void {
  const errors = events.map(({ tag, event }) => {
    const reason = spec.tags?.find(({ name }) => name === tag)?.control?.deny?.find(({ image }) => image === event.image)?.reason;
    return forbiddenField(`spec.tags[${tag}].from.name`, `${event.image} is denied for this tag${reason ? `: ${reason}` : ''}`);
  });
  if (errors.length) throw new StatusError(invalid(IMAGE_GROUP, KIND, metadata.name ?? '', errors));
}

/** Where a tag asks for it, holds it at an older image of its history that a person puts on it. */
async function holdRollbacks(
  tx: Tx,
  { metadata: { uid = '' }, spec, status }: ImageStream,
  events: readonly { tag: string; event: TagEvent }[],
  user: Identity,
): Promise<void> {
  for (const { tag, event } of events) {
    const specTag = spec.tags?.find(({ name }) => name === tag);
    const from = status.tags?.find((list) => list.tag === tag)?.items?.[0];
    if (!specTag?.control?.holdOnRollback || !event.image || event.image === from?.image) continue;
    const known = await tx.query('SELECT FROM tag_item WHERE stream_uid = $1 AND tag = $2 AND image = $3 LIMIT 1', [uid, tag, event.image]);
    if (known.length) specTag.control = { ...specTag.control, hold: { reason: rollbackReason(user.name, { from, to: event }) } };
  }
}

/** What a client may change of metadata. */
const settable = ({ labels, annotations, ownerReferences, finalizers, managedFields }: ObjectMeta) => ({
  labels,
  annotations,
  ownerReferences,
  finalizers,
  managedFields,
});

function metadataColumns({ labels, annotations, generateName, ownerReferences, finalizers, managedFields }: ObjectMeta): (string | null)[] {
  const rest = { generateName, ownerReferences, finalizers, managedFields };
  return [jsonb(labels), jsonb(annotations), sameJson(rest, null) ? null : jsonb(rest)];
}
