import type { TagMoved } from '@millrace/contracts/events';
import type { HistoryEntry, SourceMark } from '@millrace/domain/tag-history';
import { valuesList } from '@millrace/platform/rows';
import type { Tx } from '@millrace/platform/store';
import type { ControlledTag } from './controlled-tag.ts';
import { inSeconds, type LockedStream } from './stream-rows.ts';

/* The rows of tags and of their histories, for whoever moves tags: loaded at once, and written at once. */

/** Most parameters of one statement are 65,535; no row here has more than 12. */
const ROWS_PER_STATEMENT = 2_000;

/** An item of a history, or a change beside it; `position` where it is stored. */
export interface Entry extends HistoryEntry {
  position?: string;
  change?: { outcome: string | null };
}

/** A tag as this transaction knows it, with what is still to be written. */
export interface TagState {
  stream: LockedStream;
  name: string;
  items: number;
  top?: Entry;
  topPosition: string | null;
  moves: number;
  marks: Record<string, SourceMark>;
  /** JSON. */
  conditions: string | null;
  lastMove?: Move;
  changed: boolean;
  /** An item in store that is to be written anew: what was the newest when the transaction began. */
  replaced?: { position: string; entry: Entry };
  added: { position: string; entry: Entry }[];
  /** Where the spec holds changes back. */
  controlled?: ControlledTag;
}

export interface Move {
  data: TagMoved;
  traceparent?: string;
  /** The labels are still to be looked up. */
  unlabelled: boolean;
}

interface Place {
  uid: string;
  tag: string;
}

/** Loads the newest item of each tag and what goes with it; answers which of the causes are in the histories already. */
export async function loadTags(
  tx: Tx,
  states: readonly TagState[],
  asked: readonly (Place & { cause: string })[],
): Promise<(Place & { cause: string })[]> {
  const [rows, known] = await Promise.all([
    tx.query<LoadedTag>(
      `SELECT k.n, t.items, t.top_position, t.moves, t.marks, t.conditions::text AS conditions, ${ITEM}
         FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (uid, name, n)
         JOIN tag t ON t.stream_uid = k.uid AND t.name = k.name
         LEFT JOIN tag_item i ON i.stream_uid = t.stream_uid AND i.tag = t.name AND i.position = t.top_position`,
      [states.map(({ stream }) => stream.uid), states.map(({ name }) => name)],
    ),
    tx.query<Place & { cause: string }>(
      `SELECT k.* FROM unnest($1::uuid[], $2::text[], $3::text[]) AS k (uid, tag, cause)
         JOIN tag_item i ON i.stream_uid = k.uid AND i.tag = k.tag AND i.cause = k.cause`,
      [asked.map((one) => one.uid), asked.map((one) => one.tag), asked.map((one) => one.cause)],
    ),
  ]);
  for (const row of rows) {
    const state = states[Number(row.n) - 1];
    if (!state) continue;
    Object.assign(state, {
      items: Number(row.items),
      topPosition: row.top_position,
      moves: Number(row.moves),
      conditions: row.conditions,
    });
    state.marks = row.marks ?? {};
    if (row.position !== null) state.top = entryOf(row as StoredItem);
  }
  return known;
}

/** Sends what is new of tags, and waits for no answer. */
export function writeTags(tx: Tx, states: readonly TagState[]): void {
  inRows(
    tx,
    states.map((s) => [
      s.stream.uid,
      s.name,
      s.items,
      s.topPosition,
      s.top?.event.image ?? null,
      s.top?.event.dockerImageReference ?? null,
      s.top?.event.created ?? null,
      s.top?.event.generation ?? null,
      s.moves,
      s.lastMove ? JSON.stringify({ ...s.lastMove.data, labels: {} }) : null,
      JSON.stringify(s.marks),
      s.conditions,
    ]),
    (values) =>
      `INSERT INTO tag (stream_uid, name, items, top_position, image, reference, created, generation, moves, last_move, marks, conditions) VALUES ${values}
         ON CONFLICT (stream_uid, name) DO UPDATE SET items = excluded.items, top_position = excluded.top_position, image = excluded.image,
           reference = excluded.reference, created = excluded.created, generation = excluded.generation, moves = excluded.moves,
           last_move = coalesce(excluded.last_move, tag.last_move), marks = excluded.marks, conditions = excluded.conditions`,
  );
  inRows(
    tx,
    states.flatMap((s) => (s.replaced ? [itemRow(s, s.replaced)] : [])),
    (values) =>
      `UPDATE tag_item i SET image = v.image, reference = v.reference, generation = v.generation, source = v.source, observed_at = v.observed_at, cause = v.cause
           FROM (VALUES ${values}) AS v (stream_uid, tag, position, image, reference, created, generation, source, observed_at, cause)
          WHERE i.stream_uid = v.stream_uid AND i.tag = v.tag AND i.position = v.position`,
    ITEM_CASTS,
  );
  inRows(
    tx,
    states.flatMap((s) => s.added.map((one) => itemRow(s, one))),
    (values) =>
      `INSERT INTO tag_item (stream_uid, tag, position, image, reference, created, generation, source, observed_at, cause) VALUES ${values}`,
  );
}

/** What a late observation is placed among: of its source the nearest newer item, those of the same time, and the nearest older one. */
export async function recentItems(
  tx: Tx,
  state: TagState,
  { source, observedAt }: Pick<HistoryEntry, 'source' | 'observedAt'>,
): Promise<Entry[]> {
  const select = `SELECT ${ITEM} FROM tag_item i WHERE i.stream_uid = $1 AND i.tag = $2 AND i.source = $3 AND i.observed_at`;
  const rows = await tx.query<StoredItem>(
    `SELECT * FROM (
       (${select} > $4 ORDER BY i.observed_at, i.position LIMIT 1)
       UNION ALL (${select} = $4 ORDER BY i.position DESC LIMIT 100)
       UNION ALL (${select} < $4 ORDER BY i.observed_at DESC, i.position DESC LIMIT 1)
     ) AS near ORDER BY observed_at DESC, position DESC`,
    [state.stream.uid, state.name, source, observedAt],
  );
  return rows.map(entryOf);
}

/** Puts an item directly below another: half way to the next older one. */
export async function insertItemBelow(tx: Tx, state: TagState, entry: Entry, below: string | null): Promise<void> {
  await tx.run(
    `INSERT INTO tag_item (stream_uid, tag, position, image, reference, created, generation, source, observed_at, cause)
     SELECT $1, $2, ($3::numeric + coalesce(older.position, $3::numeric - 2)) * 0.5, $4, $5, $6, $7, $8, $9, $10
       FROM (SELECT max(position) AS position FROM tag_item WHERE stream_uid = $1 AND tag = $2 AND position < $3::numeric) AS older`,
    itemRow(state, { position: below ?? '0', entry }),
  );
}

function inRows(tx: Tx, rows: unknown[][], statement: (values: string) => string, casts: readonly string[] = []): void {
  for (let from = 0; from < rows.length; from += ROWS_PER_STATEMENT) {
    const values = valuesList(rows.slice(from, from + ROWS_PER_STATEMENT), casts);
    tx.send(statement(values.sql), values.parameters);
  }
}

const ITEM = 'i.position, i.image, i.reference, i.created, i.generation, i.source, i.observed_at, i.cause';
const ITEM_CASTS = ['uuid', 'text', 'numeric', 'text', 'text', 'timestamptz', 'bigint', 'text', 'text', 'text'];

interface StoredItem {
  position: string;
  image: string;
  reference: string;
  created: Date;
  generation: string;
  source: string | null;
  observed_at: string | null;
  cause: string | null;
}

type LoadedTag = { [K in keyof StoredItem]: StoredItem[K] | null } & {
  n: string;
  items: string;
  top_position: string | null;
  moves: string;
  marks: Record<string, SourceMark> | null;
  conditions: string | null;
};

function entryOf(row: StoredItem): Entry {
  return {
    event: { created: inSeconds(row.created), dockerImageReference: row.reference, image: row.image, generation: Number(row.generation) },
    source: row.source ?? undefined,
    observedAt: row.observed_at ?? undefined,
    cause: row.cause ?? undefined,
    position: row.position,
  };
}

function itemRow({ stream, name }: TagState, { position, entry }: { position: string; entry: Entry }): unknown[] {
  const { event, source = null, observedAt = null, cause = null } = entry;
  return [stream.uid, name, position, event.image, event.dockerImageReference, event.created, event.generation, source, observedAt, cause];
}
