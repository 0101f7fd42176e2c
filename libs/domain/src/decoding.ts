import { z } from 'zod';

/*
 * What is wrong with the types in a body, in the words of the reference, whose decoder knows Go's types: clients show them, and tools
 * look for them.
 */

interface Def {
  type: string;
  innerType?: z.ZodType;
  in?: z.ZodType;
  shape?: Record<string, z.ZodType>;
  element?: z.ZodType;
  valueType?: z.ZodType;
}

const defOf = (schema: z.ZodType): Def => schema.def as unknown as Def;

/** Why `sent`, which `schema` does not take, is no object of the kind; of several reasons the first. */
export function decodingProblem(kind: string, schema: z.ZodType, error: z.ZodError, sent: unknown): string {
  const [issue] = error.issues;
  return `${kind} in version "v1" cannot be handled as a ${kind}: ${issue ? problemOf(kind, schema, issue, sent) : 'malformed'}`;
}

function problemOf(kind: string, root: z.ZodType, issue: z.core.$ZodIssue, sent: unknown): string {
  let struct = kind;
  let schema: z.ZodType | undefined = written(root);
  let value = sent;
  const fields: string[] = [];
  for (const key of issue.path) {
    const def: Def | undefined = schema && defOf(schema);
    if (def?.shape) {
      struct = nameOf(schema) ?? struct;
      fields.push(String(key));
    }
    const next: z.ZodType | undefined = def?.shape?.[String(key)] ?? def?.element ?? def?.valueType;
    schema = next && written(next);
    value = (value as Record<PropertyKey, unknown> | null | undefined)?.[key];
  }
  const path = issue.path.join('.') || 'body';
  if (!schema || !fields.length || value === undefined || value === null) return `${path}: ${issue.message}`;
  const [said, wanted] = [wordOf(value, schema), goType(schema)];
  if (!wanted || said === wanted) return `${path}: ${issue.message}`;
  return `json: cannot unmarshal ${said} into Go struct field ${struct}.${fields.join('.')} of type ${wanted}`;
}

/** The schema below optional, nullable, default and transform: what a client writes. */
function written(schema: z.ZodType): z.ZodType {
  const { innerType, in: input } = defOf(schema);
  const below = innerType ?? input;
  return below ? written(below) : schema;
}

const nameOf = (schema: z.ZodType | undefined): string | undefined => schema && z.globalRegistry.get(schema)?.id;

function goType(schema: z.ZodType): string | undefined {
  const { type, element, valueType } = defOf(schema);
  const below = element ?? valueType;
  const inner = below && goType(written(below));
  const name = nameOf(schema);
  switch (type) {
    case 'string':
      return 'string';
    case 'boolean':
      return 'bool';
    case 'number':
      return 'int64';
    case 'array':
      return inner && `[]${inner}`;
    case 'record':
      return inner && `map[string]${inner}`;
    case 'object':
      return name && `v1.${name}`;
    default:
      return undefined;
  }
}

/** What JSON calls a value; a number that is none of the wanted kind is shown. */
function wordOf(value: unknown, wanted: z.ZodType): string {
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return defOf(wanted).type === 'number' ? `number ${value}` : 'number';
  return typeof value === 'boolean' ? 'bool' : typeof value;
}
