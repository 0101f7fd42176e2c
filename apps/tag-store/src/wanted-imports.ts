import { ImportWanted, type WantedTag } from '@millrace/contracts/imports';
import {
  CHECKED_ANNOTATION,
  INSECURE_ANNOTATION,
  planStream,
  PREFER_ARCH_ANNOTATION,
  PREFER_OS_ANNOTATION,
} from '@millrace/domain/import-plan';
import type { ImageStream } from '@millrace/domain/image-stream';
import { INTERVAL_ANNOTATION } from '@millrace/domain/import-schedule';
import { isImportable } from '@millrace/domain/stream-spec';
import type { Tx } from '@millrace/platform/store';

/* What streams want from registries, told whenever it may have become another: import-scheduler acts on it. */

/** Tells what a stream wants, as the transaction leaves it. `before` is what it was; its newest items are enough. */
export function tellWanted(tx: Tx, before: ImageStream | undefined, after: ImageStream): void {
  if (!(wantsAnything(after) || (before && wantsAnything(before)))) return;
  if (before && sameWishes(before, after)) return;
  const { repository, tags } = planStream(after);
  const due = new Set(tags.map(({ name }) => name));
  const isInsecure = after.metadata.annotations?.[INSECURE_ANNOTATION] === 'true';
  const { dockerImageRepository } = after.spec;
  publish(tx, before, after, {
    gone: false,
    ...(dockerImageRepository ? { repository: { from: dockerImageRepository, due: repository, insecure: isInsecure } } : {}),
    tags: (after.spec.tags ?? []).filter(isImportable).map((tag): WantedTag => {
      const { annotations, importPolicy, referencePolicy } = tag;
      const conditions = after.status.tags?.find((list) => list.tag === tag.name)?.conditions ?? [];
      return {
        tag: tag.name,
        from: tag.from?.name ?? '',
        generation: tag.generation ?? null,
        due: due.has(tag.name),
        failing: conditions.some(({ type, status }) => type === 'ImportSuccess' && status === 'False'),
        insecure: isInsecure || importPolicy?.insecure === true,
        scheduled: importPolicy?.scheduled === true,
        interval: annotations?.[INTERVAL_ANNOTATION] ?? after.metadata.annotations?.[INTERVAL_ANNOTATION],
        importMode: importPolicy?.importMode ?? '',
        referencePolicy: referencePolicy?.type ?? '',
        preferArch: annotations?.[PREFER_ARCH_ANNOTATION],
        preferOs: annotations?.[PREFER_OS_ANNOTATION],
      };
    }),
  });
}

/** Tells that a stream is deleted, where it wanted anything. */
export function tellGone(tx: Tx, stream: ImageStream): void {
  if (wantsAnything(stream)) publish(tx, stream, stream, { gone: true, tags: [] });
}

type Wishes = Pick<Parameters<typeof ImportWanted.subjectOf>[0], 'gone' | 'repository' | 'tags'>;

function publish(tx: Tx, before: ImageStream | undefined, after: ImageStream, wishes: Wishes): void {
  const { namespace = '', name = '', uid = '', generation = 0 } = after.metadata;
  const resourceVersion = before?.metadata.resourceVersion ?? '0';
  const id = `${uid}.${resourceVersion}.${wishes.gone ? 'gone' : generation}`;
  tx.publishLater(ImportWanted, { namespace, stream: name, streamUid: uid, resourceVersion, ...wishes }, { id });
}

const wantsAnything = ({ spec }: ImageStream): boolean => Boolean(spec.dockerImageRepository) || (spec.tags ?? []).some(isImportable);

/** Labels and the like are no wishes. */
function sameWishes(before: ImageStream, after: ImageStream): boolean {
  const annotated = [CHECKED_ANNOTATION, INSECURE_ANNOTATION, INTERVAL_ANNOTATION].every((key) => {
    const [old, now] = [before.metadata.annotations?.[key], after.metadata.annotations?.[key]];
    return key === CHECKED_ANNOTATION ? Boolean(old) === Boolean(now) : old === now;
  });
  return annotated && before.metadata.generation === after.metadata.generation;
}
