import { describe, expect, it } from 'vitest';
import { buildCauses, buildConfigProblems, buildRequest, followedByBuildConfig, instantiate } from './build-config.ts';
import type { Fields } from './pod-template.ts';
import { tagKey } from './trigger-annotation.ts';

const NOW = '2026-11-20T09:00:00Z';
const base = { kind: 'ImageStreamTag', name: 'base:v1' };
const config = (triggers: object[] = [{ type: 'ImageChange', imageChange: {} }], status: object = {}) => ({
  metadata: { name: 'app', namespace: 'demo', uid: 'u', labels: { team: 'a' } },
  spec: {
    triggers,
    runPolicy: 'Serial',
    source: { git: { uri: 'https://git.example.com/a' } },
    strategy: { dockerStrategy: { from: base } },
  },
  status,
});
const resolve = (tag: { namespace: string; stream: string; tag: string }) =>
  ({ 'demo/base:v1': 'reg/base@1', 'demo/tools:v1': 'reg/tools@1' })[tagKey(tag)];
const tools = { type: 'ImageChange', imageChange: { from: { kind: 'ImageStreamTag', name: 'tools:v1' } } };

describe('what a BuildConfig is built for', () => {
  it.each<[string, object, string[]]>([
    ['the image that its strategy builds with', config(), ['reg/base@1']],
    [
      'each tag once, in the order of its triggers',
      config([{ type: 'ImageChange', imageChange: {} }, tools, tools]),
      ['reg/base@1', 'reg/tools@1'],
    ],
    [
      'nothing that its status says is built',
      config(undefined, { imageChangeTriggers: [{ from: { name: 'base:v1' }, lastTriggeredImageID: 'reg/base@1' }] }),
      [],
    ],
    [
      'nothing that the status says under the full name',
      config(undefined, { imageChangeTriggers: [{ from: { name: 'base:v1', namespace: 'demo' }, lastTriggeredImageID: 'reg/base@1' }] }),
      [],
    ],
    ['nothing while it is paused', config([{ type: 'ImageChange', imageChange: { paused: true } }]), []],
    [
      'nothing of a tag that means nothing yet',
      config([{ type: 'ImageChange', imageChange: { from: { kind: 'ImageStreamTag', name: 'none:1' } } }]),
      [],
    ],
    ['nothing of other triggers', config([{ type: 'ConfigChange' }, { type: 'GitHub' }]), []],
  ])('%s', (_title, object, images) => {
    expect(buildCauses(object as Fields, resolve).map(({ image }) => image)).toEqual(images);
  });

  it('follows the tags of the triggers that are not paused', () => {
    expect(followedByBuildConfig(config([{ type: 'ImageChange', imageChange: { paused: true } }, tools])).map(tagKey)).toEqual([
      'demo/tools:v1',
    ]);
  });

  it('is asked for one build with all causes', () => {
    const request = buildRequest(buildCauses(config([{ type: 'ImageChange', imageChange: {} }, tools]), resolve));

    expect(request).toMatchObject({ triggeredByImage: { kind: 'DockerImage', name: 'reg/base@1' }, from: base });
    expect(request.triggeredBy).toEqual([
      { message: 'Image change', imageChangeBuild: { imageID: 'reg/base@1', fromRef: base } },
      { message: 'Image change', imageChangeBuild: { imageID: 'reg/tools@1', fromRef: tools.imageChange.from } },
    ]);
  });

  it('is told about triggers that can never do anything', () => {
    const odd = {
      ...config([{ type: 'ImageChange', imageChange: { from: { kind: 'DockerImage', name: 'x' } } }, { type: 'ImageChange' }]),
    };

    expect(buildConfigProblems({ ...odd, spec: { ...odd.spec, strategy: {} } })).toEqual([
      'spec.triggers[0]: kind "DockerImage" is not followed: only ImageStreamTag is',
      'spec.triggers[1]: neither it nor the strategy names an image',
    ]);
  });
});

describe('a build', () => {
  it('counts on, names its config, and builds with the image that asked for it', () => {
    const made = instantiate(config(undefined, { lastVersion: 4 }), buildRequest(buildCauses(config(), resolve)), resolve, NOW);

    expect(made).toMatchObject({
      kind: 'build',
      name: 'app-5',
      build: {
        metadata: { name: 'app-5', labels: { team: 'a', buildconfig: 'app' }, annotations: { 'openshift.io/build.number': '5' } },
        spec: {
          strategy: { dockerStrategy: { from: { kind: 'DockerImage', name: 'reg/base@1' } } },
          triggeredBy: [{ message: 'Image change' }],
        },
        status: { phase: 'New' },
      },
      config: {
        status: {
          lastVersion: 5,
          imageChangeTriggers: [{ from: { name: 'base:v1' }, lastTriggeredImageID: 'reg/base@1', lastTriggerTime: NOW }],
        },
      },
    });
    expect(made.kind === 'build' && made.build['spec']).not.toHaveProperty('triggers');
  });

  it('is not made twice for one image', () => {
    const request = buildRequest(buildCauses(config(), resolve));
    const first = instantiate(config(), request, resolve, NOW);

    expect(first.kind === 'build' && instantiate(first.config, request, resolve, NOW)).toEqual({
      kind: 'repeated',
      reason: 'build config demo/app has already instantiated a build for imageid reg/base@1',
    });
  });

  it('that a person starts counts as built with what the tags mean', () => {
    const started = instantiate(config(), {}, resolve, NOW);

    expect(started.kind === 'build' && buildCauses(started.config, resolve)).toEqual([]);
  });

  it('keeps what was built of a tag that is gone', () => {
    const known = { from: { name: 'gone:1' }, lastTriggeredImageID: 'was', lastTriggerTime: 'then' };
    const gone = { type: 'ImageChange', imageChange: { from: { kind: 'ImageStreamTag', name: 'gone:1' } } };
    const made = instantiate(config([gone], { imageChangeTriggers: [known] }), {}, resolve, NOW);

    expect(made).toMatchObject({ config: { status: { imageChangeTriggers: [known] } } });
  });
});
