import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { aDatabase } from '@millrace/testing/servers';
import { lockStreams } from './stream-rows.ts';
import { anInstance, aPush, aStream, digest, following, type Instance, second } from './testbed.ts';

const [A, B, C] = ['a', 'b', 'c'].map(digest) as [string, string, string];

let server: Awaited<ReturnType<typeof aDatabase>>;
let one: Instance;

beforeAll(async () => {
  server = await aDatabase();
  one = await anInstance({ database: server.url, nats: inject('natsUrl') }, 'registry.internal:5000');
});
afterAll(async () => {
  await one.close();
  await server.drop();
});

describe('the history of a tag', () => {
  it('keeps every image in the order of the pushes, newest first, and counts the moves without a gap', async () => {
    await one.apply(aPush('ordered', 'a', 1), aPush('ordered', 'b', 2));
    await one.apply(aPush('ordered', 'a', 3));

    expect(await one.history('ordered')).toEqual([A, B, A]);
    const told = await one.told('ordered');
    expect(told.map((move) => [move.generation, move.previous?.image, move.current.image])).toEqual([
      [1, undefined, A],
      [2, A, B],
      [3, B, A],
    ]);
    expect(told[2]).toMatchObject({
      namespace: 'demo',
      tag: 'latest',
      streamGeneration: 1,
      pullSpec: `registry.example/demo/ordered@${A}`,
      labels: { commit: 'a' },
      cause: { kind: 'push', id: 'push ordered:latest a 3', registry: 'main', actor: 'ci' },
    });
  });

  it('is the same after a repeat, in the same batch, in the next, and when another image has been pushed since', async () => {
    const push = aPush('repeated', 'a', 1);

    await one.apply(push, push);
    await one.apply(push);
    await one.apply(aPush('repeated', 'b', 2), push);
    await one.apply(push);

    expect(await one.history('repeated')).toEqual([B, A]);
    expect(await one.told('repeated')).toHaveLength(2);
  });

  it('takes in what comes late at its place, and does not move the tag', async () => {
    await one.apply(aPush('late', 'a', 1), aPush('late', 'c', 5));
    await one.apply(aPush('late', 'b', 3));
    await one.apply(aPush('late', 'd', 2), aPush('late', 'e', 4), aPush('late', 'f', 0));

    expect(await one.history('late')).toEqual(['c', 'e', 'b', 'd', 'a', 'f'].map(digest));
    expect((await one.told('late')).map((move) => move.current.image)).toEqual([A, C]);
    expect(await one.store.query("SELECT items, image FROM tag t JOIN stream s ON s.uid = t.stream_uid WHERE s.name = 'late'")).toEqual([
      { items: '6', image: C },
    ]);
  });

  it('is the same whatever the order of arrival, in one batch or in many', async () => {
    const pushes = (stream: string) => ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map((of, i) => aPush(stream, of, i));
    const shuffled = <T>(items: T[]): T[] => [3, 7, 0, 5, 1, 6, 2, 4].map((i) => items[i] as T);

    await one.apply(...pushes('sorted'));
    await one.apply(...shuffled(pushes('shuffled')));
    for (const push of shuffled(pushes('single'))) await one.apply(push);

    const expected = ['h', 'g', 'f', 'e', 'd', 'c', 'b', 'a'].map(digest);
    for (const stream of ['sorted', 'shuffled', 'single']) expect(await one.history(stream)).toEqual(expected);
  });

  it('has no order between two registries: each counts when it arrives', async () => {
    const other = { registry: 'other', eventId: 'o', observedAt: second(1) };

    await one.apply(aPush('two-sources', 'a', 100));
    await one.apply(aPush('two-sources', 'b', 1, { source: other }));

    expect(await one.history('two-sources')).toEqual([B, A]);
  });

  it('has one item that changes in place where the same image comes under another pull spec, and says so with a move', async () => {
    await one.apply(aPush('in-place', 'a', 1));
    const again = aPush('in-place', 'a', 2);
    await one.apply({ ...again, image: { ...again.image, dockerImageReference: `other.example/x@${A}` } });

    expect(await one.history('in-place')).toEqual([A]);
    expect((await one.told('in-place')).map((move) => [move.generation, move.pullSpec])).toEqual([
      [1, `registry.example/demo/in-place@${A}`],
      [2, `other.example/x@${A}`],
    ]);
  });

  it('gives no move where only the generation is another', async () => {
    await one.apply(aPush('regenerated', 'a', 1));
    await one.store.query("UPDATE stream SET generation = 2 WHERE name = 'regenerated'");
    await one.apply(aPush('regenerated', 'a', 2));

    expect(await one.told('regenerated')).toHaveLength(1);
    expect(
      await one.store.query("SELECT i.generation FROM tag_item i JOIN stream s ON s.uid = i.stream_uid WHERE s.name = 'regenerated'"),
    ).toEqual([{ generation: '2' }]);
  });

  it('of 100,000 items costs what one of ten does', async () => {
    await one.apply(aPush('long', 'a', 1));
    await one.store.query(
      `INSERT INTO tag_item (stream_uid, tag, position, image, reference, created, generation, source, observed_at, cause)
       SELECT i.stream_uid, i.tag, i.position - n, 'sha256:' || n, 'r@' || n, i.created, 1, i.source,
              '2025-01-01T00:00:00.' || lpad((100000 - n)::text, 9, '0') || 'Z', 'old ' || n
         FROM tag_item i JOIN stream s ON s.uid = i.stream_uid AND s.name = 'long', generate_series(1, 100000) AS n`,
    );
    await one.store.query('ANALYZE tag_item');
    const rowsRead = (of: string, observedAt: string) =>
      one.store.transaction(async (tx) => {
        const stream = (await lockStreams(tx, [{ namespace: 'demo', name: 'long' }])).get('demo/long');
        if (!stream) throw new Error('no stream');
        const event = { created: second(1), dockerImageReference: `r@${of}`, image: of, generation: 1 };
        const cause = { kind: 'push' as const, id: of };
        const [outcome] = await one.tags.move(tx, [{ stream, tag: 'latest', event, cause, source: 'main', observedAt, labels: {} }]);
        const [row] = await tx.query<{ n: string }>(
          "SELECT seq_tup_read + idx_tup_fetch AS n FROM pg_stat_xact_user_tables WHERE relname = 'tag_item'",
        );
        return { outcome, rows: Number(row?.n) };
      });

    const pushed = await rowsRead(B, second(2));
    const late = await rowsRead(C, '2025-01-01T00:00:00.000050000Z');

    expect([pushed.outcome, late.outcome]).toEqual(['moved', 'changed']);
    expect(pushed.rows).toBeLessThan(10);
    expect(late.rows).toBeLessThan(20);
    const history = await one.history('long');
    expect([history.length, history[0], history[1]]).toEqual([100_003, B, A]);
  });
});

describe('tags that follow others of their stream', () => {
  it('move with them in the same transaction, each with moves of its own, one level deep', async () => {
    await aStream(one, 'chain', [following('stable', 'latest'), following('prod', 'stable'), following('qa', 'chain:latest')]);

    await one.apply(aPush('chain', 'a', 1), aPush('chain', 'b', 2));

    for (const tag of ['latest', 'stable', 'qa']) expect(await one.history('chain', tag)).toEqual([B, A]);
    expect(await one.history('chain', 'prod')).toEqual([]);
    const stable = (await one.told('chain')).filter((move) => move.tag === 'stable');
    expect(stable.map((move) => [move.generation, move.current.image, move.labels['commit']])).toEqual([
      [1, A, 'a'],
      [2, B, 'b'],
    ]);
    expect(stable[0]?.cause).toMatchObject({ kind: 'follow', follows: 'latest', id: 'push chain:latest a 1' });
  });

  it('come to rest where they follow each other in a circle, or themselves', async () => {
    await aStream(one, 'circle', [following('latest', 'b'), following('b', 'c'), following('c', 'latest'), following('self', 'self')]);

    await one.apply(aPush('circle', 'a', 1), aPush('circle', 'a', 2, { tag: 'self' }));

    for (const tag of ['latest', 'c', 'self']) expect(await one.history('circle', tag)).toEqual([A]);
    expect(await one.history('circle', 'b')).toEqual([]);
    expect(await one.told('circle')).toHaveLength(3);
  });

  it('stay where they are when what they follow gets a late item', async () => {
    await aStream(one, 'follow-late', [following('stable', 'latest')]);
    await one.apply(aPush('follow-late', 'b', 5));
    await one.apply(aPush('follow-late', 'a', 1));

    expect(await one.history('follow-late', 'stable')).toEqual([B]);
    expect(await one.history('follow-late')).toEqual([B, A]);
  });

  it('can be pushed to directly too, by the same request', async () => {
    await aStream(one, 'both', [following('stable', 'latest')]);

    await one.apply(aPush('both', 'a', 1, { id: 'same' }), aPush('both', 'b', 2, { id: 'same', tag: 'stable' }));

    expect(await one.history('both', 'stable')).toEqual([B, A]);
  });
});

describe('a move', () => {
  it('names what to pull by the reference policy of the tag', async () => {
    await aStream(one, 'local', [{ name: 'latest', generation: 1, referencePolicy: { type: 'Local' } }]);

    await one.apply(aPush('local', 'a', 1));

    expect((await one.told('local'))[0]?.pullSpec).toBe(`registry.internal:5000/demo/local@${A}`);
  });

  it('has the labels of an image that the store knows, where the change does not bring them', async () => {
    await one.apply(aPush('labels', 'a', 1));
    await one.store.transaction(async (tx) => {
      const stream = (await lockStreams(tx, [{ namespace: 'demo', name: 'labels' }])).get('demo/labels');
      if (!stream) throw new Error('no stream');
      const event = { created: second(1), dockerImageReference: `x@${A}`, image: A, generation: 1 };
      expect(await one.tags.move(tx, [{ stream, tag: 'copy', event, cause: { kind: 'tag', id: 'r1' } }])).toEqual(['moved']);
    });

    expect((await one.told('labels')).at(-1)).toMatchObject({ tag: 'copy', labels: { commit: 'a' }, cause: { kind: 'tag', id: 'r1' } });
  });

  it('is remembered as the last one of its tag', async () => {
    await one.apply(aPush('remembered', 'a', 1), aPush('remembered', 'b', 2));

    expect(await one.tags.lastMove({ namespace: 'demo', stream: 'remembered', tag: 'latest' })).toEqual((await one.told('remembered'))[1]);
    expect(await one.tags.lastMove({ namespace: 'demo', stream: 'remembered', tag: 'never' })).toBeNull();
  });

  it('clears the conditions of its tag; a late item does not', async () => {
    const conditions = async () =>
      (await one.store.query("SELECT conditions FROM tag t JOIN stream s ON s.uid = t.stream_uid WHERE s.name = 'conditions'"))[0];
    await one.apply(aPush('conditions', 'b', 5));
    await one.store.query(
      `UPDATE tag SET conditions = '[{"type": "ImportSuccess", "status": "False", "generation": 2}]' FROM stream s WHERE s.uid = stream_uid AND s.name = 'conditions'`,
    );

    await one.apply(aPush('conditions', 'a', 1));
    expect(await conditions()).toMatchObject({ conditions: [{ type: 'ImportSuccess' }] });

    await one.apply(aPush('conditions', 'c', 6));
    expect(await conditions()).toEqual({ conditions: null });
  });
});

describe('a tag that is deleted', () => {
  const remove = (stream: string) =>
    one.store.transaction(async (tx) => {
      const locked = (await one.tags.lock(tx, [{ namespace: 'demo', name: stream }])).get(`demo/${stream}`);
      return locked ? one.tags.remove(tx, locked, 'latest') : undefined;
    });

  it('does not come back by a repeat or a late push, but by a newer one, and goes on counting', async () => {
    await one.apply(aPush('deleted', 'a', 1), aPush('deleted', 'b', 3));

    expect(await remove('deleted')).toBe(true);
    expect(await remove('deleted')).toBe(false);
    await one.apply(aPush('deleted', 'b', 3), aPush('deleted', 'c', 2));
    expect(await one.history('deleted')).toEqual([]);

    await one.apply(aPush('deleted', 'c', 4));
    expect(await one.history('deleted')).toEqual([C]);
    expect((await one.told('deleted')).map((move) => [move.generation, move.previous?.image])).toEqual([
      [1, undefined],
      [2, A],
      [3, undefined],
    ]);
  });
});
