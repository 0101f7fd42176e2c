import { isAtomic, isMergedSet, mergeKeyOf } from './merge-lists.ts';

/*
 * Sets of fields of an object, as Kubernetes writes them in `managedFields`: `{"f:spec": {"f:tags": {"k:{\"name\":\"v1\"}": {".": {}, "f:from": {}}}}}`.
 */

/** As it is written (FieldsV1): `f:` a field, `k:` an item of a list by its key, `v:` an item of a set, `.` the thing itself. */
export interface FieldsV1 {
  [element: string]: FieldsV1;
}

type Path = readonly string[];
const keyOf = (path: Path): string => path.join('\0');

/** Fields that the server alone sets: nobody owns them. */
const UNOWNED = new Set(['apiVersion', 'kind', 'status']);
const UNOWNED_METADATA = new Set([
  ...['name', 'namespace', 'generateName', 'uid', 'resourceVersion', 'generation', 'creationTimestamp', 'managedFields', 'selfLink'],
  ...['deletionTimestamp', 'deletionGracePeriodSeconds'],
]);

/** Paths of fields; each path once. */
export class FieldSet {
  private readonly paths: Map<string, Path>;

  constructor(paths: Iterable<Path> = []) {
    this.paths = new Map([...paths].map((path) => [keyOf(path), path]));
  }

  /** The fields of an object that somebody may own. */
  static of(object: unknown): FieldSet {
    const found: Path[] = [];
    collect(object, '', [], found);
    return new FieldSet(found);
  }

  static read(fields: unknown): FieldSet {
    const found: Path[] = [];
    const visit = (node: unknown, path: Path): void => {
      const entries = isObject(node) ? Object.entries(node) : [];
      if (path.length && (entries.length === 0 || entries.some(([element]) => element === '.'))) found.push(path);
      // What a client made up is not taken for a field.
      for (const [element, below] of entries) if (isElement(element)) visit(below, [...path, element]);
    };
    visit(fields, []);
    return new FieldSet(found);
  }

  written(): FieldsV1 {
    const root: FieldsV1 = {};
    for (const path of this.paths.values()) {
      let node = root;
      for (const element of path) node = node[element] ??= {};
      node['.'] = {};
    }
    return withoutLoneDots(root);
  }

  get empty(): boolean {
    return this.paths.size === 0;
  }

  has(path: Path): boolean {
    return this.paths.has(keyOf(path));
  }

  /** Whether the path, or something below it, is in the set. */
  touches(path: Path): boolean {
    if (this.has(path)) return true;
    const below = `${keyOf(path)}\0`;
    return [...this.paths.keys()].some((key) => key.startsWith(below));
  }

  filter(keep: (path: Path) => boolean): FieldSet {
    return new FieldSet([...this.paths.values()].filter(keep));
  }

  union(other: FieldSet): FieldSet {
    return new FieldSet([...this.paths.values(), ...other.paths.values()]);
  }

  [Symbol.iterator](): Iterator<Path> {
    return this.paths.values();
  }
}

/** The value at a path; undefined where there is none. */
export function valueAt(object: unknown, path: Path): unknown {
  let found = object;
  for (const element of path) found = step(found, element);
  return found;
}

/** Takes a field or item out of an object, in place. */
export function removeAt(object: unknown, path: Path): void {
  const parent = valueAt(object, path.slice(0, -1));
  const element = path.at(-1) ?? '';
  if (Array.isArray(parent)) {
    const at = parent.indexOf(step(parent, element));
    if (at >= 0) parent.splice(at, 1);
  } else if (isObject(parent)) Reflect.deleteProperty(parent, element.slice(2));
}

/** Fields of either object that the other does not have, or has with another value. */
export function changedFields(before: unknown, after: unknown): FieldSet {
  return FieldSet.of(before)
    .union(FieldSet.of(after))
    .filter((path) => {
      const [old, next] = [valueAt(before, path), valueAt(after, path)];
      if (old === undefined || next === undefined) return old !== next;
      // An item of a list is its fields; whether it is there is all that is asked here.
      return !path.at(-1)?.startsWith('k:') && !same(old, next);
    });
}

/** `.spec.tags[name="v1"].from`, as errors name fields. */
export const pathText = (path: Path): string =>
  path
    .map((element) => {
      const rest = element.slice(2);
      if (element.startsWith('f:')) return `.${rest}`;
      if (element.startsWith('v:')) return `[=${rest}]`;
      const pairs = Object.entries(JSON.parse(rest) as object).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
      return `[${pairs.join(',')}]`;
    })
    .join('');

function collect(value: unknown, at: string, path: Path, found: Path[]): void {
  if (isObject(value) && !isAtomic(at)) {
    const entries = Object.entries(value).filter(([key]) => !(at === '' ? UNOWNED : at === 'metadata' ? UNOWNED_METADATA : NONE).has(key));
    for (const [key, item] of entries) collect(item, at ? `${at}.${key}` : key, [...path, `f:${key}`], found);
    if (entries.length === 0 && path.length && at !== 'metadata') found.push(path);
    return;
  }
  const mergeKey = mergeKeyOf(at);
  if (Array.isArray(value) && mergeKey) {
    for (const item of value as unknown[]) {
      const element = [...path, `k:${JSON.stringify({ [mergeKey]: isObject(item) ? item[mergeKey] : undefined })}`];
      found.push(element);
      collect(item, at, element, found);
    }
  } else if (Array.isArray(value) && isMergedSet(at)) {
    for (const item of value) found.push([...path, `v:${JSON.stringify(item)}`]);
  } else found.push(path);
}
const NONE = new Set<string>();

function step(value: unknown, element: string): unknown {
  const rest = element.slice(2);
  if (element.startsWith('f:')) return isObject(value) && Object.hasOwn(value, rest) ? value[rest] : undefined;
  if (!Array.isArray(value)) return undefined;
  const wanted = parsed(rest);
  if (element.startsWith('v:')) return (value as unknown[]).find((item) => same(item, wanted));
  const pairs = Object.entries((wanted ?? {}) as object);
  return (value as unknown[]).find((item) => isObject(item) && pairs.every(([key, one]) => same(item[key], one)));
}

const isElement = (element: string): boolean =>
  element.startsWith('f:') || (element.startsWith('k:') ? isObject(parsed(element.slice(2))) : element.startsWith('v:'));

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function withoutLoneDots(node: FieldsV1): FieldsV1 {
  const keys = Object.keys(node);
  if (keys.length === 1 && keys[0] === '.') return {};
  return Object.fromEntries(keys.map((key) => [key, withoutLoneDots(node[key] ?? {})]));
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => same(item, b[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}
