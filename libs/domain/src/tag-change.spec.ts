import { describe, expect, it } from 'vitest';
import type { TagEvent } from './image-stream.ts';
import { rollbackReason, stepBack, TagApproval, TagRollback, validateTagApproval, validateTagRollback } from './tag-change.ts';

const item = (of: string): TagEvent => ({
  created: '2026-01-01T00:00:00Z',
  dockerImageReference: `e.io/a@${of}`,
  image: of,
  generation: 1,
});
const external = (pullSpec: string): TagEvent => ({ ...item(''), dockerImageReference: pullSpec });

describe('one step back', () => {
  it.each<[string, string[], boolean, string | undefined]>([
    ['is the item below the newest', ['b', 'a'], false, 'a'],
    ['passes over the same image by another pull spec', ['b', 'b', 'a'], false, 'a'],
    ['from an image that a push brought again is the one before that push', ['a', 'b', 'a', 'z'], false, 'b'],
    ['from an image that a person put back is from where that was before', ['a', 'b', 'a', 'z'], true, 'z'],
    ['from an image that a person put there for the first time is the item below', ['c', 'b', 'a'], true, 'b'],
    ['is none where there is no other image', ['a', 'a'], false, undefined],
    ['is none of the first image, which was put back', ['a', 'b', 'a'], true, undefined],
    ['is none of an empty history', [], false, undefined],
  ])('%s', (_, images, putBack, expected) => {
    expect(stepBack(images.map(item), { putBack })?.image).toBe(expected);
  });

  it('tells outside pull specs apart by their text', () => {
    expect(stepBack([external('e.io/a:2'), external('e.io/a:2'), external('e.io/a:1')], { putBack: false })?.dockerImageReference).toBe(
      'e.io/a:1',
    );
  });

  it('is told with who took it, from what to what, and why', () => {
    expect(rollbackReason('ann', { from: item('b'), to: item('a') }, 'errors')).toBe('rolled back by ann from b to a: errors');
    expect(rollbackReason('ann', { to: external('e.io/a:1') })).toBe('rolled back by ann from nothing to e.io/a:1');
    expect(rollbackReason('ann', { to: item('a') }, 'x'.repeat(2_000))).toHaveLength(1_000);
  });
});

describe('what is asked of a tag', () => {
  it.each<[object, string[]]>([
    [{ image: 'sha256:1' }, []],
    [{ image: 'sha256:1', verdict: 'Reject', comment: 'no' }, []],
    [{}, ['image: Required value: the digest of the change that is meant']],
    [{ image: 'sha256:1', verdict: 'No' }, ['verdict: Invalid value: "No": must be Approve or Reject']],
    [{ image: 'sha256:1', comment: 'a\0' }, ['comment: Invalid value: "a\\u0000": must be up to 1000 characters, without NUL']],
  ])('by the approval %j has these problems: %j', (approval, problems) => {
    expect(validateTagApproval(TagApproval.parse(approval)).map(({ field, text }) => `${field}: ${text}`)).toEqual(problems);
  });

  it.each<[object, string[]]>([
    [{}, []],
    [{ image: 'sha256:1' }, []],
    [{ image: 'sha256:1', generation: 3 }, ['generation']],
    [{ reason: 'x'.repeat(1_001) }, ['reason']],
  ])('by the rollback %j has problems with %j', (rollback, fields) => {
    expect(validateTagRollback(TagRollback.parse(rollback)).map(({ field }) => field)).toEqual(fields);
  });
});
