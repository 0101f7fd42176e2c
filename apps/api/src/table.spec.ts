import { describe, expect, it } from 'vitest';
import { age } from './columns.ts';
import { ago, tableOf, tagsUpToWidth } from './table.ts';

const now = new Date('2026-11-21T12:00:00Z');
const before = (ms: number) => new Date(now.getTime() - ms).toISOString();
const [S, M, H, D] = [1_000, 60_000, 3_600_000, 86_400_000];

describe('how long ago', () => {
  it.each([
    [400, 'Less than a second ago'],
    [S, '1 second ago'],
    [59 * S, '59 seconds ago'],
    [60 * S, 'About a minute ago'],
    [119 * S, 'About a minute ago'],
    [2 * M, '2 minutes ago'],
    [59 * M, '59 minutes ago'],
    [H, 'About an hour ago'],
    [100 * M, '2 hours ago'],
    [47 * H, '47 hours ago'],
    [2 * D, '2 days ago'],
    [13 * D, '13 days ago'],
    [14 * D, '2 weeks ago'],
    [59 * D, '8 weeks ago'],
    [60 * D, '2 months ago'],
    [729 * D, '24 months ago'],
    [800 * D, '2 years ago'],
    [-5 * S, 'Less than a second ago'],
  ])('%i ms: %s', (ms, expected) => expect(ago(before(ms), now)).toBe(expected));

  it('is empty for no time', () => expect(ago('', now)).toBe(''));
});

describe('an age', () => {
  it.each([
    [5 * S, '5s'],
    [119 * S, '119s'],
    [2 * M, '2m'],
    [2 * M + 5 * S, '2m5s'],
    [10 * M + 5 * S, '10m'],
    [179 * M, '179m'],
    [3 * H, '3h'],
    [3 * H + 5 * M, '3h5m'],
    [47 * H, '47h'],
    [2 * D, '2d'],
    [2 * D + 3 * H, '2d3h'],
    [8 * D + 3 * H, '8d'],
    [729 * D, '729d'],
    [731 * D, '2y1d'],
    [3_000 * D, '8y'],
  ])('%i ms: %s', (ms, expected) => expect(age(before(ms), now)).toBe(expected));
});

describe('tags', () => {
  it.each([
    [[], ''],
    [['latest'], 'latest'],
    [['a', 'b', 'c'], 'a,b,c'],
    [['x'.repeat(60)], 'x'.repeat(60)],
    [['x'.repeat(60), 'y'], `${'x'.repeat(60)} + 1 more...`],
    [Array.from({ length: 20 }, (_, i) => `v1.${i}`), 'v1.0,v1.1,v1.2,v1.3,v1.4,v1.5,v1.6,v1.7 + 12 more...'],
    // Eleven and more are free before the last one, which overruns by no more than ten.
    [['a'.repeat(25), 'b'.repeat(20)], `${'a'.repeat(25)},${'b'.repeat(20)}`],
    [['a'.repeat(25), 'b'.repeat(26)], `${'a'.repeat(25)} + 1 more...`],
  ])('%j', (tags, expected) => expect(tagsUpToWidth(tags, 40)).toBe(expected));
});

describe('a table', () => {
  const row = (group: string, resource: string, object: object) =>
    tableOf({ group, resource }, [object as never], { metadata: {}, now }).rows[0]?.cells;
  const metadata = { name: 'n', creationTimestamp: before(3 * D) };

  it('of streams shows the newest tags first and the newest move', () => {
    const tags = [
      { tag: 'old', items: [{ created: '2026-11-01T00:00:00Z' }] },
      { tag: 'new', items: [{ created: '2026-11-19T12:00:00Z' }] },
      { tag: 'failed', items: null },
    ];

    expect(row('image.openshift.io', 'imagestreams', { metadata, status: { dockerImageRepository: 'r', tags } })).toEqual([
      'n',
      'r',
      'new,old,failed',
      '2 days ago',
    ]);
    expect(
      row('image.openshift.io', 'imagestreams', { metadata, spec: { dockerImageRepository: 's' }, status: { dockerImageRepository: 'r' } }),
    ).toEqual(['n', 's', '', '']);
    expect(
      row('image.openshift.io', 'imagestreams', { metadata, status: { publicDockerImageRepository: 'p', dockerImageRepository: 'r' } }),
    ).toEqual(['n', 'p', '', '']);
  });

  it.each([
    ['imagestreamtags', { metadata, image: { dockerImageReference: 'r', metadata: { name: 'i' } } }, ['n', 'r', '3 days ago', 'i']],
    ['imagestreamimages', { metadata, image: { dockerImageReference: 'r', metadata: { name: 'i' } } }, ['n', '3 days ago', 'r', 'i']],
    ['images', { metadata, dockerImageReference: 'r' }, ['n', 'r']],
  ])('of %s', (resource, object, expected) => expect(row('image.openshift.io', resource, object)).toEqual(expected));

  it('of triggers and deliveries shows what fires and where it goes', () => {
    const from = { namespace: 'lib', name: 'base:1' };
    const pending = { generation: 7, count: 3, blockers: [{ reason: 'Held' }, { reason: 'TooYoung' }], lookAt: before(-90 * S) };
    const trigger = {
      metadata: { ...metadata, namespace: 'demo' },
      spec: { kind: 'Build', from, webhooks: [{}, {}] },
      status: { phase: 'Waiting', pending },
    };
    const delivery = {
      metadata: { ...metadata, namespace: 'demo' },
      spec: { trigger: { name: 't' }, from: { namespace: 'demo', name: 'web:1' }, generation: 3, url: 'https://ci.example.org/hook' },
      status: { state: 'Waiting', attempts: 2, nextAttemptAt: before(-90 * S) },
    };

    expect(row('triggers.millrace.dev', 'imagetriggers', trigger)).toEqual([
      ...['n', 'lib/base:1', 'Build', 'Waiting', '#7 (+2)', 2, '', '3d'],
      ...['Held,TooYoung', 'in 90s'],
    ]);
    expect(row('triggers.millrace.dev', 'deliveries', delivery)).toEqual([
      'n',
      't',
      'web:1 #3',
      'https://ci.example.org/hook',
      'Waiting',
      2,
      'in 90s',
      '3d',
    ]);
    const spec = { receiver: 'CI', description: 'Builds.', parameters: { token: { required: true }, ref: { required: false } } };
    expect(row('triggers.millrace.dev', 'webhookpresets', { metadata, spec })).toEqual(['n', 'CI', 'token*, ref', 'Builds.']);
    expect(row('ops.millrace.dev', 'deadfacts', { metadata, spec: { event: 'tag.moved' }, status: { reason: 'why' } })).toEqual([
      'n',
      'tag.moved',
      'why',
      '3d',
    ]);
  });

  it('of a tag that holds changes back says what waits, why, and when it is looked at again', () => {
    const status = {
      decision: { kind: 'Waiting', reason: 'TooYoung', message: 'must be 1h old', lookAt: before(-60 * S) },
      pending: 21,
      newest: { image: `sha256:${'d'.repeat(64)}`, since: before(90 * S) },
      current: { image: '', dockerImageReference: 'quay.io/a/b:1' },
    };

    expect(row('control.millrace.dev', 'tagchanges', { metadata, status })).toEqual([
      ...['n', 'Waiting', 'TooYoung', 21, 'sha256:dddddddddddd', 'About a minute ago', 'in 60s', 'quay.io/a/b:1', 'must be 1h old'],
    ]);
  });

  it('of a scheduled import says what is looked at, when, and what is wrong', () => {
    const spec = { reference: 'quay.io/a/b:1', interval: '15m' };
    const status = {
      state: 'failing',
      following: 3,
      failures: 2,
      reason: 'why',
      lastCheckAt: before(90 * S),
      nextCheckAt: before(-60 * S),
    };

    expect(row('ops.millrace.dev', 'scheduledimports', { metadata, spec, status })).toEqual([
      ...['n', 'quay.io/a/b:1', 3, 'failing', 'About a minute ago', 'in 60s', 2, 'why', '15m', ''],
    ]);
  });

  describe('of workloads are those of a cluster', () => {
    const template = {
      spec: {
        containers: [
          { name: 'web', image: 'a:1' },
          { name: 'log', image: 'b:1' },
        ],
      },
    };
    const selector = { matchLabels: { app: 'web', tier: 'x' } };
    const replicas = { replicas: 2, readyReplicas: 1, updatedReplicas: 2, availableReplicas: 1 };

    it.each<[string, object, unknown[]]>([
      [
        'apps/deployments',
        { spec: { replicas: 3, selector, template }, status: replicas },
        ['1/3', 2, 1, '3d', 'web,log', 'a:1,b:1', 'app=web,tier=x'],
      ],
      ['apps/statefulsets', { spec: { template } }, ['0/1', '3d', 'web,log', 'a:1,b:1']],
      ['apps/daemonsets', { spec: { template } }, [0, 0, 0, 0, 0, '<none>', '3d', 'web,log', 'a:1,b:1', '<none>']],
      ['apps/replicasets', { spec: { template }, status: replicas }, [1, 2, 1, '3d', 'web,log', 'a:1,b:1', '<none>']],
      [
        'batch/cronjobs',
        { spec: { schedule: '@daily', jobTemplate: { spec: { template } } } },
        ['@daily', '<none>', 'False', 0, '<none>', '3d', 'web,log', 'a:1,b:1', '<none>'],
      ],
      [
        'batch/jobs',
        { spec: { template }, status: { succeeded: 1, startTime: before(90 * S), conditions: [{ type: 'Complete', status: 'True' }] } },
        ['Complete', '1/1', '90s', '3d', 'web,log', 'a:1,b:1', '<none>'],
      ],
      ['/pods', template, ['0/2', 'Pending', '0', '3d', 'a:1,b:1']],
      [
        'apps.openshift.io/deploymentconfigs',
        { spec: { triggers: [{ type: 'ImageChange', imageChangeParams: { from: { name: 'app:v1' } } }, { type: 'ConfigChange' }] } },
        [0, '1', '0', 'config,image(app:v1)'],
      ],
      [
        'build.openshift.io/buildconfigs',
        { spec: { source: { git: { ref: 'main' } }, strategy: { dockerStrategy: {} } }, status: { lastVersion: 4 } },
        ['Docker', 'Git@main', '4'],
      ],
      [
        'build.openshift.io/builds',
        { spec: { source: { binary: {} }, strategy: { type: 'Source' } }, status: { phase: 'New' } },
        ['Source', 'Binary', 'New', '', ''],
      ],
    ])('%s', (name, object, cells) => {
      const [group = '', resource = ''] = name.split('/');

      expect(row(group, resource, { metadata, ...object })).toEqual(['n', ...cells]);
    });
  });

  it('of an unknown kind has name and age', () => {
    expect(row('x', 'y', { metadata })).toEqual(['n', '3d']);
    expect(row('x', 'y', {})).toEqual(['', '<unknown>']);
  });

  it('of anything at all can be printed', () => {
    for (const object of [{}, { metadata: null, spec: 3, status: [] }, { status: { tags: [null, 'x', {}] } }])
      for (const resource of ['imagestreams', 'imagestreamtags', 'images'])
        expect(() => row('image.openshift.io', resource, object)).not.toThrow();
  });
});
