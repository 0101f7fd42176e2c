import { Inject, Injectable } from '@nestjs/common';
import type { Answer, EventData, Question } from '@millrace/contracts/define';
import { ImportFailed } from '@millrace/contracts/events';
import type { ImportCompleted, ImportedTag } from '@millrace/contracts/imports';
import type { ApplyImport } from '@millrace/contracts/requests';
import type { Identity } from '@millrace/domain/access';
import { completeImage, configLabels, notableLabels, validateImage } from '@millrace/domain/image-content';
import type { Image, ImageManifest } from '@millrace/domain/image';
import type { ImageStream, TagEventCondition } from '@millrace/domain/image-stream';
import { decideImport, type Failure, type Imported } from '@millrace/domain/import-outcome';
import { badRequest, StatusError } from '@millrace/domain/status';
import type { FactBatch } from '@millrace/platform/facts';
import type { Log } from '@millrace/platform/log';
import { LOG } from '@millrace/platform/service';
import { Store, type Tx } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import { tellCreated, traitsOf } from './created-images.ts';
import { insertImages, storedImage } from './image-rows.ts';
import { Images } from './images.ts';
import { inSeconds, type LockedStream } from './stream-rows.ts';
import { numbered, Streams, type Written } from './streams.ts';
import { Tags, type TagChange } from './tags.ts';
import { tellWanted } from './wanted-imports.ts';

type Completed = EventData<typeof ImportCompleted>;
type Found = Extract<ImportedTag['result'], { kind: 'found' }>;

/** Who moves tags when a stream's spec asks for it and no person does. */
const SCHEDULER: Identity = { name: 'system:import-scheduler', groups: [] };

interface Put extends Written {
  /** Names of the images that the import has made. */
  fresh: ReadonlySet<string>;
}

interface Finished {
  id: string;
  namespace: string;
  stream: string;
  tags: ImportedTag[];
  user: Identity;
}

/** What was found in registries, on its way into streams, images and tags: as a fact, or for somebody who waits for it. One transaction each. */
@Injectable()
export class Imports {
  constructor(
    private readonly store: Store,
    private readonly streams: Streams,
    private readonly tags: Tags,
    private readonly images: Images,
    private readonly changes: Changes,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** Applies an import that somebody asked for; the stream is made where it is missing. */
  async apply({ dryRun, ...finished }: Question<typeof ApplyImport>): Promise<Answer<typeof ApplyImport>> {
    const names = finished.tags.flatMap(({ result }) => (result.kind === 'found' ? namesIn(result) : []));
    try {
      const { written, images } = await this.store.write(dryRun, async (tx) => {
        const old = await this.streams.lock(tx, finished.namespace, finished.stream);
        const written = await this.put(tx, old, finished);
        return { written, images: dryRun ? await this.images.named(tx, names) : undefined };
      });
      const now = images ?? (await this.images.named(this.store, names));
      return { kind: 'applied', stream: numbered(written), images: now.map((image) => asAnswered(image, written.fresh)) };
    } catch (error) {
      if (error instanceof StatusError) return { kind: 'refused', status: error.status };
      throw error;
    }
  }

  /** Applies what was found in the background; what the stream no longer asks for is left out. */
  async applyCompleted(batch: FactBatch<typeof ImportCompleted>): Promise<void> {
    const facts = batch.read(({ data }) => data);
    await this.store.transaction(async (tx) => {
      await batch.settle(tx);
      // In one order for all writers of streams.
      await this.tags.lock(
        tx,
        facts.map(({ made: { namespace, stream } }) => ({ namespace, name: stream })),
      );
      for (const { origin, made } of facts) {
        const problem = problemOf(made);
        if (problem) {
          await batch.refuse(tx, origin, problem);
          continue;
        }
        const old = await this.streams.lock(tx, made.namespace, made.stream);
        if (old?.metadata.uid !== made.streamUid) continue;
        // A repository that the stream no longer wants brings it nothing.
        const isWanted = made.repository === undefined || made.repository === old.spec.dockerImageRepository;
        const tags = made.tags.filter(({ generation }) => generation !== null || isWanted);
        // What is refused is so before anything of it is written.
        const refusal = await this.put(tx, old, { ...made, tags, user: SCHEDULER }).catch(refusalOf);
        if (typeof refusal === 'string') await batch.refuse(tx, origin, refusal);
      }
    });
  }

  private async put(tx: Tx, old: ImageStream | undefined, { id, namespace, stream: name, tags, user }: Finished): Promise<Put> {
    const problem = problemOf({ tags });
    if (problem) throw new StatusError(badRequest(problem));
    const now = inSeconds(new Date());
    const manifests = await this.manifestsOnTop(tx, old, tags);
    const outcome = decideImport(
      old,
      tags.map((tag) => this.imported(old, tag)),
      { now, manifestsOf: (image) => manifests.get(image) ?? [] },
    );
    for (const { tag, reason } of outcome.ignored) this.log.info({ namespace, stream: name, tag, reason, id }, 'import.ignored');
    if (old && !outcome.annotations) return { stream: await this.whole(tx, old), fresh: new Set() };

    const wanted = { metadata: { ...old?.metadata, namespace, name, annotations: outcome.annotations }, spec: outcome.spec };
    const { stream, recorded } = await this.streams.writeQuietly(tx, old, wanted, user, 1);
    const ignored = new Set(outcome.ignored.map(({ tag }) => tag));
    const found = new Map<string, Found & { tag: string }>();
    for (const { tag, result } of tags)
      if (result.kind === 'found' && !ignored.has(tag)) found.set(result.image.metadata.name ?? '', { ...result, tag });
    const fresh = await insertImages(
      tx,
      this.changes,
      [...found.values()].map(({ image, children }) => ({ image: stored(image), children: children.map(stored) })),
    );
    for (const [image, { uid }] of fresh) {
      const it = found.get(image);
      const cause = { kind: 'import' as const, id, actor: user.name };
      if (it) tellCreated(tx, { namespace, stream: name, tag: it.tag, image: it.image }, traitsOf(it.image), { uid, cause });
    }
    const { uid = '', generation = 0 } = stream.metadata;
    const locked: LockedStream = { namespace, name, uid, generation, spec: stream.spec };
    await this.tags.move(
      tx,
      outcome.events.map(({ tag, event, counterpart }, n): TagChange => {
        const image = found.get(event.image)?.image;
        // Each its own: one import may put two images on one tag.
        const cause = { kind: 'import' as const, id: n ? `${id}.${n}` : id, actor: user.name };
        return { stream: locked, tag, event, counterpart, cause, labels: image && notableLabels(configLabels(image)) };
      }),
    );
    for (const { tag, condition } of outcome.conditions) await setCondition(tx, uid, tag, condition);
    for (const [n, failure] of outcome.failures.entries())
      tx.publishLater(ImportFailed, failureOf({ namespace, stream: name, streamUid: uid }, failure), { id: `${id}.${uid}.failed.${n}` });
    const left = await this.whole(tx, stream);
    tellWanted(tx, old, left);
    return { stream: left, recorded: recorded ?? this.streams.record(tx, stream, 'MODIFIED'), fresh: new Set(fresh.keys()) };
  }

  /** What a tag's control does not take has failed, as what may not be fetched has. */
  private imported(stream: ImageStream | undefined, { result, ...rest }: ImportedTag): Imported {
    if (result.kind === 'failed') return { ...rest, result };
    const { image, pullSpec } = result;
    const name = image.metadata.name ?? '';
    const fate = stream && this.tags.fate(stream, rest.tag, { image: name, pullSpec });
    if (fate?.kind === 'refuse') return { ...rest, result: { kind: 'failed', reason: fate.reason, message: fate.message } };
    const found = { kind: 'found' as const, image: name, pullSpec, manifests: image.dockerImageManifests };
    return { ...rest, waits: fate?.kind === 'wait', result: found };
  }

  /** Manifests of the indexes on top of tags for which another index was found. */
  private async manifestsOnTop(
    tx: Tx,
    old: ImageStream | undefined,
    tags: readonly ImportedTag[],
  ): Promise<Map<string, readonly ImageManifest[]>> {
    const tops = new Map((old?.status.tags ?? []).map(({ tag, items, control }) => [tag, (control?.newest ?? items?.[0])?.image ?? '']));
    const names = tags.flatMap(({ tag, result }) => {
      const top = tops.get(tag);
      return result.kind === 'found' && result.image.dockerImageManifests?.length && top && top !== result.image.metadata.name ? [top] : [];
    });
    if (!names.length) return new Map();
    const images = await this.images.named(tx, names);
    return new Map(images.map(({ metadata: { name = '' }, dockerImageManifests = [] }) => [name, dockerImageManifests]));
  }

  private async whole(tx: Tx, { metadata: { uid = '' } }: ImageStream): Promise<ImageStream> {
    const [stream] = await this.streams.read(tx, 'uid = $2', [uid]);
    if (!stream) throw new Error(`stream ${uid} is gone though its row is locked`);
    return stream;
  }
}

function refusalOf(error: unknown): string {
  if (error instanceof StatusError) return error.status.message ?? 'refused';
  throw error;
}

function failureOf(
  stream: { namespace: string; stream: string; streamUid: string },
  { tag, from, condition, previous, image }: Failure,
): ImportFailed {
  const { reason = '', message = '', generation, lastTransitionTime = '' } = condition;
  const before = previous ? { reason: previous.reason ?? '', message: previous.message ?? '' } : null;
  return { ...stream, tag, from, reason, message, previous: before, image, generation, failedAt: lastTransitionTime };
}

async function setCondition(tx: Tx, uid: string, tag: string, condition: TagEventCondition | null): Promise<void> {
  await tx.run(
    `INSERT INTO tag (stream_uid, name, conditions) VALUES ($1, $2, $3)
      ON CONFLICT (stream_uid, name) DO UPDATE SET conditions = excluded.conditions`,
    [uid, tag, condition ? JSON.stringify([condition]) : null],
  );
}

/** As the reference does it: an image that was there already is told without its version. */
function asAnswered(image: Image, fresh: ReadonlySet<string>): Image {
  const { resourceVersion: _version, ...metadata } = image.metadata;
  return fresh.has(metadata.name ?? '') ? image : { ...image, metadata };
}

const namesIn = ({ image, children }: Found): string[] => [image, ...children].map(({ metadata }) => metadata.name ?? '');

/** The raw manifest and config of an image that lies elsewhere are not kept. */
function stored(image: Image): ReturnType<typeof storedImage> {
  return storedImage(completeImage({ ...image, dockerImageManifest: undefined, dockerImageConfig: undefined }));
}

/** Why an import cannot be stored as it is. */
function problemOf({ tags }: Pick<Completed, 'tags'>): string | undefined {
  for (const { tag, result } of tags) {
    if (result.kind === 'failed') continue;
    for (const image of [result.image, ...result.children]) {
      const [problem] = validateImage(image, `tags[${tag}].image`);
      if (problem) return `${problem.field}: ${problem.text}`;
    }
  }
  return undefined;
}
