import { z } from 'zod';
import { Digest, isDigest, RepositoryName, TagName } from '@millrace/domain/image-reference';
import { sortableInstant } from '@millrace/domain/tag-history';

/*
 * What registries write in their notifications. So far: CNCF Distribution 2.x (`application/vnd.docker.distribution.events.v1+json`) and 3.x
 * (`...v2+json`), and what speaks like it (GitLab's registry). Both versions of the envelope carry the same fields where we look.
 */

/** A manifest or index that a registry has accepted under a tag. */
export interface Push {
  /** The registry's own id of the event; a repeat carries the same. */
  eventId: string;
  repository: string;
  tag: string;
  digest: string;
  mediaType: string;
  /** RFC 3339 as the registry wrote it, with all its digits. */
  occurredAt: string;
  /** Who pushed, where the registry knows. */
  actor?: string;
  /** Under which name the registry was pushed to. */
  host?: string;
  /** Which run of which registry process tells it. */
  instance?: string;
}

export type Ignored = 'pull' | 'mount' | 'delete' | 'blob' | 'by-digest' | 'own-request';

/** One event of a notification. `event` is what was there instead of a usable one. */
export type Outcome =
  | { kind: 'push'; push: Push }
  | { kind: 'ignored'; reason: Ignored }
  | { kind: 'malformed'; reason: string; event: unknown; eventId?: string };

/** Media types under which Distribution tells of layers and configs. */
const BLOB_TYPES = new Set(['', 'application/octet-stream', 'application/vnd.docker.container.image.rootfs.diff+x-gtar']);
/** What our own requests to registries call themselves; see registries.ts. */
export const USER_AGENT = 'Millrace';

const EventId = z.string().regex(/^[\x21-\x7e]{1,200}$/, 'must be up to 200 printable characters');
const Instant = z.string().max(64).refine(isInstant, 'must be a time such as 2026-01-02T03:04:05.678901234Z');
/** What is told about a push beside it; never a reason to refuse it. */
const Remark = z
  .string()
  .transform((text) => text.replaceAll('\0', '\uFFFD').slice(0, 256) || undefined)
  .optional()
  .catch(undefined);

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

/** Every event of a notification's body, in its order. A body that is no envelope is one malformed event. */
export function pushesIn(body: string): Outcome[] {
  let envelope: unknown;
  try {
    envelope = JSON.parse(body);
  } catch (error) {
    return [{ kind: 'malformed', reason: `the body is not JSON: ${(error as Error).message}`, event: body }];
  }
  const events = field(envelope, 'events');
  if (!Array.isArray(events)) return [{ kind: 'malformed', reason: 'the body has no list "events"', event: envelope }];
  return events.map(outcomeOf);
}

function outcomeOf(event: unknown): Outcome {
  const action = field(event, 'action');
  if (action === 'pull' || action === 'mount' || action === 'delete') return { kind: 'ignored', reason: action };
  const eventId = EventId.safeParse(field(event, 'id')).data;
  if (action !== 'push') {
    const reason = typeof action === 'string' ? `unknown action ${JSON.stringify(action.slice(0, 64))}` : 'action: is missing';
    return { kind: 'malformed', reason, event, eventId };
  }
  const userAgent = field(field(event, 'request'), 'useragent');
  if (typeof userAgent === 'string' && userAgent.startsWith(USER_AGENT)) return { kind: 'ignored', reason: 'own-request' };

  const target = field(event, 'target');
  const tag = field(target, 'tag');
  const digest = field(target, 'digest');
  if ((tag === undefined || tag === '') && typeof digest === 'string' && isDigest(digest)) {
    // The index that follows brings its parts with it; a digest alone moves no tag.
    const mediaType = field(target, 'mediaType');
    return { kind: 'ignored', reason: typeof mediaType === 'string' && !BLOB_TYPES.has(mediaType) ? 'by-digest' : 'blob' };
  }

  const parsed = PushEvent.safeParse(event);
  if (!parsed.success) {
    const reason = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'event'}: ${issue.message}`).join('; ');
    return { kind: 'malformed', reason, event, eventId };
  }
  const { id, timestamp, target: pushed, request, actor, source } = parsed.data;
  return {
    kind: 'push',
    push: {
      eventId: id,
      repository: pushed.repository,
      tag: pushed.tag,
      digest: pushed.digest,
      mediaType: pushed.mediaType,
      occurredAt: timestamp,
      actor: actor?.name,
      host: request?.host,
      instance: source?.instanceID,
    },
  };
}

function field(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function isInstant(text: string): boolean {
  try {
    sortableInstant(text);
    return true;
  } catch {
    return false;
  }
}
