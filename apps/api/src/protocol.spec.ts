import { describe, expect, it } from 'vitest';
import { resources } from '@millrace/contracts/resources';
import { negotiate } from './media.ts';
import { parseRequest, selectionOf, targetOf } from './protocol.ts';

const G = '/apis/image.openshift.io/v1';
const base = { kind: 'objects', group: 'image.openshift.io', version: 'v1', watch: false };

describe('a path', () => {
  it.each([
    [`${G}/imagestreams`, { ...base, resource: 'imagestreams' }],
    [`${G}/imagestreams/`, { ...base, resource: 'imagestreams' }],
    [`${G}/namespaces/n/imagestreams`, { ...base, namespace: 'n', resource: 'imagestreams' }],
    [`${G}/namespaces/n/imagestreams/a`, { ...base, namespace: 'n', resource: 'imagestreams', name: 'a' }],
    [
      `${G}/namespaces/n/imagestreams/a/status?x=y`,
      { ...base, namespace: 'n', resource: 'imagestreams', name: 'a', subresource: 'status' },
    ],
    [`${G}/namespaces/n/imagestreamtags/a%3Ab`, { ...base, namespace: 'n', resource: 'imagestreamtags', name: 'a:b' }],
    [`${G}/images/sha256:ab`, { ...base, resource: 'images', name: 'sha256:ab' }],
    [`${G}/watch/namespaces/n/imagestreams/a`, { ...base, watch: true, namespace: 'n', resource: 'imagestreams', name: 'a' }],
    [`${G}/namespaces/n`, { ...base, resource: 'namespaces', name: 'n' }],
    ['/api/v1/namespaces/n', { ...base, group: '', resource: 'namespaces', name: 'n' }],
    ['/api/v1/namespaces/n/pods', { ...base, group: '', namespace: 'n', resource: 'pods' }],
    ['/apis', { kind: 'path', path: '/apis' }],
    [G, { kind: 'path', path: G }],
    [`${G}/namespaces/n/a/b/c/d`, { kind: 'path', path: `${G}/namespaces/n/a/b/c/d` }],
    ['/', { kind: 'path', path: '/' }],
  ])('%s', (url, expected) => expect(parseRequest('GET', url).path).toEqual(expected));
});

describe('a verb', () => {
  it.each([
    ['GET', '/imagestreams', 'list'],
    ['GET', '/imagestreams?watch=true', 'watch'],
    ['GET', '/imagestreams?watch=', 'watch'],
    ['GET', '/imagestreams?watch=0', 'list'],
    ['GET', '/watch/imagestreams', 'watch'],
    ['GET', '/images/x?watch=true', 'get'],
    ['HEAD', '/images/x', 'get'],
    ['POST', '/images', 'create'],
    ['PUT', '/images/x', 'update'],
    ['PATCH', '/images/x', 'patch'],
    ['DELETE', '/images/x', 'delete'],
    ['DELETE', '/images', 'deletecollection'],
    ['OPTIONS', '/images', 'options'],
  ])('%s %s is %s', (method, path, verb) => expect(parseRequest(method, G + path).verb).toBe(verb));
});

it('every resource is found by what it offers, and by nothing else', () => {
  for (const resource of resources) {
    const at = {
      ...base,
      kind: 'objects',
      group: resource.group,
      resource: resource.resource,
      ...(resource.namespaced ? { namespace: 'n' } : {}),
    } as const;
    for (const verb of ['list', 'create', 'deletecollection', 'watch'] as const)
      expect(attempt(() => targetOf(at, verb, resources).verb)).toBe(resource.verbs.includes(verb) ? verb : undefined);
    for (const verb of ['get', 'update', 'patch', 'delete'] as const)
      expect(attempt(() => targetOf({ ...at, name: 'x' }, verb, resources).verb)).toBe(resource.verbs.includes(verb) ? verb : undefined);
  }
});

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

describe('list options', () => {
  it.each([
    ['limit=5&continue=x', { limit: 5, continue: 'x' }],
    ['limit=0', {}],
    ['limit=-1', {}],
    ['resourceVersion=0', {}],
    ['resourceVersion=7', { resourceVersion: '7' }],
    ['labelSelector=', {}],
    ['historyLimit=3', { historyLimit: 3 }],
  ])('%s', (query, expected) => expect(JSON.parse(JSON.stringify(selectionOf(new URLSearchParams(query))))).toEqual(expected));

  it.each(['limit=abc', 'limit=1.5', 'resourceVersionMatch=Exact'])('%s is refused', (query) => {
    expect(() => selectionOf(new URLSearchParams(query))).toThrow();
  });
});

describe('an Accept header', () => {
  const table = { as: 'table', version: 'v1' };
  it.each([
    [undefined, { as: 'json' }],
    ['', { as: 'json' }],
    ['*/*', { as: 'json' }],
    ['application/json, */*', { as: 'json' }],
    ['application/yaml', { as: 'yaml' }],
    ['application/vnd.kubernetes.protobuf,application/json', { as: 'json' }],
    ['application/json;as=Table;v=v1;g=meta.k8s.io,application/json', table],
    ['application/json; as=Table; g=meta.k8s.io; v=v1beta1', { as: 'table', version: 'v1beta1' }],
    ['application/json;as=Table;v=v2;g=meta.k8s.io,application/json', { as: 'json' }],
    ['application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io', { as: 'metadata' }],
    ['text/html,application/xhtml+xml,*/*;q=0.8', { as: 'json' }],
  ])('%s', (accept, expected) => expect(negotiate(accept, { objects: 'list' })).toEqual(expected));

  it.each(['text/html', 'application/json;as=Table;v=v1;g=other', 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io', ',,;;='])(
    '%s cannot be served for a list',
    (accept) => {
      if (accept.startsWith(',')) expect(negotiate(accept, { objects: 'list' })).toEqual({ as: 'json' });
      else expect(() => negotiate(accept, { objects: 'list' })).toThrow();
    },
  );
});
