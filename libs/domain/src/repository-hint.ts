import { isDockerHub } from './image-reference.ts';
import { compareInstants } from './tag-history.ts';

/** A push as its registry tells it. */
export interface ToldPush {
  eventId: string;
  /** Absent where the registry does not say. */
  host?: string;
  repository: string;
  /** Repository of a repository manager that the image is in. */
  key?: string;
  tag?: string;
  digest?: string;
  /** RFC 3339. */
  occurredAt: string;
  actor?: string;
}

export interface HintRules {
  /** What the registry may speak of; the first is meant where it names none. */
  hosts: readonly string[];
  /** Whether pull specs name the repository manager's repository before the image. */
  keyInPath: boolean;
  /** An older push has been looked at long since; and a repeat of it could not be told from it. RFC 3339. */
  notBefore: string;
}

/** That somebody pushed to a repository: a reason to look at the tags that follow it. */
export interface RepositoryHint {
  host: string;
  repository: string;
  /** Empty: any may have moved. */
  tags: string[];
  digest?: string;
  eventId: string;
  observedAt: string;
  actor?: string;
}

export type PlacedHint = { kind: 'hint'; hint: RepositoryHint } | { kind: 'none'; reason: 'foreign-host' | 'too-old' };

/** What a push is a hint of. A registry speaks of its own hosts only, whatever it writes. */
export function placeHint(push: ToldPush, { hosts, keyInPath, notBefore }: HintRules): PlacedHint {
  const host = canonicalHost(push.host ?? hosts[0] ?? '');
  if (!hosts.some((known) => canonicalHost(known) === host)) return { kind: 'none', reason: 'foreign-host' };
  if (compareInstants(push.occurredAt, notBefore) < 0) return { kind: 'none', reason: 'too-old' };
  const { eventId, digest, occurredAt: observedAt, actor, key, tag } = push;
  const repository = keyInPath && key !== undefined ? `${key}/${push.repository}` : push.repository;
  return {
    kind: 'hint',
    hint: { host, repository, tags: tag === undefined ? [] : [tag], digest, eventId, observedAt, actor },
  };
}

/** One hint a repository: it is looked at once, whatever was told of it at the same time. The newest time counts. */
export function coalesceHints(hints: readonly RepositoryHint[]): RepositoryHint[] {
  const merged = new Map<string, RepositoryHint>();
  for (const hint of hints) {
    const place = `${hint.host}/${hint.repository}`;
    const known = merged.get(place);
    merged.set(place, known ? merge(known, hint) : hint);
  }
  return [...merged.values()];
}

function merge(a: RepositoryHint, b: RepositoryHint): RepositoryHint {
  return {
    ...a,
    tags: a.tags.length && b.tags.length ? [...new Set([...a.tags, ...b.tags])] : [],
    digest: a.digest === b.digest ? a.digest : undefined,
    observedAt: compareInstants(a.observedAt, b.observedAt) < 0 ? b.observedAt : a.observedAt,
    actor: a.actor ?? b.actor,
  };
}

const canonicalHost = (host: string): string => (isDockerHub(host.toLowerCase()) ? 'docker.io' : host.toLowerCase());
