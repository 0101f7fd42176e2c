import { isDigest, tryParseReference } from './image-reference.ts';
import type { ImageStream, TagReference } from './image-stream.ts';
import { DAY, formatInterval, HOUR, MINUTE, parseInterval, SECOND } from './interval.ts';
import { planStream, type StreamPlan } from './import-plan.ts';

/*
 * When a tag that follows an outside image is looked at again. One look (a HEAD) serves every tag that follows the same reference in the same
 * way; here such a look is a check, and its key names it.
 */

/** On a tag, or on a stream for all its tags: how often its scheduled tags are looked at, `5m`, `1h30m`, `1d`. The tag's own wins. */
export const INTERVAL_ANNOTATION = 'millrace.dev/import-interval';

export const INTERVAL_MAX_MS = 30 * DAY;

/** What an operator allows and where nothing is said. */
export interface IntervalLimits {
  defaultMs: number;
  minimumMs: number;
}

/** How often a tag is looked at, from its annotation and its stream's. A text that cannot be used counts as none, and is the `problem`. */
export function intervalOf(
  annotated: { tag?: string | undefined; stream?: string | undefined },
  { defaultMs, minimumMs }: IntervalLimits,
): { intervalMs: number; problem?: string } {
  const text = annotated.tag ?? annotated.stream;
  if (text === undefined) return { intervalMs: defaultMs };
  const problem = intervalProblem(text);
  const asked = parseInterval(text);
  if (problem !== undefined || asked === undefined) return { intervalMs: defaultMs, ...(problem === undefined ? {} : { problem }) };
  if (asked >= minimumMs) return { intervalMs: asked };
  return {
    intervalMs: minimumMs,
    problem: `${INTERVAL_ANNOTATION}: ${quoted(text)} is less than the ${formatInterval(minimumMs)} that is allowed`,
  };
}

/** What is wrong with the text of the annotation, whatever an operator allows. */
export function intervalProblem(text: string): string | undefined {
  const ms = parseInterval(text);
  if (ms === undefined || ms === 0) return `${INTERVAL_ANNOTATION}: ${quoted(text)} is no interval such as 5m, 1h30m or 1d, and is ignored`;
  if (ms > INTERVAL_MAX_MS)
    return `${INTERVAL_ANNOTATION}: ${quoted(text)} is more than the ${formatInterval(INTERVAL_MAX_MS)} that are allowed, and is ignored`;
  return undefined;
}

/** What is wrong with the intervals annotated in a stream, or in a tag of one as the API has it. */
export function intervalWarnings(object: {
  metadata: Annotated;
  /** Of an imagestreamtag. */
  tag?: Annotated | null;
  /** Of a stream, or of an imagetag. */
  spec?: (Annotated & { tags?: readonly Annotated[] | null }) | null;
}): string[] {
  const annotated = [object.metadata, object.tag, object.spec, ...(object.spec?.tags ?? [])];
  const texts = annotated.flatMap((one) => one?.annotations?.[INTERVAL_ANNOTATION] ?? []);
  return [...new Set(texts.flatMap((text) => intervalProblem(text) ?? []))];
}

interface Annotated {
  annotations?: Record<string, string> | null | undefined;
}

const quoted = (text: string): string => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);

/** Whether the schedule looks at a tag: a digest stays what it is, and is looked at until it has been found once. */
export function isScheduled(tag: Pick<TagReference, 'from' | 'reference' | 'importPolicy'>, imported: boolean): boolean {
  if (!tag.importPolicy?.scheduled || tag.reference || tag.from?.kind !== 'DockerImage') return false;
  const reference = tryParseReference(tag.from.name ?? '');
  return reference !== undefined && !(imported && isDigest(reference.id));
}

/** What is imported of a stream when all its scheduled tags have changed; undefined where it has none. */
export function planScheduled(stream: ImageStream): StreamPlan | undefined {
  const imported = new Set((stream.status.tags ?? []).filter(({ items }) => items?.length).map(({ tag }) => tag));
  const scheduled = (tag: TagReference) => isScheduled(tag, imported.has(tag.name));
  const tags = stream.spec.tags ?? [];
  if (!tags.some(scheduled)) return undefined;
  const generation = (stream.metadata.generation ?? 0) + 1;
  return planStream({ ...stream, spec: { ...stream.spec, tags: tags.map((tag) => (scheduled(tag) ? { ...tag, generation } : tag)) } });
}

/** A number in [0, 1) that is always the same for the same text, and spread evenly over texts. */
export function fractionOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}

/** Nothing is looked at sooner than this part of its interval after it was. */
const SOONEST = 0.25;

/**
 * When a check that was made at `now` comes round: each key has its own place in the period and comes back to it, so that checks are spread
 * evenly whenever they were begun, and stay so. A quarter of the interval after `now` at the earliest, one and a quarter at the latest.
 */
export function nextPlace(key: string, intervalMs: number, now: number): number {
  const place = Math.floor(fractionOf(key) * intervalMs);
  const earliest = now + intervalMs * SOONEST;
  return Math.ceil((earliest - place) / intervalMs) * intervalMs + place;
}

/** What is late by less is simply next. */
const GRACE_MS = 5 * SECOND;

/**
 * By how much everything that is overdue moves back, in milliseconds: what could not be looked at in time keeps its distances, so that it is
 * worked off as fast as it would have been, oldest first, and not all at once.
 */
export function backlogShift(oldestDue: number | undefined, now: number): number {
  const late = oldestDue === undefined ? 0 : now - oldestDue;
  return late > GRACE_MS ? Math.floor(late) : 0;
}

/** What a registry told of a tag before it serves it: which digest, where it said so; how often it was looked for since. */
export interface Announcement {
  digest?: string | undefined;
  looks: number;
}

/** What one look came to. `code` is the registry client's word; `unsent`: nothing was asked, to keep within the registry's limits. */
export type CheckOutcome =
  | { kind: 'served'; digest: string }
  | { kind: 'failed'; code: string; retryAfterMs?: number | undefined }
  | { kind: 'unsent'; waitMs: number };

export interface CheckContext {
  key: string;
  intervalMs: number;
  /** How often a reference is looked at that the registry refuses. */
  refusedIntervalMs: number;
  /** Looks that failed one after the other before this one. */
  failures: number;
  announced?: Announcement | undefined;
  /** What was served last; undefined where that is not known of all that follow. */
  digest?: string | undefined;
  now: number;
}

/**
 * `changed`: the tags that follow are imported. `unsent`: nothing is known anew. `awaited`: what was announced is not served yet. `failing`: it may
 * work later by itself. `refused`: somebody has to change something. `tell`: those who follow should know why.
 */
export type AfterCheck =
  | { kind: 'unchanged' | 'changed' | 'unsent'; at: number; awaited: boolean }
  | { kind: 'failing' | 'refused'; at: number; failures: number; awaited: boolean; tell: boolean };

/** What was announced is looked for a minute long. */
const AWAIT_DELAYS_MS = [1, 2, 4, 8, 15, 30].map((seconds) => seconds * SECOND);
const FIRST_RETRY_MS = 30 * SECOND;
const LAST_RETRY_MS = HOUR;
const RETRY_AFTER_MAX_MS = 6 * HOUR;
/** A tenth more or less, so that what failed together does not come back together. */
const JITTER = 0.1;
/** A registry that stumbles is not worth a word in every stream. */
const TELL_AFTER = 3;

const REFUSALS = new Set([
  'unauthorized',
  'credentials-missing',
  'credentials-refused',
  'forbidden',
  'not-found',
  'blocked-address',
  'plain-http',
  'tls',
  'invalid-reference',
  'unsupported-manifest',
  'digest-mismatch',
  'too-large',
]);

/** When the next look is due, and what is to be done about this one. */
export function afterCheck(outcome: CheckOutcome, context: CheckContext): AfterCheck {
  const { key, intervalMs, announced, now } = context;
  const awaitMs = announced && AWAIT_DELAYS_MS[announced.looks];
  if (outcome.kind === 'served') {
    const changed = outcome.digest !== context.digest;
    const arrived = announced?.digest === undefined ? changed : announced.digest === outcome.digest;
    const awaited = awaitMs !== undefined && !arrived;
    return { kind: changed ? 'changed' : 'unchanged', at: awaited ? now + awaitMs : nextPlace(key, intervalMs, now), awaited };
  }
  if (outcome.kind === 'unsent') {
    // Those that wait for the same moment do not all come at it.
    const spreadMs = Math.min(intervalMs / 10, MINUTE) * fractionOf(key);
    return { kind: 'unsent', at: Math.round(now + outcome.waitMs + spreadMs), awaited: announced !== undefined };
  }
  const failures = context.failures + 1;
  const refused = REFUSALS.has(outcome.code);
  const at = refused ? afterRefusal(failures, context) : now + retryDelayMs(key, failures, intervalMs, outcome.retryAfterMs);
  const awaited = awaitMs !== undefined && outcome.retryAfterMs === undefined;
  return {
    kind: refused ? 'refused' : 'failing',
    at: awaited ? Math.min(at, now + awaitMs) : at,
    failures,
    awaited,
    tell: refused || failures >= TELL_AFTER,
  };
}

/** The first refusal may be of the moment in which a tag is made anew. */
function afterRefusal(failures: number, { key, intervalMs, refusedIntervalMs, now }: CheckContext): number {
  return nextPlace(key, failures === 1 ? intervalMs : Math.max(intervalMs, refusedIntervalMs), now);
}

function retryDelayMs(key: string, failures: number, intervalMs: number, retryAfterMs = 0): number {
  const backoff = Math.min(LAST_RETRY_MS, Math.min(FIRST_RETRY_MS, intervalMs) * 2 ** Math.min(failures - 1, 20));
  const jittered = backoff * (1 - JITTER + 2 * JITTER * fractionOf(`${key} ${failures}`));
  return Math.round(Math.max(jittered, Math.min(RETRY_AFTER_MAX_MS, retryAfterMs)));
}

/** What is known of a check when a hint comes. */
export interface HintedCheck {
  /** Served last. */
  digest?: string | undefined;
  /** When it was last seen to serve something else, in milliseconds. */
  changedAt?: number | undefined;
  announced?: Announcement | undefined;
  /** It is due already because of a hint that no look has followed. */
  woken: boolean;
  /** The last look found nothing: whatever is served now is news. */
  failing: boolean;
}

/** Several hints of one push come within this. */
const ONE_PUSH_MS = 10 * SECOND;

/** What a hint does: nothing, where it repeats another or tells what is known; else a look at a time, for what was announced. */
export function onHint(
  check: HintedCheck,
  hint: { digest?: string | undefined; tagged: boolean },
  now: number,
): { kind: 'known' } | { kind: 'look'; at: number; announced?: Announcement } {
  // The digest of an untagged push may be that of a platform's image, which no tag serves.
  const digest = hint.tagged ? hint.digest : undefined;
  if (digest !== undefined && digest === check.digest && !check.failing) return { kind: 'known' };
  if (check.woken && (digest === undefined || digest === check.announced?.digest)) return { kind: 'known' };
  if (digest !== undefined) {
    // A repeat: what it tells of is being looked for.
    if (digest === check.announced?.digest) return { kind: 'known' };
    return { kind: 'look', at: now, announced: { digest, looks: 0 } };
  }
  if (check.announced) return { kind: 'known' };
  const since = check.changedAt === undefined ? Infinity : now - check.changedAt;
  if (since < ONE_PUSH_MS) return { kind: 'look', at: now + ONE_PUSH_MS - since };
  return { kind: 'look', at: now, ...(hint.tagged ? { announced: { looks: 0 } } : {}) };
}
