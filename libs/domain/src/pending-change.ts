import { withVerdict } from './change-acts.ts';
import { type Blocker, type BlockReason, decideChange, forced, type Moment, type Verdict } from './change-control.ts';
import { type Decided, type DecisionRecord, isNoted, noted, superseded } from './decision-record.ts';
import { parseInterval } from './interval.ts';
import type { TriggerControl } from './trigger-control.ts';
import { decideFiring, type Ignored, type Missed, missedBefore, type Move, type Planned } from './trigger-matching.ts';

/*
 * What a trigger does about moves that may not fire at once. The newest of them is its pending change, those before it are superseded; it is decided
 * about when a move comes, when the spec changes, when somebody says something, and when time has passed. Explanations ask the same functions.
 */

export type WaitReason = BlockReason | 'Coalescing' | 'Storm';
export type WaitsFor = Blocker<WaitReason>;

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

/** How many moves in between are told. */
export const BETWEEN_MAX = 50;

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
  const decisions = pending ? superseded(memory.decisions, pending, move.generation, moment.now) : memory.decisions;
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

/** After somebody's word about the pending change. */
export function voted(memory: ControlMemory, said: Verdict): ControlMemory {
  const { pending } = memory;
  return pending ? { ...memory, pending: { ...pending, verdicts: withVerdict(pending.verdicts, said) } } : memory;
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
  const { pending: _, stopped: stoppedBefore, firings: __, ...memory } = before;
  const { streamUid, generation, movedAt } = pending;
  const position = { streamUid, generation, movedAt };
  const note = (decision: Decided, reason: string) => ({ ...memory, decisions: noted(memory.decisions, pending, decision, reason, now) });

  const judged = decideChange(pending.released?.force ? forced(control) : control, pending, moment);
  const coalescing = coalescingOf(control, pending, now);
  // What fires is counted when it would: who waits for something else does not stop anything.
  const valve = valveOf(control, before, { isFree: judged.kind === 'take' && !coalescing, now });
  if (judged.kind === 'refuse') {
    const decision = judged.reason === 'ApprovalExpired' ? 'Expired' : judged.reason;
    return { kind: 'refuse', memory: { ...note(decision, judged.message), ...valve, settled: position }, decision, reason: judged.message };
  }
  const blockers: WaitsFor[] = [
    ...(judged.kind === 'wait' ? judged.blockers : []),
    ...(coalescing ? [coalescing] : []),
    ...(valve.stopped ? [stormOf(control)] : []),
  ];
  if (blockers.length) {
    const waiting = waitingFor(pending, blockers, [judged.kind === 'wait' ? judged.lookAt : undefined, coalescing?.until]);
    const known = isNoted(memory.decisions, pending) ? memory : note('Waiting', blockers.map(({ message }) => message).join('; '));
    return { kind: 'wait', memory: { ...known, ...valve, pending: waiting }, pending: waiting };
  }
  const counted = valve.firings ? { firings: [...valve.firings, now.getTime()] } : {};
  if (control.dryRun)
    return { kind: 'rehearse', memory: { ...note('WouldFire', `${whyNow(pending)}; it is a dry run`), ...counted, settled: position } };
  const waited = waitOf(pending);
  const missed = missedBefore(planned.concat(memory.fired ?? []), position);
  return {
    kind: 'fire',
    memory: { ...note('Fired', whyNow(pending)), ...counted, fired: position },
    ...(missed ? { missed } : {}),
    between: pending.between,
    ...(waited ? { waited } : {}),
  };
}

/** The change as it waits; `looks` are the times at which something may be another. */
function waitingFor(
  { lookAt: _, ...pending }: PendingChange,
  blockers: readonly WaitsFor[],
  looks: readonly (string | undefined)[],
): PendingChange {
  const times = looks.flatMap((at) => (at === undefined ? [] : [Date.parse(at)]));
  return {
    ...pending,
    blockers,
    ...(times.length ? { lookAt: new Date(Math.min(...times)).toISOString() } : {}),
    waitedFor: [...new Set([...pending.waitedFor, ...blockers.map(({ reason }) => reason)])],
  };
}

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
/** How the storm valve stands, where there is one. */
function valveOf(
  { storm }: TriggerControl,
  { firings = [], stopped }: ControlMemory,
  { isFree, now }: { isFree: boolean; now: Date },
): Pick<ControlMemory, 'firings' | 'stopped'> {
  if (!storm) return {};
  const from = now.getTime() - (parseInterval(storm.within ?? '') ?? 0);
  // What a clock that was set back says is still to come counts as now, so that it is over some time.
  const counted = firings.map((at) => Math.min(at, now.getTime())).filter((at) => at > from);
  if (stopped) return { firings: counted, stopped };
  return { firings: counted, ...(isFree && counted.length >= (storm.firings ?? 0) ? { stopped: now.toISOString() } : {}) };
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
