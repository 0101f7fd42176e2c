import { createSecureContext, getCACertificates } from 'node:tls';
import { registryHost } from '@millrace/domain/image-reference';
import { Agent, buildConnector, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { Circuit, type CircuitOptions, type CircuitState } from './circuit.ts';
import { exchangeError, RegistryError } from './error.ts';
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
    throw new RegistryError({ code: 'invalid-reference', message: `"${registry}" is no registry: give host[:port]` });
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
    throw new RegistryError({ code: 'unreachable', message: `${request.subject}: ${this.host} has no address` });
  }

  /** Follows redirects to other origins without the authorization, and never from https to http unless insecure. */
  async send(url: URL, request: Request): Promise<Answer> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(new DOMException('no complete answer in time', 'TimeoutError')), this.#timeoutMs);
    try {
      let { authorization } = request;
      for (let hop = 0; hop <= maxRedirects; hop++) {
        const answer = await this.#throughCircuit(url, { ...request, authorization }, abort.signal);
        const location = answer.headers.location;
        if (!redirects.has(answer.status) || typeof location !== 'string' || request.form) return answer;
        const target = this.#redirectTarget(location, url, request.subject);
        if (target.origin !== url.origin) authorization = undefined;
        url = target;
      }
      throw new RegistryError({
        code: 'redirect-loop',
        message: `${request.subject}: more than ${maxRedirects} redirects, the last to ${url.origin}`,
      });
    } finally {
      clearTimeout(timer);
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
        message: `${subject}: redirected by ${from.origin} to ${where}, which is not followed`,
      });
    }
    return target;
  }

  async #throughCircuit(url: URL, request: Request, signal: AbortSignal): Promise<Answer> {
    const circuit = this.#circuits.getOrMake(url.origin, () => new Circuit(this.#options.circuit));
    const waitMs = circuit.enter(this.#now());
    if (waitMs > 0) {
      const { failures, last } = circuit.state(this.#now());
      throw new RegistryError({
        code: 'circuit-open',
        message: `${request.subject}: not sent, ${url.host} failed ${failures} times in a row and is asked again in ${Math.ceil(waitMs / 1000)} s; the last time: ${last}`,
        retryAfterMs: waitMs,
      });
    }
    try {
      const answer = await this.#exchange(url, request, signal);
      if (answer.status < 500) circuit.succeeded();
      else
        circuit.failed(this.#now(), `${request.subject}: ${answer.status}`, gatewayStatuses.has(answer.status) ? undefined : url.pathname);
      return answer;
    } catch (error) {
      const { code, message } = error as RegistryError;
      if (code === 'unreachable' || code === 'timeout') circuit.failed(this.#now(), message);
      else circuit.left();
      throw error;
    }
  }

  async #exchange(url: URL, { method, headers, authorization, form, maxBytes, subject }: Request, signal: AbortSignal): Promise<Answer> {
    const sent = { ...this.#headers, ...headers };
    if (authorization) sent['authorization'] = authorization;
    if (form) sent['content-type'] = 'application/x-www-form-urlencoded';
    const dispatcher = (this.#dispatcher ??= dispatcherOf(this.#options, this.#timeoutMs));
    try {
      const {
        statusCode,
        headers: answered,
        body,
      } = await retryStale(() =>
        dispatcher.request({
          origin: url.origin,
          path: url.pathname + url.search,
          method,
          headers: sent,
          body: form?.toString(),
          signal,
          reset: false, // undici gives up the connection after a HEAD otherwise
        }),
      );
      body.on('error', () => undefined); // given up below without being read, it would end the process
      if (method === 'HEAD') {
        await body.dump();
        return { status: statusCode, headers: answered, body: nothing, url };
      }
      const encoding = String(answered['content-encoding'] ?? 'identity').toLowerCase();
      const isContent = statusCode < 300;
      if (isContent && encoding !== 'identity' && encoding !== '') {
        body.destroy();
        throw new RegistryError({
          code: 'malformed',
          message: `${subject}: answered in the encoding "${encoding}", which was not asked for`,
        });
      }
      const limit = isContent ? maxBytes : maxErrorBytes;
      const bytes = await readUpTo(body, limit, Number(answered['content-length'] ?? 0));
      if (!bytes && isContent)
        throw new RegistryError({ code: 'too-large', message: `${subject}: the answer is longer than ${limit} bytes` });
      return { status: statusCode, headers: answered, body: bytes ?? nothing, url };
    } catch (error) {
      throw error instanceof RegistryError ? error : exchangeError(subject, error);
    }
  }
}

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

/** All of the body, or undefined if it is longer than the limit: then no more than that was read. */
async function readUpTo(
  body: AsyncIterable<unknown> & { destroy(): unknown },
  limit: number,
  announced: number,
): Promise<Buffer | undefined> {
  if (announced > limit) {
    body.destroy();
    return undefined;
  }
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
    if (length > limit) return undefined;
  }
  return Buffer.concat(chunks);
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
