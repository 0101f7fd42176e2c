import { spawn } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiClient, type ApiClient } from '@millrace/testing/client';
import { eventually } from '@millrace/testing/eventually';
import { startProduct, type Product } from '@millrace/testing/product';
import { hasTool } from '@millrace/testing/tools';

const STREAMS = '/apis/image.openshift.io/v1/namespaces/team';
const TRIGGERS = '/apis/triggers.millrace.dev/v1/namespaces/team/imagetriggers';
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

async function push(letter: string): Promise<void> {
  const image = { metadata: { name: digest(letter) }, dockerImageReference: `e.io/team/app@${digest(letter)}` };
  const { status } = await api.request('POST', `${STREAMS}/imagestreammappings`, { metadata: { name: 'app' }, tag: 'latest', image });
  expect(status).toBe(201);
}

const manifest = (spec: object) => ({
  apiVersion: 'triggers.millrace.dev/v1',
  kind: 'ImageTrigger',
  metadata: { name: 'deploy' },
  spec: { kind: 'Deploy', from: { kind: 'ImageStreamTag', name: 'app:latest' }, ...spec },
});
const explanation = (spec: object) => ({
  apiVersion: 'triggers.millrace.dev/v1',
  kind: 'Explanation',
  spec: { from: { name: 'app:latest' }, ...spec },
});

describe.runIf(hasTool('kubectl'))('a trigger that holds changes back', () => {
  it('is applied, tells what waits and why, is explained, and is released and approved', { timeout: 60_000 }, async () => {
    await api.request('POST', `${STREAMS}/imagestreams`, { metadata: { name: 'app' } });
    const held = { hold: { reason: 'back to what worked' }, approval: { within: '24h' }, storm: { firings: 20, within: '1h' } };
    expect(await kubectl('apply -f -', manifest(held))).toBe('imagetrigger.triggers.millrace.dev/deploy created\n');
    expect(await kubectl('apply -f -', manifest(held))).toBe('imagetrigger.triggers.millrace.dev/deploy unchanged\n');
    for (const letter of ['a', 'b', 'c']) await push(letter);

    await eventually(
      async () => expect(await kubectl('get imagetriggers')).toMatch(/deploy +app:latest +Deploy +Waiting +#3 \(\+2\) +0/),
      20_000,
    );
    expect(await kubectl('get imagetriggers -o wide')).toContain('Held,AwaitingApproval');
    const described = await kubectl('describe imagetrigger deploy');
    for (const text of ['held until it is released: back to what worked', 'Superseded', digest('b'), '0 of 1 have approved it'])
      expect(described).toContain(text);
    const explained = await kubectl('create -f - -o yaml', explanation({}));
    expect(explained).toMatch(/decision: Waiting\n.*kind: ImageTrigger\n.*name: deploy/);
    expect(await kubectl('create -f - -o jsonpath={.status.counts}', explanation({ image: digest('d') }))).toBe(
      '{"imagetriggers":{"Waiting":1},"workloads":{}}',
    );

    expect(await kubectl(`create --raw ${TRIGGERS}/deploy/release?dryRun=All -f /dev/null`)).toContain('"ended":["hold"]');
    expect(await kubectl(`create --raw ${TRIGGERS}/deploy/release -f /dev/null`)).toContain('"decision":"Waiting"');
    const wrong = await kubectl(`create --raw ${TRIGGERS}/deploy/approve -f -`, { verdict: 'Approve', generation: 2 });
    expect(wrong).toContain(`generation 2 does not wait: generation 3 (${digest('c')}) has been waiting since`);
    expect(await kubectl(`create --raw ${TRIGGERS}/deploy/approve -f -`, { verdict: 'Approve', generation: 3 })).toContain(
      '"decision":"Fired"',
    );

    expect(await kubectl('get imagetrigger deploy -o jsonpath={.status.phase},{.status.lastTriggered.generation},{.spec.hold}')).toBe(
      'Active,3,',
    );
    expect(await kubectl('apply -f -', manifest({ minimumAge: 'soon' }))).toContain(
      'spec.minimumAge: Invalid value: "soon": must be an interval',
    );
    expect(await kubectl('explain imagetrigger.spec.storm')).toContain('How many firings are let through in the period');
  });
});
