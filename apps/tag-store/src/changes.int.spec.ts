import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { aDatabase } from '@millrace/testing/servers';
import type { Change, Feed, FeedEntry, FeedQuestion } from './changes.ts';
import { anInstance, aPush, type Instance } from './testbed.ts';

let server: Awaited<ReturnType<typeof aDatabase>>;
let one: Instance;
let two: Instance;

beforeAll(async () => {
  server = await aDatabase();
  one = await anInstance({ database: server.url, nats: inject('natsUrl') });
  two = await anInstance({ database: server.url, nats: inject('natsUrl') });
});
afterAll(async () => {
  await Promise.all([one.close(), two.close()]);
  await server.drop();
});

const change = (namespace: string, name: string, type: Change['type'] = 'MODIFIED', uid: string = randomUUID()): Change => ({
  resource: 'imagestreams',
  namespace,
  name,
  uid,
  type,
});
const record = (by: Instance, ...changes: Change[]) =>
  by.store.transaction((tx) => Promise.resolve(changes.map((each) => by.changes.record(tx, each))));
const now = async () => (await one.store.query<{ value: string }>('SELECT value FROM revision'))[0]?.value ?? '';
const read = (question: Partial<FeedQuestion>, by: Instance = one): Promise<Feed<FeedEntry>> =>
  by.changes.read({ resource: 'imagestreams', since: '0', limit: 1000, waitMs: 0, ...question }, (_tx, entries) =>
    Promise.resolve(entries),
  );
const namesOf = (feed: Feed<FeedEntry>) =>
  feed.kind === 'changes' ? feed.changes.map((entry) => `${entry.type} ${entry.name}`) : feed.kind;

describe('a number', () => {
  it('is given to each changed object once per transaction, and is the version of its row', async () => {
    await one.apply(aPush('numbered', 'a', 1), aPush('numbered', 'b', 2, { tag: 'other' }));

    const [stream] = await one.store.query<{ uid: string; resource_version: string }>(
      "SELECT uid, resource_version FROM stream WHERE name = 'numbered'",
    );
    expect(await one.store.query('SELECT revision, type FROM change WHERE uid = $1', [stream?.uid])).toEqual([
      { revision: stream?.resource_version, type: 'ADDED' },
    ]);
    const images = await one.store.query<{ same: boolean }>(
      "SELECT c.revision = i.resource_version AS same FROM change c JOIN image i ON i.name = c.name WHERE c.resource = 'images'",
    );
    expect(images.map((row) => row.same)).toEqual([true, true]);
  });

  it('is known to the writer when its transaction has committed, and used by nobody when it has not', async () => {
    const before = BigInt(await now());
    await expect(
      one.store.transaction((tx) => {
        one.changes.record(tx, change('rollback', 's'));
        return Promise.reject(new Error('no'));
      }),
    ).rejects.toThrow('no');

    const recorded = await record(one, change('rollback', 'a'), change('rollback', 'b'));

    expect(recorded.map((each) => each.resourceVersion)).toEqual([String(before + 1n), String(before + 2n)]);
  });

  it('is never shown after a higher one, with two instances that write at the same time', async () => {
    let writing = true;
    const writers = [one, two].flatMap((by, i) =>
      Array.from({ length: 4 }, async (_, w) => {
        for (let n = 0; n < 60; n++)
          await by.store.transaction(async (tx) => {
            for (let c = 0; c <= n % 3; c++) by.changes.record(tx, change('promise', `${i}${w} ${n} ${c}`));
            // Transactions of different length overtake each other on their way to the commit.
            await tx.query('SELECT pg_sleep($1)', [((n * 7 + w * 3) % 5) / 1000]);
          });
      }),
    );
    const gaps: string[] = [];
    const seen: string[] = [];
    const reader = (async () => {
      for (let since = '0'; ;) {
        const last = !writing;
        const feed = await read({ since, namespace: 'promise' }, two);
        if (feed.kind !== 'changes') throw new Error(feed.kind);
        for (const entry of feed.changes) {
          if (BigInt(entry.resourceVersion) <= BigInt(since)) gaps.push(`${entry.resourceVersion} after ${since}`);
          seen.push(entry.resourceVersion);
        }
        const [whole] = await one.store.query<{ n: string; value: string }>(
          'SELECT (SELECT count(*) FROM change WHERE revision <= value) AS n, value FROM revision',
        );
        // The counter begins at 1: up to the number N there are N - 1 changes, at every moment.
        if (Number(whole?.n) !== Number(whole?.value) - 1) gaps.push(`${whole?.n} changes up to ${whole?.value}`);
        since = feed.resourceVersion;
        if (last) return;
      }
    })();
    await Promise.all(writers);
    writing = false;
    await reader;

    expect(gaps).toEqual([]);
    expect(seen).toEqual(seen.toSorted((a, b) => Number(BigInt(a) - BigInt(b))));
    expect(seen).toHaveLength(2 * 4 * 60 * 2);
  });
});

describe('the feed', () => {
  it('tells the last thing per object, in the order of numbers, and only what is asked for', async () => {
    const since = await now();
    const uids = Array.from({ length: 4 }, () => randomUUID());
    const of = (i: number, type: Change['type'], name = `s${i}`) => change('feed', name, type, uids[i]);
    await record(one, of(0, 'MODIFIED'), of(1, 'ADDED'));
    await record(two, of(1, 'MODIFIED'), of(2, 'ADDED'));
    await record(one, of(0, 'MODIFIED'), { ...of(2, 'DELETED'), object: { metadata: { resourceVersion: '1' } } });
    await record(one, { ...of(3, 'DELETED'), object: { metadata: {} } }, change('elsewhere', 's0'));

    const feed = await read({ since, namespace: 'feed' });

    expect(namesOf(feed)).toEqual(['ADDED s1', 'MODIFIED s0', 'ADDED s2', 'DELETED s2', 'DELETED s3']);
    expect(namesOf(await read({ since, namespace: 'feed', name: 's0' }))).toEqual(['MODIFIED s0']);
    expect(namesOf(await read({ since, resource: 'images' }))).toEqual([]);
    expect(feed).toMatchObject({ resourceVersion: await now() });
    const deleted = feed.kind === 'changes' ? feed.changes.at(-1) : undefined;
    expect(JSON.parse(deleted?.lastState ?? '')).toEqual({ metadata: { resourceVersion: deleted?.resourceVersion } });
  });

  it('goes on from where a part of it ended', async () => {
    const since = await now();
    await record(one, ...Array.from({ length: 5 }, (_, i) => change('parts', `s${i}`)));

    const first = await read({ since, namespace: 'parts', limit: 2 });
    const second = await read({ since: first.kind === 'changes' ? first.resourceVersion : '', namespace: 'parts', limit: 10 });

    expect([namesOf(first), namesOf(second)]).toEqual([
      ['MODIFIED s0', 'MODIFIED s1'],
      ['MODIFIED s2', 'MODIFIED s3', 'MODIFIED s4'],
    ]);
  });

  it.each([['of the same instance'], ['of another instance']])('waits for a change %s and tells it at once', async (whose) => {
    const since = await now();
    const began = Date.now();
    const waiting = read({ since, namespace: 'waited', waitMs: 20_000 });
    await record(one, change('elsewhere', 'not this'));
    await record(whose === 'of another instance' ? two : one, change('waited', 'this'));

    expect(namesOf(await waiting)).toEqual(['MODIFIED this']);
    expect(Date.now() - began).toBeLessThan(5_000);
  });

  it('answers with the newest number when nothing has happened for as long as was asked', async () => {
    const since = await now();
    await record(one, change('elsewhere', 's'));

    expect(await read({ since, namespace: 'silent', waitMs: 50 })).toEqual({ kind: 'changes', changes: [], resourceVersion: await now() });
  });

  it('of a number that is still to come has nothing to tell, and keeps the number', async () => {
    const ahead = String(BigInt(await now()) + 1000n);

    expect(await read({ since: ahead })).toEqual({ kind: 'changes', changes: [], resourceVersion: ahead });
  });

  it('forgets what is past its time, and says so to whoever asks for it', async () => {
    await record(one, change('old', 's'));
    const newest = await now();
    await one.store.query("UPDATE change SET recorded = now() - interval '2 hours'");
    await one.changes.prune(60);
    await record(one, change('old', 't'));

    expect(await read({ since: '1', namespace: 'old' })).toEqual({ kind: 'expired', oldest: newest });
    expect(namesOf(await read({ since: newest, namespace: 'old' }))).toEqual(['MODIFIED t']);
  });
});

describe('what was touched', () => {
  const touched = async (since?: string) => (await two.changes.touched(since)).objects?.map(({ type, name }) => `${type} ${name}`);

  it('is told by name, with how far that goes, as soon as its transaction has committed', async () => {
    const since = await now();
    await record(one, change('touched', 'a', 'ADDED'), { ...change('touched', 'b', 'DELETED'), object: { metadata: {} } });
    await record(one, change('touched', 'a'));

    expect(await touched(since)).toEqual(['ADDED a', 'DELETED b', 'MODIFIED a']);
    expect(await two.changes.touched(await now())).toEqual({ position: await now(), objects: [] });
  });

  it('is anything for one who does not say since when, or is too far behind', async () => {
    const since = await now();
    await record(one, ...Array.from({ length: 1_001 }, (_, n) => change('many', `s${n}`)));

    expect(await two.changes.touched()).toEqual({ position: await now() });
    expect(await touched(since)).toBeUndefined();
    expect(await touched(String(BigInt(since) + 1n))).toHaveLength(1_000);
    await one.changes.prune(0);
    expect(await touched(String(BigInt(since) + 1n))).toBeUndefined();
  });
});
