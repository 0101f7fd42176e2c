import { describe, expect, it } from 'vitest';
import { parseChallenges } from './challenge.ts';

const hub = { scheme: 'bearer', realm: new URL('https://auth.docker.io/token'), service: 'registry.docker.io' };

describe('a WWW-Authenticate header', () => {
  it.each([
    ['nothing', undefined, []],
    ['an empty one', '', []],
    [
      'Docker Hub',
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/ruby:pull"',
      [{ ...hub, scope: 'repository:library/ruby:pull' }],
    ],
    [
      'spaces after the commas',
      'Bearer realm="https://auth.docker.io/token", service="registry.docker.io" ,  scope="a b"',
      [{ ...hub, scope: 'a b' }],
    ],
    ['another case', 'bEARER Realm="https://auth.docker.io/token",SERVICE="registry.docker.io"', [{ ...hub, scope: undefined }]],
    ['no quotes', 'Bearer realm=https://auth.docker.io/token,service=registry.docker.io', [{ ...hub, scope: undefined }]],
    ['an empty scope', 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope=""', [{ ...hub, scope: undefined }]],
    [
      'an error beside the rest',
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",error="insufficient_scope"',
      [{ ...hub, scope: undefined }],
    ],
    [
      'Bearer and Basic in one header',
      'Bearer realm="https://codeberg.org/v2/token",service="container_registry",scope="*",Basic realm="Forgejo"',
      [
        { scheme: 'bearer', realm: new URL('https://codeberg.org/v2/token'), service: 'container_registry', scope: '*' },
        { scheme: 'basic' },
      ],
    ],
    [
      'Basic first',
      'Basic realm="x", Bearer realm="https://a.test/t"',
      [{ scheme: 'basic' }, { scheme: 'bearer', realm: new URL('https://a.test/t'), service: undefined, scope: undefined }],
    ],
    [
      'two headers',
      ['Basic realm="x"', 'Bearer realm="https://a.test/t"'],
      [{ scheme: 'basic' }, { scheme: 'bearer', realm: new URL('https://a.test/t'), service: undefined, scope: undefined }],
    ],
    ['a Basic realm that is no URL', 'Basic realm="Artifactory Realm"', [{ scheme: 'basic' }]],
    [
      'a Basic realm with a comma and a quote',
      'Basic realm="Sonatype, \\"Nexus\\" Bearer realm=x", charset="UTF-8"',
      [{ scheme: 'basic' }],
    ],
    ['Basic alone', 'Basic', [{ scheme: 'basic' }]],
    ['a token68 before it', 'Negotiate YWJj==, Basic realm="x"', [{ scheme: 'basic' }]],
    ['a scheme nobody knows', 'Digest realm="x", nonce="y"', []],
    ['a relative realm', 'Bearer realm="/token",service="s"', []],
    ['a realm that is a file', 'Bearer realm="file:///etc/passwd"', []],
    ['a realm that is code', 'Bearer realm="javascript:alert(1)"', []],
    ['no realm', 'Bearer service="s"', []],
    ['an open quote', 'Bearer realm="https://a.test/t', []],
    ['garbage', '=,=,"" ;;', []],
  ])('%s', (_title, header, challenges) => {
    expect(parseChallenges(header)).toEqual(challenges);
  });

  it('of 16 kB that never ends is read in no time', () => {
    const started = performance.now();

    for (const piece of ['a ', 'a=', ',', 'a="', '\\', 'Bearer realm="https://a.test/t",'])
      parseChallenges(`Bearer ${piece.repeat(16_384 / piece.length)}`);

    expect(performance.now() - started).toBeLessThan(500);
  });
});
