import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { dialects, outcomesIn } from './dialects.ts';
import type { Dialect, Outcome, Push } from './dialects/dialect.ts';

interface Fixture {
  title: string;
  from: string;
  headers: Record<string, string>;
  body: unknown;
  says: ({ push: Push } | { ignored: string } | { malformed: string })[];
}

const folder = new URL('../fixtures/', import.meta.url);
const fixtures = readdirSync(folder)
  .filter((file) => file.endsWith('.json') && !file.startsWith('distribution-'))
  .map((file) => [file.slice(0, -5), JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Fixture[]] as const);

const defined = (push: Push) => Object.fromEntries(Object.entries(push).filter(([, value]) => value !== undefined));
const said = (outcome: Outcome) => {
  switch (outcome.kind) {
    case 'push':
      return { push: defined(outcome.push) };
    case 'ignored':
      return { ignored: outcome.reason };
    case 'malformed':
      return { malformed: outcome.reason.slice(0, outcome.reason.indexOf(' ') + 1) };
  }
};
const dialectOf = (name: string): Dialect => dialects.get(name)!;

describe('fixtures', () => {
  it('there are some of every dialect', () => {
    expect(['distribution', ...fixtures.map(([name]) => name)].toSorted()).toEqual([...dialects.keys()].toSorted());
  });

  it('say where they are from', () => {
    for (const [, all] of fixtures) for (const { title, from } of all) expect(from, title).toMatch(/https:/);
  });
});

describe.each(fixtures)('%s', (name, all) => {
  it.each(all.map((fixture) => [fixture.title, fixture] as const))('%s is understood', (_title, { headers, body, says }) => {
    expect(outcomesIn(dialectOf(name), JSON.stringify(body), headers).map(said)).toEqual(says);
  });

  it('describes a push completely where mappings are made of it', () => {
    const pushes = all.flatMap(({ says }) => says.flatMap((one) => ('push' in one ? [one.push] : [])));
    const complete = pushes.some(({ eventId, tag, digest, occurredAt }) => eventId && tag && digest && occurredAt);

    expect(complete).toBe(dialectOf(name).describes);
  });
});

/* Nothing that can be sent may throw, nor be taken for a push of something that no registry holds. */
const strange: unknown[] = [
  null,
  true,
  7,
  -1e308,
  '',
  'x'.repeat(100_000),
  '\0',
  '../../etc/passwd',
  'a:b@c',
  [],
  [[]],
  {},
  { toString: 1 },
  JSON.parse('{"__proto__":{"action":"push"}}'),
];

/** Every body that differs from the given one in one place: something strange stands there, or nothing. */
function* mutations(value: unknown): Generator<unknown> {
  yield* strange;
  if (Array.isArray(value)) {
    for (const [index, part] of value.entries()) for (const other of mutations(part)) yield value.with(index, other);
    yield [...value, ...value];
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, part] of Object.entries(value)) {
      for (const other of mutations(part)) yield { ...value, [key]: other };
      yield Object.fromEntries(Object.entries(value).filter(([other]) => other !== key));
    }
  }
}

const acceptable = (outcome: Outcome): boolean => {
  if (outcome.kind !== 'push') return outcome.kind === 'ignored' || outcome.reason.length > 0;
  const { eventId, repository, tag, digest, host, occurredAt } = outcome.push;
  return (
    (eventId === undefined || /^[\x21-\x7e]+$/.test(eventId)) &&
    /^[a-z0-9]+([._/-]+[a-z0-9]+)*$/.test(repository) &&
    (tag === undefined || /^\w[\w.-]{0,127}$/.test(tag)) &&
    (digest === undefined || /^sha\d+:[0-9a-fA-F]+$/.test(digest)) &&
    (host === undefined || host.length <= 256) &&
    (occurredAt === undefined || /^\d{4}-\d\d-\d\d[Tt ]/.test(occurredAt))
  );
};

describe.each([...dialects.values()].map((dialect) => [dialect.name, dialect] as const))('%s', (name, dialect) => {
  const all = fixtures.find(([other]) => other === name)?.[1] ?? [];
  const bodies = name === 'distribution' ? distributionBodies() : all;

  it('makes something acceptable of whatever stands in any place of its notifications', () => {
    let tried = 0;
    for (const { headers, body } of bodies)
      for (const changed of mutations(body)) {
        const outcomes = dialect.read(changed, headers);
        expect(outcomes.filter((outcome) => !acceptable(outcome))).toEqual([]);
        tried++;
      }

    expect(tried).toBeGreaterThan(100);
  });

  it.each([
    [''],
    ['{'],
    ['null'],
    ['\0'],
    ['[1]'],
    ['"a"'],
    ['1e999'],
    ['['.repeat(100_000)],
    [`${'['.repeat(50_000)}${']'.repeat(50_000)}`],
    ['{"__proto__":{}}'],
  ])('takes no body of another shape for a push: %#', (body) => {
    for (const headers of [{}, ...bodies.map((fixture) => fixture.headers)])
      expect(outcomesIn(dialect, body, headers).filter(({ kind }) => kind === 'push')).toEqual([]);
  });

  it('understands the notifications of every other dialect as nothing that it should not', () => {
    for (const [, others] of fixtures)
      for (const { headers, body } of others) expect(dialect.read(body, headers).every(acceptable)).toBe(true);
  });
});

function distributionBodies(): Pick<Fixture, 'headers' | 'body'>[] {
  const sent = JSON.parse(readFileSync(new URL('distribution-3.json', folder), 'utf8')) as { body: unknown }[];
  return sent.slice(0, 4).map(({ body }) => ({ headers: {}, body }));
}

describe('events of one push', () => {
  it('have one id in both of GitHub’s events', () => {
    const [, all] = fixtures.find(([name]) => name === 'ghcr')!;
    const ids = all.flatMap(({ says }) => says.flatMap((one) => ('push' in one ? [one.push.eventId] : [])));

    expect(ids).toHaveLength(3);
    expect(new Set(ids).size).toBe(2);
  });
});
