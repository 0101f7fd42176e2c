import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { apiClient, type ApiClient } from '@millrace/testing/client';
import { eventually } from '@millrace/testing/eventually';
import { startProduct, type Product } from '@millrace/testing/product';
import { hasTool } from '@millrace/testing/tools';
import { aWebhookSink, type WebhookSink } from '@millrace/testing/webhook-sink';

const run = promisify(execFile);
const scratch = mkdtempSync(join(tmpdir(), 'millrace-deliveries-'));
const TRIGGERS = '/apis/triggers.millrace.dev/v1/namespaces/demo';

let product: Product;
let api: ApiClient;
let sink: WebhookSink;

beforeAll(async () => {
  [product, sink] = await Promise.all([startProduct({ args: ['--quiet'] }), aWebhookSink()]);
  api = apiClient(product);
}, 120_000);
afterAll(async () => {
  await api.close();
  await product.stop();
  await sink.close();
  product.remove();
  rmSync(scratch, { recursive: true, force: true });
});

const kubectl = async (...args: string[]): Promise<string> =>
  (await run('kubectl', ['--kubeconfig', product.kubeconfig, '-n', 'demo', ...args], { timeout: 30_000 })).stdout;

it.runIf(hasTool('kubectl'))(
  'a person finds what was delivered, reads its attempts and has it made again, with kubectl alone',
  async () => {
    const object = {
      ...{ apiVersion: 'triggers.millrace.dev/v1', kind: 'ImageTrigger', metadata: { name: 'deploy' } },
      spec: {
        kind: 'Deploy',
        from: { kind: 'ImageStreamTag', name: 'web:latest' },
        webhooks: [{ name: 'hook', url: sink.url, rate: { calls: 100, per: '1s' } }],
      },
    };
    expect((await api.request('POST', `${TRIGGERS}/imagetriggers`, object)).status).toBe(201);
    const name = `sha256:${'a'.repeat(64)}`;
    const mapping = {
      metadata: { name: 'web' },
      tag: 'latest',
      image: { metadata: { name }, dockerImageReference: `e.io/demo/web@${name}` },
    };
    expect(
      (await api.request('POST', '/apis/image.openshift.io/v1/namespaces/demo/imagestreams', { metadata: { name: 'web' } })).status,
    ).toBe(201);
    expect((await api.request('POST', '/apis/image.openshift.io/v1/namespaces/demo/imagestreammappings', mapping)).status).toBe(201);
    await eventually(async () => expect(await kubectl('get', 'deliveries', '-l', 'state=delivered')).toContain('deploy-'));

    const one = (await kubectl('get', 'deliveries', '--field-selector', 'spec.webhook=hook,status.state=delivered', '-o', 'name')).trim();
    expect(await kubectl('get', one, '-o', 'wide')).toMatch(/WEBHOOK +LAST[\s\S]* hook +204/);
    expect(await kubectl('get', one, '-o', 'jsonpath={.status.attemptLog[0].answer.status} {.status.attemptLog[0].request.method}')).toBe(
      '204 POST',
    );

    const file = join(scratch, 'replay.yaml');
    const spec = { trigger: 'deploy', since: '1h', states: ['delivered'] };
    const replay = {
      apiVersion: 'triggers.millrace.dev/v1',
      kind: 'DeliveryReplay',
      metadata: { generateName: 'replay-', namespace: 'demo' },
      spec,
    };
    writeFileSync(file, JSON.stringify(replay));
    const counted = 'jsonpath={.status.matched} {.status.replayed}';
    expect(await kubectl('create', '-f', file, '--dry-run=server', '-o', counted)).toBe('1 0');
    expect(sink.received).toHaveLength(1);
    expect(await kubectl('create', '-f', file, '-o', counted)).toBe('1 1');
    await eventually(() => expect(sink.received).toHaveLength(2));
    await eventually(async () => expect(await kubectl('get', 'deliveries', '-l', 'state=delivered')).toContain('deploy-'));
    const raw = await kubectl('create', '--raw', `${TRIGGERS}/deliveryreplays`, '-f', file);
    expect(JSON.parse(raw)).toMatchObject({ kind: 'DeliveryReplay', status: { matched: 1, replayed: 1, remaining: 0 } });
    await eventually(() => expect(sink.received).toHaveLength(3));
    expect(new Set(sink.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  },
);
