import { createCipheriv, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readConfig, SECRETS_KEY } from './config.ts';
import { keyIdOf, SealError, Sealing } from './sealing.ts';

const [first, second] = [randomBytes(32), randomBytes(32)];
const sealing = new Sealing({ SECRETS_KEY: [first] });
const secrets = { secret: 'whsec_x', headers: { Authorization: 'Bearer hunter2' } };

/** As values were sealed before keys had ids. */
function unmarked(key: Buffer, belongsTo: string): Buffer {
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  cipher.setAAD(Buffer.from(belongsTo));
  const text = Buffer.concat([cipher.update(JSON.stringify(secrets)), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), text]);
}

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
    ['under another key', () => new Sealing({ SECRETS_KEY: [second] }).open(sealing.seal(secrets, 'uid/argo'), 'uid/argo')],
    ['for another object', () => sealing.open(sealing.seal(secrets, 'uid/argo'), 'uid/other')],
    ['cut short', () => sealing.open(sealing.seal(secrets, 'uid/argo').subarray(0, 20), 'uid/argo')],
    ['empty', () => sealing.open(Buffer.alloc(0), 'uid/argo')],
    ['before keys had ids, under another key', () => sealing.open(unmarked(second, 'uid/argo'), 'uid/argo')],
  ])('%s do not open, and the error says what to do', (_title, open) => {
    expect(open).toThrow(SealError);
    expect(open).toThrow(/SECRETS_KEY/);
    expect(open).toThrow(/set the secret again/);
  });

  it.each([8, 20, 30, 42])('with one bit of byte %i changed do not open', (at) => {
    const sealed = sealing.seal(secrets, 'uid/argo');
    sealed[at] = (sealed[at] ?? 0) ^ 1;

    expect(() => sealing.open(sealed, 'uid/argo')).toThrow(SealError);
  });
});

describe('a key that is replaced', () => {
  const both = new Sealing({ SECRETS_KEY: [second, first] });

  it('opens what it sealed while it stands behind the current one, which seals what comes', () => {
    const old = sealing.seal(secrets, 'uid');
    const fresh = both.seal(secrets, 'uid');

    expect(both.open(old, 'uid')).toEqual(secrets);
    expect([keyIdOf(old), keyIdOf(fresh)]).toEqual([sealing.keyId, both.keyId]);
    expect(fresh.subarray(0, 12)).toEqual(both.currentHeader);
  });

  it.each([
    ['first', first],
    ['second', second],
  ])('opens what was sealed before keys had ids: %s', (_title, key) => {
    expect(both.open(unmarked(key, 'uid'), 'uid')).toEqual(secrets);
    expect(keyIdOf(unmarked(key, 'uid'))).toBeUndefined();
  });

  it('is named where it is missing, with those that are there and what to do', () => {
    const open = () => new Sealing({ SECRETS_KEY: [second] }).open(sealing.seal(secrets, 'uid'), 'uid');

    expect(open).toThrow(expect.objectContaining({ missingKey: sealing.keyId }));
    expect(open).toThrow(`sealed under key ${sealing.keyId}, and given are ${both.keyId}; add that key behind`);
  });

  it('has an id that does not tell it', () => {
    expect(sealing.keyId).toMatch(/^[0-9a-f]{16}$/);
    expect(first.toString('hex')).not.toContain(sealing.keyId);
  });
});

describe('SECRETS_KEY', () => {
  const [one, two] = [first.toString('base64'), second.toString('base64')];

  it.each([
    ['one key', one, [first]],
    ['several lines, the current first', `${one}\n${two}\n`, [first, second]],
    ['several with commas', `${one}, ${two}`, [first, second]],
  ])('is %s', (_title, text, keys) => {
    expect(readConfig({ SECRETS_KEY }, { SECRETS_KEY: text }).SECRETS_KEY).toEqual(keys);
  });

  it.each([undefined, ' ', 'c2hvcnQ=', `${one} c2hvcnQ=`, 'no base64'])('is refused without being repeated: %j', (text) => {
    const read = () => readConfig({ SECRETS_KEY }, { SECRETS_KEY: text });

    expect(read).toThrow('SECRETS_KEY: must be 32 random bytes in base64');
    expect(read).not.toThrow(one);
  });
});
