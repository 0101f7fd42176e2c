import { describe, expect, it } from 'vitest';
import type { ImageStream, TagReference } from './image-stream.ts';
import { followTag, latestPullSpec, pullSpecOf, resolvePullSpec, tagInStream } from './pull-spec.ts';

const SHA = `sha256:${'3'.repeat(64)}`;
const ITEM = { created: '2026-01-01T00:00:00Z', dockerImageReference: `e.io/a/b@${SHA}`, image: SHA, generation: 2 };

type Spec = Partial<TagReference>;
const stream = (spec: Spec | undefined, { pushed = true, repository = 'int/ns/s', external = '' } = {}): ImageStream => ({
  metadata: { name: 's', namespace: 'ns' },
  spec: { lookupPolicy: { local: false }, tags: spec ? [{ name: 't', ...spec }] : [] },
  status: {
    dockerImageRepository: repository,
    ...(external ? { publicDockerImageRepository: external } : {}),
    tags: pushed ? [{ tag: 't', items: [ITEM] }] : [],
  },
});

const docker = (generation: number, type = 'Source'): Spec => ({
  generation,
  referencePolicy: { type },
  from: { kind: 'DockerImage', name: 'e.io/a/b:1' },
});
const alias = (generation: number, type = 'Source'): Spec => ({
  generation,
  referencePolicy: { type },
  from: { kind: 'ImageStreamTag', name: 's:q' },
});
const resolved = (pullSpec: string, more = {}) => ({
  kind: 'resolved',
  pullSpec,
  hasStatus: true,
  hasNewer: false,
  isTagEmpty: false,
  ...more,
});
const empty = (pullSpec: string) => resolved(pullSpec, { hasStatus: false, isTagEmpty: true });

describe('the pull spec of a tag', () => {
  it.each([
    { title: 'pushed only', of: stream(undefined), is: resolved(`e.io/a/b@${SHA}`) },
    { title: 'imported', of: stream(docker(2)), is: resolved(`e.io/a/b@${SHA}`) },
    { title: 'imported, policy Local', of: stream(docker(2, 'Local')), is: resolved(`int/ns/s@${SHA}`) },
    { title: 'policy Local without a registry', of: stream(docker(2, 'Local'), { repository: '' }), is: resolved(`e.io/a/b@${SHA}`) },
    { title: 'policy Local with a bad repository', of: stream(docker(2, 'Local'), { repository: 'NO' }), is: resolved(`e.io/a/b@${SHA}`) },
    { title: 'newer source pending, last image wanted', of: stream(docker(3)), is: resolved(`e.io/a/b@${SHA}`, { hasNewer: true }) },
    { title: 'newer alias pending, last image wanted', of: stream(alias(3)), is: resolved(`e.io/a/b@${SHA}`, { hasNewer: true }) },
    {
      title: 'newer source pending, newest wanted: the source itself',
      of: stream(docker(3)),
      latest: true,
      is: resolved('e.io/a/b:1', { hasStatus: false }),
    },
    {
      title: 'newer alias pending, newest wanted: wait',
      of: stream(alias(3)),
      latest: true,
      is: { kind: 'unresolved', reason: 'no-image-yet', message: 'the pull spec cannot be determined yet' },
    },
    {
      title: 'newer source pending with policy Local, newest wanted: wait',
      of: stream(docker(3, 'Local')),
      latest: true,
      is: { kind: 'unresolved', reason: 'no-image-yet', message: 'the pull spec cannot be determined yet' },
    },
    { title: 'same generation, newest wanted', of: stream(docker(2)), latest: true, is: resolved(`e.io/a/b@${SHA}`) },
    { title: 'source only', of: stream(docker(1), { pushed: false }), is: resolved('e.io/a/b:1', { hasStatus: false }) },
    { title: 'source only, policy Local', of: stream(docker(1, 'Local'), { pushed: false }), is: empty('int/ns/s:t') },
    { title: 'alias only', of: stream(alias(1), { pushed: false }), is: empty('int/ns/s:t') },
    { title: 'a tag without source', of: stream({ referencePolicy: { type: 'Source' } }, { pushed: false }), is: empty('int/ns/s:t') },
    { title: 'nothing', of: stream(undefined, { pushed: false }), is: empty('int/ns/s:t') },
    {
      title: 'nothing, wanted from outside',
      of: stream(undefined, { pushed: false, external: 'ext/ns/s' }),
      external: true,
      is: empty('ext/ns/s:t'),
    },
    {
      title: 'nothing, wanted from outside, where there is no outside',
      of: stream(undefined, { pushed: false }),
      external: true,
      is: empty('int/ns/s:t'),
    },
    { title: 'nothing, not wanted from outside', of: stream(undefined, { pushed: false, external: 'ext/ns/s' }), is: empty('int/ns/s:t') },
    {
      title: 'nothing and no registry',
      of: stream(undefined, { pushed: false, repository: '' }),
      is: { kind: 'unresolved', reason: 'no-repository', message: 'no image repository has been set on the image stream status' },
    },
  ])('$title', ({ of, latest, external, is }) => {
    expect(resolvePullSpec(of, 't', { requireLatest: latest, external })).toEqual(is);
  });

  it('an empty tag is latest', () => {
    expect(resolvePullSpec(stream(undefined), '')).toEqual(empty('int/ns/s:latest'));
  });

  it('of what is there, pending sources do not matter', () => {
    expect(latestPullSpec(stream(docker(9)), 't')).toBe(`e.io/a/b@${SHA}`);
    expect(latestPullSpec(stream(docker(9, 'Local')), 't')).toBe(`int/ns/s@${SHA}`);
    expect(latestPullSpec(stream(docker(9), { pushed: false }), 't')).toBeUndefined();
    expect(latestPullSpec(stream(undefined), '')).toBeUndefined();
  });

  it('a reference without an image stays what it is under every policy', () => {
    const reference = { dockerImageReference: 'e.io/a/b:1', image: '' };
    expect(pullSpecOf(reference, { policy: 'Local', repository: 'int/ns/s' })).toBe('e.io/a/b:1');
  });
});

describe('following aliases', () => {
  const of = (tags: Record<string, TagReference['from']>): ImageStream => ({
    metadata: { name: 's', namespace: 'n' },
    spec: { lookupPolicy: { local: false }, tags: Object.entries(tags).map(([name, from]) => ({ name, from })) },
    status: { dockerImageRepository: '' },
  });
  const image = { kind: 'DockerImage', name: 'x/y:1' };
  const to = (name: string, namespace?: string) => ({ kind: 'ImageStreamTag', name, namespace });

  it.each([
    { title: 'no alias', of: of({ a: image }), end: 'a', multiple: false },
    { title: 'no source', of: of({ a: undefined }), end: 'a', multiple: false },
    { title: 'a permanent tag', of: of({ a: { kind: 'ImageStreamImage', name: 's@x' } }), end: 'a', multiple: false },
    { title: 'short alias', of: of({ a: to('b'), b: image }), end: 'b', multiple: true },
    { title: 'full alias', of: of({ a: to('s:b'), b: image }), end: 'b', multiple: true },
    { title: 'alias of latest by an empty tag', of: of({ a: to('s:'), latest: image }), end: 'latest', multiple: true },
    { title: 'two levels', of: of({ a: to('b'), b: to('s:c'), c: image }), end: 'c', multiple: true },
    { title: 'own namespace', of: of({ a: to('s:b', 'n'), b: image }), end: 'b', multiple: true },
  ])('$title', ({ of: aStream, end, multiple }) => {
    expect(followTag(aStream, 'a')).toEqual({ kind: 'found', finalTag: end, multiple, tag: expect.objectContaining({ name: end }) });
  });

  it.each([
    { title: 'tag missing', of: of({}), reason: 'not-found', message: 'reference tag is not found', at: 'a', multiple: false },
    {
      title: 'target missing',
      of: of({ a: to('b') }),
      reason: 'not-found',
      message: 'reference tag is not found',
      at: 'b',
      multiple: true,
    },
    { title: 'itself', of: of({ a: to('s:a') }), reason: 'circular', message: 'reference tag is circular', at: 'a', multiple: true },
    {
      title: 'a circle',
      of: of({ a: to('b'), b: to('a') }),
      reason: 'circular',
      message: 'reference tag is circular',
      at: 'a',
      multiple: true,
    },
    {
      title: 'a circle further on',
      of: of({ a: to('b'), b: to('c'), c: to('b') }),
      reason: 'circular',
      message: 'reference tag is circular',
      at: 'b',
      multiple: true,
    },
    {
      title: 'other stream',
      of: of({ a: to('o:b') }),
      reason: 'other-stream',
      message: 'reference tag points to another imagestream',
      at: 'a',
      multiple: false,
    },
    {
      title: 'other namespace',
      of: of({ a: to('b', 'm') }),
      reason: 'other-stream',
      message: 'reference tag points to another imagestream',
      at: 'a',
      multiple: false,
    },
    {
      title: 'malformed',
      of: of({ a: to('a:b:c') }),
      reason: 'other-stream',
      message: 'reference tag points to another imagestream',
      at: 'a',
      multiple: false,
    },
  ])('$title: $message', ({ of: aStream, reason, message, at, multiple }) => {
    expect(followTag(aStream, 'a')).toEqual({ kind: 'broken', reason, message, finalTag: at, multiple });
  });

  it.each([
    ['b', undefined, 'b'],
    ['s:b', undefined, 'b'],
    ['s:b', 'n', 'b'],
    ['s:', undefined, 'latest'],
    ['s:b:c', undefined, 'b:c'],
    ['o:b', undefined, undefined],
    ['s:b', 'm', undefined],
  ])('%s in namespace %s means tag %s of stream n/s', (name, namespace, tag) => {
    expect(tagInStream({ metadata: { name: 's', namespace: 'n' } }, to(name, namespace))).toBe(tag);
  });
});
