import { retryAfter } from './rate-limit.ts';

/** What went wrong with a request to a registry. */
export type RegistryErrorCode =
  | 'unreachable' // no connection, or it broke
  | 'timeout'
  | 'circuit-open' // the host failed several times in a row and is left alone for a moment; nothing was sent
  | 'tls' // the certificate cannot be verified, or TLS cannot be agreed on
  | 'plain-http' // the registry speaks plain HTTP and the client may only use HTTPS
  | 'blocked-address' // the host, a redirect or the token server is at an address that requests may not reach
  | 'unauthorized' // credentials were sent, or none are wanted, and still: 401
  | 'credentials-missing' // the registry wants credentials and there are none
  | 'credentials-refused' // wrong user name or password, said by the token server or to basic authentication
  | 'forbidden'
  | 'not-found' // the repository (`registryCode` is NAME_UNKNOWN, where the registry says it), the manifest or the blob
  | 'no-registry' // the server has no distribution API
  | 'rate-limited' // the registry said so, or its quota is known to be spent and nothing was sent
  | 'server-error'
  | 'redirect-loop'
  | 'digest-mismatch' // the content is not what its digest says
  | 'too-large'
  | 'unsupported-manifest'
  | 'malformed' // an answer that is none of the distribution API
  | 'invalid-reference' // the repository, tag or digest is not one; nothing was sent
  | 'closed'; // the client was closed

const retryableCodes = new Set<RegistryErrorCode>(['unreachable', 'timeout', 'circuit-open', 'rate-limited', 'server-error']);

interface RegistryErrorDetails {
  code: RegistryErrorCode;
  /** Method and pull spec; absent where nothing was to be asked. */
  subject?: string;
  reason: string;
  status?: number;
  registryCode?: string;
  registryMessage?: string;
  fromTokenServer?: boolean;
  retryAfterMs?: number;
  cause?: unknown;
}

/**
 * The one error of this room. The message is subject and reason (`GET quay.io/team/app:latest: 404 ...`) and never holds a credential, a token or
 * the query of a signed URL.
 */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  readonly code: RegistryErrorCode;
  /** The message without what it is about. */
  readonly reason: string;
  /** HTTP status of the answer, where there was one. */
  readonly status?: number;
  /** The registry's own code (`NAME_UNKNOWN`, `TOOMANYREQUESTS`, ...), where it gave one. */
  readonly registryCode?: string;
  /** What the registry said beside its code. */
  readonly registryMessage?: string;
  /** Whether it was the registry's token server that said so. */
  readonly fromTokenServer: boolean;
  /** How long the registry asks to be left alone, or is left alone without being asked. */
  readonly retryAfterMs?: number;

  private readonly details: RegistryErrorDetails;

  constructor(details: RegistryErrorDetails) {
    const { subject, reason } = details;
    super(subject ? `${subject}: ${reason}` : reason, { cause: details.cause });
    this.details = details;
    this.code = details.code;
    this.reason = reason;
    this.status = details.status;
    this.registryCode = details.registryCode;
    this.registryMessage = details.registryMessage;
    this.fromTokenServer = details.fromTokenServer ?? false;
    this.retryAfterMs = details.retryAfterMs;
  }

  /** The same error, seen by somebody who knows more. */
  with(known: Partial<RegistryErrorDetails>): RegistryError {
    return new RegistryError({ ...this.details, ...known });
  }

  /** The same request may succeed later without anybody changing anything. */
  get retryable(): boolean {
    return retryableCodes.has(this.code);
  }
}

/** An answer that is no success, as far as an error needs it. */
export interface FailedAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

/** The error for an answer with a status of 300 and above. `subject` is method and pull spec, `now` in milliseconds. */
export function statusError(subject: string, answer: FailedAnswer, now: number): RegistryError {
  const said = registrySaid(answer.body);
  const code = statusCode(answer.status, said.code);
  const retryAfterMs = code === 'rate-limited' || code === 'server-error' ? retryAfter(answer.headers['retry-after'], now) : undefined;
  const detail = [said.code, said.message].filter(Boolean).join(': ');
  return new RegistryError({
    code,
    subject,
    reason: `${answer.status}${detail && ` ${detail}`}`,
    status: answer.status,
    registryCode: said.code,
    registryMessage: said.message,
    retryAfterMs,
  });
}

function statusCode(status: number, registryCode: string | undefined): RegistryErrorCode {
  // Some registries report their limits with 403 or 503.
  if (status === 429 || (status >= 400 && registryCode === 'TOOMANYREQUESTS')) return 'rate-limited';
  if (status === 401) return 'unauthorized';
  if (status === 403) return 'forbidden';
  if (status === 404 || status === 410) return 'not-found';
  if (status === 408) return 'timeout';
  return status >= 500 ? 'server-error' : 'malformed';
}

/** The first error of a distribution error body, `{"errors":[{"code","message"}]}`; token servers use `{"details"}` and others. */
function registrySaid(body: Buffer): { code?: string; message?: string } {
  try {
    const json: unknown = JSON.parse(body.toString('utf8'));
    const errors = property(json, 'errors');
    const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
    const code = property(first, 'code');
    const message = property(first, 'message') ?? property(json, 'details') ?? property(json, 'message');
    return { code: printable(code, 64), message: printable(message, 200) };
  } catch {
    return {};
  }
}

/** The error for an exchange that brought no answer, or half of one. */
export function exchangeError(subject: string, cause: unknown): RegistryError {
  const causes = cause instanceof AggregateError ? [...(cause.errors as unknown[]), cause] : [cause];
  const code = exchangeCode(causes.flatMap((each) => [String(property(each, 'code') ?? ''), String(property(each, 'name') ?? '')]));
  return new RegistryError({ code, subject, reason: advice[code] ?? describe(causes[0]), cause });
}

const advice: Partial<Record<RegistryErrorCode, string>> = {
  timeout: 'no complete answer in time',
  'plain-http': 'the registry speaks plain HTTP; allow it as insecure or give it a certificate',
  closed: 'the registry client is closed',
};

/** Takes the codes and names of Node.js, OpenSSL and undici. */
function exchangeCode(signs: string[]): RegistryErrorCode {
  const any = (pattern: RegExp) => signs.some((sign) => pattern.test(sign));
  if (any(/^ERR_BLOCKED_ADDRESS$/)) return 'blocked-address';
  if (any(/^UND_ERR_(DESTROYED|CLOSED)$/)) return 'closed';
  if (any(/^UND_ERR_(CONNECT|HEADERS|BODY)_TIMEOUT$|^ETIMEDOUT$|^TimeoutError$/)) return 'timeout';
  if (any(/^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST)$/)) return 'plain-http';
  if (any(/^ERR_SSL_|^ERR_TLS_|CERT|UNABLE_TO_VERIFY|^EPROTO$/)) return 'tls';
  if (any(/^HPE_|^HTTPParserError$|^UND_ERR_(HEADERS_OVERFLOW|RES_CONTENT_LENGTH_MISMATCH)$/)) return 'malformed';
  return 'unreachable';
}

function describe(cause: unknown): string {
  return printable(property(cause, 'message'), 200) || printable(property(cause, 'code'), 64) || 'the connection failed';
}

function property(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

/** What others wrote, made fit for one line of a log. */
function printable(value: unknown, limit: number): string | undefined {
  if (typeof value !== 'string' && typeof value !== 'number') return undefined;
  const text = String(value)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim();
  return text.length > limit ? `${text.slice(0, limit)}...` : text || undefined;
}
