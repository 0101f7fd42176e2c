import { describe, expect, it } from 'vitest';
import { accountName, type CandidateCredentials, candidatesOf } from './credentials.ts';

const a = { username: 'a', password: 'pw-a' };
const b = { username: 'b', password: 'pw-b' };

describe('candidates', () => {
  it.each<[string, CandidateCredentials, string[]]>([
    ['nothing', undefined, ['anonymous']],
    ['an empty list', [], ['anonymous']],
    ['one account', a, ['a']],
    ['a list', [a, b], ['a', 'b']],
    ['a list that ends without an account', [a, undefined], ['a', 'anonymous']],
    ['the same account twice', [a, b, { ...a }], ['a', 'b']],
    ['an entry without content', [a, { username: '', password: '' }], ['a', 'anonymous']],
    ['an identity token', { username: '', password: '', identityToken: 'x' }, ['identity token']],
    ['what a credential helper calls <token>', { username: '<token>', password: 'x' }, ['identity token']],
    ['a registry token', { username: '', password: '', registryToken: 'x' }, ['registry token']],
  ])('of %s are kept in their order, each once', (_title, given, accounts) => {
    expect(candidatesOf(given).map(accountName)).toEqual(accounts);
  });

  it('have a key that tells accounts apart and holds no secret', () => {
    const [one, other, token] = candidatesOf([a, { ...a, password: 'pw-b' }, { username: 'a', password: '', identityToken: 'pw-a' }]);

    expect(new Set([one?.key, other?.key, token?.key]).size).toBe(3);
    expect(one?.key).not.toContain('pw-a');
    expect(candidatesOf({ ...a })[0]?.key).toBe(one?.key);
  });
});
