import { isDeepStrictEqual } from 'node:util';
import { Inject, Injectable } from '@nestjs/common';
import { Counter, type Registry } from 'prom-client';
import type { Moment } from '@millrace/domain/change-control';
import { type ControlMemory, decideAgain, decideMove, type Step } from '@millrace/domain/pending-change';
import { isControlled } from '@millrace/domain/trigger-control';
import { Clock } from '@millrace/platform/clock';
import { METRICS } from '@millrace/platform/health';
import type { Log } from '@millrace/platform/log';
import { LOG } from '@millrace/platform/service';
import type { Tx } from '@millrace/platform/store';
import { windowAt } from '@millrace/platform/windows';
import { Alarm } from './alarm.ts';
import type { Firing } from './firings.ts';
import { type Follower, heldBy, type HeldMove, memoryOf, movedTo } from './trigger-record.ts';

/** What has become of a change of a trigger, whose record says it. */
export interface Outcome {
  trigger: Follower;
  step: Step;
  firing?: Firing;
  /** Readers see something else than before. */
  isNews: boolean;
}

/**
 * No look is planned further ahead: where one is, the clock that planned it was ahead, and it is due. So a clock that is set back holds nothing up
 * for longer than this.
 */
export const LOOK_MAX_MS = 60 * 60 * 1_000;

/** Asks the rules what becomes of moves, by the clock, and keeps in the triggers' records what they say. */
@Injectable()
export class TriggerDecisions {
  private readonly decided: Counter<'decision'>;

  constructor(
    private readonly clock: Clock,
    private readonly alarm: Alarm,
    @Inject(LOG) private readonly log: Log,
    @Inject(METRICS) metrics: Registry,
  ) {
    this.decided = new Counter({
      name: 'millrace_trigger_decisions_total',
      help: 'Changes that were decided about without firing, by what was decided',
      labelNames: ['decision'],
      registers: [metrics],
    });
  }

  /** About a move that has come. */
  arrived(trigger: Follower, held: HeldMove): Outcome {
    const { spec, planned } = trigger;
    return this.settle(trigger, decideMove(spec, planned ?? [], memoryOf(trigger), movedTo(held.move), this.moment(trigger)), held);
  }

  /** About the change that waits; undefined where there is none. */
  again(trigger: Follower): Outcome | undefined {
    const { spec, planned } = trigger;
    const held = heldBy(trigger);
    const step = decideAgain(spec, planned ?? [], memoryOf(trigger), this.moment(trigger));
    if (step && held) return this.settle(trigger, step, held);
    this.planLook(trigger);
    return undefined;
  }

  moment(trigger: Pick<Follower, 'spec'>, now = this.clock.now()): Moment {
    return { now, window: windowAt(trigger.spec.windows, now) };
  }

  /** Has told, when the transaction commits, what did not fire; what did is told by Firings. */
  report(tx: Tx, outcomes: readonly Outcome[]): void {
    const told = outcomes.filter(({ step, isNews }) => isNews && step.kind !== 'fire');
    if (!told.length) return;
    tx.afterCommit(() => {
      for (const { trigger, step } of told) {
        if (trigger.lookAt) this.alarm.set(trigger.lookAt, this.clock.now());
        const [latest] = trigger.control?.decisions ?? [];
        if (!latest || step.kind === 'ignore') continue;
        this.decided.inc({ decision: latest.decision });
        const { generation, image, decision } = latest;
        const reason = step.kind === 'wait' ? step.pending.blockers.map((one) => one.reason).join(', ') : latest.reason;
        this.log.info({ trigger: `${trigger.namespace}/${trigger.name}`, generation, image, decision, reason }, 'trigger.decided');
      }
    });
  }

  private settle(trigger: Follower, step: Step, { move, traceparent }: HeldMove): Outcome {
    if (step.kind === 'ignore') return { trigger, step, isNews: false };
    const before = trigger.control;
    // Who has never held anything back keeps nothing in mind: the row of most triggers is small.
    const remembers = isControlled(trigger.spec) || trigger.control !== null || trigger.held !== null;
    trigger.control = remembers ? step.memory : null;
    trigger.held = step.kind === 'wait' ? JSON.stringify({ move, traceparent }) : null;
    this.planLook(trigger);
    if (step.kind !== 'fire') return { trigger, step, isNews: step.kind !== 'wait' || !shows(before, step.memory) };
    const { missed, between, waited } = step;
    const firing: Firing = {
      trigger,
      ...{ move, traceparent },
      ...(missed ? { missed } : {}),
      ...(between.length ? { between } : {}),
      ...(waited ? { waited } : {}),
    };
    return { trigger, step, firing, isNews: true };
  }

  /** A hold that ends is looked at also where nothing waits: its readers see it then. */
  private planLook(trigger: Follower): void {
    const now = this.clock.now().getTime();
    const { pending } = memoryOf(trigger);
    const wanted = Date.parse((pending ? pending.lookAt : trigger.spec.hold?.until) ?? '');
    trigger.lookAt = wanted > now ? new Date(Math.min(wanted, now + LOOK_MAX_MS)) : null;
  }
}

/** Whether readers see the same; JSON has no undefined and, out of the database, another order. */
function shows(before: ControlMemory | null, { pending, stopped, decisions }: ControlMemory): boolean {
  const seen = JSON.parse(JSON.stringify({ pending, stopped, decisions })) as object;
  return isDeepStrictEqual(
    JSON.parse(JSON.stringify({ pending: before?.pending, stopped: before?.stopped, decisions: before?.decisions })),
    seen,
  );
}
