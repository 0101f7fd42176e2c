import { describe, expect, it } from 'vitest';
import { type Escape, render, TemplateError, unknownNames } from './templates.ts';

const labels = Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`label-${i}`, 'x'.repeat(100)]));
const variables = {
  data: { tag: 'a"b/c', list: [1, 2, 3], labels },
  parameters: { token: 's3cret' },
  big: 'x'.repeat(250_000),
};
const fails = (text: string, escape: Escape = 'none'): string => {
  try {
    return `rendered: ${render(text, variables, escape).slice(0, 100)}`;
  } catch (error) {
    expect(error).toBeInstanceOf(TemplateError);
    return (error as Error).message;
  }
};

describe('a template', () => {
  it.each([
    ['{{ data.tag }}', 'none', 'a"b/c'],
    ['{"tag": "{{ data.tag }}"}', 'json', '{"tag": "a\\"b/c"}'],
    ['/{{ data.tag }}', 'url', '/a%22b%2Fc'],
    ['/{{ data.tag | raw }}', 'url', '/a"b/c'],
    ['{{ data.list | json }}', 'json', '[1,2,3]'],
    ['{{ data.tag | upcase | append: "!" }}', 'json', 'A\\"B/C!'],
    ['{{ data.list }}', 'none', '[1,2,3]'],
    ['{{ data.missing.deep }}|{{ data.missing | default: "none" }}', 'none', '|none'],
    ['{{ data.missing | json }}', 'json', 'null'],
    ['{% for one in data.list %}{{ one }}{% unless forloop.last %},{% endunless %}{% endfor %}', 'none', '1,2,3'],
    ['{% if data.list contains 2 %}yes{% else %}no{% endif %}', 'none', 'yes'],
    ['{% case data.tag %}{% when "x" %}x{% else %}other{% endcase %}', 'none', 'other'],
    ['{% assign t = data.tag | split: "/" %}{{ t | last }}', 'none', 'c'],
    ['{{ "user:pass" | base64 }}', 'none', 'dXNlcjpwYXNz'],
    ['{{ "" | hmac_sha256: "" }}', 'none', 'b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad'],
    ['{% raw %}{{ data }}{% endraw %}', 'none', '{{ data }}'],
  ] as const)('%s, escaped for %s, is %s', (text, escape, expected) => {
    expect(render(text, variables, escape)).toBe(expected);
  });

  it.each([
    '{{ data.constructor.name }}',
    '{{ data.__proto__ }}',
    '{{ data.list.constructor }}',
    '{{ "x".constructor }}',
    '{{ data.hasOwnProperty }}',
  ])('%s sees nothing that is not its own', (text) => {
    expect(render(text, variables, 'none')).toBe('');
  });

  it.each([
    ['a\n\n  {{ data.tag', 'line 3, column 3: output "{{ data.tag" not closed'],
    ['{% if data %}', 'line 1, column 1: tag {% if data %} not closed'],
    ['{% for x of data %}{% endfor %}', 'line 1, column 1: illegal tag'],
    ['\n{{ data | pop }}', 'line 2, column 1: undefined filter: pop'],
    ['{{ data | strip_html }}', 'undefined filter: strip_html'],
    ['{{ data | where_exp: "x", "x.y" }}', 'undefined filter: where_exp'],
    ['{% include "/etc/passwd" %}', 'tag "include" not found'],
    ['{% render "/etc/passwd" %}', 'tag "render" not found'],
    ['{% layout "/etc/passwd" %}', 'tag "layout" not found'],
    ['{% capture x %}{% endcapture %}', 'tag "capture" not found'],
    ['x'.repeat(40_000), 'parse length limit exceeded'],
    ['{{ tag }}'.repeat(300), 'more than 200 of these'],
    [`{% if ${'a and '.repeat(2_000)} a %}{% endif %}`, 'it has more than 4000 characters between'],
    ['{{'.repeat(8_000), 'it has more than 4000 characters between'],
  ])('%j is refused with its place', (text, message) => {
    expect(fails(text)).toContain(message);
  });

  it('that is refused does not repeat what stands in it', () => {
    expect(fails('Bearer s3cret {{ data | pop }}')).not.toContain('s3cret');
  });
});

describe('a template that means harm', () => {
  it.each([
    ['counts for ever', '{% for i in (1..100000000) %}x{% endfor %}', 'on the way'],
    ['loops in loops', '{% for i in (1..1000) %}{% for j in (1..1000) %}x{% endfor %}{% endfor %}', '2000 steps'],
    ['is nested deep', `${'{% if data %}'.repeat(90)}${'{% endif %}'.repeat(90)}{% for i in (1..5000) %}x{% endfor %}`, '2000 steps'],
    ['loops over nothing', '{% for i in (1..900) %}{% for j in (1..900) %}{% endfor %}{% endfor %}', 'it '],
    [
      'loops over the event',
      '{% for i in data.labels %}{% for j in data.labels %}{% for k in data.labels %}{% endfor %}{% endfor %}{% endfor %}',
      '2000 steps',
    ],
    ['doubles a text', '{% assign a = "aaaaaaaaaa" %}{% for i in (1..100) %}{% assign a = a | append: a %}{% endfor %}', 'on the way'],
    ['writes 100 MB', '{% for i in (1..1000) %}{{ data | json }}{% endfor %}', 'more than 256 kB'],
    ['writes little by little', `{% for i in (1..1900) %}${'x'.repeat(1_000)}{% endfor %}`, 'more than 256 kB'],
    ['makes the event again and again', '{% for i in (1..4000) %}{% assign a = data | json %}{% endfor %}', 'on the way'],
    ['replaces', '{% for i in (1..4000) %}{% assign a = big | replace: "x", "y" %}{% endfor %}', 'on the way'],
    ['hashes', '{% for i in (1..4000) %}{% assign a = big | hmac_sha256: "y" %}{% endfor %}', 'on the way'],
    ['searches', `{% if ${Array.from({ length: 160 }, () => 'big contains "xy"').join(' or ')} %}{% endif %}`, 'on the way'],
    ['chains filters', `{{ big ${'| upcase | downcase '.repeat(190)} }}`, 'on the way'],
  ])('and %s is stopped within a few milliseconds', (_what, text, message) => {
    // Not what it takes to read it, and not a process that begins.
    fails(text);
    const before = process.threadCpuUsage();
    const said = fails(text);
    const { user, system } = process.threadCpuUsage(before);

    expect(said).toContain(message);
    expect((user + system) / 1_000).toBeLessThan(100);
  });
});

describe('names that a template uses', () => {
  it.each([
    ['{{ data.tag }} {{ dta }} {{ parameters.token }} {{ parameters.tken }}', ['dta', 'parameters.tken']],
    ['{% for x in labels %}{{ x }}{{ forloop.index }}{% endfor %}', ['labels']],
    ['{% assign x = data.tag %}{{ x }}', []],
    ['{% if dta %}{% endif %}', ['dta']],
    ['nothing', []],
  ])('in %s that are not there are %j', (text, expected) => {
    expect(unknownNames(text, ['data', 'parameters'], ['token'])).toEqual(expected);
  });
});
