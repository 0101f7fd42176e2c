import { setTimeout as pause } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { apiClient } from '@millrace/testing/client';
import { startProduct, type Product } from '@millrace/testing/product';
import { percentile, type Figure } from './figures.ts';
import { dial, mappingOf } from './work.ts';

const FOLLOWERS = 50;
const MOVES = 40;
const WARM_UP = 10;
const NAMESPACE = 'bench';

/** From the moment a mapping is sent to the moment the last of fifty Deployments that follow the tag is seen with the image, by a watch; and told on NATS. */
export async function workloads(): Promise<Figure[]> {
  const product = await startProduct({ args: ['--quiet'] });
  const api = apiClient(product);
  const nats = await dial(product.nats);
  const stopping = new AbortController();
  try {
    await api.request('POST', `/apis/image.openshift.io/v1/namespaces/${NAMESPACE}/imagestreams`, { metadata: { name: 'app' } });
    for (let n = 0; n < FOLLOWERS; n++) {
      const answer = await api.request('POST', `/apis/apps/v1/namespaces/${NAMESPACE}/deployments`, deployment(`app-${n}`));
      if (answer.status !== 201) throw new Error(`a Deployment was answered ${answer.status}: ${answer.text}`);
    }
    const seen = new Map<string, number[]>();
    const told = new Map<string, number[]>();
    const note = (times: Map<string, number[]>, image: string) => times.set(image, [...(times.get(image) ?? []), performance.now()]);
    void watch(product, stopping.signal, (image) => note(seen, image));
    nats.subscribe('millrace.v1.deploy.triggered.>', {
      callback: (_error, message) => void note(told, message.json<{ pullSpec: string }>().pullSpec),
    });

    const took = { seen: [] as number[], told: [] as number[] };
    for (let n = 0; n < WARM_UP + MOVES; n++) {
      const mapping = mappingOf(NAMESPACE, 'app', 'latest', 5_000) as { image: { dockerImageReference: string } };
      const image = mapping.image.dockerImageReference;
      const sentAt = performance.now();
      const answer = await api.request('POST', `/apis/image.openshift.io/v1/namespaces/${NAMESPACE}/imagestreammappings`, mapping);
      if (answer.status !== 201) throw new Error(`a mapping was answered ${answer.status}: ${answer.text}`);
      await untilAll(() => Math.min(seen.get(image)?.length ?? 0, told.get(image)?.length ?? 0));
      if (n < WARM_UP) continue;
      took.seen.push((seen.get(image)?.at(-1) ?? Number.NaN) - sentAt);
      took.told.push((told.get(image)?.at(-1) ?? Number.NaN) - sentAt);
      await pause(50);
    }
    const how = `${MOVES} mappings of 5 kB, ${FOLLOWERS} Deployments each; from the POST to the last event of a watch`;
    const limit = { value: 100, is: 'at most' } as const;
    return [
      { name: '50 Deployments updated, p50', value: percentile(took.seen, 50), unit: 'ms', limit, note: how },
      {
        name: '50 Deployments updated, p95',
        value: percentile(took.seen, 95),
        unit: 'ms',
        limit,
        note: `the same; told on NATS after ${percentile(took.told, 95).toFixed(1)} ms`,
      },
    ];
  } finally {
    stopping.abort();
    await nats.close();
    await api.close();
    await product.stop();
    product.remove();
  }
}

interface Deployment {
  spec: { template: { spec: { containers: { image: string }[] } } };
}

function deployment(name: string): object {
  const trigger = {
    from: { kind: 'ImageStreamTag', name: 'app:latest' },
    fieldPath: 'spec.template.spec.containers[?(@.name=="web")].image',
  };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, labels: { app: name }, annotations: { 'image.openshift.io/triggers': JSON.stringify([trigger]) } },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          containers: [
            {
              name: 'web',
              image: 'app:latest',
              ports: [{ containerPort: 8080 }],
              env: Array.from({ length: 20 }, (_, i) => ({ name: `SETTING_${i}`, value: `some value number ${i}` })),
              resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '256Mi' } },
              readinessProbe: { httpGet: { path: '/ready', port: 8080 } },
            },
          ],
        },
      },
    },
  };
}

/** Tells the image of every Deployment that changes. */
async function watch(product: Product, signal: AbortSignal, changed: (image: string) => void): Promise<void> {
  const dispatcher = new Agent({ connect: { ca: product.ca } });
  try {
    const { body } = await request(`${product.api}/apis/apps/v1/namespaces/${NAMESPACE}/deployments?watch=true`, {
      dispatcher,
      signal,
      headers: { authorization: `Bearer ${product.token}`, accept: 'application/json' },
      bodyTimeout: 0,
    });
    let rest = '';
    for await (const chunk of body) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines.filter(Boolean)) {
        const { type, object } = JSON.parse(line) as { type: string; object: Deployment };
        if (type === 'MODIFIED') changed(object.spec.template.spec.containers[0]?.image ?? '');
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await dispatcher.destroy();
  }
}

async function untilAll(count: () => number): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (count() < FOLLOWERS) {
    if (performance.now() > deadline) throw new Error(`only ${count()} of ${FOLLOWERS} Deployments were updated within 20 s`);
    await pause(1);
  }
}
