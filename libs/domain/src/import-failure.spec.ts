import { describe, expect, it } from 'vitest';
import { afterFailedImport, type Failure, failureStatus, mayPass } from './import-failure.ts';

const PULL_SPEC = 'registry.example.test/team/app:1';
const failure = (given: Partial<Failure> & { code: string }): Failure => ({
  url: 'https://registry.example.test/v2/',
  message: 'it failed',
  ...given,
});
const NO_ACCESS = `you may not have access to the container image "${PULL_SPEC}"`;

describe('an image that was not found for a reason', () => {
  it.each<[string, Partial<Failure> & { code: string }, string, number, string]>([
    [
      'no such tag',
      { code: 'not-found', registryCode: 'MANIFEST_UNKNOWN' },
      'NotFound',
      404,
      `dockerimage.image.openshift.io "${PULL_SPEC}" not found`,
    ],
    [
      'no such repository',
      { code: 'not-found', registryCode: 'NAME_UNKNOWN', registryMessage: 'repository name not known to registry' },
      'InternalError',
      500,
      `Internal error occurred: ${PULL_SPEC}: name unknown`,
    ],
    ['no access', { code: 'unauthorized' }, 'Unauthorized', 401, NO_ACCESS],
    ['forbidden by the registry', { code: 'forbidden' }, 'Unauthorized', 401, NO_ACCESS],
    ['no credentials', { code: 'credentials-missing' }, 'Unauthorized', 401, NO_ACCESS],
    ['wrong credentials for a registry', { code: 'credentials-refused' }, 'Unauthorized', 401, NO_ACCESS],
    [
      'wrong credentials for its token server',
      { code: 'credentials-refused', fromTokenServer: true },
      'Unauthorized',
      401,
      `incorrect username or password for image "${PULL_SPEC}"`,
    ],
    [
      'too many requests',
      { code: 'rate-limited', registryCode: 'TOOMANYREQUESTS', registryMessage: 'slow down' },
      'InternalError',
      500,
      `Internal error occurred: ${PULL_SPEC}: toomanyrequests: slow down`,
    ],
    [
      'a host that is no registry',
      { code: 'no-registry' },
      'NotV2Registry',
      400,
      'registry "registry.example.test" does not support the v2 Registry API',
    ],
    [
      'plain HTTP where TLS is wanted',
      { code: 'plain-http' },
      'InternalError',
      500,
      `Internal error occurred: ${PULL_SPEC}: Get "https://registry.example.test/v2/": http: server gave HTTP response to HTTPS client`,
    ],
    [
      'nobody there',
      { code: 'unreachable', message: 'connection refused' },
      'InternalError',
      500,
      `Internal error occurred: ${PULL_SPEC}: Get "https://registry.example.test/v2/": connection refused`,
    ],
    [
      'an address that may not be reached',
      { code: 'blocked-address', message: 'a loopback address' },
      'Forbidden',
      403,
      `dockerimage.image.openshift.io "${PULL_SPEC}" is forbidden: a loopback address`,
    ],
    [
      'anything else',
      { code: 'unsupported-manifest', message: 'schema 1' },
      'InternalError',
      500,
      `Internal error occurred: ${PULL_SPEC}: schema 1`,
    ],
  ])('is told in the words of the reference: %s', (_title, given, reason, code, message) => {
    expect(failureStatus({ pullSpec: PULL_SPEC, of: 'image' }, failure(given))).toMatchObject({ status: 'Failure', reason, code, message });
  });
});

describe('a repository that could not be listed', () => {
  const repository = { pullSpec: 'registry.example.test/no/repo', of: 'repository' } as const;

  it('is not found when the registry does not know it', () => {
    expect(failureStatus(repository, failure({ code: 'not-found', registryCode: 'NAME_UNKNOWN' }))).toMatchObject({
      reason: 'NotFound',
      message: 'dockerimage.image.openshift.io "registry.example.test/no/repo" not found',
      details: { name: 'registry.example.test/no/repo', group: 'image.openshift.io', kind: 'dockerimage' },
    });
  });

  it('is an internal error without its name when credentials are missing', () => {
    const url = 'https://registry.example.test/v2/no/repo/tags/list';

    expect(failureStatus(repository, failure({ code: 'credentials-missing', url })).message).toBe(
      `Internal error occurred: Get "${url}": no basic auth credentials`,
    );
  });
});

describe('a failed import in the background', () => {
  it.each(['not-found', 'unauthorized', 'credentials-refused', 'forbidden', 'blocked-address', 'unsupported-manifest'])(
    'stops at %s',
    (code) => {
      expect(afterFailedImport({ passes: mayPass({ code }) }, 1, 0)).toEqual({ kind: 'give-up', reason: 'permanent' });
    },
  );

  it.each([
    [1, 5_000],
    [2, 10_000],
    [5, 80_000],
    [20, 1_800_000],
  ])('is tried again after failure %i in %i ms', (attempts, inMs) => {
    expect(afterFailedImport({ passes: mayPass({ code: 'timeout' }) }, attempts, 0)).toEqual({ kind: 'retry', inMs });
  });

  it('is tried again up to a quarter later', () => {
    expect(afterFailedImport({ passes: true }, 1, 0.8)).toEqual({ kind: 'retry', inMs: 6_000 });
  });

  it('leaves a registry alone for as long as it asks', () => {
    expect(afterFailedImport({ passes: true, retryAfterMs: 3_600_000 }, 1, 0)).toEqual({ kind: 'retry', inMs: 3_600_000 });
  });

  it('is given up after about a day', () => {
    expect(afterFailedImport({ passes: true }, 60, 0)).toEqual({ kind: 'give-up', reason: 'attempts-used-up' });
  });
});
