import { createPublicKey, verify } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { keyProblem } from '@millrace/domain/signing-key';
import { freshSecret, publicKeyOf, signature } from './webhook-secrets.ts';

const BODIES = ['{}', '{"text":"schöne Grüße ☃"}', ''];
const timestamp = 1_795_000_000;

it.each(['HMAC', 'Ed25519'] as const)('a key for %s that the server makes is one, and no two are the same', (signing) => {
  expect(keyProblem(freshSecret(signing), signing)).toBeUndefined();
  expect(freshSecret(signing)).not.toBe(freshSecret(signing));
});

describe('a signature', () => {
  it.each(BODIES)('with HMAC, of %j, is the one that Standard Webhooks libraries make', (body) => {
    const key = freshSecret();
    const at = new Date(timestamp * 1_000 + 900);

    expect(signature({ id: 'a.b.latest.1', body, key }, timestamp)).toBe(new Webhook(key).sign('a.b.latest.1', at, body));
  });

  it.each(BODIES)('with Ed25519, of %j, is verified with the public key alone', (body) => {
    const key = freshSecret('Ed25519');
    const [version, signed = ''] = signature({ id: 'a.b.latest.1', body, key }, timestamp).split(',');
    const known = Buffer.from((publicKeyOf(key) ?? '').replace(/^whpk_/, ''), 'base64url').toString('base64url');
    const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: known }, format: 'jwk' });
    const content = (of: string) => Buffer.from(`a.b.latest.1.${timestamp}.${of}`);

    expect(version).toBe('v1a');
    expect(verify(null, content(body), publicKey, Buffer.from(signed, 'base64'))).toBe(true);
    expect(verify(null, content(`${body} `), publicKey, Buffer.from(signed, 'base64'))).toBe(false);
  });

  it('is the one of RFC 8032, also with a key that says its public part', () => {
    const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
    const point = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');
    const [short, long] = [`whsk_${seed.toString('base64')}`, `whsk_${Buffer.concat([seed, point]).toString('base64')}`];

    expect(publicKeyOf(short)).toBe(`whpk_${point.toString('base64')}`);
    expect(publicKeyOf(long)).toBe(publicKeyOf(short));
    expect(signature({ id: 'a', body: '', key: long }, 1)).toBe(signature({ id: 'a', body: '', key: short }, 1));
  });
});

it('a key that receivers have too has no public part', () => {
  expect(publicKeyOf(freshSecret())).toBeUndefined();
});
