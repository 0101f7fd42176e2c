import { applyPatch, type Operation } from 'rfc6902';
import { badRequest, StatusError, tooLarge, unsupportedMediaType, type Status } from '@millrace/domain/status';
import { isMergedSet, itemKeyOf, mergeKeyOf } from '@millrace/domain/merge-lists';
import type { IncomingHttpHeaders } from 'node:http';
import { mediaTypeOf, parseEither, parseJson, refuseEncoded } from './body.ts';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

/** A change to an object that stands in storage. */
export type Patch =
  | { kind: 'json'; operations: Operation[] }
  | { kind: 'merge'; change: JsonObject }
  | { kind: 'strategic'; change: JsonObject }
  /** Server-side apply: what is applied is merged in, and created where there is nothing yet. Who owns which field is not kept. */
  | { kind: 'apply'; change: JsonObject };

const PATCH_TYPES = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
];
const MAX_OPERATIONS = 10_000;

/** @throws StatusError 400 for what is no patch, 413 for too many operations, 415 for other media types */
export function decodePatch(body: Buffer, headers: IncomingHttpHeaders): Patch {
  refuseEncoded(headers);
  const type = mediaTypeOf(headers);
  switch (type) {
    case 'application/json-patch+json': {
      const operations = parseJson(body, 'JSONPatch');
      if (!Array.isArray(operations) || !operations.every(isOperation))
        throw new StatusError(badRequest('a JSON patch is an array of operations, each with op and path'));
      if (operations.length > MAX_OPERATIONS)
        throw new StatusError(tooLarge(`The allowed maximum operations in a JSON patch is ${MAX_OPERATIONS}, got ${operations.length}`));
      return { kind: 'json', operations };
    }
    case 'application/merge-patch+json':
      return { kind: 'merge', change: changeOf(parseJson(body, 'MergePatch')) };
    case 'application/strategic-merge-patch+json':
      return { kind: 'strategic', change: changeOf(parseJson(body, 'StrategicMergePatch')) };
    case 'application/apply-patch+yaml': {
      const change = changeOf(parseEither(body, 'ApplyConfiguration'));
      if (isObject(change['metadata']) && change['metadata']['managedFields'] != null)
        throw new StatusError(badRequest('metadata.managedFields must be nil'));
      return { kind: 'apply', change };
    }
    default:
      throw new StatusError(
        unsupportedMediaType(`the body of the request was in an unknown format - accepted media types include: ${PATCH_TYPES.join(', ')}`),
      );
  }
}

const isOperation = (one: unknown): one is Operation => isObject(one) && typeof one['op'] === 'string' && typeof one['path'] === 'string';

function changeOf(value: unknown): JsonObject {
  if (!isObject(value)) throw new StatusError(badRequest('a merge patch is a JSON object'));
  return value;
}

/** Whether the patch itself names the version it is meant for; then a conflict is the client's to resolve. */
export function namesVersion(patch: Patch): boolean {
  if (patch.kind === 'json') return patch.operations.some((one) => one.path === '/metadata/resourceVersion');
  const { metadata } = patch.change;
  return isObject(metadata) && metadata['resourceVersion'] != null;
}

/**
 * The object after the patch; the given one is not changed.
 * @param limitBytes how large copies within the object may make it
 * @throws StatusError 422 for operations that do not fit the object
 */
export function patched(object: JsonObject, patch: Patch, limitBytes: number): JsonObject {
  switch (patch.kind) {
    case 'json':
      return operated(object, patch.operations, limitBytes);
    case 'merge':
      return merged(object, patch.change) as JsonObject;
    case 'strategic':
      return strategic(object, patch.change, '');
    case 'apply':
      return strategic(object, { ...patch.change, metadata: withoutVersionless(patch.change['metadata']) }, '');
    default:
      return patch satisfies never;
  }
}

/** An applied configuration says which object it is for; only a resourceVersion in it is a condition. */
const withoutVersionless = (metadata: Json | undefined): JsonObject =>
  isObject(metadata) ? Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== null)) : {};

const unprocessable = (message: string): Status => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Failure',
  message: 'the server rejected our request due to an error in our request',
  reason: 'Invalid',
  details: { causes: [{ reason: 'UnexpectedServerResponse', message }] },
  code: 422,
});

function operated(object: JsonObject, operations: readonly Operation[], limitBytes: number): JsonObject {
  // An operation on the whole document replaces what `document` holds.
  const holder = { document: structuredClone(object) as Json };
  let copied = 0;
  for (const operation of operations) {
    const rooted = {
      ...operation,
      path: `/document${operation.path}`,
      ...('from' in operation ? { from: `/document${operation.from}` } : {}),
    };
    const [error] = applyPatch(holder, [rooted as Operation]);
    if (error) throw new StatusError(unprocessable(`${operation.op} operation at ${operation.path} does not apply: ${error.name}`));
    if (operation.op !== 'copy') continue;
    copied += JSON.stringify(holder.document).length;
    if (JSON.stringify(holder.document).length > limitBytes || copied > 64 * limitBytes)
      throw new StatusError(tooLarge(`copy operations make the object larger than ${limitBytes} bytes`));
  }
  if (!isObject(holder.document)) throw new StatusError(unprocessable('the patch leaves no object'));
  return holder.document;
}

/** RFC 7386. */
export function merged(target: Json | undefined, change: Json): Json {
  if (!isObject(change)) return change;
  const result: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(change)) {
    if (value === null) Reflect.deleteProperty(result, key);
    else result[key] = merged(result[key], value);
  }
  return result;
}

/** Kubernetes' strategic merge: as a merge patch, but lists with a merge key are merged by item, and `$` directives are obeyed. */
function strategic(target: JsonObject, change: JsonObject, path: string): JsonObject {
  if (change['$patch'] === 'replace') return withoutDirectives(change);
  if (change['$patch'] === 'delete') return {};
  const kept = change['$retainKeys'];
  const result: JsonObject = Array.isArray(kept)
    ? Object.fromEntries(Object.entries(target).filter(([key]) => kept.includes(key)))
    : { ...target };
  for (const [key, value] of Object.entries(change)) {
    if (key === '$patch' || key === '$retainKeys' || key.startsWith('$setElementOrder/')) continue;
    if (key.startsWith('$deleteFromPrimitiveList/')) {
      const list = key.slice('$deleteFromPrimitiveList/'.length);
      const gone = Array.isArray(value) ? value : [];
      if (Array.isArray(result[list])) result[list] = result[list].filter((item) => !gone.includes(item));
      continue;
    }
    const at = path ? `${path}.${key}` : key;
    if (value === null) Reflect.deleteProperty(result, key);
    else if (isObject(value)) result[key] = strategic(isObject(result[key]) ? result[key] : {}, value, at);
    else if (Array.isArray(value)) {
      const list = mergedList(Array.isArray(result[key]) ? result[key] : [], value, at);
      result[key] = inOrder(list, change[`$setElementOrder/${key}`], at);
    } else result[key] = value;
  }
  return result;
}

function mergedList(target: readonly Json[], change: readonly Json[], path: string): Json[] {
  if (isMergedSet(path)) return [...new Set([...target, ...change])];
  const mergeKey = mergeKeyOf(path);
  if (mergeKey === undefined) return change.map((item) => (isObject(item) ? withoutDirectives(item) : item));
  if (change.some((item) => isObject(item) && item['$patch'] === 'replace' && Object.keys(item).length === 1))
    return change.filter((item) => !(isObject(item) && item['$patch'] !== undefined));
  const result = [...target];
  for (const item of change) {
    if (!isObject(item) || item[mergeKey] === undefined)
      throw new StatusError(badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${mergeKey}`));
    const index = placeOf(result, item, {
      path,
      mergeKey,
      alone: change.filter((one) => isObject(one) && one[mergeKey] === item[mergeKey]).length === 1,
    });
    const before = result[index];
    if (item['$patch'] === 'delete') {
      if (index >= 0) result.splice(index, 1);
    } else if (index >= 0 && isObject(before)) result[index] = strategic(before, item, path);
    else result.push(strategic({}, item, path));
  }
  return result;
}

/** A changed list in the order that the client gives it; what the client does not know stays behind what it was behind. */
function inOrder(list: Json[], order: Json | undefined, path: string): Json[] {
  const mergeKey = mergeKeyOf(path);
  if (!mergeKey || !Array.isArray(order)) return list;
  const wanted = order.map((item) => isObject(item) && item[mergeKey]);
  const placeOf = (item: Json) => (isObject(item) ? wanted.indexOf(item[mergeKey] ?? false) : -1);
  const groups: { place: number; items: Json[] }[] = [];
  for (const item of list) {
    const place = placeOf(item);
    const last = groups.at(-1);
    if (place < 0 && last) last.items.push(item);
    else groups.push({ place, items: [item] });
  }
  return groups.toSorted((a, b) => a.place - b.place).flatMap(({ items }) => items);
}

/** Where the item is that a change means: the one of the same key, or the only one that its first field can mean. */
function placeOf(
  list: readonly Json[],
  item: JsonObject,
  { path, mergeKey, alone }: { path: string; mergeKey: string; alone: boolean },
): number {
  const key = JSON.stringify(itemKeyOf(path, item));
  const exact = list.findIndex((other) => JSON.stringify(itemKeyOf(path, other)) === key);
  if (exact >= 0) return exact;
  const similar = list.flatMap((other, i) => (isObject(other) && other[mergeKey] === item[mergeKey] ? [i] : []));
  return alone && similar.length === 1 ? (similar[0] ?? -1) : -1;
}

function withoutDirectives(value: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, item]) => !key.startsWith('$') && item !== null)
      .map(([key, item]) => [key, isObject(item) ? withoutDirectives(item) : item]),
  );
}
