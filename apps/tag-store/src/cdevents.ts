import { ArtifactPublished } from '@millrace/contracts/cdevents';
import type { TagMoved } from '@millrace/contracts/events';
import { packageUrl } from '@millrace/domain/package-url';
import type { Tx } from '@millrace/platform/store';

/** Tells a move of a tag as a CDEvent; one to something that is no image by digest, which has no purl, is not. `of` is what its tag.moved carries. */
export function tellPublished(tx: Tx, move: TagMoved, of: { id: string; time: Date; traceparent: string }): void {
  const { namespace, stream, streamUid, tag, generation, current, pullSpec, labels, cause } = move;
  const purl = packageUrl({ image: current.image, pullSpec: current.dockerImageReference, tag });
  if (!purl) return;
  const id = `${of.id}.published`;
  const data = ArtifactPublished.data.parse({
    context: { id, timestamp: move.movedAt, chainId: chainOf(of.traceparent) },
    subject: { id: purl, content: { user: cause.actor || undefined } },
    customData: { namespace, stream, streamUid, tag, generation, pullSpec, labels },
  });
  tx.publishLater(ArtifactPublished, data, { ...of, id });
}

/** The trace id as a UUID. */
const chainOf = (traceparent: string): string | undefined =>
  traceparent.split('-')[1]?.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
