import type { TagEvent } from './image-stream.ts';

/*
 * How a tag moves. Its history is newest first and unlimited, so every rule here looks at the newest item and, only for an
 * observation that came late, at a few neighbours; none needs the whole history.
 *
 * 1. Push-down ({@link applyEvent}): whatever puts an image into a tag (push, import, a person) goes through it.
 * 2. Order ({@link placeObservation}): what a registry tells takes effect in the order in which that registry accepted it,
 *    not in which it arrived. Clocks of two registries, or of a registry and a person, are never compared.
 */

export type Applied =
  | { kind: 'unchanged'; reason: 'same-event' }
  /** The newest item changes in place; its `created` stays, and nothing is added. */
  | { kind: 'replaced'; reason: 'new-generation' | 'same-pull-spec' | 'same-image'; item: TagEvent }
  /** A new newest item; all others stay below it. */
  | { kind: 'pushed'; reason: 'first-image' | 'another-image'; item: TagEvent };

/**
 * Puts an event on a tag whose newest item is `top` (undefined: the tag has none). `counterpart`: its image is what the tag has, under
 * another digest. Every outcome but `unchanged` also clears the tag's conditions.
 */
export function applyEvent(top: TagEvent | undefined, next: TagEvent, counterpart = false): Applied {
  if (!top) return { kind: 'pushed', reason: 'first-image', item: next };
  const samePullSpec = top.dockerImageReference === next.dockerImageReference;
  const sameImage = top.image === next.image || counterpart;
  if (!samePullSpec && !sameImage) return { kind: 'pushed', reason: 'another-image', item: next };
  if (samePullSpec && sameImage) {
    if (top.generation === next.generation) return { kind: 'unchanged', reason: 'same-event' };
    return { kind: 'replaced', reason: 'new-generation', item: { ...top, generation: next.generation } };
  }
  return { kind: 'replaced', reason: samePullSpec ? 'same-pull-spec' : 'same-image', item: { ...next, created: top.created } };
}

/** {@link applyEvent} on a whole history; the given list stays as it is. */
export function addEvent(items: readonly TagEvent[] | null | undefined, next: TagEvent): { changed: boolean; items: TagEvent[] } {
  const [top, ...older] = items ?? [];
  const applied = applyEvent(top, next);
  switch (applied.kind) {
    case 'unchanged':
      return { changed: false, items: [...(items ?? [])] };
    case 'replaced':
      return { changed: true, items: [applied.item, ...older] };
    case 'pushed':
      return { changed: true, items: [applied.item, ...(items ?? [])] };
  }
}

/** What somebody says a tag is. */
export interface Observation {
  event: TagEvent;
  /** The registry that says so; absent for a person's or an import's change, which takes effect when it arrives. */
  source?: string;
  /** When that registry accepted the push, by its own clock: RFC 3339 with all the digits it gave. */
  observedAt?: string;
  /** Id that every repeat of the same observation carries. */
  cause?: string;
  /** The image is what the tag has, under another digest. */
  counterpart?: boolean;
}

/** A history item, with the observation that put it there or last confirmed it. */
export type HistoryEntry = Observation;

/** The newest observation that a source has given for a tag, whether or not it moved the tag. */
export interface SourceMark {
  observedAt: string;
  image: string;
  dockerImageReference: string;
}

/** What {@link placeObservation} needs to know of a tag. */
export interface TagState<E extends HistoryEntry = HistoryEntry> {
  /** Newest entry of the tag's history. */
  top?: E;
  /** The mark of the observation's source. */
  mark?: SourceMark;
  /**
   * Entries of the observation's source, newest first (by `observedAt`, which is also their order in the history): all that
   * are newer than the observation or of the same time, and the first one below. Needed only where {@link mayBeLate} says so.
   */
  recent?: readonly E[];
  /** Whether the observation's cause is in the history already. */
  causeKnown?: boolean;
}

export type Placement<E extends HistoryEntry = HistoryEntry> =
  /** The tag's newest item becomes `item`: added on top (`pushed`), or in place of the top (`replaced`). */
  | {
      kind: 'moved';
      reason: 'first-image' | 'another-image' | 'same-pull-spec' | 'same-image' | 'new-generation';
      change: 'pushed' | 'replaced';
      item: TagEvent;
      mark?: SourceMark;
    }
  /**
   * No item changes. `mark` is to be kept: an older observation of this source is late from now on. `confirms`: the newest
   * entry is this source's own, and its `observedAt` becomes the observation's.
   */
  | { kind: 'unchanged'; reason: 'same-event' | 'late-and-in-history'; mark?: SourceMark; confirms: boolean }
  /** A repeat: nothing is to be stored. */
  | { kind: 'duplicate'; reason: 'known-cause' | 'same-observation' }
  /**
   * The source has told something newer already. The item belongs into the history directly below `below` (undefined: below
   * the tag's newest item); the tag does not move.
   */
  | { kind: 'late'; reason: 'source-is-ahead'; item: TagEvent; below?: E };

/** Whether the source has already told something as new or newer, so that `recent` is needed to place the observation. */
export function mayBeLate(mark: SourceMark | undefined, observation: Observation): boolean {
  return mark !== undefined && observation.observedAt !== undefined && compareInstants(observation.observedAt, mark.observedAt) <= 0;
}

/**
 * Decides what an observation does to a tag. Repeats and late arrivals never move it, whatever the order of delivery.
 * Two different observations of one source with the very same time count in the order of arrival.
 */
export function placeObservation<E extends HistoryEntry>(state: TagState<E>, observation: Observation): Placement<E> {
  if (state.causeKnown) return { kind: 'duplicate', reason: 'known-cause' };
  const { event, source, observedAt } = observation;
  if (source === undefined || observedAt === undefined) return move(state.top, observation);

  const { mark, recent = [] } = state;
  const order = mark ? compareInstants(observedAt, mark.observedAt) : 1;
  if (order <= 0) {
    const newer: E[] = [];
    let below: E | undefined;
    for (const entry of recent) {
      if (entry.source !== source || entry.observedAt === undefined) continue;
      if (observation.cause !== undefined && entry.cause === observation.cause) return { kind: 'duplicate', reason: 'known-cause' };
      const sign = compareInstants(entry.observedAt, observedAt);
      if (sign === 0 && meansSame(entry.event, event)) return { kind: 'duplicate', reason: 'same-observation' };
      if (sign > 0) newer.push(entry);
      else below ??= entry;
    }
    if (mark && order === 0 && meansSame(mark, event)) return { kind: 'duplicate', reason: 'same-observation' };
    if (order < 0) {
      const above = newer.at(-1);
      // In order, it would have met its neighbour and changed nothing.
      if ((above && meansSame(above.event, event)) || (below && meansSame(below.event, event)))
        return { kind: 'unchanged', reason: 'late-and-in-history', confirms: false };
      return { kind: 'late', reason: 'source-is-ahead', item: event, below: above };
    }
  }
  return move(state.top, observation, { observedAt, image: event.image, dockerImageReference: event.dockerImageReference });
}

function move(top: HistoryEntry | undefined, { event, source, counterpart }: Observation, mark?: SourceMark): Placement<never> {
  const applied = applyEvent(top?.event, event, counterpart);
  if (applied.kind === 'unchanged')
    return { kind: 'unchanged', reason: 'same-event', mark, confirms: mark !== undefined && top?.source === source };
  return { kind: 'moved', reason: applied.reason, change: applied.kind, item: applied.item, mark };
}

type Target = Pick<TagEvent, 'image' | 'dockerImageReference'>;
const meansSame = (a: Target, b: Target): boolean => a.image === b.image && a.dockerImageReference === b.dockerImageReference;

const INSTANT_PATTERN = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:?\d\d)$/;

/** A text is no RFC 3339 time with an offset. */
export class InvalidInstant extends Error {
  override name = 'InvalidInstant';
}

/**
 * The same moment as `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`: in this form texts sort as their times do, to the nanosecond, also in
 * a database column. Throws {@link InvalidInstant}.
 */
export function sortableInstant(instant: string): string {
  const match = INSTANT_PATTERN.exec(instant);
  if (!match)
    throw new InvalidInstant(`${JSON.stringify(instant)} is no time: give RFC 3339 with an offset, as in 2026-01-02T03:04:05.678Z`);
  const [, date, time, fraction = '', offset] = match;
  let seconds = `${date}T${time}`;
  if (offset !== 'Z' && offset !== 'z') {
    const utc = new Date(`${seconds}${offset?.length === 5 ? `${offset.slice(0, 3)}:${offset.slice(3)}` : offset}`);
    if (Number.isNaN(utc.getTime())) throw new InvalidInstant(`${JSON.stringify(instant)} is no time: a field is out of range`);
    seconds = utc.toISOString().slice(0, 19);
  }
  return `${seconds}.${fraction.slice(0, 9).padEnd(9, '0')}Z`;
}

/** Negative, zero or positive as `a` is before, at or after `b`; exact to the nanosecond. Throws {@link InvalidInstant}. */
export function compareInstants(a: string, b: string): number {
  if (a === b) return 0;
  const [x, y] = [sortableInstant(a), sortableInstant(b)];
  return x < y ? -1 : x > y ? 1 : 0;
}
