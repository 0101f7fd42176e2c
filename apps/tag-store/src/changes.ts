import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { Touched } from '@millrace/contracts/requests';
import { pause } from '@millrace/platform/backoff';
import { Bus } from '@millrace/platform/bus';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG, type Worker } from '@millrace/platform/service';
import { type Statement, Store, type Tx } from '@millrace/platform/store';
import { touchedSince } from '@millrace/platform/touched';
import type { TagStoreConfig } from './config.ts';

/*
 * resourceVersions, and the feed of changes that watches read. The promise: who has seen N is never shown, later, a change
 * numbered below N. A transaction takes its numbers with its very last statement, from one row that stays locked until it has
 * committed; so numbers are in the order of commits, and a snapshot that shows the number N shows every change up to N.
 */

/** An object that a transaction has changed; several changes of one object count as one. */
export interface Change {
  resource: 'imagestreams' | 'images' | 'namespaces' | 'secrets' | 'serviceaccounts';
  /** Absent for a resource without namespaces. */
  namespace?: string;
  name: string;
  uid: string;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  /** For DELETED: the last state of the object, as the client gets it; its resourceVersion is set to that of the deletion. */
  object?: { metadata: { resourceVersion?: string } };
}

/** The number of a change; known when its transaction has committed, empty before. */
export interface Recorded {
  resourceVersion: string;
}

/** The last thing that happened to an object within what is asked for. */
export interface FeedEntry {
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  namespace: string;
  name: string;
  uid: string;
  resourceVersion: string;
  /** Of an object that is deleted: its last state as JSON. Of others the state is in their row, in the same snapshot. */
  lastState: string | null;
}

export interface FeedQuestion {
  resource: Change['resource'];
  namespace?: string;
  name?: string;
  /** Changes numbered above this. */
  since: string;
  /** How many objects at most. */
  limit: number;
  /** How long to wait for the first change. */
  waitMs: number;
}

export type Feed<T> =
  /** Everything up to `resourceVersion` has been told. */
  | { kind: 'changes'; changes: T[]; resourceVersion: string }
  /** Changes after `since` are no longer known; `oldest` is the first number from which on they are. */
  | { kind: 'expired'; oldest: string };

const NUDGE = 'tag-store.changes';
/** How soon a change of another instance is seen when its nudge was lost. */
const POLL_MS = 500;
const PRUNE_EVERY_MS = 30_000;
const PRUNE_ROWS = 20_000;

/** Stands in a deleted object for its number until that is known; no client can have written it. */
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
  private running: Promise<unknown> = Promise.resolve();
  private seen = '';

  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
    @Inject(CONFIG) private readonly config: Pick<TagStoreConfig, 'CHANGE_RETENTION_MINUTES'>,
    @Inject(LOG) private readonly log: Log,
  ) {}

  start(): void {
    this.bus.onNudge(NUDGE, () => this.wake());
    this.running = Promise.all([this.watchOthers(), this.pruneOld()]);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.running;
  }

  /**
   * Has the transaction number this change when it commits, and set the object's resource_version. The row of the object must be
   * locked, or inserted, by the transaction.
   */
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
      known.change = { ...change, type: known.change.type === 'ADDED' && change.type === 'MODIFIED' ? 'ADDED' : change.type };
      return known.recorded;
    }
    const recorded = { resourceVersion: '' };
    changes.set(change.uid, { change, recorded });
    return recorded;
  }

  /** The newest number, as the transaction's snapshot has it; what it reads in that snapshot is complete up to it. */
  async current(tx: Tx): Promise<string> {
    const [row] = await tx.query<{ value: string }>('SELECT value FROM revision');
    return row?.value ?? '0';
  }

  /**
   * What has changed, the last thing per object, in the order of numbers. `render` gets the entries in the snapshot that they are of,
   * and answers what of them concerns the asker; while that is nothing, the call waits. An object that was created and changed since is
   * told as ADDED; one that was created and deleted as both. Answers earlier than `waitMs` when the service stops.
   */
  async read<T>(question: FeedQuestion, render: (tx: Tx, entries: FeedEntry[]) => Promise<T[]>): Promise<Feed<T>> {
    const deadline = Date.now() + question.waitMs;
    let since = question.since;
    for (;;) {
      // Asked for before the snapshot is taken, so that no change falls between the two.
      const changed = this.nextChange();
      try {
        const part = await this.readOnce({ ...question, since }, render);
        if (part.kind === 'expired') return since === question.since ? part : { kind: 'changes', changes: [], resourceVersion: since };
        const left = deadline - Date.now();
        if (part.changes.length || left <= 0 || this.stopping.signal.aborted)
          return { kind: 'changes', changes: part.changes, resourceVersion: part.resourceVersion };
        since = part.resourceVersion;
        if (!part.cut) await changed.within(left);
      } finally {
        changed.forget();
      }
    }
  }

  /** See {@link touchedSince}. */
  touched(since?: string): Promise<Touched> {
    return touchedSince(this.store, since);
  }

  private async readOnce<T>(
    question: FeedQuestion,
    render: (tx: Tx, entries: FeedEntry[]) => Promise<T[]>,
  ): Promise<{ kind: 'expired'; oldest: string } | { kind: 'changes'; changes: T[]; resourceVersion: string; cut: boolean }> {
    return this.store.transaction(
      async (tx) => {
        const [now] = await tx.query<{ value: string; pruned: string }>('SELECT value, pruned FROM revision');
        if (!now) throw new Error('table revision is empty: restore its one row with a value above every resource_version');
        const since = BigInt(question.since);
        if (since < BigInt(now.pruned)) return { kind: 'expired', oldest: now.pruned };
        if (since >= BigInt(now.value)) return { kind: 'changes', changes: [], resourceVersion: question.since, cut: false };
        const rows = await tx.query<FeedRow>(
          `SELECT * FROM (
             SELECT DISTINCT ON (uid) uid, namespace, name, type, revision, object, bool_or(type = 'ADDED') OVER (PARTITION BY uid) AS created
               FROM change
              WHERE revision > $1 AND resource = $2 AND ($3::text IS NULL OR namespace = $3) AND ($4::text IS NULL OR name = $4)
              ORDER BY uid, revision DESC
           ) last ORDER BY revision LIMIT $5`,
          [question.since, question.resource, question.namespace ?? null, question.name ?? null, question.limit + 1],
        );
        const cut = rows.length > question.limit;
        const told = cut ? rows.slice(0, question.limit) : rows;
        const entries = told.flatMap(asEntries);
        const changes = entries.length ? await render(tx, entries) : [];
        return { kind: 'changes', changes, resourceVersion: cut ? (told.at(-1)?.revision ?? question.since) : now.value, cut };
      },
      { isolation: 'REPEATABLE READ', readOnly: true },
    );
  }

  private nextChange(): { within: (ms: number) => Promise<void>; forget: () => void } {
    let changed = false;
    let resolve = (): void => undefined;
    const listener = () => {
      changed = true;
      resolve();
    };
    this.waiting.add(listener);
    return {
      within: async (ms) => {
        if (changed) return;
        let timer: NodeJS.Timeout | undefined;
        await new Promise<void>((done) => {
          resolve = done;
          timer = setTimeout(done, ms);
        });
        clearTimeout(timer);
      },
      forget: () => void this.waiting.delete(listener),
    };
  }

  private wake(): void {
    for (const listener of [...this.waiting]) listener();
  }

  /** One look for all who wait: nudges are best effort. */
  private async watchOthers(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      await pause(POLL_MS, signal);
      if (!this.waiting.size || signal.aborted) continue;
      const [row] = await this.store.query<{ value: string }>('SELECT value FROM revision').catch(() => []);
      if (row && row.value !== this.seen) {
        this.seen = row.value;
        this.wake();
      }
    }
  }

  private async pruneOld(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      try {
        const gone = await this.prune();
        if (gone) this.log.info({ changes: gone }, 'changes.pruned');
        if (gone >= PRUNE_ROWS) continue;
      } catch (error) {
        this.log.warn({ err: error }, 'changes.prune-failed');
      }
      await pause(PRUNE_EVERY_MS, signal);
    }
  }

  /** Forgets the oldest changes, up to {@link PRUNE_ROWS}, that are past their time; resolves to how many. */
  async prune(retentionMinutes = this.config.CHANGE_RETENTION_MINUTES): Promise<number> {
    return this.store.transaction(async (tx) => {
      const [old] = await tx.query<{ upto: string | null }>(
        `SELECT max(revision) AS upto FROM (SELECT revision, recorded FROM change ORDER BY revision LIMIT ${PRUNE_ROWS}) AS oldest
          WHERE recorded < now() - make_interval(mins => $1)`,
        [retentionMinutes],
      );
      if (!old?.upto) return 0;
      const gone = await tx.run('DELETE FROM change WHERE revision <= $1', [old.upto]);
      // Last, because every writer waits for this row.
      tx.last(() => ({ sql: 'UPDATE revision SET pruned = greatest(pruned, $1)', parameters: [old.upto] }));
      return gone;
    });
  }
}

interface FeedRow {
  uid: string;
  namespace: string;
  name: string;
  type: FeedEntry['type'];
  revision: string;
  object: string | null;
  created: boolean;
}

function asEntries({ uid, namespace, name, type, revision, object, created }: FeedRow): FeedEntry[] {
  const entry = { namespace, name, uid, resourceVersion: revision, lastState: object };
  if (!created) return [{ ...entry, type }];
  return type === 'DELETED'
    ? [
        { ...entry, type: 'ADDED' },
        { ...entry, type },
      ]
    : [{ ...entry, type: 'ADDED' }];
}

/** Rows of what is seldom changed: only a statement that numbers one of them names their table, so that pushes go on with the statement they have. */
const SELDOM = { namespaces: 'namespace', secrets: 'secret', serviceaccounts: 'service_account' } as const;

/** Numbers the changes of a transaction, one after the other in the order in which they were recorded. */
function numbering(pending: Pending[]): Statement {
  const changes = pending.map(({ change }) => change);
  // The object carries the number of its deletion, which only Postgres knows.
  const objects = changes.map(
    ({ object }) => object && JSON.stringify({ ...object, metadata: { ...object.metadata, resourceVersion: NUMBER } }),
  );
  const seldom = Object.entries(SELDOM).filter(([resource]) => changes.some((change) => change.resource === resource));
  const further = seldom.map(
    ([resource, table]) =>
      `${resource} AS (
       UPDATE ${table} SET resource_version = told.revision FROM told WHERE told.resource = '${resource}' AND ${table}.uid = told.uid
     ), `,
  );
  return {
    sql: `WITH taken AS (
       UPDATE revision SET value = value + $1 RETURNING value - $1 AS base
     ), told AS (
       -- Not a join: nobody has counted the rows of revision, and with more than its one the plan would read all streams and images.
       SELECT (SELECT base FROM taken) + n AS revision, resource, namespace, name, uid, type, object
         FROM unnest($2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[])
              WITH ORDINALITY AS one (resource, namespace, name, uid, type, object, n)
     ), streams AS (
       UPDATE stream SET resource_version = told.revision FROM told WHERE told.resource = 'imagestreams' AND stream.uid = told.uid
     ), images AS (
       UPDATE image SET resource_version = told.revision FROM told WHERE told.resource = 'images' AND image.name = told.name
     ), ${further.join('')}feed AS (
       INSERT INTO change (revision, resource, namespace, name, uid, type, object)
       SELECT revision, resource, namespace, name, uid, type, replace(object, '${NUMBER}', revision::text) FROM told
     )
     SELECT base FROM taken`,
    parameters: [
      changes.length,
      changes.map((change) => change.resource),
      changes.map((change) => change.namespace ?? ''),
      changes.map((change) => change.name),
      changes.map((change) => change.uid),
      changes.map((change) => change.type),
      objects.map((object) => object ?? null),
    ],
  };
}

function tell(pending: Pending[], base: bigint): void {
  pending.forEach(({ recorded }, i) => (recorded.resourceVersion = String(base + BigInt(i + 1))));
}
