import { Inject, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { OutgoingHttpHeaders } from 'node:http';
import { resources } from '@millrace/contracts/resources';
import { decideAccess, MASTERS, type Identity } from '@millrace/domain/access';
import { internalError, StatusError, type Status } from '@millrace/domain/status';
import { METRICS } from '@millrace/platform/health';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG } from '@millrace/platform/service';
import { withTrace } from '@millrace/platform/trace';
import type { ApiConfig } from './config.ts';
import { Collections } from './collections.ts';
import { ADMIN, adminToken, Credentials, parseTokens } from './credentials.ts';
import { Documents, type Page } from './documents.ts';
import { gzipped, jsonBytes, takesPacked, warningHeader, yamlBytes } from './encoding.ts';
import { contentTypeOf, negotiate, type Representation } from './media.ts';
import { type Answer, KeptAnswers } from './kept-answers.ts';
import { Objects, type ObjectRequest, type Outcome } from './objects.ts';
import { accessOf, forbiddenFor, parseRequest, targetOf, type Asked, type ObjectPath, type Target } from './protocol.ts';
import type { Printed } from './columns.ts';
import { countsHistory, metadataOf, tableOf, type Included } from './table.ts';
import { Watches } from './watch.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set when the request may be served. */
    admitted?: Admitted;
  }
}

interface Admitted {
  asked: Asked;
  user: Identity;
  startedAt: number;
}

const NO_BODY = Buffer.alloc(0);
const VERSION = '0.1.0';
const READS = new Set(['get', 'list', 'watch']);
const COMMON_HEADERS = { 'cache-control': 'no-cache, private', 'x-content-type-options': 'nosniff' };

/** Every request comes by here: who asks, may they, what is asked, and in which form it is answered. */
@Injectable()
export class FrontDoor {
  private readonly credentials: Credentials;
  private readonly documents = new Documents(resources, VERSION);
  private readonly requests: Counter;
  private readonly seconds: Histogram;

  constructor(
    private readonly objects: Objects,
    private readonly kept: KeptAnswers,
    private readonly collections: Collections,
    private readonly watches: Watches,
    @Inject(CONFIG) config: ApiConfig,
    @Inject(LOG) private readonly log: Log,
    @Inject(METRICS) metrics: Registry,
  ) {
    this.credentials = new Credentials([[adminToken(config.DATA_DIR), { name: ADMIN, groups: [MASTERS] }], ...parseTokens(config.TOKENS)]);
    this.requests = new Counter({
      name: 'millrace_api_requests_total',
      help: 'Requests answered, by verb, resource and HTTP status',
      labelNames: ['verb', 'resource', 'code'],
      registers: [metrics],
    });
    this.seconds = new Histogram({
      name: 'millrace_api_request_seconds',
      help: 'Time to answer a request, watches excepted',
      labelNames: ['verb'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 10],
      registers: [metrics],
    });
    new Gauge({
      name: 'millrace_api_watches',
      help: 'Watches that are open',
      registers: [metrics],
      collect() {
        this.set(watches.count);
      },
    });
    new Gauge({
      name: 'millrace_api_kept_answers',
      help: 'Answers to reads that are kept in memory',
      registers: [metrics],
      collect() {
        this.set(kept.count);
      },
    });
  }

  /** Identity and access, before anything of a body is read. False when the request has been refused. */
  admit(request: FastifyRequest, reply: FastifyReply): boolean {
    const startedAt = performance.now();
    let asked: Asked | undefined;
    let user: Identity | undefined;
    try {
      user = this.credentials.identify(request.raw);
      asked = parseRequest(request.method, request.raw.url ?? '/');
      if (!decideAccess(user, accessOf(asked)).allowed) throw new StatusError(forbiddenFor(user.name, asked));
      request.admitted = { asked, user, startedAt };
      return true;
    } catch (error) {
      const status = this.statusOf(error);
      this.send(reply, status.code ?? 500, jsonBytes(status), { status });
      this.told(asked, user, startedAt, status.code ?? 500, status);
      return false;
    }
  }

  /** Answers an admitted request; whatever goes wrong is a Status. Never rejects. */
  async answer(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { admitted } = request;
    if (!admitted) return;
    const { asked, user, startedAt } = admitted;
    try {
      const code = await withTrace(firstOf(request.headers.traceparent), () => this.answered(request, reply, admitted));
      this.told(asked, user, startedAt, code);
    } catch (error) {
      const status = this.statusOf(error);
      if (reply.raw.headersSent) reply.raw.destroy();
      else this.send(reply, status.code ?? 500, jsonBytes(status), { status });
      this.told(asked, user, startedAt, status.code ?? 500, status);
    }
  }

  /** An error of the server below us: a body that is too long, a route that is none. */
  refuse(request: FastifyRequest, reply: FastifyReply, status: Status): void {
    if (reply.raw.headersSent) return;
    this.send(reply, status.code ?? 500, jsonBytes(status), { status, close: true });
    this.told(
      request.admitted?.asked,
      request.admitted?.user,
      request.admitted?.startedAt ?? performance.now(),
      status.code ?? 500,
      status,
    );
  }

  private async answered(request: FastifyRequest, reply: FastifyReply, { asked, user }: Admitted): Promise<number> {
    const { path, verb, query } = asked;
    if (path.kind === 'objects' && this.documents.serves(path.group, path.version))
      return this.answerObjects(path, request, reply, { query, verb, user });
    const { method, headers } = request;
    const at = path.kind === 'path' ? path.path : request.url.replace(/\?.*$/, '');
    return this.sendPage(request, reply, this.documents.answer({ path: at, method, query, headers, pretty: wantsPretty(request, query) }));
  }

  private async answerObjects(
    path: ObjectPath,
    request: FastifyRequest,
    reply: FastifyReply,
    { query, verb, user }: { query: URLSearchParams; verb: string; user: Identity },
  ): Promise<number> {
    const target = targetOf(path, knownMethod(request.method, verb), resources);
    const many = target.verb === 'list' || target.verb === 'deletecollection';
    const form = negotiate(request.headers.accept, { objects: many ? 'list' : 'one' });
    const included = includedIn(query);
    const body = Buffer.isBuffer(request.body) ? request.body : NO_BODY;
    const asIs = form.as === 'json' && !wantsPretty(request, query);
    // A printed row shows the newest item of a tag only, or counts all of them.
    const prints = form.as === 'table' && included !== 'Object' && !countsHistory(target.resource);
    const historyLimit = form.as === 'metadata' || prints ? 1 : undefined;
    const objectRequest = { target, query, headers: request.headers, body, user, historyLimit, asIs };
    if (target.verb !== 'watch') return this.sendAnswer(request, reply, await this.answerTo(request, objectRequest, form));
    const watch = await this.watches.begin(objectRequest, form, included);
    reply.hijack();
    await watch.stream(reply.raw, { ...COMMON_HEADERS, 'content-type': 'application/json' });
    return 200;
  }

  private sendPage(request: FastifyRequest, reply: FastifyReply, { code, body, ...more }: Page): Promise<number> {
    return this.sendBytes(request, reply, code, body, more);
  }

  private answerTo(request: FastifyRequest, asked: ObjectRequest, form: Representation): Promise<Answer> {
    const { target, query } = asked;
    const pretty = wantsPretty(request, query);
    const make = async (position?: bigint) => {
      const listed = position === undefined ? undefined : await this.collections.list(asked, position);
      return answerIn(listed ?? (await this.objects.answer(asked)), form, target, { query, pretty });
    };
    if (target.verb !== 'get' && target.verb !== 'list') return make();
    const name = form.as === 'table' ? `table ${form.version}` : form.as;
    return this.kept.answer({ target, query, key: `${name} ${pretty} ${request.raw.url}`, tellsAge: form.as === 'table' }, make);
  }

  private async sendAnswer(request: FastifyRequest, reply: FastifyReply, answer: Answer): Promise<number> {
    const { code, body, warnings, contentType } = answer;
    if (!takesPacked(body, request.headers['accept-encoding'])) return this.send(reply, code, body, { warnings, contentType });
    return this.sendBytes(request, reply, code, body, { warnings, contentType }, await (answer.packed ??= gzipped(body)));
  }

  private async sendBytes(
    request: FastifyRequest,
    reply: FastifyReply,
    code: number,
    body: Buffer,
    more: { warnings?: readonly string[]; contentType?: string; headers?: Record<string, string> } = {},
    given?: Buffer,
  ): Promise<number> {
    const packed = given ?? (takesPacked(body, request.headers['accept-encoding']) ? await gzipped(body) : undefined);
    if (!packed) return this.send(reply, code, body, more);
    return this.send(reply, code, packed, {
      ...more,
      headers: { ...more.headers, 'content-encoding': 'gzip', vary: more.headers?.['vary'] ?? 'Accept-Encoding' },
    });
  }

  /** Writes past Fastify's own replying, which has nothing to add here. */
  private send(
    reply: FastifyReply,
    code: number,
    body: Buffer,
    more: {
      warnings?: readonly string[];
      contentType?: string;
      headers?: Record<string, string>;
      status?: Status;
      close?: boolean;
    } = {},
  ): number {
    const { warnings, contentType = 'application/json', headers, status, close } = more;
    if (!reply.sent) reply.hijack();
    const retryAfter = status?.details?.retryAfterSeconds;
    const all: OutgoingHttpHeaders = {
      ...COMMON_HEADERS,
      'content-type': contentType,
      'content-length': body.length,
      ...(retryAfter ? { 'retry-after': String(retryAfter) } : {}),
      ...(code === 401 ? { 'www-authenticate': 'Bearer realm="millrace"' } : {}),
      ...(close ? { connection: 'close' } : {}),
      ...headers,
    };
    if (warnings?.length) reply.raw.setHeader('warning', warnings.map(warningHeader));
    reply.raw.writeHead(code, all);
    reply.raw.end(body);
    return code;
  }

  private statusOf(error: unknown): Status {
    if (error instanceof StatusError) return error.status;
    this.log.error({ err: error }, 'request.failed');
    return internalError('the api could not answer; its log names the reason');
  }

  /** One line and one count per outcome. */
  private told(asked: Asked | undefined, user: Identity | undefined, startedAt: number, code: number, status?: Status): void {
    const ms = performance.now() - startedAt;
    const verb = asked?.verb ?? 'none';
    const path = asked?.path;
    const meant =
      path?.kind === 'objects' ? resources.find((one) => one.resource === path.resource && one.group === path.group) : undefined;
    const known = meant !== undefined;
    const resource = meant?.resource ?? 'other';
    this.requests.inc({ verb: known || READS.has(verb) ? verb : 'other', resource, code });
    if (verb !== 'watch') this.seconds.observe({ verb: known || READS.has(verb) ? verb : 'other' }, ms / 1000);
    const level = code >= 500 ? 'warn' : READS.has(verb) || !asked ? 'debug' : 'info';
    if (!this.log.isLevelEnabled(level)) return;
    this.log[level](
      {
        user: user?.name,
        verb,
        ...(path?.kind === 'objects'
          ? { resource: path.resource, subresource: path.subresource, namespace: path.namespace, name: path.name }
          : { path: path?.path }),
        code,
        reason: status?.reason,
        // What is wrong with a body may be told with a part of it.
        message: meant?.confidential ? undefined : status?.message,
        ms: Math.round(ms * 10) / 10,
      },
      'request.answered',
    );
  }
}

/** A HEAD is answered as the reference answers it: the resource is there, the method is not. */
const knownMethod = (method: string, verb: string): string => (method === 'HEAD' ? 'head' : verb);

const firstOf = (header: string | string[] | undefined): string | undefined => (Array.isArray(header) ? header[0] : header);

/** As asked; for people at a terminal or browser by default. */
function wantsPretty(request: FastifyRequest, query: URLSearchParams | undefined): boolean {
  const asked = query?.get('pretty');
  if (asked !== undefined && asked !== null) return /^(true|1)$/i.test(asked);
  return /^(curl|Wget|Mozilla)\//.test(request.headers['user-agent'] ?? '');
}

function includedIn(query: URLSearchParams): Included {
  const asked = query.get('includeObject');
  return asked === 'None' || asked === 'Object' ? asked : 'Metadata';
}

function answerIn(
  { code, warnings, content }: Outcome,
  form: Representation,
  target: Pick<Target, 'resource' | 'kind'>,
  { query, pretty }: { query: URLSearchParams; pretty: boolean },
): Answer {
  if (content.kind === 'json') return { code, warnings, body: content.json };
  const shown = content.kind === 'list' ? listIn(content, form, target, query) : objectIn(content.object, form, target, query);
  const body = form.as === 'yaml' ? yamlBytes(shown) : jsonBytes(shown, pretty);
  return { code, warnings, body, contentType: contentTypeOf(form) };
}

function objectIn(object: Printed, form: Representation, { resource }: Pick<Target, 'resource'>, query: URLSearchParams): object {
  if (object['kind'] === 'Status') return object;
  switch (form.as) {
    case 'table': {
      const { resourceVersion } = (object['metadata'] ?? {}) as { resourceVersion?: string };
      return tableOf(resource, [object], {
        metadata: { resourceVersion },
        now: new Date(),
        version: form.version,
        included: includedIn(query),
      });
    }
    case 'metadata':
      return metadataOf(object);
    default:
      return object;
  }
}

function listIn(
  { items, metadata }: Extract<Outcome['content'], { kind: 'list' }>,
  form: Representation,
  { resource, kind }: Pick<Target, 'resource' | 'kind'>,
  query: URLSearchParams,
): object {
  const included = includedIn(query);
  const apiVersion = resource.group ? `${resource.group}/${resource.version}` : resource.version;
  switch (form.as) {
    case 'table':
      return tableOf(resource, included === 'Object' ? items.map((item) => ({ kind, apiVersion, ...item })) : items, {
        metadata,
        now: new Date(),
        version: form.version,
        included,
      });
    case 'metadata':
      return { kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1', metadata, items: items.map((item) => metadataOf(item)) };
    default: {
      // The list says what its items are.
      for (const item of items) {
        item['kind'] = undefined;
        item['apiVersion'] = undefined;
      }
      return { kind: `${kind}List`, apiVersion, metadata, items };
    }
  }
}
