import { z } from 'zod';
import { type CloudEvent, cloudEventsIn } from './cloudevents.ts';
import {
  type Dialect,
  Digest,
  ignored,
  malformed,
  Maybe,
  type Outcome,
  pushed,
  Remark,
  RepositoryName,
  TagName,
  tagOrDigest,
  textField,
} from './dialect.ts';

/* zot's events extension: CloudEvents, binary over HTTP and structured over NATS. */

const Updated = z.object({
  name: RepositoryName,
  reference: TagName,
  digest: Maybe(Digest),
  mediaType: Remark,
  actor: Maybe(z.object({ name: Remark })),
});

export const zot: Dialect = {
  name: 'zot',
  proofs: ['header', 'path'],
  describes: true,
  read: (payload, headers) => cloudEventsIn(payload, headers).map((one) => ('outcome' in one ? one.outcome : outcomeOf(one.event))),
};

function outcomeOf({ id, type, time, data, attributes }: CloudEvent): Outcome {
  if (type === 'zotregistry.image.deleted') return ignored('delete');
  if (type !== 'zotregistry.image.updated') return ignored('other-event');
  const reference = textField(data, 'reference');
  if (reference && !tagOrDigest(reference).tag) return ignored('by-digest');
  const parsed = Updated.safeParse(data);
  if (!parsed.success) return malformed(parsed.error, attributes, id);
  const { name, reference: tag, digest, mediaType, actor } = parsed.data;
  return pushed({ eventId: id, repository: name, tag, digest, mediaType, occurredAt: time, actor: actor?.name });
}
