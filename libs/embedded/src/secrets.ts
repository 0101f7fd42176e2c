import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * The named secrets of one server, kept in `file` (mode 0600) so that they stay the same over restarts; made at the first call.
 * Letters, digits, `-` and `_` only: they stand in URLs and configuration files as they are.
 */
export function keptSecrets<const Name extends string>(file: string, names: readonly Name[]): Record<Name, string> {
  const known = read(file);
  const secrets = Object.fromEntries(names.map((name) => [name, known[name] ?? randomBytes(24).toString('base64url')])) as Record<
    Name,
    string
  >;
  if (names.every((name) => name in known)) return secrets;
  writePrivately(file, JSON.stringify({ ...known, ...secrets }));
  return secrets;
}

/** Writes a file that only its owner reads, whole or not at all. */
export function writePrivately(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  const half = `${file}.${process.pid}.tmp`;
  writeFileSync(half, text, { mode: 0o600 });
  renameSync(half, file);
}

function read(file: string): Record<string, string> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new Error(`${file} cannot be read, and without it the data beside it cannot be opened. Restore it, or delete the data.`, {
      cause: error,
    });
  }
}
