import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { defineRequest } from '@millrace/contracts/define';
import { Bus } from './bus.ts';
import { createLog } from './log.ts';

const Echo = defineRequest({
  name: `echo-${process.pid}`,
  to: 'tag-store',
  summary: 'Says what it was told.',
  question: z.object({ words: z.array(z.string()), fails: z.boolean().optional() }),
  answer: z.object({ words: z.array(z.string()) }),
});

let open: Bus[];

async function aBus(url: string): Promise<Bus> {
  const bus = new Bus({ url, name: 'bus spec', retentionHours: 1, stopTimeoutMs: 500 }, createLog('silent'));
  await bus.open();
  open.push(bus);
  return bus;
}
beforeEach(() => {
  open = [];
});
afterEach(async () => {
  for (const bus of open) await bus.close();
});

describe.each([
  ['in another process', (url: string) => `${url}/`],
  ['in this process', (url: string) => url],
])('an owner %s', (_title, urlOf) => {
  const given: { words: string[] }[] = [];
  async function askerAndOwner() {
    const [asker, owner] = [await aBus(inject('natsUrl')), await aBus(urlOf(inject('natsUrl')))];
    owner.serve(Echo, async (question) => {
      given.push(question);
      if (question.fails) throw new Error('no');
      return { words: question.words };
    });
    await owner.check();
    return { asker, owner };
  }

  it('answers what it was asked, and neither side holds what the other has', async () => {
    const { asker } = await askerAndOwner();
    const question = { words: ['a'] };
    const answer = await asker.ask(Echo, question);

    expect(answer).toEqual(question);
    expect(answer.words).not.toBe(given.at(-1)?.words);
    expect(given.at(-1)?.words).not.toBe(question.words);
  });

  it('that fails is told as failed, without its reason', async () => {
    const { asker } = await askerAndOwner();

    await expect(asker.ask(Echo, { words: [], fails: true })).rejects.toMatchObject({
      code: 'failed',
      message: expect.not.stringMatching(/\bno\b/),
    });
  });

  it('that has closed is not there', async () => {
    const { asker, owner } = await askerAndOwner();
    await owner.close();

    await expect(asker.ask(Echo, { words: [] })).rejects.toMatchObject({ code: 'no-owner' });
  });
});
