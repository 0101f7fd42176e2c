import { describe, expect, it } from 'vitest';
import { type DeliveryReplay, readReplay, REPLAY_MAX, REPLAYED_STATES } from './delivery-replay.ts';

const NOW = new Date('2026-11-20T09:00:00Z');
const read = (spec: DeliveryReplay['spec']) => readReplay({ spec }, NOW);
const wrong = (spec: DeliveryReplay['spec']) => {
  const outcome = read(spec);
  return 'errors' in outcome ? outcome.errors.map(({ field }) => field) : [];
};

describe('a replay', () => {
  it('of nothing said is of all that failed, as far as one replay goes', () => {
    expect(readReplay({}, NOW)).toEqual({ selection: { states: ['dead', 'gone', 'parked'], limit: REPLAY_MAX } });
  });

  it.each([
    ['by trigger and webhook', { trigger: 'web', webhook: 'hook' }, { trigger: 'web', webhook: 'hook' }],
    ['by states', { states: ['delivered', 'dead'] }, { states: ['delivered', 'dead'] }],
    ['by names, whatever their state', { names: ['a', 'b'] }, { names: ['a', 'b'], states: REPLAYED_STATES }],
    ['by labels, which may name the state', { labelSelector: 'state=dead' }, { labelSelector: 'state=dead', states: REPLAYED_STATES }],
    ['since a time', { since: '2026-11-19T09:00:00Z' }, { since: new Date('2026-11-19T09:00:00Z') }],
    [
      'since some time ago',
      { since: '36h', until: '1h' },
      { since: new Date('2026-11-18T21:00:00Z'), until: new Date('2026-11-20T08:00:00Z') },
    ],
    ['with a zone', { since: '2026-11-19T10:00:00.5+01:00' }, { since: new Date('2026-11-19T09:00:00.500Z') }],
    ['of some', { limit: 5 }, { limit: 5 }],
  ])('%s', (_title, spec, expected) => {
    expect(read(spec)).toMatchObject({ selection: expected });
  });

  it.each([
    ['a state that is none', { states: ['dead', 'pending'] }, ['spec.states[1]']],
    ['a time that is none', { since: 'yesterday', until: '2026-11-20' }, ['spec.since', 'spec.until']],
    ['a time before all times', { since: '99999d' }, ['spec.since']],
    ['an end before the beginning', { since: '1h', until: '2h' }, ['spec.until']],
    ['too many', { limit: REPLAY_MAX + 1 }, ['spec.limit']],
    ['none', { limit: 0 }, ['spec.limit']],
    ['too many names', { names: Array.from({ length: 1_001 }, (_, i) => `n${i}`) }, ['spec.names']],
  ])('with %s is refused', (_title, spec, fields) => {
    expect(wrong(spec)).toEqual(fields);
  });
});
