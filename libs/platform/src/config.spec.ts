import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ConfigError, integer, isSecret, maskedConfig, readConfig, secret } from './config.ts';

const shape = {
  PORT: integer(1, 65_535).default(8080).describe('Port'),
  TOKEN: secret(z.string().min(8)).describe('Token that callers present'),
  URL: z.string().default('nats://user:hunter2@host:1'),
  VERBOSE: z.stringbool().default(false),
};
const directory = mkdtempSync(join(tmpdir(), 'config-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('reading the configuration', () => {
  it('takes values from the environment and defaults where there are none', () => {
    expect(readConfig(shape, { TOKEN: '12345678', VERBOSE: 'true' })).toEqual({
      PORT: 8080,
      TOKEN: '12345678',
      URL: 'nats://user:hunter2@host:1',
      VERBOSE: true,
    });
  });

  it('takes a secret from the file that KEY_FILE names, less one trailing newline', () => {
    const file = join(directory, 'token');
    writeFileSync(file, 'from-a-file\n\n');

    expect(readConfig(shape, { TOKEN_FILE: file, TOKEN: 'ignored-value' }).TOKEN).toBe('from-a-file\n');
  });

  it('tells every problem at once, with key and meaning, and repeats no secret', () => {
    const read = () => readConfig(shape, { PORT: '70000', TOKEN: 'short', VERBOSE: 'perhaps' });

    expect(read).toThrow(ConfigError);
    expect(read).toThrow(/PORT: .*\(Port\)[\s\S]*TOKEN: .*\(Token that callers present\)[\s\S]*VERBOSE: /);
    expect(read).not.toThrow(/short/);
  });

  it('says which file cannot be read', () => {
    expect(() => readConfig(shape, { TOKEN_FILE: join(directory, 'absent') })).toThrow(/TOKEN_FILE: cannot read .*absent/);
  });

  it('an empty value counts as none', () => {
    expect(readConfig(shape, { TOKEN: '12345678', PORT: '' }).PORT).toBe(8080);
  });
});

describe('printing the configuration', () => {
  it('masks secrets, and passwords inside URLs', () => {
    const config = readConfig(shape, { TOKEN: '12345678' });

    expect(maskedConfig(shape, config)).toEqual({ PORT: 8080, TOKEN: '***', URL: 'nats://user:***@host:1', VERBOSE: false });
    expect(isSecret(shape.TOKEN)).toBe(true);
    expect(isSecret(shape.PORT)).toBe(false);
  });
});
