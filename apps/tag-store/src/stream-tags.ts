import { Injectable } from '@nestjs/common';
import type { ImageStream, ImageStreamTag } from '@millrace/domain/image-stream';
import type { ObjectMeta } from '@millrace/domain/object-meta';
import { matchesFields, matchesLabels } from '@millrace/domain/selectors';
import { badRequest, conflict, notFound, type ResourceName, type Status, StatusError, success } from '@millrace/domain/status';
import { formatStreamTag, parseStreamTag, splitStreamTag, type StreamTagName } from '@millrace/domain/stream-names';
import { InvalidReference } from '@millrace/domain/image-reference';
import {
  checkNewStreamTag,
  defaultStreamTag,
  STREAM_TAGS,
  targetOfNewTag,
  withNewTag,
  withoutTag,
  withPutTag,
} from '@millrace/domain/stream-tag';
import { Store, type Tx } from '@millrace/platform/store';
import { Images } from './images.ts';
import type { ListRequest } from './pages.ts';
import { type Listing, numbered, Streams, type Written } from './streams.ts';
import { Tags } from './tags.ts';
import { streamTagView } from './views.ts';
import type { Preconditions, PutOptions, WriteOptions } from './writes.ts';

/** ImageStreamTags: no rows of their own, each is one tag of a stream's spec seen with the newest image of its history. */
@Injectable()
export class StreamTags {
  constructor(
    private readonly store: Store,
    private readonly streams: Streams,
    private readonly tags: Tags,
    private readonly images: Images,
  ) {}

  async get(namespace: string, fullName: string): Promise<object> {
    const { name, tag } = nameOfTag(fullName, 'ImageStreamTags');
    const stream = await this.streamOf(this.store, namespace, name);
    const top = topOf(stream, tag);
    if (!top) throw new StatusError(notFound(STREAM_TAGS, fullName));
    const image = await this.images.find(this.store, top);
    if (!image) throw new StatusError(notFound(STREAM_TAGS, top));
    return streamTagView(stream, tag, image);
  }

  /** The tag as an update is based on: also one that has no image yet, or is not there at all. */
  async toUpdate(namespace: string, fullName: string): Promise<object> {
    const { name, tag } = nameOfTag(fullName, 'ImageStreamTags');
    const [stream] = await this.streams.read(this.store, 'namespace = $2 AND name = $3', [namespace, name], 1);
    const missing = { metadata: { namespace, name }, spec: { lookupPolicy: { local: false } }, status: { dockerImageRepository: '' } };
    const top = stream && topOf(stream, tag);
    return streamTagView(stream ?? missing, tag, top ? await this.images.find(this.store, top) : undefined);
  }

  /**
   * The tags that have an image, sorted, of the streams that the request selects. The selectors then apply to the tags as well. A
   * page holds the tags of so many streams. The list has no resourceVersion: there is nothing to watch.
   */
  async list(request: ListRequest): Promise<Listing> {
    const { items, continue: next } = await this.streams.list(request, 1);
    const tags = items.flatMap((stream) =>
      (stream.status.tags ?? [])
        .map(({ tag }) => tag)
        .filter((tag) => topOf(stream, tag))
        .map((tag) => streamTagView(stream, tag)),
    );
    return {
      items: tags.filter((tag) => selectsTag(request, tag)),
      resourceVersion: '',
      ...(next ? { continue: next } : {}),
    };
  }

  async create(namespace: string, submitted: ImageStreamTag, options: WriteOptions): Promise<object> {
    const fullName = submitted.metadata.name || submitted.metadata.generateName || '';
    const named = { ...submitted, metadata: { ...submitted.metadata, name: fullName || undefined } };
    const wanted = defaultStreamTag(named, splitStreamTag(fullName).tag, this.streams.defaults);
    checkNewStreamTag(wanted, this.streams.admission(undefined));
    const target = targetOfNewTag(fullName);
    return this.answer(target.tag, options, async (tx) => {
      const old = await this.streams.lock(tx, namespace, target.name);
      return this.streams.writeSpec(tx, old, { namespace, name: target.name }, withNewTag(old, wanted), options.user);
    });
  }

  /** Makes the stream and the tag where they are missing; `created` tells whether the spec tag was. */
  async update(
    namespace: string,
    fullName: string,
    submitted: ImageStreamTag,
    options: PutOptions,
  ): Promise<{ created: boolean; tag: object }> {
    const target = nameOfTag(fullName, 'ImageStreamTags');
    let created = false;
    const tag = await this.answer(target.tag, options, async (tx) => {
      const old = await this.streams.lock(tx, namespace, target.name);
      const put = withPutTag(
        old,
        { namespace, name: target, patched: options.patched },
        defaultStreamTag(submitted, target.tag, this.streams.defaults),
        this.streams.admission(old),
      );
      created = put.created;
      return this.streams.writeSpec(tx, old, { namespace, name: target.name }, put.spec, options.user);
    });
    return { created, tag };
  }

  remove(namespace: string, fullName: string, preconditions: Preconditions, options: WriteOptions): Promise<Status> {
    return this.removeFrom({ namespace, ...nameOfTag(fullName, 'ImageStreamTags') }, STREAM_TAGS, preconditions, options);
  }

  /** Takes a tag out of spec and history. Followers keep what they have, and no image goes. `of` is the resource that refusals name. */
  removeFrom(
    { namespace, name, tag }: StreamTagName & { namespace: string },
    of: ResourceName,
    { uid }: Preconditions,
    { dryRun, user }: WriteOptions,
  ): Promise<Status> {
    const fullName = formatStreamTag(name, tag);
    return this.store.write(dryRun, async (tx) => {
      const old = await this.streams.lock(tx, namespace, name);
      if (!old) throw new StatusError(notFound(of, name));
      if (uid !== undefined && uid !== old.metadata.uid) throw new StatusError(conflict(of, fullName, 'the UID precondition was not met'));
      const { spec, inSpec } = withoutTag(old.spec, tag);
      // Else the spec without its control would let what waits take effect.
      if (old.spec.tags?.some(({ name: one, control }) => one === tag && control))
        await this.tags.forgetWaiting(tx, { uid: old.metadata.uid ?? '' }, tag);
      if (inSpec) await this.streams.writeSpec(tx, old, { namespace, name }, spec, user);
      const { uid: streamUid = '', generation = 0 } = old.metadata;
      const hadHistory = await this.tags.remove(tx, { namespace, name, uid: streamUid, generation, spec }, tag);
      if (!inSpec && !hadHistory) throw new StatusError(notFound(of, fullName));
      return success();
    });
  }

  /** The tag as the write leaves it; its image may be still to come. */
  private async answer(tag: string, { dryRun }: WriteOptions, work: (tx: Tx) => Promise<Written>): Promise<object> {
    const { written, image } = await this.store.write(dryRun, async (tx) => {
      const written = await work(tx);
      const top = topOf(written.stream, tag);
      return { written, image: top ? await this.images.find(tx, top) : undefined };
    });
    return streamTagView(numbered(written), tag, image);
  }

  private async streamOf(on: Pick<Tx, 'query'>, namespace: string, name: string): Promise<ImageStream> {
    const [stream] = await this.streams.read(on, 'namespace = $2 AND name = $3', [namespace, name], 1);
    if (!stream) throw new StatusError(notFound(STREAM_TAGS, name));
    return stream;
  }
}

/** Name of the image on top of a tag; none for a tag that is empty or only names an external pull spec. */
export const topOf = (stream: ImageStream, tag: string): string | undefined =>
  stream.status.tags?.find((list) => list.tag === tag)?.items?.[0]?.image || undefined;

/** Reads `stream:tag` of a URL; `resource` is how the refusal calls such objects. */
export function nameOfTag(fullName: string, resource: 'ImageStreamTags' | 'ImageTags' | 'TagChanges'): StreamTagName {
  try {
    return parseStreamTag(fullName);
  } catch (error) {
    if (error instanceof InvalidReference) throw new StatusError(badRequest(`${resource} must be retrieved with <name>:<tag>`));
    throw error;
  }
}

/** Whether the selectors of a list take the tag itself, too. */
export function selectsTag({ labels, fields }: Pick<ListRequest, 'labels' | 'fields'>, { metadata }: { metadata: ObjectMeta }): boolean {
  const valueOf = (field: string) =>
    (field === 'metadata.name' ? metadata.name : field === 'metadata.namespace' ? metadata.namespace : '') ?? '';
  return matchesLabels(labels, metadata.labels) && matchesFields(fields, valueOf);
}
