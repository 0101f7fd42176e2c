import { describe, expect, it } from 'vitest';
import { hasSignature, ImageSignature, parseSignatureName, submittedSignature, validateSignature } from './image-signature.ts';

const NAME = `sha256:${'a'.repeat(64)}@sig1`;
const a = (signature: object) => ImageSignature.parse({ metadata: { name: NAME }, type: 'AtomicImageV1', content: 'YWJj', ...signature });
const problems = (signature: ImageSignature, path?: string) => validateSignature(signature, path).map((one) => `${one.field}: ${one.text}`);

const condition = (type: string, status = 'True', lastProbeTime = '2026-01-01T00:00:00Z') => ({ type, status, lastProbeTime });
const UNSET = 'must be unset for unknown signature state';

describe('a signature', () => {
  it('without anything wrong has no errors', () => {
    expect(problems(a({}))).toEqual([]);
  });

  it.each([
    ['nosep', ['metadata.name: Invalid value: "nosep": name must be of format <imageName>@<signatureName>']],
    ['a@b@c', ['metadata.name: Invalid value: "a@b@c": name must be of format <imageName>@<signatureName>']],
    ['@sig', ['metadata.name: Invalid value: "@sig": name must be of format <imageName>@<signatureName>']],
    ['img@', ['metadata.name: Invalid value: "img@": name must be of format <imageName>@<signatureName>']],
    ['i@a/b', [`metadata.name: Invalid value: "i@a/b": may not contain '/'`]],
    [
      '',
      [
        'metadata.name: Required value: name or generateName is required',
        'metadata.name: Invalid value: "": name must be of format <imageName>@<signatureName>',
      ],
    ],
  ])('named %j is refused', (name, wanted) => {
    expect(problems(a({ metadata: { name } }))).toEqual(wanted);
  });

  it.each([
    [{ type: '', content: '' }, ['type: Required value', 'content: Required value']],
    [{ metadata: { name: NAME, labels: { a: 'b' } } }, ['metadata.labels: Forbidden: signature labels cannot be set']],
    [{ metadata: { name: NAME, annotations: { a: 'b' } } }, ['metadata.annotations: Forbidden: signature annotations cannot be set']],
    [{ metadata: { name: NAME, annotations: {} } }, []],
    [{ conditions: [condition('Trusted'), condition('ForImage')], imageIdentity: 'e.io/a', issuedBy: { commonName: 'x' } }, []],
    [
      { conditions: [condition('Trusted')] },
      [`conditions: Invalid value: ${JSON.stringify([condition('Trusted')])}: missing "ForImage" condition type`],
    ],
    [
      { conditions: [condition('ForImage')], issuedTo: { publicKeyID: '1' } },
      [
        `conditions: Invalid value: ${JSON.stringify([condition('ForImage')])}: missing "Trusted" condition type`,
        `issuedTo: Invalid value: {"publicKeyID":"1"}: ${UNSET}`,
      ],
    ],
    [
      { imageIdentity: 'e.io/a', signedClaims: { a: 'b' }, issuedBy: { commonName: 'x' } },
      [
        `imageIdentity: Invalid value: "e.io/a": ${UNSET}`,
        `signedClaims: Invalid value: {"a":"b"}: ${UNSET}`,
        `issuedBy: Invalid value: {"commonName":"x"}: ${UNSET}`,
      ],
    ],
    [
      {
        conditions: [condition('Trusted', 'True'), condition('Trusted', 'Unknown', '2026-02-01T00:00:00Z'), condition('ForImage')],
        imageIdentity: 'x',
      },
      [`imageIdentity: Invalid value: "x": ${UNSET}`],
    ],
  ])('with %j has these errors', (signature, wanted) => {
    expect(problems(a(signature))).toEqual(wanted);
  });

  it('within an image is named by its place', () => {
    expect(problems(a({ type: '' }), 'signatures[0]')).toEqual(['signatures[0].type: Required value']);
  });

  it('that is new says nothing of what others must find out', () => {
    const forged = a({ imageIdentity: 'forged', conditions: [condition('Trusted')], created: '2026-01-01T00:00:00Z' });

    expect(submittedSignature(forged)).toEqual({ metadata: { name: NAME }, type: 'AtomicImageV1', content: 'YWJj' });
  });

  it.each([
    ['the same name', { content: 'ZGVm' }, true],
    ['the same content under another name', { metadata: { name: `${NAME}2` } }, true],
    ['the same content of another type', { metadata: { name: `${NAME}2` }, type: 'x' }, false],
    ['another name and content', { metadata: { name: `${NAME}2` }, content: 'ZGVm' }, false],
  ])('with %s: there already is %j %j', (_title, other, there) => {
    expect(hasSignature([a({})], a(other))).toBe(there);
  });

  it('is named by its image and itself', () => {
    expect(parseSignatureName(NAME)).toEqual({ image: NAME.slice(0, -5), signature: 'sig1' });
    expect(parseSignatureName('nosep')).toBeUndefined();
  });
});
