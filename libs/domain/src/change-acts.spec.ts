import { describe, expect, it } from 'vitest';
import { isHeard, VERDICTS_MAX, withVerdict } from './change-acts.ts';
import type { Verdict } from './change-control.ts';

const said = (user: string, verdict: Verdict['verdict'] = 'Approve'): Verdict => ({ user, verdict, at: '2026-01-01T00:00:00Z' });

describe('what somebody says about a change', () => {
  it('replaces what the same person said before', () => {
    const verdicts = withVerdict([said('ann', 'Reject'), said('bob')], said('ann'));

    expect(verdicts.map(({ user, verdict }) => [user, verdict])).toEqual([
      ['bob', 'Approve'],
      ['ann', 'Approve'],
    ]);
  });

  it('is heard until many have said something, and from those many also after that', () => {
    const many = Array.from({ length: VERDICTS_MAX }, (_, n) => said(`user-${n}`));

    expect(isHeard('ann')).toBe(true);
    expect(isHeard('ann', many.slice(1))).toBe(true);
    expect(isHeard('ann', many)).toBe(false);
    expect(isHeard('user-7', many)).toBe(true);
  });
});
