import { describe, expect, it } from 'vitest';
import { InvalidReference } from './image-reference.ts';
import {
  formatStreamTag,
  Namespace,
  namespaceProblems,
  parseStreamImage,
  parseStreamTag,
  pathSegmentProblems,
  splitStreamTag,
  StreamName,
  streamNameProblems,
} from './stream-names.ts';

const GRAMMAR = 'must match "[a-z0-9]+(?:[._-][a-z0-9]+)*"';

describe('stream names', () => {
  it.each(['a', 'python', 'a.b-c_d', '3', '0.1'])('%s is one', (name) => {
    expect(streamNameProblems(name)).toEqual([]);
    expect(StreamName.safeParse(name).success).toBe(true);
  });

  it.each([
    ['Abc', [GRAMMAR]],
    ['a__b', [GRAMMAR]],
    ['a..b', [GRAMMAR]],
    ['a--b', [GRAMMAR]],
    ['-a', [GRAMMAR]],
    ['a-', [GRAMMAR]],
    ['a b', [GRAMMAR]],
    ['', [GRAMMAR]],
    ['.', ["may not be '.'"]],
    ['..', ["may not be '..'"]],
    ['a/b', ["may not contain '/'"]],
    ['a%b/c', ["may not contain '/'", "may not contain '%'"]],
  ])('%j is none: %j', (name, problems) => {
    expect(streamNameProblems(name)).toEqual(problems);
    expect(StreamName.safeParse(name).success).toBe(false);
  });

  it('a name of another object needs only to fit a URL path', () => {
    expect(pathSegmentProblems('Stream:Tag@x')).toEqual([]);
  });
});

describe('namespaces', () => {
  it.each(['a', 'team-1', '1a', 'x'.repeat(63)])('%s is one', (namespace) => {
    expect(Namespace.safeParse(namespace).success).toBe(true);
    expect(namespaceProblems(namespace)).toEqual([]);
  });

  it.each([
    ['', 1],
    ['-a', 1],
    ['a-', 1],
    ['a.b', 1],
    ['A', 1],
    ['x'.repeat(64), 1],
    [`${'x'.repeat(64)}-`, 2],
  ])('%j is none, for %i reasons', (namespace, reasons) => {
    expect(Namespace.safeParse(namespace).success).toBe(false);
    expect(namespaceProblems(namespace)).toHaveLength(reasons);
  });
});

describe('stream:tag, strictly', () => {
  it.each([
    ['name:tag', { name: 'name', tag: 'tag' }],
    ['na/me:tag', { name: 'na/me', tag: 'tag' }],
  ])('%s', (text, parts) => {
    expect(parseStreamTag(text)).toEqual(parts);
  });

  it.each([
    ['', 'expected exactly one : delimiter in the istag ""'],
    ['hello', 'expected exactly one : delimiter in the istag "hello"'],
    ['a:b:c', 'expected exactly one : delimiter in the istag "a:b:c"'],
    ['a::b', 'expected exactly one : delimiter in the istag "a::b"'],
    [':tag', 'image stream tag name ":tag" must have a name and a tag'],
    ['name:', 'image stream tag name "name:" must have a name and a tag'],
    [':', 'image stream tag name ":" must have a name and a tag'],
    ['name@sha256:x', '"name@sha256:x" is an image stream image, not an image stream tag'],
  ])('%j is refused: %s', (text, message) => {
    expect(() => parseStreamTag(text)).toThrow(new InvalidReference(message));
  });
});

describe('stream:tag, leniently', () => {
  it.each([
    ['name', { name: 'name', tag: 'latest', ok: false }],
    ['name:', { name: 'name', tag: 'latest', ok: true }],
    ['name:tag', { name: 'name', tag: 'tag', ok: true }],
    ['a:b:c', { name: 'a', tag: 'b:c', ok: true }],
    [':tag', { name: '', tag: 'tag', ok: true }],
    ['', { name: '', tag: 'latest', ok: false }],
  ])('%j', (text, parts) => {
    expect(splitStreamTag(text)).toEqual(parts);
  });

  it('an empty tag is written as latest', () => {
    expect(formatStreamTag('foo', '')).toBe('foo:latest');
    expect(formatStreamTag('foo', 'bar')).toBe('foo:bar');
  });
});

describe('stream@id', () => {
  it('is read into its two parts', () => {
    expect(parseStreamImage('name@sha256:abc')).toEqual({ name: 'name', id: 'sha256:abc' });
  });

  it.each([
    ['', 'expected exactly one @ in the isimage name ""'],
    ['a', 'expected exactly one @ in the isimage name "a"'],
    ['a@b@c', 'expected exactly one @ in the isimage name "a@b@c"'],
    ['@id', 'image stream image name "@id" must have a name and ID'],
    ['name@', 'image stream image name "name@" must have a name and ID'],
  ])('%j is refused: %s', (text, message) => {
    expect(() => parseStreamImage(text)).toThrow(new InvalidReference(message));
  });
});
