import { describe, expect, it } from 'vitest';
import { ImageStream, ImageStreamTag } from './image-stream.ts';
import { StatusError } from './status.ts';
import { checkNewStreamTag, defaultStreamTag, targetOfNewTag, withNewTag, withoutTag, withPutTag } from './stream-tag.ts';

const source = { kind: 'DockerImage', name: 'e.io/a/b:1' };
const other = { name: 'other', annotations: null, from: source, generation: 1 };
const stream = (tags: unknown[], metadata: object = {}): ImageStream =>
  ImageStream.parse({
    metadata: { name: 's', namespace: 'n', uid: 'u', resourceVersion: '7', generation: 3, ...metadata },
    spec: { tags },
  });
const submitted = (object: object, metadata: object = {}): ImageStreamTag =>
  defaultStreamTag(ImageStreamTag.parse({ metadata: { name: 's:v', ...metadata }, ...object }), 'v');
const refusal = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof StatusError) return `${error.status.code} ${error.status.reason ?? '-'}: ${error.status.message}`;
    throw error;
  }
  return 'nothing is refused';
};
const put = (on: ImageStream | undefined, object: ImageStreamTag) =>
  withPutTag(on, { namespace: 'n', name: { name: 's', tag: 'v' } }, object);

describe('the name of a new ImageStreamTag', () => {
  it.each([
    ['s:v', { name: 's', tag: 'v' }],
    ['s:', { name: 's', tag: 'latest' }],
    ['s:a:b', { name: 's', tag: 'a:b' }],
  ])('%s names %j', (name, target) => {
    expect(targetOfNewTag(name)).toEqual(target);
  });

  it('has a colon, or the server says so without a reason', () => {
    expect(refusal(() => targetOfNewTag('plain'))).toBe('500 -: "plain" must be of the form <stream_name>:<tag>');
  });

  it('is the name of its tag, whatever the tag itself says', () => {
    expect(submitted({ tag: { name: 'else', from: source } }).tag).toMatchObject({
      name: 'v',
      importPolicy: { importMode: 'Legacy' },
      referencePolicy: { type: 'Source' },
    });
  });
});

describe('POST of an ImageStreamTag', () => {
  it('adds the tag to the others', () => {
    const spec = withNewTag(stream([other]), submitted({ tag: { from: source } }));
    expect(spec.tags?.map((tag) => tag.name)).toEqual(['other', 'v']);
  });

  it('needs no stream', () => {
    const spec = withNewTag(undefined, submitted({ tag: { from: source } }));
    expect(spec).toMatchObject({ lookupPolicy: { local: false }, tags: [{ name: 'v' }] });
  });

  it('without a tag changes nothing', () => {
    const old = stream([other]);
    expect(withNewTag(old, submitted({}))).toBe(old.spec);
  });

  it('is refused where the spec tag is there already', () => {
    const again = submitted({ tag: { from: source } });
    expect(refusal(() => withNewTag(stream([{ ...other, name: 'v' }]), again))).toBe(
      '409 AlreadyExists: imagestreamtag.image.openshift.io "s:v" already exists',
    );
  });

  it.each([
    [{ tag: { from: source } }, { name: 'a/b:c' }, `metadata.name: Invalid value: "a/b:c": may not contain '/'`],
    [{ tag: { from: source } }, { name: undefined }, 'metadata.name: Required value: name or generateName is required'],
    [
      { tag: { from: { kind: 'Nope', name: 'x/y' } } },
      {},
      "tag.from.kind: Required value: valid values are 'DockerImage', 'ImageStreamImage', 'ImageStreamTag'",
    ],
    [
      { tag: { from: source, annotations: { a: 'b' } } },
      {},
      'tag.annotations: Invalid value: "<map>": tag annotations must not be provided or must be equal to the object meta annotations',
    ],
    [{ tag: { from: source } }, { labels: { 'a b': 'c' } }, 'metadata.labels: Invalid value: "a b": name part must consist of'],
  ])('case %# is refused', (object, metadata, message) => {
    expect(refusal(() => checkNewStreamTag(submitted(object, metadata)))).toContain(message);
  });

  it('takes annotations that stand in both places', () => {
    expect(() =>
      checkNewStreamTag(submitted({ tag: { from: source, annotations: { a: 'b' } } }, { annotations: { a: 'b' } })),
    ).not.toThrow();
  });
});

describe('PUT of an ImageStreamTag', () => {
  it('makes the tag where the stream has none', () => {
    const { spec, created } = put(stream([other]), submitted({ tag: { from: source } }));
    expect(created).toBe(true);
    expect(spec.tags).toMatchObject([{ name: 'other' }, { name: 'v', from: source }]);
  });

  it('replaces the tag that is there', () => {
    const { spec, created } = put(stream([{ ...other, name: 'v' }]), submitted({ tag: { from: { kind: 'ImageStreamTag', name: 'a' } } }));
    expect(created).toBe(false);
    expect(spec.tags).toMatchObject([{ name: 'v', from: { kind: 'ImageStreamTag', name: 'a' } }]);
  });

  it('makes the stream as well', () => {
    expect(put(undefined, submitted({ tag: { from: source } }))).toMatchObject({ created: true, spec: { tags: [{ name: 'v' }] } });
  });

  it('takes the annotations of the object as those of the tag, none for none', () => {
    const old = stream([{ ...other, name: 'v', annotations: { old: 'x' } }]);
    const next = { tag: { from: source, annotations: { ignored: 'x' } } };
    expect(put(old, submitted(next, { annotations: { a: 'b' } })).spec.tags?.[0]?.annotations).toEqual({ a: 'b' });
    expect(put(old, submitted(next)).spec.tags?.[0]?.annotations).toBeNull();
  });

  it('without a tag changes only the annotations of the one that is there', () => {
    const { spec } = put(stream([{ ...other, name: 'v' }]), submitted({}, { annotations: { a: 'b' } }));
    expect(spec.tags).toMatchObject([{ name: 'v', from: source, generation: 1, annotations: { a: 'b' } }]);
  });

  it('keeps a generation of 0, which asks for a new import', () => {
    expect(put(stream([{ ...other, name: 'v' }]), submitted({ tag: { from: source, generation: 0 } })).spec.tags?.[0]?.generation).toBe(0);
  });

  it.each([
    [
      'a resourceVersion of a stream that is not there',
      undefined,
      { resourceVersion: '5' },
      '404 NotFound: imagestreamtags.image.openshift.io "s:v" not found',
    ],
    [
      'an old resourceVersion',
      stream([]),
      { resourceVersion: '5' },
      '409 Conflict: Operation cannot be fulfilled on imagestreamtags.image.openshift.io "s:v": another caller has updated the resource version to 7',
    ],
    [
      'other labels than the stream has',
      stream([], { labels: { a: 'b' } }),
      { labels: { a: 'c' } },
      '422 Invalid: ImageStreamTag.image.openshift.io "s:v" is invalid: metadata: Invalid value: "": may not update fields other than metadata.annotations',
    ],
    [
      'the uid of another stream',
      stream([]),
      { uid: 'x' },
      '422 Invalid: ImageStreamTag.image.openshift.io "s:v" is invalid: [metadata.uid: Invalid value: "x": field is immutable, metadata: Invalid value: "": may not update fields other than metadata.annotations]',
    ],
  ])('is refused with %s', (_, on, metadata, message) => {
    expect(refusal(() => put(on, submitted({ tag: { from: source } }, metadata)))).toBe(message);
  });

  it.each([
    ['the stream', stream([])],
    ['no stream', undefined],
  ])('is refused without a tag where %s has none of that name', (_, on) => {
    expect(refusal(() => put(on, submitted({})))).toBe(
      '400 BadRequest: imagestreamtag v is not a spec tag in imagestream n/s, cannot be updated',
    );
  });

  it.each([
    ['the labels of the stream', { labels: { a: 'b' } }],
    ['no labels', {}],
    ['the current resourceVersion', { resourceVersion: '7', uid: 'u' }],
  ])('is accepted with %s', (_, metadata) => {
    expect(put(stream([], { labels: { a: 'b' } }), submitted({ tag: { from: source } }, metadata)).created).toBe(true);
  });
});

describe('DELETE of an ImageStreamTag', () => {
  it('takes the tag out of the spec and leaves the others', () => {
    expect(withoutTag(stream([other, { ...other, name: 'v' }]).spec, 'v')).toMatchObject({
      inSpec: true,
      spec: { tags: [{ name: 'other' }] },
    });
  });

  it('tells that the tag was not there', () => {
    expect(withoutTag(stream([other]).spec, 'v').inSpec).toBe(false);
  });
});
