import { IMAGE_GROUP } from './image-stream.ts';
import { failure as refusal, forbidden, internalError, notFound, type Status, unauthorized } from './status.ts';

/* What a failed look into a registry is called, in the words of the reference, and whether trying again can help. */

/** What went wrong, as far as these rules care. */
export interface Failure {
  /** Code of the registry client's error. */
  code: string;
  /** The registry's own code, such as `NAME_UNKNOWN`. */
  registryCode?: string;
  /** What the registry says beside its code. */
  registryMessage?: string;
  /** The token server said it, not the registry. */
  fromTokenServer?: boolean;
  /** Where it was asked, without credentials or query: `https://quay.io/v2/`. */
  url: string;
  /** For people. */
  message: string;
}

export interface Looked {
  /** Pull spec as it was asked for. */
  pullSpec: string;
  /** A single image, or the list of a repository's tags. */
  of: 'image' | 'repository';
}

/** The `Status` of one image, or of a repository, that could not be looked at. */
export function failureStatus({ pullSpec, of }: Looked, failure: Failure): Status {
  const said = failure.registryCode && registrySaid(failure.registryCode, failure.registryMessage);
  const internal = (detail: string) => internalError(of === 'image' ? `${pullSpec}: ${detail}` : detail);
  switch (failure.code) {
    case 'not-found':
      // A registry that says that there is no such repository was not asked for a tag in vain.
      if (of === 'image' && failure.registryCode === 'NAME_UNKNOWN') return internal(said || 'name unknown');
      return notFound({ group: IMAGE_GROUP, resource: 'dockerimage' }, pullSpec);
    case 'credentials-refused':
      if (failure.fromTokenServer) return unauthorized(`incorrect username or password for image "${pullSpec}"`);
      return noAccess({ pullSpec, of }, failure);
    case 'unauthorized':
    case 'forbidden':
    case 'credentials-missing':
      return noAccess({ pullSpec, of }, failure);
    case 'blocked-address':
      return forbidden({ group: IMAGE_GROUP, resource: 'dockerimage' }, pullSpec, failure.message);
    case 'rate-limited':
    case 'server-error':
      return internal(said || failure.message);
    case 'no-registry':
      return refusal(400, 'NotV2Registry', `registry "${new URL(failure.url).host}" does not support the v2 Registry API`);
    case 'plain-http':
      return internal(`Get "${failure.url}": http: server gave HTTP response to HTTPS client`);
    case 'unreachable':
    case 'timeout':
    case 'tls':
      return internal(`Get "${failure.url}": ${failure.message}`);
    default:
      return internal(failure.message);
  }
}

function noAccess({ pullSpec, of }: Looked, { url }: Failure): Status {
  if (of === 'repository') return internalError(`Get "${url}": no basic auth credentials`);
  return unauthorized(`you may not have access to the container image "${pullSpec}"`);
}

/** `toomanyrequests: slow down`; where the registry only repeats what its code means, the code alone. */
function registrySaid(code: string, message = ''): string {
  const words = code.toLowerCase().replaceAll('_', ' ');
  return message && !MEANINGS.has(message) ? `${words}: ${message}` : words;
}

/** What the distribution API says to its codes. */
const MEANINGS = new Set([
  'repository name not known to registry',
  'manifest unknown',
  'authentication required',
  'requested access to the resource is denied',
  'too many requests',
  'service unavailable',
  'unknown error',
]);

/** Nothing will change unless somebody changes something: the name is wrong, access is missing, or the content is none that can be used. */
const PERMANENT = new Set([
  'not-found',
  'unauthorized',
  'forbidden',
  'credentials-missing',
  'credentials-refused',
  'blocked-address',
  'plain-http',
  'unsupported-manifest',
  'malformed',
  'too-large',
  'invalid-reference',
  'digest-mismatch',
]);

/** Whether the same look may succeed later, though nobody changes anything. */
export function mayPass({ code }: Pick<Failure, 'code'>): boolean {
  return !PERMANENT.has(code);
}

const FIRST_MS = 5_000;
const LONGEST_MS = 30 * 60_000;
const ATTEMPTS_MAX = 60;

export type NextAttempt = { kind: 'retry'; inMs: number } | { kind: 'give-up'; reason: 'permanent' | 'attempts-used-up' };

/**
 * What follows a failed background import: 5 seconds later, then twice as long each time up to half an hour, about a day in all. A registry
 * that asks to be left alone for longer is. `attempts` counts the failed ones, this one included; `random` is at least 0 and below 1.
 */
export function afterFailedImport(failure: { passes: boolean; retryAfterMs?: number }, attempts: number, random: number): NextAttempt {
  if (!failure.passes) return { kind: 'give-up', reason: 'permanent' };
  if (attempts >= ATTEMPTS_MAX) return { kind: 'give-up', reason: 'attempts-used-up' };
  const backoff = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempts - 1, 20));
  const inMs = Math.max(backoff, Math.min(failure.retryAfterMs ?? 0, 24 * 3_600_000));
  // Up to a quarter later, so that what failed together is not tried together.
  return { kind: 'retry', inMs: Math.round(inMs * (1 + random / 4)) };
}
