import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Received {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  at: number;
}

export interface WebhookSink {
  url: string;
  received: Received[];
  /** What the next calls are answered with; 204 unless said otherwise. */
  answer: (received: Received) => { status: number; headers?: Record<string, string>; body?: string; delayMs?: number };
  close: () => Promise<void>;
}

/** A receiver of webhooks: keeps every call, answers as it is told. */
export async function aWebhookSink(options: { port?: number; host?: string } = {}): Promise<WebhookSink> {
  const sink: WebhookSink = { url: '', received: [], answer: () => ({ status: 204 }), close: async () => undefined };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const received = { path: request.url ?? '/', headers: request.headers, body: Buffer.concat(chunks).toString(), at: Date.now() };
      sink.received.push(received);
      const { status, headers, body, delayMs } = sink.answer(received);
      setTimeout(() => response.writeHead(status, headers).end(body), delayMs ?? 0);
    });
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve));
  sink.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  sink.close = () =>
    new Promise((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  return sink;
}
