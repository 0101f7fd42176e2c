import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, it } from 'vitest';
import { listen } from './listen.ts';
import { UsageError } from './usage.ts';

const refused = async (...args: string[]): Promise<unknown> => listen(args).catch((error: unknown) => error);

it.each([
  ['an option that is not there', ['--nope'], /Unknown option '--nope'[^]*usage: npm run listen/],
  ['a port that is none', ['--port', 'x'], /--port must be a port number, not x/],
  ['a directory where nothing runs', ['--data-dir', '/nowhere'], /running\.json is not there: start Millrace/],
])('%s is told in words, with what to do', async (_what, args, message) => {
  const error = await refused(...args);

  expect(error).toBeInstanceOf(UsageError);
  expect((error as Error).message).toMatch(message);
});

it('a port that is taken is told in words, with what to do', async () => {
  const taken = createServer();
  await once(taken.listen(0, '127.0.0.1'), 'listening');
  const { port } = taken.address() as AddressInfo;

  const error = await refused('--nats', 'nats://127.0.0.1:1', '--port', String(port));
  taken.close();

  expect(error).toBeInstanceOf(UsageError);
  expect((error as Error).message).toContain(`Port ${port} is taken`);
});
