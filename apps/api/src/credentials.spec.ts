import type { IncomingMessage } from 'node:http';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { adminToken, Credentials, parseTokens, writeKubeconfig } from './credentials.ts';

let directory: string;
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'millrace-credentials-'))));
afterEach(() => rmSync(directory, { recursive: true }));

describe('the token file', () => {
  it.each([
    ['t,ann,1', ['t', { name: 'ann', uid: '1', groups: [] }]],
    ['t,ann,', ['t', { name: 'ann', groups: [] }]],
    ['t,ann,1,dev', ['t', { name: 'ann', uid: '1', groups: ['dev'] }]],
    ['t,ann,1,"dev,ops"', ['t', { name: 'ann', uid: '1', groups: ['dev', 'ops'] }]],
    [' t , "ann, the ""first""" , 1 ,"dev, ops"', ['t', { name: 'ann, the "first"', uid: '1', groups: ['dev', 'ops'] }]],
  ])('%s', (line, expected) => {
    expect(parseTokens(`# a comment\n\n${line}\r\n`)).toEqual([expected]);
  });

  it.each(['secret,ann', 'secret', ',ann,1', 'secret,,1', 'secret,"ann,1', 'x,y,z\nsecret,"a"b,1'])(
    'a line that is none is named, not repeated: %j',
    (csv) => {
      expect(() => parseTokens(csv)).toThrow(/^TOKENS, line [12]: expected/);
      expect(() => parseTokens(csv)).not.toThrow(/secret/);
    },
  );

  it('a token stands for one user only', () => {
    expect(() => parseTokens('a,x,1\na,y,2')).toThrow('TOKENS, line 2: the same token as on a line before');
  });
});

describe('a bearer token', () => {
  const credentials = new Credentials([['good', { name: 'ann', groups: ['dev'] }]]);
  const identify = (authorization?: string) =>
    credentials.identify({ headers: { authorization }, rawHeaders: [] } as unknown as IncomingMessage);

  it('stands for its user, who is authenticated', () => {
    expect(identify('Bearer good')).toEqual({ name: 'ann', groups: ['dev', 'system:authenticated'] });
    expect(identify('bearer  good ')).toMatchObject({ name: 'ann' });
  });

  it('that is missing stands for nobody', () => {
    expect(identify()).toEqual({ name: 'system:anonymous', groups: ['system:unauthenticated'] });
  });

  it.each(['Bearer bad', 'Bearer', 'Bearer ', 'Basic good', 'good', '', 'Bearer good good', 'Bearer goodx'])('%j is refused', (header) => {
    expect(() => identify(header)).toThrow('Unauthorized');
  });
});

describe("the administrator's token", () => {
  it('has 32 random bytes, and is kept for its owner alone', () => {
    const token = adminToken(directory);

    expect(Buffer.from(token, 'base64url')).toHaveLength(32);
    expect(adminToken(directory)).toBe(token);
    expect(statSync(join(directory, 'admin-token')).mode & 0o777).toBe(0o600);
  });

  it('that was cut off stops the start, and says what to do', () => {
    writeFileSync(join(directory, 'admin-token'), 'short');

    expect(() => adminToken(directory)).toThrow(/admin-token holds no usable token: delete it/);
  });
});

it('the kubeconfig has all that a client needs', () => {
  const file = join(directory, 'deep', 'kubeconfig');
  writeKubeconfig(file, { server: 'https://127.0.0.1:8443', ca: 'CA', token: 'T' });

  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(parse(readFileSync(file, 'utf8'))).toMatchObject({
    clusters: [{ cluster: { server: 'https://127.0.0.1:8443', 'certificate-authority-data': 'Q0E=' } }],
    users: [{ user: { token: 'T' } }],
    contexts: [{ context: { namespace: 'demo' } }],
    'current-context': 'millrace',
  });
});
