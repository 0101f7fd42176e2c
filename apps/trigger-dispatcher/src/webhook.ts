import { createHash } from 'node:crypto';
import { lookup as systemLookup, Resolver, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { Inject, Injectable } from '@nestjs/common';
import { Agent, request, type Dispatcher } from 'undici';
import { addressKind, BlockedAddress, isAllowedAddress } from '@millrace/domain/address';
import type { AttemptOutcome } from '@millrace/domain/delivery-retry';
import { isCredentialHeader, MASK } from '@millrace/domain/trigger-webhook';
import { pause } from '@millrace/platform/backoff';
import { guardedConnector } from '@millrace/platform/guarded-connector';
import { CONFIG } from '@millrace/platform/service';
import type { DispatcherConfig } from './config.ts';
import { signature } from './webhook-secrets.ts';

/** One call, complete but for what is made of the moment: time and signatures. */
export interface Call {
  method: string;
  url: string;
  /** The URL as it may be shown. */
  shown: string;
  headers: Record<string, string>;
  body: string;
  /** The same for every repeat: the receiver tells repeats by it. */
  id: string;
  traceparent: string;
  timeoutMs: number;
  /** Each of them signs. */
  keys: readonly string[];
  /** What may be shown nowhere, wherever it stands. */
  credentials: readonly string[];
  /** Certificates, PEM, of who has signed the server's; the public authorities when absent. */
  ca?: string;
  /** What is asked for first: where it is not there, the call is not made. */
  mustExist?: string;
  /** What an answer means, where that is not what its status alone says. */
  judge?: (status: number, answer: string) => { accepted?: boolean; meaning?: string };
  /** False where the answer to a call that succeeded shows what is there, and not what happened. */
  keepsAnswer?: boolean;
}

/** What was sent, as it may be shown: without the query of its URL, and with its credentials masked. */
export interface SentRequest {
  method: string;
  url: string;
  headers: Record<string, string>;
  /** Of the body. */
  bytes: number;
}

export interface Called {
  outcome: AttemptOutcome;
  /** Absent where nothing could be sent. */
  request?: SentRequest;
  /** Those of the answer that help to find out what happened. */
  headers: Record<string, string>;
  /** First 2 kB of what was answered. */
  answer: string;
  ms: number;
}

const ANSWER_KEPT_BYTES = 2_048;
/** A short answer is read to its end, so that the connection can be used again; a longer one is cut. */
const ANSWER_READ_BYTES = 64 * 1_024;
/** The status is the answer; what follows it is not waited for much longer. */
const ANSWER_READ_MS = 2_000;
const HEADER_BYTES = 16 * 1_024;
const RESOLVE_MS = 2_000;
/** Agents for servers with authorities of their own, each with its connections. */
const AGENTS_MAX = 32;
/** Of an object, no more than that it is there. */
const PARTIAL_OBJECT = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json';

/** Calls webhooks: signed as Standard Webhooks says, bounded in time and size, to allowed addresses only, following no redirects. */
@Injectable()
export class Webhooks {
  private readonly agent: Agent;
  /** For servers with authorities of their own, in the order of their last use. */
  private readonly agents = new Map<string, Agent>();

  constructor(@Inject(CONFIG) private readonly config: Pick<DispatcherConfig, 'WEBHOOK_ALLOW_ADDRESSES' | 'WEBHOOK_PARALLEL_PER_HOST'>) {
    this.agent = this.anAgent();
  }

  async close(): Promise<void> {
    await Promise.all([this.agent, ...this.agents.values()].map((agent) => agent.destroy()));
  }

  /** Makes one attempt. Resolves whatever happens; what did is the outcome. Rejects only when `signal` aborts. */
  async call(call: Call, signal: AbortSignal): Promise<Called> {
    const started = performance.now();
    const ms = () => Math.round(performance.now() - started);
    const deadline = AbortSignal.timeout(call.timeoutMs);
    const own = headersOf(call, Math.floor(Date.now() / 1_000));
    const credentialHeaders = Object.keys(call.headers).filter(isCredentialHeader);
    const withheld = [...call.keys, ...call.credentials, ...credentialHeaders.map((name) => call.headers[name] ?? '')];
    const sent = {
      method: call.method,
      url: call.shown,
      headers: { ...shownHeaders(call.headers, withheld), ...own },
      bytes: Buffer.byteLength(call.body),
    };
    const asked = { dispatcher: this.agentFor(call.ca), headersTimeout: call.timeoutMs, bodyTimeout: ANSWER_READ_MS };
    const signals = { signal: AbortSignal.any([deadline, signal]) };
    try {
      const response = await (async () => {
        if (call.mustExist !== undefined) {
          const { 'content-type': _, ...rest } = call.headers;
          const headers = { ...rest, accept: PARTIAL_OBJECT };
          const there = await request(call.mustExist, { ...asked, ...signals, method: 'GET', headers });
          // Who may patch but not read is told by the patch.
          if (there.statusCode === 404) return there;
          await there.body.dump({ limit: ANSWER_READ_BYTES });
        }
        const headers = { ...call.headers, ...own };
        return request(call.url, { ...asked, ...signals, method: call.method as 'POST', headers, body: call.body });
      })();
      const answered = ms();
      const retryAfter = response.headers['retry-after'];
      const { statusCode: status } = response;
      const answer = without(withheld, await beginningOf(response.body));
      const judged = call.judge?.(status, answer) ?? {};
      const kept = call.keepsAnswer === false && status < 300 ? '' : answer;
      return {
        outcome: { kind: 'answered', status, ...judged, ...(retryAfter === undefined ? {} : { retryAfter: String(retryAfter) }) },
        request: sent,
        headers: worthKeeping(response.headers, withheld),
        answer: kept,
        ms: answered,
      };
    } catch (error) {
      if (signal.aborted) throw error;
      const message = deadline.aborted ? `no answer within ${call.timeoutMs / 1_000} s` : reasonOf(error);
      return { outcome: { kind: 'failed', error: without(withheld, message) }, request: sent, headers: {}, answer: '', ms: ms() };
    }
  }

  private anAgent(ca?: string): Agent {
    return new Agent({
      connect: guardedConnector({ allow: this.config.WEBHOOK_ALLOW_ADDRESSES, lookup }, { timeout: 10_000, ...(ca ? { ca } : {}) }),
      connections: this.config.WEBHOOK_PARALLEL_PER_HOST,
      pipelining: 1,
      maxHeaderSize: HEADER_BYTES,
      keepAliveTimeout: 10_000,
      keepAliveMaxTimeout: 60_000,
      allowH2: false,
    });
  }

  private agentFor(ca: string | undefined): Agent {
    if (ca === undefined) return this.agent;
    const id = createHash('sha256').update(ca).digest('base64');
    const agent = this.agents.get(id) ?? this.anAgent(ca);
    this.agents.delete(id);
    this.agents.set(id, agent);
    const [oldest] = this.agents.size > AGENTS_MAX ? this.agents : [];
    if (oldest) {
      this.agents.delete(oldest[0]);
      // Calls in flight end first.
      void oldest[1].close().catch(() => undefined);
    }
    return agent;
  }

  /**
   * Why the host of a URL may not be called, as far as can be told now; undefined when it may, or is not known yet. Each call
   * checks again, on the address that it connects to.
   */
  async refusedHost(url: string): Promise<string | undefined> {
    const host = new URL(url).hostname.replace(/^\[(.*)\]$/, '$1');
    if (isIP(host)) return undefined;
    const found = new Promise<LookupAddress[]>((resolve) =>
      lookup(host, { all: true }, (error, addresses) => resolve(error || !Array.isArray(addresses) ? [] : addresses)),
    );
    const addresses = await Promise.race([found, pause(RESOLVE_MS).then((): LookupAddress[] => [])]);
    const policy = this.config.WEBHOOK_ALLOW_ADDRESSES;
    const refused = addresses.find(({ address }) => !isAllowedAddress(address, policy));
    return refused && new BlockedAddress(host, refused.address, addressKind(refused.address), policy).message;
  }
}

function headersOf(call: Call, timestamp: number): Record<string, string> {
  const { id, body, keys, traceparent } = call;
  return {
    'user-agent': 'Millrace',
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    ...(keys.length ? { 'webhook-signature': keys.map((key) => signature({ id, body, key }, timestamp)).join(' ') } : {}),
    traceparent,
  };
}

/** A header is masked whole where any part of it is a credential. */
const shownHeaders = (headers: Record<string, string>, withheld: readonly string[]): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      isCredentialHeader(name) || withheld.some((one) => one !== '' && value.includes(one)) ? MASK : value,
    ]),
  );

/** Headers of an answer that say who answered, why, and where in the receiver's logs to look. */
const ANSWER_HEADERS =
  /^(content-(type|length)|retry-after|location|date|server|via|www-authenticate|x-(request|correlation|amzn-trace|github-request)-id|cf-ray|traceparent)$/;
const ANSWER_HEADER_LENGTH = 200;

function worthKeeping(headers: Dispatcher.ResponseData['headers'], withheld: readonly string[]): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || !ANSWER_HEADERS.test(name)) continue;
    const text = without(withheld, printable(String(value)));
    // Where a redirect leads is often told with a token.
    kept[name] = (name === 'location' ? text.replace(/[?#].*/, '') : text).slice(0, ANSWER_HEADER_LENGTH);
  }
  return kept;
}

/** A receiver that repeats what it was sent must not show credentials to who may read deliveries. Short ones would blot out words. */
function without(credentials: readonly string[], text: string): string {
  return credentials.reduce((left, one) => (one.length < 8 ? left : left.replaceAll(one, MASK)), text);
}

/** As it may be logged and shown: what identifies the caller is often in the query. */
export function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

/** Reads as much of an answer as is worth it, and drops the rest with the connection. */
async function beginningOf(body: Dispatcher.ResponseData['body']): Promise<string> {
  const kept: Buffer[] = [];
  let bytes = 0;
  const patience = setTimeout(() => body.destroy(), ANSWER_READ_MS);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (bytes < ANSWER_KEPT_BYTES) kept.push(chunk.subarray(0, ANSWER_KEPT_BYTES - bytes));
      bytes += chunk.length;
      if (bytes > ANSWER_READ_BYTES) break;
    }
  } catch {
    // It broke off; its status came before.
  } finally {
    clearTimeout(patience);
    body.destroy();
  }
  return printable(Buffer.concat(kept).toString());
}

/** What went wrong, with the cause that drivers hide behind a general word; never the URL's query. */
function reasonOf(error: unknown): string {
  const { message, code, cause, errors } = error as { message?: string; code?: string; cause?: unknown; errors?: unknown[] };
  const inner = cause ?? errors?.[0];
  const text = message || code || 'the call failed';
  return printable(inner && inner !== error && !(error instanceof BlockedAddress) ? `${text}: ${reasonOf(inner)}` : text).slice(0, 500);
}

/** A NUL cannot be stored in a Postgres text. */
const printable = (text: string): string => text.replaceAll('\0', '\uFFFD');

const resolver = new Resolver({ timeout: 2_000, tries: 2 });

/**
 * Asks the name servers directly, for names with a dot. The system's resolver, which also knows the hosts file and search domains, is asked when they
 * do not know the name; not when they are silent: it has four threads for the whole process, and a name whose servers hang must
 * not take them.
 */
export const lookup: LookupFunction = (hostname, options, callback) => {
  const give = (addresses: LookupAddress[]) => {
    const [first] = addresses;
    if (options.all) callback(null, addresses);
    else callback(null, first?.address ?? '', first?.family);
  };
  if (!hostname.includes('.') || hostname.endsWith('.localhost')) return systemLookup(hostname, options, callback as never);
  void Promise.all([resolved(hostname, 4), resolved(hostname, 6)]).then((parts) => {
    const addresses = parts.flatMap((part) => part.addresses);
    if (addresses.length) return give(addresses);
    if (parts.some((part) => part.silent)) {
      const error: NodeJS.ErrnoException = new Error(`the name servers did not answer for ${hostname}`);
      error.code = 'ETIMEOUT';
      return callback(error, '', 0);
    }
    return systemLookup(hostname, options, callback as never);
  });
};

function resolved(hostname: string, family: 4 | 6): Promise<{ addresses: LookupAddress[]; silent: boolean }> {
  return new Promise((resolve) => {
    const done = (error: NodeJS.ErrnoException | null, found: string[]) =>
      resolve({ addresses: error ? [] : found.map((address) => ({ address, family })), silent: error?.code === 'ETIMEOUT' });
    if (family === 4) resolver.resolve4(hostname, done);
    else resolver.resolve6(hostname, done);
  });
}
