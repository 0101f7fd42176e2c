import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  daemonMinimal,
  Digest,
  formatReference,
  InvalidReference,
  isDockerHub,
  matchesImage,
  mostSpecific,
  parseReference,
  registryHost,
  repositoryName,
  RepositoryName,
  TagName,
  tryParseReference,
  withClientDefaults,
} from './image-reference.ts';

const HEX = '3'.repeat(64);
const SHA = `sha256:${HEX}`;
const none = { registry: '', namespace: '', name: '', tag: '', id: '' };

describe('parts of a pull spec', () => {
  it.each([
    ['foo', { name: 'foo' }],
    ['foo:tag', { name: 'foo', tag: 'tag' }],
    ['foo:5000', { name: 'foo', tag: '5000' }],
    [`foo@${SHA}`, { name: 'foo', id: SHA }],
    [`sha256:${HEX}`, { name: 'sha256', tag: HEX }],
    ['bar/foo', { namespace: 'bar', name: 'foo' }],
    ['bar/foo:tag', { namespace: 'bar', name: 'foo', tag: 'tag' }],
    [`bar/foo:tag@${SHA}`, { namespace: 'bar', name: 'foo', tag: 'tag', id: SHA }],
    ['bar/foo/baz', { namespace: 'bar', name: 'foo/baz' }],
    ['bar:5000/baz', { registry: 'bar:5000', name: 'baz' }],
    ['bar:5000/foo/baz:tag', { registry: 'bar:5000', namespace: 'foo', name: 'baz', tag: 'tag' }],
    ['quay.io/a/b/c/d:t', { registry: 'quay.io', namespace: 'a', name: 'b/c/d', tag: 't' }],
    ['localhost/bar', { registry: 'localhost', name: 'bar' }],
    ['localhost5/bar', { namespace: 'localhost5', name: 'bar' }],
    ['a-b--c.io/x', { registry: 'a-b--c.io', name: 'x' }],
    ['a_b/c__d/e---f', { namespace: 'a_b', name: 'c__d/e---f' }],
    ['UPPER/x', { namespace: 'UPPER', name: 'x' }],
    ['Reg.IO/x', { registry: 'Reg.IO', name: 'x' }],
    [`foo@sha512:${'a'.repeat(128)}`, { name: 'foo', id: `sha512:${'a'.repeat(128)}` }],
    [`foo@sha384:${'A'.repeat(96)}`, { name: 'foo', id: `sha384:${'A'.repeat(96)}` }],
    [`foo:${'t'.repeat(128)}`, { name: 'foo', tag: 't'.repeat(128) }],
    ['foo:_t', { name: 'foo', tag: '_t' }],
    ['foo:T.a-b_c', { name: 'foo', tag: 'T.a-b_c' }],
    [
      `bar:5000/${'a'.repeat(63)}/${'b'.repeat(182)}:tag`,
      { registry: 'bar:5000', namespace: 'a'.repeat(63), name: 'b'.repeat(182), tag: 'tag' },
    ],
  ])('%s', (text, parts) => {
    expect(parseReference(text)).toEqual({ ...none, ...parts });
  });

  it.each([
    ['a.b', 'a.b', ''],
    ['a.b:5000', 'a.b:5000', ''],
    ['localhost', 'localhost', ''],
    ['localhost:5000', 'localhost:5000', ''],
    ['localhost5', 'localhost5', ''],
    [`a.b@${SHA}`, `a.b@${SHA}`, SHA],
  ])('%s stands for a registry as a whole', (text, registry, id) => {
    expect(parseReference(text)).toEqual({ ...none, registry, id });
  });

  it.each([
    ['', 'repository name must have at least one component'],
    ['UPPER', 'repository name must be lowercase'],
    ['reg.io/Upper', 'repository name must be lowercase'],
    ['UPPER/Case:1', 'repository name must be lowercase'],
    ['foo:-bad', 'invalid reference format'],
    ['foo:.bad', 'invalid reference format'],
    ['foo:', 'invalid reference format'],
    ['foo@', 'invalid reference format'],
    [':tag', 'invalid reference format'],
    [`@${SHA}`, 'invalid reference format'],
    [`foo:${'t'.repeat(129)}`, 'invalid reference format'],
    ['foo@sha256:abc', 'invalid reference format'],
    [`foo@sha256:${'g'.repeat(64)}`, 'invalid reference format'],
    [`foo@${SHA}:tag`, 'invalid reference format'],
    [`foo@sha256:${'a'.repeat(63)}`, 'invalid checksum digest length'],
    [`foo@sha512:${'a'.repeat(64)}`, 'invalid checksum digest length'],
    [`foo@SHA256:${HEX}`, 'unsupported digest algorithm'],
    [`foo@md5:${'a'.repeat(32)}`, 'unsupported digest algorithm'],
    [`foo@sha256+b64:${'a'.repeat(64)}`, 'unsupported digest algorithm'],
    ['http://foo/bar', 'invalid reference format'],
    ['foo//bar', 'invalid reference format'],
    ['/foo', 'invalid reference format'],
    ['foo/', 'invalid reference format'],
    ['a___b', 'invalid reference format'],
    ['a..b/c', 'invalid reference format'],
    ['a-_b', 'invalid reference format'],
    ['a.-b', 'invalid reference format'],
    ['foo-', 'invalid reference format'],
    ['_foo', 'invalid reference format'],
    ['foo bar', 'invalid reference format'],
    [' foo', 'invalid reference format'],
    ['foo\n', 'invalid reference format'],
    ['föö', 'invalid reference format'],
    ['*', 'invalid reference format'],
    ['reg/a:b:c', 'invalid reference format'],
    ['a-|///bbb', 'invalid reference format'],
    ['reg.io:/a', 'invalid reference format'],
    ['a'.repeat(256), 'repository name must not be more than 255 characters'],
  ])('%j is refused: %s', (text, message) => {
    expect(() => parseReference(text)).toThrow(new InvalidReference(message));
    expect(tryParseReference(text)).toBeUndefined();
  });

  it('a long text that is almost a name is refused in linear time', () => {
    for (const almost of ['a'.repeat(100_000) + '!', 'a-'.repeat(50_000), 'a.'.repeat(50_000) + '/', 'A/'.repeat(50_000) + 'b']) {
      const [short, long] = [almost.slice(0, 10_000), almost].map((text) => {
        const start = performance.now();
        tryParseReference(text);
        return performance.now() - start;
      });
      expect(long).toBeLessThan(50 * (short ?? 0) + 100);
    }
  });
});

describe('forms of a pull spec', () => {
  it.each([
    { text: 'foo', defaults: 'docker.io/library/foo:latest', daemon: 'foo', host: 'registry-1.docker.io', repository: 'foo' },
    {
      text: 'library/foo',
      defaults: 'docker.io/library/foo:latest',
      daemon: 'library/foo',
      host: 'registry-1.docker.io',
      repository: 'library/foo',
    },
    {
      text: 'docker.io/library/bar:latest',
      defaults: 'docker.io/library/bar:latest',
      daemon: 'docker.io/bar',
      host: 'registry-1.docker.io',
      repository: 'library/bar',
    },
    {
      text: 'index.docker.io/bar',
      defaults: 'index.docker.io/library/bar:latest',
      daemon: 'docker.io/bar',
      host: 'registry-1.docker.io',
      repository: 'bar',
    },
    {
      text: 'registry-1.docker.io/library/x',
      defaults: 'registry-1.docker.io/library/x:latest',
      daemon: 'docker.io/x',
      host: 'registry-1.docker.io',
      repository: 'library/x',
    },
    { text: 'quay.io/foo', defaults: 'quay.io/foo:latest', daemon: 'quay.io/foo', host: 'quay.io', repository: 'foo' },
    {
      text: 'quay.io/library/foo:1',
      defaults: 'quay.io/library/foo:1',
      daemon: 'quay.io/library/foo:1',
      host: 'quay.io',
      repository: 'library/foo',
    },
    { text: 'a.b', defaults: '', daemon: '', host: 'a.b', repository: '' },
  ])('$text', ({ text, defaults, daemon, host, repository }) => {
    const reference = parseReference(text);

    expect(formatReference(withClientDefaults(reference))).toBe(defaults);
    expect(formatReference(daemonMinimal(reference))).toBe(daemon);
    expect(registryHost(reference)).toBe(host);
    expect(repositoryName(reference)).toBe(repository);
  });

  it('a digest wins over a tag where only one can be written', () => {
    const reference = parseReference(`bar.com/foo/bar:v1@${SHA}`);

    expect(formatReference(reference)).toBe(`bar.com/foo/bar@${SHA}`);
    expect(mostSpecific(reference)).toEqual({ ...reference, tag: '' });
  });

  it('an id that is no digest is written, and preferred, as the tag of an old registry', () => {
    const reference = { ...none, name: 'foo', id: 'abc' };

    expect(formatReference(reference)).toBe('foo:abc');
    expect(mostSpecific(reference)).toEqual({ ...none, name: 'foo', tag: 'abc' });
    expect(mostSpecific({ ...reference, tag: 't' })).toEqual({ ...reference, tag: 't' });
  });

  it('without an id the most specific form is the reference itself', () => {
    expect(mostSpecific(parseReference('foo:1'))).toEqual({ ...none, name: 'foo', tag: '1' });
  });

  it.each([
    ['docker.io', true],
    ['index.docker.io', true],
    ['registry-1.docker.io', true],
    ['', false],
    ['quay.io', false],
  ])('%j is Docker Hub: %s', (registry, is) => {
    expect(isDockerHub(registry)).toBe(is);
  });
});

describe('what a user types for an image', () => {
  it.each([
    [SHA, '333', true],
    [SHA, 'sha256:333', true],
    [SHA, SHA, true],
    [SHA, HEX, true],
    [SHA, '444', false],
    [SHA, '', true],
    [SHA, 'sha512', false],
    ['plainid', 'pla', true],
    ['plainid', 'lain', false],
    ['sha256:abc', 'abc', false],
    [`md5:${'a'.repeat(32)}`, 'aaa', false],
  ])('%s by %j: %s', (image, typed, matches) => {
    expect(matchesImage(image, typed)).toBe(matches);
  });
});

describe('schemas', () => {
  it.each([SHA, `sha512:${'0'.repeat(128)}`])('%s is a digest', (text) => {
    expect(Digest.safeParse(text).success).toBe(true);
  });
  it.each(['', 'sha256:', `sha256:${'a'.repeat(63)}`, `sha256:${'a'.repeat(65)}`, `SHA256:${HEX}`, ` ${SHA}`, HEX])(
    '%j is no digest',
    (text) => {
      expect(Digest.safeParse(text).success).toBe(false);
    },
  );
  it.each(['latest', '1.0', '_x', 'A-b.c_d', 'x'.repeat(128)])('%s is a tag', (text) => {
    expect(TagName.safeParse(text).success).toBe(true);
  });
  it.each(['', '.x', '-x', 'a b', 'a:b', 'a/b', 'x'.repeat(129), 'ä', 'a\n'])('%j is no tag', (text) => {
    expect(TagName.safeParse(text).success).toBe(false);
  });
});

describe('whatever the grammar allows', () => {
  const alphanumeric = fc.stringMatching(/^[a-z0-9]{1,8}$/);
  const component = fc
    .tuple(alphanumeric, fc.array(fc.tuple(fc.constantFrom('.', '_', '__', '-', '---'), alphanumeric), { maxLength: 3 }))
    .map(([first, rest]) => first + rest.map((part) => part.join('')).join(''));
  const host = fc
    .tuple(fc.stringMatching(/^[a-zA-Z0-9]{1,6}(-[a-zA-Z0-9]{1,3})?$/), fc.constantFrom('.io', '.Example.COM', ':5000', '.io:443'))
    .map((parts) => parts.join(''));
  const pullSpec = fc
    .record({
      host: fc.option(host),
      path: fc.array(component, { minLength: 2, maxLength: 4 }),
      tag: fc.option(fc.stringMatching(/^\w[\w.-]{0,20}$/)),
      digest: fc.option(fc.stringMatching(/^sha256:[0-9a-f]{64}$/)),
    })
    .filter(({ host, path }) => host !== null || !/^localhost$|\./.test(path[0] ?? ''));

  it('is read into its parts', () => {
    fc.assert(
      fc.property(pullSpec, ({ host, path, tag, digest }) => {
        const reference = parseReference(
          `${host === null ? '' : `${host}/`}${path.join('/')}${tag === null ? '' : `:${tag}`}${digest === null ? '' : `@${digest}`}`,
        );

        expect(reference).toEqual({
          registry: host ?? '',
          namespace: path[0],
          name: path.slice(1).join('/'),
          tag: tag ?? '',
          id: digest ?? '',
        });
      }),
    );
  });

  it('is read back from what was written, with a digest instead of the tag', () => {
    fc.assert(
      fc.property(pullSpec, ({ host, path, tag, digest }) => {
        const reference = {
          registry: host ?? '',
          namespace: path[0] ?? '',
          name: path.slice(1).join('/'),
          tag: tag ?? '',
          id: digest ?? '',
        };

        expect(parseReference(formatReference(reference))).toEqual(mostSpecific(reference));
      }),
    );
  });

  it('or does not: a text is parsed or refused with a reason, and nothing else happens', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('a', 'B', '0', '.', '_', '-', ':', '/', '@') })), (text) => {
        const reference = tryParseReference(text);
        if (reference?.name) expect(parseReference(formatReference(reference))).toEqual(mostSpecific(reference));
      }),
      { numRuns: 1000 },
    );
  });
});

describe('a repository name', () => {
  it.each(['a', 'library/ruby', 'a/b/c/d', 'a.b_c__d---e/0', 'a'.repeat(255)])('may be %s', (name) => {
    expect(RepositoryName.safeParse(name).success).toBe(true);
  });

  it.each(['', 'Team/app', '../a', 'a/../b', 'a//b', '/a', 'a/', 'a..b', 'a?x', 'a:b', `a@${SHA}`, '-a', 'a b', 'a'.repeat(256)])(
    'may not be %s',
    (name) => {
      expect(RepositoryName.safeParse(name).success).toBe(false);
    },
  );
});
