import { createHash } from 'node:crypto';
import type { Resource } from '@millrace/contracts/resources';

/** What the api says about itself, in the shapes of Kubernetes' discovery; made once from the list of resources. */
export interface Discovery {
  /** JSON by path, for `application/json`. */
  documents: Map<string, object>;
  /** `/api` and `/apis` as one document each, which saves clients a request per group. */
  aggregated: (path: string, version: 'v2' | 'v2beta1') => object | undefined;
}

/** Kubernetes' version that the protocol follows; clients compare it with their own. */
const KUBERNETES = { major: '1', minor: '32', patch: '0' };

/** @param version of Millrace */
export function discoveryOf(resources: readonly Resource[], version: string): Discovery {
  const [core, ...groups] = ['', ...new Set(resources.map(({ group }) => group).filter(Boolean))].sort().map((name) => ({
    name,
    resources: resources.filter(({ group }) => group === name).toSorted((a, b) => (a.resource < b.resource ? -1 : 1)),
  }));
  const documents = new Map<string, object>([
    ['/version', versionInfo(version)],
    ['/api', { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] }],
    ['/api/v1', { kind: 'APIResourceList', groupVersion: 'v1', resources: (core?.resources ?? []).flatMap(entriesOf) }],
    ['/apis', { kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map(({ name }) => groupOf(name)) }],
  ]);
  for (const { name, resources: members } of groups) {
    documents.set(`/apis/${name}`, { kind: 'APIGroup', apiVersion: 'v1', ...groupOf(name) });
    documents.set(`/apis/${name}/v1`, {
      kind: 'APIResourceList',
      apiVersion: 'v1',
      groupVersion: `${name}/v1`,
      resources: members.flatMap(entriesOf),
    });
  }
  documents.set('/', { paths: [...documents.keys(), '/healthz', '/livez', '/metrics', '/openapi/v2', '/openapi/v3', '/readyz'].sort() });
  return {
    documents,
    aggregated: (path, wanted) =>
      path === '/api' ? aggregatedOf(core ? [core] : [], wanted) : path === '/apis' ? aggregatedOf(groups, wanted) : undefined,
  };
}

const versionInfo = (version: string) => ({
  major: KUBERNETES.major,
  minor: KUBERNETES.minor,
  gitVersion: `v${KUBERNETES.major}.${KUBERNETES.minor}.${KUBERNETES.patch}+millrace-${version}`,
  gitCommit: '',
  gitTreeState: '',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: '',
  compiler: '',
  platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
});

function groupOf(name: string) {
  const version = { groupVersion: `${name}/v1`, version: 'v1' };
  return { name, versions: [version], preferredVersion: version };
}

function entriesOf(resource: Resource): object[] {
  const { resource: name, singular, namespaced, kind, verbs, shortNames, categories, subresources = [] } = resource;
  return [
    {
      name,
      singularName: singular,
      namespaced,
      kind,
      verbs: [...verbs].sort(),
      ...(shortNames ? { shortNames } : {}),
      ...(categories ? { categories } : {}),
      ...(verbs.includes('watch') ? { storageVersionHash: storageVersionHash(resource) } : {}),
    },
    ...subresources
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .map((sub) => ({ name: `${name}/${sub.name}`, singularName: '', namespaced, kind: sub.kind, verbs: [...sub.verbs].sort() })),
  ];
}

const storageVersionHash = ({ group, version, kind }: Resource): string =>
  createHash('sha256').update(`${group}/${version}/${kind}`).digest().subarray(0, 8).toString('base64');

function aggregatedOf(groups: readonly { name: string; resources: readonly Resource[] }[], version: 'v2' | 'v2beta1'): object {
  const kindOf = (kind: string) => ({ group: '', version: '', kind });
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map(({ name, resources }) => ({
      metadata: name ? { name } : {},
      versions: [
        {
          version: 'v1',
          resources: resources.map(({ resource, kind, namespaced, singular, verbs, shortNames, categories, subresources }) => ({
            resource,
            responseKind: kindOf(kind),
            scope: namespaced ? 'Namespaced' : 'Cluster',
            singularResource: singular,
            verbs: [...verbs].sort(),
            ...(shortNames ? { shortNames } : {}),
            ...(categories ? { categories } : {}),
            ...(subresources?.length
              ? {
                  subresources: subresources.map((sub) => ({
                    subresource: sub.name,
                    responseKind: kindOf(sub.kind),
                    verbs: [...sub.verbs].sort(),
                  })),
                }
              : {}),
          })),
          freshness: 'Current',
        },
      ],
    })),
  };
}
