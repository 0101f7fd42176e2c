import { describe, expect, it } from 'vitest';
import { isControlled, TriggerControl, validateTriggerControl } from './trigger-control.ts';

const problems = (control: object): string[] =>
  validateTriggerControl(TriggerControl.parse(control), 'spec', () => undefined).map(({ field, text }) => `${field}: ${text}`);

describe('what holds the changes of a trigger back', () => {
  it('may be everything at once', () => {
    expect(
      problems({ paused: true, hold: {}, minimumAge: '1d', coalesce: '30s', storm: { firings: 20, within: '1h' }, dryRun: true }),
    ).toEqual([]);
  });

  it.each<[object, string]>([
    [{ minimumAge: 'long' }, 'spec.minimumAge: Invalid value: "long": must be an interval'],
    [{ coalesce: 'short' }, 'spec.coalesce: Invalid value: "short": must be an interval'],
    [{ coalesce: '2d' }, 'spec.coalesce: Invalid value: "2d": must be at most 1d'],
    [{ storm: { within: '1h' } }, 'spec.storm.firings: Required value'],
    [{ storm: { firings: 0, within: '1h' } }, 'spec.storm.firings: Invalid value: 0: must be between 1 and 1000'],
    [{ storm: { firings: 20 } }, 'spec.storm.within: Required value'],
    [{ storm: { firings: 20, within: 'ever' } }, 'spec.storm.within: Invalid value: "ever"'],
  ])('%j is refused', (control, problem) => {
    expect(problems(control)).toEqual([expect.stringContaining(problem) as string]);
  });

  it.each<[object, boolean]>([
    [{}, false],
    [{ paused: false, windows: [], deny: [], dryRun: false }, false],
    [{ hold: {} }, true],
    [{ coalesce: '30s' }, true],
    [{ dryRun: true }, true],
  ])('%j does so: %s', (control, does) => {
    expect(isControlled(TriggerControl.parse(control))).toBe(does);
  });
});
