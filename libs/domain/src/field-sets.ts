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
  /** Of the paths and all above them; made when it is first asked for. */
  private reached: Set<string> | undefined;

  constructor(paths: Iterable<Path> = []) {
    this.paths = new Map([...paths].map((path) => [keyOf(path), path]));
  }

  /** The fields of an object that somebody may own. */
  static of(object: unknown): FieldSet {
    return new FieldSet(fieldsOf(object).map(({ path }) => path));
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
    this.reached ??= new Set([...this.paths.values()].flatMap((one) => one.map((_, i) => keyOf(one.slice(0, i + 1)))));
    return this.reached.has(keyOf(path));
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

/** Takes fields and items out of an object, in place. */
export function removeAll(object: unknown, paths: Iterable<Path>): void {
  const find = finder();
  const items = new Map<unknown[], Set<unknown>>();
  for (const path of paths) {
    const parent = path.slice(0, -1).reduce(find, object);
    const element = path.at(-1) ?? '';
    if (Array.isArray(parent)) {
      const gone = items.get(parent) ?? new Set();
      items.set(parent, gone.add(find(parent, element)));
    } else if (isObject(parent)) Reflect.deleteProperty(parent, element.slice(2));
  }
  // Last, because finding an item needs its list as it was.
  for (const [list, gone] of items) {
    const kept = list.filter((item) => !gone.has(item));
    kept.forEach((item, i) => (list[i] = item));
    list.length = kept.length;
  }
}

/** What lies between two states of an object. */
export interface Changed {
  /** Fields of either that the other does not have, or has with another value. */
  all: FieldSet;
  /** Those of them that are there afterwards. */
  written: FieldSet;
}

export function changedFields(before: unknown, after: unknown): Changed {
  const [old, next] = [before, after].map((object) => new Map(fieldsOf(object).map((field) => [keyOf(field.path), field])));
  const [inOld, inNext] = [finder(), finder()];
  const all: Path[] = [];
  const written: Path[] = [];
  for (const [key, { path }] of new Map([...(old ?? []), ...(next ?? [])])) {
    // A field that one of them spells out may be one value in the other.
    const was = old?.has(key) ? old.get(key)?.value : path.reduce(inOld, before);
    const is = next?.has(key) ? next.get(key)?.value : path.reduce(inNext, after);
    // An item of a list is its fields; whether it is there is all that is asked here.
    const kept = was !== undefined && is !== undefined && (path.at(-1)?.startsWith('k:') || same(was, is));
    if (kept || (was === undefined && is === undefined)) continue;
    all.push(path);
    if (is !== undefined) written.push(path);
  }
  return { all: new FieldSet(all), written: new FieldSet(written) };
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

interface Field {
  path: Path;
  value: unknown;
}

function fieldsOf(object: unknown): Field[] {
  const found: Field[] = [];
  collect(object, '', [], found);
  return found;
}

function collect(value: unknown, at: string, path: Path, found: Field[]): void {
  if (isObject(value) && !isAtomic(at)) {
    const entries = Object.entries(value).filter(([key]) => !(at === '' ? UNOWNED : at === 'metadata' ? UNOWNED_METADATA : NONE).has(key));
    for (const [key, item] of entries) collect(item, at ? `${at}.${key}` : key, [...path, `f:${key}`], found);
    if (entries.length === 0 && path.length && at !== 'metadata') found.push({ path, value });
    return;
  }
  const mergeKey = mergeKeyOf(at);
  if (Array.isArray(value) && mergeKey) {
    for (const item of value as unknown[]) {
      const element = [...path, `k:${JSON.stringify({ [mergeKey]: isObject(item) ? item[mergeKey] : undefined })}`];
      found.push({ path: element, value: item });
      collect(item, at, element, found);
    }
  } else if (Array.isArray(value) && isMergedSet(at)) {
    for (const item of value as unknown[]) found.push({ path: [...path, `v:${JSON.stringify(item)}`], value: item });
  } else found.push({ path, value });
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

/** {@link step} that knows the items of the lists it has been through; these must not change meanwhile. */
function finder(): (value: unknown, element: string) => unknown {
  const lists = new Map<unknown[], Map<string, Map<string, unknown>>>();
  return (value, element) => {
    if (!Array.isArray(value) || !element.startsWith('k:')) return step(value, element);
    const wanted = parsed(element.slice(2));
    const names = Object.keys(isObject(wanted) ? wanted : {});
    const shape = names.join('\0');
    const known = lists.get(value) ?? new Map<string, Map<string, unknown>>();
    lists.set(value, known);
    let items = known.get(shape);
    if (!items) {
      items = new Map();
      for (const item of value as unknown[]) {
        const key = JSON.stringify(names.map((name) => (isObject(item) ? item[name] : undefined)));
        if (!items.has(key)) items.set(key, item);
      }
      known.set(shape, items);
    }
    return items.get(JSON.stringify(names.map((name) => (wanted as Record<string, unknown>)[name])));
  };
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

export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => same(item, b[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}
