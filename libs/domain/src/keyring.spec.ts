import { describe, expect, it } from 'vitest';
import { candidatesFor, candidatesOf, isRegistrySecret, keyringOf, type KeyringSecret, registriesOf } from './keyring.ts';

const login = (username: string) => ({ username, password: `${username}-password` });
const cfg = (name: string, registries: Record<string, unknown>): KeyringSecret => ({
  name,
  type: 'kubernetes.io/dockercfg',
  texts: new Map([['.dockercfg', JSON.stringify(registries)]]),
});
const configJson = (name: string, config: unknown): KeyringSecret => ({
  name,
  type: 'kubernetes.io/dockerconfigjson',
  texts: new Map([['.dockerconfigjson', typeof config === 'string' ? config : JSON.stringify(config)]]),
});
const users = (secrets: KeyringSecret[], image: string) =>
  candidatesFor(keyringOf(secrets), image).map(({ credential }) => credential.username);

describe('a key', () => {
  it.each([
    ['quay.io', 'quay.io/a/b:1', true],
    ['quay.io', 'quay.io:443/a/b:1', false],
    ['quay.io:443', 'quay.io/a/b', false],
    ['quay.io:5000', 'quay.io:5000/a/b', true],
    ['https://quay.io', 'quay.io/a/b', true],
    ['http://quay.io/', 'quay.io/a/b', true],
    ['https://quay.io/v1/', 'quay.io/a/b', true],
    ['https://quay.io/v2/', 'quay.io/a/b', true],
    ['quay.io/v2/team', 'quay.io/team/b', true],
    ['quay.io/team', 'quay.io/team/b@sha256:' + '3'.repeat(64), true],
    ['quay.io/team', 'quay.io/other/b', false],
    ['quay.io/team/b', 'quay.io/team/b:1', true],
    ['quay.io/te', 'quay.io/team/b', true],
    ['quay.io/team?x=1#y', 'quay.io/team/b', true],
    ['user:word@quay.io/team', 'quay.io/team/b', true],
    ['*.reg.io', 'x.reg.io/a/b', true],
    ['*.reg.io', 'reg.io/a/b', false],
    ['*.reg.io', 'x.y.reg.io/a/b', false],
    ['*.*.reg.io', 'x.y.reg.io/a/b', true],
    ['pre*fix-1*.reg.io', 'pre-and-fix-12.reg.io/a/b', true],
    ['pre*fix-1*.reg.io', 'pre-and-fix-2.reg.io/a/b', false],
    ['*', 'localhost/a/b', true],
    ['localhost:5000', 'localhost:5000/a', true],
    ['https://index.docker.io/v1/', 'busybox', true],
    ['https://index.docker.io/v1/', 'docker.io/team/app', true],
    ['index.docker.io', 'index.docker.io/team/app', true],
    ['docker.io', 'team/app', true],
    ['docker.io/team', 'team/app', true],
    ['docker.io/team', 'other/app', false],
    ['index.docker.io/v1/team', 'team/app', true],
    ['registry-1.docker.io', 'docker.io/team/app', true],
    ['docker.io', 'registry-1.docker.io/team/app', true],
    ['docker.io', 'quay.io/team/app', false],
    ['', 'quay.io/team/app', false],
  ])('%s for %s: %s', (key, image, fits) => {
    expect(users([cfg('s', { [key]: login('u') })], image)).toEqual(fits ? ['u'] : []);
  });

  it('full of wildcards is compared in no time worth telling', () => {
    const key = `${'*a'.repeat(200)}.io`;

    expect(users([cfg('s', { [key]: login('u') })], `${'a'.repeat(100)}b.io/a/b`)).toEqual([]);
  });
});

describe('several that fit', () => {
  it.each([
    [
      'the longer path comes first',
      [cfg('s', { 'q.io': login('host'), 'q.io/team/app': login('path'), 'q.io/team': login('team') })],
      ['path', 'team', 'host'],
    ],
    [
      'of one key the secret that is listed first',
      [cfg('a', { 'q.io': login('one') }), cfg('b', { 'https://q.io/v2/': login('two') })],
      ['one', 'two'],
    ],
    [
      'a path comes first wherever it is',
      [configJson('a', { auths: { 'q.io': login('host') } }), cfg('b', { 'q.io/team': login('path') })],
      ['path', 'host'],
    ],
    ['an exact host comes before a wildcard', [cfg('s', { '*.io': login('any'), 'q.io': login('host') })], ['host', 'any']],
  ])('%s', (_title, secrets, expected) => {
    expect(users(secrets, 'q.io/team/app:1')).toEqual(expected);
  });

  it('tell the secret and key that each is from; those of a namespace come before the operator’s', () => {
    const keyrings = [
      keyringOf([cfg('mine', { 'q.io': login('u') })]),
      keyringOf([configJson('config.json', { auths: { 'q.io/team': login('op') } })]),
    ];

    expect(candidatesOf(keyrings, 'q.io/team/app')).toEqual([
      { secret: 'mine', key: 'q.io', credential: login('u') },
      { secret: 'config.json', key: 'q.io/team', credential: login('op') },
    ]);
  });
});

describe('what an entry says', () => {
  it.each([
    ['user and password', { username: 'u', password: 'p', email: 'e@x' }, { username: 'u', password: 'p' }],
    ['auth, which wins', { username: 'x', password: 'y', auth: btoa('u:p:with:colons') }, { username: 'u', password: 'p:with:colons' }],
    ['auth without padding', { auth: btoa('u:pw').replaceAll('=', '') }, { username: 'u', password: 'pw' }],
    ['auth outside ASCII', { auth: 'w7zDpDpwYXNzd8O2cnQ=' }, { username: 'üä', password: 'passwört' }],
    [
      'an identity token',
      { auth: btoa('<token>:'), identitytoken: 'refresh' },
      { username: '<token>', password: '', identityToken: 'refresh' },
    ],
    ['a registry token', { registrytoken: 't' }, { username: '', password: '', registryToken: 't' }],
    ['nothing', {}, { username: '', password: '' }],
  ])('%s', (_title, entry, credential) => {
    expect(candidatesFor(keyringOf([cfg('s', { 'q.io': entry })]), 'q.io/a')).toEqual([{ secret: 's', key: 'q.io', credential }]);
  });
});

describe('a secret for pulling', () => {
  it.each([
    ['with bad base64', cfg('bad', { 'q.io': { auth: '%%hunter2' } }), /^unable to parse auth field/],
    ['with auth without a colon', cfg('bad', { 'q.io': { auth: btoa('hunter2') } }), /^unable to parse auth field/],
    ['that is no JSON', configJson('bad', 'hunter2'), /^it is no JSON object of registries$/],
    ['whose auths are none', configJson('bad', { auths: ['hunter2'] }), /^it is no JSON object of registries$/],
    ['with a number for a password', cfg('bad', { 'q.io': { username: 'u', password: 2 } }), /^an entry is no object of texts$/],
    ['with a key without a host', cfg('bad', { 'https://hunter2@/x': login('u') }), /^an entry names no registry host$/],
    [
      'of user and password without a password',
      { name: 'bad', type: 'Opaque', registries: ['q.io'], texts: new Map([['username', 'hunter2']]) },
      /^it names a registry/,
    ],
  ])('%s is told by name and spoils no other', (_title, broken, reason) => {
    const keyring = keyringOf([broken, cfg('good', { 'q.io': login('u') })]);

    expect(keyring.broken).toEqual([{ secret: 'bad', reason: expect.stringMatching(reason) }]);
    expect(JSON.stringify(keyring.broken)).not.toContain('hunter2');
    expect(candidatesFor(keyring, 'q.io/a').map(({ secret }) => secret)).toEqual(['good']);
  });

  it('keeps its other entries when one is broken', () => {
    const keyring = keyringOf([cfg('s', { 'q.io': { auth: '%%' }, 'r.io': login('u') })]);

    expect(keyring.broken).toHaveLength(1);
    expect(candidatesFor(keyring, 'r.io/a')).toHaveLength(1);
  });

  it.each([
    ['an Opaque one', { name: 's', type: 'Opaque', texts: new Map([['.dockerconfigjson', '{"auths":{"q.io":{}}}']]) }],
    ['one without its key', { name: 's', type: 'kubernetes.io/dockercfg', texts: new Map() }],
    ['one without auths', configJson('s', { credsStore: 'desktop' })],
    ['one whose auths are null', configJson('s', { auths: null })],
  ])('is none: %s', (_title, secret) => {
    expect(keyringOf([secret])).toEqual({ entries: [], broken: [] });
  });
});

describe('a secret of user and password', () => {
  const texts = new Map([
    ['username', 'u'],
    ['password', 'p'],
  ]);

  it.each(['kubernetes.io/basic-auth', 'Opaque'])('of type %s is for the registries that its annotations name', (type) => {
    const metadata = {
      name: 's',
      annotations: {
        'millrace.dev/registry': 'quay.io/team',
        'tekton.dev/docker-0': 'https://index.docker.io',
        'tekton.dev/git-0': 'https://git.io',
      },
    };

    const registries = registriesOf({ metadata, type });

    expect(registries).toEqual(['quay.io/team', 'https://index.docker.io']);
    expect(users([{ name: 's', type, registries, texts }], 'busybox')).toEqual(['u']);
    expect(users([{ name: 's', type, registries, texts }], 'quay.io/team/app')).toEqual(['u']);
    expect(isRegistrySecret({ metadata, type })).toBe(true);
  });

  it.each([
    ['no annotation', 'Opaque', {}],
    ['another type', 'kubernetes.io/tls', { 'millrace.dev/registry': 'quay.io' }],
    ['an exclusion', 'Opaque', { 'millrace.dev/registry': 'quay.io', 'openshift.io/image.excludeSecret': 'true' }],
    ['an exclusion of a docker one', 'kubernetes.io/dockercfg', { 'openshift.io/image.excludeSecret': 'true' }],
  ])('with %s is for none', (_title, type, annotations) => {
    expect(isRegistrySecret({ metadata: { name: 's', annotations }, type })).toBe(false);
  });
});
