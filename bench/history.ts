import { apiClient, type ApiClient } from '@millrace/testing/client';
import { eventually } from '@millrace/testing/eventually';
import { startProduct } from '@millrace/testing/product';
import { percentile, type Figure } from './figures.ts';
import { dial, makeStream, mappingOf, submit } from './work.ts';

const LONG = 100_000;
const SHORT = 10;
const ROUNDS = 300;

/** A tag with 100,000 images behind it beside one with 10: reading where it stands, and applying one more push. */
export async function history(): Promise<Figure[]> {
  const product = await startProduct({ args: ['--quiet', '--log-level', 'warn'] });
  const api = apiClient(product);
  const nats = await dial(product.nats);
  try {
    for (const [stream, items] of [
      ['long', LONG],
      ['short', SHORT],
    ] as const) {
      await makeStream(api, 'bench', stream);
      let moved = 0;
      const told = nats.subscribe(`millrace.v1.tag.moved.bench.${stream}.>`, { callback: () => void moved++ });
      for (let from = 0; from < items; from += 10_000) {
        const mappings = Array.from({ length: Math.min(10_000, items - from) }, () => ({
          subject: `millrace.v1.mapping.submitted.bench.${stream}`,
          body: JSON.stringify(mappingOf('bench', stream, 'latest', 700)),
        }));
        await submit(nats, mappings);
      }
      await eventually(() => {
        if (moved < items) throw new Error(`${moved} of ${items} applied`);
      }, 600_000);
      told.unsubscribe();
    }
    const reads: Record<string, number[]> = { long: [], short: [] };
    const writes: Record<string, number[]> = { long: [], short: [] };
    for (let round = 0; round < ROUNDS; round++)
      for (const stream of round % 2 ? ['long', 'short'] : ['short', 'long']) {
        reads[stream]?.push(await timed(api, 'GET', `/apis/image.openshift.io/v1/namespaces/bench/imagestreamtags/${stream}:latest`));
        writes[stream]?.push(
          await timed(
            api,
            'POST',
            '/apis/image.openshift.io/v1/namespaces/bench/imagestreammappings',
            mappingOf('bench', stream, 'latest', 700),
          ),
        );
      }
    const figure = (name: string, times: Record<string, number[]>): Figure => {
      const [long, short] = [percentile(times['long'] ?? [], 50), percentile(times['short'] ?? [], 50)];
      return {
        name,
        value: long / short,
        unit: '×',
        limit: { value: 1.1, is: 'at most' },
        note: `p50 ${long.toFixed(2)} ms with ${LONG} items, ${short.toFixed(2)} ms with ${SHORT}; ${ROUNDS} each, in turn`,
      };
    };
    return [
      figure('reading the tag, 100,000 items of history to 10', reads),
      figure('one more push, 100,000 items of history to 10', writes),
    ];
  } finally {
    await nats.close();
    await api.close();
    await product.stop();
    product.remove();
  }
}

async function timed(api: ApiClient, method: string, path: string, body?: unknown): Promise<number> {
  const begun = performance.now();
  const answer = await api.request(method, path, body);
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
  return performance.now() - begun;
}
