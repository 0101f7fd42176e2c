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
