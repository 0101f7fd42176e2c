import { describe, expect, it } from 'vitest';
import { ImageStreamMapping } from './image-stream.ts';
import { readSubmittedMapping } from './submitted-mapping.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const OTHER = `sha256:${'b'.repeat(64)}`;
const address = { namespace: 'demo', stream: 'web' };

const aMapping = (change: Record<string, unknown> = {}): unknown => ({
  kind: 'ImageStreamMapping',
  apiVersion: 'image.openshift.io/v1',
  metadata: { namespace: 'demo', name: 'web' },
  tag: '1.0',
  image: { metadata: { name: DIGEST }, dockerImageReference: `registry.example.com/demo/web@${DIGEST}` },
  ...change,
});
const read = (change?: Record<string, unknown>, at = address) => readSubmittedMapping(ImageStreamMapping.parse(aMapping(change)), at);

describe('a submitted mapping is used', () => {
  it('with the names that its body and its address agree on', () => {
    expect(read()).toEqual({
      kind: 'mapping',
      namespace: 'demo',
      stream: 'web',
      tag: '1.0',
      image: { metadata: { name: DIGEST }, dockerImageReference: `registry.example.com/demo/web@${DIGEST}` },
    });
  });

  it.each<[string, Record<string, unknown>]>([
    ['has no metadata', { metadata: undefined }],
    ['has an empty namespace', { metadata: { namespace: '', name: 'web' } }],
    ['has only its namespace', { metadata: { namespace: 'demo' } }],
    ['is of the legacy version', { apiVersion: 'v1' }],
    ['has a pull spec by tag', { image: { metadata: { name: DIGEST }, dockerImageReference: 'r.example.com/demo/web:1.0' } }],
    ['has its image’s name only in the pull spec', { image: { dockerImageReference: `r.example.com/demo/web@${DIGEST}` } }],
  ])('that %s', (_title, change) => {
    expect(read(change)).toMatchObject({
      kind: 'mapping',
      namespace: 'demo',
      stream: 'web',
      tag: '1.0',
      image: { metadata: { name: DIGEST } },
    });
  });
});

describe('a submitted mapping is unusable', () => {
  it.each<[Record<string, unknown>, RegExp]>([
    [{ metadata: { namespace: 'prod', name: 'web' } }, /^metadata.namespace: is "prod", but it was published under "demo"$/],
    [{ metadata: { namespace: 'demo', name: 'api' } }, /^metadata.name: is "api", but it was published under "web"$/],
    [{ tag: undefined }, /^tag: is required$/],
    [{ tag: '' }, /^tag: is required$/],
    [{ tag: '.hidden' }, /^tag: ".hidden" is no tag$/],
    [{ tag: 'a b' }, /is no tag$/],
    [{ tag: 't'.repeat(129) }, /is no tag$/],
    [{ image: undefined }, /^image: is required$/],
    [{ image: { metadata: { name: DIGEST } } }, /^image.dockerImageReference: is required$/],
    [{ image: { metadata: { name: DIGEST }, dockerImageReference: 'HTTP://x' } }, /is no pull spec$/],
    [{ image: { metadata: { name: DIGEST }, dockerImageReference: 'quay.io' } }, /is no pull spec$/],
    [{ image: { dockerImageReference: 'r.example.com/demo/web:1.0' } }, /^image.metadata.name: is required where/],
    [{ image: { metadata: { name: 'web' }, dockerImageReference: 'r.example.com/demo/web:1.0' } }, /"web" is no digest$/],
    [
      { image: { metadata: { name: OTHER }, dockerImageReference: `r.example.com/demo/web@${DIGEST}` } },
      /is sha256:b+, but the pull spec is of sha256:a+$/,
    ],
    [{ tag: '', image: undefined }, /^tag: is required; image: is required$/],
  ])('%j: %s', (change, reason) => {
    expect(read(change)).toEqual({ kind: 'unusable', reason: expect.stringMatching(reason) });
  });

  it.each([
    [{ namespace: 'Demo', stream: 'web' }, /metadata.namespace: a lowercase/],
    [{ namespace: 'demo', stream: 'we__b' }, /metadata.name: must match/],
    [{ namespace: '', stream: '' }, /metadata.namespace/],
  ])('under the address %j', (at, reason) => {
    expect(read({ metadata: {} }, at)).toEqual({ kind: 'unusable', reason: expect.stringMatching(reason) });
  });
});
