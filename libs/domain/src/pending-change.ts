import { type Blocker, type BlockReason, decideChange, type Moment, type Verdict } from './change-control.ts';
import { parseInterval } from './interval.ts';
import type { TriggerControl } from './trigger-control.ts';
import { decideFiring, type Ignored, type Missed, missedBefore, type Move, type Planned } from './trigger-matching.ts';

/*
 * What a trigger does about moves that may not fire at once. The newest of them is its pending change, those before it are superseded; it is decided
 * about when a move comes, when the spec changes, when somebody says something, and when time has passed. Explanations ask the same functions.
 */

export type WaitReason = BlockReason | 'Coalescing' | 'Storm';
export interface WaitsFor extends Omit<Blocker, 'reason'> {
  reason: WaitReason;
}

/** A move as it is decided about. */
export interface MovedTo extends Move {
  /** Digest; empty for a tag that only names a pull spec. */
  image: string;
}

/** A move that another one has taken the place of. */
export interface Skipped {
  generation: number;
  image: string;
  movedAt: string;
}

/** The newest move that has not fired. Times are RFC 3339, by our own clock. */
export interface PendingChange extends MovedTo {
  /** When it came. */
  since: string;
  /** The first move that has waited since the last decision. */
  first: { generation: number; since: string };
  /** Moves between the two, oldest first; `beyond` counts those before them that are no longer told. */
  between: readonly Skipped[];
  beyond: number;
  verdicts: readonly Verdict[];
  /** By force also age, windows, approval and coalescing are over for this change. */
  released?: { by: string; at: string; force: boolean; comment?: string };
  /** What it waits for, as it was last decided, and when that is looked at again. */
  blockers: readonly WaitsFor[];
  lookAt?: string;
  /** All that it has waited for so far. */
  waitedFor: readonly WaitReason[];
}

export type Decided = 'Fired' | 'WouldFire' | 'Waiting' | 'Superseded' | 'Denied' | 'Rejected' | 'Expired';

/** One decision, for readers. */
export interface DecisionRecord {
  at: string;
  generation: number;
  /** Of several that were superseded in a row, the first. */
  first?: number;
  image: string;
  decision: Decided;
  reason: string;
}

/** What a trigger keeps in mind beside its position; JSON. */
export interface ControlMemory {
  pending?: PendingChange;
  /** The newest move that fired, and the newest that was decided about without firing. */
  fired?: Move;
  settled?: Move;
  /** When it fired lately, in milliseconds since 1970; only where a storm valve counts. */
  firings?: readonly number[];
  /** When the storm valve has stopped it. */
  stopped?: string;
  /** Newest first. */
  decisions?: readonly DecisionRecord[];
}

/** How many moves in between are told, and how many decisions. */
export const BETWEEN_MAX = 50;
export const DECISIONS_MAX = 10;

/** What is told of the wait of a change that fires. */
export interface Waited {
  since: string;
  for: WaitReason[];
  approvedBy?: string[];
  releasedBy?: string;
}

export type Step =
  | Ignored
  | { kind: 'fire'; memory: ControlMemory; missed?: Missed; between: readonly Skipped[]; waited?: Waited }
  /** It would fire, and does not: a dry run. */
  | { kind: 'rehearse'; memory: ControlMemory }
  | { kind: 'wait'; memory: ControlMemory; pending: PendingChange }
  | { kind: 'refuse'; memory: ControlMemory; decision: 'Denied' | 'Rejected' | 'Expired'; reason: string };

/** What becomes of a move that comes. */
export function decideMove(
  control: TriggerControl,
  planned: readonly Planned[],
  memory: ControlMemory,
  move: MovedTo,
  moment: Moment,
): Step {
  const { pending, settled } = memory;
  const position = decideFiring({ planned: planned.concat(memory.fired ?? []), pending, settled }, move);
  if (position.kind === 'ignore') return position;
  const decisions = pending ? superseded(memory.decisions, pending, move, moment.now) : memory.decisions;
  return decide(control, planned, { ...memory, decisions }, inPlaceOf(pending, move, moment.now), moment);
}

/** What becomes of the change that waits, now; undefined where none does. */
export function decideAgain(
  control: TriggerControl,
  planned: readonly Planned[],
  memory: ControlMemory,
  moment: Moment,
): Exclude<Step, Ignored> | undefined {
  return memory.pending && decide(control, planned, memory, heard(memory.pending, moment.now), moment);
}

/**
 * What becomes of a change that waits if nothing else comes, and when: it is decided at each time at which something may be another. The last
 * step stands where nothing but a person changes anything, or the end is too far off to be found.
 */
export function foresee(
  control: TriggerControl,
  planned: readonly Planned[],
  first: Exclude<Step, Ignored>,
  from: Date,
  windowAt: (now: Date) => Moment['window'],
): { step: Exclude<Step, Ignored>; at: Date } {
  let found = { step: first, at: from };
  for (let looks = 0; looks < LOOKS_MAX && found.step.kind === 'wait'; looks++) {
    const { lookAt } = found.step.pending;
    if (lookAt === undefined || Date.parse(lookAt) <= found.at.getTime()) break;
    const at = new Date(lookAt);
    const step = decideAgain(control, planned, found.step.memory, { now: at, window: windowAt(at) });
    if (!step) break;
    found = { step, at };
  }
  return found;
}
const LOOKS_MAX = 50;

/** With what somebody says about the pending change; of one person the last word counts, and the same word twice is one. */
export function withVerdict(memory: ControlMemory, verdict: Verdict): ControlMemory {
  const { pending } = memory;
  if (!pending || pending.verdicts.some((one) => one.user === verdict.user && one.verdict === verdict.verdict)) return memory;
  return { ...memory, pending: { ...pending, verdicts: [...pending.verdicts.filter(({ user }) => user !== verdict.user), verdict] } };
}

/** Without what has stopped the trigger: its firings are counted anew. */
export function recounted({ stopped: _, firings: __, ...rest }: ControlMemory): ControlMemory {
  return rest;
}

/** After somebody's release. A hold is a field of the spec, which goes with it. */
export function released(memory: ControlMemory, by: NonNullable<PendingChange['released']>): ControlMemory {
  const { pending, ...rest } = recounted(memory);
  return { ...rest, ...(pending ? { pending: { ...pending, released: by } } : {}) };
}

function decide(
  control: TriggerControl,
  planned: readonly Planned[],
  before: ControlMemory,
  pending: PendingChange,
  moment: Moment,
): Exclude<Step, Ignored> {
  const { now } = moment;
  const { pending: _, stopped: stoppedBefore, ...memory } = before;
  const { streamUid, generation, movedAt } = pending;
  const position = { streamUid, generation, movedAt };
  const judged = decideChange(pending.released?.force ? withoutWaits(control) : control, pending, moment);
  if (judged.kind === 'refuse') {
    const decision = judged.reason === 'ApprovalExpired' ? 'Expired' : judged.reason;
    const settled = { ...memory, ...stopOf(control, stoppedBefore), settled: position };
    return { kind: 'refuse', memory: noted(settled, pending, decision, judged.message, now), decision, reason: judged.message };
  }
  const coalescing = coalescingOf(control, pending, now);
  const firings = recent(control, memory.firings, now);
  const counted = firings ? { firings } : {};
  // What fires is counted when it would: who waits for something else does not stop anything.
  const isFree = judged.kind === 'take' && !coalescing;
  const stopped =
    control.storm && (stoppedBefore ?? (isFree && (firings?.length ?? 0) >= (control.storm.firings ?? 0) ? now.toISOString() : undefined));
  const blockers: WaitsFor[] = [
    ...(judged.kind === 'wait' ? judged.blockers : []),
    ...(coalescing ? [coalescing] : []),
    ...(stopped ? [stormOf(control)] : []),
  ];
  if (blockers.length) {
    const looks = [judged.kind === 'wait' ? judged.lookAt : undefined, coalescing?.until].flatMap((at) => (at ? [Date.parse(at)] : []));
    const { lookAt: __, ...rest } = pending;
    const waiting: PendingChange = {
      ...rest,
      blockers,
      ...(looks.length ? { lookAt: new Date(Math.min(...looks)).toISOString() } : {}),
      waitedFor: [...new Set([...pending.waitedFor, ...blockers.map(({ reason }) => reason)])],
    };
    const next = { ...memory, ...counted, ...(stopped ? { stopped } : {}), pending: waiting };
    const isNoted = memory.decisions?.some((one) => one.generation === generation && one.decision === 'Waiting' && one.at >= pending.since);
    const told = isNoted ? next : noted(next, pending, 'Waiting', blockers.map(({ message }) => message).join('; '), now);
    return { kind: 'wait', memory: told, pending: waiting };
  }
  const passed = { ...memory, ...(firings ? { firings: [...firings, now.getTime()] } : {}) };
  if (control.dryRun)
    return {
      kind: 'rehearse',
      memory: noted({ ...passed, settled: position }, pending, 'WouldFire', `${whyNow(pending)}; it is a dry run`, now),
    };
  const waited = waitOf(pending);
  const missed = missedBefore(planned.concat(memory.fired ?? []), position);
  return {
    kind: 'fire',
    memory: noted({ ...passed, fired: position }, pending, 'Fired', whyNow(pending), now),
    ...(missed ? { missed } : {}),
    between: pending.between,
    ...(waited ? { waited } : {}),
  };
}

/** What holds a change back that nobody has released by force. */
const withoutWaits = ({ paused, hold, deny }: TriggerControl): TriggerControl => ({ paused, hold, deny });

function coalescingOf({ coalesce }: TriggerControl, { first, released }: PendingChange, now: Date): WaitsFor | undefined {
  const forMs = coalesce === undefined || released?.force ? 0 : (parseInterval(coalesce) ?? 0);
  const until = Date.parse(first.since) + forMs;
  if (until <= now.getTime()) return undefined;
  const at = new Date(until).toISOString();
  return { reason: 'Coalescing', message: `changes are collected until ${at}`, until: at };
}

const stormOf = ({ storm }: TriggerControl): WaitsFor => ({
  reason: 'Storm',
  message: `stopped: more than ${storm?.firings} firings within ${storm?.within}; release it to go on`,
});
const stopOf = ({ storm }: TriggerControl, stopped: string | undefined) => (storm && stopped ? { stopped } : {});

/** Firings that the valve counts. What a clock that was set back says is still to come counts as now, so that it is over some time. */
function recent({ storm }: TriggerControl, firings: readonly number[] = [], now: Date): number[] | undefined {
  if (!storm) return undefined;
  const from = now.getTime() - (parseInterval(storm.within ?? '') ?? 0);
  return firings.map((at) => Math.min(at, now.getTime())).filter((at) => at > from);
}

/** The pending change with a move in the place of what was newest. */
function inPlaceOf(before: PendingChange | undefined, move: MovedTo, now: Date): PendingChange {
  const { streamUid, generation, movedAt, image } = move;
  const since = now.toISOString();
  const fresh = { streamUid, generation, movedAt, image, since, verdicts: [], blockers: [], waitedFor: before?.waitedFor ?? [] };
  if (!before) return { ...fresh, first: { generation, since }, between: [], beyond: 0 };
  const skipped = { generation: before.generation, image: before.image, movedAt: before.movedAt };
  const between = [...before.between, skipped];
  const beyond = Math.max(0, between.length - BETWEEN_MAX);
  const { first } = heard(before, now);
  return { ...fresh, first, between: between.slice(beyond), beyond: before.beyond + beyond };
}

/** A clock that was set back leaves times in the future behind: they count as now, from now on. */
function heard(pending: PendingChange, now: Date): PendingChange {
  const bounded = (at: string): string => (Date.parse(at) > now.getTime() ? now.toISOString() : at);
  return { ...pending, since: bounded(pending.since), first: { ...pending.first, since: bounded(pending.first.since) } };
}

function waitOf({ since, waitedFor, verdicts, released }: PendingChange): Waited | undefined {
  if (!waitedFor.length) return undefined;
  const approvedBy = approversOf(verdicts);
  return { since, for: [...waitedFor], ...(approvedBy.length ? { approvedBy } : {}), ...(released ? { releasedBy: released.by } : {}) };
}

const approversOf = (verdicts: readonly Verdict[]): string[] =>
  verdicts.filter(({ verdict }) => verdict === 'Approve').map(({ user }) => user);

function whyNow(pending: PendingChange): string {
  const { waitedFor, verdicts, released, first } = pending;
  const approvers = approversOf(verdicts);
  const parts = [
    ...(waitedFor.length ? [`after a wait since ${first.since} (${waitedFor.join(', ')})`] : ['nothing held it back']),
    ...(approvers.length ? [`approved by ${approvers.join(', ')}`] : []),
    ...(released
      ? [`released by ${released.by}${released.force ? ', by force' : ''}${released.comment ? `: ${released.comment}` : ''}`]
      : []),
  ];
  return parts.join('; ');
}

/** The memory with a decision noted: one a change, so that its wait makes way for what comes of it. */
function noted(memory: ControlMemory, change: Pick<PendingChange, 'generation' | 'image'>, decision: Decided, reason: string, now: Date) {
  const { generation, image } = change;
  return {
    ...memory,
    decisions: bounded({ at: now.toISOString(), generation, image, decision, reason }, othersThan(change, memory.decisions)),
  };
}

/** The decisions where a move takes the place of one that waits: such ones in a row are one, so that they push nothing else out. */
function superseded(given: ControlMemory['decisions'], change: PendingChange, by: Move, now: Date): DecisionRecord[] {
  const { generation, image } = change;
  const others = othersThan(change, given);
  const last = others[0]?.decision === 'Superseded' ? others.shift() : undefined;
  const first = last ? { first: last.first ?? last.generation } : {};
  return bounded({ at: now.toISOString(), generation, ...first, image, decision: 'Superseded', reason: `by ${by.generation}` }, others);
}

const othersThan = ({ generation }: Pick<PendingChange, 'generation'>, decisions: readonly DecisionRecord[] = []): DecisionRecord[] =>
  decisions.filter((one) => one.decision !== 'Waiting' || one.generation !== generation);

const bounded = (newest: DecisionRecord, others: readonly DecisionRecord[]): DecisionRecord[] =>
  [newest, ...others].slice(0, DECISIONS_MAX);
