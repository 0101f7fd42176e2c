import type { z } from 'zod';

/** Fields of `metadata` that a server manages and clients send back; no shape of ours has them. */
const SERVER_METADATA = new Set(['managedFields', 'selfLink', 'deletionTimestamp', 'deletionGracePeriodSeconds', 'clusterName']);
const MOST = 100;

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
export function inputOf(schema: z.ZodType): z.ZodType {
  let found = schema;
  for (;;) {
    const { innerType, in: input } = defOf(found);
    const below = innerType ?? input;
    if (!below) return found;
    found = below;
  }
}

/** Paths of the fields that a schema does not know, as Kubernetes writes them: `spec.tags[0].nope`. */
export function unknownFields(schema: z.ZodType, value: unknown): string[] {
  const found: string[] = [];
  visit(schema, value, '', found);
  return found;
}

function visit(schema: z.ZodType, value: unknown, path: string, found: string[]): void {
  if (value === null || typeof value !== 'object' || found.length >= MOST) return;
  const { shape, element, valueType, catchall } = defOf(inputOf(schema));
  if (Array.isArray(value)) {
    if (element) value.forEach((item, index) => visit(element, item, `${path}[${index}]`, found));
    return;
  }
  for (const [key, item] of Object.entries(value)) {
    const field = path ? `${path}.${key}` : key;
    const known = shape ? (Object.hasOwn(shape, key) ? shape[key] : undefined) : valueType;
    if (known) visit(known, item, field, found);
    else if (shape && !catchall && !(SERVER_METADATA.has(key) && Object.hasOwn(shape, 'generateName'))) found.push(field);
  }
}
