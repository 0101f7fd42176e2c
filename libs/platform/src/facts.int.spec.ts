import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { pino } from 'pino';
import { z } from 'zod';
import { defineRequest } from '@millrace/contracts/define';
import { TagMoved } from '@millrace/contracts/events';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { eventually } from '@millrace/testing/eventually';
import { AskError, Bus } from './bus.ts';
import { DeadFacts } from './dead-facts.ts';
import { FactConsumer, type FactBatch } from './facts.ts';
import { Lease } from './lease.ts';
import { Relay } from './relay.ts';
import { Store, type Tx } from './store.ts';

const log = pino({ level: process.env['LOG_LEVEL'] ?? 'silent' });
type Closing = () => Promise<unknown>;

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let database: Awaited<ReturnType<typeof aDatabase>>;
let closing: Closing[] = [];

beforeEach(async () => {
  [nats, database] = await Promise.all([aNatsServer(), aDatabase()]);
  closing = [];
});
afterEach(async () => {
  for (const close of closing.toReversed()) await close().catch(() => undefined);
  await nats.stop();
  await database.drop();
});

/** One program: its bus, its schema with a table for effects, its lease. */
async function aProgram(schema: string) {
  const bus = new Bus({ url: nats.url, name: schema, retentionHours: 1, stopTimeoutMs: 1_000 }, log);
  const store = new Store({ url: database.url, schema, poolSize: 4, entities: [], migrations: [] });
  await bus.open();
  await store.open();
  await store.query('CREATE TABLE IF NOT EXISTS effect (at bigint GENERATED ALWAYS AS IDENTITY, id text, generation int)');
  const lease = new Lease(database.url, schema, log);
  closing.push(
    () => bus.close(),
    () => store.close(),
    () => lease.close(),
  );
  return { bus, store, lease };
}
type Program = Awaited<ReturnType<typeof aProgram>>;

const move = (generation: number, tag = 'latest'): TagMoved => ({
  namespace: 'demo',
  stream: 'web',
  streamUid: 'u',
  tag,
  generation,
  streamGeneration: 1,
  previous: null,
  current: { image: 'sha256:a', dockerImageReference: 'r', created: '2026-01-01T00:00:00Z' },
  pullSpec: 'r',
  labels: {},
  cause: { kind: 'push', id: `p${generation}` },
  movedAt: '2026-01-01T00:00:00Z',
});

const tell = ({ store }: Program, generations: number[]) =>
  store.transaction(async (tx) => {
    for (const generation of generations) tx.publishLater(TagMoved, move(generation), { id: `u.latest.${generation}` });
  });

function aRelay({ store, bus, lease }: Program): Relay {
  const relay = new Relay('tag-store', store, bus, lease, log, 1, () => undefined);
  relay.start();
  closing.push(() => relay.stop());
  return relay;
}

const factsOf = (batch: FactBatch<typeof TagMoved>) => batch.read((fact) => fact).map(({ made }) => made);
const record = (program: Program) => async (batch: FactBatch<typeof TagMoved>) => {
  await program.store.transaction(async (tx) => {
    for (const fact of factsOf(batch)) {
      if (fact.data.tag === 'poison') throw new Error('cannot be used');
      await tx.run('INSERT INTO effect (id, generation) VALUES ($1, $2)', [fact.id, fact.data.generation]);
    }
    await batch.settle(tx);
  });
};

function aConsumer(program: Program, handler = record(program), batch = 10): FactConsumer<typeof TagMoved> {
  const consumer = new FactConsumer(TagMoved, handler, { batch }, { ...program, log, handled: () => undefined });
  consumer.start();
  closing.push(() => consumer.stop());
  return consumer;
}

const effects = async ({ store }: Program) =>
  (await store.query<{ generation: number }>('SELECT generation FROM effect ORDER BY at')).map((row) => row.generation);
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

describe('facts from outbox to handler', () => {
  it('what a transaction told arrives in order, and what was rolled back never does', async () => {
    const [sender, receiver] = [await aProgram('tag_store'), await aProgram('receiver')];
    aRelay(sender);
    aConsumer(receiver);

    for (let i = 0; i < 5; i++) await tell(sender, [i * 10 + 1, i * 10 + 2]);
    await expect(
      sender.store.transaction(async (tx) => {
        tx.publishLater(TagMoved, move(99), { id: 'never' });
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    await tell(sender, [100]);

    await eventually(async () => expect(await effects(receiver)).toEqual([1, 2, 11, 12, 21, 22, 31, 32, 41, 42, 100]));
  });

  it('a handler that fails after its writes leaves nothing, and the facts are handled once, in order, when it works again', async () => {
    const [sender, receiver] = [await aProgram('tag_store'), await aProgram('receiver')];
    let failures = 2;
    aRelay(sender);
    aConsumer(receiver, async (batch) => {
      await receiver.store.transaction(async (tx) => {
        for (const fact of factsOf(batch))
          await tx.run('INSERT INTO effect (id, generation) VALUES ($1, $2)', [fact.id, fact.data.generation]);
        await batch.settle(tx);
        if (failures-- > 0) throw new Error('crash before the commit');
      });
    });

    await tell(sender, upTo(30));

    await eventually(async () => expect(await effects(receiver)).toEqual(upTo(30)));
  });

  it('of two instances one handles the facts, and the other takes over where it left when its connection to Postgres goes', async () => {
    const sender = await aProgram('tag_store');
    const [first, second] = [await aProgram('receiver'), await aProgram('receiver')];
    aRelay(sender);
    const leader = aConsumer(first);
    await tell(sender, [1, 2, 3]);
    await eventually(async () => expect(await effects(first)).toHaveLength(3));
    aConsumer(second);

    await first.store.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'millrace receiver lease' AND pid <> pg_backend_pid()",
    );
    await leader.stop();
    await tell(sender, [4, 5, 6]);

    await eventually(async () => expect(await effects(second)).toEqual([1, 2, 3, 4, 5, 6]));
  });

  it('a poisonous fact is put aside with its reason, those around it go on, and a replay hands it over again', async () => {
    const [sender, receiver] = [await aProgram('tag_store'), await aProgram('receiver')];
    const dead = new DeadFacts(receiver.store);
    let healed = false;
    const handler = async (batch: FactBatch<typeof TagMoved>) => {
      if (!healed && factsOf(batch).some((fact) => fact.data.tag === 'poison')) throw new Error('cannot be used');
      await receiver.store.transaction(async (tx) => {
        for (const fact of factsOf(batch))
          await tx.run('INSERT INTO effect (id, generation) VALUES ($1, $2)', [fact.id, fact.data.generation]);
        await batch.settle(tx);
      });
    };
    dead.register(TagMoved, handler as never);
    aRelay(sender);
    aConsumer(receiver, handler);
    await sender.store.transaction(async (tx) => {
      for (const n of [1, 2]) tx.publishLater(TagMoved, move(n), { id: `ok.${n}` });
      tx.publishLater(TagMoved, move(7, 'poison'), { id: 'poison' });
      tx.publishLater(TagMoved, move(3), { id: 'ok.3' });
    });
    await eventually(async () => expect(await effects(receiver)).toEqual([1, 2, 3]), 20_000);
    const [put] = await dead.list('0', 10);
    expect(put).toMatchObject({ eventId: 'poison', reason: 'cannot be used', attempts: 5 });

    healed = true;
    await dead.replay(put?.id ?? '');

    expect(await effects(receiver)).toEqual([1, 2, 3, 7]);
    expect(await dead.list('0', 10)).toEqual([]);
  });

  it('a fact that its handler refuses is put aside at the first try, in the transaction of the others; a replay that is refused says why', async () => {
    const [sender, receiver] = [await aProgram('tag_store'), await aProgram('receiver')];
    const dead = new DeadFacts(receiver.store);
    let transactions = 0;
    const handler = async (batch: FactBatch<typeof TagMoved>) => {
      await receiver.store.transaction(async (tx) => {
        transactions++;
        for (const fact of factsOf(batch))
          if (fact.data.tag === 'unknown') await batch.refuse(tx, fact, 'no such stream');
          else await tx.run('INSERT INTO effect (id, generation) VALUES ($1, $2)', [fact.id, fact.data.generation]);
        await batch.settle(tx);
      });
    };
    dead.register(TagMoved, handler as never);
    await sender.store.transaction(async (tx) => {
      tx.publishLater(TagMoved, move(1), { id: 'ok.1' });
      tx.publishLater(TagMoved, move(7, 'unknown'), { id: 'refused' });
      tx.publishLater(TagMoved, move(2), { id: 'ok.2' });
    });
    aRelay(sender);
    await eventually(async () => expect((await sender.store.query('SELECT 1 FROM outbox WHERE sequence IS NULL')).length).toBe(0));
    aConsumer(receiver, handler);

    await eventually(async () => expect(await effects(receiver)).toEqual([1, 2]));
    const [put] = await dead.list('0', 10);
    expect(put).toMatchObject({ eventId: 'refused', reason: 'no such stream', attempts: 1 });
    expect(transactions).toBeLessThanOrEqual(3);
    await expect(dead.replay(put?.id ?? '')).rejects.toThrow('no such stream');
    expect(await dead.list('0', 10)).toHaveLength(1);
  });

  it('what is to run last runs after the facts are in the outbox, and what follows a commit not after a rollback', async () => {
    const { store } = await aProgram('tag_store');
    const order: string[] = [];
    const work = (divisor: number) =>
      store.transaction(async (tx) => {
        tx.last(
          () => ({ sql: 'SELECT count(*)::int / $1::int AS n FROM outbox', parameters: [divisor] }),
          ([row]) => order.push(`last: ${row?.['n']} in the outbox`),
        );
        tx.afterCommit(() => void order.push('committed'));
        tx.publishLater(TagMoved, move(1), { id: 'one' });
      });

    await expect(work(0)).rejects.toThrow('division by zero');
    await work(1);

    expect(order).toEqual(['last: 1 in the outbox', 'committed']);
    expect(await store.query('SELECT 1 FROM outbox')).toHaveLength(1);
  });

  it.each([
    [
      'a statement that nobody waits for fails',
      (tx: Tx) => tx.send('INSERT INTO effect (generation) VALUES ($1)', ['x']),
      'invalid input syntax',
    ],
    ['what it requires does not hold', (tx: Tx) => tx.require(Promise.reject(new Error('not the leader'))), 'not the leader'],
  ])('a transaction is rolled back where %s', async (_what, spoil, message) => {
    const { store } = await aProgram('tag_store');
    const work = store.transaction(async (tx) => {
      tx.send('INSERT INTO effect (id) VALUES ($1)', ['before']);
      spoil(tx);
      tx.publishLater(TagMoved, move(1), { id: 'one' });
    });

    await expect(work).rejects.toThrow(message);

    expect(await store.query('SELECT id FROM effect UNION ALL SELECT event_id FROM outbox')).toEqual([]);
  });

  it('an error of Postgres says which statement it was, and none of its data', async () => {
    const { store } = await aProgram('tag_store');
    const failing = store.transaction((tx) => tx.run('INSERT INTO effect (id, generation) VALUES ($1, $2)', ['secret', 'secret']));

    const error = (await failing.catch((caught: unknown) => caught)) as { query: string; code: string };

    expect(error).toMatchObject({ code: '22P02', query: expect.stringContaining('INSERT INTO effect') as string });
    expect(Object.keys(error).filter((key) => JSON.stringify(error[key as never])?.includes('secret'))).toEqual([]);
  });

  it('a message that is not of the contract is put aside with what is wrong with it', async () => {
    const receiver = await aProgram('receiver');
    aConsumer(receiver);
    await receiver.bus.js.publish('millrace.v1.tag.moved.a.b.c', 'not json');
    await receiver.bus.js.publish('millrace.v1.tag.moved.a.b.c', JSON.stringify({ ...move(1), generation: 'x' }));
    await receiver.bus.js.publish('millrace.v1.tag.moved.a.b.c', JSON.stringify(move(5)));

    await eventually(async () => expect(await effects(receiver)).toEqual([5]));
    const dead = await new DeadFacts(receiver.store).list('0', 10);

    expect(dead.map((one) => one.reason)).toEqual([expect.stringContaining('not JSON'), expect.stringContaining('generation')]);
  });
});

describe('facts that end alike', () => {
  const TIME = new Date('2026-01-01T00:00:00Z');
  const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const { generation: _, tag: __, ...rest } = move(0);
  const alike = (tx: Tx, generation: number, { pad = '', time = TIME, traceparent = TRACE, stream = 'web' } = {}) => {
    const own = { generation, tag: `t-${generation}`, labels: { pad } };
    const json = { begin: `${JSON.stringify(own).slice(0, -1)},`, end: JSON.stringify({ ...rest, labels: undefined, stream }).slice(1) };
    tx.publishLater(TagMoved, { ...rest, ...own, stream }, { id: `u.${generation}`, time, traceparent, json });
  };
  const rows = ({ store }: Program) =>
    store
      .query<{ facts: string | null }>('SELECT facts FROM outbox ORDER BY id')
      .then((found) => found.map(({ facts }) => (facts ? (JSON.parse(facts) as unknown[]).length : 1)));
  const stored = ({ store }: Program) =>
    eventually(async () => expect(await store.query('SELECT 1 FROM outbox WHERE sequence IS NULL')).toEqual([]), 20_000);

  it.each(['from memory', 'read back'])('share a row of the outbox, and each arrives as if it were alone, in order: %s', async (how) => {
    const [sender, receiver] = [await aProgram('tag_store'), await aProgram('receiver')];
    const seen: unknown[] = [];
    aConsumer(receiver, async (batch) => {
      await receiver.store.transaction(async (tx) => {
        for (const { id, subject, traceparent, data } of factsOf(batch))
          seen.push([id, subject, traceparent, data.generation, data.current]);
        await batch.settle(tx);
      });
    });
    if (how === 'from memory') {
      aRelay(sender);
      await eventually(() => expect(sender.store.outbox.publishesHere).toBe(true));
    }
    await sender.store.transaction(async (tx) => {
      for (const generation of upTo(250)) alike(tx, generation);
    });
    if (how === 'read back') aRelay(sender);

    await eventually(() =>
      expect(seen).toEqual(upTo(250).map((n) => [`u.${n}`, `millrace.v1.tag.moved.demo.web.t-${n}`, TRACE, n, move(n).current])),
    );
    expect(await rows(sender)).toEqual(Array(10).fill(25));
    await stored(sender);
  });

  it('share none where they were told at another time, belong to another trace or end otherwise', async () => {
    const sender = await aProgram('tag_store');
    await sender.store.transaction(async (tx) => {
      alike(tx, 1);
      alike(tx, 2, { time: new Date('2026-01-01T00:00:01Z') });
      alike(tx, 3, { traceparent: TRACE.replace('01', '00') });
      alike(tx, 4, { stream: 'other' });
      tx.publishLater(TagMoved, move(5), { id: 'u.5', time: TIME, traceparent: TRACE });
      tx.publishLater(TagMoved, move(5), { id: 'u.6', time: TIME, traceparent: TRACE });
      alike(tx, 7);
      alike(tx, 8);
    });

    expect(await rows(sender)).toEqual([1, 1, 1, 1, 1, 1, 2]);
  });

  it('are told again, each of them, to a NATS server that lost its disk', { timeout: 60_000 }, async () => {
    const sender = await aProgram('tag_store');
    aRelay(sender);
    await sender.store.transaction(async (tx) => {
      for (const generation of upTo(20)) alike(tx, generation);
    });
    await stored(sender);

    await nats.wipe();
    await nats.restart();

    const late = await aProgram('newcomer');
    aConsumer(late);
    await eventually(async () => expect(await effects(late)).toEqual(upTo(20)), 20_000);
    await stored(sender);
  });

  it('of which one is too large for NATS lose that one alone, which is kept with the reason', async () => {
    const [sender, receiver] = [await aProgram('tag_store'), await aProgram('receiver')];
    aRelay(sender);
    aConsumer(receiver);
    const pad = 'x'.repeat(sender.bus.nats.info?.max_payload ?? 0);
    await sender.store.transaction(async (tx) => {
      for (const generation of upTo(3)) alike(tx, generation, generation === 2 ? { pad } : {});
    });

    await eventually(async () => expect(await effects(receiver)).toEqual([1, 3]));
    await stored(sender);
    const [buried, ...others] = await new DeadFacts(sender.store).list('0', 10);
    expect(others).toEqual([]);
    expect(buried).toMatchObject({
      eventId: 'u.2',
      subject: 'millrace.v1.tag.moved.demo.web.t-2',
      reason: expect.stringContaining('max_payload') as string,
    });
    expect(JSON.parse(buried?.body ?? '')).toMatchObject({ generation: 2, streamUid: 'u' });
  });

  it('of which one is too large are told when NATS takes them again, where it refused the others and that one could not be kept', async () => {
    const [sender, receiver] = [await aProgram('tag_store'), await aProgram('receiver')];
    const { store, bus } = sender;
    aConsumer(receiver);
    const pad = 'x'.repeat(bus.nats.info?.max_payload ?? 0);
    const said = vi.spyOn(log, 'warn');
    await store.query('ALTER TABLE dead_fact RENAME TO gone_fact');
    await bus.jsm.streams.update('MILLRACE_EVENTS', { max_msg_size: 1 });
    aRelay(sender);
    await store.transaction(async (tx) => {
      for (const generation of upTo(3)) alike(tx, generation, generation === 2 ? { pad } : {});
    });
    await eventually(() => expect(said).toHaveBeenCalledWith(expect.anything(), 'relay.waiting'));
    said.mockRestore();

    await bus.jsm.streams.update('MILLRACE_EVENTS', { max_msg_size: -1 });
    await store.query('ALTER TABLE gone_fact RENAME TO dead_fact');

    await eventually(async () => expect(await effects(receiver)).toEqual([1, 3]), 20_000);
    await eventually(async () => expect(await new DeadFacts(store).list('0', 10)).toMatchObject([{ eventId: 'u.2' }]));
  });
});

describe('losing NATS', () => {
  it('a NATS server that is killed and comes back loses nothing and doubles nothing', async () => {
    const [sender, receiver] = [await aProgram('tag_store'), await aProgram('receiver')];
    aRelay(sender);
    aConsumer(receiver);
    await tell(sender, [1, 2]);
    await eventually(async () => expect(await effects(receiver)).toEqual([1, 2]));

    await nats.kill();
    await tell(sender, [3, 4]);
    await nats.restart();
    await tell(sender, [5]);

    await eventually(async () => expect(await effects(receiver)).toEqual([1, 2, 3, 4, 5]), 20_000);
  });

  it('a transaction that lets the facts of others go first commits all the same, after the time that it has', async () => {
    const sender = await aProgram('tag_store');
    const { store } = sender;
    aRelay(sender);
    await eventually(() => expect(store.outbox.publishesHere).toBe(true));
    await nats.kill();
    await tell(sender, upTo(30));

    const begun = performance.now();
    await store.transaction(async (tx) => {
      tx.require(store.outbox.calm(20, 500, new AbortController().signal));
      await tx.run('INSERT INTO effect (generation) VALUES (1)');
    });

    expect(performance.now() - begun).toBeGreaterThan(490);
    expect(await effects(sender)).toEqual([1]);
    expect(await store.query('SELECT 1 FROM outbox WHERE sequence IS NULL')).toHaveLength(30);
  });

  it('a NATS server that lost its disk gets every fact again from the outbox', async () => {
    const [sender, receiver] = [await aProgram('tag_store'), await aProgram('receiver')];
    aRelay(sender);
    aConsumer(receiver);
    await tell(sender, [1, 2]);
    await eventually(async () => expect(await effects(receiver)).toEqual([1, 2]));

    await nats.wipe();
    await tell(sender, [3]);
    await nats.restart();

    await eventually(async () => expect(new Set(await effects(receiver))).toEqual(new Set([1, 2, 3])), 20_000);
    const late = await aProgram('newcomer');
    aConsumer(late);
    await eventually(async () => expect(await effects(late)).toEqual([1, 2, 3]));
  });

  it('a NATS server that loses its disk while it is being compared is compared again', async () => {
    const sender = await aProgram('tag_store');
    aRelay(sender);
    await tell(sender, [1, 2]);
    const receiver = await aProgram('receiver');
    aConsumer(receiver);
    await eventually(async () => expect(await effects(receiver)).toEqual([1, 2]));

    const ask = sender.bus.holds.bind(sender.bus);
    let lost = false;
    sender.bus.holds = async (...asked) => {
      const held = await ask(...asked);
      if (lost) return held;
      lost = true;
      const back = new Promise<void>((resolve) => sender.bus.onReconnect(resolve));
      await nats.wipe();
      await nats.restart();
      await back;
      return held;
    };
    await nats.kill();
    await nats.restart();

    const late = await aProgram('newcomer');
    aConsumer(late);
    await eventually(async () => expect(await effects(late)).toEqual([1, 2]), 20_000);
  });
});

describe('questions', () => {
  const Echo = defineRequest({
    name: 'echo',
    to: 'tag-store',
    summary: '',
    question: z.object({ size: z.int() }),
    answer: z.object({ text: z.string() }),
  });

  it('are answered, also where the answer is many times what one message may hold', async () => {
    const [owner, asker] = [await aProgram('tag_store'), await aProgram('receiver')];
    owner.bus.serve(Echo, async ({ size }) => ({ text: 'x'.repeat(size) }));

    for (const size of [0, 1_000, 5_000_000]) expect((await eventually(() => asker.bus.ask(Echo, { size }))).text).toHaveLength(size);
  });

  it('fail with a code where nobody owns the noun, where the owner fails, and where it is late', async () => {
    const [owner, asker] = [await aProgram('tag_store'), await aProgram('receiver')];
    await expect(asker.bus.ask(Echo, { size: 1 })).rejects.toMatchObject({ code: 'no-owner' });
    owner.bus.serve(Echo, ({ size }) => (size === 1 ? Promise.reject(new Error('secret detail')) : new Promise(() => undefined)));

    const failed = await eventually(async () => {
      const error = await asker.bus.ask(Echo, { size: 1 }).catch((e: AskError) => e);
      expect(error).toMatchObject({ code: 'failed' });
      return error as AskError;
    });
    expect(failed.message).not.toContain('secret detail');
    await expect(asker.bus.ask(Echo, { size: 2 }, { timeoutMs: 100 })).rejects.toMatchObject({ code: 'timeout' });
  });
});
