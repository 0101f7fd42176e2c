import { registryHost } from '@millrace/domain/image-reference';
import { Agent, buildConnector } from 'undici';
import { exchangeError, RegistryError } from './error.ts';

export interface ConnectionOptions {
  /** `host[:port]` (https, then http if insecure), or `https://host[:port]`, or `http://host[:port]`, which is insecure by itself. */
  registry: string;
  /** Plain HTTP and unverified certificates are taken. */
  insecure?: boolean;
  /** Makes the connector from TLS and timeout options; undici's own unless given, for example one that refuses internal addresses. */
  connect?: (options: buildConnector.BuildOptions) => buildConnector.connector;
  /** For one request with its redirects, connecting and body included. */
  timeoutMs?: number;
  userAgent?: string;
}

export interface Request {
  method: 'GET' | 'HEAD';
  headers?: Record<string, string>;
  /** Value of the `Authorization` header; it does not leave the origin that it is first sent to. */
  authorization?: string;
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

const maxRedirects = 5;
const maxErrorBytes = 64 * 1024;
const redirects = new Set([301, 302, 303, 307, 308]);

/** Requests to one registry, its token server and its storage, over one pool of kept-alive connections for each host. */
export class Connection {
  /** The registry as pull specs name it. */
  readonly host: string;
  readonly insecure: boolean;
  readonly #bases: URL[];
  /** The base that answered last. Which one works is found out once. */
  #base?: URL;
  readonly #agent: Agent;
  readonly #timeoutMs: number;
  readonly #userAgent: string;

  constructor({ registry, insecure = false, connect = buildConnector, timeoutMs = 10_000, userAgent = 'millrace' }: ConnectionOptions) {
    const [, scheme, host] = /^(?:(https?):\/\/)?([^/\s@?#\\]+)\/?$/i.exec(registry) ?? [];
    const schemes = scheme ? [scheme.toLowerCase()] : insecure ? ['https', 'http'] : ['https'];
    if (!host || !URL.canParse(`https://${host}`)) {
      throw new RegistryError({ code: 'invalid-reference', message: `"${registry}" is no registry: give host[:port]` });
    }
    this.host = host;
    this.insecure = insecure || scheme?.toLowerCase() === 'http';
    this.#bases = schemes.map((each) => new URL(`${each}://${registryHost({ registry: host })}`));
    this.#timeoutMs = timeoutMs;
    this.#userAgent = userAgent;
    this.#agent = new Agent({
      connect: connect({ timeout: timeoutMs, rejectUnauthorized: !insecure, allowH2: false }),
      connections: 16,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      keepAliveTimeout: 30_000,
    });
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
        const noConnection = error instanceof RegistryError && ['unreachable', 'timeout', 'tls', 'plain-http'].includes(error.code);
        if (noConnection) this.#base = undefined;
        if (!noConnection || index === bases.length - 1) throw error;
      }
    }
    throw new RegistryError({ code: 'unreachable', message: `${request.subject}: ${this.host} has no address` });
  }

  /** Follows redirects to other origins without the authorization, and never from https to http unless insecure. */
  async send(url: URL, request: Request): Promise<Answer> {
    const signal = AbortSignal.timeout(this.#timeoutMs);
    let { authorization } = request;
    for (let hop = 0; hop <= maxRedirects; hop++) {
      const answer = await this.#exchange(url, { ...request, authorization }, signal);
      const location = answer.headers.location;
      if (!redirects.has(answer.status) || typeof location !== 'string') return answer;
      const target = this.#redirectTarget(location, url, request.subject);
      if (target.origin !== url.origin) authorization = undefined;
      url = target;
    }
    throw new RegistryError({
      code: 'redirect-loop',
      message: `${request.subject}: more than ${maxRedirects} redirects, the last to ${url.origin}`,
    });
  }

  /** Waits for the requests under way. */
  async close(): Promise<void> {
    if (!this.#agent.closed) await this.#agent.close();
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

  mayReach(url: URL): boolean {
    return url.protocol === 'https:' || (url.protocol === 'http:' && this.insecure);
  }

  async #exchange(url: URL, { method, headers, authorization, maxBytes, subject }: Request, signal: AbortSignal): Promise<Answer> {
    try {
      const {
        statusCode,
        headers: answered,
        body,
      } = await retryStale(() =>
        this.#agent.request({
          origin: url.origin,
          path: url.pathname + url.search,
          method,
          headers: { ...headers, 'user-agent': this.#userAgent, 'accept-encoding': 'identity', ...(authorization && { authorization }) },
          signal,
          reset: false, // undici gives up the connection after a HEAD otherwise
        }),
      );
      body.on('error', () => undefined); // given up below without being read, it would end the process
      const encoding = String(answered['content-encoding'] ?? 'identity').toLowerCase();
      const isContent = method === 'GET' && statusCode < 300;
      if (isContent && encoding !== 'identity' && encoding !== '') {
        body.destroy();
        throw new RegistryError({
          code: 'malformed',
          message: `${subject}: answered in the encoding "${encoding}", which was not asked for`,
        });
      }
      const limit = isContent ? maxBytes : maxErrorBytes;
      const announced = method === 'HEAD' ? 0 : Number(answered['content-length'] ?? 0);
      const bytes = await readUpTo(body, limit, announced);
      if (!bytes && isContent)
        throw new RegistryError({ code: 'too-large', message: `${subject}: the answer is longer than ${limit} bytes` });
      return { status: statusCode, headers: answered, body: bytes ?? Buffer.alloc(0), url };
    } catch (error) {
      throw error instanceof RegistryError ? error : exchangeError(subject, error);
    }
  }
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
