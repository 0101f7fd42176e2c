import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Digest, isDigest, RepositoryName, repositoryName, TagName, tryParseReference } from '@millrace/domain/image-reference';
import { sortableInstant } from '@millrace/domain/tag-history';

/*
 * What every dialect is made of. A dialect is data and one pure function: the payload and headers of a notification in, what it says out.
 */

/** A manifest or index that a registry has accepted. What is absent, the registry does not tell. */
export interface Push {
  /** The registry's own id of the event, or one made of what identifies the push: a repeat carries the same. */
  eventId?: string;
  /** Host of its pull spec, in the words of the payload: the configuration decides whether the registry may speak of it. */
  host?: string;
  repository: string;
  /** Absent: any tag of the repository may have moved. */
  tag?: string;
  digest?: string;
  mediaType?: string;
  /** RFC 3339 as the registry wrote it, with all its digits. */
  occurredAt?: string;
  actor?: string;
  /** Name of the repository of a repository manager (Nexus, Artifactory) that the image is in. */
  key?: string;
  /** Under which host name it was pushed, which need not be that of pull specs. */
  pushedTo?: string;
  /** Which run of which registry process tells it. */
  instance?: string;
}

export type Ignored =
  | 'pull'
  | 'mount'
  | 'delete'
  | 'blob'
  /** Moves no tag. What a tag needs of it comes with the push of the tag. */
  | 'by-digest'
  | 'own-request'
  /** A console tries whether we are there. */
  | 'ping'
  | 'other-event'
  /** A package that is no image. */
  | 'no-image';

/** One event of a notification. `event` is what was there instead of a usable one. */
export type Outcome =
  | { kind: 'push'; push: Push }
  | { kind: 'ignored'; reason: Ignored }
  | { kind: 'malformed'; reason: string; event: unknown; eventId?: string };

/** How a sender shows who it is: a shared secret in a header, as a segment of the path, as the key of a signature, or a token of its identity. */
export const PROOFS = ['signature', 'oidc', 'header', 'path'] as const;
export type Proof = (typeof PROOFS)[number];

/** What a signature covers and where it stands. */
export type Signature =
  | { scheme: 'hmac'; header: string; algorithm: 'sha1' | 'sha256'; prefix: string }
  /** `webhook-id`, `webhook-timestamp` and `webhook-signature`, see standardwebhooks.com. */
  | { scheme: 'standard-webhooks' };

/** By lower-case name. */
export type Headers = Readonly<Record<string, string | undefined>>;

/** How one kind of registry tells of its pushes. */
export interface Dialect {
  name: string;
  /** What its senders offer, best first. */
  proofs: readonly Proof[];
  signature?: Signature;
  /** Header of a shared secret, where the sender does not leave the choice. */
  header?: string;
  /** Of a service that there is only one of. */
  hosts?: readonly string[];
  /** Whether its pushes tell tag, digest and time: only then can they become mappings. */
  describes: boolean;
  /** Whether pull specs name the repository manager's repository before the image, unless the configuration says otherwise. */
  keyInPath?: boolean;
  /** Throws for no payload. */
  read(payload: unknown, headers: Headers): Outcome[];
}

export const EventId = z.string().regex(/^[\x21-\x7e]{1,200}$/, 'must be up to 200 printable characters');
export const Instant = z.string().max(64).refine(isInstant, 'must be a time such as 2026-01-02T03:04:05.678901234Z');
/** Seconds since 1970. */
export const Epoch = z
  .number()
  .min(0)
  .max(253_402_300_799)
  .transform((seconds) => new Date(seconds * 1000).toISOString());
/** What is told about a push beside it; never a reason to refuse it. */
export const Remark = z
  .string()
  .transform((text) => text.replaceAll('\0', '\uFFFD').slice(0, 256) || undefined)
  .optional()
  .catch(undefined);
/** A part that a push can do without: one that is not what it should be is as good as absent. */
export const Maybe = <S extends z.ZodType>(schema: S) => schema.optional().catch(undefined);

/** An id for an event that has none, made of what identifies it; a long one is hashed. */
export const madeId = (...parts: string[]): string => {
  const text = parts.join('@');
  return EventId.safeParse(text).data ?? `sha256.${createHash('sha256').update(text).digest('hex')}`;
};

export const ignored = (reason: Ignored): Outcome => ({ kind: 'ignored', reason });
export const pushed = (push: Push): Outcome => ({ kind: 'push', push });

/** What `schema` says is wrong with an event. */
export function malformed(error: z.ZodError, event: unknown, eventId?: string): Outcome {
  const reason = error.issues.map((issue) => `${issue.path.join('.') || 'event'}: ${issue.message}`).join('; ');
  return { kind: 'malformed', reason, event, eventId: EventId.safeParse(eventId).data };
}

export function field(value: unknown, ...path: string[]): unknown {
  for (const key of path) value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
  return value;
}

export const textField = (value: unknown, ...path: string[]): string => {
  const found = field(value, ...path);
  return typeof found === 'string' ? found : '';
};

/** A tag, unless it is a digest or nothing: some registries write one of them where a tag would stand. */
export const tagOrDigest = (text: string): { tag?: string } => (text === '' || isDigest(text) ? {} : { tag: text });

/** The parts of a full pull spec `HOST/REPOSITORY[:TAG][@DIGEST]`. */
export const PullSpec = z.string().transform((text, context) => {
  const parsed = tryParseReference(text);
  const repository = parsed && repositoryName(parsed);
  if (parsed?.registry && repository)
    return { host: parsed.registry, repository, tag: parsed.tag || undefined, digest: parsed.id || undefined };
  context.addIssue('must be a pull spec such as registry.example.com/library/ruby:3.4');
  return z.NEVER;
});

export { Digest, RepositoryName, TagName };

function isInstant(text: string): boolean {
  try {
    sortableInstant(text);
    return true;
  } catch {
    return false;
  }
}
