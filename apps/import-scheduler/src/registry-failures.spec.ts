import { describe, expect, it } from 'vitest';
import { parseReference } from '@millrace/domain/image-reference';
import { RegistryError } from '@millrace/oci-registry/error';
import { type Asked, failedBecause } from './registry-failures.ts';

const pullSpec = 'registry.example.test:5000/team/app:1';
const asked = (given: Partial<Asked> = {}): Asked => ({
  pullSpec,
  reference: parseReference(pullSpec),
  insecure: false,
  of: 'image',
  ...given,
});
const GET = `GET ${pullSpec}`;

describe('an error of the registry client becomes the status of the image', () => {
  it.each([
    [
      'with what the registry said',
      {
        code: 'rate-limited',
        registryCode: 'TOOMANYREQUESTS',
        registryMessage: 'slow down',
        subject: GET,
        reason: '429 TOOMANYREQUESTS: slow down',
      },
      `${pullSpec}: toomanyrequests: slow down`,
    ],
    [
      'with where it was asked',
      { code: 'unreachable', subject: GET, reason: 'connect ECONNREFUSED' },
      `${pullSpec}: Get "https://registry.example.test:5000/v2/": connect ECONNREFUSED`,
    ],
    [
      'without saying twice what it is about',
      { code: 'malformed', subject: GET, reason: 'the manifest is not a JSON object' },
      `${pullSpec}: the manifest is not a JSON object`,
    ],
  ] as const)('%s', (_title, details, message) => {
    expect(failedBecause(new RegistryError(details), asked()).status.message).toBe(`Internal error occurred: ${message}`);
  });

  it.each([
    ['the token server refused the credentials', true, `incorrect username or password for image "${pullSpec}"`],
    ['the registry refused them', false, `you may not have access to the container image "${pullSpec}"`],
  ])('which tells whether %s', (_title, fromTokenServer, told) => {
    expect(
      failedBecause(new RegistryError({ code: 'credentials-refused', subject: GET, reason: '401', fromTokenServer }), asked()).status
        .message,
    ).toBe(told);
  });

  it('that names plain HTTP where the registry may speak it, and the list where tags were asked for', () => {
    const error = new RegistryError({
      code: 'credentials-missing',
      subject: 'GET tags of registry.example.test:5000/team/app',
      reason: '401',
    });
    const repository = 'registry.example.test:5000/team/app';

    const { status } = failedBecause(error, {
      pullSpec: repository,
      reference: parseReference(repository),
      insecure: true,
      of: 'repository',
    });
    expect(status.message).toContain('Get "http://registry.example.test:5000/v2/team/app/tags/list"');
  });

  it('and says how long the registry wants to be left alone', () => {
    const error = new RegistryError({ code: 'rate-limited', subject: GET, reason: '429', retryAfterMs: 60_000 });

    expect(failedBecause(error, asked())).toMatchObject({ passes: true, retryAfterMs: 60_000 });
  });

  it('but not where the client was closed: that says nothing of the image', () => {
    const error = new RegistryError({ code: 'closed', subject: GET, reason: 'the registry client is closed' });

    expect(() => failedBecause(error, asked())).toThrow(error);
  });

  it('of another kind is told as it is, and may pass', () => {
    expect(failedBecause(new Error('something else'), asked())).toMatchObject({
      passes: true,
      status: { reason: 'InternalError', message: `Internal error occurred: ${pullSpec}: something else` },
    });
  });
});
