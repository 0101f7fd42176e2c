import { describe, expect, it } from 'vitest';
import { validateLabels } from './labels.ts';
import { exactField, matchesFields, matchesLabels, parseFieldSelector, parseLabelSelector } from './selectors.ts';
import { StatusError } from './status.ts';

const messageOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof StatusError) return `${error.status.code} ${error.status.message}`;
    throw error;
  }
  return 'nothing is refused';
};

describe('a label selector', () => {
  it.each([
    ['', {}, true],
    ['team=x', { team: 'x' }, true],
    ['team==x', { team: 'x' }, true],
    [' team = x ', { team: 'x' }, true],
    ['team=x', { team: 'y' }, false],
    ['team=x', {}, false],
    ['team=', { team: '' }, true],
    ['team=,tier=a', { team: '', tier: 'a' }, true],
    ['team!=x', { team: 'y' }, true],
    ['team!=x', {}, true],
    ['team!=x', { team: 'x' }, false],
    ['team', { team: '' }, true],
    ['team', {}, false],
    ['!team', {}, true],
    ['!team', { team: 'x' }, false],
    ['team in (x,y)', { team: 'y' }, true],
    ['team in (x,y)', { team: 'z' }, false],
    ['team in (x,y)', {}, false],
    ['team in ()', { team: '' }, true],
    ['team in (x,)', { team: '' }, true],
    ['team in (,,x)', { team: '' }, true],
    ['team notin (x,y)', { team: 'z' }, true],
    ['team notin (x,y)', {}, true],
    ['team notin (x,y)', { team: 'x' }, false],
    ['team in (in,notin)', { team: 'notin' }, true],
    ['in=a', { in: 'a' }, true],
    ['size>3', { size: '10' }, true],
    ['size>3', { size: '3' }, false],
    ['size<3', { size: '-1' }, true],
    ['size<3', { size: 'small' }, false],
    ['size<3', {}, false],
    ['example.com/part-of=a,!old,tier in (a,b)', { 'example.com/part-of': 'a', tier: 'b' }, true],
    ['example.com/part-of=a,!old,tier in (a,b)', { 'example.com/part-of': 'a', tier: 'b', old: '' }, false],
    ['constructor', {}, false],
  ])('%j on %j matches: %j', (text, labels, expected) => {
    expect(matchesLabels(parseLabelSelector(text), labels)).toBe(expected);
  });

  it.each([
    ['a=b=c', "400 found '=', expected: ',' or 'end of string'"],
    ['a b', "400 unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"],
    [',a', "400 found ',', expected: !, identifier, or 'end of string'"],
    ['a,', "400 found '', expected: identifier after ','"],
    ['!', "400 unable to parse requirement: found '', expected: identifier"],
    ['a in x', "400 unable to parse requirement: found 'x' expected: '('"],
    ['a in (x', "400 unable to parse requirement: found '', expected: ',' or ')'"],
    ['a in (x y)', "400 unable to parse requirement: found 'y', expected: ',' or ')'"],
    ['a>x', "400 unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"],
    ['a=(', "400 unable to parse requirement: found '(', expected: identifier"],
  ])('%j is refused: %s', (text, message) => {
    expect(messageOf(() => parseLabelSelector(text))).toBe(message);
  });

  it.each([
    ['-a', '<nil>: Invalid value: "-a": name part must consist of alphanumeric characters'],
    ['a/b/c', '<nil>: Invalid value: "a/b/c": a qualified name must consist of'],
    ['/a', '<nil>: Invalid value: "/a": prefix part must be non-empty'],
    ['a=-b', 'values[0][a]: Invalid value: "-b": a valid label must be an empty string or consist of'],
    [`a=${'b'.repeat(64)}`, 'must be no more than 63 characters'],
  ])('%j is refused because of the grammar of labels: %s', (text, message) => {
    expect(messageOf(() => parseLabelSelector(text))).toContain(message);
  });
});

describe('a field selector', () => {
  const known = ['metadata.name', 'metadata.namespace', 'spec.dockerImageRepository'];
  const object: Record<string, string> = {
    'metadata.name': 's',
    'metadata.namespace': 'n',
    'spec.dockerImageRepository': 'a/b,c=d\\e',
  };

  it.each([
    ['', true],
    ['metadata.name=s', true],
    ['metadata.name==s', true],
    ['metadata.name!=s', false],
    ['metadata.name!=t,metadata.namespace=n', true],
    ['metadata.name=s,metadata.namespace=m', false],
    ['metadata.name=', false],
    [',metadata.name=s,', true],
    ['spec.dockerImageRepository=a/b\\,c\\=d\\\\e', true],
  ])('%j matches the object: %j', (text, expected) => {
    expect(matchesFields(parseFieldSelector(text, known), (field) => object[field] ?? '')).toBe(expected);
  });

  it.each([
    ['spec.foo=1', '400 "spec.foo" is not a known field selector: only "metadata.name", "metadata.namespace"'],
    ['metadata.name', "400 invalid selector: 'metadata.name'; can't understand 'metadata.name'"],
    ['metadata.name=a=b', '400 invalid field selector: unescaped character in value: ='],
    ['metadata.name=a\\b', '400 invalid field selector: invalid escape sequence: \\b'],
    ['metadata.name=a\\', '400 invalid field selector: invalid escape sequence: \\'],
  ])('%j is refused: %s', (text, message) => {
    expect(messageOf(() => parseFieldSelector(text, known))).toBe(message);
  });

  it('tells the one value that a field must have', () => {
    const requirements = parseFieldSelector('metadata.namespace!=x,metadata.name=s', known);
    expect(exactField(requirements, 'metadata.name')).toBe('s');
    expect(exactField(requirements, 'metadata.namespace')).toBeUndefined();
  });
});

describe('labels and annotations of an object', () => {
  it.each([
    [{ labels: { team: 'x', 'example.com/a_b.c': '' }, annotations: { 'Example.com/Any': 'what ever / %' } }, []],
    [{ labels: { 'a b': 'x' } }, ['metadata.labels']],
    [{ labels: { a: 'x y' } }, ['metadata.labels']],
    [{ annotations: { '/a': '' } }, ['metadata.annotations']],
    [{ annotations: { a: 'x'.repeat(256 * 1024) } }, ['metadata.annotations']],
  ])('case %# is wrong in these fields', (metadata, fields) => {
    expect(validateLabels(metadata).map((error) => error.field)).toEqual(fields);
  });
});
