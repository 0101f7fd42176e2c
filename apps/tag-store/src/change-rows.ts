import type { HistoryEntry } from '@millrace/domain/tag-history';
import { valuesList } from '@millrace/platform/rows';
import type { Tx } from '@millrace/platform/store';
import {
  type Brought,
  CHANGE_COLUMNS,
  type ControlledTag,
  type LoadedControl,
  type StoredChange,
  type WaitingChange,
  waitingOf,
} from './controlled-tag.ts';

/* The rows of changes that wait. Only tags with a control are ever asked for here. */

interface Place {
  uid: string;
  tag: string;
}

const ROWS_PER_STATEMENT = 1_000;

/** Loads what waits for tags, and answers which of the causes led to changes already. */
export async function loadControls(
  tx: Tx,
  tags: readonly (Place & { controlled: ControlledTag })[],
  asked: readonly (Place & { cause: string })[],
): Promise<(Place & { cause: string })[]> {
  const [rows, known] = await Promise.all([
    tx.query<LoadedControl & { n: string }>(
      `SELECT k.n, t.control, t.look_at, t.looked_at, c.*,
              (SELECT max(position) FROM tag_change WHERE stream_uid = k.uid AND tag = k.name) AS last_position
         FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (uid, name, n)
         JOIN tag t ON t.stream_uid = k.uid AND t.name = k.name
         LEFT JOIN LATERAL (
           SELECT ${CHANGE_COLUMNS} FROM tag_change c
            WHERE c.stream_uid = k.uid AND c.tag = k.name AND c.outcome IS NULL ORDER BY c.position DESC LIMIT 1
         ) AS c ON true`,
      [tags.map(({ uid }) => uid), tags.map(({ tag }) => tag)],
    ),
    tx.query<Place & { cause: string }>(
      `SELECT k.* FROM unnest($1::uuid[], $2::text[], $3::text[]) AS k (uid, tag, cause)
         JOIN tag_change c ON c.stream_uid = k.uid AND c.tag = k.tag AND c.cause = k.cause`,
      [asked.map(({ uid }) => uid), asked.map(({ tag }) => tag), asked.map(({ cause }) => cause)],
    ),
  ]);
  for (const row of rows) tags[Number(row.n) - 1]?.controlled.load(row);
  return known;
}

/** The newest change that waits below a position. */
export async function nextWaiting(tx: Tx, uid: string, tag: string, below: string): Promise<WaitingChange | undefined> {
  const [row] = await tx.query<StoredChange>(
    `SELECT ${CHANGE_COLUMNS} FROM tag_change c
      WHERE c.stream_uid = $1 AND c.tag = $2 AND c.outcome IS NULL AND c.position < $3::numeric ORDER BY c.position DESC LIMIT 1`,
    [uid, tag, below],
  );
  return row && waitingOf(row);
}

/** Changes that wait, newest first. */
export async function waitingChanges(tx: Pick<Tx, 'query'>, uid: string, tag: string, limit: number): Promise<WaitingChange[]> {
  const rows = await tx.query<StoredChange>(
    `SELECT ${CHANGE_COLUMNS} FROM tag_change c WHERE c.stream_uid = $1 AND c.tag = $2 AND c.outcome IS NULL ORDER BY c.position DESC LIMIT $3`,
    [uid, tag, limit],
  );
  return rows.map(waitingOf);
}

/** What a late observation is placed among, as it is among the items of a history. */
export async function recentChanges(
  tx: Tx,
  uid: string,
  tag: string,
  { source, observedAt }: { source?: string; observedAt?: string },
): Promise<(HistoryEntry & { position: string; change: { outcome: string | null } })[]> {
  const select = `SELECT ${CHANGE_COLUMNS}, c.outcome FROM tag_change c WHERE c.stream_uid = $1 AND c.tag = $2 AND c.source = $3 AND c.observed_at`;
  const rows = await tx.query<StoredChange & { outcome: string | null }>(
    `SELECT * FROM (
       (${select} > $4 ORDER BY c.observed_at, c.position LIMIT 1)
       UNION ALL (${select} = $4 ORDER BY c.position DESC LIMIT 100)
       UNION ALL (${select} < $4 ORDER BY c.observed_at DESC, c.position DESC LIMIT 1)
     ) AS near ORDER BY observed_at DESC, position DESC`,
    [uid, tag, source, observedAt],
  );
  return rows.map(({ outcome, ...row }) => {
    const { event, source: told, observedAt: at, cause, position } = waitingOf(row);
    return { event, source: told, observedAt: at, cause, position, change: { outcome } };
  });
}

/** Puts a late change directly below another: it is passed over with it, whatever becomes of that. */
export async function insertChangeBelow(
  tx: Tx,
  uid: string,
  tag: string,
  below: string,
  { entry, brought, waits, now }: { entry: HistoryEntry & { cause: string }; brought: Brought; waits: boolean; now: Date },
): Promise<void> {
  const change = { ...entry, position: below, brought, since: now.toISOString(), verdicts: [] };
  const [stream, name, position, ...rest] = rowOf({ uid, tag }, change, waits ? null : 'superseded', now);
  await tx.run(
    `INSERT INTO tag_change (${COLUMNS})
     SELECT $1::uuid, $2, ($3::numeric + coalesce(older.position, $3::numeric - 2)) * 0.5, $4, $5, $6::timestamptz, $7::bigint, $8, $9, $10, $11, $12,
            $13::timestamptz, $14, $15, $16::timestamptz
       FROM (SELECT max(position) AS position FROM tag_change WHERE stream_uid = $1 AND tag = $2 AND position < $3::numeric) AS older`,
    [stream, name, position, ...rest],
  );
}

/** Sends what was decided about tags. */
export function writeControls(
  tx: Tx,
  tags: readonly (Place & { status: string | null; lookAt: string | null; lookedAt: Date | null })[],
): void {
  for (let from = 0; from < tags.length; from += ROWS_PER_STATEMENT) {
    const values = valuesList(
      tags.slice(from, from + ROWS_PER_STATEMENT).map(({ uid, tag, status, lookAt, lookedAt }) => [uid, tag, status, lookAt, lookedAt]),
      ['uuid', 'text', 'text', 'timestamptz', 'timestamptz'],
    );
    tx.send(
      `UPDATE tag t SET control = v.control, look_at = v.look_at, looked_at = v.looked_at
         FROM (VALUES ${values.sql}) AS v (stream_uid, name, control, look_at, looked_at)
        WHERE t.stream_uid = v.stream_uid AND t.name = v.name`,
      values.parameters,
    );
  }
}

/** Sends what became of changes, and new ones; their tags are written. */
export function writeChanges(tx: Tx, tags: readonly (Place & { now: Date } & ReturnType<ControlledTag['takeRows']>)[]): void {
  const inRows = (rows: unknown[][], casts: readonly string[], statement: (values: string) => string) => {
    for (let from = 0; from < rows.length; from += ROWS_PER_STATEMENT) {
      const values = valuesList(rows.slice(from, from + ROWS_PER_STATEMENT), casts);
      tx.send(statement(values.sql), values.parameters);
    }
  };
  inRows(
    tags.flatMap(({ now, changed, ...place }) => changed.map(({ change, outcome }) => rowOf(place, change, outcome, now))),
    CASTS,
    (values) =>
      `UPDATE tag_change c SET image = v.image, reference = v.reference, generation = v.generation, observed_at = v.observed_at, verdicts = v.verdicts,
              outcome = v.outcome, decided = v.decided
         FROM (VALUES ${values}) AS v (${COLUMNS}) WHERE c.stream_uid = v.stream_uid AND c.tag = v.tag AND c.position = v.position`,
  );
  inRows(
    tags.flatMap(({ uid, tag, now, swept }) => (swept ? [[uid, tag, swept.position, swept.outcome, now]] : [])),
    ['uuid', 'text', 'numeric', 'text', 'timestamptz'],
    (values) =>
      `UPDATE tag_change c SET outcome = v.outcome, decided = v.decided FROM (VALUES ${values}) AS v (stream_uid, tag, position, outcome, decided)
        WHERE c.stream_uid = v.stream_uid AND c.tag = v.tag AND c.outcome IS NULL AND c.position <= v.position`,
  );
  inRows(
    tags.flatMap(({ now, added, ...place }) => added.map(({ change, outcome }) => rowOf(place, change, outcome, now))),
    CASTS,
    (values) => `INSERT INTO tag_change (${COLUMNS}) VALUES ${values}`,
  );
}

const COLUMNS =
  'stream_uid, tag, position, image, reference, created, generation, source, observed_at, cause, brought, traceparent, since, verdicts, outcome, decided';
const CASTS = [
  ...[
    'uuid',
    'text',
    'numeric',
    'text',
    'text',
    'timestamptz',
    'bigint',
    'text',
    'text',
    'text',
    'text',
    'text',
    'timestamptz',
    'text',
    'text',
  ],
  'timestamptz',
];

function rowOf({ uid, tag }: Place, change: WaitingChange, outcome: string | null, now: Date): unknown[] {
  const { position, event, source = null, observedAt = null, cause, brought, since, verdicts } = change;
  const { traceparent = null, ...told } = brought;
  return [
    ...[uid, tag, position, event.image, event.dockerImageReference, event.created, event.generation, source, observedAt, cause],
    ...[
      JSON.stringify(told),
      traceparent,
      since,
      verdicts.length ? JSON.stringify(verdicts) : null,
      outcome,
      outcome === null ? null : now,
    ],
  ];
}
