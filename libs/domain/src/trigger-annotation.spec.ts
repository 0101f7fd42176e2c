import { describe, expect, it } from 'vitest';
import { defaultPullPolicy, withPullPolicies } from './pod-template.ts';
import {
  annotationProblems,
  askedByAnnotation,
  followedByAnnotation,
  indexTriggers,
  processAnnotation,
  tagKey,
} from './trigger-annotation.ts';

const BY_NAME = 'spec.template.spec.containers[?(@.name=="web")].image';
const trigger = (over: object = {}) => ({ from: { kind: 'ImageStreamTag', name: 'app:latest' }, fieldPath: BY_NAME, ...over });
const deployment = (annotation: unknown, image = 'x') => ({
  metadata: {
    name: 'web',
    namespace: 'demo',
    annotations: { 'image.openshift.io/triggers': typeof annotation === 'string' ? annotation : JSON.stringify(annotation) },
  },
  spec: { template: { spec: { containers: [{ name: 'web', image }], initContainers: [{ name: 'init', image: 'y' }] } } },
});
const resolve = (tag: { namespace: string; stream: string; tag: string }) =>
  ({ 'demo/app:latest': 'reg/app@1', 'other/app:v1': 'reg/other@2' })[tagKey(tag)];

describe('what an annotation does to its object', () => {
  it.each<[string, object[], string]>([
    ['sets the image of the container that a path names', [trigger()], '/spec/template/spec/containers/0/image=reg/app@1'],
    [
      'finds init containers by name in the list of containers',
      [trigger({ fieldPath: BY_NAME.replace('web', 'init') })],
      '/spec/template/spec/initContainers/0/image=reg/app@1',
    ],
    [
      'takes an index of the list that it names',
      [trigger({ fieldPath: 'spec.template.spec.initContainers[0].image' })],
      '/spec/template/spec/initContainers/0/image=reg/app@1',
    ],
    [
      'takes a tag of another namespace',
      [trigger({ from: { kind: 'ImageStreamTag', name: 'app:v1', namespace: 'other' } })],
      '/spec/template/spec/containers/0/image=reg/other@2',
    ],
    [
      'takes a name without a tag for latest',
      [trigger({ from: { kind: 'ImageStreamTag', name: 'app' } })],
      '/spec/template/spec/containers/0/image=reg/app@1',
    ],
    [
      'leaves out what is below no pod template',
      [trigger({ fieldPath: 'spec.nope' }), trigger()],
      '/spec/template/spec/containers/0/image=reg/app@1',
    ],
  ])('%s', (_title, triggers, expected) => {
    const processed = processAnnotation('Deployment', deployment(triggers), resolve);

    expect(processed.kind === 'changed' && processed.changes.map(({ pointer, image }) => `${pointer}=${image}`).join()).toBe(expected);
  });

  it.each<[string, unknown, string]>([
    [
      'refuses a path that does not end in image',
      [trigger({ fieldPath: 'spec.template.spec.containers[0].name' })],
      'field path is not valid: spec.template.spec.containers[0].name',
    ],
    [
      'refuses a path to what is no container',
      [trigger({ fieldPath: 'spec.template.spec.volumes[0].image' })],
      'no such container: spec.template.spec.volumes[0].image',
    ],
    [
      'refuses a path into a container',
      [trigger({ fieldPath: 'spec.template.spec.containers[0].env.image' })],
      'field path is not valid: spec.template.spec.containers[0].env.image',
    ],
    ['refuses two triggers for one path', [trigger(), trigger()], 'duplicate triggers are not allowed'],
    ['refuses what is not JSON', '{not json', 'it is not JSON: '],
    ['refuses a flag that is a text', [trigger({ paused: 'true' })], '0.paused: '],
    ['refuses what is no list', '{}', 'it: '],
    [
      'changes nothing of the object where one path is wrong',
      [trigger(), trigger({ fieldPath: 'spec.template.spec.containers[7].image' })],
      'no such container: spec.template.spec.containers[7].image',
    ],
  ])('%s', (_title, annotation, reason) => {
    const processed = processAnnotation('Deployment', deployment(annotation), resolve);

    expect(processed).toEqual({ kind: 'refused', reason: expect.stringContaining(reason) as string });
    expect(annotationProblems('Deployment', deployment(annotation))).toEqual([expect.stringContaining(reason)]);
  });

  it.each<[string, string, unknown]>([
    ['an image that is right already', 'reg/app@1', [trigger()]],
    ['a paused trigger', 'x', [trigger({ paused: true })]],
    ['a tag that means nothing yet', 'x', [trigger({ from: { kind: 'ImageStreamTag', name: 'later:v1' } })]],
    ['JSON null, which oc writes for no triggers', 'x', 'null'],
  ])('leaves alone %s', (_title, image, annotation) => {
    expect(processAnnotation('Deployment', deployment(annotation, image), resolve)).toEqual({ kind: 'unchanged' });
  });

  it('does not touch the object that it was given', () => {
    const object = deployment([trigger()]);

    processAnnotation('Deployment', object, resolve);

    expect(object).toEqual(deployment([trigger()]));
  });

  it('means nothing on a kind that follows no tags', () => {
    expect(processAnnotation('Job', deployment([trigger()]), resolve)).toEqual({ kind: 'unchanged' });
    expect(annotationProblems('Job', deployment([trigger()]))).toEqual([expect.stringContaining('a Job follows no tags')]);
  });
});

describe('what is followed', () => {
  it.each<[string, object[], string[], string[]]>([
    [
      'a tag is followed once',
      [trigger(), trigger({ fieldPath: BY_NAME.replace('web', 'init') })],
      ['demo/app:latest'],
      ['demo/app:latest'],
    ],
    ['a paused trigger follows nothing', [trigger({ paused: true })], [], []],
    ['another kind is looked up, and not followed', [trigger({ from: { kind: 'Foo', name: 'app:latest' } })], [], ['demo/app:latest']],
    ['an apiVersion too', [trigger({ from: { kind: 'ImageStreamTag', name: 'app:latest', apiVersion: 'v1' } })], [], ['demo/app:latest']],
  ])('%s', (_title, triggers, followed, asked) => {
    expect(followedByAnnotation('Deployment', deployment(triggers)).map(tagKey)).toEqual(followed);
    expect(askedByAnnotation('Deployment', deployment(triggers)).map(tagKey)).toEqual(asked);
  });
});

describe('whether a change of an object calls for a look at its triggers', () => {
  it.each<[string, object | undefined, object | undefined, string]>([
    ['a new object does', deployment([trigger()]), undefined, 'Added'],
    ['another image does', deployment([trigger()], 'x'), deployment([trigger()], 'y'), 'Updated'],
    ['other triggers do', deployment([trigger({ paused: true })]), deployment([trigger()]), 'Updated'],
    ['triggers that could not be read before do', deployment([trigger()]), deployment('{'), 'Added'],
    ['the same does not', deployment([trigger()]), deployment([trigger()]), ''],
    [
      'another image of a container that no trigger names does not',
      { ...deployment([trigger()]), status: { replicas: 1 } },
      deployment([trigger()]),
      '',
    ],
  ])('%s', (_title, object, old, change) => {
    expect(indexTriggers('Deployment', object as never, old as never)).toMatchObject({ kind: 'indexed', change });
  });
});

describe('the default of imagePullPolicy', () => {
  it.each([
    ['app', 'Always'],
    ['app:latest', 'Always'],
    ['reg.io:5000/a/b', 'Always'],
    ['app:v1', 'IfNotPresent'],
    [`app@sha256:${'a'.repeat(64)}`, 'IfNotPresent'],
    [' ', 'IfNotPresent'],
  ])('of %j is %s', (image, policy) => {
    expect(defaultPullPolicy(image)).toBe(policy);
  });

  it('is filled in where there is none, and nowhere else', () => {
    const filled = withPullPolicies('Pod', { spec: { containers: [{ image: 'app:v1' }, { image: 'app:v1', imagePullPolicy: 'Always' }] } });

    expect(filled.spec.containers.map((container) => (container as { imagePullPolicy?: string }).imagePullPolicy)).toEqual([
      'IfNotPresent',
      'Always',
    ]);
  });
});
