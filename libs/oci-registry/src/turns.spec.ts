import { describe, expect, it } from 'vitest';
import type { Purpose } from './budget.ts';
import { NoTurn, Turns } from './turns.ts';

/** Asks for turns and notes who gets one. */
function asking(turns: Turns, got: string[]) {
  return (purpose: Purpose, tenant: string) => {
    const turn = turns.take(purpose, tenant, 10_000);
    if (turn) void turn.then(() => got.push(`${purpose} ${tenant}`));
    else got.push(`${purpose} ${tenant}`);
  };
}

describe('turns', () => {
  it('are given at once while there are some, to checks fewer', async () => {
    const got: string[] = [];
    const ask = asking(new Turns(3, 2), got);
    for (const tenant of ['a', 'b', 'c']) ask('check', tenant);
    for (const tenant of ['a', 'b']) ask('import', tenant);

    expect(got).toEqual(['check a', 'check b', 'import a']);
  });

  it('are given to imports before checks', async () => {
    const turns = new Turns(1, 1);
    const got: string[] = [];
    const ask = asking(turns, got);
    for (const purpose of ['check', 'check', 'import', 'import'] as const) ask(purpose, 'a');

    for (const ended of ['check', 'import', 'import', 'check'] as const) {
      turns.end(ended);
      await Promise.resolve();
    }

    expect(got).toEqual(['check a', 'import a', 'import a', 'check a']);
  });

  it('go around among the tenants', async () => {
    const turns = new Turns(1, 1);
    const got: string[] = [];
    const ask = asking(turns, got);
    for (const tenant of ['first', 'many', 'many', 'many', 'many', 'few', 'one', 'few']) ask('check', tenant);

    for (let n = 0; n < 8; n++) {
      turns.end('check');
      await Promise.resolve();
    }

    expect(got.map((each) => each.replace('check ', ''))).toEqual(['first', 'many', 'few', 'one', 'many', 'few', 'many', 'many']);
  });

  it('that do not come in time are waited for no longer, and go to others', async () => {
    const turns = new Turns(1, 1);
    const got: string[] = [];
    void turns.take('import', 'a', 1_000);

    await expect(turns.take('import', 'a', 1)).rejects.toBeInstanceOf(NoTurn);
    asking(turns, got)('check', 'b');
    turns.end('import');
    await Promise.resolve();

    expect(got).toEqual(['check b']);
  });
});
