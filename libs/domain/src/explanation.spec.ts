import { describe, expect, it } from 'vitest';
import { Explanation, type ExplainedTrigger, explainTrigger, explainWorkload, validateExplanation } from './explanation.ts';
import type { Fields } from './pod-template.ts';
import { decideMove, type ControlMemory, type MovedTo } from './pending-change.ts';
import { TriggerControl } from './trigger-control.ts';

const NOW = new Date('2026-01-02T12:00:00Z');
const OPEN = () => ({ open: true });
const imageOf = (generation: number): string => `sha256:${String(generation).padStart(64, '0')}`;
const move = (generation: number, streamUid = 'a'): MovedTo => ({
  streamUid,
  generation,
  movedAt: new Date(NOW.getTime() + generation).toISOString(),
  image: imageOf(generation),
});
/** A trigger to which these moves have come. */
function after(given: object, ...generations: number[]): ExplainedTrigger {
  const control = TriggerControl.parse(given);
  let memory: ControlMemory = {};
  for (const generation of generations) {
    const step = decideMove(control, [], memory, move(generation), { now: NOW, window: { open: true } });
    if (step.kind !== 'ignore') ({ memory } = step);
  }
  const { fired } = memory;
  return { control, planned: fired ? [fired] : [], memory, ...(fired ? { fired } : {}) };
}

describe('what a trigger does about a move', () => {
  it.each<[string, ExplainedTrigger, MovedTo, object]>([
    ['fires at once', after({}), move(1), { decision: 'WouldFire', reason: 'nothing held it back' }],
    ['has fired', after({}, 1, 2), move(2), { decision: 'AlreadyFired', reason: 'generation 2 has fired' }],
    [
      'began after it',
      { ...after({}), planned: [move(3)] },
      move(3),
      { decision: 'CameBefore', reason: 'the tag stood there when the trigger began to follow it' },
    ],
    ['is paused', after({ paused: true }), move(1), { decision: 'Waiting', blockers: [{ reason: 'Paused', message: 'paused' }] }],
    [
      'waits until it is old enough',
      after({ minimumAge: '1h' }),
      move(1),
      { decision: 'Waiting', blockers: [{ reason: 'TooYoung' }], then: { decision: 'WouldFire', at: '2026-01-02T13:00:00.000Z' } },
    ],
    [
      'waits for people until the deadline',
      after({ approval: { within: '2h' }, minimumAge: '1h' }, 1),
      move(1),
      { decision: 'Waiting', then: { decision: 'Expired', at: '2026-01-02T14:00:00.000Z' } },
    ],
    ['waits with a newer one', after({ hold: {} }, 1, 2), move(1), { decision: 'Superseded', reason: 'by 2, which waits' }],
    ['has denied it', after({ deny: [{ image: imageOf(2) }] }, 1, 2), move(2), { decision: 'Denied', reason: `${imageOf(2)} is denied` }],
    ['would deny it', after({ deny: [{ image: imageOf(2) }] }, 1), move(2), { decision: 'Denied' }],
    ['is a dry run', after({ dryRun: true }), move(1), { decision: 'DryRun' }],
    ['is stopped', after({ storm: { firings: 1, within: '1h' } }, 1, 2), move(3), { decision: 'Waiting', blockers: [{ reason: 'Storm' }] }],
  ])('%s', (_, trigger, moved, expected) => {
    expect(explainTrigger(trigger, moved, NOW, OPEN)).toMatchObject(expected);
  });
});

describe('what happens to a workload', () => {
  const tag = { namespace: 'demo', stream: 'web', tag: 'latest' };
  const deployment = (image: string, trigger: object = {}): Fields => ({
    kind: 'Deployment',
    metadata: {
      namespace: 'demo',
      name: 'web',
      annotations: {
        'image.openshift.io/triggers': JSON.stringify([
          {
            from: { kind: 'ImageStreamTag', name: 'web:latest' },
            fieldPath: 'spec.template.spec.containers[?(@.name=="web")].image',
            ...trigger,
          },
        ]),
      },
    },
    spec: { template: { spec: { containers: [{ name: 'web', image }] } } },
  });
  const config = (...names: string[]): Fields => ({
    kind: 'DeploymentConfig',
    metadata: { namespace: 'demo', name: 'web' },
    spec: {
      template: { spec: { containers: [{ name: 'web', image: 'old' }] } },
      triggers: names.map((name) => ({
        type: 'ImageChange',
        imageChangeParams: { automatic: true, containerNames: ['web'], from: { kind: 'ImageStreamTag', name } },
      })),
    },
  });
  const build: Fields = {
    kind: 'BuildConfig',
    metadata: { namespace: 'demo', name: 'web' },
    spec: { triggers: [{ type: 'ImageChange', imageChange: { from: { kind: 'ImageStreamTag', name: 'web:latest' } } }] },
  };

  it.each<[string, string, Fields, object]>([
    ['gets the image', 'Deployment', deployment('old'), { decision: 'WouldUpdate', reason: 'containers: web' }],
    ['has the image', 'Deployment', deployment('r@new'), { decision: 'UpToDate', reason: 'it has this image' }],
    [
      'has a path that leads nowhere',
      'Deployment',
      deployment('old', { fieldPath: 'spec.template.spec.containers[?(@.name=="db")].image' }),
      { decision: 'Broken', reason: 'no such container: spec.template.spec.containers[?(@.name=="db")].image' },
    ],
    ['changes with its tags', 'DeploymentConfig', config('web:latest'), { decision: 'WouldUpdate', reason: 'containers: web' }],
    [
      'waits for another tag',
      'DeploymentConfig',
      config('web:latest', 'db:latest'),
      { decision: 'Waiting', reason: 'demo/db:latest has no image yet, and all change together' },
    ],
    ['is built', 'BuildConfig', build, { decision: 'WouldBuild', reason: 'nothing was built with r@new' }],
  ])('that %s', (_, kind, object, expected) => {
    expect(explainWorkload(kind, object, tag, ({ stream }) => (stream === 'web' ? 'r@new' : undefined))).toEqual(expected);
  });
});

describe('what is asked', () => {
  it.each<[object, string[]]>([
    [{ from: { name: 'web:latest' } }, []],
    [{ from: { name: 'web:latest', namespace: 'demo' } }, []],
    [{ from: { name: 'web:latest', namespace: 'other' } }, ['spec.from.namespace']],
    [{}, ['spec.from']],
    [{ from: { kind: 'DockerImage', name: 'web' } }, ['spec.from.kind']],
    [{ from: { name: 'web:latest' }, image: 'web:2', limit: 0 }, ['spec.image', 'spec.limit']],
  ])('%j has wrong: %j', (spec, fields) => {
    expect(validateExplanation(Explanation.parse({ spec }), 'demo').map(({ field }) => field)).toEqual(fields);
  });
});
