import { describe, expect, it } from 'vitest';
import { decideChange } from './change-control.ts';
import { nextSpec } from './stream-spec.ts';
import {
  changedControls,
  controlStatus,
  keepControls,
  keepsWaiting,
  sameControl,
  sameStatus,
  storedControl,
  TagControl,
  type TagControlStatus,
} from './tag-control.ts';

const NOW = new Date('2026-01-02T12:00:00.000Z');
const A = `sha256:${'a'.repeat(64)}`;
const read = (control: object): TagControl => TagControl.parse(control);

describe('a control as it is stored', () => {
  it.each<[string, object, object | undefined]>([
    ['without anything is none', {}, undefined],
    ['without a word that asks for something is none', { paused: false, holdOnRollback: false, windows: [], deny: [] }, undefined],
    ['keeps an empty hold', { hold: {} }, { hold: {} }],
    ['keeps an empty approval', { approval: {} }, { approval: {} }],
    [
      'leaves out empty parts',
      { hold: { reason: '' }, windows: [{ schedule: '0 9 * * *', duration: '8h', timeZone: null }] },
      {
        hold: {},
        windows: [{ schedule: '0 9 * * *', duration: '8h' }],
      },
    ],
  ])('%s', (_, control, stored) => {
    expect(storedControl(read(control))).toEqual(stored);
  });

  it.each<[object | undefined, object | undefined, boolean]>([
    [undefined, {}, true],
    [undefined, { hold: {} }, false],
    [{ hold: {} }, { hold: {} }, true],
    [{ approval: {} }, { approval: { required: 2 } }, false],
    [{ hold: { until: '2026-01-03T00:00:00Z', reason: 'x' } }, { hold: { reason: 'x', until: '2026-01-03T00:00:00Z' } }, true],
    [{ deny: [{ image: A }] }, { deny: [] }, false],
  ])('%j and %j are the same: %s', (a, b, same) => {
    expect(sameControl(a && read(a), b && read(b))).toBe(same);
  });

  it('changes the generation of the stream, and asks for no import', () => {
    const before = {
      lookupPolicy: { local: false },
      tags: [{ name: 'latest', generation: 3, from: { kind: 'DockerImage', name: 'e.io/a:1' } }],
    };
    const after = { ...before, tags: before.tags.map((tag) => ({ ...tag, control: { hold: {} } })) };

    const next = nextSpec({ spec: nextSpec(undefined, before, { namespace: 'demo' }).spec, generation: 3 }, after, { namespace: 'demo' });

    expect(next).toMatchObject({ changed: true, generation: 4, changedTags: [], stampedTags: [] });
  });
});

describe('the tags of a PUT', () => {
  const before = [{ name: 'a', control: { hold: {} } }, { name: 'b' }];

  it.each<[string, object[] | undefined, object[] | undefined]>([
    ['keep a control that they leave out', [{ name: 'a' }], [{ name: 'a', control: { hold: {} } }]],
    ['have the control that they name', [{ name: 'a', control: { paused: true } }], [{ name: 'a', control: { paused: true } }]],
    ['lose it by an empty one', [{ name: 'a', control: {} }], [{ name: 'a', control: {} }]],
    ['bring none to others', [{ name: 'b' }, { name: 'c' }], [{ name: 'b' }, { name: 'c' }]],
    ['may be none', undefined, undefined],
  ])('%s', (_, tags, kept) => {
    expect(keepControls(before, tags as { name: string }[] | undefined)).toEqual(kept);
  });

  it('tell whose control is another: new, changed, or gone with the tag', () => {
    const after = [{ name: 'b', control: { paused: true } }, { name: 'c' }];

    expect(changedControls(before, after)).toEqual(['a', 'b']);
    expect(changedControls(before, before)).toEqual([]);
    expect(changedControls(undefined, before)).toEqual(['a']);
  });
});

describe('what waits', () => {
  it.each<[object, boolean]>([
    [{}, false],
    [{ minimumAge: '1h', approval: {} }, false],
    [{ hold: {} }, true],
    [{ hold: { until: '2026-01-02T11:00:00Z' } }, false],
    [{ paused: true }, true],
  ])('stays when a person tags under %j: %s', (control, stays) => {
    expect(keepsWaiting(read(control), NOW)).toBe(stays);
  });
});

describe('the status of a control', () => {
  const newest = { image: A, dockerImageReference: `e.io/a@${A}`, generation: 2, since: '2026-01-02T11:30:00.000Z' };
  function shown(control: object, pending: number): TagControlStatus {
    const decision = decideChange(read(control), { ...newest, verdicts: [] }, { now: NOW, window: { open: true } });
    const waits = decision.kind === 'wait' && pending ? { newest, decision } : {};
    return controlStatus(read(control), { pending, ...waits, decisions: [], observedGeneration: pending ? 2 : 0 }, NOW);
  }

  it('says what the newest change waits for, all of it, and when it is looked at again', () => {
    expect(shown({ minimumAge: '1h', approval: { required: 2 } }, 3)).toEqual({
      decision: {
        kind: 'Waiting',
        reason: 'AwaitingApproval',
        message: '0 of 2 have approved it; must be 1h old, which it is at 2026-01-02T12:30:00.000Z',
        at: NOW.toISOString(),
        lookAt: '2026-01-02T12:30:00.000Z',
        blockers: [
          { reason: 'AwaitingApproval', message: '0 of 2 have approved it' },
          { reason: 'TooYoung', message: 'must be 1h old, which it is at 2026-01-02T12:30:00.000Z', until: '2026-01-02T12:30:00.000Z' },
        ],
      },
      pending: 3,
      newest,
      observedGeneration: 2,
    });
  });

  it.each<[object, object]>([
    [{ minimumAge: '1h' }, { reason: 'NothingWaits', message: 'nothing waits' }],
    [{ hold: { reason: 'freeze' } }, { reason: 'Held', message: 'held until it is released: freeze; nothing waits' }],
    [{ hold: { until: '2026-01-02T13:00:00Z' } }, { reason: 'Held', lookAt: '2026-01-02T13:00:00.000Z' }],
    [{ paused: true }, { reason: 'Paused', message: 'paused; nothing waits' }],
  ])('of %j says what stands where nothing waits', (control, decision) => {
    expect(shown(control, 0)).toMatchObject({ decision: { kind: 'UpToDate', ...decision }, pending: 0 });
  });

  it('shows the last five decisions', () => {
    const decisions = Array.from({ length: 9 }, (_, n) => ({ kind: 'Moved', reason: 'Allowed', message: '', at: '', image: String(n) }));

    expect(controlStatus({}, { pending: 0, decisions }, NOW).decisions?.map(({ image }) => image)).toEqual(['0', '1', '2', '3', '4']);
  });

  it('is no other because it was decided again', () => {
    const later: TagControlStatus = { ...shown({ hold: {} }, 1), decision: { ...shown({ hold: {} }, 1).decision, at: 'later' } };

    expect(sameStatus(shown({ hold: {} }, 1), later)).toBe(true);
    expect(sameStatus(shown({ hold: {} }, 1), { ...later, pending: 2 })).toBe(false);
    expect(sameStatus(null, later)).toBe(false);
  });
});
