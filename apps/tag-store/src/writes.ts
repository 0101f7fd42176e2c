import type { Identity } from '@millrace/domain/access';
import type { ObjectMeta } from '@millrace/domain/object-meta';
import { conflict, invalid, type ResourceName, StatusError } from '@millrace/domain/status';
import { randomSuffix, SUFFIX_LENGTH } from '@millrace/platform/generated-names';

/* What holds for the writing of every kind of object. */

export interface WriteOptions {
  user: Identity;
  /** Answer as if, and write nothing. */
  dryRun: boolean;
}

/** How a PATCH writes: it sends back the whole object that it read. */
export interface PutOptions extends WriteOptions {
  patched?: boolean;
}

/** What must hold for an object to be deleted. */
export interface Preconditions {
  uid?: string;
  resourceVersion?: string;
}

const GENERATED_LENGTH_MAX = 63;

/** The metadata with the name that `generateName` leads to, where no name is given. */
export function withName(metadata: ObjectMeta): ObjectMeta {
  if (metadata.name || !metadata.generateName) return metadata;
  return { ...metadata, name: metadata.generateName.slice(0, GENERATED_LENGTH_MAX - SUFFIX_LENGTH) + randomSuffix() };
}

/** Refuses an update that does not say which state it is based on (422), or is based on another than the current (409). */
export function checkUpdate(of: ResourceName, current: ObjectMeta, submitted: ObjectMeta): void {
  const { name = '', uid, resourceVersion } = submitted;
  if (uid && uid !== current.uid)
    throw new StatusError(conflict(of, name, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.uid}`));
  if (!resourceVersion) {
    // As the reference words it: the value is that of a number.
    const missing = {
      reason: 'FieldValueInvalid' as const,
      field: 'metadata.resourceVersion',
      text: 'Invalid value: 0: must be specified for an update',
    };
    throw new StatusError(invalid(of.group, of.resource, name, [missing]));
  }
  if (resourceVersion !== current.resourceVersion)
    throw new StatusError(
      conflict(of, name, 'the object has been modified; please apply your changes to the latest version and try again'),
    );
}

/** Refuses (409) to delete an object that is not, or no longer, the one that is meant. `of.resource` is its kind, as in the reference. */
export function checkPreconditions(of: ResourceName, current: ObjectMeta, { uid, resourceVersion }: Preconditions): void {
  const { name = '' } = current;
  if (uid !== undefined && uid !== current.uid) {
    const why = `the UID in the precondition (${uid}) does not match the UID in record (${current.uid})`;
    throw new StatusError(conflict(of, name, `${why}. The object might have been deleted and then recreated`));
  }
  if (resourceVersion !== undefined && resourceVersion !== current.resourceVersion) {
    const why = `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record`;
    throw new StatusError(conflict(of, name, `${why} (${current.resourceVersion}). The object might have been modified`));
  }
}

/** Equal as JSON, whatever the order of keys; absent, null and empty are one. */
export function sameJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(normal(a)) === JSON.stringify(normal(b));
}

function normal(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value ?? undefined;
  if (Array.isArray(value)) return value.length ? value.map(normal) : undefined;
  const entries = Object.entries(value)
    .map(([key, inner]) => [key, normal(inner)] as const)
    .filter(([, inner]) => inner !== undefined)
    .sort(([x], [y]) => (x < y ? -1 : 1));
  return entries.length ? Object.fromEntries(entries) : undefined;
}
