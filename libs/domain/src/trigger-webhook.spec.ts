import { describe, expect, it } from 'vitest';
import { keyProblem } from './signing-key.ts';
import { isCredentialHeader, maskHeaders, validateWebhook } from './trigger-webhook.ts';

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

describe('a secret', () => {
  const bytes = (n: number) => `whsec_${Buffer.alloc(n, 7).toString('base64')}`;

  it.each([24, 25, 26, 32, 64])('of %i bytes is good', (n) => {
    expect(keyProblem(bytes(n))).toBeUndefined();
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
    expect(keyProblem(secret)).toContain('whsec_');
  });
});
