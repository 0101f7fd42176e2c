import { describe, expect, it } from 'vitest';
import { config } from './config.ts';

const CERTIFICATE = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
const KEY = '-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n';

describe('registries that are reached in a way of their own', () => {
  const read = (list: unknown) => config.IMPORT_REGISTRIES.safeParse(typeof list === 'string' ? list : JSON.stringify(list));

  it('are a list, as JSON or YAML, or none', () => {
    expect(read('- registry: Registry.Corp:5000\n  proxy: ""\n').data).toEqual([{ registry: 'registry.corp:5000', proxy: '' }]);
    expect(read([{ registry: 'r.corp', ca: CERTIFICATE, certificate: CERTIFICATE, key: KEY }]).data).toHaveLength(1);
    expect(config.IMPORT_REGISTRIES.parse(undefined)).toEqual([]);
  });

  it.each([
    ['no list', '{', 'is neither JSON nor YAML'],
    ['an object', {}, 'list: Invalid input: expected array, received object'],
    ['a URL', [{ registry: 'https://r.corp' }], 'registry 1.registry: must be HOST[:PORT]'],
    ['a path for a certificate', [{ registry: 'r.corp' }, { registry: 's.corp', ca: '/etc/ca.pem' }], 'registry 2.ca: must be PEM'],
    ['a certificate without its key', [{ registry: 'r.corp', certificate: CERTIFICATE }], 'registry 1: certificate and key go together'],
    ['a proxy that is no URL', [{ registry: 'r.corp', proxy: 'proxy:3128' }], 'registry 1.proxy: '],
    ['an unknown key', [{ registry: 'r.corp', cert: KEY }], 'registry 1: Unrecognized key: "cert"'],
  ])('are refused with where and what, never with the text: %s', (_title, list, problem) => {
    const said =
      read(list)
        .error?.issues.map(({ message }) => message)
        .join('\n') ?? '';
    expect(said).toContain(problem);
    expect(said).not.toContain('hunter2');
  });
});
