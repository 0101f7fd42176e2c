import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Moment } from './change-control.ts';
import {
  BETWEEN_MAX,
  type ControlMemory,
  decideAgain,
  decideMove,
  foresee,
  type MovedTo,
  released,
  type Step,
  voted,
} from './pending-change.ts';
import { DECISIONS_MAX } from './decision-record.ts';
import { TriggerControl } from './trigger-control.ts';
import type { Move } from './trigger-matching.ts';

const START = Date.parse('2026-01-02T12:00:00Z');
const imageOf = (generation: number): string => `sha256:${String(generation).padStart(64, '0')}`;
const minutes = (n: number): number => n * 60_000;

/** A trigger that moves come to, with a clock that stands until it is moved. */
class Played {
  now = START;
  window: Moment['window'] = { open: true };
  memory: ControlMemory = {};
  readonly fired: number[] = [];
  last: Step | undefined;
  private readonly planned: Move[] = [];

  constructor(public control: TriggerControl) {}

  push(generation: number, streamUid = 'a'): Step {
    const movedAt = new Date(this.now).toISOString();
    const move: MovedTo = { streamUid, generation, movedAt, image: imageOf(generation) };
    return this.take(decideMove(this.control, this.planned, this.memory, move, this.moment));
  }

  look(): Step | undefined {
    const step = decideAgain(this.control, this.planned, this.memory, this.moment);
    return step && this.take(step);
  }

  say(user: string, verdict: 'Approve' | 'Reject' = 'Approve'): Step | undefined {
    this.memory = voted(this.memory, { user, verdict, at: new Date(this.now).toISOString() });
    return this.look();
  }

  release(force = false): Step | undefined {
    const { hold: _, ...control } = this.control;
    this.control = control;
    this.memory = released(this.memory, { by: 'ada', at: new Date(this.now).toISOString(), force });
    return this.look();
  }

  /** What it waits for now. */
  get blockers(): string[] {
    return this.memory.pending?.blockers.map(({ reason }) => reason) ?? [];
  }

  /** `2 Fired`, newest first. */
  get decisions(): string[] {
    return (this.memory.decisions ?? []).map(({ generation, first, decision }) => `${first ? `${first}-` : ''}${generation} ${decision}`);
  }

  get moment(): Moment {
    return { now: new Date(this.now), window: this.window };
  }

  private take(step: Step): Step {
    this.last = step;
    if (step.kind === 'ignore') return step;
    this.memory = JSON.parse(JSON.stringify(step.memory)) as ControlMemory;
    const { fired } = this.memory;
    if (step.kind !== 'fire' || !fired) return step;
    this.fired.push(fired.generation);
    this.planned.push(fired);
    return step;
  }
}

const played = (control: object): Played => new Played(TriggerControl.parse(control));

describe('a trigger that nothing holds back', () => {
  it('fires every move at once', () => {
    const trigger = played({});
    for (const generation of [1, 2, 2, 3, 1]) trigger.push(generation);

    expect(trigger.fired).toEqual([1, 2, 3]);
    expect(trigger.decisions).toEqual(['3 Fired', '2 Fired', '1 Fired']);
    expect(trigger.memory.decisions?.[0]?.reason).toBe('nothing held it back');
  });

  it('keeps the last decisions in mind, and no more', () => {
    const trigger = played({});
    for (let generation = 1; generation <= 30; generation++) trigger.push(generation);

    expect(trigger.decisions).toHaveLength(DECISIONS_MAX);
  });
});

describe('a hold', () => {
  it('keeps the newest, counts those before it, and when it is released fires the newest with them', () => {
    const trigger = played({ hold: { reason: 'rolled back' } });
    for (let generation = 1; generation <= 20; generation++) trigger.push(generation);
    expect(trigger.fired).toEqual([]);
    expect(trigger.memory.pending).toMatchObject({ generation: 20, first: { generation: 1 }, beyond: 0 });
    expect(trigger.decisions).toEqual(['20 Waiting', '1-19 Superseded']);

    const step = trigger.release();

    expect(step).toMatchObject({
      kind: 'fire',
      missed: { first: 1, last: 19 },
      waited: { for: ['Held'], releasedBy: 'ada', since: new Date(START).toISOString() },
    });
    expect(step?.kind === 'fire' && step.between.map(({ generation }) => generation)).toEqual(Array.from({ length: 19 }, (_, i) => i + 1));
    expect(trigger.decisions).toEqual(['20 Fired', '1-19 Superseded']);
    expect(trigger.push(20)).toEqual({ kind: 'ignore', reason: 'already-planned' });
  });

  it('tells the newest of those in between where they are many, and counts the others', () => {
    const trigger = played({ hold: {} });
    for (let generation = 1; generation <= 200; generation++) trigger.push(generation);

    expect(trigger.memory.pending).toMatchObject({ generation: 200, beyond: 199 - BETWEEN_MAX });
    expect(trigger.memory.pending?.between.at(-1)?.generation).toBe(199);
    expect(trigger.memory.pending?.between).toHaveLength(BETWEEN_MAX);
  });

  it('that ends by itself is looked at then', () => {
    const until = new Date(START + minutes(30)).toISOString();
    const trigger = played({ hold: { until } });
    trigger.push(1);
    expect(trigger.memory.pending?.lookAt).toBe(until);

    trigger.now += minutes(30);
    trigger.look();

    expect(trigger.fired).toEqual([1]);
  });

  it('a stream that was made again takes the place of what waits, and a repeat of the older one does not take it back', () => {
    const trigger = played({ hold: {} });
    trigger.push(7);
    trigger.now += 1_000;
    trigger.push(1, 'b');
    const repeat = decideMove(
      trigger.control,
      [],
      trigger.memory,
      { streamUid: 'a', generation: 7, movedAt: new Date(START).toISOString(), image: '' },
      trigger.moment,
    );

    expect(repeat).toEqual({ kind: 'ignore', reason: 'of-an-older-stream' });
    expect(trigger.release()).toMatchObject({ kind: 'fire', between: [{ generation: 7 }] });
  });
});

describe('a minimum age', () => {
  it('is that of the newest: one that is replaced earlier is skipped', () => {
    const trigger = played({ minimumAge: '1h' });
    trigger.push(1);
    trigger.now += minutes(59);
    trigger.push(2);
    trigger.now += minutes(1);
    trigger.look();
    expect(trigger.fired).toEqual([]);

    trigger.now += minutes(59);
    trigger.look();

    expect(trigger.fired).toEqual([2]);
    expect(trigger.decisions).toEqual(['2 Fired', '1 Superseded']);
  });

  it('is over by force', () => {
    const trigger = played({ minimumAge: '1h', windows: [{}], approval: {}, coalesce: '30s' });
    trigger.window = { open: false };
    trigger.push(1);
    expect(trigger.blockers).toEqual(['AwaitingApproval', 'TooYoung', 'OutsideWindow', 'Coalescing']);
    expect(trigger.release()?.kind).toBe('wait');

    expect(trigger.release(true)).toMatchObject({ kind: 'fire', waited: { releasedBy: 'ada' } });
    expect(trigger.memory.decisions?.[0]?.reason).toContain('released by ada, by force');
  });

  it('by force is for the change that waited, not for the next one', () => {
    const trigger = played({ paused: true, minimumAge: '1h' });
    trigger.push(1);
    trigger.release(true);
    expect(trigger.blockers).toEqual(['Paused']);
    trigger.push(2);

    expect(trigger.blockers).toEqual(['Paused', 'TooYoung']);
  });

  it('a clock that was set back neither fires early nor waits until the clock is there again', () => {
    const trigger = played({ minimumAge: '1h' });
    trigger.push(1);
    trigger.now -= minutes(60 * 24 * 365);
    trigger.look();
    expect(trigger.memory.pending).toMatchObject({ since: new Date(trigger.now).toISOString() });

    trigger.now += minutes(59);
    trigger.look();
    expect(trigger.fired).toEqual([]);
    trigger.now += minutes(1);
    trigger.look();

    expect(trigger.fired).toEqual([1]);
  });
});

describe('coalescing', () => {
  it('makes one firing of a burst, from its first change on', () => {
    const trigger = played({ coalesce: '30s' });
    for (let generation = 1; generation <= 50; generation++, trigger.now += 500) trigger.push(generation);
    expect(trigger.fired).toEqual([]);

    trigger.now = START + 30_000;
    const step = trigger.look();

    expect(trigger.fired).toEqual([50]);
    expect(step?.kind === 'fire' && step.between).toHaveLength(49);
    trigger.push(51);
    expect(trigger.memory.pending?.lookAt).toBe(new Date(START + 60_000).toISOString());
  });
});

describe('a storm valve', () => {
  it('lets so many through, then stops and asks; released, the newest fires and the count begins anew', () => {
    const trigger = played({ storm: { firings: 20, within: '1h' } });
    for (let generation = 1; generation <= 100; generation++, trigger.now += 1_000) trigger.push(generation);
    expect(trigger.fired).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    expect(trigger.blockers).toEqual(['Storm']);
    expect(trigger.memory.pending?.lookAt).toBeUndefined();
    trigger.now += minutes(600);
    trigger.look();
    expect(trigger.fired).toHaveLength(20);

    trigger.release();

    expect(trigger.fired.slice(20)).toEqual([100]);
    for (let generation = 101; generation <= 119; generation++) trigger.push(generation);
    expect(trigger.fired).toHaveLength(40);
    trigger.push(120);
    expect(trigger.blockers).toEqual(['Storm']);
  });

  it('counts a period that moves along', () => {
    const trigger = played({ storm: { firings: 2, within: '1h' } });
    for (let generation = 1; generation <= 10; generation++, trigger.now += minutes(31)) trigger.push(generation);

    expect(trigger.fired).toHaveLength(10);
  });

  it('is over with its field', () => {
    const trigger = played({ storm: { firings: 1, within: '1h' } });
    trigger.push(1);
    trigger.push(2);
    trigger.control = {};
    trigger.look();

    expect(trigger.fired).toEqual([1, 2]);
    expect(trigger.memory.stopped).toBeUndefined();
  });

  it('does not stop for what waits for something else', () => {
    const trigger = played({ storm: { firings: 1, within: '1h' }, hold: {} });
    for (const generation of [1, 2, 3]) trigger.push(generation);

    expect(trigger.blockers).toEqual(['Held']);
    expect(trigger.release()?.kind).toBe('fire');
  });

  it('counts firings of a clock that was set back as of now, and forgets them in time', () => {
    const trigger = played({ storm: { firings: 1, within: '1h' } });
    trigger.push(1);
    trigger.now -= minutes(60 * 24);
    trigger.push(2);
    expect(trigger.blockers).toEqual(['Storm']);
    trigger.release();
    trigger.now += minutes(61);
    trigger.push(3);

    expect(trigger.fired).toEqual([1, 2, 3]);
  });
});

describe('approval', () => {
  it('takes as many people as it says; who says it twice is one', () => {
    const trigger = played({ approval: { required: 2, within: '1h' } });
    trigger.push(1);
    trigger.say('ann');
    trigger.say('ann');
    expect(trigger.fired).toEqual([]);

    expect(trigger.say('bob')).toMatchObject({ kind: 'fire', waited: { approvedBy: ['ann', 'bob'] } });
  });

  it('is for one change: the next one is asked about anew', () => {
    const trigger = played({ approval: { required: 2 } });
    trigger.push(1);
    trigger.say('ann');
    trigger.push(2);
    trigger.say('bob');

    expect(trigger.fired).toEqual([]);
    expect(trigger.memory.pending?.verdicts.map(({ user }) => user)).toEqual(['bob']);
  });

  it.each<[string, (trigger: Played) => unknown, string]>([
    ['rejected', (trigger) => trigger.say('eve', 'Reject'), 'Rejected'],
    [
      'past its deadline',
      (trigger) => {
        trigger.now += minutes(60);
        return trigger.look();
      },
      'Expired',
    ],
  ])('a change that is %s never fires; the next is decided about anew', (_, act, decision) => {
    const trigger = played({ approval: { within: '1h' } });
    trigger.push(1);
    act(trigger);
    expect(trigger.decisions[0]).toBe(`1 ${decision}`);
    expect(trigger.push(1)).toEqual({ kind: 'ignore', reason: 'already-settled' });

    trigger.push(2);
    const step = trigger.say('ann');

    expect(trigger.fired).toEqual([2]);
    expect(step).toMatchObject({ missed: { first: 1, last: 1 } });
  });

  it('who changes his mind has one word: the last', () => {
    const trigger = played({ approval: { required: 2 } });
    trigger.push(1);
    trigger.say('ann');
    trigger.say('ann', 'Reject');

    expect(trigger.decisions[0]).toBe('1 Rejected');
  });
});

describe('a denied image', () => {
  it('is refused, with what waited before it superseded', () => {
    const trigger = played({ hold: {}, deny: [{ image: imageOf(2), reason: 'CVE' }] });
    trigger.push(1);
    trigger.push(2);

    expect(trigger.decisions).toEqual(['2 Denied', '1 Superseded']);
    expect(trigger.memory.pending).toBeUndefined();
    trigger.push(3);
    expect(trigger.memory.pending?.generation).toBe(3);
  });
});

describe('a dry run', () => {
  it('tells what would have fired, and fires nothing; afterwards the next move does', () => {
    const trigger = played({ dryRun: true, coalesce: '30s' });
    trigger.push(1);
    trigger.push(2);
    trigger.now += 30_000;
    expect(trigger.look()?.kind).toBe('rehearse');
    expect(trigger.decisions).toEqual(['2 WouldFire', '1 Superseded']);
    expect(trigger.fired).toEqual([]);

    trigger.control = {};
    expect(trigger.push(2)).toEqual({ kind: 'ignore', reason: 'already-settled' });
    trigger.push(3);

    expect(trigger.fired).toEqual([3]);
  });
});

describe('all of it', () => {
  const interval = fc.constantFrom('30s', '5m', '1h');
  const control = fc.record(
    {
      paused: fc.boolean(),
      hold: fc.constant({}),
      minimumAge: interval,
      coalesce: interval,
      storm: fc.record({ firings: fc.integer({ min: 1, max: 3 }), within: interval }),
      approval: fc.record({ required: fc.integer({ min: 1, max: 2 }), within: interval }),
      deny: fc.array(fc.record({ image: fc.integer({ min: 1, max: 30 }).map(imageOf) }), { maxLength: 3 }),
      dryRun: fc.boolean(),
    },
    { requiredKeys: [] },
  );
  const act = fc.oneof(
    fc.record({ kind: fc.constant('push' as const), ahead: fc.integer({ min: -2, max: 2 }) }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: -minutes(90), max: minutes(90) }) }),
    fc.record({
      kind: fc.constant('say' as const),
      user: fc.constantFrom('ann', 'bob'),
      verdict: fc.constantFrom('Approve' as const, 'Reject' as const),
    }),
    fc.record({ kind: fc.constant('release' as const), force: fc.boolean() }),
    fc.record({ kind: fc.constant('change' as const), control }),
  );

  it('fires each move at most once and never backwards, and never loses what waits', () => {
    fc.assert(
      fc.property(control, fc.array(act, { maxLength: 60 }), (first, acts) => {
        const trigger = played(first);
        let newest = 0;
        for (const one of acts) {
          if (one.kind === 'push') {
            const generation = Math.max(1, newest + one.ahead);
            trigger.push(generation);
            newest = Math.max(newest, generation);
          } else if (one.kind === 'wait') {
            trigger.now += one.ms;
            trigger.look();
          } else if (one.kind === 'say') trigger.say(one.user, one.verdict);
          else if (one.kind === 'release') trigger.release(one.force);
          else {
            trigger.control = TriggerControl.parse(one.control);
            trigger.look();
          }
          const { pending, settled, fired } = trigger.memory;
          // The newest move has fired, was decided about for good, or waits.
          expect([0, pending?.generation, settled?.generation, fired?.generation]).toContain(newest);
          expect(trigger.fired).toEqual([...new Set(trigger.fired)].sort((a, b) => a - b));
        }
        trigger.control = {};
        trigger.look();
        expect(trigger.memory.pending).toBeUndefined();
      }),
    );
  });

  it('what is foreseen is what happens when nothing else comes', () => {
    fc.assert(
      fc.property(control, fc.array(fc.integer({ min: 0, max: minutes(40) }), { minLength: 1, maxLength: 8 }), (given, waits) => {
        const trigger = played(given);
        waits.forEach((ms, i) => {
          trigger.push(i + 1);
          trigger.now += ms;
        });
        const step = trigger.look();
        if (!step || step.kind === 'ignore') return;
        const foreseen = foresee(trigger.control, [], step, new Date(trigger.now), () => trigger.window);
        for (let looks = 0; looks < 60 && trigger.memory.pending?.lookAt; looks++) {
          trigger.now = Date.parse(trigger.memory.pending.lookAt);
          trigger.look();
        }

        expect(trigger.last?.kind).toBe(foreseen.step.kind);
        expect(trigger.now).toBe(foreseen.at.getTime());
      }),
    );
  });
});
