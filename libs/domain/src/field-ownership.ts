import { changedFields, FieldSet, pathText, removeAll, valueAt, type FieldsV1 } from './field-sets.ts';
import { isAtomic, isMergedSet, itemKeyOf, mergeKeyOf } from './merge-lists.ts';
import { badRequest, StatusError, type Status } from './status.ts';

/** Who owns which fields: an entry of `metadata.managedFields`. */
export interface ManagedFields {
  manager: string;
  operation: 'Apply' | 'Update';
  apiVersion: string;
  time?: string;
  fieldsType: 'FieldsV1';
  fieldsV1: FieldsV1;
}

type Fields = Record<string, unknown>;

/** One writer, at one time. */
export interface Writer {
  manager: string;
  apiVersion: string;
  /** RFC 3339 in whole seconds. */
  now: string;
}

/** What server-side apply makes of an object: the object with its owners, or the fields that others own with another value. */
export type Applied = { kind: 'applied'; object: Fields } | { kind: 'conflicts'; conflicts: readonly FieldConflict[] };

export interface FieldConflict {
  owner: Pick<ManagedFields, 'manager' | 'operation' | 'apiVersion'>;
  field: string;
}

/** Owner of everything that was there before the first apply: until then nobody keeps count. */
const BEFORE = 'before-first-apply';
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
const KUBECTL = 'kubectl';

interface Owner extends Omit<ManagedFields, 'fieldsV1' | 'fieldsType'> {
  fields: FieldSet;
}

/**
 * Merges a configuration into an object, takes out what the manager applied before, leaves out now and nobody else owns, and says whose
 * fields are in the way. `force` takes those over. What kubectl once applied on its own side is no conflict for kubectl.
 */
export function applyFields(live: Fields, configuration: Fields, writer: Writer, force: boolean): Applied {
  const owners = ownersOf(live, writer);
  const own = owners.find((owner) => owner.operation === 'Apply' && owner.manager === writer.manager);
  const others = owners.filter((owner) => owner !== own);
  const fields = FieldSet.of(configuration);
  const object = merge(structuredClone(live), configuration, '') as Fields;
  const dropped = [...(own?.fields ?? [])].filter(
    (path) => !fields.touches(path) && !others.some((other) => other.fields.touches(path)) && !isKeyField(path),
  );
  removeAll(object, dropped);

  const { all: changed, written } = changedFields(live, object);
  const allowed = writer.manager === KUBECTL ? appliedByClient(live) : new FieldSet();
  const conflicts = others.flatMap((other) =>
    [...other.fields.filter((path) => written.has(path) && !allowed.has(path))].map((path) => ({ owner: other, field: pathText(path) })),
  );
  if (conflicts.length && !force) return { kind: 'conflicts', conflicts };
  const kept = others.map((other) => ({ ...other, fields: other.fields.filter((path) => !changed.has(path)) }));
  const unchanged = own && changed.empty && sameFields(own.fields, fields);
  const next: Owner = { ...writerOf(writer), operation: 'Apply', time: unchanged ? own.time : writer.now, fields };
  const result = withOwners(object, [...kept, next]);
  return { kind: 'applied', object: writer.manager === KUBECTL ? withLastApplied(result, configuration) : result };
}

/**
 * The object of an update with its owners: the writer owns what it changed. As long as nothing was ever applied nobody keeps count; an empty
 * list that the client sends ends the count.
 */
export function updateFields(live: Fields, next: Fields, writer: Writer): Fields {
  const sent = managedFieldsOf(next);
  if (sent?.length === 0 || (sent?.length === 1 && Object.keys(sent[0] ?? {}).length === 0)) return withOwners(next, []);
  if (!sent?.length && !managedFieldsOf(live)?.length) return next;
  const owners = ownersOf(sent?.length ? next : live, writer);
  const { all: changed, written } = changedFields(live, next);
  const left = owners.map((owner) => ({ ...owner, fields: owner.fields.filter((path) => !changed.has(path)) }));
  const own = left.find((owner) => owner.operation === 'Update' && owner.manager === writer.manager);
  if (written.empty) return withOwners(next, left);
  const after: Owner = { ...writerOf(writer), operation: 'Update', time: writer.now, fields: own ? own.fields.union(written) : written };
  return withOwners(next, [...left.filter((owner) => owner !== own), after]);
}

/** 409, in the words of Kubernetes. */
export function applyConflict(conflicts: readonly FieldConflict[]): Status {
  const named = conflicts.map(({ owner, field }) => ({ who: nameOf(owner), field }));
  const owners = [...new Set(named.map(({ who }) => who))].sort();
  const [only] = named;
  const what =
    named.length === 1 && only
      ? `1 conflict: conflict with ${only.who}: ${only.field}`
      : `${named.length} conflicts: ${owners
          .map((who) => `conflicts with ${who}:\n${named.flatMap((one) => (one.who === who ? [`- ${one.field}`] : [])).join('\n')}`)
          .join('\n')}`;
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: `Apply failed with ${what}`,
    reason: 'Conflict',
    details: { causes: named.map(({ who, field }) => ({ reason: 'FieldManagerConflict', message: `conflict with ${who}`, field })) },
    code: 409,
  };
}

const nameOf = ({ manager, operation, apiVersion }: FieldConflict['owner']): string =>
  operation === 'Update' ? `${JSON.stringify(manager)} using ${apiVersion}` : JSON.stringify(manager);

const writerOf = ({ manager, apiVersion }: Writer) => ({ manager, apiVersion });

function managedFieldsOf(object: Fields): readonly Partial<ManagedFields>[] | undefined {
  const managed = (object['metadata'] as Fields | undefined)?.['managedFields'];
  return Array.isArray(managed) ? (managed as Partial<ManagedFields>[]) : undefined;
}

function ownersOf(object: Fields, { apiVersion }: Writer): Owner[] {
  const managed = managedFieldsOf(object) ?? [];
  if (managed.length === 0) return [{ manager: BEFORE, operation: 'Update', apiVersion, fields: FieldSet.of(object) }];
  return managed.map((entry) => ({
    manager: String(entry.manager ?? ''),
    operation: entry.operation === 'Apply' ? 'Apply' : 'Update',
    apiVersion: String(entry.apiVersion ?? apiVersion),
    ...(entry.time ? { time: String(entry.time) } : {}),
    fields: FieldSet.read(entry.fieldsV1),
  }));
}

function withOwners(object: Fields, owners: readonly Owner[]): Fields {
  const managedFields = owners
    .filter(({ fields }) => !fields.empty)
    .map(({ fields, ...owner }): ManagedFields => ({ ...owner, fieldsType: 'FieldsV1', fieldsV1: fields.written() }));
  return { ...object, metadata: { ...(object['metadata'] as Fields | undefined), managedFields } };
}

/** The name of an item goes with the item. */
function isKeyField(path: readonly string[]): boolean {
  const [item = '', field = ''] = path.slice(-2);
  return item.startsWith('k:') && field.startsWith('f:') && Object.hasOwn(JSON.parse(item.slice(2)) as object, field.slice(2));
}

function merge(live: unknown, change: unknown, at: string): unknown {
  if (isObject(change) && !isAtomic(at)) {
    const object = isObject(live) ? live : {};
    for (const [key, value] of Object.entries(change).filter(([name]) => name !== '__proto__'))
      object[key] = merge(object[key], value, at ? `${at}.${key}` : key);
    return object;
  }
  const mergeKey = mergeKeyOf(at);
  if (!Array.isArray(change) || !(mergeKey || isMergedSet(at))) return structuredClone(change);
  const items: unknown[] = Array.isArray(live) ? live : [];
  if (!mergeKey) return [...new Set([...items, ...(change as unknown[])])];
  const places = new Map(items.map((one, i) => [JSON.stringify(itemKeyOf(at, one)), i] as const).toReversed());
  const names = new Set<string>();
  for (const [index, item] of (change as unknown[]).entries()) {
    const key = itemKeyOf(at, item);
    if (key[mergeKey] === undefined)
      throw new StatusError(
        badRequest(`.${at}: element ${index}: associative list with keys has an element that omits key field ${JSON.stringify(mergeKey)}`),
      );
    const name = JSON.stringify(key);
    if (names.has(name))
      throw new StatusError(badRequest(`.${at}: duplicate entries for key [${mergeKey}=${JSON.stringify(key[mergeKey])}]`));
    names.add(name);
    const place = places.get(name);
    if (place !== undefined) items[place] = merge(items[place], item, at);
    else items.push(structuredClone(item));
  }
  return items;
}

/** What kubectl applied on its own side, and is still so. */
function appliedByClient(live: Fields): FieldSet {
  const text = valueAt(live, ['f:metadata', 'f:annotations', `f:${LAST_APPLIED}`]);
  if (typeof text !== 'string') return new FieldSet();
  try {
    const applied = JSON.parse(text) as unknown;
    const { all: changed } = changedFields(applied, live);
    return FieldSet.of(applied).filter((path) => !changed.has(path));
  } catch {
    return new FieldSet();
  }
}

/** kubectl's own record of what was applied follows, so that its users may go back to applying on their side. */
function withLastApplied(object: Fields, configuration: Fields): Fields {
  const metadata = object['metadata'] as Fields;
  const annotations = metadata['annotations'];
  if (!isObject(annotations) || typeof annotations[LAST_APPLIED] !== 'string') return object;
  const own = structuredClone(configuration);
  removeAll(own, [
    ['f:metadata', 'f:managedFields'],
    ['f:metadata', 'f:annotations', `f:${LAST_APPLIED}`],
  ]);
  return { ...object, metadata: { ...metadata, annotations: { ...annotations, [LAST_APPLIED]: `${JSON.stringify(sorted(own))}\n` } } };
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
}

const sameFields = (a: FieldSet, b: FieldSet): boolean => [...a].every((path) => b.has(path)) && [...b].every((path) => a.has(path));
const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);
