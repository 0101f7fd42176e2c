import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildCauses, instantiate } from './build-config.ts';
import { tagsNamedIn, withLocalNames } from './local-names.ts';
import { withPullPolicies, type Fields } from './pod-template.ts';
import { askedTags, followedTags, isNewer, pausedTags, respecified, type TagState, triggered, triggerProblems } from './workload.ts';

const state = (generation: number, streamUid = 'a', second = generation): TagState => ({
  streamUid,
  generation,
  movedAt: new Date(Date.UTC(2026, 10, 20, 9, 0, second)).toISOString(),
});

describe('whether what is told of a tag is newer than what is known', () => {
  it.each<[string, TagState | undefined, TagState, boolean, boolean]>([
    ['of a tag of which nothing is known', undefined, state(1), true, true],
    ['the next move', state(1), state(2), true, true],
    ['a move before it', state(3), state(2), false, false],
    ['the same move, of which only the pull spec can be news', state(2), state(2), false, true],
    ['a move of the stream that was made in its place', state(9), state(1, 'b', 10), true, true],
    ['a move of the stream that was there before', state(1, 'b', 10), state(9), false, false],
  ])('%s', (_title, known, told, move, pullSpec) => {
    expect(isNewer(known, told, { repeats: true })).toBe(move);
    expect(isNewer(known, told, { repeats: false })).toBe(pullSpec);
  });
});

describe('whether a write is another generation', () => {
  const object = (over: object = {}) => ({
    metadata: { annotations: { a: '1' } },
    spec: { replicas: 1 },
    status: { replicas: 1 },
    ...over,
  });

  it.each<[string, string, object, boolean]>([
    ['another spec is', 'StatefulSet', { spec: { replicas: 2 } }, true],
    ['another status is not', 'StatefulSet', { status: {} }, false],
    ['another annotation is not', 'StatefulSet', { metadata: { annotations: { a: '2' } } }, false],
    ['another annotation of a Deployment is', 'Deployment', { metadata: { annotations: { a: '2' } } }, true],
    ['another label of a Deployment is not', 'Deployment', { metadata: { annotations: { a: '1' }, labels: { b: '1' } } }, false],
  ])('%s', (_title, kind, over, expected) => {
    expect(respecified(kind, object(), object(over))).toBe(expected);
  });
});

describe('a tag that an object would follow', () => {
  const from = { kind: 'ImageStreamTag', name: 'web:latest' };
  const annotated = (paused: boolean) => ({
    metadata: {
      namespace: 'demo',
      annotations: {
        'image.openshift.io/triggers': JSON.stringify([{ from, fieldPath: 'spec.template.spec.containers[0].image', paused }]),
      },
    },
  });
  const triggers = (...given: object[]) => ({ metadata: { namespace: 'demo' }, spec: { triggers: given } });

  it.each<[string, Fields, boolean]>([
    ['Deployment', annotated(true), true],
    ['Deployment', annotated(false), false],
    ['DeploymentConfig', triggers({ type: 'ImageChange', imageChangeParams: { from } }), true],
    ['DeploymentConfig', triggers({ type: 'ImageChange', imageChangeParams: { from, automatic: true } }), false],
    ['BuildConfig', triggers({ type: 'ImageChange', imageChange: { from, paused: true } }), true],
    ['BuildConfig', triggers({ type: 'ImageChange', imageChange: { from } }), false],
  ])('is one of a %s %j: %s', (kind, object, isPaused) => {
    const tags = [{ namespace: 'demo', stream: 'web', tag: 'latest' }];

    expect(pausedTags(kind, object)).toEqual(isPaused ? tags : []);
    expect(followedTags(kind, object)).toEqual(isPaused ? [] : tags);
  });
});

describe('an object of which nothing is known', () => {
  const KINDS = ['Deployment', 'CronJob', 'Pod', 'Job', 'DeploymentConfig', 'BuildConfig', 'Build', '__proto__'];
  const KEYS = [
    ...[
      'metadata',
      'annotations',
      'namespace',
      'name',
      'ownerReferences',
      'controller',
      'labels',
      'spec',
      'template',
      'jobTemplate',
      'status',
    ],
    ...[
      'containers',
      'initContainers',
      'image',
      'imagePullPolicy',
      'triggers',
      'type',
      'imageChange',
      'imageChangeParams',
      'automatic',
      'from',
    ],
    ...['kind', 'containerNames', 'lastTriggeredImage', 'strategy', 'dockerStrategy', 'imageChangeTriggers', 'lastVersion'],
    ...['image.openshift.io/triggers', 'alpha.image.policy.openshift.io/resolve-names', '__proto__', 'constructor'],
  ];
  const TEXTS = [
    '',
    'app',
    'app:v1',
    '*',
    'ImageChange',
    'ImageStreamTag',
    '[{"from":{"name":"app"},"fieldPath":"spec.template.spec.containers[0].image"}]',
    '[{}]',
    '[null]',
    '{',
  ];
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'medium', maxDepth: 7 },
      fc.constantFrom<unknown>(...TEXTS, null, true, 0, 3),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...KEYS), tie('value'), { maxKeys: 5 }),
    ),
  }));
  const object = fc.dictionary(fc.constantFrom(...KEYS), value, { maxKeys: 6 }) as fc.Arbitrary<Fields>;

  it('is judged without an error, whatever is in it', () => {
    fc.assert(
      fc.property(fc.constantFrom(...KINDS), object, object, (kind, one, other) => {
        const resolve = () => 'reg/app@1';
        followedTags(kind, one);
        askedTags(kind, one);
        pausedTags(kind, one);
        triggerProblems(kind, one);
        triggered(kind, one, resolve);
        respecified(kind, one, other);
        tagsNamedIn(kind, one, other);
        withLocalNames(kind, withPullPolicies(kind, one), other, () => ({ local: true, repository: 'reg/app' }));
        instantiate(one, { from: { kind: 'ImageStreamTag', name: 'app' } }, resolve, '2026-11-20T09:00:00Z');
        expect(buildCauses(one, resolve).length).toBeLessThan(100);
      }),
      { numRuns: 3_000 },
    );
  });
});
