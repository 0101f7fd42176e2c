import { IMAGE_GROUP } from '@millrace/domain/image-stream';
import { intervalWarnings } from '@millrace/domain/import-schedule';
import type { ObjectMeta } from '@millrace/domain/object-meta';
import { badRequest, malformed, otherKind, StatusError } from '@millrace/domain/status';
import type { z } from 'zod';
import { apiVersionOf, type Kind } from './views.ts';

/** The version under which tools before API groups, and much documentation, write the kinds of this group. */
const LEGACY_VERSION = 'v1';

/** An object as a client sent it, read; the warnings are for the client. */
export interface Body<T> {
  object: T;
  warnings: string[];
}

/** Where the request says the object is; `name` only for the update of one that has it already. */
export interface Addressed {
  namespace?: string;
  name?: string;
}

/** Reads an object of a kind. Throws {@link StatusError} 400 for another kind or version, for what is none, and for another name or namespace than addressed. */
export function readBody<S extends z.ZodType<{ metadata: ObjectMeta }>>(
  schema: S,
  kind: Kind,
  sent: unknown,
  at: Addressed,
): Body<z.output<S>> {
  const refuse = (why: string) => new StatusError(badRequest(why));
  const typed = (sent ?? {}) as { kind?: unknown; apiVersion?: unknown };
  if (typed.kind && typed.kind !== kind) throw new StatusError(otherKind(String(typed.kind), { group: IMAGE_GROUP, kind }));
  const expected = apiVersionOf(kind);
  const version = typed.apiVersion || expected;
  if (version !== expected && version !== LEGACY_VERSION)
    throw refuse(`the API version in the data (${String(version)}) does not match the expected API version (${expected})`);

  const parsed = schema.safeParse(sent);
  if (!parsed.success) throw new StatusError(malformed(kind, parsed.error));
  const { metadata } = parsed.data;
  checkAddress(metadata, at, refuse);
  // Of an image all but its metadata is kept as text, and what is secret as bytes, where nothing is in the way.
  const { type } = parsed.data as { type?: unknown };
  const unstorable = findUnstorable(kind === 'Image' ? { metadata } : kind === 'Secret' ? { metadata, type } : parsed.data, '');
  if (unstorable) throw refuse(`${unstorable}: a NUL character or half a surrogate pair cannot be stored; remove it`);
  const intervals = kind === 'ImageStream' || kind === 'ImageStreamTag' || kind === 'ImageTag' ? intervalWarnings(parsed.data) : [];
  return { object: parsed.data, warnings: [...legacyWarnings(kind, sent), ...intervals] };
}

/** What the client is to be told of the version that it wrote. */
export function legacyWarnings(kind: Kind, sent: unknown): string[] {
  const version = apiVersionOf(kind);
  if ((sent as { apiVersion?: unknown } | null)?.apiVersion !== LEGACY_VERSION || version === LEGACY_VERSION) return [];
  return [`apiVersion ${LEGACY_VERSION} of ${kind} is a legacy form: write ${version}`];
}

function checkAddress(metadata: ObjectMeta, { namespace, name }: Addressed, refuse: (why: string) => StatusError): void {
  const other = metadata.namespace !== undefined && metadata.namespace !== '' && metadata.namespace !== (namespace ?? '');
  if (name === undefined) {
    if (other) throw refuse('the namespace of the provided object does not match the namespace sent on the request');
    return;
  }
  if (!metadata.name) throw refuse(`the name of the object (${name} based on URL) was undeterminable: name must be provided`);
  if (metadata.name !== name) throw refuse(`the name of the object (${metadata.name}) does not match the name on the URL (${name})`);
  if (other && namespace)
    throw refuse(`the namespace of the object (${metadata.namespace}) does not match the namespace on the request (${namespace})`);
}

/** Path of the first text that Postgres does not take. */
function findUnstorable(value: unknown, path: string): string | undefined {
  if (typeof value === 'string') return value.includes('\0') || !value.isWellFormed() ? path : undefined;
  if (value === null || typeof value !== 'object') return undefined;
  for (const [key, inner] of Object.entries(value)) {
    const at = path ? `${path}.${key}` : key;
    const found = findUnstorable(key, at) ?? findUnstorable(inner, at);
    if (found) return found;
  }
  return undefined;
}
