import { z } from 'zod';

/** An optional field as Kubernetes clients send it: absent and JSON null mean the same. */
export const optional = <S extends z.ZodType>(schema: S) =>
  schema
    .nullish()
    .transform((value) => value ?? undefined)
    .optional();

const TextMap = z.record(z.string(), z.string());

/** `metadata` of every object. Fields that a server manages are accepted and overwritten; unknown ones are dropped. */
export const ObjectMeta = z
  .object({
    name: optional(z.string()).describe('Name of the object, unique for its kind within a namespace.'),
    generateName: optional(z.string()).describe('What a name begins with that the server completes, where none is given.'),
    namespace: optional(z.string()).describe('Namespace of the object.'),
    uid: optional(z.string()).describe('Identifies the object over time. Set by the server.'),
    resourceVersion: optional(z.string()).describe('Version of the object; a replace names the one that it is based on.'),
    generation: optional(z.int()).describe('Counts the changes of the spec. Set by the server.'),
    creationTimestamp: optional(z.string()).describe('When the object was made. Set by the server.'),
    labels: optional(TextMap).describe('Keys and values by which objects are selected.'),
    annotations: optional(TextMap).describe('Keys and values for tools and people.'),
    ownerReferences: optional(z.array(z.record(z.string(), z.unknown()))),
    finalizers: optional(z.array(z.string())),
    managedFields: optional(z.array(z.record(z.string(), z.unknown()))),
  })
  .meta({ id: 'ObjectMeta', description: 'What every object has: its name, its version, its labels.' });
export type ObjectMeta = z.infer<typeof ObjectMeta>;

/** Any object of the API: enough to route it, to check its name and to print it. */
export const ApiObject = z.looseObject({ kind: z.string().optional(), apiVersion: z.string().optional(), metadata: ObjectMeta.optional() });
export type ApiObject = z.infer<typeof ApiObject>;

/** A reference as in `from: {kind, namespace, name}`. */
export const ObjectReference = z
  .object({
    kind: optional(z.string()),
    namespace: optional(z.string()),
    name: optional(z.string()),
    apiVersion: optional(z.string()),
    uid: optional(z.string()),
    resourceVersion: optional(z.string()),
    fieldPath: optional(z.string()),
  })
  .meta({ id: 'ObjectReference' });
export type ObjectReference = z.infer<typeof ObjectReference>;
