import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { freshSecret } from './webhook-secrets.ts';
import { lookup, signature } from './webhook.ts';

describe('the signature', () => {
  it.each(['{}', '{"text":"schöne Grüße ☃"}', ''])('of %j is the one that Standard Webhooks libraries make', (event) => {
    const secret = freshSecret();
    const at = new Date('2026-11-20T09:00:00.900Z');
    const timestamp = Math.floor(at.getTime() / 1_000);

    expect(signature({ id: 'a.b.latest.1', event, secret }, timestamp)).toBe(new Webhook(secret).sign('a.b.latest.1', at, event));
  });
});

describe('names', () => {
  it('that the system knows are found', async () => {
    const found = await new Promise((resolve) => lookup('localhost', { all: true }, (_error, addresses) => resolve(addresses)));

    expect(found).toContainEqual({ address: '127.0.0.1', family: 4 });
  });

  it('that nobody knows are an error', async () => {
    const code = await new Promise((resolve) => lookup('nothing', { all: true }, (error) => resolve(error?.code)));

    expect(code).toMatch(/ENOTFOUND|EAI_AGAIN/);
  });
});
