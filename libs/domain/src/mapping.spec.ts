import { describe, expect, it } from 'vitest';
import { checkMapping, mappedPullSpec, readMapping } from './mapping.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const by = { namespace: 'ns', internalRegistryHost: 'registry:5000' };
const mapping = (image: object, more: object = {}) => ({ metadata: { name: 's' }, tag: 't', image, ...more });
const told = (object: unknown, options = by) => {
  const checked = readMapping(object, options);
  return checked.kind === 'refused' ? checked.status.message : checked.mapping;
};

describe('a mapping is refused', () => {
  it.each([
    ['without a tag', mapping({ metadata: { name: DIGEST }, dockerImageReference: 'e.io/a/b' }, { tag: '' }), 'tag: Required value'],
    [
      'without an image name',
      mapping({ metadata: { name: '' }, dockerImageReference: 'e.io/a/b' }),
      'image.metadata.name: Required value: name or generateName is required',
    ],
    [
      'with a pull spec that is none',
      mapping({ metadata: { name: DIGEST }, dockerImageReference: 'registry/extra/seg:bad:tag' }),
      'image.dockerImageReference: Invalid value: "registry/extra/seg:bad:tag": invalid reference format',
    ],
    [
      'with a tag that cannot be stored',
      mapping({ metadata: { name: DIGEST } }, { tag: 'a\0b' }),
      'tag: Invalid value: "a\\u0000b": may not contain a NUL character',
    ],
    [
      'for several reasons at once, all of which are named',
      { metadata: {}, image: {} },
      '[metadata.name: Required value: name or generateName is required, tag: Required value, ' +
        'image.metadata.name: Required value: name or generateName is required, image.dockerImageReference: Required value]',
    ],
  ])('%s', (_why, object, message) => {
    const name = object.metadata && 'name' in object.metadata ? object.metadata.name : '';
    expect(told(object)).toBe(`ImageStreamMapping.image.openshift.io "${name}" is invalid: ${message}`);
  });

  it('that says another namespace than its path', () => {
    expect(told(mapping({ metadata: { name: DIGEST } }, { metadata: { name: 's', namespace: 'other' } }))).toBe(
      'the namespace of the provided object does not match the namespace sent on the request',
    );
  });

  it('that has not the shape of one, with the place that is wrong', () => {
    expect(told({ metadata: { name: 's' }, tag: 7 })).toContain(
      'ImageStreamMapping in version "v1" cannot be handled as a ImageStreamMapping: tag: ',
    );
    expect(told('text')).toContain('cannot be handled as a ImageStreamMapping: body: ');
  });
});

describe('a mapping is completed', () => {
  it('with the pull spec in the internal registry, where there is one', () => {
    expect(told(mapping({ metadata: { name: DIGEST } }))).toMatchObject({
      image: { dockerImageReference: `registry:5000/ns/s@${DIGEST}` },
    });
    expect(told(mapping({ metadata: { name: DIGEST } }), { ...by, internalRegistryHost: '' })).toContain(
      'dockerImageReference: Required value',
    );
  });

  it('with the digest of its pull spec as image name, under the legacy version only', () => {
    const object = mapping({ dockerImageReference: `h:5000/a/b@${DIGEST}` });

    expect(told({ ...object, apiVersion: 'v1' })).toMatchObject({ image: { metadata: { name: DIGEST } } });
    expect(told({ ...object, apiVersion: 'image.openshift.io/v1' })).toContain('image.metadata.name: Required value');
  });

  it('not with names that no index can hold', () => {
    const long = 'x'.repeat(256);

    expect(told({ ...mapping({ metadata: { name: long }, dockerImageReference: 'q/w' }), tag: long })).toContain(
      '[tag: Too long: may not be more than 255 characters, image.metadata.name: Too long: may not be more than 255 characters]',
    );
  });

  it('without the signatures that it brings', () => {
    const checked = checkMapping(
      {
        metadata: { name: 's' },
        tag: 't',
        image: { metadata: { name: DIGEST }, signatures: [{ metadata: { name: 'i@s' }, type: 'AtomicImageV1', content: 'YQ==' }] },
      },
      by,
    );

    expect(checked.kind === 'accepted' && checked.mapping.image.signatures).toBeUndefined();
  });
});

describe('the pull spec that goes into the history', () => {
  const image = { metadata: { name: DIGEST }, dockerImageReference: `registry:5000/ns/first@${DIGEST}` };
  const managed = { ...image, metadata: { ...image.metadata, annotations: { 'openshift.io/image.managed': 'true' } } };

  it.each([
    ['the given one for a new image', managed, false, 'registry:5000/ns/s', image.dockerImageReference],
    ['the given one for a known image of another registry', image, true, 'registry:5000/ns/s', image.dockerImageReference],
    ['that of the stream for a known image of the internal registry', managed, true, 'registry:5000/ns/s', `registry:5000/ns/s@${DIGEST}`],
    ['the given one where the stream has no repository', managed, true, '', image.dockerImageReference],
  ])('is %s', (_which, of, existed, repository, expected) => {
    expect(mappedPullSpec(of, { existed, repository })).toBe(expected);
  });
});
