import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SealError, Sealing } from './sealing.ts';

const sealing = new Sealing({ SECRETS_KEY: randomBytes(32) });
const secrets = { secret: 'whsec_x', headers: { Authorization: 'Bearer hunter2' } };

describe('sealed secrets', () => {
  it('open to what was sealed', () => {
    expect(sealing.open(sealing.seal(secrets, 'uid/argo'), 'uid/argo')).toEqual(secrets);
  });

  it('show nothing, and look different each time', () => {
    const [one, two] = [sealing.seal(secrets, 'uid/argo'), sealing.seal(secrets, 'uid/argo')];

    expect(one.toString('latin1')).not.toContain('hunter2');
    expect(one.equals(two)).toBe(false);
  });

  it.each([
    ['under another key', () => new Sealing({ SECRETS_KEY: randomBytes(32) }).open(sealing.seal(secrets, 'uid/argo'), 'uid/argo')],
    ['for another object', () => sealing.open(sealing.seal(secrets, 'uid/argo'), 'uid/other')],
    ['cut short', () => sealing.open(sealing.seal(secrets, 'uid/argo').subarray(0, 20), 'uid/argo')],
    ['empty', () => sealing.open(Buffer.alloc(0), 'uid/argo')],
  ])('%s do not open, and the error says what to do', (_title, open) => {
    expect(open).toThrow(SealError);
    expect(open).toThrow(/SECRETS_KEY/);
  });

  it('with one bit changed do not open', () => {
    const sealed = sealing.seal(secrets, 'uid/argo');
    sealed[30] = (sealed[30] ?? 0) ^ 1;

    expect(() => sealing.open(sealed, 'uid/argo')).toThrow(SealError);
  });
});
