import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Figure } from './figures.ts';

const ROUNDS = 3;

/** `npm start` on an installed and built clone, until it says that everything runs: with data made anew, and with data that is there. */
export async function start(): Promise<Figure[]> {
  const fresh: number[] = [];
  const again: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const dataDir = mkdtempSync(join(tmpdir(), 'millrace-bench-start-'));
    fresh.push(await untilReady(dataDir));
    again.push(await untilReady(dataDir));
    rmSync(dataDir, { recursive: true, force: true });
  }
  const figure = (name: string, seconds: number[]): Figure => ({
    name,
    value: Math.max(...seconds),
    unit: 's',
    limit: { value: 12, is: 'at most' },
    note: `slowest of ${ROUNDS}: ${seconds.map((s) => s.toFixed(1)).join(', ')}`,
  });
  return [figure('npm start to ready, new data', fresh), figure('npm start to ready, data kept', again)];
}

function untilReady(dataDir: string): Promise<number> {
  const ports = ['--api-port', '0', '--registry-port', '0', '--nats-port', '0', '--postgres-port', '0'];
  const begun = performance.now();
  const child = spawn('npm', ['start', '--silent', '--', '--data-dir', dataDir, ...ports], { stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    let output = '';
    let seconds = Number.NaN;
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        if (Number.isNaN(seconds) && output.includes('Millrace runs')) {
          seconds = (performance.now() - begun) / 1000;
          // The program itself: npm, told to end, would not wait for it.
          process.kill((JSON.parse(readFileSync(join(dataDir, 'running.json'), 'utf8')) as { pid: number }).pid, 'SIGTERM');
        }
      });
    child.once('exit', () => (Number.isNaN(seconds) ? reject(new Error(`npm start ended:\n${output}`)) : resolve(seconds)));
  });
}
