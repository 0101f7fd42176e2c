import { type ImageReference, registryHost, repositoryName, withClientDefaults } from '@millrace/domain/image-reference';
import { type Failure, failureStatus, mayPass } from '@millrace/domain/import-failure';
import type { Status } from '@millrace/domain/status';
import { RegistryError } from '@millrace/oci-registry/error';

/** What is known of an image, or of a repository's tags, that could not be looked at. */
export interface Failed {
  kind: 'failed';
  status: Status;
  /** The same look may succeed later, though nobody changes anything. */
  passes: boolean;
  retryAfterMs?: number;
  /** What the client said, where it was the client. */
  cause?: RegistryError;
}

export interface Asked {
  /** As it is named in what people read. */
  pullSpec: string;
  reference: ImageReference;
  insecure: boolean;
  of: 'image' | 'repository';
}

/** Throws the error where it is not the registry's: the client was closed, because the service stops. */
export function failedBecause(error: unknown, asked: Asked): Failed {
  if (error instanceof RegistryError && error.code === 'closed') throw error;
  const failure = failureOf(error, asked);
  return {
    kind: 'failed',
    status: failureStatus(asked, failure),
    passes: mayPass(failure),
    ...(error instanceof RegistryError ? { retryAfterMs: error.retryAfterMs, cause: error } : {}),
  };
}

function failureOf(error: unknown, asked: Asked): Failure {
  const url = urlOf(asked);
  if (!(error instanceof RegistryError)) return { code: 'unexpected', url, message: (error as Error).message };
  const { code, registryCode, registryMessage, fromTokenServer, reason } = error;
  return { code, registryCode, registryMessage, fromTokenServer, url, message: reason };
}

/** Where a registry is asked first, or for a list of tags. */
function urlOf({ reference, insecure, of }: Asked): string {
  const complete = withClientDefaults(reference);
  const path = of === 'image' ? '' : `${repositoryName(complete)}/tags/list`;
  return `${insecure ? 'http' : 'https'}://${registryHost(complete)}/v2/${path}`;
}
