import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** A service's configuration: environment names to schemas, each with `.describe()`; `secret()` marks what is never printed. */
export type ConfigShape = Record<string, z.ZodType>;
export type Config<S extends ConfigShape> = { [K in keyof S]: z.output<S[K]> };

/** Marks a key as a secret: it may come from a file (`KEY_FILE`), is masked when printed and never logged. */
export function secret<S extends z.ZodType>(schema: S): S {
  return schema.meta({ secret: true }) as S;
}

export const isSecret = (schema: z.ZodType): boolean => schema.meta()?.['secret'] === true;

export class ConfigError extends Error {
  override name = 'ConfigError';
}

/** A whole number written as text, within bounds. */
export const integer = (min: number, max: number) => z.coerce.number().int().min(min).max(max);

/**
 * Reads the environment once. Every problem is reported at once, each with its key; values of secrets are not repeated.
 * `KEY_FILE` names a file whose content, less one trailing newline, is the value of KEY.
 */
export function readConfig<S extends ConfigShape>(shape: S, env: Record<string, string | undefined>): Config<S> {
  const problems: string[] = [];
  const result: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(shape)) {
    const parsed = schema.safeParse(valueOf(key, env, problems));
    if (parsed.success) result[key] = parsed.data;
    else
      problems.push(
        `${key}: ${parsed.error.issues.map((i) => i.message).join('; ')}${schema.description ? ` (${schema.description})` : ''}`,
      );
  }
  if (problems.length) throw new ConfigError(`The configuration cannot be used:\n${problems.map((p) => `  ${p}`).join('\n')}`);
  return result as Config<S>;
}

function valueOf(key: string, env: Record<string, string | undefined>, problems: string[]): string | undefined {
  const file = env[`${key}_FILE`];
  if (file === undefined || file === '') return env[key] === '' ? undefined : env[key];
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    problems.push(`${key}_FILE: cannot read ${file}: ${(error as Error).message}`);
    return undefined;
  }
}

/** The effective configuration for the log: secrets masked, passwords in URLs too. */
export function maskedConfig<S extends ConfigShape>(shape: S, config: Config<S>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(config).map(([key, value]) => {
      const schema = shape[key];
      if (value !== undefined && schema && isSecret(schema)) return [key, '***'];
      return [key, typeof value === 'string' ? value.replace(/(:\/\/[^:@/\s]*):[^@/\s]*@/, '$1:***@') : value];
    }),
  );
}

/** Keys that every service reads. */
export const commonConfig = {
  NATS_URL: secret(z.string().default('nats://127.0.0.1:4222')).describe(
    'NATS server with JetStream, `nats://user:password@host:4222`; several separated by commas.',
  ),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info').describe('Least level that is logged.'),
  HTTP_HOST: z.string().default('127.0.0.1').describe('Address that the HTTP port binds to.'),
  STOP_TIMEOUT_MS: integer(100, 60_000)
    .default(4_000)
    .describe('How long work in flight may take to finish after SIGTERM, in milliseconds.'),
  EVENT_RETENTION_HOURS: integer(1, 24 * 365)
    .default(168)
    .describe('How long events stay replayable on JetStream and, for a NATS server that lost its disk, in Postgres.'),
} as const satisfies ConfigShape;

const KEY_BYTES = 32;
const KEY_RULE = `must be ${KEY_BYTES} random bytes in base64, as from \`openssl rand -base64 ${KEY_BYTES}\``;

/** One key, or several separated by white space or commas. */
const SecretsKey = z
  .base64({ error: KEY_RULE })
  .transform((text) => Buffer.from(text, 'base64'))
  .refine((key) => key.length === KEY_BYTES, KEY_RULE);

/**
 * The keys of a service that keeps credentials of others, see sealing.ts; several services may have the same. The first seals, all of them
 * open: so a key is replaced while everything stays readable (docs/credentials.md).
 */
export const SECRETS_KEY = secret(
  z
    .string({ error: KEY_RULE })
    .transform((text) => text.split(/[\s,]+/).filter(Boolean))
    .pipe(z.array(SecretsKey).min(1, KEY_RULE)),
);

/** Keys of every service with a database. */
export const databaseConfig = {
  DATABASE_URL: secret(z.string().default('postgres://millrace@127.0.0.1:5432/millrace')).describe(
    'PostgreSQL 15 or newer, `postgres://user:password@host:5432/database`; each service keeps a schema of its own in it.',
  ),
  DATABASE_POOL: integer(2, 100).default(8).describe('Connections to Postgres that one service process uses at most.'),
} as const satisfies ConfigShape;
