import { describe, expect, it } from 'vitest';
import { ImageStream } from './image-stream.ts';
import { ImageStreamImport } from './image-stream-import.ts';
import { CHECKED_ANNOTATION, defaultImport, planStream, tagOfRepository, tagsOfRepository, validateImport } from './import-plan.ts';

const anImport = (spec: object, metadata: object = { name: 's' }) => defaultImport(ImageStreamImport.parse({ metadata, spec }));
const image = (name: string, given: object = {}) => ({ from: { kind: 'DockerImage', name }, ...given });

describe('an import with its defaults', () => {
  it.each([
    ['the tag of the pull spec', image('e.io/a/b:1'), { name: '1' }],
    ['the tag that is asked for', image('e.io/a/b:1', { to: { name: 'one' } }), { name: 'one' }],
    ['none for a pull spec without a tag', image('e.io/a/b'), undefined],
    ['none for a digest', image(`e.io/a/b@sha256:${'a'.repeat(64)}`), undefined],
    ['none for any image', image('*'), undefined],
  ])('puts an image on %s', (_title, given, to) => {
    expect(anImport({ images: [given] }).spec.images?.[0]?.to).toEqual(to);
  });

  it('has import mode and reference policy', () => {
    expect(anImport({ images: [image('e.io/a/b:1', { importPolicy: { insecure: true } })] }).spec.images?.[0]).toEqual({
      from: { kind: 'DockerImage', name: 'e.io/a/b:1' },
      to: { name: '1' },
      importPolicy: { insecure: true, importMode: 'Legacy' },
      referencePolicy: { type: 'Source' },
    });
  });
});

describe('an import is refused', () => {
  it.each([
    ['when it asks for nothing', {}, 'spec.images', 'Invalid value: null: you must specify at least one image or a repository import'],
    [
      'when it asks for another kind',
      { images: [{ from: { kind: 'ImageStreamTag', name: 'a:b' } }] },
      'spec.images[0].from.kind',
      'Invalid value: "ImageStreamTag": only DockerImage is supported',
    ],
    ['when an image has no name', { images: [image('')] }, 'spec.images[0].from.name', 'Required value'],
    [
      'when the pull spec is none',
      { images: [image('UPPER/Case:1')] },
      'spec.images[0].from.name',
      'Invalid value: "UPPER/Case:1": repository name must be lowercase',
    ],
    [
      'when the target has no name',
      { images: [image('e.io/a/b:1', { to: { name: '' } })] },
      'spec.images[0].to.name',
      'Invalid value: "": the name of the target tag must be specified',
    ],
    [
      'when the repository has a tag',
      { repository: image('e.io/a/b:1') },
      'spec.repository.from.name',
      'Invalid value: "e.io/a/b:1": you must specify an image repository, not a tag or ID',
    ],
    [
      'when the repository has no name',
      { repository: image('') },
      'spec.repository.from.name',
      'Required value: container image references require a name',
    ],
    [
      'when the import mode is none',
      { images: [image('e.io/a/b:1', { importPolicy: { importMode: 'Other' } })] },
      'spec.images[0].importPolicy.importMode',
      `Invalid value: "Other": invalid import mode, valid modes are '', 'Legacy', 'PreserveOriginal'`,
    ],
  ])('%s', (_title, spec, field, text) => {
    expect(validateImport(anImport(spec), { namespace: 'n' })).toEqual([expect.objectContaining({ field, text })]);
  });

  it('when the stream that it names cannot be', () => {
    expect(validateImport(anImport({ images: [image('e.io/a/b:1')] }, { name: 'UPPER' }), { namespace: 'n' })).toMatchObject([
      { field: 'metadata.name' },
    ]);
  });

  it('but not when it asks for any image', () => {
    expect(validateImport(anImport({ images: [image('*')] }), { namespace: 'n' })).toEqual([]);
  });
});

describe('the tags of a repository', () => {
  it('are taken best first, and the others are named', () => {
    expect(tagsOfRepository(['beta', 'v1.0', 'latest', '1.1', 'alpha'], 3)).toEqual({
      tags: ['latest', '1.1', 'v1.0'],
      additional: ['alpha', 'beta'],
    });
  });

  it('without a name mean latest', () => {
    expect(tagsOfRepository(['', 'latest'], 50)).toEqual({ tags: ['latest'], additional: [] });
  });

  it('have the registry as it was written', () => {
    expect(tagOfRepository('library/ruby', '2.2')).toBe('library/ruby:2.2');
  });
});

const checked = { [CHECKED_ANNOTATION]: '2026-01-01T00:00:00Z' };
const tag = (generation: number | null, given: object = {}) => ({
  name: 'a',
  from: { kind: 'DockerImage', name: 'e.io/a/b:1' },
  generation,
  ...given,
});
const item = (generation: number) => ({
  tag: 'a',
  items: [{ created: '2026-01-01T00:00:00Z', dockerImageReference: 'e.io/a/b@x', image: 'x', generation }],
});
const failed = (generation: number) => ({ tag: 'a', items: null, conditions: [{ type: 'ImportSuccess', status: 'False', generation }] });
const observed = (observedGeneration: number) => ({
  decision: { kind: 'Waiting', reason: 'Held', message: '', at: '' },
  pending: 1,
  observedGeneration,
});

describe('a stream', () => {
  it.each([
    [
      'that was never imported brings its repository and all tags',
      { spec: { dockerImageRepository: 'e.io/a/b', tags: [tag(1)] }, status: { tags: [item(1)] } },
      true,
      ['a'],
    ],
    [
      'whose repository was imported does not bring it again',
      { annotations: checked, spec: { dockerImageRepository: 'e.io/a/b' } },
      false,
      [],
    ],
    ['brings a tag that was never imported', { spec: { tags: [tag(1)] } }, false, ['a']],
    [
      'brings a tag whose spec is newer than its image',
      { annotations: checked, spec: { tags: [tag(3)] }, status: { tags: [item(2)] } },
      false,
      ['a'],
    ],
    [
      'brings a tag whose spec is newer than its failure',
      { annotations: checked, spec: { tags: [tag(4)] }, status: { tags: [failed(3)] } },
      false,
      ['a'],
    ],
    ['leaves a tag that was imported', { annotations: checked, spec: { tags: [tag(2)] }, status: { tags: [item(2)] } }, false, []],
    ['leaves a tag whose failure is known', { annotations: checked, spec: { tags: [tag(2)] }, status: { tags: [failed(2)] } }, false, []],
    ['leaves a tag that was pushed to since', { annotations: checked, spec: { tags: [tag(2)] }, status: { tags: [item(5)] } }, false, []],
    [
      'leaves a tag whose image was found and waits',
      { annotations: checked, spec: { tags: [tag(6)] }, status: { tags: [{ ...item(2), control: observed(6) }] } },
      false,
      [],
    ],
    [
      'brings a tag whose spec is newer than the image that waits',
      { annotations: checked, spec: { tags: [tag(7)] }, status: { tags: [{ ...item(2), control: observed(6) }] } },
      false,
      ['a'],
    ],
    ['leaves a tag without a generation by itself', { annotations: checked, spec: { tags: [tag(null)] } }, false, []],
    [
      'takes it along where another tag is due',
      { annotations: checked, spec: { tags: [tag(null), { ...tag(2), name: 'b' }] } },
      false,
      ['a', 'b'],
    ],
    ['leaves a tag that is only a reference', { spec: { tags: [tag(1, { reference: true })] } }, false, []],
    ['leaves a tag of another kind', { spec: { tags: [tag(1, { from: { kind: 'ImageStreamTag', name: 'b' } })] } }, false, []],
  ])('%s', (_title, { annotations, ...rest }: { annotations?: object; spec: object; status?: object }, repository, tags) => {
    const plan = planStream(ImageStream.parse({ metadata: { name: 's', annotations }, ...rest }));

    expect({ repository: plan.repository, tags: plan.tags.map(({ name }) => name) }).toEqual({ repository, tags });
    expect(plan.import).toBe(repository || tags.length > 0);
  });
});
