import { createSecureContext, getCACertificates } from 'node:tls';
import { registryHost } from '@millrace/domain/image-reference';
import { Agent, buildConnector, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { Circuit, type CircuitOptions, type CircuitState } from './circuit.ts';
import { exchangeError, RegistryError } from './error.ts';
import { Deadline, Exchange } from './exchange.ts';
import { RecentMap } from './recent-map.ts';

export interface ConnectionOptions {
  /** `host[:port]` (https, then http if insecure), or `https://host[:port]`, or `http://host[:port]`, which is insecure by itself. */
  registry: string;
  /** Plain HTTP and unverified certificates are taken. */
  insecure?: boolean;
  /** PEM of the authorities that sign the registry's certificate, beside those that are known anyway. */
  ca?: string | string[];
  /** PEM of the certificate that this client shows, and of its key. */
  clientCertificate?: { cert: string; key: string; passphrase?: string };
  proxy?: ProxyOptions;
  /**
   * Makes the connector from TLS and timeout options; undici's own unless given, for example one that refuses internal addresses.
   * What goes through a proxy is resolved and connected to by the proxy, which has its own rules.
   */
  connect?: (options: buildConnector.BuildOptions) => buildConnector.connector;
  /** For one request with its redirects, connecting and body included. */
  timeoutMs?: number;
  /** Of the whole, at most this for connecting, until the headers are there, and between two pieces of the body. */
  connectTimeoutMs?: number;
  headersTimeoutMs?: number;
  bodyTimeoutMs?: number;
  /** At the same time, to one host. */
  connections?: number;
  circuit?: CircuitOptions;
  userAgent?: string;
  /** Milliseconds since 1970. */
  now?: () => number;
}

/** URLs of proxies, with user and password where they want them, as in `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. */
export interface ProxyOptions {
  http?: string;
  /** `http` where left out. */
  https?: string;
  /** Hosts that are reached directly: `registry.corp, .internal, *`. */
  no?: string;
}

export interface Request {
  method: 'GET' | 'HEAD' | 'POST';
  headers?: Record<string, string>;
  /** Value of the `Authorization` header; it does not leave the origin that it is first sent to. */
  authorization?: string;
  /** A form, with its credentials: never sent on to where a redirect leads. */
  form?: URLSearchParams;
  /** A longer body is an error. */
  maxBytes: number;
  /** How errors name the request. */
  subject: string;
}

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
  /** Where the answer came from, after redirects. */
  url: URL;
}

export const DEFAULT_CONNECTIONS = 16;
const maxRedirects = 5;
const maxErrorBytes = 64 * 1024;
const maxCircuits = 200;
const redirects = new Set([301, 302, 303, 307, 308]);
const nothing = Buffer.alloc(0);

/** Where a registry is: as pull specs name it, and where its API answers. */
export interface RegistryPlace {
  scheme?: 'http' | 'https';
  host: string;
  apiHost: string;
}

/** @throws RegistryError with `invalid-reference` */
export function placeOf(registry: string): RegistryPlace {
  const [, scheme, host] = /^(?:(https?):\/\/)?([^/\s@?#\\]+)\/?$/i.exec(registry) ?? [];
  if (!host || !URL.canParse(`https://${host}`)) {
    throw new RegistryError({ code: 'invalid-reference', reason: `"${registry}" is no registry: give host[:port]` });
  }
  // Docker Hub's API is not at the host that pull specs name, and has had other names.
  const apiHost = registryHost({ registry: host === 'registry.hub.docker.com' ? 'docker.io' : host });
  return { scheme: scheme?.toLowerCase() as RegistryPlace['scheme'], host, apiHost };
}

/** Requests to one registry, its token server and its storage, over one pool of kept-alive connections for each host. */
export class Connection {
  /** The registry as pull specs name it. */
  readonly host: string;
  /** Where its API is. */
  readonly apiHost: string;
  readonly insecure: boolean;
  readonly #bases: URL[];
  /** The base that answered last. Which one works is found out once. */
  #base?: URL;
  readonly #options: ConnectionOptions;
  #dispatcher?: Dispatcher;
  readonly #circuits: RecentMap<Circuit>;
  readonly #timeoutMs: number;
  readonly #headers: Record<string, string>;
  readonly #now: () => number;

  constructor(options: ConnectionOptions) {
    const { insecure = false } = options;
    const { scheme, host, apiHost } = placeOf(options.registry);
    const schemes = scheme ? [scheme] : insecure ? ['https', 'http'] : ['https'];
    this.host = host;
    this.apiHost = apiHost;
    this.insecure = insecure || scheme === 'http';
    this.#bases = schemes.map((each) => new URL(`${each}://${apiHost}`));
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#headers = { 'user-agent': options.userAgent ?? 'millrace', 'accept-encoding': 'identity' };
    this.#circuits = new RecentMap(maxCircuits);
    this.#now = options.now ?? Date.now;
  }

  /** Sends to the registry itself: over https, over http only where allowed and https does not work. */
  async toRegistry(path: string, request: Request): Promise<Answer & { base: URL }> {
    const bases = this.#base ? [this.#base] : this.#bases;
    for (const [index, base] of bases.entries()) {
      try {
        const answer = await this.send(new URL(path, base), request);
        this.#base = base;
        return { ...answer, base };
      } catch (error) {
        const noConnection = error instanceof RegistryError && noConnectionCodes.has(error.code);
        if (noConnection) this.#base = undefined;
        if (!noConnection || index === bases.length - 1) throw error;
      }
    }
    throw new RegistryError({ code: 'unreachable', subject: request.subject, reason: `${this.host} has no address` });
  }

  /** Follows redirects to other origins without the authorization, and never from https to http unless insecure. */
  async send(url: URL, request: Request): Promise<Answer> {
    const deadline = new Deadline(this.#timeoutMs);
    try {
      let { authorization } = request;
      for (let hop = 0; hop <= maxRedirects; hop++) {
        const answer = await this.#throughCircuit(url, request, authorization, deadline);
        const location = answer.headers.location;
        if (!redirects.has(answer.status) || typeof location !== 'string' || request.form) return answer;
        const target = this.#redirectTarget(location, url, request.subject);
        if (target.origin !== url.origin) authorization = undefined;
        url = target;
      }
      throw new RegistryError({
        code: 'redirect-loop',
        subject: request.subject,
        reason: `more than ${maxRedirects} redirects, the last to ${url.origin}`,
      });
    } finally {
      deadline.clear();
    }
  }

  /** Gives the connections up once the requests under way have ended. The next request opens new ones. */
  async rest(): Promise<void> {
    const dispatcher = this.#dispatcher;
    this.#dispatcher = undefined;
    await dispatcher?.close();
  }

  /** Of the hosts that requests went to, by origin. */
  circuits(): (CircuitState & { origin: string })[] {
    return [...this.#circuits.entries()].map(([origin, circuit]) => ({ origin, ...circuit.state(this.#now()) }));
  }

  /** How long the registry is left alone for its failures; 0: not at all. */
  waitMs(): number {
    const waits = (this.#base ? [this.#base] : this.#bases).map(({ origin }) => this.#circuits.get(origin)?.waitMs(this.#now()) ?? 0);
    return Math.min(...waits);
  }

  mayReach(url: URL): boolean {
    return url.protocol === 'https:' || (url.protocol === 'http:' && this.insecure);
  }

  #redirectTarget(location: string, from: URL, subject: string): URL {
    const target = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
    if (!target || !this.mayReach(target)) {
      // The location may be signed: its query is a credential.
      const where = target ? target.origin : 'something that is no URL';
      throw new RegistryError({
        code: 'malformed',
        subject,
        reason: `redirected by ${from.origin} to ${where}, which is not followed`,
      });
    }
    return target;
  }

  async #throughCircuit(url: URL, request: Request, authorization: string | undefined, deadline: Deadline): Promise<Answer> {
    const circuit = this.#circuits.getOrMake(url.origin, () => new Circuit(this.#options.circuit));
    const waitMs = circuit.enter(this.#now());
    if (waitMs > 0) {
      const { failures, last } = circuit.state(this.#now());
      throw new RegistryError({
        code: 'circuit-open',
        subject: request.subject,
        reason: `not sent, ${url.host} failed ${failures} times in a row and is asked again in ${Math.ceil(waitMs / 1000)} s; the last time: ${last}`,
        retryAfterMs: waitMs,
      });
    }
    try {
      const answer = await this.#exchange(url, request, authorization, deadline);
      if (answer.status < 500) circuit.succeeded();
      else circuit.failed(this.#now(), String(answer.status), gatewayStatuses.has(answer.status) ? undefined : url.pathname);
      return answer;
    } catch (error) {
      const { code, message } = error as RegistryError;
      // Without the subject: what one asked for is not another's to read.
      if (code === 'unreachable' || code === 'timeout') circuit.failed(this.#now(), message.slice(`${request.subject}: `.length));
      else circuit.left();
      throw error;
    }
  }

  async #exchange(
    url: URL,
    { method, headers, form, maxBytes, subject }: Request,
    authorization: string | undefined,
    deadline: Deadline,
  ): Promise<Answer> {
    const sent = { ...this.#headers, ...headers };
    if (authorization) sent['authorization'] = authorization;
    if (form) sent['content-type'] = 'application/x-www-form-urlencoded';
    const dispatcher = this.#open(subject);
    const request = {
      origin: url.origin,
      path: url.pathname + url.search,
      method,
      headers: sent,
      body: form?.toString(),
      reset: false, // undici gives up the connection after a HEAD otherwise
    };
    const limit = (status: number) => (method === 'HEAD' ? 0 : isContent(status) ? maxBytes : maxErrorBytes);
    const send = () => {
      const exchange = new Exchange(limit);
      deadline.holdsFor(exchange);
      dispatcher.dispatch(request, exchange);
      return exchange.done;
    };
    const {
      status,
      headers: answered,
      body,
    } = await retryStale(send).catch((error: unknown) => Promise.reject(exchangeError(subject, error)));
    if (method !== 'HEAD' && isContent(status)) {
      const encoding = String(answered['content-encoding'] ?? 'identity').toLowerCase();
      if (encoding !== 'identity' && encoding !== '') {
        const reason = `answered in the encoding "${encoding}", which was not asked for`;
        throw new RegistryError({ code: 'malformed', subject, reason });
      }
      if (!body) throw new RegistryError({ code: 'too-large', subject, reason: `the answer is longer than ${maxBytes} bytes` });
    }
    return { status, headers: answered, body: body ?? nothing, url };
  }

  #open(subject: string): Dispatcher {
    try {
      return (this.#dispatcher ??= dispatcherOf(this.#options, this.#timeoutMs));
    } catch (error) {
      // Without the cause: it repeats what it was given, which may be a password.
      const { code = 'unknown' } = error as { code?: string };
      throw new RegistryError({
        code: 'tls',
        subject,
        reason: `not sent, the authority, the client certificate or the proxy cannot be read (${code})`,
      });
    }
  }
}

const isContent = (status: number): boolean => status < 300;
const noConnectionCodes = new Set<RegistryError['code']>(['unreachable', 'timeout', 'tls', 'plain-http', 'circuit-open']);
/** Said by what stands before a registry that is away, or by one that knows that it is. */
const gatewayStatuses = new Set([502, 503, 504]);

function dispatcherOf(options: ConnectionOptions, timeoutMs: number): Dispatcher {
  const { insecure = false, ca, clientCertificate, proxy, connect = buildConnector, connections = DEFAULT_CONNECTIONS } = options;
  const connectMs = Math.min(timeoutMs, options.connectTimeoutMs ?? timeoutMs);
  // Made once: reading all authorities anew for each connection takes longer than the handshake.
  const secureContext =
    ca || clientCertificate
      ? createSecureContext({ ...(ca && { ca: [...getCACertificates('default'), ...[ca].flat()] }), ...clientCertificate })
      : undefined;
  const tls = { rejectUnauthorized: !insecure, ...(secureContext && { secureContext }) };
  const settings = {
    connect: connect({ timeout: connectMs, allowH2: false, ...tls }),
    connections,
    headersTimeout: Math.min(timeoutMs, options.headersTimeoutMs ?? timeoutMs),
    bodyTimeout: Math.min(timeoutMs, options.bodyTimeoutMs ?? timeoutMs),
    keepAliveTimeout: 30_000,
  };
  if (!proxy?.http && !proxy?.https) return new Agent(settings);
  return new EnvHttpProxyAgent({
    ...settings,
    connectTimeout: connectMs,
    allowH2: false,
    requestTls: { ...tls, allowH2: false },
    // Never the process's own environment: which proxy to take is the caller's to say.
    httpProxy: proxy.http ?? '',
    httpsProxy: proxy.https ?? '',
    noProxy: proxy.no ?? '',
  });
}

/** A kept-alive connection may be closed by the registry just when the next request goes out; a new one then works at once. */
async function retryStale<T>(send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code !== 'UND_ERR_SOCKET' && code !== 'ECONNRESET' && code !== 'EPIPE') throw error;
    return send();
  }
}
