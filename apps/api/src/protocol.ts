import type { Resource, Verb } from '@millrace/contracts/resources';
import type { AccessRequest } from '@millrace/domain/access';
import {
  badRequest,
  forbidden,
  invalid,
  methodNotAllowed,
  noSuchPath,
  StatusError,
  type FieldError,
  type Status,
} from '@millrace/domain/status';

/** A path below a group and version: objects of a resource, whether we know it or not. */
export interface ObjectPath {
  kind: 'objects';
  group: string;
  version: string;
  resource: string;
  subresource?: string;
  namespace?: string;
  name?: string;
  /** The old way to ask for a watch: `/apis/GROUP/VERSION/watch/...`. */
  watch: boolean;
}
export type ApiPath = ObjectPath | { kind: 'path'; path: string };

/** One request, as far as its line says: what it asks for, before anything of its body is read. */
export interface Asked {
  path: ApiPath;
  /** `create`, `get`, ... for objects; the lower-case method for other paths and for methods that the API does not know. */
  verb: string;
  query: URLSearchParams;
}

const NO_QUERY = new URLSearchParams();
const CONTROL = /[\u0000-\u001f\u007f]/;

/**
 * Reads method and URL as Kubernetes does.
 * @throws StatusError 400 for an escape that is none and for control characters in a name
 */
export function parseRequest(method: string, url: string): Asked {
  const mark = url.indexOf('?');
  const path = parsePath(mark < 0 ? url : url.slice(0, mark));
  const query = mark < 0 ? NO_QUERY : new URLSearchParams(url.slice(mark + 1));
  return { path, query, verb: path.kind === 'objects' ? verbOf(method, path, query) : method === 'HEAD' ? 'get' : method.toLowerCase() };
}

function parsePath(pathname: string): ApiPath {
  const parts = pathname.split('/');
  const from = parts[1] === 'apis' ? 4 : parts[1] === 'api' ? 3 : Number.POSITIVE_INFINITY;
  if (parts.at(-1) === '') parts.pop();
  if (parts.length <= from) return { kind: 'path', path: pathname };
  const [group, version] = from === 4 ? [decoded(parts[2]), decoded(parts[3])] : ['', decoded(parts[2])];
  let rest = parts.slice(from).map(decoded);
  const watch = rest[0] === 'watch' && rest.length > 1;
  if (watch) rest = rest.slice(1);
  const namespaced = rest[0] === 'namespaces' && rest.length > 2;
  const [resource = '', name, subresource, ...more] = namespaced ? rest.slice(2) : rest;
  if (more.length || rest.includes('')) return { kind: 'path', path: pathname };
  return {
    kind: 'objects',
    group,
    version,
    resource,
    watch,
    ...(namespaced ? { namespace: rest[1] } : {}),
    ...(name !== undefined ? { name } : {}),
    ...(subresource !== undefined ? { subresource } : {}),
  };
}

function decoded(part: string | undefined): string {
  let text = part ?? '';
  if (text.includes('%')) {
    try {
      text = decodeURIComponent(text);
    } catch {
      throw new StatusError(badRequest(`the path holds "${part}", which is not percent-encoded UTF-8`));
    }
  }
  if (CONTROL.test(text)) throw new StatusError(badRequest('the path holds a control character'));
  return text;
}

const truthy = (value: string | null): boolean => value !== null && !['false', '0'].includes(value.toLowerCase());

function verbOf(method: string, path: ObjectPath, query: URLSearchParams): string {
  switch (method) {
    case 'GET':
    case 'HEAD':
      if (path.watch) return 'watch';
      return path.name !== undefined ? 'get' : truthy(query.get('watch')) ? 'watch' : 'list';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return path.name === undefined ? 'deletecollection' : 'delete';
    default:
      return method.toLowerCase();
  }
}

/** What access control is asked about a request. */
export function accessOf({ path, verb }: Asked): AccessRequest {
  if (path.kind === 'path') return { kind: 'path', verb, path: path.path };
  const { group, resource, subresource, namespace, name } = path;
  return { kind: 'resource', verb, group, resource, subresource, namespace, name };
}

/** The refusal of a request, in Kubernetes' words. */
export function forbiddenFor(user: string, { path, verb }: Asked): Status {
  if (path.kind === 'path') {
    return {
      ...forbidden({ group: '', resource: '' }, '', ''),
      message: `forbidden: User ${JSON.stringify(user)} cannot ${verb} path ${JSON.stringify(path.path)}`,
      details: {},
    };
  }
  const { group, resource, subresource, namespace, name } = path;
  const what = subresource ? `${resource}/${subresource}` : resource;
  const where = namespace ? `in the namespace "${namespace}"` : 'at the cluster scope';
  return forbidden(
    { group, resource },
    name ?? '',
    `User ${JSON.stringify(user)} cannot ${verb} resource "${what}" in API group "${group}" ${where}`,
  );
}

/** A request that a resource offers. */
export interface Target {
  resource: Resource;
  verb: Verb;
  subresource?: string;
  namespace?: string;
  name?: string;
  /** Kind of the objects that are sent and answered: a subresource may have its own. */
  kind: string;
}

const ITEM_VERBS: readonly string[] = ['get', 'update', 'patch', 'delete'];

/**
 * Finds what a path and verb mean among the resources.
 * @throws StatusError 404 where the path leads to nothing, 405 where it does not offer the method
 */
export function targetOf(path: ObjectPath, verb: string, resources: readonly Resource[]): Target {
  const { namespace, name, subresource } = path;
  const resource = resources.find((r) => r.resource === path.resource && r.group === path.group && r.version === path.version);
  if (!resource || (namespace !== undefined && !resource.namespaced)) throw new StatusError(noSuchPath());
  const everywhere = resource.namespaced && namespace === undefined;
  const sub = subresource === undefined ? undefined : resource.subresources?.find((s) => s.name === subresource);
  const offered = offeredAt(path, resource, sub, everywhere);
  if (offered.length === 0) throw new StatusError(noSuchPath());
  if (!offered.some((one) => one === verb)) {
    if (verb !== 'watch' || !offered.includes('list')) throw new StatusError(methodNotAllowed());
    throw new StatusError(watchNotSupported(resource));
  }
  return { resource, verb: verb as Verb, subresource, namespace, name, kind: sub?.kind ?? resource.kind };
}

function offeredAt(
  path: ObjectPath,
  resource: Resource,
  sub: { verbs: readonly Verb[] } | undefined,
  everywhere: boolean,
): readonly Verb[] {
  if (path.subresource !== undefined) return everywhere || path.watch ? [] : (sub?.verbs ?? []);
  const collection = resource.verbs.filter((verb) => !ITEM_VERBS.includes(verb));
  if (path.name === undefined || path.watch) {
    if (!everywhere) return collection;
    return collection.filter((verb) => verb === 'list' || verb === 'watch');
  }
  return everywhere ? [] : resource.verbs.filter((verb) => ITEM_VERBS.includes(verb));
}

export const watchNotSupported = ({ group, resource }: Resource): Status => ({
  ...methodNotAllowed(`watch is not supported on resources of kind "${group ? `${resource}.${group}` : resource}"`),
  details: { group, kind: resource },
});

/** What a list selects. */
export interface Selection {
  labelSelector?: string;
  fieldSelector?: string;
  limit?: number;
  continue?: string;
  resourceVersion?: string;
  exact?: boolean;
  historyLimit?: number;
}

/** @throws StatusError 400 for numbers that are none, 422 for options that exclude each other */
export function selectionOf(query: URLSearchParams): Selection {
  checkVersionMatch(query);
  const resourceVersion = query.get('resourceVersion') || undefined;
  return {
    labelSelector: query.get('labelSelector') || undefined,
    fieldSelector: query.get('fieldSelector') || undefined,
    // Version 0 is any: the reference answers it from memory, in one page.
    limit: resourceVersion === '0' ? void positive(query, 'limit') : positive(query, 'limit'),
    continue: query.get('continue') || undefined,
    resourceVersion: resourceVersion === '0' ? undefined : resourceVersion,
    ...(query.get('resourceVersionMatch') === 'Exact' ? { exact: true } : {}),
    historyLimit: positive(query, 'historyLimit'),
  };
}

const VERSION_MATCHES = ['Exact', 'NotOlderThan'];

function checkVersionMatch(query: URLSearchParams): void {
  const match = query.get('resourceVersionMatch');
  if (!match || query.get('sendInitialEvents') === 'true') return;
  const refused = (reason: FieldError['reason'], text: string) =>
    new StatusError(invalid('meta.k8s.io', 'ListOptions', '', [{ reason, field: 'resourceVersionMatch', text }]));
  const version = query.get('resourceVersion');
  if (query.get('continue')) throw refused('FieldValueForbidden', 'Forbidden: resourceVersionMatch is forbidden when continue is provided');
  if (!version) throw refused('FieldValueForbidden', 'Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided');
  if (!VERSION_MATCHES.includes(match))
    throw refused(
      'FieldValueNotSupported',
      `Unsupported value: ${JSON.stringify(match)}: supported values: ${VERSION_MATCHES.map((one) => JSON.stringify(one)).join(', ')}, ""`,
    );
  if (match === 'Exact' && version === '0')
    throw refused('FieldValueForbidden', 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
}

/** A whole number above zero; undefined where it is absent, zero or negative, as the reference takes it. */
export function positive(query: URLSearchParams, key: string): number | undefined {
  const text = query.get(key);
  if (!text) return undefined;
  if (!/^[+-]?\d{1,15}$/.test(text)) throw new StatusError(badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`));
  const number = Number(text);
  return number > 0 ? number : undefined;
}

const OPTIONS_KIND: Partial<Record<Verb, string>> = {
  create: 'CreateOptions',
  update: 'UpdateOptions',
  patch: 'PatchOptions',
  delete: 'DeleteOptions',
  deletecollection: 'DeleteOptions',
};

export const optionsKindOf = (verb: Verb): string => OPTIONS_KIND[verb] ?? 'CreateOptions';

/** Whether a write is a rehearsal: `?dryRun=All`, or `dryRun` in DeleteOptions. */
export function isDryRun(verb: Verb, query: URLSearchParams, given?: unknown): boolean {
  const values = [...query.getAll('dryRun'), ...(Array.isArray(given) ? given.map(String) : [])].filter((value) => value !== '');
  if (values.length === 0) return false;
  if (values.every((value) => value === 'All')) return true;
  const text = `Unsupported value: ${JSON.stringify(values)}: supported values: "All"`;
  throw new StatusError(invalid('meta.k8s.io', optionsKindOf(verb), '', [{ reason: 'FieldValueNotSupported', field: 'dryRun', text }]));
}
