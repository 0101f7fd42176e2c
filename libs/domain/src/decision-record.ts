/* What was decided about changes, for readers: the last few, one record a change, newest first. */

export type Decided = 'Fired' | 'WouldFire' | 'Waiting' | 'Superseded' | 'Denied' | 'Rejected' | 'Expired';

export interface DecisionRecord {
  /** RFC 3339. */
  at: string;
  generation: number;
  /** Of several that were superseded in a row, the first. */
  first?: number;
  image: string;
  decision: Decided;
  reason: string;
}

interface Change {
  generation: number;
  image: string;
  /** When it came, RFC 3339. */
  since: string;
}

export const DECISIONS_MAX = 10;

/** The records with another one; that a change waits makes way for what comes of it. */
export function noted(
  records: readonly DecisionRecord[] | undefined,
  change: Change,
  decision: Decided,
  reason: string,
  now: Date,
): DecisionRecord[] {
  const { generation, image } = change;
  return bounded({ at: now.toISOString(), generation, image, decision, reason }, othersThan(change, records));
}

/** The records where a newer move takes the place of a change that waits: such ones in a row are one, so that they push nothing else out. */
export function superseded(records: readonly DecisionRecord[] | undefined, change: Change, by: number, now: Date): DecisionRecord[] {
  const { generation, image } = change;
  const others = othersThan(change, records);
  const last = others[0]?.decision === 'Superseded' ? others.shift() : undefined;
  const first = last ? { first: last.first ?? last.generation } : {};
  return bounded({ at: now.toISOString(), generation, ...first, image, decision: 'Superseded', reason: `by ${by}` }, others);
}

/** Whether it is known already that the change waits. */
export const isNoted = (records: readonly DecisionRecord[] = [], { generation, since }: Change): boolean =>
  records.some((one) => one.generation === generation && one.decision === 'Waiting' && one.at >= since);

const othersThan = ({ generation }: Change, records: readonly DecisionRecord[] = []): DecisionRecord[] =>
  records.filter((one) => one.decision !== 'Waiting' || one.generation !== generation);

const bounded = (newest: DecisionRecord, others: readonly DecisionRecord[]): DecisionRecord[] =>
  [newest, ...others].slice(0, DECISIONS_MAX);
