import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { secretProblem } from '@millrace/domain/image-trigger';
import { freshSecret, SealError, Sealing } from './sealing.ts';

const sealing = new Sealing({ SECRETS_KEY: randomBytes(32) });
const webhook = { triggerUid: 'uid', name: 'argo' };
const secrets = { secret: freshSecret(), headers: { Authorization: 'Bearer hunter2' } };

describe('sealed secrets', () => {
  it('open to what was sealed', () => {
    expect(sealing.open(sealing.seal(secrets, webhook), webhook)).toEqual(secrets);
  });

  it('show nothing, and look different each time', () => {
    const [one, two] = [sealing.seal(secrets, webhook), sealing.seal(secrets, webhook)];

    expect(one.toString('latin1')).not.toContain('hunter2');
    expect(one.equals(two)).toBe(false);
  });

  it.each([
    ['under another key', () => new Sealing({ SECRETS_KEY: randomBytes(32) }).open(sealing.seal(secrets, webhook), webhook)],
    ['for another webhook', () => sealing.open(sealing.seal(secrets, webhook), { ...webhook, name: 'other' })],
    ['for another trigger', () => sealing.open(sealing.seal(secrets, webhook), { ...webhook, triggerUid: 'other' })],
    ['cut short', () => sealing.open(sealing.seal(secrets, webhook).subarray(0, 20), webhook)],
    ['empty', () => sealing.open(Buffer.alloc(0), webhook)],
  ])('%s do not open, and the error says what to do', (_title, open) => {
    expect(open).toThrow(SealError);
    expect(open).toThrow(/SECRETS_KEY/);
  });

  it('with one bit changed do not open', () => {
    const sealed = sealing.seal(secrets, webhook);
    sealed[30] = (sealed[30] ?? 0) ^ 1;

    expect(() => sealing.open(sealed, webhook)).toThrow(SealError);
  });
});

describe('a secret that the server makes', () => {
  it('is a Standard Webhooks secret, and no two are the same', () => {
    expect(secretProblem(freshSecret())).toBeUndefined();
    expect(freshSecret()).not.toBe(freshSecret());
  });
});
