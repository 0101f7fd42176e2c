import { Injectable } from '@nestjs/common';
import { TagMoved } from '@millrace/contracts/events';
import { KnownTags } from '@millrace/contracts/requests';
import type { NamedTag } from '@millrace/domain/local-names';
import { StatusError, unavailable } from '@millrace/domain/status';
import { distinct, type Resolve, tagKey, type TagName } from '@millrace/domain/trigger-annotation';
import { isNewer } from '@millrace/domain/workload';
import { AskError, Bus } from '@millrace/platform/bus';
import { Store, type Tx } from '@millrace/platform/store';
import type { FollowedTagRow } from './workload-tables.ts';

const ASK_MS = 2_000;
/** How long a tag is remembered at least that somebody has begun to follow: from the question until the object is written takes seconds. */
const NOTED_MINUTES = 60;

/** A tag as it was last heard of. */
export type FollowedTag = Omit<FollowedTagRow, 'noted'>;

/** The last move of each tag that means something, by {@link tagKey}. */
export type Moves = Map<string, TagMoved>;

/** What tag-store says of a tag of a stream that is there. */
interface Said {
  streamUid: string;
  local: boolean;
  repository: string;
  moves: number;
  move: TagMoved | null;
}

/** What tag-store says of tags, at one time; null where there is no such stream. */
export interface Told {
  at: string;
  tags: ReadonlyMap<string, Said | null>;
}

export const NOTHING_TOLD: Told = { at: '', tags: new Map() };

export const resolveWith =
  (moves: Moves): Resolve =>
  (tag) =>
    moves.get(tagKey(tag))?.pullSpec;

/** A tag as images are named by it. */
export function namedTag({ tags }: Told, tag: TagName): NamedTag | undefined {
  const said = tags.get(tagKey(tag));
  if (!said) return undefined;
  const { local, repository, move } = said;
  return { local, repository, ...(move ? { image: move.current.image, pullSpec: move.pullSpec } : {}) };
}

/*
 * The tags that workloads follow, as they were last heard of. Who begins to follow a tag writes its row first and asks tag-store then, so
 * that every move is either in the answer or finds the row.
 */
@Injectable()
export class FollowedTags {
  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
  ) {}

  /** Asks what tags mean, once for all of them; moves of `followed` are remembered from now on. Throws StatusError 503. */
  async ask(followed: readonly TagName[], others: readonly TagName[]): Promise<Told> {
    const tags = distinct([...followed, ...others]);
    if (!tags.length) return NOTHING_TOLD;
    if (followed.length)
      await this.store.query(
        `INSERT INTO followed_tag (namespace, stream, tag) SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS k (namespace, stream, tag)
          WHERE NOT EXISTS (SELECT 1 FROM followed_tag f WHERE f.namespace = k.namespace AND f.stream = k.stream AND f.tag = k.tag
                                                         AND f.noted > now() - make_interval(mins => $4))
          ORDER BY namespace, stream, tag ON CONFLICT (namespace, stream, tag) DO UPDATE SET noted = now()`,
        [...columnsOf(followed), NOTED_MINUTES],
      );
    try {
      const answer = await this.bus.ask(KnownTags, { tags }, { timeoutMs: ASK_MS });
      return { at: answer.at, tags: new Map(tags.map((tag, i) => [tagKey(tag), said(answer.tags[i] ?? null)])) };
    } catch (error) {
      if (!(error instanceof AskError)) throw error;
      throw new StatusError(unavailable(`tag-store cannot be asked what the tags of the object mean: ${error.message}`), { cause: error });
    }
  }

  /** Locks the tags, takes over what is newer in what was told, and answers what they mean; also what was told of others. */
  async hold(tx: Tx, followed: readonly TagName[], { at, tags: told }: Told): Promise<Moves> {
    const rows = new Map((await this.lock(tx, followed)).map((row) => [tagKey(row), row]));
    const changed: FollowedTag[] = [];
    const moves: Moves = new Map();
    for (const [key, answer] of told) {
      const row = rows.get(key);
      const next = row && learn(row, answer, at);
      if (next) changed.push(next);
      const move = row ? moveOf(next ?? row) : answer?.move;
      if (move) moves.set(key, move);
    }
    this.save(tx, changed);
    return moves;
  }

  /** Takes over moves that are newer than what is known of their tags, which must be locked; answers the tags that now mean something else. */
  take(tx: Tx, locked: readonly FollowedTag[], moves: readonly TagMoved[], { repeats }: { repeats: boolean }): FollowedTag[] {
    const rows = new Map(locked.map((row) => [tagKey(row), row]));
    const changed = new Map<string, FollowedTag>();
    for (const move of moves) {
      const row = rows.get(tagKey(move));
      if (!row || !isNewer(stateOf(row), move, { repeats })) continue;
      const next = withMove(row, move);
      rows.set(tagKey(move), next);
      changed.set(tagKey(move), next);
    }
    this.save(tx, [...changed.values()]);
    return [...changed.values()];
  }

  /** All tags that these workloads follow. */
  of(tx: Tx, workloads: readonly string[]): Promise<FollowedTag[]> {
    return tx.query<FollowedTag>(
      `SELECT ${FOLLOWED_TAG_COLUMNS} FROM followed_tag f WHERE (f.namespace, f.stream, f.tag) IN
         (SELECT t.namespace, t.stream, t.tag FROM workload_tag t WHERE t.workload_uid = ANY($1::uuid[]))`,
      [workloads],
    );
  }

  /** The rows of tags that are, or were, followed; locked. */
  lock(tx: Tx, tags: readonly TagName[]): Promise<FollowedTag[]> {
    if (!tags.length) return Promise.resolve([]);
    return tx.query<FollowedTag>(
      `SELECT ${FOLLOWED_TAG_COLUMNS} FROM followed_tag f JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (namespace, stream, tag)
           ON f.namespace = k.namespace AND f.stream = k.stream AND f.tag = k.tag
        ORDER BY f.namespace, f.stream, f.tag FOR UPDATE OF f`,
      columnsOf(tags),
    );
  }

  /** Forgets tags that no workload follows any more, up to so many; resolves to how many. */
  forget(tx: Tx, rows: number): Promise<number> {
    return tx.run(
      `DELETE FROM followed_tag WHERE (namespace, stream, tag) IN (
         SELECT namespace, stream, tag FROM followed_tag f WHERE noted < now() - make_interval(mins => $1)
            AND NOT EXISTS (SELECT 1 FROM workload_tag t WHERE t.namespace = f.namespace AND t.stream = f.stream AND t.tag = f.tag)
          LIMIT $2)
         AND noted < now() - make_interval(mins => $1)`,
      [2 * NOTED_MINUTES, rows],
    );
  }

  private save(tx: Tx, rows: readonly FollowedTag[]): void {
    if (!rows.length) return;
    tx.send(
      `UPDATE followed_tag f SET stream_uid = k.stream_uid, generation = k.generation, moved_at = k.moved_at, move = k.move
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[])
              AS k (namespace, stream, tag, stream_uid, generation, moved_at, move)
        WHERE f.namespace = k.namespace AND f.stream = k.stream AND f.tag = k.tag`,
      [
        ...columnsOf(rows),
        rows.map((row) => row.streamUid),
        rows.map((row) => row.generation),
        rows.map((row) => row.movedAt),
        rows.map((row) => row.move),
      ],
    );
  }
}

/** For `SELECT … FROM followed_tag f`. */
export const FOLLOWED_TAG_COLUMNS =
  'f.namespace, f.stream, f.tag, f.stream_uid AS "streamUid", f.generation::text, f.moved_at AS "movedAt", f.move';

const columnsOf = (tags: readonly TagName[]): string[][] => [
  tags.map((tag) => tag.namespace),
  tags.map((tag) => tag.stream),
  tags.map((tag) => tag.tag),
];

function said(answer: { streamUid: string; local: boolean; repository: string; moves: number; move?: unknown } | null): Said | null {
  return answer && { ...answer, move: answer.move ? TagMoved.data.parse(answer.move) : null };
}

/** What tags mean, by their rows; the later of two rows of a tag counts. */
export const movesIn = (rows: readonly FollowedTag[]): Moves =>
  new Map(rows.flatMap((row) => (row.move ? [[tagKey(row), JSON.parse(row.move) as TagMoved] as const] : [])));

const stateOf = ({ streamUid, generation, movedAt }: FollowedTag) =>
  streamUid === null ? undefined : { streamUid, generation: Number(generation ?? 0), movedAt: movedAt ?? '' };

const moveOf = ({ move }: FollowedTag): TagMoved | undefined => (move ? (JSON.parse(move) as TagMoved) : undefined);

const withMove = (row: FollowedTag, move: TagMoved): FollowedTag => ({
  ...row,
  streamUid: move.streamUid,
  generation: String(move.generation),
  movedAt: move.movedAt,
  move: JSON.stringify(move),
});

/** The row with what was told at a time, where that is newer. A tag that means nothing any more is as new as the answer. */
function learn(row: FollowedTag, answer: Said | null, at: string): FollowedTag | undefined {
  const state = stateOf(row);
  if (answer?.move)
    return isNewer(state, answer.move, { repeats: false }) && row.move !== JSON.stringify(answer.move)
      ? withMove(row, answer.move)
      : undefined;
  const streamUid = answer?.streamUid ?? row.streamUid;
  if (
    !row.move ||
    !streamUid ||
    !isNewer(state, { streamUid, generation: answer?.moves ?? Number(row.generation), movedAt: at }, { repeats: false })
  )
    return undefined;
  return { ...row, streamUid, generation: String(answer?.moves ?? row.generation), movedAt: at, move: null };
}
