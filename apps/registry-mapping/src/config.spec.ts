import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from '@millrace/platform/config';
import { config } from './config.ts';

const read = (registries: unknown) =>
  readConfig(config, { REGISTRIES: typeof registries === 'string' ? registries : JSON.stringify(registries) }).REGISTRIES;
const LONG = 'a-secret-of-24-letters-or-more';
const main = { name: 'main', url: 'http://registry:5000', secret: 'a-long-secret' };

describe('REGISTRIES', () => {
  it('is a list as JSON, with defaults filled in', () => {
    expect(read([main])).toEqual([
      {
        ...main,
        dialect: 'distribution',
        mode: 'mapping',
        auth: 'header',
        secrets: ['a-long-secret'],
        header: 'authorization',
        hosts: ['registry:5000'],
        nats: false,
        keyInPath: false,
        insecure: false,
        layout: { stream: 'segment' },
      },
    ]);
  });

  it('is a list as YAML', () => {
    const yaml = `
      - name: main
        url: https://registry.example.com
        secret: a-long-secret
        layout: { namespace: builds, stream: dashed-path }`;

    expect(read(yaml)).toMatchObject([{ name: 'main', layout: { namespace: 'builds', stream: 'dashed-path' } }]);
  });

  it.each([['[]'], [''], ['---']])('%j is an empty list', (text) => {
    expect(read(text)).toEqual([]);
  });

  it.each<[string, unknown, RegExp]>([
    ['no list', main, /REGISTRIES: list: .*array/],
    ['neither JSON nor YAML', '[{', /REGISTRIES: is neither JSON nor YAML/],
    ['a name with capitals', [{ ...main, name: 'Main' }], /registry 1.name: must be up to 63 lower-case/],
    ['the name of NATS', [{ ...main, name: 'nats' }], /registry 1.name: must not be "nats"/],
    ['a name twice', [main, main], /registry 2.name: "main" is taken by another registry/],
    ['a URL with a path', [{ ...main, url: 'http://registry:5000/v2/' }], /registry 1.url: must be https/],
    ['a URL with a password', [{ ...main, url: 'http://a:b@registry:5000' }], /registry 1.url/],
    ['no URL', [{ ...main, url: undefined }], /registry 1.url/],
    ['a short secret', [{ ...main, secret: 'short' }], /registry 1.secret: must have 8 characters/],
    ['a user without a password', [{ ...main, username: 'u' }], /registry 1: username and password go together/],
    ['a field that nobody knows', [{ ...main, sercet: 'x' }], /registry 1: .*sercet/],
    ['a layout that is none', [{ ...main, layout: { stream: 'first' } }], /registry 1.layout.stream/],
    ['a public host with a path', [{ ...main, publicHost: 'r.example.com/x' }], /registry 1.publicHost: must be HOST/],
    ['a dialect that nobody speaks', [{ ...main, dialect: 'gopher' }], /registry 1.dialect: .*"dockerhub"/],
    ['no secret', [{ ...main, secret: undefined }], /registry 1.secret: is needed/],
    ['three secrets', [{ ...main, secret: [LONG, LONG, LONG] }], /registry 1.secret: must be a text of 8 characters or more, or two/],
    ['a short one of two secrets', [{ ...main, secret: [LONG, 'short'] }], /registry 1.secret/],
    ['mappings without a URL', [{ name: 'a', dialect: 'harbor', mode: 'mapping', secret: LONG }], /registry 1.url: is needed to fetch/],
    [
      'mappings of what tells no digest',
      [{ ...main, dialect: 'dockerhub', mode: 'mapping', secret: LONG }],
      /registry 1.mode: .*dockerhub do not tell digest/,
    ],
    ['hints of no host', [{ name: 'a', dialect: 'harbor', secret: LONG }], /registry 1.hosts: is needed/],
    [
      'a host with a path',
      [{ name: 'a', dialect: 'harbor', secret: LONG, hosts: ['r.example.com/x'] }],
      /registry 1.hosts.0: must be HOST/,
    ],
    [
      'a path that can be guessed',
      [{ name: 'hub', dialect: 'dockerhub', secret: 'a-short-secret' }],
      /registry 1.secret: must have 24 or more/,
    ],
    [
      'a path that is no segment',
      [{ name: 'hub', dialect: 'dockerhub', secret: `${LONG}/${LONG}` }],
      /registry 1.secret: must have 24 or more/,
    ],
    [
      'a proof that the sender does not have',
      [{ name: 'g', dialect: 'ghcr', auth: 'path', secret: LONG }],
      /registry 1.auth: .*ghcr are known by signature/,
    ],
    ['tokens of nobody', [{ name: 'g', dialect: 'gar', hosts: ['gcr.io'] }], /registry 1.oidc: is needed/],
    ['tokens of anybody', [{ name: 'g', dialect: 'gar', hosts: ['gcr.io'], oidc: { audience: 'a' } }], /registry 1.oidc: needs the email/],
  ])('is refused with %s', (_title, registries, problem) => {
    expect(() => read(registries)).toThrow(problem);
  });

  it.each<[string, object, object]>([
    ['Docker Hub', { name: 'hub', dialect: 'dockerhub', secret: LONG }, { mode: 'hint', auth: 'path', hosts: ['docker.io'] }],
    [
      'GHCR',
      { name: 'ghcr', dialect: 'ghcr', secret: [LONG, LONG] },
      { mode: 'hint', auth: 'signature', hosts: ['ghcr.io'], secrets: [LONG, LONG] },
    ],
    [
      'Harbor',
      { name: 'h', dialect: 'harbor', secret: LONG, url: 'https://Harbor.example.com/' },
      { auth: 'header', header: 'authorization', hosts: ['harbor.example.com'] },
    ],
    ['ECR', { name: 'e', dialect: 'ecr', secret: LONG, hosts: ['1.dkr.ecr'] }, { auth: 'header', header: 'x-api-key' }],
    ['Artifactory', { name: 'a', dialect: 'artifactory', secret: LONG, hosts: ['a.io'] }, { auth: 'signature', keyInPath: true }],
    [
      'CloudEvents by a header',
      { name: 'c', dialect: 'cloudevents', secret: LONG, header: 'X-Key', hosts: ['a.io'] },
      { auth: 'header', header: 'x-key' },
    ],
    ['zot on NATS alone', { name: 'z', dialect: 'zot', nats: true, hosts: ['Z.io'] }, { mode: 'hint', secrets: [], hosts: ['z.io'] }],
    [
      'hints of Distribution',
      { ...main, mode: 'hint', publicHost: 'r.example.com' },
      { mode: 'hint', auth: 'header', hosts: ['r.example.com'] },
    ],
  ])('fills in what the dialect of %s decides', (_title, entry, expected) => {
    expect(read([entry])).toMatchObject([expected]);
  });

  it('is what the documentation shows', () => {
    const page = readFileSync(new URL('../../../docs/registries.md', import.meta.url), 'utf8');
    const shown = [...page.matchAll(/```(?:yaml|json)\n([-[][^`]*)```/g)].map(([, text = '']) => read(text).map(({ name }) => name));

    expect(shown).toEqual([['main'], ['hub', 'ghcr', 'harbor', 'gar', 'ecr', 'zot']]);
  });

  it('tells every problem at once, and no secret', () => {
    const act = () =>
      read([
        { ...main, url: 'x' },
        { ...main, name: 'two', secret: 'geheim', header: 'a b' },
      ]);

    expect(act).toThrow(ConfigError);
    expect(act).toThrow(/registry 1.url.*registry 2.secret.*registry 2.header/);
    expect(act).not.toThrow(/geheim|a-long-secret/);
  });
});
