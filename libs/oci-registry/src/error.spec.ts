import { describe, expect, it } from 'vitest';
import { exchangeError, statusError } from './error.ts';

const now = Date.parse('2026-11-21T12:00:00Z');
const failed = (status: number, body: unknown = '', headers = {}) => ({
  status,
  headers,
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
});

describe('an answer that is no success', () => {
  it.each([
    [400, undefined, 'malformed', false],
    [401, 'UNAUTHORIZED', 'unauthorized', false],
    [403, 'DENIED', 'forbidden', false],
    [403, 'TOOMANYREQUESTS', 'rate-limited', true],
    [404, 'MANIFEST_UNKNOWN', 'not-found', false],
    [408, undefined, 'timeout', true],
    [410, undefined, 'not-found', false],
    [429, 'TOOMANYREQUESTS', 'rate-limited', true],
    [429, undefined, 'rate-limited', true],
    [500, 'UNKNOWN', 'server-error', true],
    [502, undefined, 'server-error', true],
    [304, undefined, 'malformed', false],
  ])('%i with %s is %s', (status, registryCode, code, retryable) => {
    const error = statusError('GET a.test/b:c', failed(status, { errors: [{ code: registryCode, message: 'why' }] }), now);

    expect(error).toMatchObject({ code, retryable, status, registryCode });
  });

  it.each([
    [{ errors: [{ code: 'NAME_UNKNOWN', message: 'name unknown' }] }, 'GET a.test/b:c: 404 NAME_UNKNOWN: name unknown'],
    [{ details: 'incorrect username or password' }, 'GET a.test/b:c: 404 incorrect username or password'],
    [{ errors: 'x' }, 'GET a.test/b:c: 404'],
    [{ errors: [{ code: { a: 1 }, message: ['x'] }] }, 'GET a.test/b:c: 404'],
    [null, 'GET a.test/b:c: 404'],
    ['<html>', 'GET a.test/b:c: 404'],
    ['', 'GET a.test/b:c: 404'],
    [{ errors: [{ code: 'A', message: 'two\r\nlines\u001b[31m' }] }, 'GET a.test/b:c: 404 A: two lines [31m'],
    [{ errors: [{ code: 'A', message: 'm'.repeat(300) }] }, `GET a.test/b:c: 404 A: ${'m'.repeat(200)}...`],
  ])('%j says %s', (body, message) => {
    expect(statusError('GET a.test/b:c', failed(404, body), now).message).toBe(message);
  });
});

describe('an exchange without an answer', () => {
  const coded = (code: string) => Object.assign(new Error(`low level ${code}`), { code });

  it.each([
    ['ECONNREFUSED', 'unreachable', true],
    ['ENOTFOUND', 'unreachable', true],
    ['UND_ERR_SOCKET', 'unreachable', true],
    ['UND_ERR_CONNECT_TIMEOUT', 'timeout', true],
    ['UND_ERR_CLOSED', 'closed', false],
    ['ERR_BLOCKED_ADDRESS', 'blocked-address', false],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'plain-http', false],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'tls', false],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls', false],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls', false],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'tls', false],
    ['CERT_HAS_EXPIRED', 'tls', false],
    ['HPE_INVALID_CONSTANT', 'malformed', false],
    ['UND_ERR_HEADERS_OVERFLOW', 'malformed', false],
  ])('with %s is %s, and keeps the cause', (cause, code, retryable) => {
    const low = coded(cause);

    const error = exchangeError('HEAD a.test/b:c', low);

    expect(error).toMatchObject({ code, retryable, cause: low });
    expect(error.message).toMatch(/^HEAD a\.test\/b:c: ./);
  });

  it('after several addresses were tried is what each of them said', () => {
    const error = exchangeError('GET a.test/b:c', new AggregateError([coded('ECONNREFUSED'), coded('ENETUNREACH')]));

    expect(error).toMatchObject({ code: 'unreachable', message: 'GET a.test/b:c: low level ECONNREFUSED' });
  });
});
