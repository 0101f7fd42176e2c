import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Resource, Verb } from '@millrace/contracts/resources';
import { ApiObject } from '@millrace/domain/object-meta';
import { mergeKeyOf } from '@millrace/domain/merge-lists';

/** OpenAPI v3 as kubectl asks for it: an index, and one document a group and version, made from the zod schemas of the contracts. */
export interface OpenApi {
  index: { json: Buffer; etag: string };
  /** By path: `/openapi/v3/apis/GROUP/v1`. */
  documents: Map<string, { json: Buffer; etag: string }>;
}

export function openApiOf(resources: readonly Resource[], version: string): OpenApi {
  const paths: Record<string, { serverRelativeURL: string }> = {};
  const documents = new Map<string, { json: Buffer; etag: string }>();
  for (const group of [...new Set(resources.map((resource) => resource.group))].sort()) {
    const at = group ? `apis/${group}/v1` : 'api/v1';
    const json = Buffer.from(JSON.stringify(documentOf(group, resources, version)));
    const etag = hashOf(json);
    paths[at] = { serverRelativeURL: `/openapi/v3/${at}?hash=${etag}` };
    documents.set(`/openapi/v3/${at}`, { json, etag });
  }
  const json = Buffer.from(JSON.stringify({ paths }));
  return { index: { json, etag: hashOf(json) }, documents };
}

export const hashOf = (json: Buffer): string => createHash('sha512').update(json).digest('hex').toUpperCase();

const KIND_EXTENSION = 'x-kubernetes-group-version-kind';

interface Schema {
  [key: string]: unknown;
  properties?: Record<string, Schema>;
  items?: Schema;
  allOf?: Schema[];
}

/** The OpenAPI document of one group. */
export function documentOf(group: string, resources: readonly Resource[], version: string): object {
  const members = resources.filter((resource) => resource.group === group);
  const components: Record<string, Schema> = {};
  for (const one of members.flatMap(kindsOf)) {
    // A kind that another kind holds, as a tag holds its image, is described once: as the kind that it is.
    for (const [name, schema] of Object.entries(componentsOf(one))) if (!isKind(components[name])) components[name] = schema;
  }
  for (const { kind } of members) components[nameOf(group, `${kind}List`)] = listSchema(group, kind);
  return {
    openapi: '3.0.0',
    info: { title: 'Millrace', version },
    paths: Object.fromEntries(members.flatMap(pathsOf)),
    components: {
      schemas: components,
      securitySchemes: { BearerToken: { type: 'http', scheme: 'bearer', description: 'Bearer token' } },
    },
    security: [{ BearerToken: [] }],
  };
}

const isKind = (schema: Schema | undefined): boolean => schema !== undefined && Object.hasOwn(schema, KIND_EXTENSION);

/** The resource, and a subresource as one of its own where it is of another kind. */
const kindsOf = (resource: Resource): Resource[] => [
  resource,
  ...(resource.subresources ?? []).filter((sub) => sub.kind !== resource.kind).map(({ kind, schema }) => ({ ...resource, kind, schema })),
];

/** As kubectl shows types: it prints what follows the last dot. */
const nameOf = (group: string, id: string): string => `${(group || 'core').split('.').toReversed().join('.')}.v1.${id}`;
const refTo = (group: string, id: string): Schema => ({ $ref: `#/components/schemas/${nameOf(group, id)}` });
const gvk = ({ group, kind }: { group: string; kind: string }) => ({ group, kind, version: 'v1' });

const OF_EVERY_KIND = {
  apiVersion: 'Group and version of the shape that this is in.',
  kind: 'What this is.',
  metadata: 'Name, version and labels.',
  spec: 'What is wanted.',
  status: 'What is. Set by the server.',
};

/** The schema of a kind and of all named schemas below it. */
function componentsOf(resource: Resource): Record<string, Schema> {
  const registry = z.registry<{ id: string }>();
  const root = resource.schema ?? ApiObject;
  registry.add(root, { id: resource.kind });
  const { schemas } = z.toJSONSchema(registry, {
    target: 'openapi-3.0',
    io: 'input',
    unrepresentable: 'any',
    uri: (id) => `#/components/schemas/${nameOf(resource.group, id)}`,
  });
  const components: Record<string, Schema> = {};
  for (const [id, schema] of Object.entries(schemas as Record<string, Schema>)) {
    const { definitions = {}, ...own } = schema as Schema & { definitions?: Record<string, Schema> };
    // zod keeps what several schemas share in one of its own.
    if (id !== '__shared') components[nameOf(resource.group, id)] = own;
    for (const [name, shared] of Object.entries(definitions)) components[nameOf(resource.group, name)] = shared;
  }
  for (const [name, schema] of Object.entries(components)) components[name] = tidied(schema, resource.group) as Schema;
  const kind = components[nameOf(resource.group, resource.kind)];
  if (kind) {
    kind[KIND_EXTENSION] = [gvk(resource)];
    kind['description'] ??= `${resource.kind} of ${resource.group || 'Kubernetes'}.`;
    delete kind['required'];
    for (const [field, description] of Object.entries(OF_EVERY_KIND)) {
      const property = kind.properties?.[field];
      if (property && !property['$ref']) property['description'] ??= description;
      else if (property && kind.properties) kind.properties[field] = { description, allOf: [property] };
    }
    if (!resource.schema) kind['x-kubernetes-preserve-unknown-fields'] = true;
    withMergeKeys(kind, '', components, new Set());
  }
  return components;
}

/** What zod's output has beyond OpenAPI 3.0: `$id`s, local definitions, and unions with null that are plain optional fields to clients. */
function tidied(value: unknown, group: string): unknown {
  if (Array.isArray(value)) return value.map((item) => tidied(item, group));
  if (typeof value !== 'object' || value === null) return value;
  const { $schema: _, $id: __, id: ___, contentEncoding: ____, anyOf, ...rest } = value as Record<string, unknown>;
  delete rest['nullable'];
  if (typeof rest['$ref'] === 'string') {
    const id = /([^/]+)$/.exec(rest['$ref'])?.[1] ?? '';
    return { $ref: `#/components/schemas/${id.includes('.v1.') ? id : nameOf(group, id)}` };
  }
  const { allOf } = rest;
  if (Array.isArray(allOf) && allOf.length === 1 && Object.keys(rest).length === 1 && !anyOf) return tidied(allOf[0], group);
  if (Array.isArray(anyOf)) {
    const real = anyOf.filter((one) => !isNull(one));
    if (real.length === 1) return tidied({ ...rest, ...(real[0] as object) }, group);
    return { ...(tidied(rest, group) as object), anyOf: tidied(real, group) };
  }
  return Object.fromEntries(Object.entries(rest).map(([key, item]) => [key, tidied(item, group)]));
}

const isNull = (schema: unknown): boolean => {
  const { type, enum: values } = schema as { type?: string; enum?: unknown[] };
  return type === 'null' || (Array.isArray(values) && values.length === 1 && values[0] === null);
};

/** Tells clients which lists are merged by item. */
function withMergeKeys(schema: Schema, path: string, components: Record<string, Schema>, seen: Set<string>): void {
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    const at = path ? `${path}.${key}` : key;
    const mergeKey = mergeKeyOf(at);
    if (mergeKey) Object.assign(property, { 'x-kubernetes-patch-merge-key': mergeKey, 'x-kubernetes-patch-strategy': 'merge' });
    const ref = (property['$ref'] ?? property.allOf?.[0]?.['$ref'] ?? property.items?.['$ref']) as string | undefined;
    const name = ref?.slice('#/components/schemas/'.length);
    if (name && !seen.has(name)) withMergeKeys(components[name] ?? {}, at, components, new Set([...seen, name]));
    else if (!name) withMergeKeys(property.items ?? property, at, components, seen);
  }
}

const listSchema = (group: string, kind: string): Schema => ({
  type: 'object',
  description: `A list of ${kind} objects.`,
  required: ['items'],
  properties: {
    apiVersion: { type: 'string' },
    kind: { type: 'string' },
    metadata: {
      type: 'object',
      properties: { resourceVersion: { type: 'string' }, continue: { type: 'string' }, remainingItemCount: { type: 'integer' } },
    },
    items: { type: 'array', items: refTo(group, kind) },
  },
  [KIND_EXTENSION]: [gvk({ group, kind: `${kind}List` })],
});

const METHODS: readonly (readonly [method: string, verb: Verb, action: string])[] = [
  ['get', 'get', 'get'],
  ['put', 'update', 'put'],
  ['patch', 'patch', 'patch'],
  ['delete', 'delete', 'delete'],
];
const COLLECTION_METHODS: typeof METHODS = [
  ['get', 'list', 'list'],
  ['post', 'create', 'post'],
  ['delete', 'deletecollection', 'deletecollection'],
];
const PATCH_TYPES = [
  'application/apply-patch+yaml',
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
];

const query = (name: string, type: string, description: string) => ({
  name,
  in: 'query',
  description,
  schema: { type, uniqueItems: true },
});
const WRITE_PARAMETERS = [
  query('dryRun', 'string', 'All: nothing is written.'),
  query('fieldManager', 'string', 'Accepted; ownership of fields is not tracked.'),
  query('fieldValidation', 'string', 'Ignore, Warn (the default) or Strict: what happens to unknown fields.'),
];
const LIST_PARAMETERS = [
  query('labelSelector', 'string', 'Only objects whose labels match.'),
  query('fieldSelector', 'string', 'Only objects whose fields match.'),
  query('limit', 'integer', 'At most so many objects; the answer says how to continue.'),
  query('continue', 'string', 'Continues a list.'),
  query('resourceVersion', 'string', 'For a watch: changes after this version.'),
  query('watch', 'boolean', 'Streams changes instead of listing.'),
  query('timeoutSeconds', 'integer', 'Ends a watch after this time.'),
];

function pathsOf(resource: Resource): [string, object][] {
  const { group, namespaced } = resource;
  const root = group ? `/apis/${group}/v1` : '/api/v1';
  const collection = `${root}${namespaced ? '/namespaces/{namespace}' : ''}/${resource.resource}`;
  const parameter = (name: string) => ({ name, in: 'path', required: true, schema: { type: 'string', uniqueItems: true } });
  const scope = namespaced ? [parameter('namespace')] : [];
  const paths: [string, object][] = [];
  const add = (path: string, parameters: object[], methods: typeof METHODS, verbs: readonly Verb[], kind: string) => {
    const operations = methods.filter(([, verb]) => verbs.includes(verb)).map((one) => [one[0], operationOf(resource, kind, one)]);
    if (operations.length) paths.push([path, { ...Object.fromEntries(operations), ...(parameters.length ? { parameters } : {}) }]);
  };
  add(collection, scope, COLLECTION_METHODS, resource.verbs, resource.kind);
  add(`${collection}/{name}`, [...scope, parameter('name')], METHODS, resource.verbs, resource.kind);
  for (const { name, verbs, kind } of resource.subresources ?? [])
    add(`${collection}/{name}/${name}`, [...scope, parameter('name')], [...METHODS, ['post', 'create', 'post']], verbs, kind);
  if (namespaced) add(`${root}/${resource.resource}`, [], COLLECTION_METHODS.slice(0, 1), resource.verbs, resource.kind);
  return paths;
}

function operationOf(resource: Resource, kind: string, [method, verb, action]: (typeof METHODS)[number]): object {
  const { group } = resource;
  const type = refTo(group, verb === 'list' || verb === 'deletecollection' ? `${kind}List` : kind);
  const content = { 'application/json': { schema: type } };
  const writes = method === 'put' || method === 'post' || method === 'patch';
  return {
    tags: [group ? `${group.replace(/\..*/, '')}_v1` : 'core_v1'],
    description: `${verb} ${resource.resource}`,
    ...(writes
      ? {
          requestBody: {
            content: method === 'patch' ? Object.fromEntries(PATCH_TYPES.map((name) => [name, { schema: { type: 'object' } }])) : content,
          },
        }
      : {}),
    parameters: method === 'get' ? (verb === 'list' ? LIST_PARAMETERS : []) : WRITE_PARAMETERS,
    responses: { [method === 'post' ? '201' : '200']: { description: 'OK', content }, '401': { description: 'Unauthorized' } },
    'x-kubernetes-action': action,
    [KIND_EXTENSION]: gvk({ group, kind }),
  };
}
