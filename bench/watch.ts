import { request, Agent } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { apiClient } from '@millrace/testing/client';
import { eventually } from '@millrace/testing/eventually';
import { startProduct, type Product } from '@millrace/testing/product';
import { percentile, type Figure } from './figures.ts';
import { makeStream, residentOf } from './work.ts';

const WATCHERS = 1_000;
/** Each of a stream of its own: changes of one object that follow each other closely may be told as one. */
const CHANGES = 500;
const PER_SECOND = 50;
const PATH = '/apis/image.openshift.io/v1/namespaces/bench/imagestreams';

/** From the moment a change is sent to the moment each of 1,000 watchers has it. */
export async function watch(): Promise<Figure[]> {
  const product = await startProduct({ args: ['--quiet', '--log-level', 'warn'] });
  const api = apiClient(product);
  const agent = new Agent({ ca: product.ca, keepAlive: false });
  const open: IncomingMessage[] = [];
  try {
    for (let i = 0; i < CHANGES; i++) await makeStream(api, 'bench', `s${i}`);
    const { json } = await api.request('GET', PATH);
    const sentAt: number[] = [];
    const took: number[] = [];
    const heard = (text: string) => {
      const at = performance.now();
      for (const [, n] of text.matchAll(/"n":"(\d+)"/g)) took.push(at - (sentAt[Number(n)] ?? Number.NaN));
    };
    const from = (json as { metadata: { resourceVersion: string } }).metadata.resourceVersion;
    for (let i = 0; i < WATCHERS; i += 50)
      open.push(
        ...(await Promise.all(
          Array.from({ length: 50 }, () => aWatch(product, agent, `${PATH}?watch=true&resourceVersion=${from}`, heard)),
        )),
      );

    const begun = performance.now();
    const writes: Promise<unknown>[] = [];
    for (let n = 0; n < CHANGES; n++) {
      await pause(Math.max(0, (n * 1000) / PER_SECOND - (performance.now() - begun)));
      sentAt[n] = performance.now();
      const body = JSON.stringify({ metadata: { labels: { n: String(n) } } });
      writes.push(api.request('PATCH', `${PATH}/s${n}`, body, { 'content-type': 'application/merge-patch+json' }));
    }
    await Promise.all(writes);
    await eventually(() => {
      if (took.length < CHANGES * WATCHERS) throw new Error(`${took.length} of ${CHANGES * WATCHERS} events`);
    }, 60_000);
    const note = `p50 ${percentile(took, 50).toFixed(1)} ms; ${CHANGES} changes, ${PER_SECOND} a second, to ${WATCHERS} watchers on one api; ${residentOf(product.pid).toFixed(0)} MiB`;
    return [
      {
        name: 'a change to each of 1,000 watchers, p99',
        value: percentile(took, 99),
        unit: 'ms',
        limit: { value: 100, is: 'at most' },
        note,
      },
    ];
  } finally {
    for (const one of open) one.destroy();
    await api.close();
    await product.stop();
    product.remove();
  }
}

function aWatch({ api, token }: Product, agent: Agent, path: string, heard: (line: string) => void): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `${api}${path}`,
      { agent, headers: { authorization: `Bearer ${token}`, accept: 'application/json' } },
      (response) => {
        if (response.statusCode !== 200) return reject(new Error(`the watch was answered ${response.statusCode}`));
        let rest = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          const end = text.lastIndexOf('\n');
          if (end < 0) return void (rest += text);
          heard(rest + text.slice(0, end));
          rest = text.slice(end + 1);
        });
        response.on('error', () => undefined);
        resolve(response);
      },
    );
    sent.on('error', reject);
    sent.end();
  });
}
