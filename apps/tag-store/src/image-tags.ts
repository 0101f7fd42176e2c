import { Injectable } from '@nestjs/common';
import type { Image } from '@millrace/domain/image';
import { checkNewImageTag, defaultImageTag, IMAGE_TAGS, withNewImageTag, withPutImageTag } from '@millrace/domain/image-tag';
import type { ImageStream, ImageTag } from '@millrace/domain/image-stream';
import { notFound, type Status, StatusError } from '@millrace/domain/status';
import { splitStreamTag } from '@millrace/domain/stream-names';
import { Store, type Tx } from '@millrace/platform/store';
import { Images } from './images.ts';
import type { ListRequest } from './pages.ts';
import { nameOfTag, selectsTag, StreamTags, topOf } from './stream-tags.ts';
import { type Listing, numbered, Streams, type Written } from './streams.ts';
import { imageTagView } from './views.ts';
import type { Preconditions, PutOptions, WriteOptions } from './writes.ts';

/** ImageTags: no rows of their own, each is one tag of a stream, whether it has a spec, a history, or both. */
@Injectable()
export class ImageTags {
  constructor(
    private readonly store: Store,
    private readonly streams: Streams,
    private readonly streamTags: StreamTags,
    private readonly images: Images,
  ) {}

  async get(namespace: string, fullName: string, historyLimit?: number): Promise<object> {
    const { name, tag } = nameOfTag(fullName, 'ImageTags');
    const found = await this.find(namespace, name, tag, historyLimit);
    if (!found) throw new StatusError(notFound(IMAGE_TAGS, name));
    if (!tagsOf(found.stream).includes(tag)) throw new StatusError(notFound(IMAGE_TAGS, fullName));
    return imageTagView(found.stream, tag, found.image);
  }

  /** The tag as an update is based on: also one that is not there at all. */
  async toUpdate(namespace: string, fullName: string): Promise<object> {
    const { name, tag } = nameOfTag(fullName, 'ImageTags');
    const found = await this.find(namespace, name, tag);
    const missing = { metadata: { namespace, name }, spec: { lookupPolicy: { local: false } }, status: { dockerImageRepository: '' } };
    return imageTagView(found?.stream ?? missing, tag, found?.image);
  }

  /** All tags, sorted, of the streams that the request selects; the selectors then apply to the tags as well. They come without their images. */
  async list(request: ListRequest, historyLimit?: number): Promise<Listing> {
    const { items, continue: next } = await this.streams.list(request, historyLimit);
    const tags = items.flatMap((stream) => tagsOf(stream).map((tag) => imageTagView(stream, tag)));
    return { items: tags.filter((tag) => selectsTag(request, tag)), resourceVersion: '', ...(next ? { continue: next } : {}) };
  }

  async create(namespace: string, submitted: ImageTag, options: WriteOptions): Promise<object> {
    const fullName = submitted.metadata.name || submitted.metadata.generateName || '';
    const wanted = checkNewImageTag(
      defaultImageTag({ ...submitted, metadata: { ...submitted.metadata, name: fullName || undefined } }, this.streams.defaults),
    );
    const { name, tag } = splitStreamTag(fullName);
    return this.answer(tag, options, async (tx) => {
      const old = await this.streams.lock(tx, namespace, name);
      return this.streams.writeSpec(tx, old, { namespace, name }, withNewImageTag(old, wanted), options.user);
    });
  }

  /** Makes the stream and the tag where they are missing; `created` tells whether the spec tag was. */
  async update(namespace: string, fullName: string, submitted: ImageTag, options: PutOptions): Promise<{ created: boolean; tag: object }> {
    const target = nameOfTag(fullName, 'ImageTags');
    let created = false;
    const tag = await this.answer(target.tag, options, async (tx) => {
      const old = await this.streams.lock(tx, namespace, target.name);
      const whole = old && submitted.status ? await this.withHistory(tx, old, target.tag) : old;
      const put = withPutImageTag(whole, target, defaultImageTag(submitted, this.streams.defaults), options);
      created = put.created;
      return this.streams.writeSpec(tx, old, { namespace, name: target.name }, put.spec, options.user);
    });
    return { created, tag };
  }

  remove(namespace: string, fullName: string, preconditions: Preconditions, options: WriteOptions): Promise<Status> {
    return this.streamTags.removeFrom({ namespace, ...nameOfTag(fullName, 'ImageTags') }, IMAGE_TAGS, preconditions, options);
  }

  private find(
    namespace: string,
    name: string,
    tag: string,
    historyLimit?: number,
  ): Promise<{ stream: ImageStream; image?: Image } | undefined> {
    const read = async (tx: Tx) => {
      const [stream] = await this.streams.read(tx, 'namespace = $2 AND name = $3', [namespace, name], 1);
      if (!stream) return undefined;
      const top = topOf(stream, tag);
      const image = top ? await this.images.find(tx, top) : undefined;
      return { stream: await this.withHistory(tx, stream, tag, historyLimit), image };
    };
    return this.store.transaction(read, { isolation: 'REPEATABLE READ', readOnly: true });
  }

  /** The stream with the whole history of this one tag. */
  private async withHistory(tx: Tx, stream: ImageStream, tag: string, historyLimit?: number): Promise<ImageStream> {
    const lists = stream.status.tags ?? [];
    if (historyLimit === 1 || !lists.some((list) => list.tag === tag && list.items?.length)) return stream;
    const items = await this.streams.history(tx, stream.metadata.uid ?? '', tag, historyLimit);
    return { ...stream, status: { ...stream.status, tags: lists.map((list) => (list.tag === tag ? { ...list, items } : list)) } };
  }

  /** The tag as the write leaves it. */
  private async answer(tag: string, { dryRun }: WriteOptions, work: (tx: Tx) => Promise<Written>): Promise<object> {
    const { written, image } = await this.store.write(dryRun, async (tx) => {
      const { stream, ...rest } = await work(tx);
      const top = topOf(stream, tag);
      return {
        written: { ...rest, stream: await this.withHistory(tx, stream, tag) },
        image: top ? await this.images.find(tx, top) : undefined,
      };
    });
    return imageTagView(numbered(written), tag, image);
  }
}

/** Names of all tags of a stream, sorted. */
function tagsOf({ spec, status }: ImageStream): string[] {
  const names = new Set([...(spec.tags ?? []).map(({ name }) => name), ...(status.tags ?? []).map(({ tag }) => tag)]);
  return [...names].sort((a, b) => (a < b ? -1 : 1));
}
