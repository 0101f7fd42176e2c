import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { prioritizeTags } from './tag-priority.ts';

describe('order of tags', () => {
  it.each([
    [
      'latest, then minor versions, then full ones, then the rest',
      ['v1.0', '1.1', 'latest', 'abc', '1.1.1', 'v1.1'],
      ['latest', '1.1', 'v1.1', 'v1.0', '1.1.1', 'abc'],
    ],
    [
      'each kind newest first',
      ['other', 'latest', 'v5.5', '5.2.3', '5.5', 'v5.3.6-bother', '5.3.6-abba', '5.6'],
      ['latest', '5.6', '5.5', 'v5.5', 'v5.3.6-bother', '5.3.6-abba', '5.2.3', 'other'],
    ],
    [
      'prereleases of a minor version by name, newest first',
      ['1.1-beta1', '1.2-rc1', '1.1-rc1', '1.1-beta2', '1.2-beta1', '1.2-alpha1', '1.2-beta4', 'latest'],
      ['latest', '1.2-rc1', '1.2-beta4', '1.2-beta1', '1.2-alpha1', '1.1-rc1', '1.1-beta2', '1.1-beta1'],
    ],
    ['a version before its prereleases', ['1.1-rc1', '1.1', '2.0.0-rc.1', '2.0.0'], ['1.1', '1.1-rc1', '2.0.0', '2.0.0-rc.1']],
    ['without "v" before with it', ['7.1.0', 'v7.1', '7.1'], ['7.1', 'v7.1', '7.1.0']],
    ['numbers by value', ['1.10.0', '10.0', '1.9.0', '9.9'], ['10.0', '9.9', '1.10.0', '1.9.0']],
    ['leading zeros make no version', ['2024.01', '01.2', '1.02.3'], ['01.2', '1.02.3', '2024.01']],
    ['leading zeros in a numeric prerelease make no version', ['1.1-07', '1.1-7', '1.1-0'], ['1.1-7', '1.1-0', '1.1-07']],
    [
      'numeric parts of a prerelease by value and below names',
      ['1.0.0-a.2', '1.0.0-a.10', '1.0.0-a.b', '1.0.0-a'],
      ['1.0.0-a.b', '1.0.0-a.10', '1.0.0-a.2', '1.0.0-a'],
    ],
    ['an underscore or a dot after a minor version makes no version', ['1.1-a_b', '1.1-rc.1', '1.0'], ['1.0', '1.1-a_b', '1.1-rc.1']],
    ['four parts make no version', ['1.2.3.4', '1.2.3'], ['1.2.3', '1.2.3.4']],
    ['build metadata does not count', ['1.0.0+a', '1.0.0+b', '1.0.1+a'], ['1.0.1+a', '1.0.0+a', '1.0.0+b']],
    [
      'the largest number of 64 bits is one',
      ['1.18446744073709551615', '1.1', '1.18446744073709551616'],
      ['1.18446744073709551615', '1.1', '1.18446744073709551616'],
    ],
    ['the rest by name, upper case first', ['b', 'a', 'Z', 'v', '1', 'v1', ''], ['', '1', 'Z', 'a', 'b', 'v', 'v1']],
  ])('%s', (_title, tags, expected) => {
    expect(prioritizeTags(tags)).toEqual(expected);
    expect(prioritizeTags([...tags].reverse()).slice(0, 1)).toEqual(expected.slice(0, 1));
  });

  it('the given list stays as it is', () => {
    const tags = ['b', 'a'];
    prioritizeTags(tags);
    expect(tags).toEqual(['b', 'a']);
  });

  it('does not depend on the order in which distinct tags are given', () => {
    const tag = fc.oneof(
      fc.stringMatching(/^v?[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,2})?(-[a-z0-9]{1,3})?$/),
      fc.stringMatching(/^\w[\w.-]{0,5}$/),
      fc.constant('latest'),
    );
    fc.assert(
      fc.property(fc.uniqueArray(tag), fc.infiniteStream(fc.nat()), (tags, keys) => {
        const shuffled = tags.map((name) => ({ name, key: keys.next().value as number })).sort((a, b) => a.key - b.key);

        expect(prioritizeTags(shuffled.map(({ name }) => name))).toEqual(prioritizeTags(tags));
      }),
    );
  });
});
