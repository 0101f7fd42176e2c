import { parseArgs, type ParseArgsConfig } from 'node:util';

/** What the caller can mend; told without a stack. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** The options of a command. Throws {@link UsageError}, with the usage, for those that it does not have. */
export function optionsOf<T extends NonNullable<ParseArgsConfig['options']>>(args: string[], options: T, usage: string) {
  try {
    return parseArgs({ args, options }).values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message}\n\n${usage}`);
  }
}

/** The port number of an option; 0 is any free one. */
export function portOf(name: string, text: unknown, usage: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new UsageError(`--${name} must be a port number, not ${String(text)}\n\n${usage}`);
}
