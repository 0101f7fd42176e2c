import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { EventContract, EventData } from '@millrace/contracts/define';
import type { MappingPublished, MappingSubmitted, MoveCause } from '@millrace/contracts/events';
import { ImageStreamMappings } from '@millrace/contracts/resources';
import type { Identity } from '@millrace/domain/access';
import { completeImage, validateImage } from '@millrace/domain/image-content';
import type { Image } from '@millrace/domain/image';
import { checkMapping, mappedPullSpec, readMapping, type Mapping } from '@millrace/domain/mapping';
import { badRequest, notFound, type Status, StatusError, success } from '@millrace/domain/status';
import { streamNameProblems, namespaceProblems } from '@millrace/domain/stream-names';
import { sortableInstant } from '@millrace/domain/tag-history';
import { pause } from '@millrace/platform/backoff';
import type { Fact, FactBatch } from '@millrace/platform/facts';
import { CONFIG } from '@millrace/platform/service';
import { isTransient, Store, type Tx } from '@millrace/platform/store';
import { currentTrace } from '@millrace/platform/trace';
import { Changes } from './changes.ts';
import type { TagStoreConfig } from './config.ts';
import { type ImageTraits, tellCreated, traitsOf } from './created-images.ts';
import { insertImages, knownImages, type NewImage, storedImage } from './image-rows.ts';
import { insertStreams, inSeconds, lockStreams, repositoryOf, streamKey, type LockedStream } from './stream-rows.ts';
import { published } from './submitted.ts';
import { type TagChange, type TagOutcome, Tags } from './tags.ts';

/** A mapping on its way into the store, with what only its origin knows. Of the image it keeps what is stored, not what it was read from. */
interface Wanted extends NewImage {
  mapping: Pick<Mapping, 'namespace' | 'stream' | 'tag'> & { image: Pick<Mapping['image'], 'metadata' | 'dockerImageReference'> };
  traits: ImageTraits;
  createStream: boolean;
  created: string;
  source?: { registry: string; observedAt: string };
  cause: MoveCause;
  traceparent?: string;
}

export interface PostedMapping {
  namespace: string;
  object: unknown;
  dryRun: boolean;
  user: Identity;
}

interface Posted {
  wanted: Wanted;
  settle: (outcome: Put | Error) => void;
}

/** What became of a mapping: why it is refused, or that its image is in; then it may wait. */
interface Put {
  refusal?: Status;
  warning?: string;
}

/** How many posted mappings go into one transaction. */
const POSTS_AT_ONCE = 200;
const ATTEMPTS = 6;
const CREATED: Status = { ...success(), code: 201 };

/** What was pushed: as facts from registries, and as mappings posted to the API. Both go one way into streams, images and tags. */
@Injectable()
export class Mappings {
  private readonly posted: Posted[] = [];
  private storing = false;

  constructor(
    private readonly store: Store,
    private readonly tags: Tags,
    private readonly changes: Changes,
    @Inject(CONFIG) private readonly config: Pick<TagStoreConfig, 'INTERNAL_REGISTRY_HOST'>,
  ) {}

  /** Acts on what registry-mapping told. */
  apply(batch: FactBatch<typeof MappingPublished>): Promise<void> {
    return this.applyAll(batch, ({ data, traceparent }) => this.wantedBy(data, traceparent));
  }

  /** Acts on what registries told themselves. */
  applySubmitted(batch: FactBatch<typeof MappingSubmitted>): Promise<void> {
    return this.applyAll(batch, (fact) => {
      const mapping = published(fact);
      return 'image' in mapping ? this.wantedBy(mapping, fact.traceparent) : mapping;
    });
  }

  /** Acts on facts in one transaction; those that can never be acted on are put aside with the reason. */
  private async applyAll<C extends EventContract>(batch: FactBatch<C>, wantedBy: (fact: Fact<C>) => Wanted | Status): Promise<void> {
    const read = batch.read(wantedBy);
    await this.store.transaction(async (tx) => {
      // First, so that an instance that lost its place learns so before it does the work.
      await batch.settle(tx);
      const good = read.flatMap(({ origin, made }) => ('mapping' in made ? [{ origin, wanted: made }] : []));
      const puts = await this.put(
        tx,
        good.map(({ wanted }) => wanted),
      );
      for (const { origin, made } of read) if (!('mapping' in made)) await batch.refuse(tx, origin, made.message ?? 'malformed');
      for (const [i, { refusal }] of puts.entries()) {
        const refused = good[i];
        if (refusal && refused) await batch.refuse(tx, refused.origin, missing(refused.wanted.mapping));
      }
    });
  }

  /**
   * Acts on a posted mapping. Mappings that are posted at the same time share a transaction, in the order in which they came: nobody meets a
   * conflict. Resolves when it is stored, with a warning where the tag does not take the image yet; throws {@link StatusError} where it is refused, and
   * then nothing of it is stored.
   */
  async post({ namespace, object, dryRun, user }: PostedMapping): Promise<{ status: Status; warnings: string[] }> {
    const checked = readMapping(object, { namespace, internalRegistryHost: this.config.INTERNAL_REGISTRY_HOST });
    if (checked.kind === 'refused') throw new StatusError(checked.status);
    const { mapping } = checked;
    if (dryRun) {
      const found = await this.store.query('SELECT 1 FROM stream WHERE namespace = $1 AND name = $2', [namespace, mapping.stream]);
      if (!found.length) throw new StatusError(noSuchStream(mapping));
      return { status: CREATED, warnings: [] };
    }
    const wanted: Wanted = {
      ...kept(mapping, []),
      createStream: false,
      created: inSeconds(new Date()),
      cause: { kind: 'mapping', id: randomUUID(), actor: user.name },
      traceparent: currentTrace(),
    };
    const warning = await new Promise<string | undefined>((resolve, reject) => {
      const settle: Posted['settle'] = (outcome) => {
        if (outcome instanceof Error) reject(outcome);
        else if (outcome.refusal) reject(new StatusError(outcome.refusal));
        else resolve(outcome.warning);
      };
      this.posted.push({ wanted, settle });
      void this.storePosted();
    });
    return { status: CREATED, warnings: warning === undefined ? [] : [warning] };
  }

  /** Stores what has been posted, and what is posted meanwhile, until nothing is left. */
  private async storePosted(): Promise<void> {
    if (this.storing) return;
    this.storing = true;
    while (this.posted.length) await this.storeTogether(this.posted.splice(0, POSTS_AT_ONCE));
    this.storing = false;
  }

  private async storeTogether(posts: Posted[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        const puts = await this.store.transaction((tx) =>
          this.put(
            tx,
            posts.map((post) => post.wanted),
          ),
        );
        posts.forEach((post, i) => post.settle(puts[i] ?? {}));
        return;
      } catch (error) {
        if (isTransient(error) && attempt < ATTEMPTS) {
          // Their ids stay the same: where the commit was made and only its answer lost, the repeat changes nothing.
          await pause(20 * 2 ** attempt);
          continue;
        }
        if (posts.length > 1 && !isTransient(error)) for (const post of posts) await this.storeTogether([post]);
        else for (const post of posts) post.settle(error as Error);
        return;
      }
    }
  }

  private wantedBy(data: EventData<typeof MappingPublished>, traceparent: string): Wanted | Status {
    const { namespace, stream, tag, image, children, createStream, source } = data;
    const checked = checkMapping(
      { metadata: { namespace, name: stream }, tag, image },
      { namespace, internalRegistryHost: this.config.INTERNAL_REGISTRY_HOST },
    );
    if (checked.kind === 'refused') return checked.status;
    const [problem] = [
      ...children.flatMap((child) => validateImage(child, `children[${child.metadata.name ?? ''}]`).map((e) => `${e.field}: ${e.text}`)),
      ...(createStream
        ? [...namespaceProblems(namespace), ...streamNameProblems(stream)].map((why) => `${namespace}/${stream}: ${why}`)
        : []),
    ];
    if (problem) return badRequest(problem);
    try {
      const observedAt = sortableInstant(source.observedAt);
      const now = new Date();
      return {
        ...kept(checked.mapping, children.map(completeImage)),
        createStream,
        // A registry whose clock is ahead does not make items of tomorrow.
        created: inSeconds(new Date(Math.min(now.getTime(), Date.parse(`${observedAt.slice(0, 23)}Z`)))),
        source: { registry: source.registry, observedAt },
        cause: { kind: 'push', id: data.id, registry: source.registry, actor: source.actor },
        traceparent,
      };
    } catch (error) {
      return badRequest(`source.observedAt: ${(error as Error).message}`);
    }
  }

  private async put(tx: Tx, wanted: readonly Wanted[]): Promise<Put[]> {
    const [streams, known] = await Promise.all([this.streamsOf(tx, wanted), knownImages(tx, wanted)]);
    const puts = wanted.map(({ mapping }): Put => (streams.has(keyOf(mapping)) ? {} : { refusal: noSuchStream(mapping) }));
    const accepted = wanted.flatMap((one) => {
      const stream = streams.get(keyOf(one.mapping));
      return stream ? [{ ...one, stream }] : [];
    });
    if (!accepted.length) return puts;
    const places = accepted.map(({ stream, mapping: { tag }, cause }) => ({ stream, tag, cause }));
    const [fresh, loaded] = await Promise.all([insertImages(tx, this.changes, accepted, known), this.tags.load(tx, places)]);
    const changes = accepted.map((one): TagChange => {
      const { image, tag } = one.mapping;
      const created = fresh.get(image.metadata.name);
      if (created) tellCreated(tx, one.mapping, one.traits, { uid: created.uid, cause: one.cause, traceparent: one.traceparent });
      const existed = !fresh.delete(image.metadata.name);
      const repository = repositoryOf(one.stream, this.config.INTERNAL_REGISTRY_HOST);
      return {
        stream: one.stream,
        tag,
        event: {
          created: one.created,
          dockerImageReference: mappedPullSpec(image, { existed, repository }),
          image: image.metadata.name,
          generation: one.stream.generation,
        },
        source: one.source?.registry,
        observedAt: one.source?.observedAt,
        cause: one.cause,
        labels: one.traits.labels,
        traceparent: one.traceparent,
      };
    });
    const outcomes = await this.tags.move(tx, changes, loaded);
    if (!loaded.reasons.size) return puts;
    const warnings = changes.map((change, i) => warningOf(change, outcomes[i], loaded.reasons.get(change)));
    return puts.map((put) => (put.refusal ? put : { warning: warnings.shift() }));
  }

  private async streamsOf(tx: Tx, wanted: readonly Wanted[]): Promise<Map<string, LockedStream>> {
    const keys = wanted.map(({ mapping: { namespace, stream: name } }) => ({ namespace, name }));
    const wantedNew = keys.filter((_, i) => wanted[i]?.createStream);
    const [made, locked] = await Promise.all([wantedNew.length ? insertStreams(tx, wantedNew) : [], lockStreams(tx, keys)]);
    for (const { uid, namespace, name } of made) this.changes.record(tx, { resource: 'imagestreams', type: 'ADDED', namespace, name, uid });
    return locked;
  }
}

/** What is kept of a mapping until it is stored. */
function kept({ image, ...address }: Mapping, children: readonly Image[]): Pick<Wanted, 'mapping' | 'image' | 'children' | 'traits'> {
  const { metadata, dockerImageReference } = image;
  return {
    mapping: { ...address, image: { metadata, dockerImageReference } },
    image: storedImage(image),
    children: children.map(storedImage),
    traits: traitsOf(image),
  };
}

/** Who posts a mapping is told that the image is in and the tag stays. */
function warningOf(
  { stream: { name }, tag, event }: TagChange,
  outcome: TagOutcome | undefined,
  reason: string | undefined,
): string | undefined {
  if (outcome === 'waits') return `${event.image} is stored, and ${name}:${tag} stays where it is for now: ${reason}`;
  return outcome === 'refused' ? `${event.image} is stored, and ${name}:${tag} does not take it: ${reason}` : undefined;
}

const keyOf = ({ namespace, stream }: Wanted['mapping']): string => streamKey({ namespace, name: stream });

const missing = ({ namespace, stream }: { namespace: string; stream: string }): string =>
  `image stream ${namespace}/${stream} does not exist, and its registry may not create it: create it, then replay this fact`;

const noSuchStream = ({ stream }: Pick<Mapping, 'stream'>): Status => notFound(ImageStreamMappings, stream);
