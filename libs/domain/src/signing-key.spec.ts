import { describe, expect, it } from 'vitest';
import { keyProblem, signingOf } from './signing-key.ts';

const key = (prefix: string, bytes: number) => `${prefix}_${Buffer.alloc(bytes, 7).toString('base64')}`;

describe('a key', () => {
  it.each([
    [key('whsec', 24), 'HMAC'],
    [key('whsec', 64), 'HMAC'],
    [key('whsk', 32), 'Ed25519'],
    [key('whsk', 64), 'Ed25519'],
  ] as const)('%s is good for %s, and for nothing else', (text, signing) => {
    expect(signingOf(text)).toBe(signing);
    expect(keyProblem(text)).toBeUndefined();
    expect(keyProblem(text, signing)).toBeUndefined();
    expect(keyProblem(text, signing === 'HMAC' ? 'Ed25519' : 'HMAC')).toBeDefined();
  });

  it.each([
    [key('whsec', 23), 'whsec_'],
    [key('whsec', 65), 'whsec_'],
    [key('whsk', 31), 'whsk_'],
    [key('whsk', 33), 'whsk_'],
    [key('whpk', 32), 'whsec_'],
    ['whsec_%%%%', 'whsec_'],
    [`${key('whsk', 32)}\n`, 'whsk_'],
    ['', 'whsec_'],
  ])('%j is refused: it must be %s', (text, wanted) => {
    expect(keyProblem(text)).toContain(wanted);
    expect(keyProblem(text)).not.toContain(text.slice(6) || 'nothing');
  });
});
