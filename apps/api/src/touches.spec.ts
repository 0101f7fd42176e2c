import { describe, expect, it } from 'vitest';
import type { Touched } from '@millrace/contracts/requests';
import { Images, ImageStreamImages, ImageStreams, ImageStreamTags, ImageTags, type Resource } from '@millrace/contracts/resources';
import { type Addressed, marksOf, struckBy, Touches } from './touches.ts';

const NS = 'demo';
const D = 'sha256:1';
const stream = (name: string, type: 'ADDED' | 'MODIFIED' | 'DELETED' = 'MODIFIED', namespace = NS) => ({
  ...{ resource: 'imagestreams', namespace, name, type },
});
const image = (name: string, type: 'ADDED' | 'MODIFIED' | 'DELETED') => ({ resource: 'images', namespace: '', name, type });
const get = (name: string) => ({ verb: 'get', namespace: NS, name });
const list = { verb: 'list', namespace: NS };
const everywhere = { verb: 'list' };

describe('what is kept', () => {
  it.each<[string, Resource, Addressed, ReturnType<typeof stream>, boolean]>([
    ['a stream', ImageStreams, get('web'), stream('web'), false],
    ['a stream', ImageStreams, get('web'), stream('web2'), true],
    ['a stream', ImageStreams, get('web'), stream('web', 'MODIFIED', 'other'), true],
    ['a stream', ImageStreams, get('web'), image(D, 'MODIFIED'), true],
    ['the streams of a namespace', ImageStreams, list, stream('web', 'ADDED'), false],
    ['the streams of a namespace', ImageStreams, list, stream('web', 'ADDED', 'other'), true],
    ['all streams', ImageStreams, everywhere, stream('web', 'DELETED', 'other'), false],
    ['all streams', ImageStreams, everywhere, image(D, 'ADDED'), true],
    ['a tag', ImageStreamTags, get('web:1.0'), stream('web'), false],
    ['a tag', ImageStreamTags, get('web:1.0'), stream('web:1.0'), true],
    ['a tag', ImageStreamTags, get('web:1.0'), image(D, 'ADDED'), true],
    ['a tag', ImageStreamTags, get('web:1.0'), image(D, 'MODIFIED'), false],
    ['a tag', ImageStreamTags, get('web:1.0'), image(D, 'DELETED'), false],
    ['the tags of a namespace', ImageStreamTags, list, stream('web'), false],
    ['the tags of a namespace', ImageStreamTags, list, image(D, 'DELETED'), true],
    ['an imagetag, which is there before its image is', ImageTags, get('web:1.0'), image(D, 'ADDED'), false],
    ['an image of a stream', ImageStreamImages, get(`web@${D}`), stream('web'), false],
    ['an image of a stream', ImageStreamImages, get(`web@${D}`), image(D, 'DELETED'), false],
    ['an image', Images, { verb: 'get', name: D }, image(D, 'MODIFIED'), false],
    ['an image', Images, { verb: 'get', name: D }, image('sha256:2', 'MODIFIED'), true],
    ['all images', Images, everywhere, image(D, 'ADDED'), false],
  ])('%s: %s %j, when %j is touched, holds: %s', (_title, resource, addressed, touched, holds) => {
    const struck = new Set(struckBy(touched));
    const marks = resource.madeOf && marksOf(resource.madeOf, addressed);

    expect(marks?.some((mark) => struck.has(mark))).toBe(!holds);
  });

  it('is no tag whose name does not say its stream', () => {
    expect(marksOf({ of: 'imagestreams', separator: ':' }, get('web'))).toBeUndefined();
    expect(marksOf({ of: 'imagestreams', separator: ':' }, get(':1.0'))).toBeUndefined();
  });
});

describe('questions about what was touched', () => {
  function anOwner() {
    const waiting: ((answer: Touched) => void)[] = [];
    const asked: (string | undefined)[] = [];
    const told: unknown[] = [];
    const touches = new Touches(
      (since) => {
        asked.push(since);
        return new Promise((resolve) => waiting.push(resolve));
      },
      (objects) => told.push(objects),
    );
    return { asked, told, touches, answer: (answer: Touched) => waiting.shift()?.(answer) };
  }
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  it('are shared by those who come while one is under way, and begin after the last of them came', async () => {
    const { asked, touches, answer } = anOwner();
    const first = touches.now();
    await turn();
    const later = [touches.now(), touches.now(), touches.now()];
    expect(asked).toHaveLength(1);

    answer({ position: '5' });
    await first;
    await turn();
    expect(asked).toEqual([undefined, '5']);
    answer({ position: '7', objects: [] });

    await Promise.all(later);
    expect(touches.position).toBe(7n);
  });

  it('are told before anybody goes on; where the owner cannot say, anything may have been touched', async () => {
    const { told, touches, answer } = anOwner();
    const first = touches.now();
    await turn();
    answer({ position: '5' });
    await first;
    const second = touches.now();
    await turn();
    answer({ position: '6', objects: [stream('web')] });
    await second;

    expect(told).toEqual([undefined, [stream('web')]]);
  });

  it('are not needed for a version that is known, nor for any version a moment later', async () => {
    const { touches, answer } = anOwner();
    const first = touches.now();
    await turn();
    answer({ position: '5' });
    await first;

    expect(touches.atLeast('5')).toBeUndefined();
    expect(touches.atLeast('0')).toBeUndefined();
    expect(touches.atLeast('6')).toBeInstanceOf(Promise);
  });

  it('are told as anything when the owner has been put back to an earlier state', async () => {
    const { told, touches, answer } = anOwner();
    for (const position of ['5', '3']) {
      const known = touches.now();
      await turn();
      answer({ position, objects: [] });
      await known;
    }

    expect(told).toEqual([undefined]);
    expect(touches.position).toBe(3n);
  });

  it('that fail are asked again by the next one', async () => {
    let fails = true;
    const touches = new Touches(
      () => (fails ? Promise.reject(new Error('away')) : Promise.resolve({ position: '1' })),
      () => undefined,
    );
    await expect(touches.now()).rejects.toThrow('away');
    fails = false;

    await expect(touches.now()).resolves.toBeUndefined();
  });
});
