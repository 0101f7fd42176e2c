import { setTimeout as pause } from 'node:timers/promises';
import { jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import pg from 'pg';
import { apiClient, type ApiClient } from '@millrace/testing/client';
import { startProduct, type Product } from '@millrace/testing/product';
import { percentile, type Figure } from './figures.ts';
import { dial, makeStream, makeTrigger, mappingOf, residentOf } from './work.ts';

const NAMESPACE = 'bench';
/** Tags with one trigger each, of which all that is timed alone are. */
const ALONE = 100;
const TRIGGERS = 100_000;
const TAGS = 10_000;
/** Triggers that follow one tag. */
const CROWD = 10_000;
const ROUNDS = 400;
const FAN_OUTS = 12;
const OTHERS_PER_SECOND = 25;

/** Moves with many triggers: what 100,000 cost a move that matches one, how soon 10,000 are told, and what the moves beside them wait. */
export async function triggers(): Promise<Figure[]> {
  const [few, many] = await Promise.all([bed(), bed()]);
  try {
    await multiply(many.product);
    const rounds = { few: [] as number[], many: [] as number[] };
    for (let round = -20; round < ROUNDS; round++)
      for (const which of round % 2 ? (['few', 'many'] as const) : (['many', 'few'] as const)) {
        const took = await (which === 'few' ? few : many).move(`one-${Math.abs(round) % ALONE}`);
        if (round >= 0) rounds[which].push(took);
      }
    const [alone, among] = [percentile(rounds.few, 50), percentile(rounds.many, 50)];
    const crowd = await crowded(many);
    const listed = await pages(many);
    return [
      {
        name: `a move that matches one of ${TRIGGERS} triggers, to one of ${ALONE}`,
        value: among / alone,
        unit: '×',
        limit: { value: 1.1, is: 'at most' },
        note: `p50 ${among.toFixed(2)} ms over ${TAGS} tags, ${alone.toFixed(2)} ms; ${ROUNDS} each in turn, from the POST of a mapping to the event on NATS`,
      },
      {
        name: `a move that matches ${CROWD} triggers, all events read`,
        value: Math.max(...crowd.took) / 1000,
        unit: 's',
        limit: { value: 2, is: 'at most' },
        note: `slowest of ${FAN_OUTS}, p50 ${(percentile(crowd.took, 50) / 1000).toFixed(2)} s; from the POST to the last event of a JetStream consumer`,
      },
      {
        name: 'moves beside it, delayed at p99',
        value: percentile(crowd.busy, 99) - percentile(crowd.quiet, 99),
        unit: 'ms',
        limit: { value: 50, is: 'at most' },
        note: `${percentile(crowd.busy, 99).toFixed(1)} ms of ${crowd.busy.length} (p50 ${percentile(crowd.busy, 50).toFixed(1)}) against ${percentile(crowd.quiet, 99).toFixed(1)} ms of ${crowd.quiet.length} (p50 ${percentile(crowd.quiet, 50).toFixed(1)}) in between; ${OTHERS_PER_SECOND} a second`,
      },
      {
        name: `LIST of ${TRIGGERS} triggers, 500 a page, p50 of a page`,
        value: percentile(listed.pages, 50),
        unit: 'ms',
        limit: { value: 50, is: 'at most' },
        note: `${listed.pages.length} pages in ${(listed.pages.reduce((sum, ms) => sum + ms, 0) / 1000).toFixed(1)} s; ${listed.before.toFixed(0)} MiB before, ${listed.after.toFixed(0)} MiB after`,
      },
    ];
  } finally {
    await Promise.all([few.close(), many.close()]);
  }
}

interface Bed {
  product: Product;
  api: ApiClient;
  /** Moves the tag; resolves to how long it took until its event was read, ms. */
  move: (stream: string, events?: number) => Promise<number>;
  close: () => Promise<void>;
}

/** A product with one trigger on each of some tags. */
async function bed(): Promise<Bed> {
  const product = await startProduct({ args: ['--quiet', '--log-level', 'warn'] });
  const api = apiClient(product);
  const nats = await dial(product.nats);
  const told = await reader(nats);
  await makeStream(api, NAMESPACE, 'crowd');
  for (let n = 0; n < ALONE; n++) {
    await makeStream(api, NAMESPACE, `one-${n}`);
    await makeTrigger(api, NAMESPACE, `one-${n}`, `one-${n}:latest`);
  }
  return {
    product,
    api,
    async move(stream, events = 1) {
      const mapping = mappingOf(NAMESPACE, stream, 'latest', 5_000) as { image: { metadata: { name: string } } };
      const all = told(mapping.image.metadata.name, events);
      const begun = performance.now();
      const answer = await api.request('POST', `/apis/image.openshift.io/v1/namespaces/${NAMESPACE}/imagestreammappings`, mapping);
      if (answer.status !== 201) throw new Error(`a mapping was answered ${answer.status}: ${answer.text}`);
      return (await all) - begun;
    },
    async close() {
      await nats.close();
      await api.close();
      await product.stop();
      product.remove();
    },
  };
}

/** Reads deploy.triggered as a build system does; what it gives resolves to when the last of so many events of an image came. */
async function reader(nats: NatsConnection): Promise<(image: string, events: number) => Promise<number>> {
  const waiting = new Map<string, { left: number; done: (at: number) => void }>();
  const consumer = await jetstream(nats).consumers.get('MILLRACE_EVENTS', { filter_subjects: 'millrace.v1.deploy.triggered.>' });
  const messages = await consumer.consume({ max_messages: 2_000 });
  void (async () => {
    for await (const message of messages) {
      const { current } = message.json<{ current: { image: string } }>();
      const one = waiting.get(current.image);
      if (!one || --one.left > 0) continue;
      waiting.delete(current.image);
      one.done(performance.now());
    }
  })();
  return (image, events) =>
    new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${waiting.get(image)?.left} of ${events} events were not told within 60 s`)), 60_000);
      waiting.set(image, {
        left: events,
        done: (at) => {
          clearTimeout(late);
          resolve(at);
        },
      });
    });
}

/** Copies in the store what the api has made: creating them is not what is measured. */
async function multiply(product: Product): Promise<void> {
  const client = new pg.Client({ connectionString: product.postgres });
  await client.connect();
  try {
    await client.query('SET search_path = trigger_dispatcher');
    await client.query(
      `INSERT INTO trigger SELECT made.* FROM trigger t
         CROSS JOIN generate_series(1, $1::int) AS n
         CROSS JOIN LATERAL (SELECT CASE WHEN n <= $2 THEN 'crowd' ELSE 'some-' || n % $3 END AS stream) AS of
         CROSS JOIN LATERAL jsonb_populate_record(t, jsonb_build_object('uid', gen_random_uuid(), 'name', 'copy-' || n, 'from_stream', of.stream,
           'spec', jsonb_set(t.spec, '{from,name}', to_jsonb(of.stream || ':latest')), 'resource_version', (SELECT value FROM revision) + n)) AS made
        WHERE t.name = 'one-0'`,
      [TRIGGERS - ALONE, CROWD, TAGS - ALONE - 1],
    );
    await client.query('UPDATE revision SET value = value + $1', [TRIGGERS]);
    // As autovacuum does a minute later.
    await client.query('VACUUM ANALYZE trigger');
  } finally {
    await client.end();
  }
}

/** Moves the tag that many follow, again and again, while others move at an even rate. */
async function crowded({ move }: Bed): Promise<{ took: number[]; busy: number[]; quiet: number[] }> {
  const took: number[] = [];
  const busy: number[] = [];
  const quiet: number[] = [];
  let fanningOut = false;
  let stopped = false;
  const others = (async () => {
    const moving: Promise<unknown>[] = [];
    const begun = performance.now();
    for (let n = 0; !stopped; n++) {
      await pause(Math.max(0, begun + (n * 1000) / OTHERS_PER_SECOND - performance.now()));
      const times = fanningOut ? busy : quiet;
      moving.push(move(`one-${n % ALONE}`).then((ms) => times.push(ms)));
    }
    await Promise.all(moving);
  })();
  for (let n = 0; n <= FAN_OUTS; n++) {
    await pause(2_000);
    fanningOut = true;
    const ms = await move('crowd', CROWD);
    fanningOut = false;
    // The first warms up.
    if (n) took.push(ms);
    else for (const times of [busy, quiet]) times.length = 0;
  }
  stopped = true;
  await others;
  return { took, busy, quiet };
}

/** `kubectl get imagetriggers -A`. */
async function pages({ api, product }: Bed): Promise<{ pages: number[]; before: number; after: number }> {
  const before = residentOf(product.pid);
  const pages: number[] = [];
  let items = 0;
  for (let next: string | undefined = ''; next !== undefined;) {
    const begun = performance.now();
    const path = `/apis/triggers.millrace.dev/v1/imagetriggers?limit=500${next ? `&continue=${encodeURIComponent(next)}` : ''}`;
    const answer = await api.request('GET', path);
    if (answer.status !== 200) throw new Error(`a page was answered ${answer.status}: ${answer.text}`);
    pages.push(performance.now() - begun);
    const page = answer.json as { items: unknown[]; metadata: { continue?: string } };
    items += page.items.length;
    next = page.metadata.continue || undefined;
  }
  if (items !== TRIGGERS) throw new Error(`${items} triggers were listed`);
  return { pages, before, after: residentOf(product.pid) };
}
