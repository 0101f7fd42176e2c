import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IncomingHttpHeaders } from 'node:http';
import { parse } from 'yaml';
import { startService, type RunningService } from '@millrace/platform/service';
import { service } from './main.ts';

export interface Answered {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  bytes: Buffer;
  /** The body as JSON. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look where they like
  json: any;
}

export interface Call {
  method?: string;
  headers?: Record<string, string | string[]>;
  body?: string | Buffer | object;
  /** The administrator's when absent; null sends none. */
  token?: string | null;
}

export const DEV_TOKEN = 'dev-token-of-the-specs';

/** The api, started as it is in production, in a directory of its own. */
export async function anApi(natsUrl: string, env: Record<string, string> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-api-'));
  const kubeconfig = join(directory, 'config', 'kubeconfig');
  const start = (): Promise<RunningService> =>
    startService(service as never, {
      NATS_URL: natsUrl,
      HTTP_PORT: '0',
      DATA_DIR: join(directory, 'data'),
      KUBECONFIG_PATH: kubeconfig,
      TOKENS: `${DEV_TOKEN},dev,u1,"developers"`,
      LOG_LEVEL: 'silent',
      STOP_TIMEOUT_MS: '1000',
      ...env,
    });
  const running = await start();
  const ca = readFileSync(join(directory, 'data', 'ca.crt'), 'utf8');
  const admin = readFileSync(join(directory, 'data', 'admin-token'), 'utf8').trim();
  const options = (path: string, { method = 'GET', headers = {}, token = admin }: Call): RequestOptions => ({
    host: '127.0.0.1',
    port: running.port,
    path,
    method,
    ca,
    agent: false,
    headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...headers },
  });
  return {
    running,
    directory,
    kubeconfig,
    ca,
    admin,
    options,
    start,
    kubeconfigContent: () => parse(readFileSync(kubeconfig, 'utf8')) as { clusters: { cluster: Record<string, string> }[] },
    call: (path: string, call: Call = {}) => exchange(options(path, call), call.body),
    stop: async () => {
      await running.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
export type Api = Awaited<ReturnType<typeof anApi>>;

function exchange(options: RequestOptions, body: Call['body']): Promise<Answered> {
  const bytes = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const length = bytes === undefined ? {} : { 'content-length': Buffer.byteLength(bytes) };
  const typed = typeof body === 'object' && !Buffer.isBuffer(body) ? { 'content-type': 'application/json' } : {};
  return new Promise((resolve, reject) => {
    const sent = httpsRequest({ ...options, headers: { ...length, ...typed, ...(options.headers as object) } }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const whole = Buffer.concat(chunks);
        const text = whole.toString();
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text,
          bytes: whole,
          get json() {
            return JSON.parse(text);
          },
        });
      });
    });
    sent.on('error', reject);
    sent.end(bytes);
  });
}
