import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RegistryServer, startRegistry } from '@millrace/embedded/registry';
import { apiClient, type ApiClient } from '@millrace/testing/client';
import { eventually } from '@millrace/testing/eventually';
import { makeImage, makeIndex, pushImage } from '@millrace/testing/images';
import { startProduct, type Product } from '@millrace/testing/product';
import { hasTool } from '@millrace/testing/tools';
import { aWebhookSink, type WebhookSink } from '@millrace/testing/webhook-sink';

const run = promisify(execFile);
const NS = 'imports';
const TRIGGERS = '/apis/triggers.millrace.dev/v1';
const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

let product: Product;
let api: ApiClient;
let sink: WebhookSink;
/** A registry that knows nothing of the product. */
let outside: RegistryServer;
let scratch: string;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'millrace-imports-'));
  [product, sink, outside] = await Promise.all([startProduct(), aWebhookSink(), startRegistry({ dataDir: join(scratch, 'registry') })]);
  api = apiClient(product);
}, 120_000);
afterAll(async () => {
  await api.close();
  await product.stop();
  await Promise.all([sink.close(), outside.stop()]);
  product.remove();
  rmSync(scratch, { recursive: true });
});

async function kubectl(args: string, input?: object): Promise<string> {
  const child = run('kubectl', ['--kubeconfig', product.kubeconfig, '-n', NS, ...args.split(' ')], { timeout: 60_000 });
  child.child.stdin?.end(input && JSON.stringify({ apiVersion: 'image.openshift.io/v1', ...input }));
  return (await child).stdout;
}
const external = (name: string, from: string, given: object = {}) => ({
  kind: 'ImageStreamTag',
  metadata: { name },
  tag: { name: name.split(':')[1], from: { kind: 'DockerImage', name: from }, importPolicy: { insecure: true }, ...given },
});
const imageOf = (tag: string) => kubectl(`get istag ${tag} -o jsonpath={.image.metadata.name}`);

describe.runIf(hasTool('kubectl'))('images of a registry outside, with kubectl', () => {
  it('a tag that names one moves by itself, and fires the trigger that watches it', async () => {
    const made = await pushImage(outside.host, 'team/app', 'latest', makeImage('outside'));
    const { status } = await api.request('POST', `${TRIGGERS}/namespaces/${NS}/imagetriggers`, {
      apiVersion: 'triggers.millrace.dev/v1',
      kind: 'ImageTrigger',
      metadata: { name: 'deploy' },
      spec: {
        kind: 'Deploy',
        from: { kind: 'ImageStreamTag', name: 'app:latest' },
        webhooks: [{ name: 'hook', url: `${sink.url}/deploy`, secret: SECRET }],
      },
    });
    expect(status).toBe(201);
    await kubectl('create -f -', external('app:latest', `${outside.host}/team/app:latest`));

    await eventually(async () => expect(await imageOf('app:latest')).toBe(made), 20_000);
    await eventually(() => expect(sink.received).toHaveLength(1), 20_000);
    expect(JSON.parse(sink.received[0]?.body ?? '')).toMatchObject({
      data: { current: { image: made, dockerImageReference: `${outside.host}/team/app@${made}` }, cause: { kind: 'import' } },
    });
  });

  it('an import that is asked for moves it to what is there now, and one that brings the same moves nothing', async () => {
    const made = await pushImage(outside.host, 'team/app', 'latest', makeImage('outside, later'));
    const image = { from: { kind: 'DockerImage', name: `${outside.host}/team/app:latest` }, importPolicy: { insecure: true } };
    const object = { kind: 'ImageStreamImport', metadata: { name: 'app' }, spec: { import: true, images: [image] } };
    await kubectl('create -f -', object);
    await kubectl('create -f -', object);

    expect(await imageOf('app:latest')).toBe(made);
    await eventually(() => expect(sink.received).toHaveLength(2), 20_000);
    expect(await kubectl('get itag app:latest -o jsonpath={.status.items[*].image}')).toBe([made, makeImage('outside').digest].join(' '));
  });

  it('an index brings the image of one platform, or all of them, as its tag says', async () => {
    const index = makeIndex('outside index');
    await pushImage(outside.host, 'team/multi', 'latest', index);
    await kubectl('create -f -', external('multi:one', `${outside.host}/team/multi:latest`));
    const whole = { importPolicy: { insecure: true, importMode: 'PreserveOriginal' } };
    await kubectl('create -f -', external('multi:all', `${outside.host}/team/multi:latest`, whole));

    await eventually(async () => expect(await imageOf('multi:one')).toBe(index.images[0]?.digest), 20_000);
    await eventually(async () => expect(await imageOf('multi:all')).toBe(index.digest), 20_000);
  });

  it('an image that is not there is named in the condition of its tag', async () => {
    await kubectl('create -f -', external('app:nosuch', `${outside.host}/team/app:nosuch`));

    await eventually(async () => {
      const condition = await kubectl('get itag app:nosuch -o jsonpath={.status.conditions[0].reason}:{.status.conditions[0].message}');
      expect(condition).toBe(`NotFound:dockerimage.image.openshift.io "${outside.host}/team/app:nosuch" not found`);
    }, 20_000);
  });

  it('an image of the bundled registry is imported like any other', async () => {
    const made = await pushImage(product.registry, 'elsewhere/base', 'v1', makeImage('bundled'));
    await kubectl('create -f -', external('base:v1', `${product.registry}/elsewhere/base:v1`));

    await eventually(async () => expect(await imageOf('base:v1')).toBe(made), 20_000);
  });
});
