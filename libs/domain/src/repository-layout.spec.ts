import { describe, expect, it } from 'vitest';
import { RepositoryLayout, streamOfRepository } from './repository-layout.ts';

const read = (repository: string, layout: unknown = {}) => {
  const found = streamOfRepository(repository, RepositoryLayout.parse(layout));
  return found.kind === 'stream' ? `${found.namespace} ${found.stream}` : found.reason;
};

describe('a repository is the stream', () => {
  it.each<[string, unknown, string]>([
    // By default: two segments.
    ['demo/web', {}, 'demo web'],
    ['demo/web.api_v2', {}, 'demo web.api_v2'],
    ['0/0', {}, '0 0'],
    // In one namespace.
    ['web', { namespace: 'builds' }, 'builds web'],
    ['team/web', { namespace: 'builds', stream: 'last-segment' }, 'builds web'],
    ['team/backend/web', { namespace: 'builds', stream: 'dashed-path' }, 'builds team-backend-web'],
    ['web', { namespace: 'builds', stream: 'dashed-path' }, 'builds web'],
    // The first segment is the namespace, however long the rest.
    ['demo/backend/web', { stream: 'last-segment' }, 'demo web'],
    ['demo/backend/web', { stream: 'dashed-path' }, 'demo backend-web'],
    ['demo/web', { stream: 'dashed-path' }, 'demo web'],
    // Below a prefix.
    ['mirror/demo/web', { prefix: 'mirror/' }, 'demo web'],
    ['mirror/eu/demo/web', { prefix: 'mirror/eu/' }, 'demo web'],
    ['mirror/web', { prefix: 'mirror/', namespace: 'builds' }, 'builds web'],
  ])('%s with %j: %s', (repository, layout, stream) => {
    expect(read(repository, layout)).toBe(stream);
  });
});

describe('a repository is no stream, and the reason says why', () => {
  it.each<[string, unknown, RegExp]>([
    ['web', {}, /repository web is no image stream: its name must be NAMESPACE\/STREAM by the layout/],
    ['demo/backend/web', {}, /must be NAMESPACE\/STREAM by/],
    ['web', { stream: 'last-segment' }, /must be NAMESPACE\/STREAM or longer/],
    ['web', { stream: 'dashed-path' }, /must be NAMESPACE\/STREAM or longer/],
    ['team/web', { namespace: 'builds' }, /must be STREAM by/],
    ['demo/web', { prefix: 'mirror/' }, /does not begin with mirror\//],
    ['mirrors/web', { prefix: 'mirror/', namespace: 'builds' }, /does not begin with mirror\//],
    ['mirror/web', { prefix: 'mirror/' }, /must be mirror\/NAMESPACE\/STREAM/],
    ['my_team/web', {}, /namespace "my_team" a lowercase RFC 1123 label/],
    [`${'n'.repeat(64)}/web`, {}, /no more than 63 characters/],
    // Registries allow these separators, streams do not.
    ['demo/web__api', {}, /stream name "web__api" must match/],
    ['demo/web--api', {}, /stream name "web--api" must match/],
    ['my_team/web__api', {}, /namespace "my_team" .*; stream name "web__api"/],
    ['', {}, /is no image stream/],
  ])('%s with %j: %s', (repository, layout, reason) => {
    expect(read(repository, layout)).toMatch(reason);
  });
});

describe('a layout', () => {
  it.each([
    [{ prefix: 'mirror' }],
    [{ prefix: '/' }],
    [{ prefix: '' }],
    [{ namespace: 'Builds' }],
    [{ stream: 'first-segment' }],
    [{ name: 'web' }],
  ])('%j is refused', (layout) => {
    expect(RepositoryLayout.safeParse(layout).success).toBe(false);
  });
});
