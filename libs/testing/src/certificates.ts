import 'reflect-metadata'; // the certificate generator needs it first
import * as x509 from '@peculiar/x509';

/** PEM. */
export interface Certified {
  cert: string;
  key: string;
}

/** A certificate for 127.0.0.1 and `localhost`, which signs itself unless an authority is given. */
export async function certificate(name: string, authority?: Certified): Promise<Certified> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const params = {
    serialNumber: name.length.toString(16).padStart(2, '0'),
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 24 * 3_600_000),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(!authority, undefined, true),
      new x509.SubjectAlternativeNameExtension([
        { type: 'ip', value: '127.0.0.1' },
        { type: 'dns', value: 'localhost' },
      ]),
    ],
  };
  const cert = authority
    ? await x509.X509CertificateGenerator.create({
        ...params,
        subject: `CN=${name}`,
        issuer: new x509.X509Certificate(authority.cert).subject,
        publicKey: keys.publicKey,
        signingKey: await crypto.subtle.importKey('pkcs8', derOf(authority.key), algorithm, false, ['sign']),
      })
    : await x509.X509CertificateGenerator.createSelfSigned({ ...params, name: `CN=${name}`, keys });
  return { cert: cert.toString('pem'), key: pemOf(await crypto.subtle.exportKey('pkcs8', keys.privateKey)) };
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

function derOf(pem: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64'));
}

function pemOf(der: ArrayBuffer): string {
  const lines = Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n');
  return `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
}
