import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { BearerChallenge, Challenge } from './challenge.ts';
import type { Connection } from './connection.ts';
import { RegistryError, statusError } from './error.ts';
import { parseObject } from './manifest.ts';

export interface Credentials {
  username: string;
  password: string;
}

/** The value of an `Authorization` header. `fresh`: the token server gave it just now, so asking again changes nothing. */
export interface Authorization {
  header: string;
  fresh: boolean;
}

const Token = z.object({
  token: z.string().min(1).optional().catch(undefined),
  access_token: z.string().min(1).optional().catch(undefined),
  expires_in: z.number().positive().catch(60),
});

const maxTokenBytes = 256 * 1024;
const maxTokens = 5_000;

/**
 * Answers the challenges of a registry. Tokens are kept by realm, service, scope and credential until they expire, and
 * requests that need the same token at the same time wait for one request to the token server.
 */
export class Authorizer {
  readonly #tokens = new Map<string, { header: string; expiresAt: number }>();
  readonly #underWay = new Map<string, Promise<Authorization>>();

  constructor(
    private readonly connection: Connection,
    private readonly now: () => number,
  ) {}

  /**
   * Bearer is preferred, with or without credentials; Basic needs them. `rejected` is the header that the registry has just
   * answered with 401: a kept token of that value is forgotten. Fails with `credentials-missing`, `credentials-refused` or
   * `unauthorized`.
   */
  async answer(challenge: Challenge, credentials: Credentials | undefined, subject: string, rejected?: string): Promise<Authorization> {
    if (challenge.scheme === 'basic') {
      if (!credentials)
        throw new RegistryError({ code: 'credentials-missing', message: `${subject}: 401, and there are no credentials`, status: 401 });
      return { header: basic(credentials), fresh: true };
    }
    const key = tokenKey(challenge, credentials);
    const kept = this.#tokens.get(key);
    if (kept && kept.header !== rejected && kept.expiresAt > this.now()) return { header: kept.header, fresh: false };
    this.#tokens.delete(key);

    const underWay = this.#underWay.get(key);
    if (underWay) return underWay;
    const fetched = this.#fetchToken(key, challenge, credentials, subject).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, fetched);
    return fetched;
  }

  async #fetchToken(
    key: string,
    challenge: BearerChallenge,
    credentials: Credentials | undefined,
    subject: string,
  ): Promise<Authorization> {
    const { realm, service, scope } = challenge;
    const tokenSubject = `${subject}: token from ${realm.host}`;
    if (!this.connection.mayReach(realm)) {
      throw new RegistryError({
        code: 'plain-http',
        message: `${tokenSubject}: the token server is plain HTTP; allow the registry as insecure`,
      });
    }
    const url = new URL(realm);
    if (service !== undefined) url.searchParams.set('service', service);
    for (const each of scope?.split(/\s+/).filter(Boolean) ?? []) url.searchParams.append('scope', each);

    const answer = await this.connection.send(url, {
      method: 'GET',
      headers: { accept: 'application/json' },
      authorization: credentials && basic(credentials),
      maxBytes: maxTokenBytes,
      subject: tokenSubject,
    });
    if (answer.status !== 200) throw tokenError(tokenSubject, answer, credentials, this.now());

    const parsed = Token.safeParse(parseObject(answer.body));
    const token = parsed.data?.token ?? parsed.data?.access_token;
    if (!parsed.data || !token || !/^[\x21-\x7e]+$/.test(token)) {
      throw new RegistryError({ code: 'malformed', message: `${tokenSubject}: the answer holds no token` });
    }
    const header = `Bearer ${token}`;
    this.#keep(key, header, this.now() + parsed.data.expires_in * 900); // a tenth early: it must live until the registry has checked it
    return { header, fresh: true };
  }

  #keep(key: string, header: string, expiresAt: number): void {
    const oldest = this.#tokens.size >= maxTokens ? this.#tokens.keys().next().value : undefined;
    if (oldest !== undefined) this.#tokens.delete(oldest);
    this.#tokens.set(key, { header, expiresAt });
  }
}

function tokenError(
  subject: string,
  answer: Parameters<typeof statusError>[1],
  credentials: Credentials | undefined,
  now: number,
): RegistryError {
  const error = statusError(subject, answer, now);
  if (error.code !== 'unauthorized' && error.code !== 'forbidden') return error;
  const code = credentials ? 'credentials-refused' : 'credentials-missing';
  return new RegistryError({ code, message: error.message, status: error.status, registryCode: error.registryCode });
}

function basic({ username, password }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** Hashed, so that no list of kept tokens holds passwords. */
function tokenKey({ realm, service, scope }: BearerChallenge, credentials: Credentials | undefined): string {
  const parts = [realm.href, service ?? '', scope ?? '', credentials ? [credentials.username, credentials.password] : null];
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64');
}
