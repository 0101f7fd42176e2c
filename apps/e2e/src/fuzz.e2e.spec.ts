import { expect, it } from 'vitest';
import { fuzz } from '@millrace/testing/fuzz';
import { ProductBed } from '@millrace/testing/product-bed';

const bed = new ProductBed();

it('requests that nobody should send are answered, none with a 5xx, each in bounded time', { timeout: 120_000 }, async () => {
  const { faults, statuses, slowestMs } = await fuzz({ ...bed.product, requests: 3_000, seed: 1 });

  expect(faults).toEqual([]);
  expect(Object.keys(statuses)).toEqual(expect.arrayContaining(['200', '201', '400', '404', '422']));
  expect(slowestMs).toBeLessThan(5_000);
});
