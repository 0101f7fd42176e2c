import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import type { z } from 'zod';
import { resources, type Resource } from '@millrace/contracts/resources';

/* Requests that nobody should send: made from the shapes of the contracts, and recordings of real clients with something wrong in them. */

export interface FuzzRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body?: Buffer;
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const DIGEST = `sha256:${'a'.repeat(64)}`;
const TEXTS = [
  ...[
    '',
    'a',
    'web',
    'web:latest',
    `web@${DIGEST}`,
    DIGEST,
    'A_B',
    '-',
    '.',
    '..',
    'a/b',
    'x'.repeat(64),
    'x'.repeat(254),
    'latest',
    '1.0',
  ],
  ...['quay.io/a/b:1', `quay.io/a/b@${DIGEST}`, 'http://x', '172.30.0.1:5000/a/b', 'DockerImage', 'ImageStreamTag', 'ImageStreamImage'],
  ...['Legacy', 'PreserveOriginal', 'Local', 'Source', '__proto__', 'constructor', 'null', '0', '-1', '2026-11-21T01:00:00Z', 'not a time'],
  ...[
    '\0',
    '\u0000x',
    '\ud800',
    '\u202e',
    'ü',
    '💥',
    '\n',
    '"',
    '\\',
    '%00',
    '../../etc/passwd',
    "'; DROP TABLE stream; --",
    '{{x}}',
    '$ref',
  ],
];
const NAMESPACES = ['fuzz', 'fuzz', 'fuzz', 'fuzz', 'fuzz', 'fuzz-b', 'Fuzz', '%2e%2e', 'x'.repeat(64), ''];
const NAMES = [
  ...['web', 'web', 'web', 'web:latest', 'web:latest'],
  'web',
  'web:latest',
  `web@${DIGEST}`,
  'web@sha256:a',
  DIGEST,
  'none',
  'web%3Alatest',
  'a%2Fb',
  '%00',
  '%ff',
  '%ud800',
  'x'.repeat(300),
];
const METHODS = ['GET', 'GET', 'POST', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'];
const TYPES = [
  ...['application/json', 'application/json; charset=latin1', 'application/yaml', 'application/vnd.kubernetes.protobuf', 'text/plain', ''],
  ...[
    'application/json-patch+json',
    'application/merge-patch+json',
    'application/strategic-merge-patch+json',
    'application/apply-patch+yaml',
  ],
];
const ACCEPTS = [
  ...['application/json', '*/*', 'application/yaml', 'application/vnd.kubernetes.protobuf', 'text/html, */*;q=0.8', ';;,,', 'a/b'],
  ...['application/json;as=Table;v=v1;g=meta.k8s.io', 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io'],
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
];
const QUERIES = [
  ...[
    'limit=1',
    'limit=-1',
    'limit=9e9',
    'limit=x',
    'continue=garbage',
    'continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhL2JcdTAwMDAifQ',
  ],
  ...['resourceVersion=0', 'resourceVersion=1', 'resourceVersion=x', 'resourceVersion=99999999999999999999', 'resourceVersionMatch=Exact'],
  ...[
    'watch=1&timeoutSeconds=1',
    'watch=true&timeoutSeconds=1&allowWatchBookmarks=true',
    'sendInitialEvents=true&timeoutSeconds=1',
    'historyLimit=1',
  ],
  ...[
    'labelSelector=a%3Db',
    'labelSelector=a+in+(',
    'labelSelector=!!',
    'fieldSelector=metadata.name%3Dweb',
    'fieldSelector=spec.x%3D1',
    'fieldSelector=%5C',
  ],
  ...[
    'dryRun=All',
    'dryRun=x',
    'fieldValidation=Strict',
    'fieldValidation=Ignore',
    'fieldValidation=x',
    'fieldManager=fuzz',
    'force=true',
    'pretty=1',
  ],
  ...['includeObject=Object', 'includeObject=None', '%', '%zz=1', '=&=&&', '__proto__=1'],
];

const text = (): fc.Arbitrary<string> =>
  fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...TEXTS) }, fc.string({ unit: 'binary', maxLength: 40 }));
const number = (): fc.Arbitrary<Json> => fc.oneof(fc.integer(), fc.constantFrom(0, 1, -1, 1.5, 2 ** 53, -(2 ** 63), 1e308));
const junk = (): fc.Arbitrary<Json> =>
  fc.oneof(text(), number(), fc.boolean(), fc.constant(null), fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json>);

interface Def {
  type: string;
  innerType?: z.ZodType;
  in?: z.ZodType;
  shape?: Record<string, z.ZodType>;
  element?: z.ZodType;
  valueType?: z.ZodType;
}

/** Values that have a schema's shape nearly everywhere. */
function shaped(schema: z.ZodType): fc.Arbitrary<Json> {
  const { type, innerType, in: input, shape, element, valueType } = schema.def as unknown as Def;
  const below = innerType ?? input;
  if (below) return shaped(below);
  const right = (): fc.Arbitrary<Json> => {
    switch (type) {
      case 'object': {
        const fields = Object.fromEntries(Object.entries(shape ?? {}).map(([key, field]) => [key, shaped(field)]));
        return fc.record(fields, { requiredKeys: [] }) as fc.Arbitrary<Json>;
      }
      case 'record':
        return fc.dictionary(text(), valueType ? shaped(valueType) : junk(), { maxKeys: 3 });
      case 'array':
        return fc.array(element ? shaped(element) : junk(), { maxLength: 3 });
      case 'string':
        return text();
      case 'number':
        return number();
      case 'boolean':
        return fc.boolean();
      default:
        return junk();
    }
  };
  return fc.oneof({ weight: 15, arbitrary: right() }, junk());
}

const among = (values: readonly string[]): fc.Arbitrary<string> => fc.constantFrom(...values);
const query = (): fc.Arbitrary<string> =>
  fc.array(among(QUERIES), { maxLength: 3 }).map((parts) => (parts.length ? `?${parts.join('&')}` : ''));

function pathOf({ group, version, resource, namespaced, subresources = [] }: Resource): fc.Arbitrary<string> {
  const root = `${group ? `/apis/${group}` : '/api'}/${version}`;
  const below = ['', '', ...subresources.map(({ name }) => `/${name}`), '/nosuch'];
  return fc
    .tuple(fc.boolean(), among(NAMESPACES), fc.option(among(NAMES)), among(below), query())
    .map(([everywhere, namespace, name, subresource, search]) => {
      const place = namespaced !== everywhere ? `/namespaces/${namespace}` : '';
      return `${root}${place}/${resource}${name === null ? '' : `/${name}${subresource}`}${search}`;
    });
}

const headers = (): fc.Arbitrary<Record<string, string>> =>
  fc.tuple(among(TYPES), among(ACCEPTS)).map(([type, accept]) => ({ accept, ...(type ? { 'content-type': type } : {}) }));

/** Bytes of a value: as JSON, cut off, with a byte changed, nested deeply, or anything. */
function bodyOf(value: fc.Arbitrary<Json>): fc.Arbitrary<Buffer> {
  const json = value.map((one) => Buffer.from(JSON.stringify(one)));
  return fc.oneof(
    { weight: 20, arbitrary: json },
    { weight: 2, arbitrary: fc.tuple(json, fc.nat()).map(([bytes, at]) => bytes.subarray(0, at % (bytes.length + 1))) },
    { weight: 2, arbitrary: fc.tuple(json, fc.nat(), fc.nat(255)).map(([bytes, at, byte]) => withByte(bytes, at, byte)) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 3_000 }).map((depth) => Buffer.from('{"a":'.repeat(depth) + '['.repeat(depth))) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom('a: &a [*a]', 'a: &x 1\nb: *x', '- - - -', '!!js/function x', '\t', '? a', '<<: {}')
        .map((yaml) => Buffer.from(yaml)),
    },
  );
}

function withByte(bytes: Buffer, at: number, byte: number): Buffer {
  const changed = Buffer.from(bytes);
  if (changed.length) changed[at % changed.length] = byte;
  return changed;
}

const operations = (): fc.Arbitrary<Json> =>
  fc.array(
    fc.record(
      {
        op: among(['add', 'remove', 'replace', 'move', 'copy', 'test', 'odd']),
        path: among([
          '',
          '/',
          '/metadata',
          '/metadata/name',
          '/metadata/managedFields',
          '/spec/tags/0',
          '/spec/tags/-',
          '/~2',
          'x',
          '/__proto__/x',
        ]),
        from: among(['', '/spec', '/spec/tags/0', '/metadata/labels', '/none']),
        value: junk(),
      },
      { requiredKeys: ['op', 'path'] },
    ) as fc.Arbitrary<Json>,
    { maxLength: 4 },
  );

function made(): fc.Arbitrary<FuzzRequest> {
  return fc.oneof(
    ...resources.map((resource) => {
      const value = fc.oneof({ weight: 4, arbitrary: named(resource.schema ? shaped(resource.schema) : junk()) }, operations());
      return fc
        .tuple(among(METHODS), pathOf(resource), headers(), bodyOf(value))
        .map(([method, path, head, body]): FuzzRequest => ({ method, path, headers: head, ...(sendsBody(method) ? { body } : {}) }));
    }),
  );
}

/** Mostly under a name that other requests use too, and of the kind of its path. */
function named(value: fc.Arbitrary<Json>): fc.Arbitrary<Json> {
  const name = among(['web', 'web', 'web:latest', DIGEST]);
  const own = fc.tuple(value, name).map(([one, called]) => {
    if (typeof one !== 'object' || one === null || Array.isArray(one)) return one;
    const { kind: _, apiVersion: __, metadata, ...rest } = one;
    return { ...rest, metadata: { ...(metadata as object), name: called, namespace: '', resourceVersion: '' } } as Json;
  });
  return fc.oneof({ weight: 4, arbitrary: own }, value);
}

const sendsBody = (method: string): boolean => !['GET', 'HEAD', 'OPTIONS'].includes(method);

interface Recorded {
  method: string;
  path: string;
  accept?: string;
  reqContentType?: string;
  reqBody?: string;
}

/** What the recordings sent to the image API and to discovery. */
function recorded(): Recorded[] {
  const directory = fileURLToPath(new URL('../../../conformance/golden/', import.meta.url));
  return readdirSync(directory)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .flatMap((file) => (JSON.parse(readFileSync(directory + file, 'utf8')) as { steps: { http: Recorded[] }[] }).steps)
    .flatMap(({ http }) => http)
    .filter(({ path }) => !/[^\u0021-\u007e]/.test(path));
}

/** One recorded request, usually with one thing changed. */
function mutated(all: readonly Recorded[]): fc.Arbitrary<FuzzRequest> {
  const changes = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.tuple(fc.nat(), junk()).map(([at, value]) => (one: FuzzRequest) => ({ ...one, body: withValue(one.body, at, value) })),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.nat(), fc.nat(255))
        .map(([at, byte]) => (one: FuzzRequest) => ({ ...one, body: one.body && withByte(one.body, at, byte) })),
    },
    {
      weight: 1,
      arbitrary: among(METHODS).map((method) => (one: FuzzRequest) => ({ ...one, method, body: sendsBody(method) ? one.body : undefined })),
    },
    { weight: 1, arbitrary: headers().map((head) => (one: FuzzRequest) => ({ ...one, headers: head })) },
    {
      weight: 1,
      arbitrary: among(QUERIES).map((more) => (one: FuzzRequest) => ({
        ...one,
        path: one.path + (one.path.includes('?') ? '&' : '?') + more,
      })),
    },
    { weight: 1, arbitrary: fc.constant((one: FuzzRequest) => one) },
  );
  return fc.tuple(fc.constantFrom(...all), changes).map(([{ method, path, accept, reqContentType, reqBody }, change]) =>
    change({
      method,
      path: /[?&]watch=|\/v1\/watch\//.test(path) ? `${path}${path.includes('?') ? '&' : '?'}timeoutSeconds=1` : path,
      headers: { accept: accept || '*/*', ...(reqContentType ? { 'content-type': reqContentType } : {}) },
      ...(reqBody && sendsBody(method) ? { body: Buffer.from(reqBody) } : {}),
    }),
  );
}

/** The body with one of its values, by number, replaced. */
function withValue(body: Buffer | undefined, at: number, value: Json): Buffer | undefined {
  let root: Json;
  try {
    root = JSON.parse(body?.toString() ?? '') as Json;
  } catch {
    return body;
  }
  const places: { parent: Record<string, Json>; key: string }[] = [];
  const visit = (node: Json): void => {
    if (typeof node !== 'object' || node === null) return;
    for (const [key, item] of Object.entries(node)) {
      places.push({ parent: node as Record<string, Json>, key });
      visit(item);
    }
  };
  visit(root);
  const place = places[at % (places.length + 1)];
  if (!place) return Buffer.from(JSON.stringify(value));
  place.parent[place.key] = value;
  return Buffer.from(JSON.stringify(root));
}

/** Requests of a seed, in batches, for ever: the same seed gives the same requests. */
export function* fuzzRequests(seed: number): Generator<FuzzRequest[]> {
  const arbitrary = fc.oneof(made(), mutated(recorded()));
  for (let batch = 0; ; batch++) yield fc.sample(arbitrary, { seed: seed + batch, numRuns: 500 });
}
