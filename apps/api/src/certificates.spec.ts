import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { serverCertificate, serverNames } from './certificates.ts';

const DAY_MS = 86_400_000;
const NAMES = ['localhost', '127.0.0.1', '::1', 'api', 'api.example.org'];
let directory: string;
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'millrace-tls-'))));
afterEach(() => rmSync(directory, { recursive: true }));

const after = (days: number) => new Date(Date.now() + days * DAY_MS);

describe('the server certificate', () => {
  it('is signed by its own authority for every name', async () => {
    const { ca, cert } = await serverCertificate(directory, NAMES);
    const [authority, certificate] = [new X509Certificate(ca), new X509Certificate(cert)];

    expect(authority.ca).toBe(true);
    expect(certificate.ca).toBe(false);
    expect(certificate.verify(authority.publicKey)).toBe(true);
    expect(certificate.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: 'prime256v1' });
    for (const name of ['localhost', 'api', 'api.example.org']) expect(certificate.checkHost(name), name).toBe(name);
    for (const address of ['127.0.0.1', '::1']) expect(certificate.checkIP(address), address).toBe(address);
  });

  it('is kept across starts', async () => {
    expect(await serverCertificate(directory, NAMES)).toEqual(await serverCertificate(directory, NAMES));
  });

  it.each([
    ['a name is added', [...NAMES, 'more.example.org'], 0],
    ['a name is dropped', NAMES.slice(1), 0],
    ['its end is near', NAMES, 380],
  ])('is made anew, by the same authority, when %s', async (_, names, days) => {
    const before = await serverCertificate(directory, NAMES);
    const now = await serverCertificate(directory, names, after(days));

    expect(now.cert).not.toBe(before.cert);
    expect(now.ca).toBe(before.ca);
  });

  it('is made anew with the authority when the end of that is near', async () => {
    const before = await serverCertificate(directory, NAMES);
    const now = await serverCertificate(directory, NAMES, after(3_400));

    expect(now.ca).not.toBe(before.ca);
    expect(new X509Certificate(now.cert).verify(new X509Certificate(now.ca).publicKey)).toBe(true);
  });

  it('of instances that start together comes from one authority', async () => {
    const made = await Promise.all(Array.from({ length: 5 }, () => serverCertificate(directory, NAMES)));

    expect(new Set(made.map(({ ca }) => ca)).size).toBe(1);
    for (const { ca, cert } of made) expect(new X509Certificate(cert).verify(new X509Certificate(ca).publicKey)).toBe(true);
  });

  it('leaves files with keys to their owner alone', async () => {
    await serverCertificate(directory, NAMES);

    expect(readdirSync(directory).sort()).toEqual(['ca.crt', 'ca.pem', 'server.pem']);
    for (const file of ['ca.pem', 'server.pem']) expect(statSync(join(directory, file)).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(directory, 'ca.crt'), 'utf8')).not.toContain('PRIVATE');
  });
});

it('names are those of one machine and of Compose, and the given ones, each once', () => {
  expect(serverNames(['api', 'x.example.org'])).toEqual(expect.arrayContaining(['localhost', '127.0.0.1', '::1', 'api', 'x.example.org']));
  expect(serverNames(['api']).filter((name) => name === 'api')).toHaveLength(1);
});
