import type { MoveCause } from '@millrace/contracts/events';
import { withVerdict } from '@millrace/domain/change-acts';
import { type ChangeDecision, decideChange, forced, type Moment, type Verdict } from '@millrace/domain/change-control';
import {
  controlStatus,
  sameStatus,
  TAG_DECISIONS_MAX,
  type TagControl,
  type TagControlStatus,
  type TagDecision,
} from '@millrace/domain/tag-control';
import type { HistoryEntry } from '@millrace/domain/tag-history';
import { windowAt } from '@millrace/platform/windows';
import { inSeconds } from './stream-rows.ts';

const SOONEST_MS = 1_000;

/** What a change tells when it takes effect. */
export interface Brought {
  cause: MoveCause;
  labels?: Record<string, string>;
  traceparent?: string;
}

/** A change that waits. */
export interface WaitingChange extends HistoryEntry {
  position: string;
  cause: string;
  brought: Brought;
  since: string;
  verdicts: Verdict[];
}

export type ChangeOutcome = 'taken' | 'superseded' | 'refused' | 'dropped';

/** A change as it is to be written. */
interface Row {
  change: WaitingChange;
  outcome: ChangeOutcome | null;
  /** In store as it was. */
  stored: boolean;
  written: boolean;
}

/** What is asked of the rule at a moment. */
export function decided(
  control: TagControl,
  change: { image: string; since: string; verdicts: readonly Verdict[] },
  now: Date,
  window = windowOf(control, now),
): ChangeDecision {
  return decideChange(control, change, { now, window });
}

const windowOf = ({ windows }: TagControl, now: Date): Moment['window'] => (windows?.length ? windowAt(windows, now) : { open: true });

/** A tag that is controlled, or was until now, as one transaction knows it: what waits for it, and what is still to be written of that. */
export class ControlledTag {
  newest: WaitingChange | undefined;
  pending = 0;
  /** Whether it was decided anew about what waits. */
  settled = false;
  private observed = 0;
  private decisions: TagDecision[] = [];
  private stored: TagControlStatus | null = null;
  private lookAt: string | undefined;
  private lookedAt: Date | undefined;
  private lastPosition = 0;
  private refusedAt: string | undefined;
  private window: Moment['window'] | undefined;
  private rows: Row[] = [];
  /** What waits in store up to here waits no more. */
  private sweptTo: { position: string; outcome: ChangeOutcome } | undefined;

  constructor(
    /** Undefined where the spec holds nothing back any more. */
    readonly control: TagControl | undefined,
    readonly now: Date,
  ) {}

  load(row: LoadedControl): void {
    this.stored = row.control === null ? null : (JSON.parse(row.control) as TagControlStatus);
    this.pending = this.stored?.pending ?? 0;
    this.observed = this.stored?.observedGeneration ?? 0;
    this.decisions = [...(this.stored?.decisions ?? [])];
    this.lookAt = row.look_at?.toISOString();
    this.lookedAt = row.looked_at ?? undefined;
    this.lastPosition = Math.floor(Number(row.last_position ?? 0));
    if (row.position !== null) this.newest = waitingOf(row as StoredChange);
  }

  /** `force`: of the control only what people mean is heard. */
  decide(change: { image: string; since: string; verdicts: readonly Verdict[] }, force = false): ChangeDecision {
    const control = this.control ?? {};
    this.window ??= windowOf(control, this.now);
    return decided(force ? forced(control) : control, change, this.now, this.window);
  }

  decideNewest(force = false): ChangeDecision | undefined {
    return this.newest && this.decide({ ...this.newest, image: this.newest.event.image }, force);
  }

  /** Puts a change behind those that wait. */
  wait(entry: HistoryEntry & { cause: string }, brought: Brought): void {
    this.newest = this.made(entry, brought);
    this.rows.push({ change: this.newest, outcome: null, stored: false, written: false });
    this.pending++;
  }

  /** The newest says other of the same image; it has been there as long. */
  amend(change: Partial<Pick<WaitingChange, 'event' | 'observedAt' | 'verdicts'>>): void {
    if (!this.newest) return;
    Object.assign(this.newest, change);
    this.observe(this.newest.event.generation);
    this.rowOf(this.newest).written = false;
  }

  say(verdict: Verdict): void {
    if (this.newest) this.amend({ verdicts: withVerdict(this.newest.verdicts, verdict) });
  }

  /** Notes that a change came and never counts. */
  refuse(entry: HistoryEntry & { cause: string }, brought: Brought, why: { reason: string; message: string }): void {
    this.rows.push({ change: this.made(entry, brought), outcome: 'refused', stored: false, written: false });
    this.note('Refused', why, entry.event.image);
  }

  /** The newest never counts, so the one before it is the newest; where that is only in store, {@link nextBelow} says where. */
  refuseNewest(why: { reason: string; message: string }, by?: string): void {
    const { newest } = this;
    if (!newest) return;
    this.close(newest, 'refused');
    this.pending--;
    this.note('Refused', why, newest.event.image, { by });
    this.refusedAt = newest.position;
    this.newest = this.rows.findLast((row) => row.outcome === null && !row.stored)?.change;
  }

  /** Below which position the newest is looked for in store; undefined where it is known, or nothing waits there. */
  get nextBelow(): string | undefined {
    return this.newest || this.sweptTo || this.pending <= 0 ? undefined : this.refusedAt;
  }

  /** Ends the wait: the newest is taken, and how many were skipped is answered. */
  take(by?: string): number {
    const { newest } = this;
    if (!newest) return 0;
    this.close(newest, 'taken');
    this.pending--;
    const superseded = this.sweep('superseded');
    this.noteMove(newest.event.image, 'what it waited for is over', { superseded, by });
    return superseded;
  }

  /** What waits came before something that takes effect; answers how many that were. */
  sweep(outcome: ChangeOutcome): number {
    const { pending } = this;
    for (const row of this.rows)
      if (row.outcome === null) {
        row.outcome = outcome;
        row.written = false;
      }
    if (pending > 0) this.sweptTo ??= { position: String(this.lastPosition), outcome };
    this.pending = 0;
    this.newest = undefined;
    return pending;
  }

  /** Nothing comes of what waits. */
  drop(reason: string, message: string, by?: string): void {
    const image = this.newest?.event.image ?? '';
    const superseded = this.sweep('dropped') - 1;
    if (superseded >= 0) this.note('Dropped', { reason, message }, image, { superseded, by });
  }

  noteMove(image: string, message: string, { superseded = 0, by }: { superseded?: number; by?: string } = {}): void {
    this.note('Moved', { reason: 'Allowed', message }, image, { superseded, by });
  }

  /** An image came by a spec of this generation, whatever becomes of it. */
  observe(generation: number): void {
    this.observed = Math.max(this.observed, generation);
  }

  /** What is to be written, and whether it is another thing to who reads it; undefined where all is as it was. */
  finish(): { status: string | null; lookAt: string | null; lookedAt: Date | null; shown: boolean } | undefined {
    // Of a tag that was only looked up nothing was decided.
    if (!this.settled) return undefined;
    const status = this.status();
    const shown = !sameStatus(this.stored, status);
    const lookAt = this.notBefore(status?.decision.lookAt);
    const isAhead = this.lookedAt !== undefined && this.lookedAt > this.now;
    if (!shown && lookAt === this.lookAt && !(isAhead && lookAt)) return undefined;
    const decision = status && !shown && this.stored ? { ...status.decision, at: this.stored.decision.at } : status?.decision;
    this.stored = status && decision ? { ...status, decision } : null;
    this.lookAt = lookAt;
    this.lookedAt = this.now;
    return { status: this.stored && JSON.stringify(this.stored), lookAt: lookAt ?? null, lookedAt: lookAt ? this.now : null, shown };
  }

  /** What is due and waits all the same is looked at a moment later, and not at once again. */
  private notBefore(lookAt: string | undefined): string | undefined {
    const soonest = this.now.getTime() + SOONEST_MS;
    return lookAt === undefined || Date.parse(lookAt) > this.now.getTime() ? lookAt : new Date(soonest).toISOString();
  }

  private status(): TagControlStatus | null {
    if (!this.control) return null;
    const { newest } = this;
    const decision = this.decideNewest();
    return controlStatus(
      this.control,
      {
        pending: this.pending,
        newest: newest && {
          image: newest.event.image,
          dockerImageReference: newest.event.dockerImageReference,
          generation: newest.event.generation,
          since: newest.since,
          cause: newest.brought.cause,
          verdicts: newest.verdicts,
        },
        decision: decision?.kind === 'wait' ? decision : undefined,
        observedGeneration: this.observed,
        decisions: this.decisions,
      },
      this.now,
    );
  }

  /** Takes out what is to be written: changes of rows in store, the end of a wait, and new rows, in this order. */
  takeRows(): { changed: Row[]; swept?: { position: string; outcome: ChangeOutcome }; added: Row[] } {
    const open = this.rows.filter((row) => !row.written);
    const parts = { changed: open.filter((row) => row.stored), swept: this.sweptTo, added: open.filter((row) => !row.stored) };
    for (const row of open) Object.assign(row, { written: true, stored: true });
    this.sweptTo = undefined;
    return parts;
  }

  private made(entry: HistoryEntry & { cause: string }, brought: Brought): WaitingChange {
    this.observe(entry.event.generation);
    return { ...entry, position: String(++this.lastPosition), brought, since: this.now.toISOString(), verdicts: [] };
  }

  private rowOf(change: WaitingChange): Row {
    let row = this.rows.find((one) => one.change === change);
    if (!row) {
      row = { change, outcome: null, stored: true, written: true };
      this.rows.push(row);
    }
    return row;
  }

  private close(change: WaitingChange, outcome: ChangeOutcome): void {
    Object.assign(this.rowOf(change), { outcome, written: false });
  }

  private note(
    kind: TagDecision['kind'],
    { reason, message }: { reason: string; message: string },
    image: string,
    { superseded = 0, by }: { superseded?: number; by?: string } = {},
  ): void {
    const at = this.now.toISOString();
    this.decisions.unshift({ kind, reason, message, at, image, ...(superseded ? { superseded } : {}), ...(by ? { by } : {}) });
    this.decisions.length = Math.min(this.decisions.length, TAG_DECISIONS_MAX);
  }
}

export interface StoredChange {
  position: string;
  image: string;
  reference: string;
  created: Date;
  generation: string;
  source: string | null;
  observed_at: string | null;
  cause: string;
  brought: string;
  traceparent: string | null;
  since: Date;
  verdicts: string | null;
}

export type LoadedControl = { [K in keyof StoredChange]: StoredChange[K] | null } & {
  control: string | null;
  look_at: Date | null;
  looked_at: Date | null;
  last_position: string | null;
};

export const CHANGE_COLUMNS =
  'c.position, c.image, c.reference, c.created, c.generation, c.source, c.observed_at, c.cause, c.brought, c.traceparent, c.since, c.verdicts';

export function waitingOf(row: StoredChange): WaitingChange {
  return {
    position: row.position,
    event: { created: inSeconds(row.created), dockerImageReference: row.reference, image: row.image, generation: Number(row.generation) },
    source: row.source ?? undefined,
    observedAt: row.observed_at ?? undefined,
    cause: row.cause,
    brought: { ...(JSON.parse(row.brought) as Brought), traceparent: row.traceparent ?? undefined },
    since: row.since.toISOString(),
    verdicts: row.verdicts === null ? [] : (JSON.parse(row.verdicts) as Verdict[]),
  };
}
