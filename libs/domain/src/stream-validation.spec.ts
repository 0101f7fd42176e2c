import { describe, expect, it } from 'vitest';
import type { ImageStream, TagReference } from './image-stream.ts';
import { invalid } from './status.ts';
import { defaultStream, defaultTag } from './stream-spec.ts';
import { validateStatus, validateStream, validateTag } from './stream-validation.ts';

const SHA = `sha256:${'a'.repeat(64)}`;
const stream = (given: { name?: string; generateName?: string; repository?: string; tags?: TagReference[] }): ImageStream =>
  defaultStream({
    metadata: { name: given.name, generateName: given.generateName },
    spec: { lookupPolicy: { local: false }, dockerImageRepository: given.repository, tags: given.tags },
    status: { dockerImageRepository: '' },
  });
const wrong = (aStream: ImageStream, namespace = 'ns') =>
  validateStream(aStream, { namespace }).map(({ field, text }) => `${field}: ${text}`);
const tag = (more: Partial<TagReference>): TagReference => ({ name: 'a', from: { kind: 'DockerImage', name: 'x/y' }, ...more });

describe('names', () => {
  it.each([
    { title: 'a good name', given: { name: 'a.b-c_d' }, errors: [] },
    { title: 'none', given: {}, errors: ['metadata.name: Required value: name or generateName is required'] },
    {
      title: 'upper case',
      given: { name: 'Abc' },
      errors: ['metadata.name: Invalid value: "Abc": must match "[a-z0-9]+(?:[._-][a-z0-9]+)*"'],
    },
    {
      title: 'what no path holds',
      given: { name: 'a/b%' },
      errors: [`metadata.name: Invalid value: "a/b%": may not contain '/'`, `metadata.name: Invalid value: "a/b%": may not contain '%'`],
    },
    {
      title: 'a prefix that is no name, though what it generated is one',
      given: { name: 'gen-k4bc6', generateName: 'gen-' },
      errors: ['metadata.generateName: Invalid value: "gen-": must match "[a-z0-9]+(?:[._-][a-z0-9]+)*"'],
    },
    { title: '252 letters in ns', given: { name: 'b'.repeat(252) }, errors: [] },
    {
      title: '253 letters in ns',
      given: { name: 'a'.repeat(253) },
      errors: [`metadata.name: Invalid value: "${'a'.repeat(253)}": 'namespace/name' cannot be longer than 255 characters`],
    },
  ])('$title', ({ given, errors }) => {
    expect(wrong(stream(given))).toEqual(errors);
  });

  it('a stream lies in a namespace with a proper name', () => {
    expect(wrong(stream({ name: 's' }), '')).toEqual(['metadata.namespace: Required value']);
    expect(wrong(stream({ name: 's' }), 'A.b')).toEqual([
      expect.stringMatching(/^metadata\.namespace: Invalid value: "A\.b": a lowercase RFC 1123 label/),
    ]);
  });
});

describe('spec.dockerImageRepository', () => {
  it.each([
    ['reg.io/a/b', []],
    ['a/b:tag', ['spec.dockerImageRepository: Invalid value: "a/b:tag": the repository name may not contain a tag']],
    [`a/b@${SHA}`, [`spec.dockerImageRepository: Invalid value: "a/b@${SHA}": the repository name may not contain an ID`]],
    ['a-|///bbb', ['spec.dockerImageRepository: Invalid value: "a-|///bbb": invalid reference format']],
  ])('%s', (repository, errors) => {
    expect(wrong(stream({ name: 's', repository }))).toEqual(errors);
  });
});

describe('spec tags', () => {
  const onlyDocker = 'only tags pointing to Docker repositories may be scheduled for background import';

  it.each([
    { title: 'a pull spec', given: tag({}), errors: [] },
    { title: 'no source', given: tag({ from: undefined }), errors: [] },
    { title: 'any tag name', given: tag({ name: 'we ird/na:me' }), errors: [] },
    {
      title: 'a scheduled digest',
      given: tag({ from: { kind: 'DockerImage', name: `x/y@${SHA}` }, importPolicy: { scheduled: true } }),
      errors: [],
    },
    {
      title: 'a bad pull spec',
      given: tag({ from: { kind: 'DockerImage', name: 'UPPER/Case:1' } }),
      errors: ['from.name: Invalid value: "UPPER/Case:1": repository name must be lowercase'],
    },
    { title: 'no pull spec', given: tag({ from: { kind: 'DockerImage' } }), errors: ['from.name: Required value'] },
    {
      title: 'an unknown kind',
      given: tag({ from: { kind: 'Weird', name: 'x' } }),
      errors: ["from.kind: Required value: valid values are 'DockerImage', 'ImageStreamImage', 'ImageStreamTag'"],
    },
    {
      title: 'an empty source',
      given: tag({ from: {} }),
      errors: [
        'from.name: Required value',
        "from.kind: Required value: valid values are 'DockerImage', 'ImageStreamImage', 'ImageStreamTag'",
      ],
    },
    { title: 'an alias', given: tag({ from: { kind: 'ImageStreamTag', name: 's:b' } }), errors: [] },
    {
      title: 'a scheduled alias',
      given: tag({ from: { kind: 'ImageStreamTag', name: 's:b' }, importPolicy: { scheduled: true } }),
      errors: [`importPolicy.scheduled: Invalid value: true: ${onlyDocker}`],
    },
    {
      title: 'a scheduled permanent tag',
      given: tag({ from: { kind: 'ImageStreamImage', name: `s@${SHA}` }, importPolicy: { scheduled: true } }),
      errors: [`importPolicy.scheduled: Invalid value: true: ${onlyDocker}`],
    },
    {
      title: 'an unknown reference policy',
      given: tag({ referencePolicy: { type: 'Weird' } }),
      errors: ['referencePolicy.type: Invalid value: "Weird": valid values are "Source", "Local"'],
    },
    {
      title: 'an unknown import mode',
      given: tag({ importPolicy: { importMode: 'Weird' } }),
      errors: [`importPolicy.importMode: Invalid value: "Weird": invalid import mode, valid modes are '', 'Legacy', 'PreserveOriginal'`],
    },
    {
      title: 'Local and PreserveOriginal',
      given: tag({ referencePolicy: { type: 'Local' }, importPolicy: { importMode: 'PreserveOriginal' } }),
      errors: [],
    },
  ])('$title', ({ given, errors }) => {
    expect(wrong(stream({ name: 's', tags: [given] }))).toEqual(errors.map((error) => `spec.tags[${given.name}].${error}`));
  });

  it('the same errors stand at `tag` for an ImageStreamTag', () => {
    expect(validateTag(tag({ from: { kind: 'Weird', name: 'x' }, referencePolicy: { type: 'Source' } }), 'tag')).toEqual([
      {
        reason: 'FieldValueRequired',
        field: 'tag.from.kind',
        text: "Required value: valid values are 'DockerImage', 'ImageStreamImage', 'ImageStreamTag'",
      },
    ]);
  });

  it('all errors of a stream make one Status, in the order metadata, repository, tags', () => {
    const errors = validateStream(stream({ name: 'S', repository: 'a:b', tags: [tag({ from: { kind: 'DockerImage', name: '*' } })] }), {
      namespace: 'ns',
    });

    expect(invalid('image.openshift.io', 'ImageStream', 'S', errors)).toMatchObject({
      code: 422,
      reason: 'Invalid',
      message:
        'ImageStream.image.openshift.io "S" is invalid: [metadata.name: Invalid value: "S": must match "[a-z0-9]+(?:[._-][a-z0-9]+)*", ' +
        'spec.dockerImageRepository: Invalid value: "a:b": the repository name may not contain a tag, ' +
        'spec.tags[a].from.name: Invalid value: "*": invalid reference format]',
    });
  });
});

describe('a written status', () => {
  const status = (...pullSpecs: string[]) => ({
    dockerImageRepository: '',
    tags: [
      { tag: 'a', items: pullSpecs.map((dockerImageReference) => ({ created: '', dockerImageReference, image: SHA, generation: 1 })) },
    ],
  });

  it.each([
    ['good', status('q/w:1'), []],
    [
      'bad',
      status('q/w:1', 'reg/a:b:c'),
      ['status.tags[a].items[1].dockerImageReference: Invalid value: "reg/a:b:c": invalid reference format'],
    ],
    [
      'empty',
      status(''),
      ['status.tags[a].items[0].dockerImageReference: Invalid value: "": repository name must have at least one component'],
    ],
    ['no tags', { dockerImageRepository: '' }, []],
    ['no items', { dockerImageRepository: '', tags: [{ tag: 'a', items: null }] }, []],
  ])('%s', (_title, written, errors) => {
    expect(validateStatus(written).map(({ field, text }) => `${field}: ${text}`)).toEqual(errors);
  });

  it('may keep a bad pull spec that is stored already', () => {
    expect(validateStatus(status('reg/a:b:c', 'q/w'), status('reg/a:b:c'))).toEqual([]);
  });

  it('names tags and images that an index can hold', () => {
    const long = 'x'.repeat(256);
    const tags = [{ tag: long, items: [{ created: '', dockerImageReference: 'q/w', image: long, generation: 1 }] }];

    expect(validateStatus({ dockerImageRepository: '', tags }).map(({ field, text }) => `${field}: ${text}`)).toEqual([
      `status.tags[${long}].tag: Too long: may not be more than 255 characters`,
      `status.tags[${long}].items[0].image: Too long: may not be more than 255 characters`,
    ]);
    expect(validateTag(defaultTag({ name: long }), 'tag').map(({ field }) => field)).toEqual(['tag.name']);
  });
});

describe('where images may come from', () => {
  const admission = (pullSpec: string, insecure: boolean) => (insecure ? undefined : `${pullSpec} is not allowed`);
  const refused = (given: Parameters<typeof stream>[0]) =>
    validateStream(stream({ name: 's', ...given }), { namespace: 'ns', admission }).map(({ field, text }) => `${field}: ${text}`);

  it.each([
    { title: 'a tag', given: { tags: [tag({})] }, errors: ['spec.tags[a].from.name: Forbidden: x/y is not allowed'] },
    {
      title: 'a reference',
      given: { tags: [tag({ reference: true })] },
      errors: ['spec.tags[a].from.name: Forbidden: x/y is not allowed'],
    },
    { title: 'a repository', given: { repository: 'e.io/a' }, errors: ['spec.dockerImageRepository: Forbidden: e.io/a is not allowed'] },
    { title: 'but not a tag that may be insecure', given: { tags: [tag({ importPolicy: { insecure: true } })] }, errors: [] },
    { title: 'but not a tag of the stream', given: { tags: [tag({ from: { kind: 'ImageStreamTag', name: 'b' } })] }, errors: [] },
  ])('is asked of $title', ({ given, errors }) => {
    expect(refused(given)).toEqual(errors);
  });
});
