import { describe, expect, it } from 'vitest';
import { type Change, ChangeControl, decideChange, forced, type Moment, validateControl, type Verdict } from './change-control.ts';

const A = `sha256:${'a'.repeat(64)}`;
const B = `sha256:${'b'.repeat(64)}`;
const NOW = '2026-01-02T12:00:00.000Z';

const said = (user: string, verdict: Verdict['verdict'] = 'Approve'): Verdict => ({ user, verdict, at: NOW });

function decided(control: object, change: Partial<Change> = {}, window: Moment['window'] = { open: false }): string[] {
  const decision = decideChange(
    ChangeControl.parse(control),
    { image: A, since: '2026-01-02T11:00:00Z', verdicts: [], ...change },
    { now: new Date(NOW), window },
  );
  if (decision.kind === 'take') return ['take'];
  if (decision.kind === 'refuse') return [`${decision.reason}: ${decision.message}`];
  return [
    ...decision.blockers.map(({ reason, message }) => `${reason}: ${message}`),
    ...(decision.lookAt ? [`look at ${decision.lookAt}`] : []),
  ];
}

describe('a change', () => {
  it.each<[string, object, string[]]>([
    ['is taken where nothing holds it back', {}, ['take']],
    ['waits for the release of a hold', { hold: { reason: 'rolled back' } }, ['Held: held until it is released: rolled back']],
    [
      'waits for the end of a hold',
      { hold: { until: '2026-01-02T14:00:00+01:00' } },
      ['Held: held until 2026-01-02T14:00:00+01:00', 'look at 2026-01-02T13:00:00.000Z'],
    ],
    ['is taken after a hold', { hold: { until: NOW } }, ['take']],
    ['waits while paused', { paused: true }, ['Paused: paused']],
    [
      'waits until it is old enough',
      { minimumAge: '2h' },
      ['TooYoung: must be 2h old, which it is at 2026-01-02T13:00:00.000Z', 'look at 2026-01-02T13:00:00.000Z'],
    ],
    ['is taken when it is old enough', { minimumAge: '1h' }, ['take']],
    ['that is denied is refused', { deny: [{ image: A, reason: 'CVE' }] }, [`Denied: ${A} is denied: CVE`]],
    ['is no longer denied afterwards', { deny: [{ image: A, until: NOW }] }, ['take']],
    ['is not denied with another', { deny: [{ image: B }] }, ['take']],
    ['that is denied is refused also while it is held', { hold: {}, deny: [{ image: A }] }, [`Denied: ${A} is denied`]],
    ['waits for people', { approval: { required: 2 } }, ['AwaitingApproval: 0 of 2 have approved it']],
    [
      'waits for people until the deadline',
      { approval: { within: '2h' } },
      ['AwaitingApproval: 0 of 1 have approved it; it is dropped at 2026-01-02T13:00:00.000Z', 'look at 2026-01-02T13:00:00.000Z'],
    ],
    ['is dropped at the deadline', { approval: { within: '1h' } }, ['ApprovalExpired: 0 of 1 have approved it within 1h']],
    [
      'tells all that it waits for, and when the first of it may end',
      { hold: {}, paused: true, minimumAge: '3h', approval: { within: '2h' } },
      [
        'Held: held until it is released',
        'Paused: paused',
        'AwaitingApproval: 0 of 1 have approved it; it is dropped at 2026-01-02T13:00:00.000Z',
        'TooYoung: must be 3h old, which it is at 2026-01-02T14:00:00.000Z',
        'look at 2026-01-02T13:00:00.000Z',
      ],
    ],
  ])('%s', (_, control, decision) => {
    expect(decided(control)).toEqual(decision);
  });

  it.each<[string, Verdict[], string]>([
    ['one person who says so twice is one', [said('ann'), said('ann')], 'AwaitingApproval: 1 of 2 have approved it'],
    ['two people are enough', [said('ann'), said('bob')], 'take'],
    ['who rejects is heard before all others', [said('ann'), said('bob'), said('eve', 'Reject')], 'Rejected: eve rejected it'],
  ])('of approvals: %s', (_, verdicts, decision) => {
    expect(decided({ approval: { required: 2 } }, { verdicts })).toEqual([decision]);
  });

  it('is not taken from who approved it in time by a deadline that passes later', () => {
    expect(decided({ approval: { within: '30m' }, paused: true }, { verdicts: [said('ann')] })).toEqual(['Paused: paused']);
  });

  it('is taken by force against age, windows and approval, and not against what people mean', () => {
    const windows = [{ schedule: '0 9 * * 1', duration: '8h' }];
    const control = { hold: {}, paused: true, minimumAge: '1h', windows, approval: {}, deny: [{ image: A }] };

    expect(Object.keys(forced(ChangeControl.parse(control)))).toEqual(['hold', 'paused', 'deny']);
  });

  it.each<[string, Moment['window'], string[]]>([
    ['is taken in an open window', { open: true }, ['take']],
    [
      'waits for the next window',
      { open: false, opensAt: new Date('2026-01-05T09:00:00Z') },
      ['OutsideWindow: the next window opens at 2026-01-05T09:00:00.000Z', 'look at 2026-01-05T09:00:00.000Z'],
    ],
    ['waits for a person where no window opens', { open: false }, ['OutsideWindow: no window opens again']],
  ])('%s', (_, window, decision) => {
    expect(decided({ windows: [{ schedule: '0 9 * * 1', duration: '8h' }] }, {}, window)).toEqual(decision);
  });

  it('that a clock which was set back says is still to come is as old as now', () => {
    expect(decided({ minimumAge: '1h' }, { since: '2027-01-01T00:00:00Z' })).toEqual([
      'TooYoung: must be 1h old, which it is at 2026-01-02T13:00:00.000Z',
      'look at 2026-01-02T13:00:00.000Z',
    ]);
  });
});

describe('what holds changes back', () => {
  const problems = (control: object): string[] =>
    validateControl(ChangeControl.parse(control), 'spec', (schedule) => (schedule === 'never' ? 'never comes' : undefined)).map(
      ({ field, text }) => `${field}: ${text}`,
    );

  it('may be everything at once', () => {
    const windows = [{ schedule: '0 9 * * *', timeZone: 'Europe/Berlin', duration: '8h' }];
    const control = { paused: true, hold: {}, minimumAge: '7d', windows, approval: { required: 2, within: '1d' }, deny: [{ image: A }] };

    expect(problems(control)).toEqual([]);
  });

  it.each<[object, string]>([
    [{ minimumAge: 'long' }, 'spec.minimumAge: Invalid value: "long": must be an interval'],
    [{ minimumAge: '0s' }, 'spec.minimumAge: Invalid value: "0s": must be an interval'],
    [{ minimumAge: '400d' }, 'spec.minimumAge: Invalid value: "400d": must be at most 366d'],
    [{ windows: [{ duration: '1h' }] }, 'spec.windows[0].schedule: Required value'],
    [{ windows: [{ schedule: '0 9 * * *' }] }, 'spec.windows[0].duration: Required value'],
    [{ windows: [{ schedule: 'never', duration: '1h' }] }, 'spec.windows[0].schedule: Invalid value: "never": never comes'],
    [{ windows: Array.from({ length: 21 }, () => ({})) }, 'spec.windows: Forbidden: 21 windows; at most 20'],
    [{ approval: { required: 0 } }, 'spec.approval.required: Invalid value: 0: must be between 1 and 20'],
    [{ approval: { within: 'soon' } }, 'spec.approval.within: Invalid value: "soon"'],
    [{ deny: [{}] }, 'spec.deny[0].image: Required value: the digest'],
    [{ deny: [{ image: 'web:1' }] }, 'spec.deny[0].image: Invalid value: "web:1": must be a digest'],
    [{ hold: { reason: 'x'.repeat(1_001) } }, 'spec.hold.reason: Invalid value'],
    [{ hold: { reason: 'half \ud800' } }, 'spec.hold.reason: Invalid value'],
  ])('%j is refused', (control, problem) => {
    expect(problems(control)).toEqual([expect.stringContaining(problem) as string]);
  });
});
