/**
 * Sends requests that nobody should send: `npm run fuzz -- [--requests 100000] [--seed N] [--server URL --token T --ca FILE]`.
 * Against a server that is started for the run unless one is named. Exit code 1: one was answered with a 5xx, or not at all.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fuzz } from '@millrace/testing/fuzz';
import { startProduct } from '@millrace/testing/product';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    server: { type: 'string' },
    token: { type: 'string', default: '' },
    ca: { type: 'string' },
  },
});
const product = values.server ? undefined : await startProduct();
try {
  const target = product ?? { api: values.server ?? '', token: values.token, ca: values.ca ? readFileSync(values.ca, 'utf8') : '' };
  const requests = Number(values.requests);
  const begun = performance.now();
  const progress = (answered: number) => {
    if (answered % 10_000 === 0)
      console.log(`${answered} of ${requests}, ${Math.round((answered / (performance.now() - begun)) * 1000)} a second`);
  };
  const { statuses, faults, slowestMs } = await fuzz({ ...target, requests, seed: Number(values.seed), progress });
  for (const fault of faults) console.log(fault);
  console.log(`seed ${values.seed}: ${JSON.stringify(statuses)}, slowest ${Math.round(slowestMs)} ms`);
  process.exitCode = faults.length ? 1 : 0;
} finally {
  await product?.stop();
  product?.remove();
}
