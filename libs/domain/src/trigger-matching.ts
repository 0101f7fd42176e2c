/*
 * Whether a move of a tag is news to a trigger that follows the tag; what then becomes of it is pending-change's. Moves of a tag are counted per
 * stream object (uid): a stream that was deleted and made again counts from 1 anew.
 */

/** What the rule needs of a move of the tag. */
export interface Move {
  streamUid: string;
  generation: number;
  /** RFC 3339. */
  movedAt: string;
}

/** How far a trigger is with one stream object: moves up to `generation` have fired, or came before it. */
export type Planned = Move;

export interface TriggerState {
  /** One per stream object that the name has meant; empty where the tag had never moved. */
  planned: readonly Planned[];
  /** The newest move that waits. */
  pending?: Move;
  /** The newest move that was decided about for good without firing. */
  settled?: Move;
}

/** Moves between the last that fired and this one, both ends included. */
export interface Missed {
  first: number;
  last: number;
}

export interface Ignored {
  kind: 'ignore';
  reason: 'already-planned' | 'already-pending' | 'already-settled' | 'of-an-older-stream';
}
export type Decision = { kind: 'new' } | Ignored;

/** Whether a move is to be decided about: a repeat, or a move below the newest that is known, is not. */
export function decideFiring({ planned, pending, settled }: TriggerState, move: Move): Decision {
  const last = lastOf(planned, move);
  if (last !== undefined && move.generation <= last) return { kind: 'ignore', reason: 'already-planned' };
  const isNewer = (one: Move | undefined) =>
    one !== undefined && one.streamUid !== move.streamUid && Date.parse(one.movedAt) > Date.parse(move.movedAt);
  if ((last === undefined && planned.some(isNewer)) || isNewer(pending) || isNewer(settled))
    return { kind: 'ignore', reason: 'of-an-older-stream' };
  const covers = (one: Move | undefined) => one?.streamUid === move.streamUid && one.generation >= move.generation;
  if (covers(settled)) return { kind: 'ignore', reason: 'already-settled' };
  return covers(pending) ? { kind: 'ignore', reason: 'already-pending' } : { kind: 'new' };
}

/** The moves that a move which fires leaves behind without firing: they were never heard of, or something else came of them. */
export function missedBefore(planned: readonly Planned[], move: Pick<Move, 'streamUid' | 'generation'>): Missed | undefined {
  const expected = (lastOf(planned, move) ?? 0) + 1;
  return move.generation > expected ? { first: expected, last: move.generation - 1 } : undefined;
}

function lastOf(planned: readonly Planned[], { streamUid }: Pick<Move, 'streamUid'>): number | undefined {
  const known = planned.filter((one) => one.streamUid === streamUid).map(({ generation }) => generation);
  return known.length ? Math.max(...known) : undefined;
}

/** What a new trigger, or one that now follows another tag, does about where the tag already stands: decides about it as about a move, or waits for one. */
export const decideBaseline = (trigger: { fireOnCreate: boolean }, current: Move | null): 'wait' | 'decide' =>
  current && trigger.fireOnCreate ? 'decide' : 'wait';

/** Identifies a firing for ever: the id of the event, of the NATS message and of every webhook call of it. */
export function firingId(triggerUid: string, tag: string, move: Pick<Move, 'streamUid' | 'generation'>): string {
  return `${triggerUid}.${move.streamUid}.${tag}.${move.generation}`;
}
