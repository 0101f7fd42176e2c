import { decideAccess, type Identity } from '@millrace/domain/access';
import { isDigest } from '@millrace/domain/image-reference';
import { IMAGE_GROUP, type ImageStream, type TagEvent, type TagReference } from '@millrace/domain/image-stream';
import { type FieldError, fieldNotFound, forbiddenField, invalidValue } from '@millrace/domain/status';
import { applyEvent } from '@millrace/domain/tag-history';
import { copiedEvent, copiedFrom, pickImage, reviewsNeeded, sourceOf } from '@millrace/domain/tag-source';
import type { Tx } from '@millrace/platform/store';
import { inSeconds } from './stream-rows.ts';

/** What the sources of changed spec tags put into the tags' histories, in an order in which each finds its own source settled. */
export interface ResolvedSources {
  events: { tag: string; event: TagEvent }[];
  errors: FieldError[];
}

export interface ResolveOptions {
  user: Identity;
  internalRegistry: string;
  /** RFC 3339 in whole seconds. */
  now: string;
}

/**
 * Finds what the changed tags of a stream stand for now. `stream` has the new spec with its generations and the stored status.
 * Sources in other namespaces need the user's right to pull from there; what may not be pulled is not even looked for.
 */
export async function resolveSources(
  tx: Pick<Tx, 'query'>,
  stream: ImageStream,
  changedTags: readonly string[],
  { user, internalRegistry, now }: ResolveOptions,
): Promise<ResolvedSources> {
  const { namespace = '', name = '', generation = 1 } = stream.metadata;
  const tops = new Map((stream.status.tags ?? []).map((list) => [list.tag, list.items?.[0]]));
  const changed = new Map((stream.spec.tags ?? []).filter((tag) => changedTags.includes(tag.name)).map((tag) => [tag.name, tag]));
  const resolved: ResolvedSources = { events: [], errors: [] };

  for (const review of reviewsNeeded(stream, changedTags)) {
    const decision = decideAccess(user, {
      kind: 'resource',
      verb: 'get',
      group: IMAGE_GROUP,
      resource: 'imagestreams',
      subresource: 'layers',
      namespace: review.namespace,
      name: review.stream,
    });
    if (decision.allowed) continue;
    for (const tag of review.tags) {
      const detail = `${review.namespace}/${review.stream}: ${JSON.stringify(decision.reason)} ""`;
      resolved.errors.push(forbiddenField(`spec.tags[${tag}].from`, detail));
      changed.delete(tag);
    }
  }

  const copy = (tag: TagReference, event: TagEvent, from: { namespace: string; stream: string }, created?: string) =>
    copiedEvent(event, {
      generation,
      reference: tag.reference,
      internalRegistry,
      from: { namespace: from.namespace, name: from.stream },
      to: { namespace, name },
      created,
    });

  const eventOf = async (tag: TagReference): Promise<TagEvent | FieldError | undefined> => {
    const source = sourceOf(stream, tag);
    const field = `spec.tags[${tag.name}].from.name`;
    const typed = tag.from?.name ?? '';
    switch (source.kind) {
      case 'none':
        return undefined;
      case 'malformed':
        return invalidValue(field, typed, source.reason);
      case 'external':
        return { created: now, dockerImageReference: source.pullSpec, image: '', generation };
      case 'tag': {
        if (source.namespace === namespace && source.stream === name) {
          await settle(source.tag);
          const top = tops.get(source.tag);
          return top && copy(tag, top, source);
        }
        const found = await topOf(tx, source);
        if (!found) return fieldNotFound(field, typed);
        return found.top && copy(tag, found.top, source);
      }
      case 'image': {
        const isOwn = source.namespace === namespace && source.stream === name;
        const matches = await matchingItems(tx, source);
        if (!matches && !isOwn) return fieldNotFound(field, typed);
        const picked = pickImage(source.id, matches ?? []);
        if (picked.kind !== 'found') return invalidValue(field, typed, `error generating tag event: ${picked.message}`);
        return copy(tag, picked.event, source, now);
      }
    }
  };

  // A tag of this stream that is a source itself is settled first; one that is being settled is part of a circle and left alone.
  const begun = new Set<string>();
  const settle = async (tagName: string): Promise<void> => {
    const tag = changed.get(tagName);
    if (!tag || begun.has(tagName)) return;
    begun.add(tagName);
    const event = await eventOf(tag);
    if (!event) return;
    if ('field' in event) {
      resolved.errors.push(event);
      return;
    }
    const applied = applyEvent(tops.get(tagName), event);
    if (applied.kind !== 'unchanged') tops.set(tagName, applied.item);
    resolved.events.push({ tag: tagName, event });
    const source = sourceOf(stream, tag);
    if (source.kind !== 'tag' || source.namespace !== namespace || source.stream !== name || begun.has(source.tag)) return;
    const copied = copiedFrom(stream, source.tag, generation);
    if (copied) resolved.events.push({ tag: source.tag, event: copied });
  };
  for (const tagName of changed.keys()) await settle(tagName);
  return resolved;
}

interface ItemRow {
  created: Date | null;
  reference: string | null;
  image: string | null;
  generation: string | null;
}

const eventFrom = ({ created, reference, image, generation }: ItemRow): TagEvent | undefined =>
  created && reference !== null && image !== null
    ? { created: inSeconds(created), dockerImageReference: reference, image, generation: Number(generation) }
    : undefined;

/** The newest item of a tag; undefined where the stream does not exist. */
async function topOf(
  tx: Pick<Tx, 'query'>,
  at: { namespace: string; stream: string; tag: string },
): Promise<{ top?: TagEvent } | undefined> {
  const [row] = await tx.query<ItemRow>(
    `SELECT tag.created, tag.reference, tag.image, tag.generation FROM stream
      LEFT JOIN tag ON tag.stream_uid = stream.uid AND tag.name = $3 AND tag.items > 0
      WHERE stream.namespace = $1 AND stream.name = $2`,
    [at.namespace, at.stream, at.tag],
  );
  return row && { top: eventFrom(row) };
}

/** The items of a stream's history, newest first, whose image the id means; undefined where the stream does not exist. */
async function matchingItems(
  tx: Pick<Tx, 'query'>,
  at: { namespace: string; stream: string; id: string },
): Promise<TagEvent[] | undefined> {
  const rows = await tx.query<ItemRow>(
    `SELECT item.created, item.reference, item.image, item.generation FROM stream
      LEFT JOIN tag_item item ON item.stream_uid = stream.uid AND ${isDigest(at.id) ? 'item.image = $3' : meansImage('item.image', '$3')}
      WHERE stream.namespace = $1 AND stream.name = $2
      ORDER BY item.created DESC, item.position DESC`,
    [at.namespace, at.stream, at.id],
  );
  if (!rows.length) return undefined;
  return rows.map(eventFrom).filter((event) => event !== undefined);
}

/** SQL of what `matchesImage` of the domain says: the beginning of a name, or of a digest's hex digits. An external pull spec has no image. */
export const meansImage = (image: string, typed: string): string =>
  `(${image} <> '' AND (starts_with(${image}, ${typed})
    OR (${image} ~ '^sha(256|384|512):' AND starts_with(split_part(${image}, ':', 2), ${typed}))))`;
