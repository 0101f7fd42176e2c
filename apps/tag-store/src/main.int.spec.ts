import { headers as natsHeaders } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pino } from 'pino';
import { MappingPublished, type TagMoved } from '@millrace/contracts/events';
import { CurrentTag, KnownTags } from '@millrace/contracts/requests';
import { Bus } from '@millrace/platform/bus';
import { startService, type RunningService } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { service } from './main.ts';
import { database } from './tables.ts';
import { aPush, aSecretsKey, digest, type MappingFact, second } from './testbed.ts';

const log = pino({ level: 'silent' });
let nats: Awaited<ReturnType<typeof aNatsServer>>;
let server: Awaited<ReturnType<typeof aDatabase>>;
let registry: Bus;
let store: Store;
const running: RunningService[] = [];

const aTagStore = async () => {
  const started = await startService(
    service,
    { DATABASE_URL: server.url, NATS_URL: nats.url, HTTP_PORT: '0', LOG_LEVEL: 'silent', SECRETS_KEY: aSecretsKey() },
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

it('answers for several tags at once what they mean, and of which streams they are', async () => {
  await aTagStore();
  await publish([aPush('known', 'a', 1)]);
  const tag = (stream: string, name: string) => ({ namespace: 'demo', stream, tag: name });

  await eventually(async () => {
    const { tags } = await registry.ask(KnownTags, { tags: [tag('known', 'latest'), tag('known', 'none'), tag('nowhere', 'latest')] });
    expect(tags).toMatchObject([
      { local: false, moves: 1, move: { generation: 1, pullSpec: `registry.example/demo/known@${digest('a')}`, labels: { commit: 'a' } } },
      { local: false, moves: 0, move: null },
      null,
    ]);
  });
});

describe('a registry that publishes to NATS', () => {
  const submission = (of: string, change: Record<string, unknown> = {}) => ({
    kind: 'ImageStreamMapping',
    apiVersion: 'image.openshift.io/v1',
    metadata: { namespace: 'demo', name: 'web' },
    tag: '1.0',
    image: { metadata: { name: digest(of) }, dockerImageReference: `nats.example.com/demo/web@${digest(of)}` },
    ...change,
  });
  const submit = async (address: string, body: unknown, id: string, more: Record<string, string> = {}) => {
    const headers = natsHeaders();
    for (const [name, value] of Object.entries({ 'Nats-Msg-Id': id, ...more })) headers.set(name, value);
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    await registry.js.publish(`millrace.v1.mapping.submitted.${address}`, text, { headers });
  };
  const told = async (stream: string) =>
    (await store.query<{ body: string }>("SELECT body FROM outbox WHERE event = 'tag.moved' ORDER BY id"))
      .map((row) => JSON.parse(row.body) as TagMoved)
      .filter((move) => move.stream === stream);

  it('has its mapping taken as it is, once, with the time and the trace that it gave', async () => {
    await aTagStore();
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

    await submit('demo.web', submission('a'), 'push-1', { 'ce-time': '2026-01-02T03:04:05.678Z', traceparent });
    await submit('demo.web', submission('a'), 'push-1');

    await eventually(async () => expect(await told('web')).toHaveLength(1));
    expect((await told('web'))[0]).toMatchObject({
      tag: '1.0',
      current: { image: digest('a'), dockerImageReference: `nats.example.com/demo/web@${digest('a')}`, created: '2026-01-02T03:04:05Z' },
      cause: { kind: 'push', id: 'nats.push-1', registry: 'nats' },
    });
    const [{ headers } = { headers: '' }] = await store.query<{ headers: string }>(
      "SELECT headers FROM outbox WHERE body LIKE '%nats.push-1%'",
    );
    expect(JSON.parse(headers)).toMatchObject({ traceparent });
  });

  it('has what cannot be used put aside with the reason, and the rest goes on', async () => {
    await aTagStore();

    await submit('demo.good', submission('b', { metadata: { namespace: 'prod', name: 'good' } }), 'elsewhere');
    await submit('demo.good', submission('b', { metadata: {}, tag: 'a b' }), 'no-tag');
    await submit('demo.good', '{"image": 7}', 'no-image');
    await submit('demo.good', 'no JSON', 'no-json');
    await submit('demo.good.more', submission('b', { metadata: {} }), 'too-long');
    await submit('demo.good', submission('b', { metadata: {} }), 'good');

    await eventually(async () => expect(await told('good')).toMatchObject([{ current: { image: digest('b') } }]));
    const dead = await store.query<{ event_id: string; reason: string; body: string }>(
      "SELECT event_id, reason, body FROM dead_fact WHERE event = 'mapping.submitted'",
    );
    expect(Object.fromEntries(dead.map((fact) => [fact.event_id, fact.reason]))).toEqual({
      elsewhere: 'metadata.namespace: is "prod", but it was published under "demo"',
      'no-tag': 'tag: "a b" is no tag',
      'too-long': expect.stringMatching(/metadata.name/),
      'no-image': expect.stringMatching(/^image: /),
      'no-json': expect.stringMatching(/not JSON/),
    });
    expect(dead.find((fact) => fact.event_id === 'no-json')?.body).toBe('no JSON');
  });

  it('publishes thousands of them, and each goes through in its order', { timeout: 60_000 }, async () => {
    await aTagStore();
    const layers = Array.from({ length: 120 }, (_, n) => ({ name: digest(`layer ${n}`), size: n, mediaType: 'application/x' }));
    const bulky = (n: number) => {
      const { image, ...rest } = submission(`bulky ${n}`, { metadata: {} });
      return { ...rest, image: { ...image, dockerImageLayers: layers } };
    };

    for (let n = 0; n < 2_000; n += 100)
      await Promise.all(
        Array.from({ length: 100 }, (_, i) => submit('demo.bulky', bulky(n + i), `bulky-${String(n + i).padStart(4, '0')}`)),
      );

    await eventually(async () => expect(await told('bulky')).toHaveLength(2_000), 30_000);
    const causes = (await told('bulky')).map((move) => move.cause.id);
    expect(causes).toEqual([...causes].sort());
  });
});
