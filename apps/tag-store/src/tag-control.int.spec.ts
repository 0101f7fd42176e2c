import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import type { TagControl, TagControlStatus } from '@millrace/domain/tag-control';
import { Store } from '@millrace/platform/store';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase } from '@millrace/testing/servers';
import { database } from './tables.ts';
import { anInstance, aPush, aStream, digest, following, type Instance, type MappingFact, SetClock } from './testbed.ts';

/* What controls do to pushes, in the store: instances without their doors, and a clock that stands still. */

const NOON = '2026-01-02T12:00:00.000Z';
const at = (time: string) => `2026-01-02T${time}.000Z`;

let server: Awaited<ReturnType<typeof aDatabase>>;
let clock: SetClock;
let one: Instance;
let two: Instance;

beforeAll(async () => {
  server = await aDatabase();
  clock = new SetClock(NOON);
  one = await anInstance({ database: server.url, nats: inject('natsUrl') }, '', { clock });
  two = await anInstance({ database: server.url, nats: inject('natsUrl') }, '', { clock });
});
afterAll(async () => {
  await Promise.all([one.close(), two.close()]);
  await server.drop();
});
beforeEach(() => clock.set(NOON));

const controlled = (control: TagControl, name = 'latest') => ({ name, generation: 1, control });
const statusOf = async (stream: string, tag = 'latest'): Promise<TagControlStatus> => {
  const [row] = await one.store.query<{ control: string | null }>(
    'SELECT t.control FROM tag t JOIN stream s ON s.uid = t.stream_uid WHERE s.name = $1 AND t.name = $2',
    [stream, tag],
  );
  return JSON.parse(row?.control ?? 'null') as TagControlStatus;
};
const waiting = async (stream: string, tag = 'latest'): Promise<string[]> =>
  (
    await one.store.query<{ image: string }>(
      `SELECT c.image FROM tag_change c JOIN stream s ON s.uid = c.stream_uid
        WHERE s.name = $1 AND c.tag = $2 AND c.outcome IS NULL ORDER BY c.position DESC`,
      [stream, tag],
    )
  ).map(({ image }) => image);
const movesOf = async (stream: string) =>
  (await one.told(stream)).map(({ tag, current, superseded }) => [tag, current.image, ...(superseded ? [superseded] : [])]);
const respec = (stream: string, tags: object[]) =>
  one.store.query('UPDATE stream SET spec = $2 WHERE name = $1', [stream, JSON.stringify({ lookupPolicy: { local: false }, tags })]);
/** What a write of the spec has decided. */
const settle = (stream: string, tag = 'latest', by?: string) =>
  one.store.transaction(async (tx) => {
    const [locked] = (await one.tags.lock(tx, [{ namespace: 'demo', name: stream }])).values();
    if (!locked) throw new Error(`no stream ${stream}`);
    await one.tags.settle(tx, { tags: [{ stream: locked, tag }], by });
  });
const versionOf = async (stream: string): Promise<string> =>
  (await one.store.query<{ v: string }>('SELECT resource_version AS v FROM stream WHERE name = $1', [stream]))[0]?.v ?? '';

describe('a push to a tag that is held', () => {
  it('is stored and waits: pointer, history and events stay, the stream has a newer version', async () => {
    await aStream(one, 'held', [controlled({ hold: { reason: 'freeze' } })]);
    const before = await versionOf('held');

    await one.apply(aPush('held', 'a', 1), aPush('held', 'b', 2));

    expect(await waiting('held')).toEqual([digest('b'), digest('a')]);
    expect(await one.history('held')).toEqual([]);
    expect(await one.told('held')).toEqual([]);
    expect(await one.store.query('SELECT name FROM image WHERE name = $1', [digest('b')])).toHaveLength(1);
    expect(BigInt(await versionOf('held'))).toBeGreaterThan(BigInt(before));
    expect(await statusOf('held')).toMatchObject({
      decision: { kind: 'Waiting', reason: 'Held', message: 'held until it is released: freeze', at: NOON },
      pending: 2,
      newest: { image: digest('b'), since: NOON, cause: { kind: 'push', registry: 'main', actor: 'ci' } },
    });
  });

  it('changes nothing when it is repeated, in the same batch, later, and after it was passed over', async () => {
    await aStream(one, 'repeated', [controlled({ hold: {} })]);
    const [a, b] = [aPush('repeated', 'a', 1), aPush('repeated', 'b', 2)];

    await one.apply(a, a);
    await one.apply(b, a);
    await one.apply(a, b);
    expect(await waiting('repeated')).toEqual([digest('b'), digest('a')]);

    await respec('repeated', [controlled({})]);
    await settle('repeated');
    await one.apply(a, b, a);

    expect(await movesOf('repeated')).toEqual([['latest', digest('b'), 1]]);
    expect(await one.history('repeated')).toEqual([digest('b')]);
  });

  it('that is late never becomes the newest, and takes its place among those that wait', async () => {
    await aStream(one, 'late', [controlled({ hold: {} })]);
    await one.apply(aPush('late', 'c', 5));

    await one.apply(aPush('late', 'a', 1), aPush('late', 'b', 3));

    expect(await waiting('late')).toEqual([digest('c'), digest('b'), digest('a')]);
    expect(await statusOf('late')).toMatchObject({ pending: 3, newest: { image: digest('c') } });
  });

  it('that is older than what the tag has goes into the history below it', async () => {
    await aStream(one, 'older');
    await one.apply(aPush('older', 'b', 5));
    await respec('older', [controlled({ hold: {} })]);
    await one.apply(aPush('older', 'c', 7));

    await one.apply(aPush('older', 'a', 3));

    expect(await one.history('older')).toEqual([digest('b'), digest('a')]);
    expect(await waiting('older')).toEqual([digest('c')]);
  });

  it('of what waits already changes nothing, and of what the tag has ends the wait', async () => {
    await aStream(one, 'back');
    await one.apply(aPush('back', 'a', 1));
    await respec('back', [controlled({ hold: {} })]);
    await one.apply(aPush('back', 'b', 2));
    await one.apply(aPush('back', 'b', 3));
    expect(await waiting('back')).toEqual([digest('b')]);

    await one.apply(aPush('back', 'a', 4));

    expect(await waiting('back')).toEqual([]);
    expect(await statusOf('back')).toMatchObject({
      pending: 0,
      decisions: [{ kind: 'Dropped', reason: 'Superseded', image: digest('b') }],
    });
    expect(await movesOf('back')).toEqual([['latest', digest('a')]]);
  });

  it('waits beside free tags of the same batch, and of the same stream', async () => {
    await aStream(one, 'mixed', [controlled({ hold: {} }), { name: 'free', generation: 1 }]);
    await aStream(one, 'other');
    const free = (stream: string, of: string, n: number): MappingFact => aPush(stream, of, n, { tag: 'free' });

    await one.apply(aPush('mixed', 'a', 1), free('mixed', 'a', 1), aPush('other', 'a', 1), aPush('mixed', 'b', 2), free('mixed', 'b', 2));

    expect(await waiting('mixed')).toEqual([digest('b'), digest('a')]);
    expect(await movesOf('mixed')).toEqual([
      ['free', digest('a')],
      ['free', digest('b')],
    ]);
    expect(await movesOf('other')).toEqual([['latest', digest('a')]]);
  });

  it('reaches no follower until the tag moves, and a follower that is held itself waits on its own', async () => {
    await aStream(one, 'followed', [
      controlled({ hold: {} }),
      following('near', 'latest'),
      { ...following('kept', 'latest'), control: { hold: { reason: 'kept' } } },
    ]);
    await one.apply(aPush('followed', 'a', 1), aPush('followed', 'b', 2));
    expect(await one.told('followed')).toEqual([]);

    await respec('followed', [controlled({}), following('near', 'latest'), { ...following('kept', 'latest'), control: { hold: {} } }]);
    await settle('followed');

    expect(await movesOf('followed')).toEqual([
      ['latest', digest('b'), 1],
      ['near', digest('b')],
    ]);
    expect(await waiting('followed', 'kept')).toEqual([digest('b')]);
    expect(await statusOf('followed', 'kept')).toMatchObject({ newest: { cause: { kind: 'follow', follows: 'latest' } } });
  });
});

describe('a minimum age', () => {
  it('counts from when an image came by our clock; what is replaced earlier is skipped', async () => {
    await aStream(one, 'aged', [controlled({ minimumAge: '1h' })]);
    await one.apply(aPush('aged', 'a', 1));
    clock.set(at('12:30:00'));
    await one.apply(aPush('aged', 'b', 2));
    clock.set(at('13:00:00'));
    await one.due.look();
    expect(await movesOf('aged')).toEqual([]);

    clock.set(at('13:30:00'));
    await one.due.look();

    expect(await movesOf('aged')).toEqual([['latest', digest('b'), 1]]);
    expect(await one.history('aged')).toEqual([digest('b')]);
    expect(await statusOf('aged')).toMatchObject({ pending: 0, decisions: [{ kind: 'Moved', image: digest('b'), superseded: 1 }] });
  });

  it('that has passed counts although nobody has looked: the next push does not pass it over', async () => {
    await aStream(one, 'passed', [controlled({ minimumAge: '1h' })]);
    await one.apply(aPush('passed', 'a', 1));

    clock.set(at('13:00:01'));
    await one.apply(aPush('passed', 'b', 2));

    expect(await movesOf('passed')).toEqual([['latest', digest('a')]]);
    expect(await waiting('passed')).toEqual([digest('b')]);
  });

  it('is as long as ever for another image behind the same pull spec', async () => {
    await aStream(one, 'renamed', [controlled({ minimumAge: '1h' })]);
    const pushed = (of: string, n: number): MappingFact => {
      const push = aPush('renamed', of, n);
      return { ...push, image: { ...push.image, dockerImageReference: 'registry.example/demo/renamed:v1' } };
    };
    await one.apply(pushed('a', 1));

    clock.set(at('12:59:00'));
    await one.apply(pushed('b', 2));
    clock.set(at('13:10:00'));
    await one.due.look();

    expect(await movesOf('renamed')).toEqual([]);
    expect(await statusOf('renamed')).toMatchObject({ newest: { image: digest('b'), since: at('12:59:00') } });
  });

  it('ends in time after the clock was set back, and does not end early', async () => {
    await aStream(one, 'clocks', [controlled({ minimumAge: '1h' })]);
    clock.set('2027-06-01T00:00:00.000Z');
    await one.apply(aPush('clocks', 'a', 1));

    clock.set(NOON);
    await one.due.look();
    expect(await statusOf('clocks')).toMatchObject({ decision: { reason: 'TooYoung', lookAt: at('13:00:00') } });
    clock.set(at('12:59:00'));
    await one.due.look();
    expect(await movesOf('clocks')).toEqual([]);
  });
});

describe('windows', () => {
  const office: TagControl = { windows: [{ schedule: '0 9 * * 1-5', timeZone: 'Europe/Berlin', duration: '8h' }] };

  it('let images pass while they are open, and hold them until the next one opens', async () => {
    await aStream(one, 'office', [controlled(office)]);
    clock.set('2026-01-02T15:59:59.000Z');
    await one.apply(aPush('office', 'a', 1));
    clock.set('2026-01-02T16:00:00.000Z');
    await one.apply(aPush('office', 'b', 2), aPush('office', 'c', 3));
    expect(await statusOf('office')).toMatchObject({
      decision: { reason: 'OutsideWindow', lookAt: '2026-01-05T08:00:00.000Z' },
      pending: 2,
    });

    clock.set('2026-01-05T08:00:00.000Z');
    await one.due.look();

    expect(await movesOf('office')).toEqual([
      ['latest', digest('a')],
      ['latest', digest('c'), 1],
    ]);
  });
});

describe('a denied image', () => {
  it('never counts: what came before it is the newest again', async () => {
    await aStream(one, 'denied', [controlled({ hold: {}, deny: [{ image: digest('bad'), reason: 'CVE-1' }] })]);

    await one.apply(aPush('denied', 'a', 1), aPush('denied', 'bad', 2));

    expect(await waiting('denied')).toEqual([digest('a')]);
    expect(await statusOf('denied')).toMatchObject({
      pending: 1,
      newest: { image: digest('a') },
      decisions: [{ kind: 'Refused', reason: 'Denied', message: `${digest('bad')} is denied: CVE-1`, image: digest('bad') }],
    });
  });

  it('is dropped where it waits already, as are those that are denied with it', async () => {
    await aStream(one, 'withdrawn', [controlled({ hold: {} })]);
    await one.apply(...['a', 'b', 'c'].map((of, n) => aPush('withdrawn', of, n)));

    await respec('withdrawn', [controlled({ hold: {}, deny: [{ image: digest('b') }, { image: digest('c') }] })]);
    await settle('withdrawn');

    expect(await waiting('withdrawn')).toEqual([digest('a')]);
    expect(await statusOf('withdrawn')).toMatchObject({ pending: 1, newest: { image: digest('a') } });
  });
});

describe('an approval', () => {
  const twoPeople: TagControl = { approval: { required: 2, within: '1h' } };
  const say = (stream: string, user: string, image: string, verdict: 'Approve' | 'Reject' = 'Approve') =>
    one.store.transaction(async (tx) => {
      const [locked] = (await one.tags.lock(tx, [{ namespace: 'demo', name: stream }])).values();
      if (!locked) throw new Error(`no stream ${stream}`);
      const said = { image, user, verdict, at: clock.now().toISOString() };
      await one.tags.settle(tx, { tags: [{ stream: locked, tag: 'latest' }], by: user, verdict: said });
    });

  it('comes from two people for the change that is meant; another image starts anew', async () => {
    await aStream(one, 'approved', [controlled(twoPeople)]);
    await one.apply(aPush('approved', 'a', 1));
    await say('approved', 'ann', digest('a'));
    await say('approved', 'ann', digest('a'));
    await one.apply(aPush('approved', 'b', 2));
    await say('approved', 'bob', digest('a'));
    expect(await statusOf('approved')).toMatchObject({
      newest: { image: digest('b') },
      decision: { message: expect.stringContaining('0 of 2') as string },
    });

    await say('approved', 'ann', digest('b'));
    await say('approved', 'bob', digest('b'));

    expect(await movesOf('approved')).toEqual([['latest', digest('b'), 1]]);
    expect(await statusOf('approved')).toMatchObject({ decisions: [{ kind: 'Moved', by: 'bob' }] });
  });

  it('that does not come in time drops the change, also where it comes before anybody has looked', async () => {
    await aStream(one, 'expired', [controlled(twoPeople)]);
    await one.apply(aPush('expired', 'a', 1));
    await say('expired', 'ann', digest('a'));

    clock.set(at('13:00:00'));
    await say('expired', 'bob', digest('a'));

    expect(await movesOf('expired')).toEqual([]);
    expect(await statusOf('expired')).toMatchObject({ pending: 0, decisions: [{ kind: 'Refused', reason: 'ApprovalExpired' }] });
  });

  it('is void where somebody rejects', async () => {
    await aStream(one, 'rejected', [controlled(twoPeople)]);
    await one.apply(aPush('rejected', 'a', 1), aPush('rejected', 'b', 2));
    await say('rejected', 'ann', digest('b'));

    await say('rejected', 'eve', digest('b'), 'Reject');

    expect(await statusOf('rejected')).toMatchObject({
      pending: 1,
      newest: { image: digest('a') },
      decisions: [{ reason: 'Rejected', message: 'eve rejected it', by: 'eve' }],
    });
  });
});

describe('what is due', () => {
  it('moves once where two instances look at the same time', async () => {
    const names = Array.from({ length: 30 }, (_, n) => `shared-${n}`);
    for (const name of names) await aStream(one, name, [controlled({ minimumAge: '1h' })]);
    await one.apply(...names.map((name) => aPush(name, 'a', 1)));

    clock.set(at('13:00:00'));
    await Promise.all([one.due.look(), two.due.look()]);
    await Promise.all([one.due.look(), two.due.look()]);

    for (const name of names) expect(await movesOf(name)).toEqual([['latest', digest('a')]]);
  });

  it('moves once where the first instance dies in between', async () => {
    await aStream(one, 'killed', [controlled({ minimumAge: '1h' })]);
    await one.apply(aPush('killed', 'a', 1));
    clock.set(at('13:00:00'));
    // Held back before its commit: every commit needs this row.
    const holder = new Store({ ...database, url: server.url, poolSize: 2 });
    await holder.open();
    let release = (): void => undefined;
    const holding = holder.transaction(async (tx) => {
      await tx.query('SELECT FROM revision FOR UPDATE');
      await new Promise<void>((resolve) => (release = resolve));
    });
    const dying = one.due.look().then(
      () => 'done',
      () => 'dead',
    );
    const blocked = await eventually(async () => {
      const [row] = await two.store.query<{ pid: number }>(
        `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%UPDATE revision%'`,
      );
      if (!row) throw new Error('not there yet');
      return row.pid;
    });

    await two.store.query('SELECT pg_terminate_backend($1)', [blocked]);
    expect(await dying).toBe('dead');
    release();
    await holding;
    await holder.close();

    expect(await movesOf('killed')).toEqual([]);
    await two.due.look();
    expect(await movesOf('killed')).toEqual([['latest', digest('a')]]);
  });

  it('of a hold that ends by itself shows nothing of it any more', async () => {
    await aStream(one, 'ended', [controlled({ hold: { until: at('13:00:00') } })]);
    await settle('ended');
    expect(await statusOf('ended')).toMatchObject({ decision: { kind: 'UpToDate', reason: 'Held', lookAt: at('13:00:00') } });

    clock.set(at('13:00:00'));
    await one.due.look();

    expect(await statusOf('ended')).toMatchObject({ decision: { kind: 'UpToDate', reason: 'NothingWaits' } });
  });

  it('is forgotten once it is decided and no fact about it can come again', async () => {
    await aStream(one, 'forgotten', [controlled({ hold: {} })]);
    await one.apply(aPush('forgotten', 'a', 1), aPush('forgotten', 'b', 2));
    await respec('forgotten', [controlled({})]);
    await settle('forgotten');
    const rows = () => one.store.query("SELECT FROM tag_change c JOIN stream s ON s.uid = c.stream_uid WHERE s.name = 'forgotten'");

    await one.due.forget();
    expect(await rows()).toHaveLength(2);
    clock.set('2026-02-02T12:00:00.000Z');
    await one.due.forget();

    expect(await rows()).toHaveLength(0);
  });
});

describe('a tag without a control', () => {
  it('takes no more statements than it did', async () => {
    await one.apply(aPush('plain', 'a', 1));
    const statements: string[] = [];
    await one.store.transaction(async (tx) => {
      const [stream] = (await one.tags.lock(tx, [{ namespace: 'demo', name: 'plain' }])).values();
      if (!stream) throw new Error('no stream');
      const counting = {
        ...tx,
        query: (sql: string, parameters?: unknown[]) => (statements.push(sql), tx.query(sql, parameters)),
        run: (sql: string, parameters?: unknown[]) => (statements.push(sql), tx.run(sql, parameters)),
        send: (sql: string, parameters?: unknown[]) => (statements.push(sql), tx.send(sql, parameters)),
      } as typeof tx;
      const event = { created: NOON, dockerImageReference: `e.io/a@${digest('b')}`, image: digest('b'), generation: 1 };
      await one.tags.move(counting, [{ stream, tag: 'latest', event, cause: { kind: 'push', id: 'counted' }, labels: {} }]);
    });

    // What it is, what is known of it, and the rows of tag and item.
    expect(statements).toHaveLength(4);
    expect(statements.join(' ')).not.toContain('tag_change');
  });
});
