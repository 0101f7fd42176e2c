import { createHash, createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { dialects } from './dialects.ts';
import type { Headers, Proof, Signature } from './dialects/dialect.ts';
import { IdentityTokens } from './identity-tokens.ts';
import { type KnownRegistry, Registries } from './registries.ts';

/** What a request shows of its sender before its body is read. */
export interface Claim {
  registry: string;
  /** What the path has behind the name. */
  segment?: string;
  headers: Headers;
}

export type Recognised = { kind: 'known'; registry: KnownRegistry } | { kind: 'unknown'; reason: string };

/** How far the clock of a sender that signs its time may be from ours. */
const TOLERANCE_MS = 300_000;
/** Stands in for the secret of a registry that is not there, so that its absence does not show in the time of the answer. */
const NOBODY = randomUUID();

/** Every signature that some dialect has: which of them a request carries says how it is treated, whether its registry exists or not. */
const SIGNATURES = [...dialects.values()].flatMap(({ signature }) => (signature ? [signature] : []));
const headerOf = (signature: Signature): string => (signature.scheme === 'hmac' ? signature.header : 'webhook-signature');

/**
 * Tells who sends a notification. What is done, and how long it takes, follows from what the request carries and not from which registries there
 * are; secrets are compared in constant time, all of them.
 */
@Injectable()
export class Senders {
  constructor(
    private readonly registries: Registries,
    private readonly tokens: IdentityTokens,
  ) {}

  /** `read` resolves to the body, or to undefined where it is too long; it is called only for a request with a signature. */
  async recognise({ registry: name, segment, headers }: Claim, read: () => Promise<Buffer | undefined>): Promise<Recognised> {
    const registry = this.registries.named(name);
    const secretsFor = (proof: Proof) => (registry?.auth === proof && registry.secrets.length ? registry.secrets : [NOBODY]);
    const known = (proof: Proof, right: boolean): Recognised | undefined =>
      right && registry?.auth === proof ? { kind: 'known', registry } : undefined;
    const unknown = (reason: string): Recognised => ({ kind: 'unknown', reason: registry ? reason : 'no such registry' });

    if (segment !== undefined) return known('path', isOneOf(segment, secretsFor('path'))) ?? unknown('wrong secret');

    let reason = 'wrong secret';
    const signature = SIGNATURES.find((one) => headers[headerOf(one)] !== undefined);
    if (signature) {
      const body = await read();
      const right = body !== undefined && isSigned(signature, headers, body, secretsFor('signature'));
      const found = known('signature', right && registry?.dialect.signature === signature);
      if (found) return found;
      reason = body ? 'wrong signature' : 'the body is too long for a signature to be checked';
    }

    const authorization = headers['authorization'] ?? '';
    const token = authorization.replace(/^bearer +/i, '');
    if (this.tokens.concerns(token)) {
      const problem = await this.tokens.problem(token, registry?.oidc);
      const found = known('oidc', problem === undefined);
      if (found) return found;
      reason = problem ?? reason;
    }

    const header = registry?.header ?? 'authorization';
    const sent = header === 'authorization' ? token : (headers[header] ?? '');
    // Some consoles send what was typed, which may be the header with its "Bearer".
    const right = isOneOf(sent, secretsFor('header')) || (header === 'authorization' && isOneOf(authorization, secretsFor('header')));
    return known('header', right) ?? unknown(reason);
  }
}

const digestOf = (text: string | Buffer): Buffer => createHash('sha256').update(text).digest();

/** Of equal length, whatever was sent; and every secret is looked at. */
function isOneOf(sent: string, secrets: readonly string[]): boolean {
  return secrets.map((secret) => timingSafeEqual(digestOf(sent), digestOf(secret))).includes(true);
}

function isSigned(signature: Signature, headers: Headers, body: Buffer, secrets: readonly string[]): boolean {
  const sent = headers[headerOf(signature)] ?? '';
  if (signature.scheme === 'hmac') {
    const { algorithm, prefix } = signature;
    return isOneOf(
      sent.toLowerCase(),
      secrets.map((secret) => prefix + createHmac(algorithm, secret).update(body).digest('hex')),
    );
  }
  const { 'webhook-id': id = '', 'webhook-timestamp': seconds = '' } = headers;
  const expected = secrets.map(
    (secret) => `v1,${createHmac('sha256', keyOf(secret)).update(`${id}.${seconds}.`).update(body).digest('base64')}`,
  );
  const fresh = /^\d{1,12}$/.test(seconds) && Math.abs(Number(seconds) * 1000 - Date.now()) <= TOLERANCE_MS;
  // A sender that changes its key sends a signature by each.
  const right = sent.split(' ', 8).map((one) => isOneOf(one, expected));
  return right.includes(true) && fresh;
}

/** Standard Webhooks writes keys as `whsec_` and base64. */
const keyOf = (secret: string): Buffer => (secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret));
