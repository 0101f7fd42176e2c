import { createServer, type Server } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort, withPort } from './ports.ts';
import { EmbeddedServerError } from './process.ts';

const listeners: Server[] = [];
afterEach(() => listeners.splice(0).forEach((listener) => listener.close()));

async function listenOn(port: number): Promise<void> {
  const listener = createServer().listen(port, '127.0.0.1');
  listeners.push(listener);
  await once(listener, 'listening');
}

const inUse = new EmbeddedServerError({
  code: 'exited',
  message: 'NATS ended while starting: listen tcp 127.0.0.1:1: bind: address already in use',
});

describe('a port', () => {
  it('that is free can be listened on', async () => {
    const port = await freePort();

    await expect(listenOn(port)).resolves.toBeUndefined();
  });

  it('that is fixed and taken is an error that says what changes it', async () => {
    const port = await freePort();
    await listenOn(port);

    const start = withPort('NATS', { port, portSetting: '--nats-port or MILLRACE_NATS_PORT' }, async () => 'started');

    await expect(start).rejects.toMatchObject({
      code: 'port-taken',
      message: `NATS cannot listen on 127.0.0.1:${port}: another program listens there; stop that program or choose another port with --nats-port or MILLRACE_NATS_PORT.`,
    });
  });

  it('that is free but taken before use is tried anew, three times in all', async () => {
    const tried: number[] = [];
    const lucky = await withPort('NATS', {}, async (port) => {
      tried.push(port);
      if (tried.length < 3) throw inUse;
      return port;
    });
    expect(lucky).toBe(tried[2]);

    let times = 0;
    const unlucky = withPort('NATS', {}, async () => {
      times += 1;
      throw inUse;
    });
    await expect(unlucky).rejects.toBe(inUse);
    expect(times).toBe(3);
  });

  it('is not tried anew when the server fails for another reason', async () => {
    let times = 0;

    const start = withPort('NATS', {}, async () => {
      times += 1;
      throw new EmbeddedServerError({ code: 'exited', message: 'NATS ended while starting: disk full' });
    });

    await expect(start).rejects.toThrow('disk full');
    expect(times).toBe(1);
  });
});
