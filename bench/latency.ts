import { setTimeout as pause } from 'node:timers/promises';
import { apiClient } from '@millrace/testing/client';
import { eventually } from '@millrace/testing/eventually';
import { makeImage, pushImage } from '@millrace/testing/images';
import { startProduct } from '@millrace/testing/product';
import { aWebhookSink } from '@millrace/testing/webhook-sink';
import { percentile, type Figure } from './figures.ts';
import { makeTrigger, notify } from './work.ts';

const PUSHES = 600;
const PER_SECOND = 20;

/** From the moment a registry's notification is sent to the moment the webhook is received, with the metadata fetched in between. */
export async function latency(): Promise<Figure[]> {
  const [product, sink] = await Promise.all([startProduct({ args: ['--quiet'] }), aWebhookSink()]);
  const api = apiClient(product);
  try {
    await makeTrigger(api, 'bench', 'latency', 'app:latest', sink.url);
    const images = Array.from({ length: PUSHES + 40 }, (_, n) => makeImage(`latency-${n}`));
    for (const image of images) await pushImage(product.registry, 'bench/app', 'stored', image);
    await eventually(
      async () => {
        const answer = await api.request('GET', '/apis/image.openshift.io/v1/namespaces/bench/imagestreams/app');
        if (
          (answer.json?.status?.tags as { tag: string; items: unknown[] }[] | undefined)?.find((one) => one.tag === 'stored')?.items
            .length !== images.length
        )
          throw new Error('images are still being mapped');
      },
      120_000,
      200,
    );

    const sentAt = new Map<string, number>();
    const begun = performance.now();
    const started = Date.now() - begun;
    for (const [n, image] of images.entries()) {
      await pause(Math.max(0, (n * 1000) / PER_SECOND - (performance.now() - begun)));
      sentAt.set(image.digest, started + performance.now());
      // One at a time, as a registry sends them.
      await notify(product, 'bench/app', 'latest', { digest: image.digest, mediaType: image.mediaType, size: image.manifest.length });
    }
    await eventually(() => {
      if (sink.received.length < images.length) throw new Error(`${sink.received.length} of ${images.length} webhooks`);
    }, 60_000);
    const took = sink.received
      .slice(40)
      .map(
        ({ body, at }) =>
          at - (sentAt.get((JSON.parse(body) as { data: { current: { image: string } } }).data.current.image) ?? Number.NaN),
      );
    const note = `${PUSHES} pushes, ${PER_SECOND} a second, all in one process; schema 2 images of the bundled registry`;
    return [
      { name: 'push to webhook, p50', value: percentile(took, 50), unit: 'ms', limit: { value: 15, is: 'at most' }, note },
      { name: 'push to webhook, p99', value: percentile(took, 99), unit: 'ms', limit: { value: 60, is: 'at most' }, note },
    ];
  } finally {
    await api.close();
    await product.stop();
    await sink.close();
    product.remove();
  }
}
