import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ImageStream, TagReference } from './image-stream.ts';
import { copiedEvent, copiedFrom, FOLLOW_DEPTH_MAX, followers, pickImage, reviewsNeeded, sourceOf } from './tag-source.ts';

const SHA = `sha256:${'a'.repeat(64)}`;
const stream = (...tags: TagReference[]): ImageStream => ({
  metadata: { name: 's', namespace: 'n' },
  spec: { lookupPolicy: { local: false }, tags },
  status: { dockerImageRepository: '' },
});
const alias = (name: string, target: string, namespace?: string): TagReference => ({
  name,
  from: { kind: 'ImageStreamTag', name: target, namespace },
});
const MALFORMED = { kind: 'malformed', reason: 'must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>' };

describe('the source of a tag', () => {
  it.each([
    [{ name: 'a' }, { kind: 'none' }],
    [{ name: 'a', from: { kind: 'DockerImage', name: 'x/y:1' } }, { kind: 'none' }],
    [
      { name: 'a', from: { kind: 'DockerImage', name: 'x/y:1' }, reference: true },
      { kind: 'external', pullSpec: 'x/y:1' },
    ],
    [{ name: 'a', from: { kind: 'DockerImage' } }, MALFORMED],
    [{ name: 'a', from: { kind: 'DockerImage', name: 'x', namespace: 'n' } }, { kind: 'none' }],
    [{ name: 'a', from: { kind: 'DockerImage', name: 'x', namespace: 'm' } }, MALFORMED],
    [{ name: 'a', from: { kind: 'Weird', name: 'x' } }, MALFORMED],
    [alias('a', 'b'), { kind: 'tag', namespace: 'n', stream: 's', tag: 'b' }],
    [alias('a', 'o:b'), { kind: 'tag', namespace: 'n', stream: 'o', tag: 'b' }],
    [alias('a', 'o:b', 'm'), { kind: 'tag', namespace: 'm', stream: 'o', tag: 'b' }],
    [alias('a', 'o:'), { kind: 'tag', namespace: 'n', stream: 'o', tag: 'latest' }],
    [alias('a', 'a:b:c'), MALFORMED],
    [
      { name: 'a', from: { kind: 'ImageStreamImage', name: SHA } },
      { kind: 'image', namespace: 'n', stream: 's', id: SHA },
    ],
    [
      { name: 'a', from: { kind: 'ImageStreamImage', name: `o@${SHA}` } },
      { kind: 'image', namespace: 'n', stream: 'o', id: SHA },
    ],
    [{ name: 'a', from: { kind: 'ImageStreamImage', name: 'a@b@c' } }, MALFORMED],
  ] as [TagReference, unknown][])('%j', (tag, source) => {
    expect(sourceOf(stream(), tag)).toEqual(source);
  });
});

describe('the tag from which another of its stream is copied', () => {
  const top = { created: '2026-01-01T00:00:00Z', dockerImageReference: 'x/y@1', image: SHA, generation: 3 };
  const copied = (list: object, ...tags: TagReference[]) =>
    copiedFrom({ ...stream(...tags), status: { dockerImageRepository: '', tags: [{ tag: 'a', items: [top], ...list }] } }, 'a', 5);
  const imported = (generation: number): TagReference => ({ name: 'a', generation, from: { kind: 'DockerImage', name: 'x/y' } });

  it('takes the generation of the copy', () => {
    expect(copied({})).toEqual({ ...top, generation: 5 });
    expect(copied({}, imported(3))).toEqual({ ...top, generation: 5 });
  });

  it('stays as it is where it is empty, has that generation, waits for an import or has failed to import', () => {
    expect(copied({ items: null })).toBeUndefined();
    expect(copied({ items: [{ ...top, generation: 5 }] })).toBeUndefined();
    expect(copied({}, imported(4))).toBeUndefined();
    expect(copied({ conditions: [{ type: 'ImportSuccess', status: 'False', generation: 4 }] }, imported(4))).toBeUndefined();
  });
});

describe('access to sources', () => {
  it('is reviewed once for each stream of another namespace, for the tags that changed', () => {
    const aStream = stream(
      alias('a', 'src:1', 'm'),
      { name: 'b', from: { kind: 'ImageStreamImage', name: 'src@aaaa', namespace: 'm' } },
      alias('c', 'other:1', 'm'),
      alias('d', 'src:1'),
      alias('e', 'src:1', 'n'),
      alias('f', 'a:b:c', 'm'),
      alias('unchanged', 'secret:1', 'm'),
      { name: 'g', from: { kind: 'DockerImage', name: 'x', namespace: 'm' } },
    );

    expect(reviewsNeeded(aStream, ['a', 'b', 'c', 'd', 'e', 'f', 'g'])).toEqual([
      { namespace: 'm', stream: 'src', tags: ['a', 'b'] },
      { namespace: 'm', stream: 'other', tags: ['c'] },
    ]);
  });
});

describe('an image by the beginning of its id', () => {
  const event = (image: string, dockerImageReference = 'e.io/a/b') => ({ created: '', dockerImageReference, image, generation: 1 });

  it('is the first item where all are of one image', () => {
    expect(pickImage('aa', [event('aa1', 'x'), event('aa1', 'y')])).toEqual({ kind: 'found', event: event('aa1', 'x') });
  });

  it('is unknown, or ambiguous, in the reference’s words', () => {
    expect(pickImage(SHA, [])).toEqual({ kind: 'unknown', message: `imagestreamimage.image.openshift.io "${SHA}" not found` });
    expect(pickImage('aaaa', [event('aaaa2'), event('aaaa1'), event('aaaa2')])).toEqual({
      kind: 'ambiguous',
      message:
        'Operation cannot be fulfilled on imagestreamimage.image.openshift.io "aaaa": multiple images match the prefix "aaaa": aaaa1, aaaa2',
    });
  });
});

describe('a copied item', () => {
  const item = { created: '2026-01-01T00:00:00Z', dockerImageReference: `int:5000/n/src@${SHA}`, image: SHA, generation: 9 };
  const by = { generation: 2, internalRegistry: 'int:5000', from: { namespace: 'n', name: 'src' }, to: { namespace: 'm', name: 'dst' } };

  it.each([
    { title: 'in the internal registry is pulled from the new stream', item, by, pullSpec: `int:5000/m/dst@${SHA}` },
    { title: 'by reference is pulled from the old one', item, by: { ...by, reference: true }, pullSpec: item.dockerImageReference },
    { title: 'without an internal registry stays', item, by: { ...by, internalRegistry: undefined }, pullSpec: item.dockerImageReference },
    { title: 'of another registry stays', item, by: { ...by, internalRegistry: 'other:5000' }, pullSpec: item.dockerImageReference },
    { title: 'of a third stream stays', item, by: { ...by, from: { namespace: 'n', name: 'third' } }, pullSpec: item.dockerImageReference },
    { title: 'that cannot be read stays', item: { ...item, dockerImageReference: 'NO' }, by, pullSpec: 'NO' },
  ])('$title', ({ item: copied, by: rule, pullSpec }) => {
    expect(copiedEvent(copied, rule)).toEqual({ ...item, dockerImageReference: pullSpec, generation: 2 });
  });

  it('of an image is as old as the copying, of a tag as its source', () => {
    expect(copiedEvent(item, by).created).toBe('2026-01-01T00:00:00Z');
    expect(copiedEvent(item, { ...by, created: '2026-02-02T00:00:00Z' }).created).toBe('2026-02-02T00:00:00Z');
  });
});

describe('followers of a tag', () => {
  const chain = stream(
    alias('b', 'a'),
    alias('c', 's:b'),
    alias('d', 's:c', 'n'),
    alias('b2', 'a'),
    alias('x', 'o:a'),
    alias('y', 'a', 'm'),
    {
      name: 'z',
      from: { kind: 'DockerImage', name: 'a' },
    },
  );

  it('are the tags of the same stream that name it, then those that name them', () => {
    expect(followers(chain, 'a')).toEqual(['b', 'b2', 'c', 'd']);
    expect(followers(chain, 'c')).toEqual(['d']);
    expect(followers(chain, 'd')).toEqual([]);
    expect(followers(stream(), 'a')).toEqual([]);
  });

  it('can be had down to a level', () => {
    expect(followers(chain, 'a', 1)).toEqual(['b', 'b2']);
    expect(followers(chain, 'a', 2)).toEqual(['b', 'b2', 'c']);
  });

  it('of a tag in a circle do not include itself', () => {
    expect(followers(stream(alias('a', 'a')), 'a')).toEqual([]);
    expect(followers(stream(alias('a', 'b'), alias('b', 's:a')), 'a')).toEqual(['b']);
  });

  it('of latest may name it by an empty tag', () => {
    expect(followers(stream(alias('a', 's:')), 'latest')).toEqual(['a']);
  });

  it(`end after ${FOLLOW_DEPTH_MAX} levels`, () => {
    const long = stream(...Array.from({ length: 40 }, (_, i) => alias(`t${i + 1}`, `t${i}`)));

    expect(followers(long, 't0')).toEqual(Array.from({ length: FOLLOW_DEPTH_MAX }, (_, i) => `t${i + 1}`));
  });

  it('are each found once, however aliases point at each other', () => {
    const names = fc.constantFrom('a', 'b', 'c', 'd', 'e');
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(names, names), { selector: ([name]) => name }), (pairs) => {
        const found = followers(stream(...pairs.map(([name, target]) => alias(name, target))), 'a');
        const target = new Map<string, string>(pairs);

        expect(new Set(found).size).toBe(found.length);
        expect(found).not.toContain('a');
        for (const [i, name] of found.entries()) expect(['a', ...found.slice(0, i)]).toContain(target.get(name));
        for (const [name, of] of target) if (name !== 'a' && [...found, 'a'].includes(of)) expect(found).toContain(name);
      }),
    );
  });
});
