import { describe, expect, it } from 'vitest';
import { eventually } from '@millrace/testing/eventually';
import { digest, ProductBed } from '@millrace/testing/product-bed';
import { hasTool } from '@millrace/testing/tools';

const bed = new ProductBed();
const kubectl = bed.kubectl('team');
const push = (letter: string) => bed.push('team/app:latest', letter);
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
    await bed.stream('team/app');
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

    await eventually(async () => expect(await images()).toBe(`${bed.product.registry}/team/app@${digest('b')} e.io/log:1`), 20_000);
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
    const started = await bed.api.request('POST', '/apis/build.openshift.io/v1/namespaces/team/buildconfigs/b/instantiate', request);
    expect(started).toMatchObject({ status: 201, json: { kind: 'Build', metadata: { name: 'b-3' }, status: { phase: 'New' } } });

    await kubectl('delete ns team');
    expect(await kubectl('get all -o name')).toBe('');
  });
});
