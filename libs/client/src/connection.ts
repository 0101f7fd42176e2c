import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { connect as dial, credsAuthenticator, type ConnectionOptions, type NatsConnection } from '@nats-io/transport-node';
import { z } from 'zod';
import { STREAM } from './contracts.ts';
import { ClientError, clientError, type Place } from './errors.ts';

/** A connection to a server that has Millrace's events. */
export interface Connected {
  readonly nats: NatsConnection;
  readonly manager: JetStreamManager;
  readonly place: Place;
}

export interface ClientOptions {
  /** `nats://host:4222`, `tls://…` for TLS; several for a cluster. A user and password, or a token, may stand in it. */
  servers: string | readonly string[];
  user?: string;
  password?: string;
  token?: string;
  /** Content of a `.creds` file, where users are NKEYs. */
  credentials?: string;
  /** Authorities, client certificate and key, as `@nats-io/transport-node` takes them. */
  tls?: ConnectionOptions['tls'];
  /** Shown by the server's monitoring. */
  name?: string;
  /** How long the first connection, and each question, may take, in milliseconds; 10,000. */
  timeoutMs?: number;
}

const Text = z.string().min(1);
const Options = z
  .strictObject({
    servers: z.union([Text.transform((text) => text.split(',')), z.array(Text).min(1)]),
    user: Text.optional(),
    password: Text.optional(),
    token: Text.optional(),
    credentials: Text.optional(),
    tls: z.any().optional(),
    name: Text.default('@millrace/client'),
    timeoutMs: z.int().min(100).max(300_000).default(10_000),
  })
  .refine(({ user, password }) => (user === undefined) === (password === undefined), 'user and password belong together');

/** Connects to the NATS server that Millrace tells its events on. Throws {@link ClientError}. */
export async function connected(options: ClientOptions): Promise<Connected> {
  const parsed = Options.safeParse(options);
  if (!parsed.success) throw new ClientError('bad-option', z.prettifyError(parsed.error));
  const { servers, user, password, token, credentials, tls, name, timeoutMs } = parsed.data;
  const urls = servers.map(urlOf);
  const [first] = urls;
  const place: Place = { servers: urls.map(({ host }) => host).join(', '), stream: STREAM };
  // Credentials of a URL are taken out of it here: whatever tells of the server later tells of the host alone.
  const fromUrl = first?.password
    ? { user: decodeURIComponent(first.username), pass: decodeURIComponent(first.password) }
    : first?.username
      ? { token: decodeURIComponent(first.username) }
      : {};
  const given = credentials
    ? { authenticator: credsAuthenticator(new TextEncoder().encode(credentials)) }
    : token
      ? { token }
      : user
        ? { user, pass: password }
        : fromUrl;
  let nats: NatsConnection | undefined;
  try {
    nats = await dial({
      servers: urls.map(({ host }) => host),
      ...given,
      ...(tls ? { tls: tls as ConnectionOptions['tls'] } : first?.protocol === 'tls:' ? { tls: {} } : {}),
      name,
      timeout: timeoutMs,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      reconnectJitter: 250,
      pingInterval: 20_000,
      noAsyncTraces: true,
    });
    const manager = await jetstreamManager(nats, { checkAPI: false, timeout: timeoutMs });
    await manager.streams.info(STREAM);
    return { nats, manager, place };
  } catch (error) {
    await nats?.close();
    throw clientError(error, place);
  }
}

function urlOf(text: string): URL {
  const whole = text.includes('://') ? text.trim() : `nats://${text.trim()}`;
  const url = URL.canParse(whole) ? new URL(whole) : undefined;
  // The text may hold a password: it is not repeated.
  if (!url || !['nats:', 'tls:'].includes(url.protocol) || !url.hostname)
    throw new ClientError('bad-option', 'servers: must be addresses such as nats://host:4222 or tls://host:4222');
  return url;
}
