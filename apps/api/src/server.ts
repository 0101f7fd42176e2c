import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Server } from 'node:https';
import { join } from 'node:path';
import type { Socket } from 'node:net';
import { badRequest, type Status } from '@millrace/domain/status';
import { ConfigError } from '@millrace/platform/config';
import { CONFIG } from '@millrace/platform/service';
import { serverCertificate, serverNames, type ServerCertificate } from './certificates.ts';
import type { ApiConfig } from './config.ts';
import { adminToken, writeKubeconfig } from './credentials.ts';
import { FrontDoor } from './front-door.ts';

/** How long a client may take for TLS, for its headers, and for a whole request. */
const HANDSHAKE_MS = 10_000;
const HEADERS_MS = 20_000;
const REQUEST_MS = 60_000;
const RENEW_EVERY_MS = 12 * 3_600_000;

async function certificateOf(config: ApiConfig): Promise<ServerCertificate> {
  const { TLS_CERT: cert, TLS_KEY: key, TLS_CA: ca } = config;
  if ((cert === undefined) !== (key === undefined)) throw new ConfigError('TLS_CERT and TLS_KEY are given together or not at all');
  if (cert !== undefined && key !== undefined) return { cert, key, ca: ca ?? cert };
  return serverCertificate(config.DATA_DIR, serverNames(config.TLS_NAMES));
}

/** TLS and limits of the HTTP server. */
export async function serverOptions(config: ApiConfig): Promise<Record<string, unknown>> {
  const { cert, key } = await certificateOf(config);
  return {
    https: { cert, key, minVersion: 'TLSv1.2', handshakeTimeout: HANDSHAKE_MS, headersTimeout: HEADERS_MS, maxHeaderSize: 32 * 1024 },
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: 75_000,
    bodyLimit: config.BODY_LIMIT_BYTES,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    routerOptions: { maxParamLength: 32 * 1024 },
    frameworkErrors: (error: Error, _request: FastifyRequest, reply: FastifyReply) => {
      reply.hijack();
      const body = Buffer.from(JSON.stringify(badRequest(`the URL cannot be read: ${error.message}`)));
      reply.raw.writeHead(400, { 'content-type': 'application/json', 'content-length': body.length, connection: 'close' });
      reply.raw.end(body);
    },
    clientErrorHandler: answerBrokenRequest,
  };
}

/** A request that is no HTTP, or whose headers never end: answered with a Status and closed. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return void socket.destroy();
  const [code, title] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'Request Header Fields Too Large']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout']
        : [400, 'Bad Request'];
  const status: Status = { ...badRequest(`the request cannot be read: ${title}`), code };
  const body = JSON.stringify(status);
  socket.end(
    `HTTP/1.1 ${code} ${title}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

/** Puts identity and access in front of every route, and takes bodies as bytes. */
export function openDoor(app: NestFastifyApplication): void {
  const fastify = app.getHttpAdapter().getInstance();
  const frontDoor = app.get(FrontDoor);
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser('*', { parseAs: 'buffer' }, (_request: FastifyRequest, body: Buffer, done: (e: null, b: Buffer) => void) => {
    done(null, body);
  });
  fastify.addHook('onRequest', (request, reply, done) => {
    if (frontDoor.admit(request, reply)) done();
  });
}

/** Writes the kubeconfig, and keeps it and the certificate fresh until the server closes. */
export async function giveAccess(app: NestFastifyApplication): Promise<void> {
  const server = app.getHttpServer() as Server;
  const config = app.get<ApiConfig>(CONFIG);
  await writeAccess(config, server);
  const renewal = setInterval(() => void renew(config, server), RENEW_EVERY_MS).unref();
  server.once('close', () => clearInterval(renewal));
}

async function writeAccess(config: ApiConfig, server: Server): Promise<void> {
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : config.HTTP_PORT;
  const { ca } = await certificateOf(config);
  writeKubeconfig(config.KUBECONFIG_PATH ?? join(config.DATA_DIR, 'kubeconfig'), {
    server: config.PUBLIC_URL ?? `https://127.0.0.1:${port}`,
    ca,
    token: adminToken(config.DATA_DIR),
  });
}

async function renew(config: ApiConfig, server: Server): Promise<void> {
  const { cert, key } = await certificateOf(config);
  server.setSecureContext({ cert, key, minVersion: 'TLSv1.2' });
  await writeAccess(config, server);
}
