import { randomUUID } from 'node:crypto';
import { configLabels, notableLabels } from '@millrace/domain/image-content';
import type { Image } from '@millrace/domain/image';
import { valuesList } from '@millrace/platform/rows';
import type { Tx } from '@millrace/platform/store';
import type { Changes, Recorded } from './changes.ts';

/** An image as it is stored: what it holds is bytes already, many times smaller than the object that they say. */
export interface StoredImage {
  name: string;
  reference: string;
  /** JSON. */
  labels: string | null;
  /** JSON. */
  annotations: string | null;
  document: Buffer;
  /** Of the platform images that an index says it has. */
  manifests: readonly string[];
}

/** An image, with the platform images of an index. */
export interface NewImage {
  image: StoredImage;
  children: readonly StoredImage[];
}

/** Of an image as `completeImage` makes it; it must have a name and a pull spec. */
export function storedImage(image: Image): StoredImage {
  const { metadata, dockerImageReference, kind: _kind, apiVersion: _version, ...document } = image;
  return {
    name: metadata.name ?? '',
    reference: dockerImageReference ?? '',
    labels: jsonb(metadata.labels),
    annotations: jsonb(metadata.annotations),
    document: Buffer.from(JSON.stringify(document)),
    manifests: image.dockerImageManifests?.map(({ digest }) => digest) ?? [],
  };
}

const ROWS_PER_STATEMENT = 500;

/** An image that was not there before. */
export interface Inserted {
  uid: string;
  recorded: Recorded;
}

/**
 * Keeps the images that are not known yet, and records them as changes; those that are stay untouched, for an image is immutable. The keys
 * of the answer are the names of the new ones.
 */
export async function insertImages(
  tx: Tx,
  changes: Changes,
  wanted: readonly NewImage[],
  known?: readonly string[],
): Promise<Map<string, Inserted>> {
  const images = new Map<string, StoredImage>();
  for (const image of wanted.flatMap((one) => [one.image, ...one.children])) if (!images.has(image.name)) images.set(image.name, image);
  // The same image is pushed under many tags: what is there already is not sent again.
  for (const name of known ?? (await knownImages(tx, wanted))) images.delete(name);
  const inserted = new Map<string, Inserted>();
  // In one order for all, so that two writers of the same images do not wait for each other in a circle.
  const ordered = [...images.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (let from = 0; from < ordered.length; from += ROWS_PER_STATEMENT) {
    const rows = ordered.slice(from, from + ROWS_PER_STATEMENT);
    const values = valuesList(
      rows.map((row) => [row.name, randomUUID(), new Date(), row.labels, row.annotations, row.reference, row.document]),
    );
    const fresh = await tx.query<{ name: string; uid: string }>(
      `INSERT INTO image (name, uid, created, labels, annotations, reference, document) VALUES ${values.sql}
       ON CONFLICT DO NOTHING RETURNING name, uid`,
      values.parameters,
    );
    for (const { name, uid } of fresh)
      inserted.set(name, { uid, recorded: changes.record(tx, { resource: 'images', type: 'ADDED', name, uid }) });
  }
  const links = wanted.flatMap(({ image, children }) =>
    inserted.has(image.name) ? [...childrenOf(image, children)].map((child) => ({ parent: image.name, child })) : [],
  );
  if (links.length)
    await tx.run('INSERT INTO image_child (parent, child) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING', [
      links.map((link) => link.parent),
      links.map((link) => link.child),
    ]);
  return inserted;
}

/** Those that came with an index, and those that it says it has: they may have been pushed before it. */
const childrenOf = (image: StoredImage, children: readonly StoredImage[]): Set<string> =>
  new Set([...children.map(({ name }) => name), ...image.manifests]);

/** Names of those of the images that are there already. */
export async function knownImages(tx: Tx, wanted: readonly NewImage[]): Promise<string[]> {
  const names = new Set(wanted.flatMap((one) => [one.image, ...one.children]).map(({ name }) => name));
  return (await tx.query<{ name: string }>('SELECT name FROM image WHERE name = ANY ($1)', [[...names]])).map((row) => row.name);
}

/** Labels of the configs of these images, by image name, as far as an event tells them. */
export async function labelsOf(on: Pick<Tx, 'query'>, images: readonly string[]): Promise<Map<string, Record<string, string>>> {
  const rows = await on.query<{ name: string; document: string }>('SELECT name, document FROM image WHERE name = ANY ($1)', [
    [...new Set(images)],
  ]);
  return new Map(rows.map((row) => [row.name, notableLabels(configLabels(JSON.parse(row.document) as Image))]));
}

/** A value as jsonb takes it, which holds no NUL character; null for what is empty. */
export function jsonb(value: object | undefined | null): string | null {
  if (!value || !Object.keys(value).length) return null;
  return JSON.stringify(value).replaceAll(/(?<!\\)((?:\\\\)*)\\u0000/g, '$1\\ufffd');
}
