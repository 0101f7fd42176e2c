import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { addAbortSignal } from 'node:stream';
import { Controller, HttpCode, Inject, Param, Post, Req, Res, ServiceUnavailableException, UnauthorizedException } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG } from '@millrace/platform/service';
import { isTransient } from '@millrace/platform/store';
import { withTrace } from '@millrace/platform/trace';
import type { RegistryMappingConfig } from './config.ts';
import type { Headers } from './dialects/dialect.ts';
import { Measures } from './measures.ts';
import { type NotificationBody, RegistryMapping } from './registry-mapping.ts';
import { type KnownRegistry, Registries } from './registries.ts';
import { type Claim, Senders } from './senders.ts';

/** How long a registry may take to send its notification. */
export const REQUEST_TIMEOUT_MS = 60_000;
/** Of a notification that only gives a hint, or whose sender is not known yet. */
const HINT_BYTES = 1024 * 1024;
const HINT_TIMEOUT_MS = 10_000;

/**
 * Where registries send their notifications. Distribution repeats for ever what is not answered 2xx, and everything behind it waits: so a
 * registry that we know is told 202 whatever it sends, once it is stored, and 503 only while Postgres is away or too much comes at once.
 */
@Controller('notifications')
export class HttpController {
  private readonly slots: Slots;

  constructor(
    private readonly mapping: RegistryMapping,
    private readonly registries: Registries,
    private readonly senders: Senders,
    private readonly measures: Measures,
    @Inject(CONFIG) private readonly config: RegistryMappingConfig,
    @Inject(LOG) private readonly log: Log,
  ) {
    this.slots = new Slots(config.HINTS_IN_FLIGHT);
  }

  @Post(':registry')
  @HttpCode(202)
  notify(@Param('registry') name: string, @Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply): Promise<void> {
    return this.take({ registry: name, headers: headersOf(request) }, request, reply);
  }

  /** For registries that can keep a secret in no other place. */
  @Post(':registry/:segment')
  @HttpCode(202)
  notifyByPath(
    @Param('registry') name: string,
    @Param('segment') segment: string,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    return this.take({ registry: name, segment, headers: headersOf(request) }, request, reply);
  }

  private async take(claim: Claim, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    let hint: Promise<NotificationBody> | undefined;
    const readHint = () => {
      if (!hint && !this.slots.take()) {
        this.measures.count(undefined, 'busy');
        throw this.unavailable(reply, 'too many notifications at once');
      }
      return (hint ??= readBody(request.raw, HINT_BYTES, HINT_TIMEOUT_MS));
    };
    try {
      const recognised = await this.senders.recognise(claim, async () => {
        const body = await readHint();
        return body.kind === 'complete' ? body.bytes : undefined;
      });
      if (recognised.kind === 'unknown') throw this.refuse(claim, recognised.reason, request, reply);
      const { registry } = recognised;
      const body = await (registry.mode === 'mapping' && !hint ? readBody(request.raw, this.config.NOTIFICATION_LIMIT_BYTES) : readHint());
      await this.receive(registry, body, claim, reply);
    } finally {
      if (hint) this.slots.give();
    }
  }

  private async receive(registry: KnownRegistry, body: NotificationBody, { headers }: Claim, reply: FastifyReply): Promise<void> {
    try {
      await withTrace(headers['traceparent'] ?? '', () => this.mapping.receive(registry, body, headers));
    } catch (error) {
      this.log.warn({ err: error, registry: registry.name }, 'notification.not-stored');
      throw this.unavailable(reply, isTransient(error) ? 'the database is not available' : 'the notification could not be stored');
    }
  }

  /** Says nothing of which registries there are. What of the body was not read will not be. */
  private refuse({ registry: name }: Claim, reason: string, request: FastifyRequest, reply: FastifyReply): UnauthorizedException {
    this.measures.count(this.registries.named(name), 'refused');
    this.log.warn({ registry: name.slice(0, 64), reason, from: request.ip }, 'notification.refused');
    void reply.header('connection', 'close');
    return new UnauthorizedException();
  }

  private unavailable(reply: FastifyReply, reason: string): ServiceUnavailableException {
    void reply.header('retry-after', '1');
    return new ServiceUnavailableException(reason);
  }
}

/** How many may be in at the same time. */
class Slots {
  constructor(private free: number) {}

  take(): boolean {
    if (this.free === 0) return false;
    this.free--;
    return true;
  }

  give(): void {
    this.free++;
  }
}

const headersOf = ({ headers }: FastifyRequest): Headers =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]));

/** Leaves bodies unread until the controller knows who sends them, and refuses none for its content type. */
export function leaveBodiesUnread(app: NestFastifyApplication): void {
  const server = app.getHttpAdapter().getInstance();
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (_request, _payload, done) => done(null));
  server.addHook('onRequest', (request, _reply, done) => {
    // One that cannot be parsed would be answered 415.
    if (request.headers['content-type'] !== undefined) request.headers['content-type'] = 'application/octet-stream';
    done();
  });
}

/** The whole body; of one that is longer than the limit only its size and the digest of its beginning, so that a repeat is known. */
async function readBody(request: IncomingMessage, limit: number, timeoutMs?: number): Promise<NotificationBody> {
  if (timeoutMs !== undefined) addAbortSignal(AbortSignal.timeout(timeoutMs), request);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    if (size < limit) chunks.push(chunk.subarray(0, limit - size));
    size += chunk.length;
  }
  const bytes = Buffer.concat(chunks);
  if (size <= limit) return { kind: 'complete', bytes };
  return { kind: 'too-large', size, limit, sha256: createHash('sha256').update(bytes).digest('hex') };
}
