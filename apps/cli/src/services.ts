import { pause } from '@millrace/platform/backoff';
import type { Log } from '@millrace/platform/log';
import { startService, type RunningService, type ServiceDefinition } from '@millrace/platform/service';

type Loader = () => Promise<ServiceDefinition>;
const definition = (loaded: { service: unknown }): ServiceDefinition => loaded.service as ServiceDefinition;

/** Every service, loaded only when it is started; in the order in which they start together. */
const services = {
  'tag-store': async () => definition(await import('@millrace/tag-store/main')),
  'trigger-dispatcher': async () => definition(await import('@millrace/trigger-dispatcher/main')),
  'import-scheduler': async () => definition(await import('@millrace/import-scheduler/main')),
  'registry-mapping': async () => definition(await import('@millrace/registry-mapping/main')),
  api: async () => definition(await import('@millrace/api/main')),
} as const satisfies Record<string, Loader>;

export type ServiceName = keyof typeof services;
export const serviceNames = Object.keys(services) as ServiceName[];
export const isServiceName = (name: string): name is ServiceName => name in services;

/** How much earlier than the others the service that was started last may finish. */
const FRONT_DOOR_MS = 800;

type Environment = Record<string, string | undefined>;

/** What one service sees of the environment: `TAG_STORE_HTTP_PORT` is its HTTP_PORT, and no other service's. */
export function environmentOf(name: ServiceName, env: Environment, shared: boolean): Environment {
  const prefix = `${name.toUpperCase().replaceAll('-', '_')}_`;
  const own = Object.entries(env).filter(([key]) => key.startsWith(prefix));
  const { HTTP_PORT, ...rest } = env;
  return { ...rest, ...(shared ? {} : { HTTP_PORT }), ...Object.fromEntries(own.map(([key, value]) => [key.slice(prefix.length), value])) };
}

/** Starts services in this process; when one cannot start, those that did are stopped again. */
export async function runServices(
  names: readonly ServiceName[],
  env: Environment,
  log?: Log,
): Promise<{ running: RunningService[]; stop: () => Promise<void> }> {
  const running: RunningService[] = [];
  const stop = async () => {
    // The front door first, so that nothing new comes in while the others finish; but they do not wait for it for long.
    const front = running.at(-1)?.stop();
    await Promise.race([front, pause(FRONT_DOOR_MS)]);
    await Promise.all(running.map((service) => service.stop()));
  };
  try {
    for (const name of names)
      running.push(await startService(await services[name](), environmentOf(name, env, names.length > 1), log ? { log } : undefined));
  } catch (error) {
    await stop();
    throw error;
  }
  return { running, stop };
}

/** One Ctrl-C may arrive twice, from the terminal and from the program that started us. */
const SAME_REQUEST_MS = 1_500;

/** Resolves at the first SIGTERM or SIGINT; a later second one ends the process at once. */
export function untilAsked(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let askedAt: number | undefined;
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
      process.on(signal, () => {
        if (askedAt !== undefined && performance.now() - askedAt > SAME_REQUEST_MS) process.exit(130);
        askedAt ??= performance.now();
        resolve(signal);
      });
  });
}
