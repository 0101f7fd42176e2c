import { describe, expect, it } from 'vitest';
import { joinedUrl, splitUrl, urlProblem } from './webhook-url.ts';

describe('the URL of a webhook', () => {
  it.each([
    'https://deploy.example.com',
    'http://deploy.example.com:8080/hook?x=1',
    'https://8.8.8.8/',
    'https://[2606:4700::1111]/',
    'https://xn--bcher-kva.example/',
  ])('%s is good', (url) => {
    expect(urlProblem(url, 'public')).toBeUndefined();
  });

  it.each([
    ['deploy', 'absolute URL'],
    ['/hook', 'absolute URL'],
    ['ftp://deploy.example.com', 'https:// or http://'],
    ['file:///etc/passwd', 'https:// or http://'],
    ['https://user:pass@deploy.example.com', 'credentials'],
    ['https://user@deploy.example.com', 'credentials'],
    ['https://deploy.example.com/#x', 'fragment'],
    [`https://deploy.example.com/${'x'.repeat(2_048)}`, '2048'],
    ['http://127.0.0.1/', 'a loopback address is not allowed'],
    ['http://127.1/', 'loopback'],
    ['http://2130706433/', 'loopback'],
    ['http://0x7f.1/', 'loopback'],
    ['http://[::1]/', 'loopback'],
    ['http://[::ffff:127.0.0.1]/', 'loopback'],
    ['http://10.0.0.1/', 'private'],
    ['http://192.168.1.1/', 'private'],
    ['http://[fd00::1]/', 'private'],
    ['http://169.254.169.254/latest/meta-data', 'metadata'],
    ['http://[fe80::1]/', 'link-local'],
    ['http://0.0.0.0/', 'unspecified'],
  ])('%s is refused: %s', (url, problem) => {
    expect(urlProblem(url, 'public')).toContain(problem);
  });

  it.each([
    ['http://127.0.0.1/', 'loopback', true],
    ['http://10.0.0.1/', 'loopback', true],
    ['http://10.0.0.1/', 'private', true],
    ['http://127.0.0.1/', 'private', false],
    ['http://169.254.169.254/', 'loopback', false],
  ] as const)('%s where %s is allowed: %s', (url, allow, good) => {
    expect(urlProblem(url, allow) === undefined).toBe(good);
  });
});

describe('a URL that is a template', () => {
  const literals = { server: 'https://ci.example.com/jenkins/', bad: 'https://ci.example.com/?x', path: '/x' };

  it.each([
    ['https://a.example.com/hook', 'https://a.example.com', '/hook'],
    ['https://a.example.com', 'https://a.example.com', ''],
    ['https://a.example.com:8443/{{ data.tag }}', 'https://a.example.com:8443', '/{{ data.tag }}'],
    ['https://a.example.com?tag={{ tag }}', 'https://a.example.com', '?tag={{ tag }}'],
    ['{{ parameters.server }}/invoke', 'https://ci.example.com/jenkins', '/invoke'],
    ['{{parameters.server}}', 'https://ci.example.com/jenkins', ''],
    ['{{- parameters.server -}}{{ parameters.path }}', 'https://ci.example.com/jenkins', '{{ parameters.path }}'],
    ['http://[2606:4700::1111]/{{ tag }}', 'http://[2606:4700::1111]', '/{{ tag }}'],
  ])('%s goes to %s, and behind that %s', (template, base, rest) => {
    expect(splitUrl(template, literals)).toEqual({ kind: 'split', base, rest });
  });

  it.each([
    'https://{{ data.tag }}/hook',
    'https://a.example.com{{ data.tag }}/hook',
    'https://a{{ data.tag }}.example.com/hook',
    'https://a.example.com:{{ data.tag }}/hook',
    '{{ data.url }}/hook',
    '{% if x %}https://a.example.com{% endif %}/hook',
    'https://a.example.com{% if x %}.evil.example{% endif %}/',
    'https://{{ parameters.server }}/hook',
    '{{ parameters.server }}.evil.example/hook',
    '{{ parameters.server | append: data.tag }}/hook',
    '{{ parameters.unknown }}/hook',
    '{{ parameters.constructor }}/hook',
    '{{ parameters.bad }}/hook',
    'https://a.example.com\\@evil.example/',
    'ftp://a.example.com/{{ tag }}',
  ])('%s is refused: its host may not be made of an event', (template) => {
    expect(splitUrl(template, literals).kind).toBe('problem');
  });

  it.each([
    ['https://a.example.com', '/x?y', 'https://a.example.com/x?y'],
    ['https://a.example.com/p', '', 'https://a.example.com/p'],
    ['https://a.example.com', '//evil.example/', 'https://a.example.com//evil.example/'],
    ['https://a.example.com', '/../../x', 'https://a.example.com/x'],
  ])('%s and %s are %s', (base, rest, url) => {
    expect(joinedUrl(base, rest, 'public')).toEqual({ url });
  });

  it.each(['@evil.example/', '.evil.example/', ':8080/', '#x', '/x#y', ' /', `/${'x'.repeat(3_000)}`])(
    'what follows the host may not be %s',
    (rest) => {
      expect(joinedUrl('https://a.example.com', rest, 'public')).toHaveProperty('problem');
    },
  );

  it('is looked at again where it may not go', () => {
    expect(joinedUrl('http://127.0.0.1:1', '/x', 'public')).toHaveProperty('problem');
  });
});
