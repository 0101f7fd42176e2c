import { describe, expect, it } from 'vitest';
import { isPullSecret, type OpenSecret, validateSecret } from './secret.ts';

const a = (type: string, data: Record<string, string>, metadata: OpenSecret['metadata'] = { name: 'creds' }): OpenSecret => ({
  metadata,
  type,
  texts: new Map(Object.entries(data)),
});
const texts = (...given: Parameters<typeof validateSecret>) => validateSecret(...given).map((error) => `${error.field}: ${error.text}`);

describe('a secret', () => {
  it.each([
    a('Opaque', {}),
    a('Opaque', { 'a-key.x_Y': 'no json' }),
    a('example.com/own', { '.dockercfg': 'no json' }),
    a('kubernetes.io/dockercfg', { '.dockercfg': '{}' }),
    a('kubernetes.io/dockerconfigjson', { '.dockerconfigjson': '{"auths":{}}', more: 'x' }),
  ])('with nothing wrong has no errors (%#)', (secret) => {
    expect(texts(secret)).toEqual([]);
  });

  it.each([
    [a('Opaque', {}, {}), 'metadata.name: Required value: name or generateName is required'],
    [a('Opaque', {}, { name: 'A b' }), 'metadata.name: Invalid value: "A b": a lowercase RFC 1123 subdomain must consist of'],
    [a('Opaque', {}, { name: 'x'.repeat(254) }), 'must be no more than 253 characters'],
    [a('Opaque', { 'a/b': 'x' }), `data[a/b]: Invalid value: "a/b": a valid config key must consist of`],
    [a('Opaque', { '..': 'x' }), `data[..]: Invalid value: "..": must not be '..'`],
    [a('Opaque', { a: 'x'.repeat(2 ** 20 + 1) }), 'data: Too long: may not be more than 1048576 bytes'],
    [a('kubernetes.io/dockercfg', {}), 'data[.dockercfg]: Required value'],
    [
      a('kubernetes.io/dockerconfigjson', { '.dockerconfigjson': 'hunter2' }),
      'data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": must be a JSON object',
    ],
    [a('kubernetes.io/dockerconfigjson', { '.dockerconfigjson': '["hunter2"]' }), 'must be a JSON object'],
  ])('is refused for its name, keys, size or content (%#)', (secret, wanted) => {
    const found = texts(secret);

    expect(found).toEqual([expect.stringContaining(wanted)]);
    expect(found.join()).not.toContain('hunter2');
  });

  it('keeps its type', () => {
    expect(texts(a('Opaque', {}), { type: 'Opaque' })).toEqual([]);
    expect(texts(a('other', {}), { type: 'Opaque' })).toEqual(['type: Invalid value: "other": field is immutable']);
  });

  it.each([
    ['kubernetes.io/dockercfg', undefined, true],
    ['kubernetes.io/dockerconfigjson', { 'openshift.io/image.excludeSecret': 'false' }, true],
    ['kubernetes.io/dockerconfigjson', { 'openshift.io/image.excludeSecret': 'true' }, false],
    ['Opaque', undefined, false],
    ['toString', undefined, false],
  ])('of type %s with annotations %j is used to pull images: %j', (type, annotations, wanted) => {
    expect(isPullSecret({ type, metadata: { name: 'creds', annotations } })).toBe(wanted);
  });
});
