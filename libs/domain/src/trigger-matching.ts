/*
 * Whether a move of a tag fires a trigger that follows the tag. Moves of a tag are counted per stream object (uid): a stream
 * that was deleted and made again counts from 1 anew.
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
  paused: boolean;
  /** One per stream object that the name has meant; empty where the tag had never moved. */
  planned: readonly Planned[];
  /** The newest move that came while it was paused. */
  held?: Move;
}

/** Moves between the last that fired and this one, both ends included. */
export interface Missed {
  first: number;
  last: number;
}

export type Decision =
  | { kind: 'fire'; missed?: Missed }
  | { kind: 'hold'; reason: 'paused' }
  | { kind: 'ignore'; reason: 'already-planned' | 'already-held' | 'of-an-older-stream' };

/** A repeat, or a move below the newest that is known, does nothing; a gap fires the newest and says what was missed. */
export function decideFiring({ paused, planned, held }: TriggerState, move: Move): Decision {
  const last = planned.find((one) => one.streamUid === move.streamUid)?.generation;
  if (last !== undefined && move.generation <= last) return { kind: 'ignore', reason: 'already-planned' };
  const others = [...planned, ...(held ? [held] : [])].filter((one) => one.streamUid !== move.streamUid);
  if (last === undefined && others.some((one) => Date.parse(one.movedAt) > Date.parse(move.movedAt)))
    return { kind: 'ignore', reason: 'of-an-older-stream' };
  if (paused && held?.streamUid === move.streamUid && held.generation >= move.generation) return { kind: 'ignore', reason: 'already-held' };
  if (paused) return { kind: 'hold', reason: 'paused' };
  const expected = (last ?? 0) + 1;
  return move.generation > expected ? { kind: 'fire', missed: { first: expected, last: move.generation - 1 } } : { kind: 'fire' };
}

/** What a new trigger, or one that now follows another tag, does about where the tag already stands. */
export type Baseline = { kind: 'wait' } | { kind: 'fire' } | { kind: 'hold'; reason: 'paused' };

export function decideBaseline(trigger: { paused: boolean; fireOnCreate: boolean }, current: Move | null): Baseline {
  if (!current || !trigger.fireOnCreate) return { kind: 'wait' };
  return trigger.paused ? { kind: 'hold', reason: 'paused' } : { kind: 'fire' };
}

/** Identifies a firing for ever: the id of the event, of the NATS message and of every webhook call of it. */
export function firingId(triggerUid: string, tag: string, move: Pick<Move, 'streamUid' | 'generation'>): string {
  return `${triggerUid}.${move.streamUid}.${tag}.${move.generation}`;
}
