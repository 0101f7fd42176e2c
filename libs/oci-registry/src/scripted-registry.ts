import http, { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { digestOf, mediaTypes } from './manifest.ts';

/** What a path answers: a whole answer, or a listener that does as it likes with the connection. */
export type Script = { status?: number; headers?: Record<string, string | string[]>; body?: string | Buffer | object } | RequestListener;

export interface SeenRequest {
  method: string;
  /** Path with query. */
  url: string;
  headers: IncomingMessage['headers'];
}

/**
 * For tests: an HTTP server that serves content as a registry does, and on given paths whatever it is told to, as registries and
 * attackers do in the world. Remembers each request.
 */
export class ScriptedRegistry {
  readonly requests: SeenRequest[] = [];
  readonly #scripts = new Map<string, Script>();
  #connections = 0;

  private constructor(private readonly server: http.Server | https.Server) {
    server.on('connection', () => this.#connections++);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => this.#serve(request, response));
  }

  static async start(tls?: https.ServerOptions): Promise<ScriptedRegistry> {
    const server = tls ? https.createServer(tls) : http.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new ScriptedRegistry(server);
  }

  /** `host:port` */
  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Connections that clients have opened so far. */
  get connections(): number {
    return this.#connections;
  }

  /** The path is without query; it counts for every method. The latest script for a path stands. */
  on(path: string, script: Script): void {
    this.#scripts.set(path, script);
  }

  blob(repository: string, bytes: Buffer): string {
    const digest = digestOf(bytes);
    this.on(`/v2/${repository}/blobs/${digest}`, { headers: { 'docker-content-digest': digest }, body: bytes });
    return digest;
  }

  /** Served by its digest and, if given, by the tag. Returns the digest. */
  manifest(
    repository: string,
    content: object,
    { tag, mediaType = mediaTypes.ociManifest as string } = {} as { tag?: string; mediaType?: string },
  ): string {
    const body = Buffer.from(JSON.stringify(content));
    const digest = digestOf(body);
    for (const reference of tag ? [digest, tag] : [digest]) {
      this.on(`/v2/${repository}/manifests/${reference}`, {
        headers: { 'content-type': mediaType, 'docker-content-digest': digest },
        body,
      });
    }
    return digest;
  }

  breakConnections(): void {
    this.server.closeAllConnections();
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const url = request.url ?? '/';
    this.requests.push({ method: request.method ?? '', url, headers: request.headers });
    const script = this.#scripts.get(url.split('?')[0] ?? '') ?? {
      status: 404,
      body: { errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }] },
    };
    if (typeof script === 'function') script(request, response);
    else answer(request, response, script);
  }
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { status = 200, headers = {}, body = '' }: Exclude<Script, RequestListener>,
): void {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  response.writeHead(status, { 'content-length': String(bytes.length), ...headers });
  response.end(request.method === 'HEAD' ? undefined : bytes);
}
