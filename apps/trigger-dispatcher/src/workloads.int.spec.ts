import { describe, expect, it } from 'vitest';
import { DispatcherBed } from '@millrace/testing/dispatcher-bed';
import { eventually } from '@millrace/testing/eventually';
import { aTag } from '@millrace/testing/image-trigger';
import { FollowedTags } from './followed-tags.ts';
import { service } from './main.ts';
import { Retention } from './retention.ts';
import { database } from './tables.ts';

/* eslint-disable @typescript-eslint/no-explicit-any -- answers are JSON, looked into at known places */
interface Answered {
  code: number;
  object: any;
  items: any[];
  continue?: string;
  remainingItemCount?: number;
  warnings?: string[];
}
const bed = new DispatcherBed<Answered>(service as never, database);
const create = (resource: string, object: object, more: object = {}) => bed.ask({ verb: 'create', resource, object, ...more });
const get = async (resource: string, name = 'web') => (await bed.ask({ verb: 'get', resource, name })).object;
const update = (resource: string, object: any, more: object = {}) =>
  bed.ask({ verb: 'update', resource, name: object.metadata.name, object, ...more });
const changed = async (resource: string, change: (object: any) => void, more: object = {}) => {
  const object = await get(resource);
  change(object);
  return update(resource, object, more);
};

const trigger = (over: object = {}) => ({
  from: aTag('app:latest'),
  fieldPath: 'spec.template.spec.containers[?(@.name=="web")].image',
  ...over,
});
const annotated = (triggers: unknown) => ({
  'image.openshift.io/triggers': typeof triggers === 'string' ? triggers : JSON.stringify(triggers),
});
const deployment = (triggers: unknown = [trigger()], name = 'web', image = 'placeholder') => ({
  metadata: { name, annotations: annotated(triggers), labels: { app: name } },
  spec: {
    replicas: 2,
    unheardOf: { kept: [1, null] },
    template: { spec: { containers: [{ name: 'web', image, ports: [{ containerPort: 80 }] }] } },
  },
});
const imageIn = (object: any): string => object.spec.template.spec.containers[0].image;

describe('a workload with the annotation', () => {
  it('is kept as it was sent, with the image that its tag means, and that is announced', async () => {
    const move = await bed.push('app:latest');

    const { code, object } = await create('deployments', deployment());

    expect(code).toBe(201);
    expect(object).toMatchObject({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: {
        namespace: bed.namespace,
        generation: 1,
        uid: expect.any(String),
        resourceVersion: expect.stringMatching(/^\d+$/),
        labels: { app: 'web' },
      },
      spec: {
        replicas: 2,
        unheardOf: { kept: [1, null] },
        template: {
          spec: { containers: [{ name: 'web', image: move.pullSpec, imagePullPolicy: 'Always', ports: [{ containerPort: 80 }] }] },
        },
      },
    });
    expect(await get('deployments')).toEqual(object);
    await eventually(() => expect(bed.eventsOf()).toHaveLength(1));
    expect(bed.eventsOf()[0]).toMatchObject({
      trigger: { namespace: bed.namespace, name: 'deployments.apps/web', uid: object.metadata.uid },
      stream: 'app',
      tag: 'latest',
      generation: 1,
      pullSpec: move.pullSpec,
      object: {
        kind: 'Deployment',
        name: 'web',
        generation: 1,
        patch: [{ op: 'add', path: '/spec/template/spec/containers/0/image', value: move.pullSpec }],
        containers: [{ name: 'web', image: move.pullSpec, imagePullPolicy: 'Always' }],
      },
    });
  });

  it('follows every move of its tag, in a new generation each, and a watch tells it', async () => {
    await bed.push('app:latest');
    const { object } = await create('deployments', deployment());

    const second = await bed.push('app:latest');
    await eventually(async () => expect(imageIn(await get('deployments'))).toBe(second.pullSpec));

    const now = await get('deployments');
    expect(now.metadata.generation).toBe(2);
    expect(Number(now.metadata.resourceVersion)).toBeGreaterThan(Number(object.metadata.resourceVersion));
    const changes = await bed.ask({
      verb: 'changes',
      resource: 'deployments',
      since: object.metadata.resourceVersion,
      waitMs: 0,
      limit: 10,
    });
    expect(changes).toMatchObject({ kind: 'changes', changes: [{ type: 'MODIFIED', object: now }] });
    await eventually(() => expect(bed.eventsOf().map(({ object }) => object?.generation)).toEqual([1, 2]));
  });

  it('waits for a tag that is not there yet', async () => {
    await create('deployments', deployment());

    const move = await bed.push('app:latest');

    await eventually(async () => expect(imageIn(await get('deployments'))).toBe(move.pullSpec));
  });

  it.each([
    ['statefulsets', 'spec.template.spec.', (spec: object) => ({ template: { spec } })],
    ['daemonsets', 'spec.template.spec.', (spec: object) => ({ template: { spec } })],
    ['cronjobs', 'spec.jobTemplate.spec.template.spec.', (spec: object) => ({ jobTemplate: { spec: { template: { spec } } } })],
  ])('may be one of %s', async (resource, base, specOf) => {
    const move = await bed.push('app:latest');

    const triggers = annotated([trigger({ fieldPath: `${base}containers[0].image` })]);
    const { object } = await create(resource, {
      metadata: { name: 'web', annotations: triggers },
      spec: specOf({ containers: [{ name: 'c', image: 'x' }] }),
    });

    expect(JSON.stringify(object.spec)).toContain(move.pullSpec);
  });

  it('follows tags of other namespaces, and each of several', async () => {
    const [own, other] = [await bed.push('app:latest'), await bed.tags.push(`${bed.namespace}-lib/shared:v1`)];
    const both = deployment([
      trigger(),
      trigger({
        from: { ...aTag('shared:v1'), namespace: `${bed.namespace}-lib` },
        fieldPath: 'spec.template.spec.initContainers[0].image',
      }),
    ]);
    await create('deployments', {
      ...both,
      spec: { template: { spec: { ...both.spec.template.spec, initContainers: [{ name: 'i', image: 'x' }] } } },
    });

    const moved = await bed.tags.push(`${bed.namespace}-lib/shared:v1`);

    await eventually(async () => {
      const { containers, initContainers } = (await get('deployments')).spec.template.spec;
      expect([containers[0].image, initContainers[0].image]).toEqual([own.pullSpec, moved.pullSpec]);
    });
    expect(other.pullSpec).not.toBe(moved.pullSpec);
  });

  it('is put back when somebody edits the image, unless its trigger is paused; afterwards it gets what it missed', async () => {
    const first = await bed.push('app:latest');
    await create('deployments', deployment());

    const edited = await changed('deployments', (object) => (object.spec.template.spec.containers[0].image = 'by-hand'));
    expect(imageIn(edited.object)).toBe(first.pullSpec);

    await changed('deployments', (object) => (object.metadata.annotations = annotated([trigger({ paused: true })])));
    const byHand = await changed('deployments', (object) => (object.spec.template.spec.containers[0].image = 'by-hand'));
    const second = await bed.push('app:latest');
    await bed.push('other:latest');
    await create('deployments', deployment([trigger({ from: aTag('other:latest') })], 'later'));
    expect(imageIn(byHand.object)).toBe('by-hand');
    expect(imageIn(await get('deployments'))).toBe('by-hand');

    const released = await changed('deployments', (object) => (object.metadata.annotations = annotated([trigger()])));
    expect(imageIn(released.object)).toBe(second.pullSpec);
  });

  it('that is applied again with its placeholder stays as it is, and nothing is announced', async () => {
    await bed.push('app:latest');
    const { object } = await create('deployments', deployment());

    const again = await update('deployments', deployment());

    expect(again.object).toEqual(object);
    await bed.push('app:latest');
    await eventually(() => expect(bed.eventsOf()).toHaveLength(2));
  });

  it('gets another text for the same image, and not an older one that comes late', async () => {
    const first = await bed.push('app:latest');
    await create('deployments', deployment());

    await bed.tags.pullBy(`${bed.namespace}/app:latest`, 'internal/app@1');
    await eventually(async () => expect(imageIn(await get('deployments'))).toBe('internal/app@1'));
    const second = await bed.push('app:latest');
    await eventually(async () => expect(imageIn(await get('deployments'))).toBe(second.pullSpec));

    await bed.tags.tell(first);
    const third = await bed.push('app:latest');
    await eventually(async () => expect(imageIn(await get('deployments'))).toBe(third.pullSpec));
    expect((await get('deployments')).metadata.generation).toBe(4);
  });

  it('stays as it is when a repeat of a move comes', async () => {
    const move = await bed.push('app:latest');
    await create('deployments', deployment());
    const { object } = await create('deployments', deployment([trigger({ from: aTag('other:v1') })], 'other'));

    await bed.tags.tell(move);
    await bed.push('other:v1');

    await eventually(async () => expect((await get('deployments', 'other')).metadata.generation).toBe(2));
    expect(object.metadata.generation).toBe(1);
    expect((await get('deployments')).metadata.generation).toBe(1);
  });

  it('follows no more when the annotation is gone, or it is deleted', async () => {
    const first = await bed.push('app:latest');
    await create('deployments', deployment());
    await create('deployments', deployment([trigger()], 'gone'));
    await create('deployments', deployment([trigger()], 'still'));
    await changed('deployments', (object) => (object.metadata.annotations = annotated('null')));
    expect((await bed.ask({ verb: 'delete', resource: 'deployments', name: 'gone' })).code).toBe(200);

    const second = await bed.push('app:latest');

    await eventually(async () => expect(imageIn(await get('deployments', 'still'))).toBe(second.pullSpec));
    expect(imageIn(await get('deployments'))).toBe(first.pullSpec);
    expect((await bed.ask({ verb: 'get', resource: 'deployments', name: 'gone' })).code).toBe(404);
  });
});

describe('an annotation that can do nothing', () => {
  it.each<[string, unknown, string]>([
    ['that is not JSON', '{not json', 'it is not JSON'],
    ['with two triggers of one path', [trigger(), trigger()], 'duplicate triggers are not allowed'],
    [
      'with a path to a container that is not there',
      [trigger({ fieldPath: 'spec.template.spec.containers[5].image' })],
      'no such container: spec.template.spec.containers[5].image',
    ],
    ['with a path that leads nowhere', [trigger({ fieldPath: 'spec.nope' })], 'field path is not below spec.template.spec.: spec.nope'],
    ['with another kind', [trigger({ from: { kind: 'Foo', name: 'app:latest' } })], 'kind "Foo" is not followed'],
  ])('%s is stored, and a warning and an annotation say why', async (_title, triggers, problem) => {
    await bed.push('other:v1');

    const { code, object, warnings } = await create('deployments', deployment(triggers));

    expect(code).toBe(201);
    expect(imageIn(object)).toBe('placeholder');
    expect(warnings).toEqual([expect.stringContaining(problem)]);
    expect(object.metadata.annotations['triggers.millrace.dev/problem']).toContain(problem);
  });

  it('holds up nobody else who follows the tag, and is well again when it is put right', async () => {
    await create('deployments', deployment([trigger({ fieldPath: 'spec.template.spec.containers[5].image' })]));
    await create('deployments', deployment([trigger()], 'fine'));

    const move = await bed.push('app:latest');
    await eventually(async () => expect(imageIn(await get('deployments', 'fine'))).toBe(move.pullSpec));

    const righted = await changed('deployments', (object) => Object.assign(object.metadata.annotations, annotated([trigger()])));
    expect(imageIn(righted.object)).toBe(move.pullSpec);
    expect(righted.warnings).toBeUndefined();
    expect(righted.object.metadata.annotations).toEqual(annotated([trigger()]));
  });
});

describe('images that are named by a stream', () => {
  it('are resolved where the stream is local, and stay where it is not', async () => {
    const move = await bed.push('app:v1');
    await bed.push('foreign:v1');
    bed.tags.local.add(`${bed.namespace}/app`);

    const { object } = await create('pods', {
      metadata: { name: 'p' },
      spec: {
        containers: [
          { name: 'a', image: 'app:v1' },
          { name: 'b', image: 'foreign:v1' },
          { name: 'c', image: 'app:later' },
        ],
      },
    });

    expect(object.spec.containers).toMatchObject([
      { image: move.pullSpec, imagePullPolicy: 'IfNotPresent' },
      { image: 'foreign:v1' },
      { image: `registry.example.com/${bed.namespace}/app:later` },
    ]);
  });

  it('are left to the annotation where the object asks for every stream', async () => {
    const move = await bed.push('foreign:v1');
    await create('replicasets', {
      metadata: { name: 'web' },
      spec: { template: { spec: { containers: [{ name: 'a', image: 'foreign:v1' }] } } },
    });

    const { object } = await changed(
      'replicasets',
      (one) => (one.metadata.annotations = { 'alpha.image.policy.openshift.io/resolve-names': '*' }),
    );

    expect(imageIn(object)).toBe(move.pullSpec);
  });
});

describe('a DeploymentConfig', () => {
  const config = (triggers: object[]) => ({
    metadata: { name: 'web' },
    spec: {
      triggers,
      template: {
        spec: {
          containers: [
            { name: 'web', image: 'x' },
            { name: 'log', image: 'y' },
          ],
        },
      },
    },
  });
  const imageChange = (name: string, container: string, over: object = {}) => ({
    type: 'ImageChange',
    imageChangeParams: { automatic: true, containerNames: [container], from: aTag(name), ...over },
  });

  it('changes nothing until every trigger has an image, and then all of it', async () => {
    const app = await bed.push('app:v1');
    const { object } = await create('deploymentconfigs', config([imageChange('app:v1', 'web'), imageChange('log:v1', 'log')]));
    expect(imageIn(object)).toBe('x');

    const log = await bed.push('log:v1');

    await eventually(async () => {
      const { spec } = await get('deploymentconfigs');
      expect(spec.template.spec.containers.map(({ image }: any) => image)).toEqual([app.pullSpec, log.pullSpec]);
      expect(spec.triggers.map((one: any) => one.imageChangeParams.lastTriggeredImage)).toEqual([app.pullSpec, log.pullSpec]);
    });
    await eventually(() =>
      expect(
        bed
          .eventsOf()
          .map(({ tag, stream }) => `${stream}:${tag}`)
          .sort(),
      ).toEqual(['app:v1', 'log:v1']),
    );
  });

  it('that is not automatic stays as it is', async () => {
    await bed.push('app:v1');

    const { object } = await create('deploymentconfigs', config([imageChange('app:v1', 'web', { automatic: false })]));

    expect(imageIn(object)).toBe('x');
  });
});

describe('a BuildConfig', () => {
  const config = (triggers: object[] = [{ type: 'ImageChange', imageChange: {} }]) => ({
    metadata: { name: 'web' },
    spec: {
      triggers,
      strategy: { sourceStrategy: { from: aTag('base:v1') } },
      output: { to: aTag('web:v1') },
    },
  });
  const names = async () => {
    const { items } = await bed.ask({ verb: 'list', resource: 'builds' });
    return items.map((build): string => build.metadata.name);
  };

  it('is built for each image of its tag, once, with all causes, and each build is announced', async () => {
    await bed.push('base:v1');
    const first = await create(
      'buildconfigs',
      config([
        { type: 'ImageChange', imageChange: {} },
        { type: 'ImageChange', imageChange: { from: aTag('tools:v1') } },
      ]),
    );
    expect(first.object.status).toMatchObject({ lastVersion: 1 });

    const tools = await bed.push('tools:v1');
    await eventually(async () => expect((await get('buildconfigs')).status.lastVersion).toBe(2));
    await bed.tags.tell(tools);
    const base = await bed.push('base:v1');
    await eventually(async () => expect((await get('buildconfigs')).status.lastVersion).toBe(3));

    expect(await names()).toEqual(['web-1', 'web-2', 'web-3']);
    expect((await get('builds', 'web-3')).spec).toMatchObject({
      strategy: { sourceStrategy: { from: { kind: 'DockerImage', name: base.pullSpec } } },
      triggeredBy: [{ message: 'Image change', imageChangeBuild: { imageID: base.pullSpec } }],
    });
    await eventually(() => expect(bed.builds.map(({ object }) => object?.build?.name)).toEqual(['web-1', 'web-2', 'web-3']));
    expect(bed.builds[2]).toMatchObject({ stream: 'base', trigger: { name: 'buildconfigs.build.openshift.io/web' } });
    expect((await get('buildconfigs')).metadata.generation).toBe(1);
  });

  it('is built on request, refuses a second build for an image, and takes its builds along when it goes', async () => {
    const base = await bed.push('base:v1');
    await create('buildconfigs', config([{ type: 'ImageChange', imageChange: { paused: true } }]));
    const instantiate = (object: object) => create('buildconfigs', object, { name: 'web', subresource: 'instantiate' });
    const request = { from: aTag('base:v1'), triggeredByImage: { kind: 'DockerImage', name: base.pullSpec } };

    expect(await instantiate(request)).toMatchObject({
      code: 201,
      object: { kind: 'Build', metadata: { name: 'web-1', namespace: bed.namespace }, status: { phase: 'New' } },
    });
    expect(await instantiate(request)).toMatchObject({
      code: 409,
      object: {
        message: expect.stringContaining(`build config ${bed.namespace}/web has already instantiated a build for imageid ${base.pullSpec}`),
      },
    });
    expect(await instantiate({})).toMatchObject({ code: 201, object: { metadata: { name: 'web-2' } } });

    await bed.ask({ verb: 'delete', resource: 'buildconfigs', name: 'web' });
    expect(await names()).toEqual([]);
  });

  it('keeps its last ten builds, and its count when it is replaced', async () => {
    await create('buildconfigs', config([]));
    for (let i = 0; i < 12; i++) await create('buildconfigs', {}, { name: 'web', subresource: 'instantiate' });

    await update('buildconfigs', config([]));

    expect((await get('buildconfigs')).status.lastVersion).toBe(12);
    expect((await names()).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))).toEqual(
      Array.from({ length: 10 }, (_, i) => `web-${i + 3}`),
    );
  });
});

describe('writing', () => {
  it('with the version of an older state is a conflict; without one it is taken', async () => {
    const { object } = await create('deployments', deployment([]));
    await changed('deployments', (one) => (one.spec.replicas = 3));

    expect((await update('deployments', { ...object, spec: {} })).code).toBe(409);
    expect((await update('deployments', deployment([]))).object.spec.replicas).toBe(2);
  });

  it('of the status changes nothing else, and a write of the rest leaves the status', async () => {
    await create('deployments', deployment([]));

    await changed('deployments', (one) => Object.assign(one, { status: { readyReplicas: 2 }, spec: {} }), { subresource: 'status' });
    const { object } = await update('deployments', { ...deployment([]), status: { readyReplicas: 9 } });

    expect(object).toMatchObject({ metadata: { generation: 1 }, spec: { replicas: 2 }, status: { readyReplicas: 2 } });
  });

  it('as a rehearsal leaves nothing, and tells nothing', async () => {
    await bed.push('app:latest');

    const { code, object } = await create('deployments', deployment(), { dryRun: true });

    expect(code).toBe(201);
    expect(imageIn(object)).toContain('registry.example.com');
    expect((await bed.ask({ verb: 'get', resource: 'deployments', name: 'web' })).code).toBe(404);
    expect(bed.eventsOf()).toEqual([]);
  });

  it('refuses a name that is none, and one that is taken', async () => {
    expect(await create('deployments', deployment([], 'No_Name'))).toMatchObject({ code: 422, object: { reason: 'Invalid' } });
    await create('deployments', deployment([]));
    expect(await create('deployments', deployment([]))).toMatchObject({ code: 409, object: { reason: 'AlreadyExists' } });
    expect((await create('statefulsets', deployment([]))).code).toBe(201);
  });

  it.each([
    [{ name: 'a', labels: 7 }, 'metadata.labels: '],
    ['a', 'metadata: '],
  ])('refuses the metadata %j with the place that is wrong', async (metadata, where) => {
    expect(await create('pods', { metadata })).toMatchObject({
      code: 400,
      object: { message: expect.stringContaining(`Pod in version "v1" cannot be handled as a Pod: ${where}`) as string },
    });
  });

  it('refuses an object that names more tags than can be asked about', async () => {
    const containers = Array.from({ length: 501 }, (_, i) => ({ name: `c${i}`, image: `stream-${i}` }));

    expect(await create('pods', { metadata: { name: 'p' }, spec: { containers } })).toMatchObject({
      code: 400,
      object: { message: 'the object names 501 tags of image streams; it may name at most 500' },
    });
  });

  it('lists by resource, selector and page', async () => {
    for (const name of ['a', 'b', 'c']) await create('deployments', deployment([], name));
    await create('pods', { metadata: { name: 'a' }, spec: {} });
    const list = async (more: object) => {
      const { items, ...page } = await bed.ask({ verb: 'list', resource: 'deployments', ...more });
      return { names: items.map((one): string => one.metadata.name), next: page.continue, left: page.remainingItemCount };
    };

    expect((await list({})).names).toEqual(['a', 'b', 'c']);
    expect((await list({ labelSelector: 'app in (a,c)' })).names).toEqual(['a', 'c']);
    const page = await list({ limit: 2 });
    expect(page).toMatchObject({ names: ['a', 'b'], left: 1 });
    expect((await list({ limit: 2, continue: page.next })).names).toEqual(['c']);
  });

  it('of what follows tags waits for tag-store, and of everything else does not', async () => {
    const { answer } = bed.tags;
    bed.tags.answer = () => {
      throw new Error('away');
    };
    try {
      expect(await create('deployments', deployment())).toMatchObject({ code: 503 });
      expect((await create('deployments', deployment([], 'web', 'ext.io/a/b:1'))).code).toBe(201);
    } finally {
      bed.tags.answer = answer;
    }
  });
});

describe('a tag that no workload follows any more', () => {
  it('is forgotten after a while, and remembered as long as one does or begins to', async () => {
    const following = (tag: string) => trigger({ from: aTag(tag) });
    await create('deployments', deployment([following('app:gone')], 'gone'));
    await create('deployments', deployment([following('app:left')], 'left'));
    await create('deployments', deployment([following('app:again')], 'again'));
    for (const name of ['gone', 'again']) await bed.ask({ verb: 'delete', resource: 'deployments', name });
    await bed.store.query("UPDATE followed_tag SET noted = now() - interval '3 hours' WHERE namespace = $1", [bed.namespace]);
    await bed.dispatcher.app.get(FollowedTags).ask([{ namespace: bed.namespace, stream: 'app', tag: 'again' }], []);

    await bed.dispatcher.app.get(Retention).clean(new AbortController().signal);

    const known = await bed.store.query<{ tag: string }>('SELECT tag FROM followed_tag WHERE namespace = $1 ORDER BY tag', [bed.namespace]);
    expect(known.map(({ tag }) => tag)).toEqual(['again', 'left']);
  });
});
