import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { apiClient, type ApiClient } from '@millrace/testing/client';
import { nodeFlags, startProduct, type Product } from '@millrace/testing/product';
import { percentile, type Figure } from './figures.ts';
import { makeStream, mappingOf } from './work.ts';

const STREAMS = 1_000;
const ROUNDS = 5;
const NAMESPACE = '/apis/image.openshift.io/v1/namespaces/bench';
const TAG = `${NAMESPACE}/imagestreamtags/s0:latest`;
const LIST = `${NAMESPACE}/imagestreams`;

/** Reads of the product beside a bare TLS server that answers the same bytes: same client, same connections, in turn. */
export async function reads(): Promise<Figure[]> {
  const product = await startProduct({ args: ['--quiet', '--log-level', 'warn'] });
  const api = apiClient(product);
  try {
    for (let i = 0; i < STREAMS; i += 20)
      await Promise.all(
        Array.from({ length: 20 }, async (_, k) => {
          await makeStream(api, 'bench', `s${i + k}`);
          await api.request('POST', `${NAMESPACE}/imagestreammappings`, mappingOf('bench', `s${i + k}`, 'latest', 3_000));
        }),
      );
    const bare = await bareServer(product, api, [TAG, LIST]);
    const bareApi = apiClient({ ...product, api: bare.url });
    try {
      return [
        await compared('GET of an imagestreamtag, of a bare TLS server', 0.4, { api, bareApi, path: TAG, requests: 4_000, atOnce: 32 }),
        await compared('LIST of 1,000 streams, of a bare TLS server', 0.6, { api, bareApi, path: LIST, requests: 200, atOnce: 4 }),
      ];
    } finally {
      await bareApi.close();
      bare.stop();
    }
  } finally {
    await api.close();
    await product.stop();
    product.remove();
  }
}

async function bareServer(product: Product, api: ApiClient, paths: readonly string[]): Promise<{ url: string; stop: () => void }> {
  const answers: Record<string, string> = {};
  for (const path of paths) answers[path] = Buffer.from((await api.request('GET', path)).text).toString('base64');
  const file = join(product.dataDir, 'bare.json');
  // Key and certificate are in one file.
  const pem = readFileSync(join(product.dataDir, 'api', 'server.pem'), 'utf8');
  writeFileSync(file, JSON.stringify({ key: pem, cert: pem, answers }), { mode: 0o600 });
  const script = fileURLToPath(new URL('bare-server.mjs', import.meta.url));
  const child = spawn(process.execPath, [...nodeFlags, script, file], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').once('data', (text: string) => resolve(text.trim()));
    child.once('exit', () => reject(new Error('the bare server ended')));
  });
  return { url: `https://127.0.0.1:${port}`, stop: () => void child.kill() };
}

async function compared(
  name: string,
  limit: number,
  { api, bareApi, path, requests, atOnce }: { api: ApiClient; bareApi: ApiClient; path: string; requests: number; atOnce: number },
): Promise<Figure> {
  const rates: { product: number[]; bare: number[] } = { product: [], bare: [] };
  for (let round = 0; round <= ROUNDS; round++) {
    const [product, bare] = [await rate(api, path, requests, atOnce), await rate(bareApi, path, requests, atOnce)];
    // The first round warms up.
    if (round === 0) continue;
    rates.product.push(product);
    rates.bare.push(bare);
  }
  const [product, bare] = [percentile(rates.product, 50), percentile(rates.bare, 50)];
  return {
    name,
    value: product / bare,
    unit: '×',
    limit: { value: limit, is: 'at least' },
    note: `${product.toFixed(0)}/s against ${bare.toFixed(0)}/s, ${atOnce} at a time, median of ${ROUNDS} rounds in turn`,
  };
}

async function rate(api: ApiClient, path: string, requests: number, atOnce: number): Promise<number> {
  const begun = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (next++ < requests) {
        const { status } = await api.request('GET', path);
        if (status !== 200) throw new Error(`GET ${path}: ${status}`);
      }
    }),
  );
  return requests / ((performance.now() - begun) / 1000);
}
