import pg from 'pg';
import { apiClient } from '@millrace/testing/client';
import { eventually } from '@millrace/testing/eventually';
import { startProduct } from '@millrace/testing/product';
import { aWebhookSink } from '@millrace/testing/webhook-sink';
import type { Figure } from './figures.ts';
import { dial, makeStream, makeTrigger, mappingOf, submit } from './work.ts';

const STREAMS = 1_000;
const MAPPINGS = Number(process.env['BENCH_MAPPINGS'] ?? 20_000);
const METADATA_BYTES = 20_000;
const BARE_SECONDS = 5;

/** Mappings offered on NATS until every tag has moved, every trigger's event is told and every webhook has arrived; against bare commits of the same Postgres. */
export async function throughput(): Promise<Figure[]> {
  const [product, sink] = await Promise.all([startProduct({ args: ['--quiet', '--log-level', 'warn'] }), aWebhookSink()]);
  const api = apiClient(product);
  const nats = await dial(product.nats);
  try {
    const bare = await bareCommits(product.postgres);
    for (let i = 0; i < STREAMS; i += 20) await Promise.all(Array.from({ length: 20 }, (_, k) => makeStream(api, 'bench', `s${i + k}`)));
    for (let i = 0; i < STREAMS; i += 10) await makeTrigger(api, 'bench', `t${i}`, `s${i}:latest`, sink.url);
    let moved = 0;
    let fired = 0;
    nats.subscribe('millrace.v1.tag.moved.bench.>', { callback: () => void moved++ });
    nats.subscribe('millrace.v1.deploy.triggered.bench.>', { callback: () => void fired++ });
    const mappings = Array.from({ length: MAPPINGS }, (_, n) => ({
      subject: `millrace.v1.mapping.submitted.bench.s${n % STREAMS}`,
      body: JSON.stringify(mappingOf('bench', `s${n % STREAMS}`, 'latest', METADATA_BYTES)),
    }));

    const begun = performance.now();
    await submit(nats, mappings);
    const offered = performance.now() - begun;
    await eventually(() => {
      if (moved < MAPPINGS || fired < MAPPINGS / 10 || sink.received.length < MAPPINGS / 10)
        throw new Error(`${moved} moved, ${fired} fired, ${sink.received.length} webhooks of ${MAPPINGS}`);
    }, 300_000);
    const seconds = (performance.now() - begun) / 1000;
    const rate = MAPPINGS / seconds;
    const note = `${rate.toFixed(0)} mappings/s (${MAPPINGS} in ${seconds.toFixed(1)} s, offered in ${(offered / 1000).toFixed(1)} s) against ${bare.toFixed(0)} single 4 kB rows/s from eight connections`;
    return [{ name: 'sustained mappings, of bare commits', value: rate / bare, unit: '×', limit: { value: 0.5, is: 'at least' }, note }];
  } finally {
    await nats.close();
    await api.close();
    await product.stop();
    await sink.close();
    product.remove();
  }
}

/** Single-row durable transactions a second, from eight connections. */
async function bareCommits(url: string): Promise<number> {
  const clients = Array.from({ length: 8 }, () => new pg.Client({ connectionString: url }));
  await Promise.all(clients.map((client) => client.connect()));
  await clients[0]?.query('CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)');
  const body = 'x'.repeat(100).concat(...Array.from({ length: 39 }, () => Math.random().toString(36).padEnd(100, 'y')));
  let rows = 0;
  const begun = performance.now();
  await Promise.all(
    clients.map(async (client) => {
      while (performance.now() - begun < BARE_SECONDS * 1000) {
        await client.query('INSERT INTO bare (body) VALUES ($1)', [body]);
        rows++;
      }
    }),
  );
  const seconds = (performance.now() - begun) / 1000;
  await clients[0]?.query('DROP TABLE bare');
  await Promise.all(clients.map((client) => client.end()));
  return rows / seconds;
}
