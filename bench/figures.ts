import { cpus, loadavg } from 'node:os';

/** One figure beside the limit it is held against. */
export interface Figure {
  name: string;
  value: number;
  unit: string;
  limit: { value: number; is: 'at most' | 'at least' };
  /** What the value was measured against in the same run, or how. */
  note: string;
}

export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((p / 100) * sorted.length))] ?? Number.NaN;
}

export const meets = ({ value, limit }: Figure): boolean => (limit.is === 'at most' ? value <= limit.value : value >= limit.value);

/** Markdown, as docs/benchmarks.md keeps it. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map(
    (f) =>
      `| ${f.name} | ${round(f.value)} ${f.unit} | ${f.limit.is} ${f.limit.value} ${f.unit} | ${meets(f) ? 'yes' : '**no**'} | ${f.note} |`,
  );
  return ['| figure | measured | asked for | met | how |', '| --- | --- | --- | --- | --- |', ...rows].join('\n');
}

export const machine = (): string =>
  `${cpus().length} cores (${cpus()[0]?.model ?? 'unknown'}), Node.js ${process.version}, load ${loadavg()
    .map((l) => l.toFixed(1))
    .join(' ')}`;

const round = (value: number): string => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
