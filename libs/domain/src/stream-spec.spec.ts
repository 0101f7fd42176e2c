import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ImageStream, type ImageStreamSpec, type TagReference } from './image-stream.ts';
import {
  defaultSpec,
  defaultStream,
  defaultTag,
  isImportable,
  needsImport,
  nextSpec,
  nextStatus,
  observedGeneration,
} from './stream-spec.ts';

const image = (name: string) => ({ kind: 'DockerImage', name });
const spec = (...tags: TagReference[]): ImageStreamSpec => ({ lookupPolicy: { local: false }, tags });
const item = (generation: number, name = 'A') => ({
  created: '2026-01-01T00:00:00Z',
  dockerImageReference: `q/w@${name}`,
  image: name,
  generation,
});

describe('defaults', () => {
  it('tags are sorted by name, the last of one name counts, and each has its defaults', () => {
    const stream = ImageStream.parse({
      metadata: { name: 's' },
      spec: {
        tags: [
          { name: 'zeta', from: image('x/y:1') },
          { name: 'alpha', from: image('x/y:2') },
          { name: 'zeta', from: image('x/y:3') },
        ],
      },
    });

    expect(JSON.parse(JSON.stringify(defaultStream(stream)))).toEqual({
      metadata: { name: 's' },
      spec: {
        lookupPolicy: { local: false },
        tags: [
          {
            name: 'alpha',
            annotations: null,
            from: image('x/y:2'),
            generation: null,
            importPolicy: { importMode: 'Legacy' },
            referencePolicy: { type: 'Source' },
          },
          {
            name: 'zeta',
            annotations: null,
            from: image('x/y:3'),
            generation: null,
            importPolicy: { importMode: 'Legacy' },
            referencePolicy: { type: 'Source' },
          },
        ],
      },
      status: { dockerImageRepository: '' },
    });
  });

  it.each([
    [{ annotations: {} }, { annotations: null }],
    [{ annotations: { a: '' } }, { annotations: { a: '' } }],
    [{ reference: false }, {}],
    [{ reference: true }, { reference: true }],
    [{ generation: 0 }, { generation: 0 }],
    [{ importPolicy: { insecure: false, scheduled: false, importMode: '' } }, {}],
    [{ importPolicy: { insecure: true, scheduled: true } }, { importPolicy: { insecure: true, scheduled: true, importMode: 'Legacy' } }],
    [{ importPolicy: { importMode: 'Weird' } }, { importPolicy: { importMode: 'Weird' } }],
    [{ referencePolicy: { type: 'Local' } }, { referencePolicy: { type: 'Local' } }],
    [{ from: { kind: 'ImageStreamTag', name: 'b', namespace: '' } }, { from: { kind: 'ImageStreamTag', name: 'b' } }],
    [{ from: {} }, { from: {} }],
  ])('a tag with %j is stored with %j', (given, stored) => {
    const plain = {
      name: 'a',
      annotations: null,
      generation: null,
      importPolicy: { importMode: 'Legacy' },
      referencePolicy: { type: 'Source' },
    };

    expect(defaultTag({ name: 'a', ...given })).toStrictEqual({ ...plain, ...stored });
  });

  it('the import mode of a tag that names none can be set for the whole installation', () => {
    expect(defaultTag({ name: 'a' }, { importMode: 'PreserveOriginal' }).importPolicy).toEqual({ importMode: 'PreserveOriginal' });
    expect(defaultTag({ name: 'a', importPolicy: { importMode: 'Legacy' } }, { importMode: 'PreserveOriginal' }).importPolicy).toEqual({
      importMode: 'Legacy',
    });
  });

  it('what is empty is left out of a spec, and a status is sorted too', () => {
    const stream: ImageStream = {
      metadata: { name: 's' },
      spec: { lookupPolicy: { local: true }, dockerImageRepository: '', tags: [] },
      status: {
        dockerImageRepository: 'r',
        tags: [
          { tag: 'b', items: [] },
          { tag: 'a', items: null },
        ],
      },
    };

    expect(defaultStream(stream)).toStrictEqual({
      metadata: { name: 's' },
      spec: { lookupPolicy: { local: true } },
      status: {
        dockerImageRepository: 'r',
        tags: [
          { tag: 'a', items: null },
          { tag: 'b', items: [] },
        ],
      },
    });
  });
});

describe('generations of a created stream', () => {
  it('stream and tags begin at 1, whatever the client sent', () => {
    const next = nextSpec(undefined, spec({ name: 'a', from: image('x/y:1'), generation: 7 }, { name: 'b', generation: 0 }), {
      namespace: 'ns',
    });

    expect(next).toMatchObject({ generation: 1, changed: true, changedTags: ['a', 'b'], stampedTags: ['a', 'b'] });
    expect(next.spec.tags?.map((tag) => tag.generation)).toEqual([1, 1]);
  });
});

describe('generations of an updated stream', () => {
  const stored = (tag: Partial<TagReference> = {}) => ({
    generation: 3,
    spec: defaultSpec(spec({ name: 'a', from: image('x/y:1'), generation: 2, ...tag })),
  });
  const sent = (tag: Partial<TagReference> = {}): TagReference => ({ name: 'a', from: image('x/y:1'), ...tag });

  it.each<{ title: string; tag: Partial<TagReference>; stream: number; of: number; changed: string[] }>([
    { title: 'the same again', tag: {}, stream: 3, of: 2, changed: [] },
    { title: 'the same with its generation', tag: { generation: 2 }, stream: 3, of: 2, changed: [] },
    { title: 'a generation of the client', tag: { generation: 9 }, stream: 3, of: 2, changed: [] },
    { title: 'generation 0 asks for a re-import, which changes no source', tag: { generation: 0 }, stream: 4, of: 4, changed: [] },
    { title: 'another name', tag: { from: image('x/y:2') }, stream: 4, of: 4, changed: ['a'] },
    { title: 'another namespace', tag: { from: { ...image('x/y:1'), namespace: 'other' } }, stream: 4, of: 4, changed: ['a'] },
    { title: 'its own namespace, spelled out', tag: { from: { ...image('x/y:1'), namespace: 'ns' } }, stream: 4, of: 2, changed: [] },
    { title: 'reference', tag: { reference: true }, stream: 4, of: 4, changed: ['a'] },
    { title: 'importMode', tag: { importPolicy: { importMode: 'PreserveOriginal' } }, stream: 4, of: 4, changed: ['a'] },
    { title: 'only the kind', tag: { from: { kind: 'ImageStreamTag', name: 'x/y:1' } }, stream: 4, of: 2, changed: [] },
    { title: 'scheduled and insecure', tag: { importPolicy: { scheduled: true, insecure: true } }, stream: 4, of: 2, changed: [] },
    { title: 'reference policy', tag: { referencePolicy: { type: 'Local' } }, stream: 4, of: 2, changed: [] },
    { title: 'annotations', tag: { annotations: { a: 'b' } }, stream: 4, of: 2, changed: [] },
    { title: 'empty annotations', tag: { annotations: {} }, stream: 3, of: 2, changed: [] },
    { title: 'no source any more', tag: { from: undefined }, stream: 4, of: 2, changed: [] },
  ])('$title: stream $stream, tag $of', ({ tag, stream, of, changed }) => {
    const next = nextSpec(stored(), spec(sent(tag)), { namespace: 'ns' });

    expect(next.generation).toBe(stream);
    expect(next.changed).toBe(stream === 4);
    expect(next.spec.tags?.[0]?.generation).toBe(of);
    expect(next.changedTags).toEqual(changed);
    expect(next.stampedTags).toEqual(of === 4 ? ['a'] : []);
  });

  it('a source for a tag that had none is a change', () => {
    expect(nextSpec(stored({ from: undefined }), spec(sent()), { namespace: 'ns' })).toMatchObject({ generation: 4, changedTags: ['a'] });
  });

  it('a new tag gets the new generation, also where the client sent one; the others keep theirs', () => {
    const next = nextSpec(stored(), spec(sent(), { name: 'b', from: image('z'), generation: 1 }), { namespace: 'ns' });

    expect(next).toMatchObject({ generation: 4, changedTags: ['b'], stampedTags: ['b'] });
    expect(next.spec.tags?.map((tag) => tag.generation)).toEqual([2, 4]);
  });

  it.each([
    ['a removed tag', spec()],
    ['the lookup policy', { ...spec(sent()), lookupPolicy: { local: true } }],
    ['the repository', { ...spec(sent()), dockerImageRepository: 'x/y' }],
  ])('%s raises the generation of the stream and of no tag', (_title, submitted) => {
    expect(nextSpec(stored(), submitted, { namespace: 'ns' })).toMatchObject({
      generation: 4,
      changed: true,
      changedTags: [],
      stampedTags: [],
    });
  });

  it('neither the stored nor the submitted spec is touched', () => {
    const [old, submitted] = [stored(), spec(sent({ generation: 0, from: image('other') }))];
    const before = structuredClone([old, submitted]);
    nextSpec(old, submitted, { namespace: 'ns' });

    expect([old, submitted]).toEqual(before);
  });

  it('writing back what is stored changes nothing; what is stored always has generations up to the stream’s', () => {
    const tag = fc.record(
      {
        name: fc.constantFrom('a', 'b', 'c'),
        from: fc.option(
          fc.record({
            kind: fc.constantFrom('DockerImage', 'ImageStreamTag'),
            name: fc.constantFrom('x', 'y'),
            namespace: fc.constantFrom('', 'ns', 'm'),
          }),
          { nil: undefined },
        ),
        annotations: fc.option(fc.dictionary(fc.constantFrom('k', 'l'), fc.constantFrom('', 'v'))),
        reference: fc.boolean(),
        generation: fc.option(fc.constantFrom(0, 1, 99)),
        importPolicy: fc.record({ scheduled: fc.boolean(), importMode: fc.constantFrom('', 'PreserveOriginal') }, { requiredKeys: [] }),
      },
      { requiredKeys: ['name'] },
    );
    const submitted = fc.record({ lookupPolicy: fc.record({ local: fc.boolean() }), tags: fc.array(tag, { maxLength: 4 }) });
    fc.assert(
      fc.property(fc.array(submitted, { minLength: 1, maxLength: 5 }), (writes) => {
        let old: ReturnType<typeof nextSpec> | undefined;
        for (const write of writes) {
          const next = nextSpec(old, write, { namespace: 'ns' });

          expect(next.generation).toBe((old?.generation ?? 0) + (next.changed ? 1 : 0));
          for (const { name, generation } of next.spec.tags ?? []) {
            expect(generation).toBeGreaterThan(0);
            expect(generation).toBeLessThanOrEqual(next.generation);
            expect(generation === next.generation && next.changed).toBe(next.stampedTags.includes(name));
          }
          expect(nextSpec(next, next.spec, { namespace: 'ns' })).toEqual({ ...next, changed: false, changedTags: [], stampedTags: [] });
          expect(next.stampedTags).toEqual(expect.arrayContaining(next.changedTags));
          old = next;
        }
      }),
    );
  });
});

describe('a write of the status', () => {
  const stored = (items: ReturnType<typeof item>[], tag: Partial<TagReference> = { generation: 2 }): ImageStream => ({
    metadata: { name: 's', generation: 5 },
    spec: spec({ name: 'a', ...tag }),
    status: { dockerImageRepository: '', tags: items.length ? [{ tag: 'a', items }] : [] },
  });

  it.each([
    { title: 'a generation that is there stays', old: stored([item(1)]), top: item(4), generation: 4 },
    { title: 'a tag without items before: that of the stream', old: stored([]), top: item(0), generation: 5 },
    { title: 'another image: that of the spec tag', old: stored([item(1)]), top: item(0, 'B'), generation: 2 },
    {
      title: 'another image, but no spec tag: that of the stream',
      old: stored([item(1)], { name: 'other', generation: 2 }),
      top: item(0, 'B'),
      generation: 5,
    },
    {
      title: 'another image, but a spec tag without generation: that of the stream',
      old: stored([item(1)], {}),
      top: item(0, 'B'),
      generation: 5,
    },
    { title: 'the same item: that of the stream', old: stored([item(0)]), top: item(0), generation: 5 },
  ])('$title', ({ old, top, generation }) => {
    const next = nextStatus(old, { dockerImageRepository: 'r', tags: [{ tag: 'a', items: [top, item(0, 'older')] }] });

    expect(next).toEqual({ dockerImageRepository: 'r', tags: [{ tag: 'a', items: [{ ...top, generation }, item(0, 'older')] }] });
  });

  it('lists without items and a status without tags stay as they are', () => {
    expect(nextStatus(stored([]), { dockerImageRepository: '', tags: [{ tag: 'a', items: null }] }).tags).toEqual([
      { tag: 'a', items: null },
    ]);
    expect(nextStatus(stored([]), { dockerImageRepository: '' })).toEqual({ dockerImageRepository: '' });
  });
});

describe('what needs an import', () => {
  const failed = (generation: number) => ({ type: 'ImportSuccess', status: 'False', generation });

  it.each([
    [undefined, 0],
    [{ items: null }, 0],
    [{ items: [item(2), item(9)] }, 2],
    [{ items: null, conditions: [failed(3)] }, 3],
    [{ items: [item(2)], conditions: [failed(3)] }, 3],
    [{ items: [item(4)], conditions: [failed(3)] }, 4],
    [{ items: [item(2)], conditions: [{ ...failed(3), type: 'Other' }] }, 2],
  ])('%j is observed up to %i', (list, generation) => {
    expect(observedGeneration(list)).toBe(generation);
  });

  it.each([
    { title: 'newer than its history', tag: { from: image('x'), generation: 3 }, needs: true },
    { title: 'as old as its history', tag: { from: image('x'), generation: 2 }, needs: false },
    { title: 'without a generation', tag: { from: image('x') }, needs: true },
    { title: 'a reference', tag: { from: image('x'), generation: 3, reference: true }, needs: false },
    { title: 'an alias', tag: { from: { kind: 'ImageStreamTag', name: 'b' }, generation: 3 }, needs: false },
    { title: 'without a source', tag: { generation: 3 }, needs: false },
  ])('$title: $needs', ({ tag, needs }) => {
    expect(needsImport({ name: 'a', ...tag }, { items: [item(2)] })).toBe(needs);
    if (needs) expect(isImportable({ name: 'a', ...tag })).toBe(true);
  });
});
