import { z } from 'zod';
import { Budget } from './budget.ts';
import type { BearerChallenge, Challenge } from './challenge.ts';
import type { Answer, Connection } from './connection.ts';
import type { Candidate, Credentials } from './credentials.ts';
import { RegistryError, statusError } from './error.ts';
import { parseObject } from './manifest.ts';
import { RecentMap } from './recent-map.ts';

/** The value of an `Authorization` header. `fresh`: the token server gave it just now, so asking again changes nothing. */
export interface Authorization {
  header: string;
  fresh: boolean;
}

/** A challenge with the name under which its tokens are kept. */
export type KnownChallenge = Challenge & { key: string };

export function known(challenge: Challenge): KnownChallenge {
  if (challenge.scheme === 'basic') return { ...challenge, key: 'basic' };
  return { ...challenge, key: JSON.stringify([challenge.realm.href, challenge.service ?? '', challenge.scope ?? '']) };
}

const Token = z.object({
  token: z.string().min(1).optional().catch(undefined),
  access_token: z.string().min(1).optional().catch(undefined),
  expires_in: z.number().positive().catch(60),
});

const maxTokenBytes = 256 * 1024;
const maxTokens = 5_000;
const maxTokenServers = 200;

/**
 * Answers the challenges of a registry. Tokens are kept by realm, service, scope and credential until they expire, and
 * requests that need the same token at the same time wait for one request to the token server.
 */
export class Authorizer {
  readonly #tokens = new RecentMap<{ header: string; expiresAt: number }>(maxTokens);
  readonly #underWay = new Map<string, Promise<Authorization>>();
  /** Token servers have limits of their own. */
  readonly #budgets = new RecentMap<Budget>(maxTokenServers);

  readonly #connection: Connection;
  readonly #now: () => number;

  constructor(connection: Connection, now: () => number) {
    this.#connection = connection;
    this.#now = now;
  }

  /**
   * Bearer is preferred, with or without credentials; Basic needs them. `rejected` is the header that the registry has just
   * answered with 401: a kept token of that value is forgotten. Fails with `credentials-missing`, `credentials-refused`,
   * `unauthorized`, or what the token server's failure is.
   */
  answer(challenge: KnownChallenge, candidate: Candidate, subject: string, rejected?: string): Authorization | Promise<Authorization> {
    const { credentials } = candidate;
    if (credentials?.registryToken) {
      if (isToken(credentials.registryToken)) return { header: `Bearer ${credentials.registryToken}`, fresh: true };
      throw new RegistryError({ code: 'credentials-refused', subject, reason: `the registry token is none` });
    }
    if (challenge.scheme === 'basic') {
      if (!credentials || credentials.identityToken)
        throw new RegistryError({ code: 'credentials-missing', subject, reason: `401, and there are no credentials`, status: 401 });
      return { header: basic(credentials), fresh: true };
    }
    const key = `${challenge.key} ${candidate.key}`;
    const kept = this.#tokens.get(key);
    if (kept && kept.header !== rejected && kept.expiresAt > this.#now()) return { header: kept.header, fresh: false };
    this.#tokens.delete(key);

    const underWay = this.#underWay.get(key);
    if (underWay) return underWay;
    const fetched = this.#fetchToken(key, challenge, candidate, subject)
      .catch((error: unknown) => Promise.reject(ofTokenServer(error, challenge.realm.host)))
      .finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, fetched);
    return fetched;
  }

  async #fetchToken(key: string, challenge: BearerChallenge, candidate: Candidate, subject: string): Promise<Authorization> {
    const { realm } = challenge;
    if (!this.#connection.mayReach(realm)) {
      throw new RegistryError({
        code: 'plain-http',
        subject,
        reason: `the token server is plain HTTP; allow the registry as insecure`,
      });
    }
    const answer = await this.#ask(challenge, candidate, subject);
    if (answer.status !== 200) throw tokenError(statusError(subject, answer, this.#now()), candidate.credentials);

    const parsed = Token.safeParse(parseObject(answer.body));
    const token = parsed.data?.token ?? parsed.data?.access_token;
    if (!parsed.data || !token || !isToken(token)) {
      throw new RegistryError({ code: 'malformed', subject, reason: `the answer holds no token` });
    }
    const header = `Bearer ${token}`;
    // A tenth early: it must live until the registry has checked it.
    this.#tokens.set(key, { header, expiresAt: this.#now() + parsed.data.expires_in * 900 });
    return { header, fresh: true };
  }

  async #ask(challenge: BearerChallenge, candidate: Candidate, subject: string): Promise<Answer> {
    const budget = this.#budgets.getOrMake(`${challenge.realm.origin} ${candidate.key}`, () => new Budget());
    const waitMs = budget.waitMs('import', 'other', this.#now());
    if (waitMs > 0) {
      throw new RegistryError({
        code: 'rate-limited',
        subject,
        reason: `not sent, the token server asked to be left alone for another ${Math.ceil(waitMs / 1000)} s`,
        retryAfterMs: waitMs,
      });
    }
    const { credentials } = candidate;
    const byForm = () =>
      this.#connection.send(challenge.realm, { ...tokenRequest, method: 'POST', form: form(challenge, credentials), subject });
    let answer: Answer;
    if (credentials?.identityToken) answer = await byForm();
    else {
      const authorization = credentials && basic(credentials);
      answer = await this.#connection.send(withQuery(challenge), { ...tokenRequest, method: 'GET', authorization, subject });
      // The specification has both ways; few servers know only the younger one.
      if (answer.status === 405 && credentials) answer = await byForm();
    }
    budget.answered('other', answer, statusError(subject, answer, this.#now()).code === 'rate-limited', this.#now());
    return answer;
  }
}

const isToken = (text: string): boolean => /^[\x21-\x7e]+$/.test(text);

const tokenRequest = { headers: { accept: 'application/json' }, maxBytes: maxTokenBytes } as const;

function withQuery(challenge: BearerChallenge): URL {
  const url = new URL(challenge.realm);
  if (challenge.service !== undefined) url.searchParams.set('service', challenge.service);
  for (const each of scopes(challenge)) url.searchParams.append('scope', each);
  return url;
}

/** OAuth2, as the distribution's token specification has it. */
function form(challenge: BearerChallenge, credentials: Credentials | undefined): URLSearchParams {
  const { username = '', password = '', identityToken } = credentials ?? {};
  return new URLSearchParams({
    ...(identityToken ? { grant_type: 'refresh_token', refresh_token: identityToken } : { grant_type: 'password', username, password }),
    client_id: 'millrace',
    ...(challenge.service !== undefined && { service: challenge.service }),
    scope: scopes(challenge).join(' '),
  });
}

function scopes({ scope }: BearerChallenge): string[] {
  return scope?.split(/\s+/).filter(Boolean) ?? [];
}

const ofTokenServer = (error: unknown, host: string): unknown =>
  error instanceof RegistryError ? error.with({ reason: `token from ${host}: ${error.reason}`, fromTokenServer: true }) : error;

function tokenError(error: RegistryError, credentials: Credentials | undefined): RegistryError {
  // OAuth2 says 400 of a token that is expired or was taken back.
  const refused = error.code === 'unauthorized' || error.code === 'forbidden' || (error.status === 400 && credentials?.identityToken);
  if (!refused) return error;
  return error.with({ code: credentials ? 'credentials-refused' : 'credentials-missing', retryAfterMs: undefined });
}

function basic({ username, password }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
