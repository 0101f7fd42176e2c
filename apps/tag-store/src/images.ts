import { createHash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { Image } from '@millrace/domain/image';
import { IMAGE_GROUP } from '@millrace/domain/image-stream';
import { completeImage, updatedImage, validateImage } from '@millrace/domain/image-content';
import { validateLabels } from '@millrace/domain/labels';
import { alreadyExists, invalid, notFound, type Status, StatusError, success } from '@millrace/domain/status';
import { Store, type Tx } from '@millrace/platform/store';
import { Changes, type Recorded } from './changes.ts';
import { insertImages, jsonb, storedImage } from './image-rows.ts';
import { type Listed, type ListRequest, pageOf } from './pages.ts';
import type { Listing } from './streams.ts';
import type { ImageRow } from './tables.ts';
import { imageView } from './views.ts';
import { checkPreconditions, checkUpdate, type Preconditions, sameJson, withName, type WriteOptions } from './writes.ts';

export const IMAGES = { group: IMAGE_GROUP, resource: 'images' };
const KIND = 'Image';

/** Images: what they hold never changes; only the recorded pull spec, labels and annotations may. */
@Injectable()
export class Images {
  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
  ) {}

  async get(name: string): Promise<Image> {
    const image = await this.find(this.store, name);
    if (!image) throw new StatusError(notFound(IMAGES, name));
    return image;
  }

  async find(on: Pick<Tx, 'query'>, name: string): Promise<Image | undefined> {
    return (await readImages(on, 'name = $1', [name]))[0];
  }

  /** Those of the names that are there, in any order. */
  named(on: Pick<Tx, 'query'>, names: readonly string[]): Promise<Image[]> {
    return readImages(on, 'name = ANY ($1)', [names]);
  }

  list(request: ListRequest): Promise<Listing<Image>> {
    return this.store.transaction((tx) => page(tx, request), { isolation: 'REPEATABLE READ', readOnly: true });
  }

  async create(submitted: Image, { dryRun }: WriteOptions): Promise<Image> {
    const image = completeImage({ ...submitted, metadata: withName(submitted.metadata) });
    refuse(image);
    const { name = '' } = image.metadata;
    const written = await this.store.write(dryRun, async (tx) => {
      const inserted = (await insertImages(tx, this.changes, [{ image: storedImage(image), children: [] }])).get(name);
      if (!inserted) throw new StatusError(alreadyExists(IMAGES, name));
      return { image: await this.again(tx, name), recorded: inserted.recorded };
    });
    return numbered(written);
  }

  async update(name: string, submitted: Image, { dryRun }: WriteOptions): Promise<Image> {
    const written = await this.store.write(dryRun, async (tx) => {
      const old = await this.lock(tx, name);
      if (!old) throw new StatusError(notFound(IMAGES, name));
      checkUpdate(IMAGES, old.metadata, submitted.metadata);
      const next = updatedImage(old, submitted, isContentOf);
      refuse(next);
      return this.replace(tx, old, next);
    });
    return numbered(written);
  }

  /** Stores an image, whose row is locked, as it is to be; where nothing differs nothing is written. */
  async replace(tx: Tx, old: Image, next: Image): Promise<{ image: Image; recorded?: Recorded }> {
    if (sameJson(comparable(old), comparable(next))) return { image: old };
    const { name = '', uid = '' } = old.metadata;
    await tx.run('UPDATE image SET labels = $2, annotations = $3, reference = $4, document = $5 WHERE name = $1', [
      name,
      jsonb(next.metadata.labels),
      jsonb(next.metadata.annotations),
      next.dockerImageReference,
      documentOf(next),
    ]);
    const recorded = this.changes.record(tx, { resource: 'images', name, uid, type: 'MODIFIED' });
    return { image: await this.again(tx, name), recorded };
  }

  remove(name: string, preconditions: Preconditions, { dryRun }: WriteOptions): Promise<Status> {
    return this.store.write(dryRun, async (tx) => {
      const old = await this.lock(tx, name);
      if (!old) throw new StatusError(notFound(IMAGES, name));
      checkPreconditions({ group: IMAGE_GROUP, resource: KIND }, old.metadata, preconditions);
      await this.erase(tx, old);
      return success({ name, group: IMAGE_GROUP, kind: IMAGES.resource, uid: old.metadata.uid });
    });
  }

  /** Deletes what the request selects, and answers what that was. */
  removeAll(request: ListRequest, { dryRun }: WriteOptions): Promise<Listing<Image>> {
    return this.store.write(dryRun, async (tx) => {
      const listed = await page(tx, request);
      const items: Image[] = [];
      for (const { metadata } of listed.items) {
        const current = await this.lock(tx, metadata.name ?? '');
        if (!current || current.metadata.uid !== metadata.uid) continue;
        await this.erase(tx, current);
        items.push(current);
      }
      return { ...listed, items };
    });
  }

  async lock(tx: Tx, name: string): Promise<Image | undefined> {
    await tx.query('SELECT name FROM image WHERE name = $1 FOR UPDATE', [name]);
    return this.find(tx, name);
  }

  private async again(tx: Tx, name: string): Promise<Image> {
    const image = await this.find(tx, name);
    if (!image) throw new Error(`image ${name} is gone though its row is locked`);
    return image;
  }

  private async erase(tx: Tx, image: Image): Promise<void> {
    const { name = '', uid = '' } = image.metadata;
    await tx.run('DELETE FROM image WHERE name = $1', [name]);
    this.changes.record(tx, { resource: 'images', name, uid, type: 'DELETED', object: image });
  }
}

/** Images of a condition on table `image`, in no order. */
export async function readImages(on: Pick<Tx, 'query'>, condition: string, parameters: unknown[]): Promise<Image[]> {
  const rows = await on.query<ImageRow>(
    `SELECT name, uid, resource_version AS "resourceVersion", created, labels, annotations, reference, document FROM image WHERE ${condition}`,
    parameters,
  );
  return rows.map(imageView);
}

const LISTED: Listed = {
  table: 'image',
  key: 'name',
  resource: 'images',
  namespace: `''`,
  columns: '',
  fieldOf: ({ name }, field) => (field === 'metadata.name' ? name : ''),
};

async function page(tx: Tx, request: ListRequest): Promise<Listing<Image>> {
  const { keys, deleted, ...rest } = await pageOf(tx, LISTED, request);
  const images = new Map((await readImages(tx, 'name = ANY($1)', [keys])).map((image) => [image.metadata.name, image]));
  const items = keys.map((name) => images.get(name) ?? (deleted.get(name) as Image | undefined));
  return { ...rest, items: items.filter((image) => image !== undefined) };
}

const numbered = ({ image, recorded }: { image: Image; recorded?: Recorded }): Image =>
  recorded?.resourceVersion ? { ...image, metadata: { ...image.metadata, resourceVersion: recorded.resourceVersion } } : image;

function refuse(image: Image): void {
  const errors = [...validateImage(image), ...validateLabels(image.metadata)];
  if (errors.length) throw new StatusError(invalid(IMAGE_GROUP, KIND, image.metadata.name ?? '', errors));
}

const isContentOf = (digest: string, text: string): boolean => `sha256:${createHash('sha256').update(text).digest('hex')}` === digest;

const comparable = ({ metadata: { labels, annotations }, kind: _kind, apiVersion: _version, ...image }: Image) => ({
  labels,
  annotations,
  ...image,
});

function documentOf({
  metadata: _metadata,
  dockerImageReference: _reference,
  kind: _kind,
  apiVersion: _version,
  ...document
}: Image): string {
  return JSON.stringify(document);
}
