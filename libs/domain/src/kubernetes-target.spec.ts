import { describe, expect, it } from 'vitest';
import {
  appliedObject,
  applyQuery,
  fieldPathOf,
  type KubernetesTarget,
  kubernetesMeaning,
  objectUrl,
  validateKubernetes,
} from './kubernetes-target.ts';

const target: KubernetesTarget = {
  server: 'https://kubernetes.example.com:6443',
  tokenFrom: { secretKeyRef: { name: 'cluster', key: 'token' } },
  object: { apiVersion: 'apps/v1', kind: 'Deployment', namespace: 'shop', name: 'web' },
  containers: ['web'],
};
const problems = (of: Partial<KubernetesTarget>): string[] =>
  validateKubernetes({ ...target, ...of }, 'k', 'public').map(({ field, text }) => `${field}: ${text}`);
const object = (of: KubernetesTarget['object']) => ({ object: { ...target.object, ...of } });

describe('a Kubernetes target', () => {
  it.each([
    ['of a Deployment', {}],
    ['of a CronJob', object({ apiVersion: 'batch/v1', kind: 'CronJob' })],
    ['with a field path', { containers: undefined, fieldPath: 'spec.template.spec.containers[?(@.name=="web")].image' }],
    [
      'of a kind of its own',
      {
        ...object({ kind: 'Rollout', resource: 'rollouts', apiVersion: 'argoproj.io/v1alpha1' }),
        containers: undefined,
        fieldPath: 'spec.image',
      },
    ],
    ['of a cluster-scoped kind', object({ namespace: undefined })],
    ['with a path before the API', { server: 'https://rancher.example.com/k8s/clusters/c-1' }],
  ] as [string, Partial<KubernetesTarget>][])('%s is good', (_what, of) => {
    expect(problems(of)).toEqual([]);
  });

  it.each([
    [{ server: undefined }, 'k.server: Required'],
    [{ server: 'http://kubernetes.example.com' }, 'k.server: Invalid value: "http://kubernetes.example.com": must begin with https://'],
    [{ server: 'https://127.0.0.1:6443' }, 'a loopback address is not allowed'],
    [{ server: 'https://a.example.com/?x=1' }, 'no query'],
    [{ tokenFrom: undefined }, 'k.tokenFrom: Required'],
    [{ tokenFrom: {} }, 'k.tokenFrom.secretKeyRef: Required'],
    [{ tokenFrom: { secretKeyRef: { name: '../x', key: 'a/b' } } }, 'k.tokenFrom.secretKeyRef.name: Invalid'],
    [{ ca: 'nonsense' }, 'certificates in PEM'],
    [{ ca: '-----BEGIN CERTIFICATE-----', caFrom: target.tokenFrom }, 'k.caFrom: Forbidden: ca is given already'],
    [object({ apiVersion: 'apps/v1/x' }), 'k.object.apiVersion: Invalid'],
    [object({ kind: 'deployment' }), 'k.object.kind: Invalid'],
    [object({ kind: 'Rollout' }), 'k.object.resource: Required value: the plural of Rollout'],
    [object({ kind: 'constructor' }), 'k.object.kind: Invalid'],
    [object({ kind: 'Rollout', resource: 'rollouts' }), 'has no pod template that is known; give fieldPath'],
    [object({ name: 'web/../other' }), 'k.object.name: Invalid'],
    [object({ namespace: '../x' }), 'k.object.namespace: Invalid'],
    [{ containers: undefined }, 'k.containers: Required'],
    [{ containers: ['Web'] }, 'is no name of a container'],
    [{ containers: Array.from({ length: 40 }, (_, i) => `c${i}`) }, 'more than 32 names'],
    [{ fieldPath: 'spec.image' }, 'k.fieldPath: Forbidden: containers are given already'],
    [{ containers: undefined, fieldPath: 'spec.containers[0].image' }, 'by index nothing can be applied'],
    [{ fieldManager: 'a b' }, 'printable'],
  ] as [Partial<KubernetesTarget>, string][])('%j is refused: %s', (of, message) => {
    expect(problems(of).join('\n')).toContain(message);
  });
});

describe('what is applied', () => {
  it.each([
    ['Deployment', 'apps/v1', { spec: { template: { spec: { containers: [{ name: 'web', image: 'i' }] } } } }],
    ['CronJob', 'batch/v1', { spec: { jobTemplate: { spec: { template: { spec: { containers: [{ name: 'web', image: 'i' }] } } } } } }],
    ['Pod', 'v1', { spec: { containers: [{ name: 'web', image: 'i' }] } }],
  ])('to a %s is its name and the image of the container', (kind, apiVersion, more) => {
    expect(appliedObject({ ...target, ...object({ kind, apiVersion }) }, 'i')).toEqual({
      ...{ apiVersion, kind, metadata: { name: 'web', namespace: 'shop' } },
      ...more,
    });
  });

  it('to several containers is each of them, init containers apart', () => {
    const applied = appliedObject({ ...target, containers: ['a', 'b'], initContainers: ['c'] }, 'i');

    expect(applied['spec']).toEqual({
      template: {
        spec: {
          containers: [
            { name: 'a', image: 'i' },
            { name: 'b', image: 'i' },
          ],
          initContainers: [{ name: 'c', image: 'i' }],
        },
      },
    });
  });

  it.each([
    ['spec.image', { spec: { image: 'i' } }],
    ['spec.parts[?(@.name=="a.b")].run.image', { spec: { parts: [{ name: 'a.b', run: { image: 'i' } }] } }],
    ['constructor.prototype.image', { constructor: { prototype: { image: 'i' } } }],
  ])('by the path %s is that field', (fieldPath, expected) => {
    expect(appliedObject({ ...target, containers: undefined, fieldPath }, 'i')).toMatchObject(expected);
    expect(({} as { image?: string }).image).toBeUndefined();
  });

  it.each(['', '.', 'a.', '.a', 'a..b', 'a[0]', 'a[?(@.name==x)]', 'a[?(@.name=="x")]', '__proto__.x', 'a b', 'a[?(@.key=="x")].b'])(
    'by the path %j is nothing',
    (path) => {
      expect(fieldPathOf(path)).toBeUndefined();
    },
  );
});

describe('where it is', () => {
  it.each([
    [{}, 'https://kubernetes.example.com:6443/apis/apps/v1/namespaces/shop/deployments/web'],
    [object({ apiVersion: 'v1', kind: 'Pod' }), 'https://kubernetes.example.com:6443/api/v1/namespaces/shop/pods/web'],
    [object({ namespace: undefined, kind: 'Thing', resource: 'things' }), 'https://kubernetes.example.com:6443/apis/apps/v1/things/web'],
    [{ server: 'https://r.example.com/k8s/c-1/' }, 'https://r.example.com/k8s/c-1/apis/apps/v1/namespaces/shop/deployments/web'],
  ] as [Partial<KubernetesTarget>, string][])('%j is at %s', (of, url) => {
    expect(objectUrl({ ...target, ...of })).toBe(url);
  });

  it('the apply says whose the field is and whether it is taken', () => {
    expect(applyQuery(target)).toBe('fieldManager=millrace&force=false');
    expect(applyQuery({ ...target, fieldManager: 'team', force: true })).toBe('fieldManager=team&force=true');
  });
});

describe('an answer', () => {
  it.each([
    [401, '', 'answered 401: the token is not accepted'],
    [403, '{"message":"deployments.apps \\"web\\" is forbidden"}', '(deployments.apps "web" is forbidden)'],
    [404, '{}', 'there is no such object'],
    [409, '{"kind":"Status","message":"conflict with \\"kubectl\\""}', 'kubernetes.force (conflict with "kubectl")'],
    [422, 'not json', 'answered 422: the object would not be valid'],
    [500, '<html>', 'answered 500'],
  ])('%i %s means: %s', (status, answer, meaning) => {
    expect(kubernetesMeaning(status, answer)).toContain(meaning);
  });
});
