import { z } from 'zod';
import { isDigest } from '@millrace/domain/image-reference';
import {
  type Dialect,
  Digest,
  EventId,
  field,
  ignored,
  Instant,
  malformed,
  type Outcome,
  pushed,
  Remark,
  RepositoryName,
  TagName,
} from './dialect.ts';

/*
 * CNCF Distribution 2.x (`application/vnd.docker.distribution.events.v1+json`) and 3.x (`...v2+json`), and what speaks
 * like it (GitLab's registry). Both versions of the envelope carry the same fields where we look.
 */

/** Media types under which Distribution tells of layers and configs. */
const BLOB_TYPES = new Set(['', 'application/octet-stream', 'application/vnd.docker.container.image.rootfs.diff+x-gtar']);
/** What our own requests to registries call themselves; see registries.ts. */
export const USER_AGENT = 'Millrace';

const PushEvent = z.object({
  id: EventId,
  timestamp: Instant,
  target: z.object({
    repository: RepositoryName,
    tag: TagName,
    digest: Digest,
    mediaType: z.string().max(255).optional().default(''),
  }),
  request: z.object({ host: Remark }).optional().catch(undefined),
  actor: z.object({ name: Remark }).optional().catch(undefined),
  source: z.object({ instanceID: Remark }).optional().catch(undefined),
});

export const distribution: Dialect = {
  name: 'distribution',
  proofs: ['header', 'path'],
  header: 'authorization',
  describes: true,
  read: (payload) => {
    const events = field(payload, 'events');
    return Array.isArray(events) ? events.map(outcomeOf) : [{ kind: 'malformed', reason: 'the body has no list "events"', event: payload }];
  },
};

function outcomeOf(event: unknown): Outcome {
  const action = field(event, 'action');
  if (action === 'pull' || action === 'mount' || action === 'delete') return ignored(action);
  const eventId = EventId.safeParse(field(event, 'id')).data;
  if (action !== 'push') {
    const reason = typeof action === 'string' ? `unknown action ${JSON.stringify(action.slice(0, 64))}` : 'action: is missing';
    return { kind: 'malformed', reason, event, eventId };
  }
  const userAgent = field(field(event, 'request'), 'useragent');
  if (typeof userAgent === 'string' && userAgent.startsWith(USER_AGENT)) return ignored('own-request');

  const target = field(event, 'target');
  const tag = field(target, 'tag');
  const digest = field(target, 'digest');
  if ((tag === undefined || tag === '') && typeof digest === 'string' && isDigest(digest)) {
    // The index that follows brings its parts with it; a digest alone moves no tag.
    const mediaType = field(target, 'mediaType');
    return ignored(typeof mediaType === 'string' && !BLOB_TYPES.has(mediaType) ? 'by-digest' : 'blob');
  }

  const parsed = PushEvent.safeParse(event);
  if (!parsed.success) return malformed(parsed.error, event, eventId);
  const { id, timestamp, target: to, request, actor, source } = parsed.data;
  return pushed({
    eventId: id,
    repository: to.repository,
    tag: to.tag,
    digest: to.digest,
    mediaType: to.mediaType,
    occurredAt: timestamp,
    actor: actor?.name,
    pushedTo: request?.host,
    instance: source?.instanceID,
  });
}
