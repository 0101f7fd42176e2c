import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiClient, type ApiClient } from '@millrace/testing/client';
import { Constellation, type ServiceName } from '@millrace/testing/constellation';
import { eventReader, type ReadEvent } from '@millrace/testing/event-reader';
import { eventually } from '@millrace/testing/eventually';
import { makeImage, pushImage } from '@millrace/testing/images';
import { aWebhookSink, type WebhookSink } from '@millrace/testing/webhook-sink';

const PUSHES = 300;
const TAGS = ['a', 'b', 'c', 'd', 'e', 'f'];
const KILLS: readonly (ServiceName | 'postgres' | 'nats' | 'nats-wiped')[] = [
  'tag-store',
  'registry-mapping',
  'trigger-dispatcher',
  'postgres',
  'nats',
  'api',
  'nats-wiped',
  'tag-store',
  'trigger-dispatcher',
  'registry-mapping',
  'postgres',
];

let whole: Constellation;
let api: ApiClient;
let sink: WebhookSink;

beforeAll(async () => {
  [whole, sink] = await Promise.all([Constellation.start(), aWebhookSink()]);
  api = apiClient(whole.api);
}, 120_000);
afterAll(async () => {
  await api?.close();
  await whole?.stop();
  await sink?.close();
}, 60_000);

/** A repeatable order of things that still is no pattern. */
function* numbers(seed: number): Generator<number> {
  for (let x = seed; ;) {
    x = (x * 1_664_525 + 1_013_904_223) % 2 ** 32;
    yield x / 2 ** 32;
  }
}

async function killAndRestart(what: (typeof KILLS)[number]): Promise<void> {
  if (what === 'postgres') {
    await whole.postgres.kill();
    await whole.startPostgres();
  } else if (what === 'nats' || what === 'nats-wiped') {
    await (what === 'nats' ? whole.nats.kill() : whole.nats.wipe());
    await whole.startNats();
  } else {
    await whole.kill(what);
    await whole.startService(what);
    await whole.untilReady(what);
  }
}

describe('everything is killed during 300 pushes, and NATS loses its disk once', () => {
  it('every push is in the history exactly once, in order, and each trigger told and delivered each of them under one id', async () => {
    for (const tag of TAGS) {
      const made = await api.request('POST', '/apis/triggers.millrace.dev/v1/namespaces/crash/imagetriggers', {
        apiVersion: 'triggers.millrace.dev/v1',
        kind: 'ImageTrigger',
        metadata: { name: `on-${tag}` },
        spec: {
          kind: tag < 'd' ? 'Build' : 'Deploy',
          from: { kind: 'ImageStreamTag', name: `app:${tag}` },
          webhooks: [{ name: 'hook', url: `${sink.url}/${tag}` }],
        },
      });
      expect(made.status, made.text).toBe(201);
    }
    const random = numbers(20_261_121);
    const pushed = new Map<string, string[]>(TAGS.map((tag) => [tag, []]));
    let killing: Promise<void> = Promise.resolve();
    const every = Math.floor(PUSHES / (KILLS.length + 1));

    for (let n = 0; n < PUSHES; n++) {
      const tag = TAGS[Math.floor(random.next().value * TAGS.length)] ?? 'a';
      pushed.get(tag)?.push(await pushImage(whole.registry.host, 'crash/app', tag, makeImage(`crash-${n}`)));
      const due = n > 0 && n % every === 0 ? KILLS[n / every - 1] : undefined;
      if (!due) continue;
      // Pushes go on while it is down; the next is killed only when this one is up again.
      await killing;
      killing = killAndRestart(due);
    }
    await killing;

    await eventually(
      async () => expect(await historyOf()).toEqual(Object.fromEntries([...pushed].map(([tag, digests]) => [tag, digests.toReversed()]))),
      90_000,
      500,
    );
    const expected = [...pushed].flatMap(([tag, digests]) => digests.map((digest, i) => `${tag} ${i + 1} ${digest}`)).toSorted();
    const events = await allEvents(PUSHES);
    expect(of(events).moves).toEqual(expected);
    await eventually(() => expect(of(sink.received.map((r) => JSON.parse(r.body) as ReadEvent)).moves).toEqual(expected), 90_000, 500);
    for (const { body, headers } of sink.received) expect((JSON.parse(body) as { id: string }).id).toBe(headers['webhook-id']);
    const ids = new Set([...of(events).ids, ...of(sink.received.map((r) => JSON.parse(r.body) as ReadEvent)).ids]);
    expect(ids.size).toBe(PUSHES);
  }, 420_000);

  it('SIGTERM ends each service in order, within 5 s', async () => {
    for (const name of ['api', 'registry-mapping', 'import-scheduler', 'trigger-dispatcher', 'tag-store'] as const) {
      const began = performance.now();
      expect(await whole.end(name, 'SIGTERM'), whole.log(name).slice(-500)).toBe(0);
      expect(performance.now() - began).toBeLessThan(5_000);
    }
  });
});

/** Which images each tag has had, newest first. */
async function historyOf(): Promise<Record<string, string[]>> {
  const answer = await api.request('GET', '/apis/image.openshift.io/v1/namespaces/crash/imagestreams/app');
  expect(answer.status, answer.text).toBe(200);
  const tags = answer.json.status.tags as { tag: string; items: { image: string }[] }[];
  return Object.fromEntries(tags.map(({ tag, items }) => [tag, items.map((item) => item.image)]));
}

/** Every build and deploy event that NATS holds now: read by somebody who starts after the storm. */
async function allEvents(atLeast: number): Promise<ReadEvent[]> {
  const reader = await eventReader(whole.nats.url, `after-${Date.now()}`);
  const events: ReadEvent[] = [];
  await eventually(async () => {
    events.push(...(await reader.take()).filter((event) => /(build|deploy)\.triggered/.test(event.type)));
    expect(new Set(events.map((event) => event.id)).size).toBeGreaterThanOrEqual(atLeast);
  }, 60_000);
  await reader.close();
  return events;
}

/** What was told, each once: tag, generation, image; and under which ids. */
function of(events: ReadEvent[]): { moves: string[]; ids: Set<string> } {
  return {
    moves: [...new Set(events.map(({ data }) => `${data.tag} ${data.generation} ${data.current.image}`))].toSorted(),
    ids: new Set(events.map((event) => event.id)),
  };
}
