import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { credentialsIn } from './client.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** With which the product runs, wherever it is started. */
export const { nodeFlags, nodeEnvironment } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  nodeFlags: string[];
  nodeEnvironment: Record<string, string>;
};

/** The built product, started as `npm start` starts it, on free ports and data of its own. */
export interface Product {
  dataDir: string;
  pid: number;
  /** `https://127.0.0.1:PORT` */
  api: string;
  kubeconfig: string;
  token: string;
  ca: string;
  nats: string;
  postgres: string;
  /** `127.0.0.1:PORT` of the bundled registry. */
  registry: string;
  health: Record<string, number>;
  /** What it printed so far. */
  output: () => string;
  /** Ends it as Ctrl-C does; resolves to the exit code. Data stay until {@link Product.remove}. */
  stop: () => Promise<number | null>;
  kill: () => Promise<void>;
  remove: () => void;
}

export interface ProductOptions {
  dataDir?: string;
  args?: readonly string[];
  env?: Record<string, string>;
  timeoutMs?: number;
}

/** Resolves when everything is ready; rejects with what it printed when it ends or takes too long. */
export async function startProduct(options: ProductOptions = {}): Promise<Product> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'millrace-product-'));
  const ports = ['--api-port', '0', '--registry-port', '0', '--nats-port', '0', '--postgres-port', '0'];
  const running = join(dataDir, 'running.json');
  rmSync(running, { force: true });
  const child = spawn(
    process.execPath,
    [...nodeFlags, join(root, 'dist', 'millrace.js'), 'start', '--data-dir', dataDir, ...ports, ...(options.args ?? [])],
    {
      cwd: root,
      env: { ...process.env, ...nodeEnvironment, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  await untilThere(running, child, options.timeoutMs ?? 90_000, () => output);

  const at = JSON.parse(readFileSync(running, 'utf8')) as {
    nats: string;
    postgres: string;
    registry: string;
    api: string;
    health: Record<string, number>;
  };
  const kubeconfig = join(dataDir, 'kubeconfig');
  const { token, ca } = credentialsIn(readFileSync(kubeconfig, 'utf8'));
  return {
    ...at,
    dataDir,
    pid: child.pid ?? -1,
    kubeconfig,
    token,
    ca,
    output: () => output,
    stop: () => {
      child.kill('SIGINT');
      return ended;
    },
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
    remove: () => rmSync(dataDir, { recursive: true, force: true }),
  };
}

async function untilThere(file: string, child: ChildProcess, timeoutMs: number, output: () => string): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!existsSync(file)) {
    if (child.exitCode !== null) throw new Error(`the product ended with ${child.exitCode}:\n${output()}`);
    if (Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`the product was not ready within ${timeoutMs / 1000} s:\n${output()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}
