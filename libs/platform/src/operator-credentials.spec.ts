import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { candidatesFor } from '@millrace/domain/keyring';
import { eventually } from '@millrace/testing/eventually';
import { OperatorCredentialsFile } from './operator-credentials.ts';

const PASSWORD = 'hunter2-hunter2';
const config = (username: string) => JSON.stringify({ auths: { 'q.io': { auth: btoa(`${username}:${PASSWORD}`) } } });

let directory: string;
let file: string;
let logged: string[];
let credentials: OperatorCredentialsFile;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'operator-'));
  file = join(directory, 'config.json');
  logged = [];
});
afterEach(async () => {
  await credentials.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function reading(path = file): Promise<void> {
  credentials = new OperatorCredentialsFile(path, pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) }), 20);
  await credentials.start();
}
/** In one step, so that no half of it is read. */
function put(text: string): void {
  writeFileSync(`${file}.tmp`, text);
  renameSync(`${file}.tmp`, file);
}
const user = () => candidatesFor(credentials.keyring, 'q.io/a').map(({ credential }) => credential.username)[0];
const messages = () => logged.map((line) => (JSON.parse(line) as { msg: string }).msg);
const reasons = () => logged.map((line) => (JSON.parse(line) as { reason?: string }).reason).filter(Boolean);

describe('the operator’s config.json', () => {
  it('is there when it is started, and is read again when it is written anew', async () => {
    put(config('one'));
    await reading();
    expect(user()).toBe('one');

    writeFileSync(file, config('two'));
    await eventually(() => expect(user()).toBe('two'));
    put(config('three'));
    await eventually(() => expect(user()).toBe('three'));

    expect(logged.join()).not.toContain(PASSWORD);
  });

  it('is read again when the links of a Kubernetes volume are exchanged', async () => {
    const version = (name: string, username: string) => {
      mkdirSync(join(directory, name));
      writeFileSync(join(directory, name, 'config.json'), config(username));
      symlinkSync(name, join(directory, '..data_tmp'));
      renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
    };
    version('..2026_11_26_01', 'one');
    symlinkSync('..data/config.json', file);
    await reading();
    expect(user()).toBe('one');

    version('..2026_11_26_02', 'two');
    rmSync(join(directory, '..2026_11_26_01'), { recursive: true });

    await eventually(() => expect(user()).toBe('two'));
    expect(messages()).toEqual(['registry-auth.read', 'registry-auth.read']);
  });

  it.each([
    ['no JSON', PASSWORD, 'it is no JSON object of registries'],
    ['cut short', config('two').slice(0, -3), 'it is no JSON object of registries'],
    ['empty', '', 'is empty'],
    ['without a usable entry', JSON.stringify({ auths: { 'q.io': { auth: btoa(PASSWORD) } } }), 'unable to parse auth field'],
    ['far too long', JSON.stringify({ auths: {}, more: 'x'.repeat(1024 * 1024) }), 'has more than 1048576 bytes'],
  ])('that becomes %s leaves the last good one in use, and the log says so once', async (_title, text, reason) => {
    put(config('one'));
    await reading();

    put(text);
    await eventually(() => expect(reasons()).toEqual([expect.stringContaining(reason)]));
    expect(user()).toBe('one');
    put(config('two'));
    await eventually(() => expect(user()).toBe('two'));

    expect(messages()).toEqual(['registry-auth.read', 'registry-auth.broken', 'registry-auth.read']);
    expect(logged.join()).not.toContain(PASSWORD);
  });

  it('with one broken entry is used for its others', async () => {
    writeFileSync(
      file,
      JSON.stringify({ auths: { 'q.io': { username: 'u', password: PASSWORD }, 'r.io': { auth: '%%' } }, credsStore: 'desktop' }),
    );
    await reading();

    expect(user()).toBe('u');
    expect(messages()).toEqual(['registry-auth.read', 'registry-auth.entry-broken']);
  });

  it('may come later, and its going leaves what it said in use', async () => {
    await reading();
    expect(user()).toBeUndefined();

    put(config('one'));
    await eventually(() => expect(user()).toBe('one'));
    rmSync(file);
    await eventually(() => expect(messages()).toEqual(['registry-auth.broken', 'registry-auth.read', 'registry-auth.broken']));

    expect(user()).toBe('one');
    expect(reasons()).toEqual(['cannot be read: ENOENT', 'cannot be read: ENOENT']);
  });

  it('need not be', async () => {
    await reading('');

    expect(credentials.keyring.entries).toEqual([]);
    expect(logged).toEqual([]);
  });
});
