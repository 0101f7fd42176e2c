import { describe, expect, it } from 'vitest';
import { checkNewImageTag, defaultImageTag, withNewImageTag, withPutImageTag } from './image-tag.ts';
import { ImageStream, ImageTag } from './image-stream.ts';
import { StatusError } from './status.ts';

const source = { kind: 'DockerImage', name: 'e.io/a/b:1' };
const item = { created: '2026-01-02T03:04:05Z', dockerImageReference: 'e.io/a/b@x', image: 'x', generation: 3 };
const stream = (metadata: object = {}): ImageStream =>
  ImageStream.parse({
    metadata: { name: 's', namespace: 'n', uid: 'u', resourceVersion: '7', generation: 3, labels: { team: 'x' }, ...metadata },
    spec: { tags: [defaultImageTag(ImageTag.parse({ metadata: {}, spec: { name: 'v', from: source, generation: 2 } })).spec] },
    status: { tags: [{ tag: 'v', items: [item] }] },
  });
const submitted = (object: object, metadata: object = {}): ImageTag =>
  defaultImageTag(ImageTag.parse({ metadata: { name: 's:v', ...metadata }, ...object }));
/** The tag `v` of the stream as a client reads it, with changes. */
const read = (changes: object = {}, metadata: object = {}): ImageTag => {
  const { metadata: own, spec, status } = stream();
  return submitted({ spec: spec.tags?.[0], status: status.tags?.[0], ...changes }, { ...own, name: 's:v', ...metadata });
};
const refusal = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof StatusError) return `${error.status.code}: ${error.status.message}`;
    throw error;
  }
  return 'nothing is refused';
};
const name = { name: 's', tag: 'v' };
const put = (object: ImageTag, on: ImageStream | undefined = stream(), options = {}) => withPutImageTag(on, name, object, options);

describe('POST of an ImageTag', () => {
  it('names its tag where the spec does not', () => {
    expect(checkNewImageTag(submitted({ spec: { from: source } })).spec).toMatchObject({
      name: 'v',
      importPolicy: { importMode: 'Legacy' },
      referencePolicy: { type: 'Source' },
    });
  });

  it.each([
    [{}, {}, 'spec: Required value: spec is a required field during creation'],
    [{ spec: { name: 'w', from: source } }, {}, 'spec.name: Invalid value: "w": must match image tag name'],
    [{ spec: { from: source } }, { name: 'plain' }, 'spec.name: Invalid value: "latest": must match image tag name'],
    [{ spec: { from: source } }, { name: 'a/s:v' }, `metadata.name: Invalid value: "a/s:v": may not contain '/'`],
    [{ spec: { from: { kind: 'DockerImage' } } }, {}, 'spec.from.name: Required value'],
  ])('%j named %j is refused: %s', (object, metadata, problem) => {
    const { name: given = 's:v' } = metadata as { name?: string };
    expect(refusal(() => checkNewImageTag(submitted(object, metadata)))).toBe(
      `422: ImageTag.image.openshift.io "${given}" is invalid: ${problem}`,
    );
  });

  it('needs no stream, and stands back only for a tag of the spec', () => {
    const wanted = checkNewImageTag(submitted({ spec: { from: source } }));
    const pushed = { spec: { lookupPolicy: { local: false } } };

    expect(withNewImageTag(undefined, wanted).tags?.map((tag) => tag.name)).toEqual(['v']);
    expect(withNewImageTag(pushed, wanted).tags?.map((tag) => tag.name)).toEqual(['v']);
    expect(refusal(() => withNewImageTag(stream(), wanted))).toBe('409: imagetags.image.openshift.io "s:v" already exists');
  });
});

describe('PUT of an ImageTag', () => {
  it('changes the spec of the tag', () => {
    const other = { name: 'v', from: { ...source, name: 'e.io/a/b:2' } };
    expect(put(read({ spec: other }))).toMatchObject({ spec: { tags: [other] }, created: false });
  });

  it('with no spec takes the tag out of the spec', () => {
    expect(put(read({ spec: null }))).toMatchObject({ spec: { tags: [] }, created: false });
  });

  it('makes the stream where it is missing', () => {
    const fresh = submitted({ spec: { from: source } });

    expect(withPutImageTag(undefined, name, fresh)).toMatchObject({ spec: { tags: [{ name: 'v' }] }, created: true });
    expect(refusal(() => withPutImageTag(undefined, name, submitted({})))).toContain('spec is a required field during creation');
    expect(refusal(() => withPutImageTag(undefined, name, read()))).toBe('404: imagetags.image.openshift.io "s:v" not found');
  });

  it('with a resourceVersion is meant for that version', () => {
    expect(refusal(() => put(read({}, { resourceVersion: '6' })))).toBe(
      '409: Operation cannot be fulfilled on imagetags.image.openshift.io "s:v": another caller has updated the resource version to 7',
    );
    expect(put(read({}, { resourceVersion: undefined })).created).toBe(false);
  });

  const metadata = 'metadata: Invalid value: "": may not update fields other than spec';
  const status = 'status: Invalid value: "": may not update fields other than spec';
  it.each([
    ['labels', {}, { labels: { team: 'y' } }, metadata],
    ['annotations', {}, { annotations: { a: 'b' } }, metadata],
    ['no status', { status: null }, {}, status],
    ['another status', { status: { tag: 'v', items: [] } }, {}, status],
    ['neither', { status: null }, { labels: {} }, `[${metadata}, ${status}]`],
    ['a wrong name', { spec: { from: source } }, {}, 'spec.name: Invalid value: "": must match image tag name'],
    ['another uid', {}, { uid: 'w' }, `[metadata.uid: Invalid value: "w": field is immutable, ${metadata}]`],
  ])('with %s is refused', (_, object, changes, problem) => {
    expect(refusal(() => put(read(object, changes)))).toBe(`422: ImageTag.image.openshift.io "s:v" is invalid: ${problem}`);
  });
});

describe('PATCH of an ImageTag', () => {
  it('is refused, whatever it changes: the reference counts its own note of who wrote what as metadata', () => {
    const reference = (change: object) => refusal(() => put(read(change), stream(), { patched: true }));

    expect(reference({ spec: { name: 'v', from: source, reference: true } })).toMatch(/is invalid: metadata: Invalid value: ""/);
    expect(reference({ status: null })).toMatch(/is invalid: \[metadata: .*, status: .*\]$/);
  });

  it('that changes nothing is taken', () => {
    expect(put(read(), stream(), { patched: true }).spec).toEqual(stream().spec);
  });
});
