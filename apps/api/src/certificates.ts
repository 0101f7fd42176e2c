import 'reflect-metadata';
import { X509Certificate, randomBytes, webcrypto } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { isIP } from 'node:net';
import { dirname, join } from 'node:path';
import * as x509 from '@peculiar/x509';

/** PEM texts; `ca` is what a client trusts. */
export interface ServerCertificate {
  ca: string;
  cert: string;
  key: string;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
const CA_DAYS = 3_650;
const SERVER_DAYS = 397;
/** A certificate is made anew when this little is left of it. */
const CA_RENEW_DAYS = 400;
const SERVER_RENEW_DAYS = 30;

/** Names under which the api is reached on one machine and in Compose, and those that the operator adds. */
export const serverNames = (further: readonly string[]): string[] => [
  ...new Set(['localhost', '127.0.0.1', '::1', hostname().toLowerCase(), 'api', ...further]),
];

/**
 * The server's certificate, signed by a small authority of its own; both are kept in `directory` (files with keys 0600) and made
 * anew when they come close to their end, the authority changes, or the names do. Instances that share a directory share the authority.
 */
export async function serverCertificate(directory: string, names: readonly string[], now = new Date()): Promise<ServerCertificate> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const authority = await authorityIn(directory, now);
  const file = join(directory, 'server.pem');
  const kept = bundleIn(file);
  if (kept && isUsable(kept, authority, names, now)) return { ca: authority.cert, ...kept };
  const made = await issue(authority, names, now);
  writePrivately(file, made.key + made.cert);
  return { ca: authority.cert, ...made };
}

interface Bundle {
  key: string;
  cert: string;
}

function bundleIn(file: string): Bundle | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const [key, cert] = ['PRIVATE KEY', 'CERTIFICATE'].map(
    (label) => new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----\n?`).exec(text)?.[0],
  );
  return key && cert ? { key, cert } : undefined;
}

async function authorityIn(directory: string, now: Date): Promise<Bundle> {
  const file = join(directory, 'ca.pem');
  const kept = bundleIn(file);
  const usable = kept && new X509Certificate(kept.cert).validToDate.getTime() - now.getTime() > CA_RENEW_DAYS * DAY_MS;
  const authority = usable ? kept : await newAuthority(file, now, kept !== undefined);
  writeFileSync(join(directory, 'ca.crt'), authority.cert);
  return authority;
}

async function newAuthority(file: string, now: Date, replaces: boolean): Promise<Bundle> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=millrace-ca-${randomBytes(4).toString('hex')}`,
    notBefore: new Date(now.getTime() - DAY_MS),
    notAfter: new Date(now.getTime() + CA_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const made = { key: await pemOf(keys.privateKey), cert: `${certificate.toString('pem')}\n` };
  if (replaces) writePrivately(file, made.key + made.cert);
  else if (!createPrivately(file, made.key + made.cert)) return bundleIn(file) ?? made;
  return made;
}

async function issue(authority: Bundle, names: readonly string[], now: Date): Promise<Bundle> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const issuer = new x509.X509Certificate(authority.cert);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: 'CN=millrace-api',
    issuer: issuer.subject,
    notBefore: new Date(now.getTime() - DAY_MS),
    notAfter: new Date(now.getTime() + SERVER_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: await webcrypto.subtle.importKey('pkcs8', derOf(authority.key), ALGORITHM, false, ['sign']),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value }))),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { key: await pemOf(keys.privateKey), cert: `${certificate.toString('pem')}\n` };
}

function isUsable(kept: Bundle, authority: Bundle, names: readonly string[], now: Date): boolean {
  const certificate = new X509Certificate(kept.cert);
  const issuer = new X509Certificate(authority.cert);
  if (certificate.validToDate.getTime() - now.getTime() < SERVER_RENEW_DAYS * DAY_MS) return false;
  if (!certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) return false;
  if ((certificate.subjectAltName ?? '').split(', ').length !== names.length) return false;
  return names.every((name) => (isIP(name) ? certificate.checkIP(name) : certificate.checkHost(name)) !== undefined);
}

/** Positive, as some clients demand. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  const base64 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)).toString('base64');
  return `-----BEGIN PRIVATE KEY-----\n${base64.replace(/.{64}(?=.)/g, '$&\n')}\n-----END PRIVATE KEY-----\n`;
}

const derOf = (pem: string): Buffer => Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64');

/** Replaces a file that only the owner may read; a reader sees the old or the new one whole. */
export function writePrivately(file: string, content: string): void {
  mkdirSync(dirname(file), { recursive: true });
  const fresh = `${file}.${randomBytes(6).toString('hex')}`;
  writeFileSync(fresh, content, { mode: 0o600, flag: 'wx' });
  renameSync(fresh, file);
}

/** The same for a file that must not be there yet; false where another process was first. */
export function createPrivately(file: string, content: string): boolean {
  mkdirSync(dirname(file), { recursive: true });
  const fresh = `${file}.${randomBytes(6).toString('hex')}`;
  writeFileSync(fresh, content, { mode: 0o600, flag: 'wx' });
  try {
    linkSync(fresh, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(fresh, { force: true });
  }
}
