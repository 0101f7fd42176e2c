import { describe, expect, it } from 'vitest';
import { coalesceHints, type HintRules, placeHint, type RepositoryHint, type ToldPush } from './repository-hint.ts';

const push: ToldPush = { eventId: 'e', repository: 'team/web', tag: '1', occurredAt: '2026-11-20T09:15:04Z' };
const rules: HintRules = { hosts: ['registry.example.com', 'other.example.com:5000'], keyInPath: false, notBefore: '2026-11-19T00:00:00Z' };
const hub = { hosts: ['docker.io'] };
const placed = (change: Partial<ToldPush>, rule: Partial<HintRules> = {}) => {
  const place = placeHint({ ...push, ...change }, { ...rules, ...rule });
  return place.kind === 'hint' ? `${place.hint.host}/${place.hint.repository}:${place.hint.tags.join()}` : place.reason;
};

describe('a push is a hint of', () => {
  it.each<[string, Partial<ToldPush>, Partial<HintRules>, string]>([
    ['the first host, where it names none', {}, {}, 'registry.example.com/team/web:1'],
    ['the host that it names', { host: 'other.example.com:5000' }, {}, 'other.example.com:5000/team/web:1'],
    ['a host in other capitals', { host: 'Registry.Example.COM' }, {}, 'registry.example.com/team/web:1'],
    ['every tag, where it names none', { tag: undefined }, {}, 'registry.example.com/team/web:'],
    ['docker.io under every name of it', { host: 'index.docker.io' }, hub, 'docker.io/team/web:1'],
    ['docker.io, if it is configured as it is contacted', {}, { hosts: ['registry-1.docker.io'] }, 'docker.io/team/web:1'],
    ['the image under its key', { key: 'docker-local' }, { keyInPath: true }, 'registry.example.com/docker-local/team/web:1'],
    ['the image alone, where hosts stand for keys', { key: 'docker-local' }, {}, 'registry.example.com/team/web:1'],
    ['nothing on a host of others', { host: 'evil.example.net' }, {}, 'foreign-host'],
    ['nothing on another port', { host: 'other.example.com' }, {}, 'foreign-host'],
    ['nothing on Docker Hub from another registry', { host: 'docker.io' }, {}, 'foreign-host'],
    ['nothing, where no host is configured', {}, { hosts: [] }, 'foreign-host'],
    ['nothing that is old', { occurredAt: '2026-11-18T23:59:59.999Z' }, {}, 'too-old'],
    ['something at the very limit', { occurredAt: '2026-11-19T01:00:00+01:00' }, {}, 'registry.example.com/team/web:1'],
  ])('%s', (_title, change, rule, expected) => {
    expect(placed(change, rule)).toBe(expected);
  });
});

describe('hints of one repository', () => {
  const hint: RepositoryHint = { host: 'h', repository: 'r', tags: ['1'], digest: 'd', eventId: 'a', observedAt: '2026-11-20T09:15:04Z' };

  it.each<[string, Partial<RepositoryHint>, Partial<RepositoryHint>]>([
    ['have the tags of both', { tags: ['2'] }, { tags: ['1', '2'] }],
    ['have a tag once', {}, {}],
    ['mean every tag where one of them does', { tags: [] }, { tags: [] }],
    ['have no digest where they differ', { digest: 'x' }, { digest: undefined }],
    ['have the newer time', { observedAt: '2026-11-20T09:15:05Z' }, { observedAt: '2026-11-20T09:15:05Z' }],
    ['keep the newer time', { observedAt: '2026-11-20T09:15:03Z' }, {}],
    ['have the actor that one of them knows', { actor: 'ci' }, { actor: 'ci' }],
    ['have the id of the first', { eventId: 'b' }, {}],
  ])('%s', (_title, second, expected) => {
    expect(coalesceHints([hint, { ...hint, ...second }])).toEqual([{ ...hint, ...expected }]);
  });

  it('are not mixed with those of another repository or host', () => {
    const others = [hint, { ...hint, repository: 's' }, { ...hint, host: 'i' }];

    expect(coalesceHints(others)).toEqual(others);
  });
});
