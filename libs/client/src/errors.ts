import { JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import { errors } from '@nats-io/transport-node';

export type ClientErrorCode =
  /** No server answers at the address. */
  | 'no-server'
  /** The server does not take these credentials, or no longer. */
  | 'unauthorized'
  /** The user may not do this on the server. */
  | 'forbidden'
  /** The server has no JetStream, or not for this account. */
  | 'no-jetstream'
  /** The stream is not there: Millrace has not told an event on this server yet, or it is another server. */
  | 'no-stream'
  /** The subscription was deleted on the server while it was read. */
  | 'subscription-gone'
  /** What was asked for makes no sense. */
  | 'bad-option'
  /** The client was closed. */
  | 'closed'
  /** Anything else that NATS says. */
  | 'failed';

/** What went wrong, where, and what to do. Holds no credential. */
export class ClientError extends Error {
  override name = 'MillraceClientError';
  constructor(
    readonly code: ClientErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Where a client is connected, for messages: hosts and the stream. */
export interface Place {
  servers: string;
  stream: string;
}

/** An error of NATS in words that say what to do. */
export function clientError(error: unknown, { servers, stream }: Place): ClientError {
  if (error instanceof ClientError) return error;
  const { name = '', message = String(error), cause } = error as Error;
  const says = (code: ClientErrorCode, text: string) => new ClientError(code, text, { cause: error });
  const inner = cause instanceof Error ? cause : undefined;
  const is = (...kinds: (new (...args: never[]) => Error)[]) => kinds.some((kind) => error instanceof kind || inner instanceof kind);
  if (is(errors.AuthorizationError, errors.UserAuthenticationExpiredError))
    return says(
      'unauthorized',
      `NATS at ${servers} does not take the credentials: give \`user\` and \`password\`, \`token\` or \`credentials\` of a user that it knows`,
    );
  if (is(errors.PermissionViolationError))
    return says(
      'forbidden',
      `NATS at ${servers} does not let this user do that (${inner?.message ?? message}): allow it $JS.API.> and its own _INBOX.>`,
    );
  const api = error instanceof JetStreamApiError ? error.code : undefined;
  if (api === JetStreamApiCodes.StreamNotFound)
    return says(
      'no-stream',
      `NATS at ${servers} has no stream ${stream}: is it the server that Millrace uses, and has Millrace been started?`,
    );
  if (api === JetStreamApiCodes.ConsumerNotFound) return says('subscription-gone', `the subscription is not on NATS at ${servers}`);
  if (is(errors.NoRespondersError) || name === 'JetStreamNotEnabled' || api === JetStreamApiCodes.JetStreamNotEnabledForAccount)
    return says(
      'no-jetstream',
      `NATS at ${servers} answers no JetStream request: it has to run with JetStream, and this account has to have it`,
    );
  if (is(errors.ClosedConnectionError, errors.DrainingConnectionError)) return says('closed', 'the client is closed');
  if (
    is(errors.ConnectionError, errors.TimeoutError) ||
    /ECONN|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH/.test(`${name} ${message} ${inner?.message ?? ''}`)
  )
    return says('no-server', `no NATS server answers at ${servers}: ${message}`);
  return says('failed', `NATS at ${servers}: ${message}`);
}
