import type { Ask, ObjectAnswer } from '@millrace/contracts/requests';
import { matchesFields, matchesLabels, parseFieldSelector, parseLabelSelector } from '@millrace/domain/selectors';
import { badRequest, conflict, gone, type ResourceName, StatusError, tooLarge } from '@millrace/domain/status';
import type { Store } from '@millrace/platform/store';
import type { Changes, FeedEntry } from './changes.ts';
import { readContinue, type Where, writeContinue } from './selection.ts';

/* What triggers and workloads have in common as objects of the API. */

const MODIFIED = 'the object has been modified; please apply your changes to the latest version and try again';

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

/** More are listed in pages: all at once they would be of hundreds of megabytes, here, on NATS and in the api. */
const LIST_MAX = 10_000;

/**
 * Objects by namespace and name, of rows that `where` selects `from` a table. All of them where no limit is asked for.
 * @throws StatusError 400 for a continue key that is none, 413 where all are too many
 */
export async function answerList<R extends { namespace: string; name: string }>(
  { store, changes }: { store: Store; changes: Changes },
  question: Ask<'list'>,
  { columns, from, as, where }: { columns: string; from: string; as: string; where: Where },
  objectOf: (row: R) => object,
): Promise<ObjectAnswer> {
  const begin = readContinue(question.continue);
  const key = `(${as}.namespace, ${as}.name)`;
  if (begin) where.add(`${key} > (${begin.after.map((one) => where.value(one)).join(', ')})`);
  const limit = Math.min(question.limit || LIST_MAX, LIST_MAX);
  return store.transaction(
    async (tx): Promise<ObjectAnswer> => {
      const resourceVersion = begin?.resourceVersion ?? (await changes.current(tx));
      const selected = `FROM ${from} ${as} ${where.sql}`;
      const rows = await tx.query<R>(
        `SELECT ${columns} ${selected} ORDER BY ${as}.namespace, ${as}.name LIMIT $${where.parameters.length + 1}`,
        [...where.parameters, limit + 1],
      );
      const page = rows.slice(0, limit);
      const last = rows.length > limit ? page.at(-1) : undefined;
      if (last && !question.limit)
        throw new StatusError(tooLarge(`there are more than ${LIST_MAX} of them: ask for them in pages, with limit and continue`));
      const counted = last !== undefined && !question.labelSelector && !question.fieldSelector;
      // Apart from the page: it need not read what it counts.
      const [all] = counted ? await tx.query<{ n: string }>(`SELECT count(*) AS n ${selected}`, where.parameters) : [];
      return {
        kind: 'list',
        items: page.map(objectOf),
        resourceVersion,
        ...(last ? { continue: writeContinue({ resourceVersion, after: [last.namespace, last.name] }) } : {}),
        ...(all ? { remainingItemCount: Number(all.n) - page.length } : {}),
      };
    },
    { isolation: 'REPEATABLE READ', readOnly: true },
  );
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
