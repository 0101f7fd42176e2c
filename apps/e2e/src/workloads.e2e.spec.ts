import { spawn } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiClient, type ApiClient } from '@millrace/testing/client';
import { eventually } from '@millrace/testing/eventually';
import { startProduct, type Product } from '@millrace/testing/product';
import { hasTool } from '@millrace/testing/tools';

const STREAMS = '/apis/image.openshift.io/v1/namespaces/team';
const digest = (letter: string) => `sha256:${letter.repeat(64)}`;

let product: Product;
let api: ApiClient;

beforeAll(async () => {
  product = await startProduct();
  api = apiClient(product);
}, 120_000);
afterAll(async () => {
  await api.close();
  await product.stop();
  product.remove();
});

/** Runs kubectl; what it writes to stderr comes after what it writes to stdout. */
async function kubectl(args: string, input?: object): Promise<string> {
  const child = spawn('kubectl', ['--kubeconfig', product.kubeconfig, '-n', 'team', ...args.split(' ')], { timeout: 60_000 });
  const said = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.err += text));
  child.stdin.end(input && JSON.stringify(input));
  await new Promise((resolve) => child.once('close', resolve));
  return said.out + said.err;
}

async function push(letter: string): Promise<string> {
  const image = { metadata: { name: digest(letter) }, dockerImageReference: `e.io/team/app@${digest(letter)}` };
  const { status } = await api.request('POST', `${STREAMS}/imagestreammappings`, { metadata: { name: 'app' }, tag: 'latest', image });
  expect(status).toBe(201);
  return image.dockerImageReference;
}

const triggers = (fieldPath: string) => JSON.stringify([{ from: { kind: 'ImageStreamTag', name: 'app:latest' }, fieldPath }]);
const manifest = (annotation: string) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', annotations: { 'image.openshift.io/triggers': annotation } },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: 'web' } },
    template: {
      metadata: { labels: { app: 'web' } },
      spec: {
        containers: [
          { name: 'web', image: 'app:latest', ports: [{ containerPort: 8080 }] },
          { name: 'log', image: 'e.io/log:1' },
        ],
      },
    },
  },
});
const BY_NAME = 'spec.template.spec.containers[?(@.name=="web")].image';
const images = () => kubectl('get deploy web -o jsonpath={.spec.template.spec.containers[*].image}');

describe.runIf(hasTool('kubectl'))('a Deployment that follows a tag', () => {
  it('is applied as it is, gets the image of each push, and shows it', async () => {
    await api.request('POST', `${STREAMS}/imagestreams`, { metadata: { name: 'app' } });
    const first = await push('a');

    expect(await kubectl('apply -f -', manifest(triggers(BY_NAME)))).toBe('deployment.apps/web created\n');
    expect(await images()).toBe(`${first} e.io/log:1`);

    const second = await push('b');
    await eventually(
      async () => expect(await kubectl('get deploy -o wide')).toContain(`web,log      ${second},e.io/log:1   app=web`),
      20_000,
    );
    expect(await kubectl('get deploy web -o jsonpath={.metadata.generation}')).toBe('2');
  });

  it('applied again, with its placeholder, keeps the image of its tag', async () => {
    const before = await images();

    await kubectl('apply -f -', manifest(triggers(BY_NAME)));
    expect(await images()).toBe(before);
    expect(await kubectl('apply --server-side --force-conflicts -f -', manifest(triggers(BY_NAME)))).toContain('serverside-applied');
    expect(await kubectl('apply --server-side -f -', manifest(triggers(BY_NAME)))).toContain('serverside-applied');
    expect(await images()).toBe(before);
  });

  it('is brought to another pull spec by the reference policy, without a push', async () => {
    const local = JSON.stringify({ spec: { tags: [{ name: 'latest', referencePolicy: { type: 'Local' } }] } });

    expect(await kubectl(`patch is app -p ${local}`)).toContain('patched');

    await eventually(async () => expect(await images()).toBe(`${product.registry}/team/app@${digest('b')} e.io/log:1`), 20_000);
  });

  it('whose annotation is wrong is taken with a warning, and says so afterwards', async () => {
    expect(await kubectl('apply -f -', manifest(triggers('spec.nope')))).toContain(
      'Warning: its triggers, or some of them, do nothing: field path',
    );
    expect(await kubectl('describe deploy web')).toMatch(
      /triggers.millrace.dev\/problem: field path is not below spec.template.spec.: spec.nope/,
    );
  });
});

describe.runIf(hasTool('kubectl'))('an image that is named by a stream', () => {
  it('is resolved where the stream says that it is local', async () => {
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'once' }, spec: { containers: [{ name: 'c', image: 'app' }] } };
    await kubectl('patch is app -p {"spec":{"lookupPolicy":{"local":true}}}');

    expect(await kubectl('apply -f -', pod)).toBe('pod/once created\n');
    expect(await kubectl('get pod once -o jsonpath={.spec.containers[0].image}')).toMatch(/\/app@sha256:b{64}$/);
  });
});

describe.runIf(hasTool('kubectl'))('a BuildConfig', () => {
  it('gets a build for each push, and goes with its namespace', async () => {
    const from = { kind: 'ImageStreamTag', name: 'app:latest' };
    const spec = { triggers: [{ type: 'ImageChange', imageChange: {} }], strategy: { dockerStrategy: { from } } };
    expect(
      await kubectl('apply -f -', { apiVersion: 'build.openshift.io/v1', kind: 'BuildConfig', metadata: { name: 'b' }, spec }),
    ).toContain('created');
    await push('c');

    await eventually(
      async () => expect(await kubectl('get builds -o name')).toBe('build.build.openshift.io/b-1\nbuild.build.openshift.io/b-2\n'),
      20_000,
    );
    expect(await kubectl('get bc')).toMatch(/^b +Docker +2$/m);
    const request = { kind: 'BuildRequest', apiVersion: 'build.openshift.io/v1', metadata: { name: 'b' } };
    const started = await api.request('POST', '/apis/build.openshift.io/v1/namespaces/team/buildconfigs/b/instantiate', request);
    expect(started).toMatchObject({ status: 201, json: { kind: 'Build', metadata: { name: 'b-3' }, status: { phase: 'New' } } });

    await kubectl('delete ns team');
    expect(await kubectl('get all -o name')).toBe('');
  });
});
