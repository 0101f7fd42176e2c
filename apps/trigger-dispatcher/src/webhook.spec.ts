import { describe, expect, it } from 'vitest';
import { lookup } from './webhook.ts';

describe('names', () => {
  it('that the system knows are found', async () => {
    const found = await new Promise((resolve) => lookup('localhost', { all: true }, (_error, addresses) => resolve(addresses)));

    expect(found).toContainEqual({ address: '127.0.0.1', family: 4 });
  });

  it('that nobody knows are an error', async () => {
    const code = await new Promise((resolve) => lookup('nothing', { all: true }, (error) => resolve(error?.code)));

    expect(code).toMatch(/ENOTFOUND|EAI_AGAIN/);
  });
});
