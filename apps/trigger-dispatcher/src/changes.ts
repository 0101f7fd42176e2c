import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { Touched } from '@millrace/contracts/requests';
import { pause } from '@millrace/platform/backoff';
import { Bus } from '@millrace/platform/bus';
import { packed, unpacked } from '@millrace/platform/rows';
import type { Worker } from '@millrace/platform/service';
import { type Statement, Store, type Tx } from '@millrace/platform/store';
import { touchedSince } from '@millrace/platform/touched';
import type { ChangeRow } from './tables.ts';
import { TRIGGER_COLUMNS, triggerObject, type TriggerRecord } from './trigger-record.ts';

/*
 * resourceVersions of triggers and workloads, and the feed of changes that watches read. The promise: who has seen N is never shown, later, a
 * change numbered below N. A transaction takes its numbers with its very last statement, from one row that stays locked until it
 * has committed, so numbers are in the order of commits.
 */

/** An object that a transaction has changed; several changes of one object count as one. */
export interface Change {
  /** Plural: `imagetriggers`. */
  resource: string;
  uid: string;
  namespace: string;
  name: string;
  type: ChangeRow['type'];
  /** As clients read it when the transaction ends; its resourceVersion is filled in. Absent where who reads the feed may be told how it is by then. */
  object?: () => { metadata: Record<string, unknown> };
  /** What it was selected by before; absent for a new one. */
  oldLabels?: Record<string, string> | null;
  /** Of a trigger: is written with the number, so that its row is written once, and many with one statement. */
  progress?: Progress;
}

/** How far a trigger is with its tag. */
export type Progress = Pick<TriggerRecord, 'baseline' | 'lastTriggered' | 'held' | 'control' | 'lookAt' | 'planned'>;

/** The number of a change; known when its transaction has committed, empty before. */
export interface Recorded {
  resourceVersion: string;
}

/** One row of the feed. */
export type FeedEntry = Pick<ChangeRow, 'type' | 'name' | 'namespace' | 'oldLabels'> & { object: string };

export type Feed<T> =
  /** Everything up to `resourceVersion` has been told. */
  | { kind: 'changes'; changes: T[]; resourceVersion: string }
  /** Changes after what was asked for are no longer known; `oldest` is the first number from which on they are. */
  | { kind: 'expired'; oldest: string };

/** What one look finds; `more` where it found no more than it was allowed to. */
type Part = Exclude<Feed<FeedEntry>, { kind: 'changes' }> | (Extract<Feed<FeedEntry>, { kind: 'changes' }> & { more: boolean });

const NUDGE = 'trigger-dispatcher.changes';
/** How soon a change of another instance is seen when its nudge was lost. */
const POLL_MS = 1_000;

/** Stands in an object for its number until that is known; no client can have written it. */
const NUMBER = randomUUID();

interface Pending {
  change: Change;
  recorded: Recorded;
}

@Injectable()
export class Changes implements Worker {
  private readonly pending = new WeakMap<Tx, Map<string, Pending>>();
  private readonly waiting = new Set<() => void>();
  private readonly stopping = new AbortController();

  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
  ) {}

  start(): void {
    this.bus.onNudge(NUDGE, () => this.wake());
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
  }

  /** Has the transaction number this change when it commits. The object's row must be locked, or inserted, by the transaction. */
  record(tx: Tx, change: Change): Recorded {
    let changes = this.pending.get(tx);
    if (!changes) {
      const fresh = (changes = new Map<string, Pending>());
      this.pending.set(tx, fresh);
      tx.last(
        () => numbering([...fresh.values()]),
        ([row]) => tell([...fresh.values()], BigInt(String(row?.['base'] ?? 0))),
      );
      tx.afterCommit(() => {
        this.wake();
        this.bus.nudge(NUDGE);
      });
    }
    const known = changes.get(change.uid);
    if (known) {
      const type = known.change.type === 'ADDED' && change.type === 'MODIFIED' ? 'ADDED' : change.type;
      const { object, oldLabels, progress } = known.change;
      known.change = { ...change, type, object: change.object ?? object, oldLabels, progress: change.progress ?? progress };
      return known.recorded;
    }
    const recorded = { resourceVersion: '' };
    changes.set(change.uid, { change, recorded });
    return recorded;
  }

  /** The newest number. */
  async current(tx: Pick<Tx, 'query'>): Promise<string> {
    const [row] = await tx.query<{ value: string }>('SELECT value FROM revision');
    return row?.value ?? '0';
  }

  /** Changes in the order of their numbers. While `pick` takes none of them the call waits, up to `waitMs`, or until the service stops. */
  async read<T>(
    question: { resource: string; namespace?: string; name?: string; since: string; limit: number; waitMs: number },
    pick: (entry: FeedEntry) => T | undefined,
  ): Promise<Feed<T>> {
    const deadline = Date.now() + question.waitMs;
    let { since } = question;
    for (;;) {
      // Begun before the look, so that no change falls between the two.
      const changed = new AbortController();
      const listener = () => changed.abort();
      this.waiting.add(listener);
      try {
        const part = await this.look({ ...question, since });
        if (part.kind === 'expired') return since === question.since ? part : { kind: 'changes', changes: [], resourceVersion: since };
        since = part.resourceVersion;
        const picked = part.changes.flatMap((entry) => pick(entry) ?? []);
        const left = deadline - Date.now();
        if (picked.length || left <= 0 || this.stopping.signal.aborted) return { kind: 'changes', changes: picked, resourceVersion: since };
        if (!part.more) await pause(Math.min(left, POLL_MS), changed.signal);
      } finally {
        this.waiting.delete(listener);
      }
    }
  }

  /** See {@link touchedSince}. */
  touched(since?: string): Promise<Touched> {
    return touchedSince(this.store, since);
  }

  private look(question: { resource: string; namespace?: string; name?: string; since: string; limit: number }): Promise<Part> {
    return this.store.transaction(
      async (tx): Promise<Part> => {
        const [now] = await tx.query<{ value: string; pruned: string }>('SELECT value, pruned FROM revision');
        if (!now) throw new Error('table revision is empty: restore its one row with a value above every resource_version');
        if (BigInt(question.since) < BigInt(now.pruned)) return { kind: 'expired', oldest: now.pruned };
        if (BigInt(question.since) >= BigInt(now.value))
          return { kind: 'changes', changes: [], resourceVersion: question.since, more: false };
        const rows = await tx.query<ChangeRow>(
          `SELECT revision, type, namespace, name, object, old_labels AS "oldLabels" FROM change
            WHERE revision > $1 AND ($2::text IS NULL OR namespace = $2) AND ($3::text IS NULL OR name = $3) AND resource = $5
            ORDER BY revision LIMIT $4`,
          [question.since, question.namespace ?? null, question.name ?? null, question.limit, question.resource],
        );
        const unkept = rows.filter(({ object }) => object === null);
        const asIs = unkept.length ? await triggersAt(tx, unkept) : new Map<string, TriggerRecord>();
        const changes = rows.flatMap(({ object, ...row }) => {
          if (object !== null) return { ...row, object };
          // Without one it has changed again, or is gone: that is told further on.
          const trigger = asIs.get(row.revision);
          return trigger ? { ...row, object: JSON.stringify(triggerObject(trigger)) } : [];
        });
        const more = rows.length === question.limit;
        return { kind: 'changes', changes, resourceVersion: (more && rows.at(-1)?.revision) || now.value, more };
      },
      { isolation: 'REPEATABLE READ', readOnly: true },
    );
  }

  /** Forgets changes older than this; resolves to how many. */
  async prune(olderThanMinutes: number): Promise<number> {
    return this.store.transaction(async (tx) => {
      const [old] = await tx.query<{ upto: string | null }>(
        'SELECT max(revision) AS upto FROM change WHERE recorded < now() - make_interval(mins => $1)',
        [olderThanMinutes],
      );
      if (!old?.upto) return 0;
      // Last, because every writer waits for this row.
      tx.last(() => ({ sql: 'UPDATE revision SET pruned = greatest(pruned, $1)', parameters: [old.upto] }));
      return tx.run('DELETE FROM change WHERE revision <= $1', [old.upto]);
    });
  }

  private wake(): void {
    for (const listener of [...this.waiting]) listener();
  }
}

/** Triggers that are as these changes left them, by the numbers of the changes. */
async function triggersAt(
  tx: Tx,
  changes: readonly { revision: string; namespace: string; name: string }[],
): Promise<Map<string, TriggerRecord>> {
  const triggers = await tx.query<TriggerRecord>(
    `SELECT ${TRIGGER_COLUMNS} FROM unnest($1::text[], $2::text[], $3::bigint[]) AS c (namespace, name, revision)
       JOIN trigger t ON t.namespace = c.namespace AND t.name = c.name AND t.resource_version = c.revision`,
    [changes.map(({ namespace }) => namespace), changes.map(({ name }) => name), changes.map(({ revision }) => revision)],
  );
  return new Map(triggers.map((trigger) => [trigger.resourceVersion, trigger]));
}

/** Numbers the changes of a transaction, one after the other in the order in which they were recorded. */
function numbering(pending: readonly Pending[]): Statement {
  const changes = pending.map(({ change }) => change);
  return {
    sql: `WITH taken AS (
       UPDATE revision SET value = value + $1 RETURNING value - $1 AS base
     ), told AS (
       -- Not a join: nobody has counted the rows of revision, and with more than its one the plan would read all triggers.
       SELECT (SELECT base FROM taken) + n AS revision, uid, namespace, name, type, object, old_labels, resource, progress::jsonb AS progress
         FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], ${unpacked('$6')}, ${unpacked('$7')}, $8::text[], ${unpacked('$9')})
              WITH ORDINALITY AS one (uid, namespace, name, type, object, old_labels, resource, progress, n)
     ), numbered AS (
       UPDATE trigger SET resource_version = told.revision FROM told WHERE trigger.uid = told.uid AND told.progress IS NULL
     ), progressed AS (
       UPDATE trigger SET resource_version = told.revision, baseline = progress -> 'baseline', last_triggered = progress -> 'lastTriggered',
              held = progress ->> 'held', control = progress -> 'control', look_at = (progress ->> 'lookAt')::timestamptz
         FROM told WHERE trigger.uid = told.uid AND told.progress IS NOT NULL
     ), planned AS (
       INSERT INTO trigger_tag (trigger_uid, stream_uid, generation, moved_at)
       SELECT told.uid, one ->> 'streamUid', (one ->> 'generation')::bigint, one ->> 'movedAt' FROM told, jsonb_array_elements(progress -> 'planned') AS one
       ON CONFLICT (trigger_uid, stream_uid) DO UPDATE SET generation = excluded.generation, moved_at = excluded.moved_at
     ), numbered_workloads AS (
       UPDATE workload SET resource_version = told.revision FROM told WHERE workload.uid = told.uid
     ), feed AS (
       INSERT INTO change (revision, namespace, name, type, object, old_labels, resource)
       SELECT revision, namespace, name, type, replace(object, '${NUMBER}', revision::text), old_labels::jsonb, resource FROM told
     )
     SELECT base FROM taken`,
    parameters: [
      changes.length,
      changes.map((change) => change.uid),
      changes.map((change) => change.namespace),
      changes.map((change) => change.name),
      changes.map((change) => change.type),
      packed(changes.map(({ object }) => object && numbered(object()))),
      packed(changes.map((change) => (change.oldLabels ? JSON.stringify(change.oldLabels) : null))),
      changes.map((change) => change.resource),
      packed(changes.map(({ progress }) => progress && progressOf(progress))),
    ],
  };
}

/** As JSON, in which {@link NUMBER} stands for its number. */
const numbered = (object: { metadata: Record<string, unknown> }): string =>
  JSON.stringify({ ...object, metadata: { ...object.metadata, resourceVersion: NUMBER } });

/** As JSON, in which what is null is absent. */
const progressOf = ({ baseline, lastTriggered, held, control, lookAt, planned }: Progress): string =>
  JSON.stringify({
    ...(baseline && { baseline }),
    ...(lastTriggered && { lastTriggered }),
    ...(held !== null && { held }),
    ...(control && { control }),
    ...(lookAt && { lookAt }),
    ...(planned && { planned }),
  });

function tell(pending: Pending[], base: bigint): void {
  pending.forEach(({ recorded }, i) => (recorded.resourceVersion = String(base + BigInt(i + 1))));
}
