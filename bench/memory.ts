import { setTimeout as pause } from 'node:timers/promises';
import { apiClient } from '@millrace/testing/client';
import { Constellation } from '@millrace/testing/constellation';
import { eventually } from '@millrace/testing/eventually';
import { startProduct } from '@millrace/testing/product';
import type { Figure } from './figures.ts';
import { dial, mappingOf, residentOf, submit } from './work.ts';

const PUSHES = 10_000;
const SETTLE_MS = 10_000;

/** Resident memory of the services, idle and after 10,000 pushes: in one process, and apart. */
export async function memory(): Promise<Figure[]> {
  const product = await startProduct({ args: ['--quiet'] });
  const together = await idleAndLoaded(() => residentOf(product.pid), product.nats);
  await product.stop();
  product.remove();

  const constellation = await Constellation.start();
  const names = ['api', 'import-scheduler', 'registry-mapping', 'tag-store', 'trigger-dispatcher'] as const;
  const apart = await idleAndLoaded(
    () => names.reduce((sum, name) => sum + residentOf(constellation.pid(name)), 0),
    constellation.nats.url,
  );
  await apiClient(constellation.api).close();
  await constellation.stop();

  const note = `${PUSHES} mappings of 5 kB; ${SETTLE_MS / 1000} s of rest before each reading; again after 10,000 more: `;
  const figure = (name: string, value: number, limit: number, third: number): Figure => ({
    name,
    value,
    unit: 'MiB',
    limit: { value: limit, is: 'at most' },
    note: `${note}${third.toFixed(0)} MiB`,
  });
  return [
    figure('all in one process, idle', together.idle, 200, together.again),
    figure('all in one process, after 10,000 pushes', together.loaded, 200, together.again),
    figure('services apart, idle', apart.idle, 600, apart.again),
    figure('services apart, after 10,000 pushes', apart.loaded, 600, apart.again),
  ];
}

async function idleAndLoaded(resident: () => number, natsUrl: string): Promise<{ idle: number; loaded: number; again: number }> {
  await pause(SETTLE_MS);
  const idle = resident();
  const loaded = await afterPushes(resident, natsUrl);
  return { idle, loaded, again: await afterPushes(resident, natsUrl) };
}

async function afterPushes(resident: () => number, natsUrl: string): Promise<number> {
  const nats = await dial(natsUrl);
  let moved = 0;
  nats.subscribe('millrace.v1.tag.moved.memory.>', { callback: () => void moved++ });
  for (let from = 0; from < PUSHES; from += 1_000)
    await submit(
      nats,
      Array.from({ length: 1_000 }, (_, n) => ({
        subject: `millrace.v1.mapping.submitted.memory.s${n % 100}`,
        body: JSON.stringify(mappingOf('memory', `s${n % 100}`, 'latest', 5_000)),
      })),
      50,
    );
  await eventually(() => {
    if (moved < PUSHES) throw new Error(`${moved} of ${PUSHES} applied`);
  }, 300_000);
  await nats.close();
  await pause(SETTLE_MS);
  return resident();
}
