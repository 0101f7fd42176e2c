import { afterAll, beforeAll, expect, it } from 'vitest';
import { pino } from 'pino';
import { MappingPublished } from '@millrace/contracts/events';
import { CurrentTag } from '@millrace/contracts/requests';
import { Bus } from '@millrace/platform/bus';
import { startService, type RunningService } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { service } from './main.ts';
import { database } from './tables.ts';
import { aPush, digest, type MappingFact, second } from './testbed.ts';

const log = pino({ level: 'silent' });
let nats: Awaited<ReturnType<typeof aNatsServer>>;
let server: Awaited<ReturnType<typeof aDatabase>>;
let registry: Bus;
let store: Store;
const running: RunningService[] = [];

const aTagStore = async () => {
  const started = await startService(
    service,
    { DATABASE_URL: server.url, NATS_URL: nats.url, HTTP_PORT: '0', LOG_LEVEL: 'silent' },
    { log },
  );
  running.push(started);
  return started;
};

beforeAll(async () => {
  [nats, server] = await Promise.all([aNatsServer(), aDatabase()]);
  registry = new Bus({ url: nats.url, name: 'registry', retentionHours: 1, stopTimeoutMs: 500 }, log);
  store = new Store({ ...database, url: server.url, poolSize: 4 });
  await registry.open();
  await store.open();
});
afterAll(async () => {
  for (const one of running) await one.stop();
  await registry.close();
  await store.close();
  await nats.stop();
  await server.drop();
});

const STREAMS = 20;
const publish = (facts: MappingFact[]) =>
  Promise.all(facts.map((fact) => registry.js.publish(MappingPublished.subjectOf(fact), JSON.stringify(fact))));
const pushes = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => aPush(`s${(from + i) % STREAMS}`, `image ${from + i}`, from + i));
const movesTold = async () =>
  (await store.query<{ body: string }>("SELECT body FROM outbox WHERE event = 'tag.moved' ORDER BY id")).map(
    (row) => JSON.parse(row.body) as { stream: string; generation: number; current: { image: string } },
  );
/** Image numbers of each stream, in the order of the pushes. */
const expected = (upTo: number) =>
  Array.from({ length: STREAMS }, (_, s) => Array.from({ length: upTo / STREAMS }, (_, n) => digest(`image ${n * STREAMS + s}`)));
const toldPerStream = async () => {
  const moves = await movesTold();
  return Array.from({ length: STREAMS }, (_, s) => moves.filter((move) => move.stream === `s${s}`));
};

it('two instances act on every fact once and in order, whatever dies in between', { timeout: 90_000 }, async () => {
  const first = await aTagStore();
  const poison = aPush('poisoned', 'x', 1, { source: { registry: 'a\0b', eventId: 'x', observedAt: second(1) } });
  const batch = pushes(0, 300);

  await publish([...batch.slice(0, 150), poison, ...batch.slice(150)]);
  await eventually(async () => expect(await movesTold()).toHaveLength(300), 30_000);
  await eventually(
    async () =>
      expect(await store.query('SELECT reason FROM dead_fact')).toEqual([{ reason: expect.stringContaining('Unicode') as string }]),
    10_000,
  );

  await aTagStore();
  const dying = publish(pushes(300, 600));
  for (let kills = 0; kills < 5; kills++) {
    await store.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND (state <> 'idle' OR application_name LIKE '%lease') AND application_name LIKE 'millrace tag_store%'`,
    );
    await eventually(async () => expect((await movesTold()).length).toBeGreaterThan(300 + kills * 10), 30_000);
  }
  await dying;
  await first.stop();
  await publish(pushes(600, 800));

  await eventually(async () => expect((await movesTold()).length).toBeGreaterThanOrEqual(800), 30_000);
  const told = await toldPerStream();
  expect(told.map((moves) => moves.map((move) => move.current.image))).toEqual(expected(800));
  expect(told.map((moves) => moves.map((move) => move.generation))).toEqual(told.map((moves) => moves.map((_, i) => i + 1)));
  expect(await store.query('SELECT count(*)::int AS n FROM tag_item')).toEqual([{ n: 800 }]);
});

it('answers where a tag stands, for whoever begins to follow it', async () => {
  await aTagStore();
  await publish([aPush('asked', 'a', 1)]);

  await eventually(async () =>
    expect(await registry.ask(CurrentTag, { namespace: 'demo', stream: 'asked', tag: 'latest' })).toMatchObject({
      move: { generation: 1, current: { image: digest('a') }, labels: { commit: 'a' } },
    }),
  );
  expect(await registry.ask(CurrentTag, { namespace: 'demo', stream: 'asked', tag: 'other' })).toEqual({ move: null });
});
