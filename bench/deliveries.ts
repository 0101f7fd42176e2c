import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Agent, request } from 'undici';
import { type ApiClient, apiClient } from '@millrace/testing/client';
import { startProduct } from '@millrace/testing/product';
import { percentile, type Figure } from './figures.ts';
import { dial, makeStream, mappingOf, submit } from './work.ts';

const HEALTHY = 700;
const HANGING = 300;
const TAGS = 100;
const MOVES_PER_SECOND = 10;
const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 60);

const TARGETS = 64;
const TRIGGERS = 10;
const WEBHOOKS = 32;
const MOVES = Number(process.env['BENCH_MOVES'] ?? 60);
const WARM_UP = 10;
/** Moves whose deliveries are under way at a time, so that there is always something to be sent. */
const AHEAD = 3;
/** Of the bare loop: what the product has in flight at most. */
const PARALLEL = 512;
const PER_HOST = 8;

/** What receivers that hang cost the others, and how many deliveries a second there are beside a loop that does nothing but POST. */
export async function deliveries(): Promise<Figure[]> {
  const asked = process.env['BENCH_PART'];
  return [...(asked === 'rate' ? [] : await hanging()), ...(asked === 'hanging' ? [] : await sustained())];
}

/** A thousand receivers, one trigger each, of which three hundred never answer: from the firing to the receipt, for the others. */
async function hanging(): Promise<Figure[]> {
  const receivers = await someReceivers(HEALTHY, HANGING);
  const product = await startProduct({ args: ['--quiet', '--log-level', 'warn'] });
  const api = apiClient(product);
  const nats = await dial(product.nats);
  try {
    const ports = mixed(receivers.ports.healthy, receivers.ports.hanging);
    for (let i = 0; i < TAGS; i++) await makeStream(api, 'bench', `s${i}`);
    for (let i = 0; i < ports.length; i += 20)
      await Promise.all(
        ports.slice(i, i + 20).map((port, k) => makeTrigger(api, `t${i + k}`, `s${(i + k) % TAGS}`, [`http://127.0.0.1:${port}/hook`])),
      );
    const begun = performance.now();
    let moves = 0;
    for (; moves < SECONDS * MOVES_PER_SECOND; moves++) {
      await pause(Math.max(0, (moves * 1000) / MOVES_PER_SECOND - (performance.now() - begun)));
      await submit(nats, [moveOf(`s${moves % TAGS}`)], 1);
    }
    await receivers.until((moves * HEALTHY) / TAGS);
    const { took, hung } = await receivers.seen();
    const note = `${took.length} deliveries to ${HEALTHY} receivers, ${MOVES_PER_SECOND} moves of tags a second, for ${SECONDS} s; ${hung} calls to ${HANGING} that never answer; p50 ${percentile(took, 50).toFixed(0)} ms`;
    return [
      {
        name: 'firing to webhook, 300 of 1,000 hang, p99',
        value: percentile(took, 99),
        unit: 'ms',
        limit: { value: 250, is: 'at most' },
        note,
      },
    ];
  } finally {
    await nats.close();
    await api.close();
    await product.stop();
    product.remove();
    receivers.end();
  }
}

/** Moves of one tag that fires many webhooks, offered so that there is always something to be sent; against a bare loop of POSTs to the same receivers. */
async function sustained(): Promise<Figure[]> {
  const receivers = await someReceivers(TARGETS, 0);
  const product = await startProduct({ args: ['--quiet', '--log-level', 'warn'] });
  const api = apiClient(product);
  const nats = await dial(product.nats);
  const each = TRIGGERS * WEBHOOKS;
  try {
    const urls = receivers.ports.healthy.map((port) => `http://127.0.0.1:${port}/hook`);
    await makeStream(api, 'bench', 'app');
    for (let i = 0; i < TRIGGERS; i++)
      await makeTrigger(
        api,
        `t${i}`,
        'app',
        Array.from({ length: WEBHOOKS }, (_, k) => urls[(i * WEBHOOKS + k) % TARGETS] ?? ''),
      );
    const feed = async (moves: number): Promise<void> => {
      for (let i = 0; i < moves; i++) {
        await submit(nats, [moveOf('app')], 1);
        await receivers.until((i + 1 - AHEAD) * each);
      }
      await receivers.until(moves * each);
    };
    await feed(WARM_UP);
    const { body } = await receivers.seen();
    const begun = Date.now();
    await feed(MOVES);
    const { calls, lastAt } = await receivers.seen();
    const rate = calls / ((lastAt - begun) / 1000);
    const bare = await barePosts(urls, body, calls);
    const note = `${rate.toFixed(0)}/s (${calls} to ${TARGETS} receivers) against ${bare.toFixed(0)} POSTs/s of a bare loop with the same bodies, ${PARALLEL} at a time`;
    return [{ name: 'sustained deliveries, of bare POSTs', value: rate / bare, unit: '×', limit: { value: 0.5, is: 'at least' }, note }];
  } finally {
    await nats.close();
    await api.close();
    await product.stop();
    product.remove();
    receivers.end();
  }
}

async function barePosts(urls: readonly string[], body: string, calls: number): Promise<number> {
  const dispatcher = new Agent({ connections: PER_HOST, pipelining: 1 });
  const headers = {
    'content-type': 'application/cloudevents+json; charset=utf-8',
    'webhook-id': 'x',
    'webhook-timestamp': '1',
    'webhook-signature': 'v1,x',
  };
  let next = 0;
  const loop = async (until: number): Promise<void> => {
    for (let i = next++; i < until; i = next++) {
      const answer = await request(urls[i % urls.length] ?? '', { dispatcher, method: 'POST', headers, body });
      await answer.body.dump();
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, () => loop(calls / 4)));
  next = 0;
  const begun = performance.now();
  await Promise.all(Array.from({ length: PARALLEL }, () => loop(calls)));
  const rate = calls / ((performance.now() - begun) / 1000);
  await dispatcher.destroy();
  return rate;
}

function moveOf(stream: string): { subject: string; body: string } {
  return { subject: `millrace.v1.mapping.submitted.bench.${stream}`, body: JSON.stringify(mappingOf('bench', stream, 'latest', 2_000)) };
}

async function makeTrigger(api: ApiClient, name: string, stream: string, urls: readonly string[]): Promise<void> {
  const answer = await api.request('POST', '/apis/triggers.millrace.dev/v1/namespaces/bench/imagetriggers', {
    apiVersion: 'triggers.millrace.dev/v1',
    kind: 'ImageTrigger',
    metadata: { name },
    spec: {
      kind: 'Deploy',
      from: { kind: 'ImageStreamTag', name: `${stream}:latest` },
      webhooks: urls.map((url, i) => ({ name: `hook-${i}`, url })),
    },
  });
  if (answer.status !== 201) throw new Error(`trigger ${name}: ${answer.status} ${answer.text}`);
}

/** Those that hang spread among the others. */
const mixed = (healthy: readonly number[], hung: readonly number[]): number[] =>
  [...healthy.map((port, i) => [port, i / healthy.length] as const), ...hung.map((port, i) => [port, i / hung.length] as const)]
    .toSorted(([, a], [, b]) => a - b)
    .map(([port]) => port);

interface Seen {
  calls: number;
  lastAt: number;
  took: number[];
  body: string;
  hung: number;
}

async function someReceivers(healthy: number, hung: number) {
  const child = fork(fileURLToPath(new URL('receivers.mjs', import.meta.url)), [String(healthy), String(hung)], { execArgv: [] });
  const [ports] = (await once(child, 'message')) as [{ healthy: number[]; hanging: number[] }];
  const ask = async <T>(what: string): Promise<T> => {
    const answer = once(child, 'message') as Promise<[T]>;
    child.send(what);
    return (await answer)[0];
  };
  return {
    ports,
    /** What was seen since it was asked before. */
    seen: () => ask<Seen>('forget'),
    until: async (calls: number): Promise<void> => {
      const deadline = performance.now() + 60_000;
      for (let seen = calls > 0 ? await ask<number>('calls') : calls; seen < calls; seen = await ask<number>('calls')) {
        if (performance.now() > deadline) throw new Error(`only ${seen} of ${calls} webhooks were received within 60 s`);
        await pause(2);
      }
    },
    end: () => void child.send('end'),
  };
}
