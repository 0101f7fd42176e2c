import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startProduct, type Product } from '@millrace/testing/product';
import type { Figure } from './figures.ts';

const root = fileURLToPath(new URL('../', import.meta.url));
const PHASES = 'mapdiff|mapsametags|mapsame|mapnoop|reads|list|watchlat';

/** One row that conformance/bench.mjs prints. */
interface Row {
  name: string;
  n?: number;
  conc?: number;
  perSec?: number;
  p50?: number;
  status?: Record<string, number>;
  cpuMsPerReq?: { product?: number };
}

/*
 * What the reference did on two cores, the better of two passes, measured with the same script (its own figures, accepted requests a second and
 * milliseconds at the median): an API server, the image API behind it and etcd. The machine was another one.
 */
const ACCEPTED: Record<string, readonly [one: number, eight: number, many: number]> = {
  'mapping POST, 64 different streams, new image each': [159, 300, 396],
  'mapping POST, one stream, 10 tags, new image each': [109, 81, 50],
  'mapping POST, one stream, one tag, new image each (history grows)': [98, 78, 43],
  'mapping POST, same image again (no change)': [202, 359, 576],
  'GET imagestreamtag': [351, 827, 1_161],
};
const MEDIANS: Record<string, { ms: number; part: number }> = {
  'LIST 1,000 imagestreams (JSON)': { ms: 16, part: 1 / 3 },
  'LIST 1,000 imagestreams resourceVersion=0': { ms: 12.1, part: 1 / 3 },
  'LIST 1,000 imagestreams, gzip': { ms: 11.3, part: 1 / 3 },
  'LIST imagestreams limit=500 (first page)': { ms: 7.8, part: 1 / 3 },
  'LIST 1,000 imagestreams as Table': { ms: 11.3, part: 1 / 3 },
  'LIST 1,000 imagestreamtags (JSON)': { ms: 35, part: 1 / 3 },
  'LIST images limit=500': { ms: 34, part: 1 / 3 },
  'mapping POST start -> watch event (ms)': { ms: 8.3, part: 1 / 2 },
  'mapping POST start -> event at the last of 20 watchers (ms)': { ms: 7.7, part: 1 / 2 },
};
const MEMORY = { row: 'RSS with 1,000 streams + images (MiB)', mib: 1_405, part: 1 / 3 };
const CONCURRENCIES = [1, 8, 32];
const TIMES = 3;

/** The script that measured the reference, run against the product on all that it needs; beside the reference's own figures. */
export async function reference(): Promise<Figure[]> {
  const product = await startProduct({ args: ['--quiet', '--log-level', 'warn'] });
  try {
    const { rows, mib } = await measured(product);
    return [...rows.flatMap(figuresOf), memoryFigure(mib)];
  } finally {
    await product.stop();
    product.remove();
  }
}

function figuresOf({ name, n = 0, conc = 1, perSec = 0, p50 = Number.NaN, status = {}, cpuMsPerReq }: Row): Figure[] {
  const rates = ACCEPTED[name];
  if (rates) {
    const base = rates[CONCURRENCIES.indexOf(conc)] ?? Number.NaN;
    const accepted = (status['200'] ?? 0) + (status['201'] ?? 0);
    const rate = (perSec * accepted) / n;
    const note = `${rate.toFixed(0)}/s, ${((100 * accepted) / n).toFixed(0)} % accepted, against ${base}/s; ${cpuMsPerReq?.product} ms of CPU each`;
    return [{ name: `${name}, ${conc} at a time`, value: rate / base, unit: '×', limit: { value: TIMES, is: 'at least' }, note }];
  }
  const median = MEDIANS[name];
  if (!median) return [];
  const limit = { value: Number((median.ms * median.part).toFixed(1)), is: 'at most' } as const;
  return [{ name, value: p50, unit: 'ms', limit, note: `p50 against ${median.ms} ms` }];
}

function memoryFigure(mib: number): Figure {
  const limit = { value: Math.round(MEMORY.mib * MEMORY.part), is: 'at most' } as const;
  return {
    name: 'memory with 1,000 streams and images',
    value: mib,
    unit: 'MiB',
    limit,
    note: `with PostgreSQL and NATS, against ${MEMORY.mib} MiB`,
  };
}

async function measured(product: Product): Promise<{ rows: Row[]; mib: number }> {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-bench-reference-'));
  try {
    // The script looks for its example beside the directory that it is in.
    for (const part of ['conformance', 'spec']) mkdirSync(join(directory, part));
    cpSync(join(root, 'conformance/bench.mjs'), join(directory, 'conformance/bench.mjs'));
    writeFileSync(join(directory, 'spec/example-imagestreammapping.json'), JSON.stringify(exampleWithoutName()));
    const out = join(directory, 'out.json');
    let mib = Number.NaN;
    const child = spawn(process.execPath, [join(directory, 'conformance/bench.mjs'), PHASES], {
      env: { ...process.env, TARGET: product.api, TOKEN: product.token, OUT: out, PIDS: `product=${product.pid}` },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      process.stderr.write(text);
      if (text.includes(MEMORY.row)) mib = memoryOf(product.pid);
    });
    await new Promise((resolve) => child.once('close', resolve));
    return { rows: JSON.parse(readFileSync(out, 'utf8')) as Row[], mib };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The documentation's mapping; each request gives its image a name of its own. */
function exampleWithoutName(): unknown {
  const file = join(root, 'apps/e2e/src/example-imagestreammapping.json');
  const mapping = JSON.parse(readFileSync(file, 'utf8')) as { image: { metadata?: unknown } };
  return { ...mapping, image: { ...mapping.image, metadata: undefined } };
}

/** Of a process and all that it has started, MiB; what they share is counted once. */
function memoryOf(pid: number): number {
  const own = Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0) / 1024;
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
  return children.reduce((sum, child) => sum + memoryOf(child), own);
}
