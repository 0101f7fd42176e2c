import { setTimeout as pause } from 'node:timers/promises';
import { isDockerHub } from '@millrace/domain/image-reference';
import { type Authorization, Authorizer, known, type KnownChallenge } from './authorization.ts';
import { Budget, type BudgetState, type Cost, type Purpose } from './budget.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { CircuitState } from './circuit.ts';
import { type Answer, Connection, type ConnectionOptions, DEFAULT_CONNECTIONS, type Request } from './connection.ts';
import { accountName, type Candidate } from './credentials.ts';
import { RegistryError, statusError } from './error.ts';
import { RecentMap } from './recent-map.ts';
import { NoTurn, Turns } from './turns.ts';

/** On whose behalf a request is made, and how long it may wait for its turn. */
export interface CallOptions {
  /** `import` where left out. */
  purpose?: Purpose;
  /** Whom the request is for, such as a namespace: tenants take turns. */
  tenant?: string;
  /** For the registry's limits, before anything is sent; beyond it the error is `rate-limited`. 10 s for an import, none for a check. */
  maxWaitMs?: number;
}

/** Where one host stands, for people to see. */
export interface HostState {
  host: string;
  budgets: (BudgetState & { account: string })[];
  circuits: (CircuitState & { origin: string })[];
}

export interface HostRequest extends Omit<Request, 'authorization'> {
  repository: string;
  path: string;
  cost: Cost;
}

const maxRepositoriesKnown = 5_000;
const maxAccounts = 1_000;
const maxProbeBytes = 64 * 1024;
const maxBlobSizes = 10_000;
/** Without a token, with one that turns out to be stale, with a fresh one. */
const maxSends = 3;
const longestWaitMs: Record<Purpose, number> = { import: 10_000, check: 0 };
const refusedForMs = 300_000;
/** For the requests that others have under way. */
const withinMs = 60_000;

/**
 * What all clients of one host share: connections, tokens, the budgets of its accounts, and whose turn it is. Sends with what a
 * registry's challenges ask for, and never more than the registry wants.
 */
export class RegistryHost {
  readonly connection: Connection;
  /** Bytes of blobs whose manifests do not say it, by digest. */
  readonly blobSizes = new RecentMap<number>(maxBlobSizes);
  readonly #authorizer: Authorizer;
  readonly #budgets = new RecentMap<{ account: string; budget: Budget }>(maxAccounts);
  /** When wrong accounts may be tried again before others, by key. */
  readonly #refusedUntil = new RecentMap<number>(maxAccounts);
  readonly #turns: Turns;
  /** How each repository wants to be authenticated to, so that only the first request to it costs a 401. */
  readonly #challenges = new RecentMap<KnownChallenge>(maxRepositoriesKnown);
  /** Its repositories of one segment are in `library/`, and HEAD costs nothing there. */
  readonly isDockerHub: boolean;
  readonly #now: () => number;
  #hasApi = false;
  #underWay = 0;
  #ended?: () => void;
  readonly #closing = new AbortController();
  #closed?: Promise<void>;

  constructor(options: ConnectionOptions) {
    this.#now = options.now ?? Date.now;
    this.connection = new Connection(options);
    this.#authorizer = new Authorizer(this.connection, this.#now);
    const { connections = DEFAULT_CONNECTIONS } = options;
    this.#turns = new Turns(connections, Math.max(1, Math.floor(connections * 0.75)));
    this.isDockerHub = isDockerHub(this.connection.apiHost);
  }

  /** The repository as the registry has it. */
  repositoryOf(name: string): string {
    return this.isDockerHub && !name.includes('/') ? `library/${name}` : name;
  }

  /** How long a request of this account would have to wait; 0: it may be sent now. */
  waitMs(candidate: Candidate, purpose: Purpose, cost: Cost): number {
    return Math.max(this.#budgetOf(candidate).waitMs(purpose, cost, this.#now()), this.connection.waitMs());
  }

  /** Whether user and password, or the token, were wrong a short while ago: each further try may lock the account. */
  isRefused({ key }: Candidate): boolean {
    return (this.#refusedUntil.get(key) ?? 0) > this.#now();
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  state(): HostState {
    const now = this.#now();
    return {
      host: this.connection.host,
      budgets: [...this.#budgets.values()].map(({ account, budget }) => ({ account, ...budget.state(now) })),
      circuits: this.connection.circuits(),
    };
  }

  /** Sends, and again with what a 401 asks for. Any other answer is the caller's, also one that is no success. */
  async send(request: HostRequest, candidate: Candidate, call: CallOptions): Promise<Answer> {
    if (this.#closing.signal.aborted) throw closed(request.subject);
    this.#underWay++;
    try {
      return await this.#authenticated(request, candidate, call);
    } catch (error) {
      if (error instanceof RegistryError && error.code === 'credentials-refused')
        this.#refusedUntil.set(candidate.key, this.#now() + refusedForMs);
      throw error;
    } finally {
      if (--this.#underWay === 0) this.#ended?.();
    }
  }

  /** Waits for the requests under way; those that wait for the registry's limits fail, and no further ones are sent. */
  close(): Promise<void> {
    this.#closing.abort();
    this.#closed ??= new Promise<void>((resolve) => {
      this.#ended = resolve;
      if (this.#underWay === 0) resolve();
    }).then(() => this.connection.rest());
    return this.#closed;
  }

  async #authenticated(request: HostRequest, candidate: Candidate, call: CallOptions): Promise<Answer> {
    const { repository, subject } = request;
    const challenge = this.#challenges.get(repository);
    let authorization: Authorization | undefined;
    // Who has no account may still be let in where others are asked for theirs.
    if (challenge && (challenge.scheme === 'bearer' || candidate.credentials)) {
      const given = this.#authorizer.answer(challenge, candidate, subject);
      authorization = given instanceof Promise ? await given : given;
    }
    for (let sends = 1; ; sends++) {
      const answer = await this.#inTurn(request, candidate, call, authorization?.header);
      if (answer.status === 404 && request.method === 'GET') await this.#ensureApi(answer, request);
      if (answer.status !== 401) return answer;
      if (sends === maxSends) throw statusError(subject, answer, this.#now());
      authorization = await this.#answerChallenge(answer, repository, candidate, subject, authorization);
    }
  }

  /** A server that answers 404 to everything is no registry; asked where the answer does not tell, once if it is one. */
  async #ensureApi(answer: Answer, { subject }: HostRequest): Promise<void> {
    if (this.#hasApi || answer.headers['docker-distribution-api-version'] || statusError('', answer, this.#now()).registryCode) return;
    const probe = await this.connection.toRegistry('/v2/', { method: 'GET', maxBytes: maxProbeBytes, subject: `${subject}: GET /v2/` });
    this.#hasApi = probe.status !== 404;
    if (this.#hasApi) return;
    const reason = `registry "${this.connection.host}" does not support the v2 Registry API`;
    throw new RegistryError({ code: 'no-registry', subject, reason, status: 404 });
  }

  async #inTurn(
    { repository, path, cost, ...request }: HostRequest,
    candidate: Candidate,
    call: CallOptions,
    authorization: string | undefined,
  ): Promise<Answer & { base: URL }> {
    const { purpose = 'import' } = call;
    const budget = this.#budgetOf(candidate);
    await this.#turn(budget, cost, call, request.subject);
    let own: Answer | undefined;
    try {
      const answer = await this.connection.toRegistry(`/v2/${repository}/${path}`, { ...request, authorization });
      // What the storage behind a redirect says of its limits is not the registry's.
      if (answer.url.origin === answer.base.origin) own = answer;
      return answer;
    } finally {
      this.#turns.end(purpose);
      if (own) budget.answered(cost, own, isRefusal(own, this.#now()), this.#now());
      else budget.failed(cost);
    }
  }

  /** Resolves when the request may go, and is counted as under way. */
  async #turn(budget: Budget, cost: Cost, { purpose = 'import', tenant = '', maxWaitMs }: CallOptions, subject: string): Promise<void> {
    const deadline = this.#now() + (maxWaitMs ?? longestWaitMs[purpose]);
    for (;;) {
      try {
        await this.#turns.take(purpose, tenant, withinMs);
      } catch (error) {
        if (!(error instanceof NoTurn)) throw error;
        throw new RegistryError({ code: 'timeout', subject, reason: `not sent, ${error.message}`, cause: error });
      }
      const waitMs = budget.waitMs(purpose, cost, this.#now());
      if (waitMs === 0) return budget.spend(cost, this.#now());

      this.#turns.end(purpose);
      if (this.#now() + waitMs > deadline) throw tooEarly(subject, waitMs);
      await pause(waitMs, undefined, { signal: this.#closing.signal }).catch(() => {
        throw closed(subject);
      });
    }
  }

  async #answerChallenge(
    answer: Answer & { base: URL },
    repository: string,
    candidate: Candidate,
    subject: string,
    sent: Authorization | undefined,
  ): Promise<Authorization> {
    // Whoever the registry redirected to does not get to ask for credentials.
    const challenges = answer.url.origin === answer.base.origin ? parseChallenges(answer.headers['www-authenticate']) : [];
    const challenge = challenges.find(({ scheme }) => scheme === 'bearer') ?? challenges[0];
    if (!challenge || (sent?.fresh && sameScheme(sent, challenge))) {
      const error = statusError(subject, answer, this.#now());
      const refused = challenge?.scheme === 'basic';
      throw refused ? error.with({ code: 'credentials-refused', retryAfterMs: undefined }) : error;
    }
    const complete = known(
      challenge.scheme === 'bearer' ? { ...challenge, scope: challenge.scope ?? `repository:${repository}:pull` } : challenge,
    );
    const authorization = await this.#authorizer.answer(complete, candidate, subject, sent?.header);
    this.#challenges.set(repository, complete);
    return authorization;
  }

  #budgetOf(candidate: Candidate): Budget {
    const countsHeads = this.isDockerHub ? false : undefined;
    const make = () => ({ account: accountName(candidate), budget: new Budget({ countsHeads }) });
    return this.#budgets.getOrMake(candidate.key, make).budget;
  }
}

function closed(subject: string): RegistryError {
  return new RegistryError({ code: 'closed', subject, reason: `the registry client is closed` });
}

function isRefusal(answer: Answer, now: number): boolean {
  return answer.status >= 400 && statusError('', answer, now).code === 'rate-limited';
}

function tooEarly(subject: string, waitMs: number): RegistryError {
  const seconds = Math.ceil(waitMs / 1000);
  return new RegistryError({
    code: 'rate-limited',
    subject,
    reason: `not sent, the registry's limits allow the next request in ${seconds} s`,
    retryAfterMs: waitMs,
  });
}

function sameScheme(sent: Authorization, challenge: Challenge): boolean {
  return sent.header.toLowerCase().startsWith(`${challenge.scheme} `);
}
