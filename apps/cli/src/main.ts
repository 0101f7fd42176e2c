import { readFileSync } from 'node:fs';
import { setSourceMapsSupport } from 'node:module';
import { ConfigError } from '@millrace/platform/config';
import { isServiceName, runServices, serviceNames, untilAsked } from './services.ts';

// Stacks name our own files and lines; the maps of packages would only take memory.
setSourceMapsSupport(true);

const usage = `Millrace: image streams for every platform team.

  millrace start [options]     everything on this machine: PostgreSQL, NATS, a registry and all services (--help for the options)
  millrace all                 all services in this process, with the PostgreSQL and NATS that DATABASE_URL and NATS_URL name
  millrace SERVICE             one service: ${serviceNames.join(', ')}
  millrace listen [options]    shows events as they come, and receives webhooks (--help for the options)
  millrace ready URL           exit code 0 when the service at URL is ready
  millrace secrets DIR         makes the secrets that docker-compose.yml mounts; those that are there stay
  millrace version

Services read their configuration from the environment: docs/generated/configuration.md lists the keys.`;

/** A failure that a person can act on is told without a stack. */
const forPeople = (error: unknown): boolean =>
  error instanceof ConfigError || ['EmbeddedServerError', 'UsageError'].includes((error as Error)?.name);

async function main([command = 'help', ...args]: string[]): Promise<number> {
  if (command === 'all' || isServiceName(command)) {
    const { stop } = await runServices(command === 'all' ? serviceNames : [command as (typeof serviceNames)[number]], process.env);
    await untilAsked();
    await stop();
    return 0;
  }
  switch (command) {
    case 'start':
      return (await import('./start.ts')).start(args);
    case 'listen':
      return (await import('./listen.ts')).listen(args);
    case 'ready':
      return (await import('./ready.ts')).ready(args);
    case 'secrets':
      return (await import('./secrets.ts')).secrets(args);
    case 'version':
      console.log((JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version);
      return 0;
    case 'help':
    case '--help':
      console.log(usage);
      return 0;
    default:
      console.error(`millrace: no command ${command}\n\n${usage}`);
      return 2;
  }
}

process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(forPeople(error) ? (error as Error).message : error);
  return 1;
});
// Whatever still holds the event loop (a pooled connection, a timer) must not keep an ended program alive.
process.exit();
