import { describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from '@millrace/platform/config';
import { config } from './config.ts';

const read = (registries: unknown) =>
  readConfig(config, { REGISTRIES: typeof registries === 'string' ? registries : JSON.stringify(registries) }).REGISTRIES;
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
  ])('is refused with %s', (_title, registries, problem) => {
    expect(() => read(registries)).toThrow(problem);
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
