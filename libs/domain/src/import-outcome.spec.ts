import { describe, expect, it } from 'vitest';
import type { ImageManifest } from './image.ts';
import { ImageStream } from './image-stream.ts';
import { decideImport, heldBack, type Imported } from './import-outcome.ts';
import { CHECKED_ANNOTATION } from './import-plan.ts';

const NOW = '2026-01-02T03:04:05Z';
const BEFORE = '2026-01-01T00:00:00Z';
const CHECKED = { [CHECKED_ANNOTATION]: BEFORE };
const POLICY = { importMode: 'Legacy' };
const entry = (digest: string, architecture: string, os = 'linux'): ImageManifest => ({
  digest,
  architecture,
  os,
  mediaType: '',
  manifestSize: 1,
});
/** Two platforms; the same with attestations; with another arm64. */
const INDEXES: Record<string, ImageManifest[]> = {
  I: [entry('amd', 'amd64'), entry('arm', 'arm64')],
  J: [entry('amd', 'amd64'), entry('arm', 'arm64'), entry('att', 'unknown', 'unknown')],
  K: [entry('amd', 'amd64'), entry('arm2', 'arm64')],
};

const found = (image: string, given: Partial<Imported> = {}): Imported => ({
  tag: 't',
  from: 'e.io/a/b:1',
  generation: null,
  importPolicy: POLICY,
  referencePolicy: { type: 'Source' },
  makesTag: true,
  result: { kind: 'found', image, pullSpec: `e.io/a/b@${image}`, manifests: INDEXES[image] },
  ...given,
});
const failed = (message: string, given: Partial<Imported> = {}): Imported =>
  found('', { result: { kind: 'failed', reason: 'NotFound', message }, ...given });

/** A stream of generation 3 whose tag `t` was imported, and has an image. */
const aStream = (
  given: { tag?: object | null; image?: string; conditions?: object[]; annotations?: object; itemGeneration?: number } = {},
) => {
  const { tag = {}, image = 'A', conditions, annotations = CHECKED, itemGeneration = 3 } = given;
  const items = image ? [{ created: BEFORE, dockerImageReference: `e.io/a/b@${image}`, image, generation: itemGeneration }] : null;
  const spec = {
    name: 't',
    from: { kind: 'DockerImage', name: 'e.io/a/b:1' },
    generation: 3,
    importPolicy: POLICY,
    referencePolicy: { type: 'Source' },
  };
  return ImageStream.parse({
    metadata: { name: 's', namespace: 'n', generation: 3, annotations },
    spec: { tags: tag === null ? [] : [{ ...spec, ...tag }] },
    status: { tags: [{ tag: 't', items, conditions }] },
  });
};
const condition = (message: string) => ({ type: 'ImportSuccess', status: 'False', reason: 'NotFound', message, generation: 3 });
const decide = (stream: ImageStream | undefined, ...imported: Imported[]) =>
  decideImport(stream, imported, { now: NOW, manifestsOf: (image) => INDEXES[image] ?? [] });

describe('an image that was found', () => {
  it('makes the stream, its tag and the first item, all of the next generation', () => {
    const outcome = decide(undefined, found('A'));

    expect(outcome.spec.tags).toEqual([
      {
        name: 't',
        from: { kind: 'DockerImage', name: 'e.io/a/b:1' },
        generation: 0,
        importPolicy: POLICY,
        referencePolicy: { type: 'Source' },
      },
    ]);
    expect(outcome.events).toEqual([
      { tag: 't', event: { created: NOW, dockerImageReference: 'e.io/a/b@A', image: 'A', generation: 1 }, counterpart: false },
    ]);
    expect(outcome.annotations).toEqual({ [CHECKED_ANNOTATION]: NOW });
  });

  it('changes nothing where the tag has it already', () => {
    expect(decide(aStream(), found('A'))).toMatchObject({ events: [], conditions: [], annotations: undefined });
  });

  it('notes the time of the first import where nothing else changes', () => {
    expect(decide(aStream({ annotations: { note: 'x' } }), found('A')).annotations).toEqual({ note: 'x', [CHECKED_ANNOTATION]: NOW });
  });

  it('is put on the tag where that has another', () => {
    const outcome = decide(aStream(), found('B'));

    expect(outcome.events).toMatchObject([{ event: { image: 'B', generation: 4 } }]);
    expect(outcome.spec.tags).toMatchObject([{ generation: 0 }]);
  });

  it.each([
    ['that follows another tag', { from: { kind: 'ImageStreamTag', name: 'other' } }],
    ['that is pinned to an image of the stream', { from: { kind: 'ImageStreamImage', name: 's@sha256:0' } }],
    ['of another source', { from: { kind: 'DockerImage', name: 'e.io/c/d:2' } }],
  ])('takes the place of a source %s', (_title, tag) => {
    expect(decide(aStream({ tag }), found('B')).spec.tags).toMatchObject([{ from: { kind: 'DockerImage', name: 'e.io/a/b:1' } }]);
  });

  it('takes the generation of a spec that is newer, and adds no item', () => {
    expect(decide(aStream({ itemGeneration: 2 }), found('A')).events).toMatchObject([{ event: { image: 'A', generation: 4 } }]);
  });

  it('has the import policy that was asked for, and the reference policy that the tag has', () => {
    const asked = found('A', { importPolicy: { importMode: 'Legacy', insecure: true }, referencePolicy: { type: 'Source' } });
    const { spec, annotations, events } = decide(aStream({ tag: { referencePolicy: { type: 'Local' } } }), asked);

    expect(spec.tags).toMatchObject([{ importPolicy: { insecure: true }, referencePolicy: { type: 'Local' }, generation: 3 }]);
    expect(events).toEqual([]);
    expect(annotations).toEqual({ [CHECKED_ANNOTATION]: NOW });
  });

  it('takes a failure away that is noted', () => {
    expect(decide(aStream({ conditions: [condition('gone')] }), found('A')).conditions).toEqual([{ tag: 't', condition: null }]);
  });
});

describe('what a digest is', () => {
  it.each([
    ['the same index again', 'I', 'I', { moves: false, items: 0 }],
    ['an index that was built anew and got attestations', 'I', 'J', { moves: false, items: 1 }],
    ['an index without the attestations it had', 'J', 'I', { moves: false, items: 1 }],
    ['an index with another image for one platform', 'I', 'K', { moves: true, items: 1 }],
    ['the same platform image of an index that was built anew', 'amd', 'amd', { moves: false, items: 0 }],
    ['a pinned platform image, which an index has too', 'amd', 'amd', { moves: false, items: 0 }],
    ['another platform image', 'arm', 'arm2', { moves: true, items: 1 }],
    ['the platform image, where the index was kept before', 'I', 'amd', { moves: true, items: 1 }],
    ['the index, where a platform image was taken before', 'amd', 'I', { moves: true, items: 1 }],
  ])('%s', (_title, before, after, expected) => {
    const { events } = decide(aStream({ image: before }), found(after));

    expect({ moves: events.some(({ counterpart }) => !counterpart), items: events.length }).toEqual(expected);
  });

  it('the same images in another repository are another source', () => {
    const elsewhere = found('J', { result: { kind: 'found', image: 'J', pullSpec: 'e.io/x/y@J', manifests: INDEXES['J'] } });

    expect(decide(aStream({ image: 'I' }), elsewhere).events).toMatchObject([{ counterpart: false }]);
  });
});

describe('an image that was not found', () => {
  it('makes the tag, with the failure as its condition', () => {
    const outcome = decide(undefined, failed('gone'));

    expect(outcome.conditions).toEqual([
      {
        tag: 't',
        condition: { type: 'ImportSuccess', status: 'False', lastTransitionTime: NOW, reason: 'NotFound', message: 'gone', generation: 1 },
      },
    ]);
    expect(outcome.spec.tags).toMatchObject([{ name: 't', from: { name: 'e.io/a/b:1' }, generation: 0 }]);
  });

  it('leaves history and source of a tag that is there', () => {
    const outcome = decide(aStream(), failed('gone', { from: 'e.io/other/b:2' }));

    expect(outcome.events).toEqual([]);
    expect(outcome.spec.tags).toMatchObject([{ from: { name: 'e.io/a/b:1' }, generation: 0 }]);
  });

  it('changes nothing when the same failure is known', () => {
    expect(decide(aStream({ conditions: [condition('gone')] }), failed('gone'))).toMatchObject({ conditions: [], annotations: undefined });
  });

  it('is noted when it failed in another way before', () => {
    expect(decide(aStream({ conditions: [condition('gone')] }), failed('away')).conditions).toMatchObject([
      { condition: { message: 'away' } },
    ]);
  });

  it('of a repository makes no tag', () => {
    expect(decide(aStream({ tag: null, image: '' }), failed('gone', { makesTag: false })).spec.tags).toEqual([]);
  });

  it('without words gets some', () => {
    expect(decide(undefined, failed('')).conditions).toMatchObject([{ condition: { message: 'unknown error prevented import' } }]);
  });
});

describe('a failure is news', () => {
  const known = (given: object = {}) => aStream({ conditions: [{ ...condition('gone'), ...given }] });
  const otherReason = failed('no', { result: { kind: 'failed', reason: 'Unauthorized', message: 'no' } });

  it.each([
    ['the first of a tag', aStream(), failed('gone'), true],
    ['the first of a tag that it makes', undefined, failed('gone'), true],
    ['the same again', known(), failed('gone'), false],
    ['the same in other words', known(), failed('gone, ask again in 13 s'), false],
    ['for another reason', known(), otherReason, true],
    ['for the same reason, of a spec that has changed since', known({ generation: 2 }), failed('gone too'), true],
    ['after one that is over', known({ status: 'True' }), failed('gone'), true],
  ])('%s: %s', (_what, stream, imported, news) => {
    expect(decide(stream, imported).failures).toHaveLength(news ? 1 : 0);
  });

  it('with what failed before and what the tag goes on pointing at', () => {
    expect(decide(known(), otherReason).failures).toEqual([
      {
        tag: 't',
        from: 'e.io/a/b:1',
        image: 'A',
        condition: expect.objectContaining({ reason: 'Unauthorized' }) as object,
        previous: expect.objectContaining({ message: 'gone' }) as object,
      },
    ]);
  });
});

describe('an import in the background', () => {
  it.each([
    ['a tag that is no longer in the spec', { tag: null }, 'tag-gone'],
    ['a tag that has another source by now', { tag: { from: { kind: 'DockerImage', name: 'e.io/c/d:2' } } }, 'source-changed'],
    ['a tag that follows another by now', { tag: { from: { kind: 'ImageStreamTag', name: 'e.io/a/b:1' } } }, 'source-changed'],
    ['a tag that is only a reference by now', { tag: { reference: true } }, 'source-changed'],
    ['a tag whose spec is newer', { tag: { generation: 4 } }, 'newer-spec'],
    ['a tag that is imported in another way by now', { tag: { importPolicy: { importMode: 'PreserveOriginal' } } }, 'source-changed'],
  ])('leaves %s alone', (_title, given, reason) => {
    const outcome = decide(aStream(given), found('B', { generation: 3 }));

    expect(outcome).toMatchObject({ events: [], ignored: [{ tag: 't', reason }], annotations: undefined });
  });

  it('takes effect where only the failure of an earlier attempt has raised the generation', () => {
    const stream = aStream({ tag: { generation: 3 }, image: '', conditions: [condition('gone')] });

    expect(decide(stream, found('B', { generation: 2 }))).toMatchObject({ ignored: [], events: [{ event: { image: 'B' } }] });
  });

  it('takes effect where the spec is what it was done for, under the policy that the tag has by now', () => {
    const outcome = decide(aStream({ tag: { importPolicy: { importMode: 'Legacy', scheduled: true } } }), found('B', { generation: 3 }));

    expect(outcome.events).toMatchObject([{ event: { image: 'B' } }]);
    expect(outcome.spec.tags).toMatchObject([{ importPolicy: { scheduled: true } }]);
  });

  it('of several tags gives all of them one generation', () => {
    const outcome = decide(undefined, found('A', { tag: 'a' }), found('B', { tag: 'b' }), failed('gone', { tag: 'c' }));

    expect(outcome.events.map(({ event }) => event.generation)).toEqual([1, 1]);
    expect(outcome.conditions).toMatchObject([{ condition: { generation: 1 } }]);
  });
});

describe('an image that waits because the tag holds it back', () => {
  const waits = (image: string, given: Partial<Imported> = {}) => found(image, { waits: true, ...given });
  /** The tag of {@link aStream}, and what waits for it. */
  const waiting = (image: string, generation: number, given: Parameters<typeof aStream>[0] = {}): ImageStream => {
    const stream = aStream(given);
    const newest = { image, dockerImageReference: `e.io/a/b@${image}`, generation, since: BEFORE };
    const control = { decision: { kind: 'Waiting', reason: 'Held', message: 'frozen', at: BEFORE }, pending: 1, newest };
    return { ...stream, status: { ...stream.status, tags: stream.status.tags?.map((list) => ({ ...list, control })) } };
  };

  it.each<[string, ImageStream, Imported, { event?: number; spec?: number }]>([
    ['leaves the spec as it is', aStream(), waits('B'), { event: 3, spec: 3 }],
    ['by a spec that is newer than the image has been looked for', aStream({ tag: { generation: 4 } }), waits('B'), { event: 4, spec: 4 }],
    [
      'from another source makes that the source of the next generation',
      aStream(),
      waits('B', { from: 'e.io/a/b:2' }),
      { event: 4, spec: 0 },
    ],
    ['for a tag without a generation gives it one', aStream({ tag: { generation: null } }), waits('B'), { event: 4, spec: 0 }],
    ['and waits already changes nothing', waiting('B', 3), waits('B'), { spec: 3 }],
    [
      'and waits already is the one that a newer spec asked for',
      waiting('B', 3, { tag: { generation: 5 } }),
      waits('B'),
      { event: 5, spec: 5 },
    ],
    ['after another one comes behind it', waiting('B', 3), waits('C'), { event: 3, spec: 3 }],
    ['is called off by what the tag has', waiting('B', 3), found('A'), { event: 4, spec: 0 }],
  ])('%s', (_, stream, imported, { event, spec }) => {
    const outcome = decide(stream, imported);

    expect(outcome.events.map((one) => one.event.generation)).toEqual(event === undefined ? [] : [event]);
    expect(outcome.spec.tags).toMatchObject([{ name: 't', generation: spec }]);
  });

  it('is told to who asked, with why the tag stays; so is one that is denied', () => {
    const denied = aStream({ conditions: [{ ...condition('D is denied: CVE'), reason: 'Denied' }] });

    expect(heldBack(waiting('B', 3), [{ tag: 't', image: 'B' }])).toEqual(['B is stored, and s:t stays where it is for now: frozen']);
    expect(heldBack(denied, [{ tag: 't', image: 'D' }])).toEqual(['s:t does not take D: D is denied: CVE']);
    expect(heldBack(waiting('B', 3), [{ tag: 't', image: 'A' }])).toEqual([]);
  });

  it('ends the failure of an import: it was found', () => {
    expect(decide(aStream({ conditions: [condition('gone')] }), waits('B')).conditions).toEqual([{ tag: 't', condition: null }]);
  });
});
