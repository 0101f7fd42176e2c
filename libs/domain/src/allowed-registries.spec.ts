import { describe, expect, it } from 'vitest';
import { type AllowedRegistry, RegistryAllowList, type Transport } from './allowed-registries.ts';

const secure = (...names: string[]): AllowedRegistry[] => names.map((domainName) => ({ domainName }));

describe('the list of registries that images may come from', () => {
  it.each<[string, AllowedRegistry[], string, Transport, boolean]>([
    ['an empty list allows everything', [], 'quay.io/a/b', 'secure', true],
    ['a host that is listed is allowed', secure('quay.io'), 'quay.io/a/b:1', 'secure', true],
    ['a host that is not listed is refused', secure('docker.io'), 'quay.io/a/b', 'secure', false],
    ['an entry without a port means 443', secure('quay.io'), 'quay.io:443/a/b', 'secure', true],
    ['another port is refused', secure('quay.io'), 'quay.io:5000/a/b', 'any', false],
    ['any port is allowed where the entry says so', secure('quay.io:*'), 'quay.io:5000/a/b', 'secure', true],
    ['an insecure entry means port 80', [{ domainName: 'quay.io', insecure: true }], 'quay.io/a/b', 'secure', false],
    ['which fits what may be plain HTTP', [{ domainName: 'quay.io', insecure: true }], 'quay.io/a/b', 'any', true],
    ['a pull spec without a registry means Docker Hub', secure('docker.io'), 'library/ruby', 'secure', true],
    ['names of Docker Hub are one', secure('index.docker.io'), 'docker.io/library/ruby', 'secure', true],
    ['* stands for one label', secure('*.example.com'), 'reg.example.com/a/b', 'secure', true],
    ['and not for two', secure('*.example.com'), 'a.b.example.com/a/b', 'secure', false],
    ['nor for none', secure('*.example.com'), 'example.com/a/b', 'secure', false],
    ['* stands for a part of a label', secure('reg-*-eu.example.com'), 'reg-west-eu.example.com/a', 'secure', true],
    ['hosts are compared without case', secure('Quay.IO'), 'quay.io/a/b', 'secure', true],
  ])('%s', (_title, allowed, pullSpec, transport, admitted) => {
    const refusal = new RegistryAllowList(allowed).refusalOf(pullSpec, transport);

    expect(refusal === undefined).toBe(admitted);
  });

  it('always has registries of ours, and names all of it when it refuses', () => {
    const list = new RegistryAllowList(
      [{ domainName: '127.0.0.1:5000', insecure: true }, { domainName: 'docker.io' }],
      ['own.example.test:5000'],
    );

    expect(list.refusalOf('own.example.test:5000/team/app', 'secure')).toBeUndefined();
    expect(list.refusalOf('quay.io/a/b:c', 'secure')).toBe(
      'registry "quay.io" not allowed by whitelist: "own.example.test:5000", "127.0.0.1:5000", "docker.io:443"',
    );
  });

  it('is refused as a whole where an entry is no registry', () => {
    expect(() => new RegistryAllowList(secure('a:b:c'))).toThrow('failed to parse allowed registry "a:b:c": too many colons');
  });
});
