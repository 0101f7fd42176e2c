import { TagMoved, type MoveCause } from '@millrace/contracts/events';
import { notableLabels } from '@millrace/domain/image-content';
import type { TagEvent } from '@millrace/domain/image-stream';
import { pullSpecOf } from '@millrace/domain/pull-spec';
import {
  mayBeLate,
  placeObservation,
  sortableInstant,
  type HistoryEntry,
  type Observation,
  type SourceMark,
} from '@millrace/domain/tag-history';
import { followers } from '@millrace/domain/tag-source';
import { valuesList } from '@millrace/platform/rows';
import type { Tx } from '@millrace/platform/store';
import { currentTrace, freshTrace } from '@millrace/platform/trace';
import { tellPublished } from './cdevents.ts';
import type { TagStoreConfig } from './config.ts';
import { labelsOf } from './image-rows.ts';
import { inSeconds, type LockedStream, repositoryOf } from './stream-rows.ts';
import type { TagChange, TagOutcome } from './tags.ts';

/** Most parameters of one statement are 65,535; no row here has more than 12. */
const ROWS_PER_STATEMENT = 2_000;

/** An item of a history; `position` where it is stored. */
interface Entry extends HistoryEntry {
  position?: string;
}

/** A tag as this transaction knows it, with what is still to be written. */
interface TagState {
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
}

interface Move {
  data: TagMoved;
  traceparent?: string;
  /** The labels are still to be looked up. */
  unlabelled: boolean;
}

/** One call of move: the tags it touches, loaded at once, changed in memory by the rules, written at once. */
export class TagMoves {
  /** Streams whose visible state has changed. */
  readonly shown = new Set<LockedStream>();
  private readonly tags = new Map<string, TagState>();
  private readonly causes = new Set<string>();
  private readonly moves: Move[] = [];
  private readonly following = new Map<string, string[]>();

  constructor(
    private readonly tx: Tx,
    private readonly config: Pick<TagStoreConfig, 'INTERNAL_REGISTRY_HOST' | 'CDEVENTS'>,
  ) {}

  async load(changes: readonly Pick<TagChange, 'stream' | 'tag' | 'cause'>[]): Promise<void> {
    for (const { stream, tag } of changes) {
      this.state(stream, tag);
      for (const follower of this.followersOf(stream, tag)) this.state(stream, follower);
    }
    const states = [...this.tags.values()];
    const asked = changes.flatMap(({ stream, tag, cause }) => [
      { uid: stream.uid, tag, cause: cause.id },
      ...this.followersOf(stream, tag).map((follower) => ({ uid: stream.uid, tag: follower, cause: followCause(cause, tag) })),
    ]);
    const [rows, known] = await Promise.all([
      this.tx.query<LoadedTag>(
        `SELECT k.n, t.items, t.top_position, t.moves, t.marks, t.conditions::text AS conditions, ${ITEM}
         FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (uid, name, n)
         JOIN tag t ON t.stream_uid = k.uid AND t.name = k.name
         LEFT JOIN tag_item i ON i.stream_uid = t.stream_uid AND i.tag = t.name AND i.position = t.top_position`,
        [states.map(({ stream }) => stream.uid), states.map(({ name }) => name)],
      ),
      this.tx.query<{ uid: string; tag: string; cause: string }>(
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
    for (const { uid, tag, cause } of known) this.causes.add(keyOf(uid, tag, cause));
  }

  async apply({ stream, tag, event, source, observedAt, cause, labels, traceparent, counterpart = false }: TagChange): Promise<TagOutcome> {
    const state = this.state(stream, tag);
    const before = state.top?.event;
    const observation = { event, cause: cause.id, source, observedAt: observedAt && sortableInstant(observedAt), counterpart };
    const outcome = await this.put(state, observation);
    if (outcome !== 'moved') return outcome;
    const moved = !counterpart && this.noteMove(state, before, cause, { labels, traceparent });
    for (const name of this.followersOf(stream, tag)) {
      const follower = this.state(stream, name);
      const previous = follower.top?.event;
      const alike = counterpart && previous?.image === before?.image;
      if ((await this.put(follower, { event, cause: followCause(cause, tag), counterpart: alike })) === 'moved' && !alike)
        this.noteMove(follower, previous, { ...cause, kind: 'follow', follows: tag }, { labels, traceparent });
    }
    return moved ? 'moved' : 'changed';
  }

  /** Asks the rule what an observation does to a tag, and does that in memory. `moved`: the newest item is another, or says other. */
  private async put(state: TagState, observation: Observation): Promise<TagOutcome> {
    const { source, cause } = observation;
    const key = cause === undefined ? undefined : keyOf(state.stream.uid, state.name, cause);
    const causeKnown = key !== undefined && this.causes.has(key);
    const mark = source === undefined ? undefined : state.marks[source];
    let recent: Entry[] | undefined;
    if (!causeKnown && mayBeLate(mark, observation)) {
      // Rare: its place is found among the stored items, so what is new in memory is stored first.
      this.write();
      recent = await this.recent(state, observation);
    }
    const placement = placeObservation<Entry>({ top: state.top, mark, causeKnown, recent }, observation);
    if (placement.kind === 'duplicate') return 'unchanged';
    if ('mark' in placement && placement.mark && source !== undefined) {
      state.marks[source] = placement.mark;
      state.changed = true;
    }
    switch (placement.kind) {
      case 'unchanged':
        if (placement.confirms && state.top) this.setTop(state, { ...state.top, observedAt: observation.observedAt });
        return 'unchanged';
      case 'late':
        // Of a tag that was deleted since, nothing comes back.
        if (!state.top) return 'unchanged';
        await this.insertLate(state, { ...observation, event: placement.item }, placement.below?.position ?? state.topPosition);
        state.items++;
        break;
      case 'moved':
        if (placement.change === 'replaced') this.setTop(state, { ...observation, event: placement.item });
        else this.addTop(state, { ...observation, event: placement.item });
        state.conditions = null;
        break;
      default:
        return placement satisfies never;
    }
    if (key !== undefined) this.causes.add(key);
    state.changed = true;
    this.shown.add(state.stream);
    return placement.kind === 'late' ? 'changed' : 'moved';
  }

  private addTop(state: TagState, entry: Entry): void {
    state.top = entry;
    state.topPosition = String(Math.floor(Number(state.topPosition ?? 0)) + 1);
    state.items++;
    state.added.push({ position: state.topPosition, entry });
  }

  private setTop(state: TagState, entry: Entry): void {
    state.top = entry;
    state.changed = true;
    const unwritten = state.added.at(-1);
    if (unwritten) unwritten.entry = entry;
    else if (state.topPosition !== null) state.replaced = { position: state.topPosition, entry };
  }

  /** Counts and keeps the move for {@link tell}; false where the tag still means the same image by the same pull spec. */
  private noteMove(
    state: TagState,
    previous: TagEvent | undefined,
    cause: MoveCause,
    { labels, traceparent }: Pick<TagChange, 'labels' | 'traceparent'>,
  ): boolean {
    const current = state.top?.event;
    if (!current || (previous?.image === current.image && previous.dockerImageReference === current.dockerImageReference)) return false;
    const { stream, name } = state;
    const policy = stream.spec.tags?.find((tag) => tag.name === name)?.referencePolicy?.type;
    const data: TagMoved = {
      namespace: stream.namespace,
      stream: stream.name,
      streamUid: stream.uid,
      tag: name,
      generation: ++state.moves,
      streamGeneration: current.generation,
      previous: previous ? targetOf(previous) : null,
      current: targetOf(current),
      pullSpec: pullSpecOf(current, { policy, repository: repositoryOf(stream, this.config.INTERNAL_REGISTRY_HOST) }),
      labels: notableLabels(labels ?? {}),
      cause,
      movedAt: new Date().toISOString(),
    };
    state.lastMove = { data, traceparent, unlabelled: labels === undefined && current.image !== '' };
    this.moves.push(state.lastMove);
    return true;
  }

  /** The moves, in their order. */
  get told(): TagMoved[] {
    return this.moves.map((move) => move.data);
  }

  /** Stages the moves, in their order. */
  async tell(): Promise<void> {
    await this.label();
    for (const { data, traceparent = currentTrace() ?? freshTrace() } of this.moves) {
      const meta = { id: `${data.streamUid}.${data.tag}.${data.generation}`, time: new Date(data.movedAt), traceparent };
      this.tx.publishLater(TagMoved, data, meta);
      if (this.config.CDEVENTS) tellPublished(this.tx, data, meta);
    }
  }

  /** Sends what is new, and waits for no answer. */
  write(): void {
    const states = [...this.tags.values()].filter((state) => state.changed);
    this.inRows(
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
    this.inRows(
      states.flatMap((s) => (s.replaced ? [itemRow(s, s.replaced)] : [])),
      (values) =>
        `UPDATE tag_item i SET image = v.image, reference = v.reference, generation = v.generation, source = v.source, observed_at = v.observed_at, cause = v.cause
           FROM (VALUES ${values}) AS v (stream_uid, tag, position, image, reference, created, generation, source, observed_at, cause)
          WHERE i.stream_uid = v.stream_uid AND i.tag = v.tag AND i.position = v.position`,
      ITEM_CASTS,
    );
    this.inRows(
      states.flatMap((s) => s.added.map((one) => itemRow(s, one))),
      (values) =>
        `INSERT INTO tag_item (stream_uid, tag, position, image, reference, created, generation, source, observed_at, cause) VALUES ${values}`,
    );
    for (const state of states) Object.assign(state, { changed: false, replaced: undefined, added: [], lastMove: undefined });
  }

  /** What a late observation is placed among: of its source the nearest newer item, those of the same time, and the nearest older one. */
  private async recent(state: TagState, { source, observedAt }: Observation): Promise<Entry[]> {
    const select = `SELECT ${ITEM} FROM tag_item i WHERE i.stream_uid = $1 AND i.tag = $2 AND i.source = $3 AND i.observed_at`;
    const rows = await this.tx.query<StoredItem>(
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
  private async insertLate(state: TagState, entry: Entry, below: string | null): Promise<void> {
    await this.tx.run(
      `INSERT INTO tag_item (stream_uid, tag, position, image, reference, created, generation, source, observed_at, cause)
       SELECT $1, $2, ($3::numeric + coalesce(older.position, $3::numeric - 2)) * 0.5, $4, $5, $6, $7, $8, $9, $10
         FROM (SELECT max(position) AS position FROM tag_item WHERE stream_uid = $1 AND tag = $2 AND position < $3::numeric) AS older`,
      itemRow(state, { position: below ?? '0', entry }),
    );
  }

  /** Looks up the labels of images that came without them, such as those that a tag takes over from another. */
  private async label(): Promise<void> {
    const unlabelled = this.moves.filter((move) => move.unlabelled);
    if (!unlabelled.length) return;
    const labels = await labelsOf(
      this.tx,
      unlabelled.map((move) => move.data.current.image),
    );
    for (const move of unlabelled) move.data.labels = labels.get(move.data.current.image) ?? {};
  }

  private inRows(rows: unknown[][], statement: (values: string) => string, casts: readonly string[] = []): void {
    for (let from = 0; from < rows.length; from += ROWS_PER_STATEMENT) {
      const values = valuesList(rows.slice(from, from + ROWS_PER_STATEMENT), casts);
      this.tx.send(statement(values.sql), values.parameters);
    }
  }

  private state(stream: LockedStream, name: string): TagState {
    const key = keyOf(stream.uid, name);
    let state = this.tags.get(key);
    if (!state) {
      state = { stream, name, items: 0, topPosition: null, moves: 0, marks: {}, conditions: null, changed: false, added: [] };
      this.tags.set(key, state);
    }
    return state;
  }

  private followersOf(stream: LockedStream, tag: string): string[] {
    const key = keyOf(stream.uid, tag);
    let names = this.following.get(key);
    if (!names) {
      // One level, as the reference does it: who follows a follower stays, until the spec or a push moves what it follows.
      names = followers({ metadata: { namespace: stream.namespace, name: stream.name }, spec: stream.spec }, tag, 1);
      this.following.set(key, names);
    }
    return names;
  }
}

const keyOf = (...parts: string[]): string => parts.join('\n');

/** A follower's own id for what it takes over: the same request may put something on it directly too. */
const followCause = (cause: MoveCause, tag: string): string => `${cause.id} > ${tag}`;

const targetOf = ({ image, dockerImageReference, created }: TagEvent) => ({ image, dockerImageReference, created });

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
