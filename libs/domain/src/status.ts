import { z } from 'zod';

/** One cause of a Status: which field, and what is wrong with it. */
export const StatusCause = z.object({ reason: z.string().optional(), message: z.string().optional(), field: z.string().optional() });
export type StatusCause = z.infer<typeof StatusCause>;

/** Kubernetes' `Status`: the body of every error, of a DELETE and of a posted mapping. */
export const Status = z
  .object({
    kind: z.literal('Status').default('Status'),
    apiVersion: z.literal('v1').default('v1'),
    metadata: z.looseObject({}).default({}),
    status: z.enum(['Success', 'Failure']),
    message: z.string().optional(),
    reason: z.string().optional(),
    details: z
      .object({
        name: z.string().optional(),
        group: z.string().optional(),
        kind: z.string().optional(),
        uid: z.string().optional(),
        causes: z.array(StatusCause).optional(),
        retryAfterSeconds: z.int().optional(),
      })
      .optional(),
    code: z.int().optional(),
  })
  .meta({ id: 'Status' });
export type Status = z.infer<typeof Status>;

/** Which resource an error speaks of, as clients print it: `imagestreams.image.openshift.io`. */
export interface ResourceName {
  group: string;
  resource: string;
}

const qualified = ({ group, resource }: ResourceName): string => (group ? `${resource}.${group}` : resource);

/** What is wrong with one field. `text` is the whole sentence after the field's path, as the reference words it. */
export interface FieldError {
  reason:
    | 'FieldValueRequired'
    | 'FieldValueInvalid'
    | 'FieldValueNotFound'
    | 'FieldValueForbidden'
    | 'FieldValueDuplicate'
    | 'FieldValueNotSupported'
    | 'FieldValueTooLong'
    | 'InternalError';
  field: string;
  text: string;
}

export const required = (field: string, detail = ''): FieldError => ({
  reason: 'FieldValueRequired',
  field,
  text: detail ? `Required value: ${detail}` : 'Required value',
});
export const invalidValue = (field: string, value: unknown, detail: string): FieldError => ({
  reason: 'FieldValueInvalid',
  field,
  text: `Invalid value: ${JSON.stringify(value)}: ${detail}`,
});
export const fieldNotFound = (field: string, value: unknown): FieldError => ({
  reason: 'FieldValueNotFound',
  field,
  text: `Not found: ${JSON.stringify(value)}`,
});
export const forbiddenField = (field: string, detail: string): FieldError => ({
  reason: 'FieldValueForbidden',
  field,
  text: `Forbidden: ${detail}`,
});
/** `max` is in characters. */
export const tooLong = (field: string, max: number): FieldError => ({
  reason: 'FieldValueTooLong',
  field,
  text: `Too long: may not be more than ${max} characters`,
});
export const internalField = (field: string, detail: string): FieldError => ({
  reason: 'InternalError',
  field,
  text: `Internal error: ${detail}`,
});

/** A refusal, for whoever has no name of its own here. */
export const failure = (code: number, reason: string, message: string, details?: Status['details']): Status => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Failure',
  message,
  reason,
  ...(details ? { details } : {}),
  code,
});

export const notFound = (of: ResourceName, name: string): Status =>
  failure(404, 'NotFound', `${qualified(of)} "${name}" not found`, { name, group: of.group || undefined, kind: of.resource });
export const alreadyExists = (of: ResourceName, name: string): Status =>
  failure(409, 'AlreadyExists', `${qualified(of)} "${name}" already exists`, { name, group: of.group || undefined, kind: of.resource });
export const conflict = (of: ResourceName, name: string, why: string): Status =>
  failure(409, 'Conflict', `Operation cannot be fulfilled on ${qualified(of)} "${name}": ${why}`, {
    name,
    group: of.group || undefined,
    kind: of.resource,
  });
export const badRequest = (message: string): Status => failure(400, 'BadRequest', message);

/** How the reference begins to say that what was sent is none of a kind. */
export const cannotBeHandled = (kind: string, as = kind): string => `${kind} in version "v1" cannot be handled as a ${as}`;
/** 400 for an object of another kind than the one that belongs there. */
export const otherKind = (given: string, { group, kind }: { group: string; kind: string }): Status =>
  badRequest(`${cannotBeHandled(given, kind)}: converting (v1.${given}) to (${group.split('.', 1)[0]}.${kind}): unknown conversion`);
/** 400 for an object that has not the shape of its kind: the first thing that is wrong with it. */
export const malformed = (kind: string, { issues: [issue] }: z.ZodError): Status =>
  badRequest(`${cannotBeHandled(kind)}: ${issue?.path.join('.') || 'body'}: ${issue?.message ?? 'malformed'}`);

export const unauthorized = (message = 'Unauthorized'): Status => failure(401, 'Unauthorized', message);
export const forbidden = (of: ResourceName, name: string, why: string): Status =>
  failure(403, 'Forbidden', `${qualified(of)}${name ? ` "${name}"` : ''} is forbidden: ${why}`, {
    name: name || undefined,
    group: of.group || undefined,
    kind: of.resource,
  });
export const methodNotAllowed = (message = 'the server does not allow this method on the requested resource'): Status =>
  failure(405, 'MethodNotAllowed', message, {});
export const noSuchPath = (): Status => failure(404, 'NotFound', 'the server could not find the requested resource', {});
export const tooLarge = (message: string): Status => failure(413, 'RequestEntityTooLarge', message);
export const unsupportedMediaType = (message: string): Status => failure(415, 'UnsupportedMediaType', message);
export const notAcceptable = (message: string): Status => failure(406, 'NotAcceptable', message);
export const gone = (message: string): Status => failure(410, 'Expired', message);
export const internalError = (message: string): Status =>
  failure(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ message }] });
export const unavailable = (message: string, retryAfterSeconds = 1): Status =>
  failure(503, 'ServiceUnavailable', message, { retryAfterSeconds });

/** 422 with one cause per field error. `kind` is the object's kind, as in `ImageStream.image.openshift.io "s" is invalid: …`. */
export function invalid(group: string, kind: string, name: string, errors: FieldError[]): Status {
  const lines = errors.map((e) => `${e.field}: ${e.text}`);
  return failure(
    422,
    'Invalid',
    `${group ? `${kind}.${group}` : kind} "${name}" is invalid: ${lines.length === 1 ? lines[0] : `[${lines.join(', ')}]`}`,
    {
      name: name || undefined,
      group: group || undefined,
      kind,
      causes: errors.map((e) => ({ reason: e.reason, message: e.text, field: e.field })),
    },
  );
}

export const success = (details?: Status['details']): Status => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Success',
  ...(details ? { details } : {}),
});

/** Carries a Status from the rule or noun that refuses to the door that answers. */
export class StatusError extends Error {
  override name = 'StatusError';
  readonly status: Status;
  constructor(status: Status, options?: ErrorOptions) {
    super(status.message ?? status.reason ?? 'failure', options);
    this.status = status;
  }
}
