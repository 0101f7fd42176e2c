import { describe, expect, it } from 'vitest';
import { isCredentialHeader, maskHeaders, secretProblem, urlProblem, validateWebhook } from './trigger-webhook.ts';

const problems = (of: Record<string, unknown>): string[] =>
  validateWebhook({ name: 'argo', url: 'https://deploy.example.com/hook', ...of }, 'spec.webhooks[0]', 'public').map(
    (error) => `${error.field}: ${error.text}`,
  );

describe('headers of a webhook', () => {
  it.each([
    'host',
    'Host',
    'content-length',
    'Content-Type',
    'webhook-id',
    'Webhook-Signature',
    'transfer-encoding',
    'connection',
    'traceparent',
    'user-agent',
    'proxy-authorization',
  ])('%s is set by the sender', (name) => {
    expect(problems({ headers: { [name]: 'x' } })).toEqual([
      `spec.webhooks[0].headers[${name}]: Forbidden: the header is set by the sender`,
    ]);
  });

  it.each([
    ['a b', 'x'],
    ['a:b', 'x'],
    ['', 'x'],
    ['x-a', 'line\r\nx-injected: 1'],
    ['x-a', 'nul\0'],
    ['x-a', '☃'],
    ['x-a', 'x'.repeat(5_000)],
  ])('%j: %j is refused', (name, value) => {
    expect(problems({ headers: { [name]: value } })).toHaveLength(1);
  });

  it.each([
    ['Authorization', true],
    ['x-gitlab-token', true],
    ['X-API-Key', true],
    ['cookie', true],
    ['x-env', false],
    ['accept', false],
  ])('%s is masked: %s', (name, masked) => {
    expect(isCredentialHeader(name)).toBe(masked);
    expect(maskHeaders({ [name]: 'value' })).toEqual({ [name]: masked ? '***' : 'value' });
  });

  it('given twice in other letters is refused', () => {
    expect(problems({ headers: { 'x-a': '1', 'X-A': '2' } })).toHaveLength(1);
  });
});

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

describe('a secret', () => {
  const bytes = (n: number) => `whsec_${Buffer.alloc(n, 7).toString('base64')}`;

  it.each([24, 25, 26, 32, 64])('of %i bytes is good', (n) => {
    expect(secretProblem(bytes(n))).toBeUndefined();
  });

  it.each([
    bytes(23),
    bytes(65),
    bytes(32).slice(6),
    'whsec_',
    'whsec_%%%%',
    `${bytes(32)}\n`,
    `whsec_${'A'.repeat(33)}`,
    `whpk_${'A'.repeat(32)}`,
  ])('%j is refused', (secret) => {
    expect(secretProblem(secret)).toContain('whsec_');
  });
});
