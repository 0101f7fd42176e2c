import { createServer } from 'node:net';
import { EmbeddedServerError } from './process.ts';

/** Where a server listens, always on 127.0.0.1. */
export interface PortChoice {
  /** A fixed port; a free one where not given. */
  port?: number;
  /** What the user changes to get another port, for the error message: `--nats-port or MILLRACE_NATS_PORT`. */
  portSetting?: string;
}

/** A port on 127.0.0.1 that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  return bind(0);
}

/**
 * Runs `start` with the chosen port. A free port can be taken by somebody between the look and the use: then another is tried, a fixed one is an error.
 * @throws EmbeddedServerError `port-taken`: which server, which port, and what changes it.
 */
export async function withPort<T>(server: string, choice: PortChoice, start: (port: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    const port = choice.port ? await fixedPort(server, choice.port, choice.portSetting) : await freePort();
    try {
      return await start(port);
    } catch (error) {
      const taken = error instanceof EmbeddedServerError && error.code === 'exited' && /address already in use/i.test(error.message);
      if (!taken || choice.port || attempt === 3) throw error;
    }
  }
}

async function fixedPort(server: string, port: number, setting: string | undefined): Promise<number> {
  try {
    return await bind(port);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === 'EADDRINUSE' ? 'another program listens there' : String((cause as Error).message);
    const remedy = setting ? `stop that program or choose another port with ${setting}` : 'stop that program or choose another port';
    throw new EmbeddedServerError({
      code: 'port-taken',
      message: `${server} cannot listen on 127.0.0.1:${port}: ${why}; ${remedy}.`,
      cause,
    });
  }
}

function bind(port: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const probe = createServer().once('error', reject);
  probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
    const address = probe.address();
    probe.close(() => resolve(typeof address === 'object' && address ? address.port : port));
  });
  return promise;
}
