import { randomBytes } from 'node:crypto';
import type { ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { matchesFields, matchesLabels, parseFieldSelector, parseLabelSelector } from '@millrace/domain/selectors';
import { badRequest, conflict, gone, type ResourceName, StatusError } from '@millrace/domain/status';
import type { Store, Tx } from '@millrace/platform/store';
import type { Changes, FeedEntry } from './changes.ts';
import { writeContinue } from './selection.ts';

/* What triggers and workloads have in common as objects of the API. */

export type Ask<V extends ObjectQuestion['verb']> = Extract<ObjectQuestion, { verb: V }>;

const MODIFIED = 'the object has been modified; please apply your changes to the latest version and try again';

/** Carries the outcome of a dry run out of the transaction that must not commit. */
class Rehearsed<T> {
  constructor(readonly outcome: T) {}
}

/** A write in one transaction. A dry run does everything and commits nothing. */
export async function attempt<T>(store: Store, dryRun: boolean, work: (tx: Tx) => Promise<T>): Promise<T> {
  try {
    return await store.transaction(async (tx) => {
      const outcome = await work(tx);
      if (dryRun) throw new Rehearsed(outcome);
      return outcome;
    });
  } catch (error) {
    if (error instanceof Rehearsed) return error.outcome as T;
    throw error;
  }
}

/** Throws StatusError 409. */
export function meets(
  of: ResourceName,
  object: { name: string; uid: string; resourceVersion: string },
  expected: { uid?: string; resourceVersion?: string },
): void {
  if (expected.uid && expected.uid !== object.uid)
    throw new StatusError(
      conflict(of, object.name, `Precondition failed: UID in precondition: ${expected.uid}, UID in object meta: ${object.uid}`),
    );
  if (expected.resourceVersion && expected.resourceVersion !== object.resourceVersion)
    throw new StatusError(conflict(of, object.name, MODIFIED));
}

/** What a list is answered with, of rows that are one more than its limit where there is more. */
export function answerPage<R extends { namespace: string; name: string; total: string }>(
  { limit, labelSelector, fieldSelector }: Ask<'list'>,
  rows: readonly R[],
  resourceVersion: string,
  objectOf: (row: R) => object,
): ObjectAnswer {
  const page = limit ? rows.slice(0, limit) : rows;
  const last = rows.length > page.length ? page.at(-1) : undefined;
  return {
    kind: 'list',
    items: page.map(objectOf),
    resourceVersion,
    ...(last ? { continue: writeContinue({ resourceVersion, after: [last.namespace, last.name] }) } : {}),
    ...(last && !labelSelector && !fieldSelector ? { remainingItemCount: Number(last.total) - page.length } : {}),
  };
}

/** The changes that a question selects. Throws StatusError 400, and 410 where they are no longer known. */
export async function answerChanges(changes: Changes, question: Ask<'changes'>): Promise<ObjectAnswer> {
  if (!/^\d{1,18}$/.test(question.since))
    throw new StatusError(badRequest(`resourceVersion: Invalid value: ${JSON.stringify(question.since)}`));
  const labels = question.labelSelector ? parseLabelSelector(question.labelSelector) : [];
  const fields = question.fieldSelector ? parseFieldSelector(question.fieldSelector, ['metadata.name', 'metadata.namespace']) : [];
  const feed = await changes.read(question, (entry) => {
    if (!matchesFields(fields, (field) => (field === 'metadata.name' ? entry.name : entry.namespace))) return undefined;
    return seenThrough(entry, (of) => matchesLabels(labels, of ?? {}));
  });
  if (feed.kind === 'expired') throw new StatusError(gone(`too old resource version: ${question.since} (${feed.oldest})`));
  return feed;
}

/** A change as one sees it who watches a selection: what enters it is added, what leaves it is deleted. */
function seenThrough(entry: FeedEntry, matches: (labels: Record<string, string> | null | undefined) => boolean) {
  const object = JSON.parse(entry.object) as { metadata: { labels?: Record<string, string> } };
  const before = entry.type !== 'ADDED' && matches(entry.oldLabels);
  const after = entry.type !== 'DELETED' && matches(object.metadata.labels);
  if (!before && !after) return undefined;
  return { type: before && after ? ('MODIFIED' as const) : after ? ('ADDED' as const) : ('DELETED' as const), object };
}

/** As Kubernetes does it: no vowels, nothing that looks like another letter. */
export function randomSuffix(): string {
  const letters = 'bcdfghjklmnpqrstvwxz2456789';
  return [...randomBytes(5)].map((byte) => letters[byte % letters.length]).join('');
}
