import type { z } from 'zod';
import type { Json } from './patch.ts';

/** Fields of `metadata` that a server manages and clients send back; no shape of ours has them. */
const SERVER_METADATA = new Set(['managedFields', 'selfLink', 'deletionTimestamp', 'deletionGracePeriodSeconds', 'clusterName']);
const MOST = 100;

/** Texts that have a type of their own in the reference, by struct and field; clients see its name in errors. */
const NAMED_TEXTS: Record<string, string> = {
  'TagImportPolicy.importMode': 'v1.ImportModeType',
  'TagReferencePolicy.type': 'v1.TagReferencePolicyType',
};

interface Def {
  type: string;
  innerType?: z.ZodType;
  in?: z.ZodType;
  shape?: Record<string, z.ZodType>;
  element?: z.ZodType;
  valueType?: z.ZodType;
  catchall?: z.ZodType;
}

const defOf = (schema: z.ZodType): Def => schema.def as unknown as Def;

/** The schema below optional, nullable, default and transform: what a client writes. */
function inputOf(schema: z.ZodType): z.ZodType {
  let found = schema;
  for (;;) {
    const { innerType, in: input } = defOf(found);
    const below = innerType ?? input;
    if (!below) return found;
    found = below;
  }
}

/** An object as a client wrote it, read as the reference's decoder reads it. */
export interface Fields {
  /** With nulls where the shape has them; elsewhere a null says nothing, as in the reference. */
  object: Record<string, Json>;
  /** Paths of the fields that the shape does not know, as Kubernetes writes them: `spec.tags[0].nope`. */
  unknown: string[];
  /** The first value of a wrong type, in the reference's words. */
  mismatch?: string;
}

export function readFields(schema: z.ZodType, object: Record<string, Json>): Fields {
  const reader = new Reader();
  const read = reader.read(schema, object, { path: '', names: [], struct: '' }) as Record<string, Json>;
  return { object: read, unknown: reader.unknown, mismatch: reader.mismatch };
}

/** Paths of the fields that an object has more than once; the last one is what it means. `json` is valid JSON. */
export function duplicateFields(json: string): string[] {
  const found = new Set<string>();
  const open: { path: string; keys?: Set<string>; key: string; index: number }[] = [];
  let keyNext = false;
  const below = (): string => {
    const top = open.at(-1);
    if (!top) return '';
    return top.keys ? joined(top.path, top.key) : `${top.path}[${top.index}]`;
  };
  for (let i = 0; i < json.length; i++) {
    const top = open.at(-1);
    switch (json[i]) {
      case '"': {
        const from = i++;
        while (i < json.length && json[i] !== '"') i += json[i] === '\\' ? 2 : 1;
        if (!keyNext || !top?.keys) break;
        top.key = JSON.parse(json.slice(from, i + 1)) as string;
        if (top.keys.has(top.key) && found.size < MOST) found.add(below());
        top.keys.add(top.key);
        keyNext = false;
        break;
      }
      case '{':
        open.push({ path: below(), keys: new Set(), key: '', index: 0 });
        keyNext = true;
        break;
      case '[':
        open.push({ path: below(), key: '', index: 0 });
        keyNext = false;
        break;
      case ',':
        if (top) top.index++;
        keyNext = top?.keys !== undefined;
        break;
      case '}':
      case ']':
        open.pop();
        keyNext = false;
        break;
    }
  }
  return [...found];
}

interface At {
  /** `spec.tags[0].from` */
  path: string;
  /** The same without indices, and the struct that holds the field: how the decoder names a place. */
  names: readonly string[];
  struct: string;
}

class Reader {
  readonly unknown: string[] = [];
  mismatch: string | undefined;

  read(schema: z.ZodType, value: Json, at: At): Json {
    const input = inputOf(schema);
    const { type, shape, element, valueType } = defOf(input);
    switch (type) {
      case 'object':
        if (!isObject(value)) return this.mismatched(value, `v1.${nameOf(input)}`, at);
        return shape ? this.struct(input, shape, value, at) : value;
      case 'record':
        if (!isObject(value)) return this.mismatched(value, goTypeOf(input), at);
        return Object.fromEntries(
          Object.entries(value).map(([key, item]) => [key, this.item(valueType, item, { ...at, path: joined(at.path, key) })]),
        );
      case 'array':
        if (!Array.isArray(value)) return this.mismatched(value, goTypeOf(input), at);
        return value.map((item, i) => this.item(element, item, { ...at, path: `${at.path}[${i}]` }));
      case 'string':
        if (typeof value !== 'string') return this.mismatched(value, NAMED_TEXTS[`${at.struct}.${at.names.at(-1)}`] ?? 'string', at);
        return value;
      case 'boolean':
        return typeof value === 'boolean' ? value : this.mismatched(value, 'bool', at);
      case 'number':
        return typeof value === 'number' && Number.isInteger(value) ? value : this.mismatched(value, 'int64', at);
      default:
        return value;
    }
  }

  private struct(input: z.ZodType, shape: Record<string, z.ZodType>, value: Record<string, Json>, at: At): Json {
    const { catchall } = defOf(input);
    const struct = nameOf(input);
    const read: Record<string, Json> = {};
    for (const [key, item] of Object.entries(value)) {
      const path = joined(at.path, key);
      const field = Object.hasOwn(shape, key) ? shape[key] : undefined;
      if (field) {
        if (item === null) {
          if (field.safeParse(null).success) read[key] = null;
          // Absent and null are one, except where the shape wants the field.
          else if (!field.safeParse(undefined).success) read[key] = zeroOf(field);
        } else define(read, key, this.read(field, item, { path, names: [...at.names, key], struct }));
      } else {
        define(read, key, item);
        if (!catchall && !(SERVER_METADATA.has(key) && Object.hasOwn(shape, 'generateName'))) this.unknownAt(path);
      }
    }
    return read;
  }

  /** An item of a list or map; null is the type's zero. */
  private item(schema: z.ZodType | undefined, value: Json, at: At): Json {
    if (!schema) return value;
    return value === null && !schema.safeParse(null).success ? zeroOf(schema) : this.read(schema, value, at);
  }

  private unknownAt(path: string): void {
    if (this.unknown.length < MOST) this.unknown.push(path);
  }

  private mismatched(value: Json, goType: string, { names, struct }: At): Json {
    const what = typeof value === 'number' && goType === 'int64' ? `number ${value}` : kindOf(value);
    const place = struct ? `struct field ${struct}.${names.join('.')}` : 'value';
    this.mismatch ??= `json: cannot unmarshal ${what} into Go ${place} of type ${goType}`;
    return value;
  }
}

const isObject = (value: Json): value is Record<string, Json> => typeof value === 'object' && value !== null && !Array.isArray(value);
const joined = (path: string, key: string): string => (path ? `${path}.${key}` : key);
const nameOf = (schema: z.ZodType): string => (schema.meta()?.id as string | undefined) ?? 'Object';

/** A key like `__proto__` is a field like any other. */
const define = (object: Record<string, Json>, key: string, value: Json): void =>
  void Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true });

const kindOf = (value: Json): string => {
  if (value === null) return 'null';
  if (typeof value === 'boolean') return 'bool';
  return Array.isArray(value) ? 'array' : typeof value;
};

function goTypeOf(schema: z.ZodType): string {
  const input = inputOf(schema);
  const { type, element, valueType } = defOf(input);
  switch (type) {
    case 'array':
      return `[]${element ? goTypeOf(element) : 'interface {}'}`;
    case 'record':
      return `map[string]${valueType ? goTypeOf(valueType) : 'interface {}'}`;
    case 'object':
      return `v1.${nameOf(input)}`;
    case 'boolean':
      return 'bool';
    case 'number':
      return 'int64';
    case 'string':
      return 'string';
    default:
      return 'interface {}';
  }
}

function zeroOf(schema: z.ZodType): Json {
  switch (defOf(inputOf(schema)).type) {
    case 'object':
    case 'record':
      return {};
    case 'array':
      return [];
    case 'boolean':
      return false;
    case 'number':
      return 0;
    case 'string':
      return '';
    default:
      return null;
  }
}
