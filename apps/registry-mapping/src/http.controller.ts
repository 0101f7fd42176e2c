import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Controller, HttpCode, Inject, Param, Post, Req, Res, ServiceUnavailableException, UnauthorizedException } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG } from '@millrace/platform/service';
import { isTransient } from '@millrace/platform/store';
import { withTrace } from '@millrace/platform/trace';
import type { RegistryMappingConfig } from './config.ts';
import { Measures } from './measures.ts';
import { type NotificationBody, RegistryMapping } from './registry-mapping.ts';
import { Registries } from './registries.ts';

/** How long a registry may take to send its notification. */
export const REQUEST_TIMEOUT_MS = 60_000;

/**
 * Where registries send their notifications. Distribution repeats for ever what is not answered 2xx, and everything behind it waits: so a
 * registry that we know is told 202 whatever it sends, once it is stored, and 503 only while Postgres is away.
 */
@Controller('notifications')
export class HttpController {
  constructor(
    private readonly mapping: RegistryMapping,
    private readonly registries: Registries,
    private readonly measures: Measures,
    @Inject(CONFIG) private readonly config: RegistryMappingConfig,
    @Inject(LOG) private readonly log: Log,
  ) {}

  @Post(':registry')
  @HttpCode(202)
  async notify(
    @Param('registry') name: string,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    const registry = this.registries.authenticated(name, request.headers);
    if (!registry) {
      const known = this.registries.named(name) !== undefined;
      this.measures.notified.inc({ registry: known ? name : '', outcome: 'refused' });
      this.log.warn(
        { registry: name.slice(0, 64), reason: known ? 'wrong secret' : 'no such registry', from: request.ip },
        'notification.refused',
      );
      // Nothing of the body was read, and nothing will be.
      void reply.header('connection', 'close');
      throw new UnauthorizedException();
    }
    const body = await readBody(request.raw, this.config.NOTIFICATION_LIMIT_BYTES);
    try {
      await withTrace(String(request.headers['traceparent'] ?? ''), () => this.mapping.receive(registry.name, body));
    } catch (error) {
      this.log.warn({ err: error, registry: registry.name }, 'notification.not-stored');
      void reply.header('retry-after', '1');
      throw new ServiceUnavailableException(isTransient(error) ? 'the database is not available' : 'the notification could not be stored');
    }
  }
}

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
async function readBody(request: IncomingMessage, limit: number): Promise<NotificationBody> {
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
