import { describe, expect, it } from 'vitest';
import { deploymentConfigProblems, followedByDeploymentConfig, processDeploymentConfig } from './deployment-config.ts';
import { tagKey } from './trigger-annotation.ts';

const trigger = (over: object = {}) => ({
  type: 'ImageChange',
  imageChangeParams: { automatic: true, containerNames: ['web'], from: { kind: 'ImageStreamTag', name: 'app:v1' }, ...over },
});
const config = (triggers: object[], image = 'x') => ({
  metadata: { name: 'web', namespace: 'demo' },
  spec: { triggers, template: { spec: { containers: [{ name: 'web', image }], initContainers: [{ name: 'init', image: 'y' }] } } },
});
const later = { from: { kind: 'ImageStreamTag', name: 'later:v1' }, containerNames: ['init'] };
const resolve = (tag: { namespace: string; stream: string; tag: string }) => ({ 'demo/app:v1': 'reg/app@1' })[tagKey(tag)];

describe('what a move of a tag does to a DeploymentConfig', () => {
  it('sets the image of the named containers and writes down what it was', () => {
    const processed = processDeploymentConfig(config([trigger({ containerNames: ['web', 'init'] })]), resolve);

    expect(processed).toMatchObject({
      kind: 'changed',
      object: {
        spec: {
          triggers: [{ imageChangeParams: { lastTriggeredImage: 'reg/app@1' } }],
          template: { spec: { containers: [{ image: 'reg/app@1' }], initContainers: [{ image: 'reg/app@1' }] } },
        },
      },
      bookkept: [{ image: 'reg/app@1' }],
    });
  });

  it.each<[string, object[], object]>([
    [
      'changes nothing while another trigger waits for its first image',
      [trigger(), trigger(later)],
      { kind: 'waiting', for: { stream: 'later' } },
    ],
    ['does not wait for a trigger that is not automatic', [trigger(), trigger({ ...later, automatic: false })], { kind: 'changed' }],
    [
      'keeps the last image of a tag that is gone',
      [trigger({ ...later, lastTriggeredImage: 'was' })],
      { kind: 'changed', changes: [{ image: 'was', container: 'init' }], bookkept: [] },
    ],
    [
      'writes the image down also where no container has the name',
      [trigger({ containerNames: ['none'] })],
      { kind: 'changed', changes: [], bookkept: [{ image: 'reg/app@1' }] },
    ],
    ['leaves other kinds of triggers alone', [{ type: 'ConfigChange' }], { kind: 'unchanged' }],
  ])('%s', (_title, triggers, expected) => {
    expect(processDeploymentConfig(config(triggers), resolve)).toMatchObject(expected);
  });

  it('follows each tag of its automatic triggers once', () => {
    const triggers = [
      trigger(),
      trigger(),
      trigger({ automatic: false, from: { kind: 'ImageStreamTag', name: 'no:1' } }),
      trigger({ from: { kind: 'DockerImage', name: 'a' } }),
    ];

    expect(followedByDeploymentConfig(config(triggers)).map(tagKey)).toEqual(['demo/app:v1']);
  });

  it('is told about triggers that can never do anything', () => {
    expect(deploymentConfigProblems(config([trigger({ containerNames: ['none'] }), trigger({ from: { kind: 'DockerImage' } })]))).toEqual([
      'spec.triggers[0]: no such container: none',
      'spec.triggers[1]: kind "DockerImage" is not followed: only ImageStreamTag is',
    ]);
  });
});
