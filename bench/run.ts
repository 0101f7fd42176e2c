/** `npm run bench [-- NAME...]`: every figure beside its limit, measured in the same run; exit code 1 when one is missed. docs/benchmarks.md keeps the last ones. */
import { machine, meets, table, type Figure } from './figures.ts';
import { history } from './history.ts';
import { imports } from './imports.ts';
import { latency } from './latency.ts';
import { memory } from './memory.ts';
import { reads } from './reads.ts';
import { reference } from './reference.ts';
import { registryClient } from './registry-client.ts';
import { schedule } from './schedule.ts';
import { start } from './start.ts';
import { state } from './state.ts';
import { throughput } from './throughput.ts';
import { triggers } from './triggers.ts';
import { watch } from './watch.ts';
import { workloads } from './workloads.ts';

const benches = {
  start,
  latency,
  throughput,
  history,
  imports,
  memory,
  reads,
  watch,
  reference,
  schedule,
  state,
  triggers,
  workloads,
  'registry-client': registryClient,
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in benches));
if (unknown.length) {
  console.error(`no bench ${unknown.join(', ')}; there are ${Object.keys(benches).join(', ')}`);
  process.exit(2);
}
const figures: Figure[] = [];
for (const [name, measure] of Object.entries(benches)) {
  if (asked.length && !asked.includes(name)) continue;
  console.error(`${name} …`);
  figures.push(...(await measure()));
}
console.log(`\n${machine()}\n\n${table(figures)}`);
process.exit(figures.every(meets) ? 0 : 1);
