import { isDigest, RepositoryName, TagName } from '@millrace/domain/image-reference';
import { z } from 'zod';
import { type Authorization, Authorizer, type Credentials } from './authorization.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import { type Answer, Connection, type ConnectionOptions } from './connection.ts';
import { RegistryError, statusError } from './error.ts';
import { acceptedManifests, digestOf, kindOf, type Manifest, maxManifestBytes, parseManifest, parseObject } from './manifest.ts';

export type { Credentials } from './authorization.ts';

export interface RegistryOptions extends ConnectionOptions {
  credentials?: Credentials;
  /** Milliseconds since 1970. */
  now?: () => number;
}

export interface ManifestHead {
  digest: string;
  mediaType: string;
  size: number;
}

export interface TagList {
  tags: string[];
  /** There are more tags than were asked for, or the registry's pages lead in a circle. */
  truncated: boolean;
}

const maxRepositoriesKnown = 2_000;
/** Without a token, with one that turns out to be stale, with a fresh one. */
const maxSends = 3;

/**
 * Reads from one OCI or Docker registry: manifests, small blobs, tags. Every answer is bounded in time and size and checked
 * against its digest; failures are `RegistryError`. Nothing is retried but a broken kept-alive connection: when to try again is
 * the caller's decision, and `retryable` and `retryAfterMs` say what the registry thinks of it.
 */
export class RegistryClient {
  readonly #connection: Connection;
  readonly #authorizer: Authorizer;
  readonly #credentials?: Credentials;
  readonly #now: () => number;
  /** How each repository wants to be authenticated to, so that only the first request to it costs a 401. */
  readonly #challenges = new Map<string, Challenge>();
  readonly #options: RegistryOptions;

  /** `shared` is what `withCredentials` passes on. */
  constructor(options: RegistryOptions, shared?: { connection: Connection; authorizer: Authorizer }) {
    this.#now = options.now ?? Date.now;
    this.#connection = shared?.connection ?? new Connection(options);
    this.#authorizer = shared?.authorizer ?? new Authorizer(this.#connection, this.#now);
    this.#credentials = options.credentials;
    this.#options = options;
  }

  /** The registry as pull specs name it: `quay.io`, `docker.io`, `registry:5000`. */
  get host(): string {
    return this.#connection.host;
  }

  /** A client for the same registry that shares connections and tokens with this one; closing either closes both. */
  withCredentials(credentials: Credentials | undefined): RegistryClient {
    return new RegistryClient({ ...this.#options, credentials }, { connection: this.#connection, authorizer: this.#authorizer });
  }

  /** What a tag or digest points at, with one HEAD where the registry says enough, otherwise with the GET that `getManifest` makes. */
  async headManifest(repository: string, reference: string): Promise<ManifestHead> {
    const subject = this.#subject('HEAD', repository, reference);
    const answer = await this.#request('HEAD', repository, `manifests/${reference}`, subject, { accept: acceptedManifests }, 0);
    const mediaType = header(answer, 'content-type');
    const digest = header(answer, 'docker-content-digest');
    const size = Number(header(answer, 'content-length') || Number.NaN);
    const kind = kindOf(mediaType);
    if (answer.status === 200 && kind === 'schema1') {
      throw new RegistryError({
        code: 'unsupported-manifest',
        message: `${subject}: unsupported image manifest type: Docker schema 1, push the image again with a newer tool`,
      });
    }
    // Some registries answer HEAD without digest, type or length, and some not at all.
    const enough = answer.status === 200 && isDigest(digest) && kind !== 'unknown' && Number.isSafeInteger(size) && size > 0;
    if (!enough && (answer.status === 200 || answer.status === 405 || answer.status === 501)) {
      const manifest = await this.getManifest(repository, reference);
      return { digest: manifest.digest, mediaType: manifest.mediaType, size: manifest.body.length };
    }
    this.#ensureOk(subject, answer);
    if (isDigest(reference) && sameAlgorithm(reference, digest) && reference !== digest) throw mismatch(subject, reference, digest);
    return { digest: isDigest(reference) ? reference : digest, mediaType: mediaType.split(';')[0]?.trim() ?? '', size };
  }

  /** The manifest itself, at most 4 MiB, its bytes checked against the reference if that is a digest, and against what the registry says. */
  async getManifest(repository: string, reference: string): Promise<Manifest> {
    const subject = this.#subject('GET', repository, reference);
    const answer = await this.#request(
      'GET',
      repository,
      `manifests/${reference}`,
      subject,
      { accept: acceptedManifests },
      maxManifestBytes,
    );
    this.#ensureOk(subject, answer);
    // Read first: the digest of a schema 1 manifest is not that of its bytes, and the error should say what is wrong.
    const manifest = parseManifest(subject, answer.body, header(answer, 'content-type'));

    const claims = [reference, header(answer, 'docker-content-digest')].filter(isDigest);
    for (const claim of claims) {
      const actual = digestOf(answer.body, claim);
      if (actual !== claim) throw mismatch(subject, claim, actual);
    }
    return { digest: claims[0] ?? digestOf(answer.body), ...manifest };
  }

  /** A blob that fits in memory, such as an image's config, checked against its digest. */
  async getBlob(repository: string, digest: string, maxBytes = maxManifestBytes): Promise<Buffer> {
    const subject = this.#subject('GET', repository, digest);
    if (!isDigest(digest)) throw new RegistryError({ code: 'invalid-reference', message: `${subject}: "${digest}" is no digest` });
    const answer = await this.#request('GET', repository, `blobs/${digest}`, subject, {}, maxBytes);
    this.#ensureOk(subject, answer);
    const actual = digestOf(answer.body, digest);
    if (actual !== digest) throw mismatch(subject, digest, actual);
    return answer.body;
  }

  /** Tags in the registry's order, page by page, until there are no more, or `maxTags`, or `maxPages`, or `withinMs` are over. */
  async listTags(repository: string, { maxTags = 100_000, maxPages = 1_000, pageSize = 1_000, withinMs = 120_000 } = {}): Promise<TagList> {
    const subject = `GET tags of ${this.host}/${repository}`;
    const end = this.#now() + withinMs;
    const tags = new Set<string>();
    const seen = new Set<string>();
    let query = `?n=${pageSize}`;
    for (let page = 0; page < maxPages && !seen.has(query) && this.#now() < end; page++) {
      seen.add(query);
      const answer = await this.#request('GET', repository, `tags/list${query}`, subject, { accept: 'application/json' }, maxManifestBytes);
      this.#ensureOk(subject, answer);
      const list = TagPage.safeParse(parseObject(answer.body));
      if (!list.success)
        throw new RegistryError({ code: 'malformed', message: `${subject}: the answer is no list of tags`, cause: list.error });
      for (const tag of (list.data.tags ?? []).filter((each) => each === '' || isTag(each))) {
        if (tags.size >= maxTags && !tags.has(tag)) return { tags: [...tags], truncated: true };
        tags.add(tag);
      }
      const next = nextQuery(answer);
      if (next === undefined) return { tags: [...tags], truncated: false };
      query = next;
    }
    return { tags: [...tags], truncated: true };
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  /** Sends, and again with what a 401 asks for. Any other answer is the caller's, also one that is no success. */
  async #request(
    method: 'GET' | 'HEAD',
    repository: string,
    path: string,
    subject: string,
    headers: Record<string, string>,
    maxBytes: number,
  ): Promise<Answer> {
    if (!RepositoryName.safeParse(repository).success) {
      throw new RegistryError({ code: 'invalid-reference', message: `${subject}: "${repository}" is no repository name` });
    }
    const known = this.#challenges.get(repository);
    let authorization: Authorization | undefined = known && (await this.#authorizer.answer(known, this.#credentials, subject));
    for (let sends = 1; ; sends++) {
      const request = { method, headers, authorization: authorization?.header, maxBytes, subject };
      const answer = await this.#connection.toRegistry(`/v2/${repository}/${path}`, request);
      if (answer.status !== 401) return answer;
      if (sends === maxSends) throw statusError(subject, answer, this.#now());
      authorization = await this.#answerChallenge(answer, repository, subject, authorization);
    }
  }

  async #answerChallenge(
    answer: Answer & { base: URL },
    repository: string,
    subject: string,
    sent: Authorization | undefined,
  ): Promise<Authorization> {
    // Whoever the registry redirected to does not get to ask for credentials.
    const challenges = answer.url.origin === answer.base.origin ? parseChallenges(answer.headers['www-authenticate']) : [];
    const challenge = challenges.find(({ scheme }) => scheme === 'bearer') ?? challenges[0];
    if (!challenge || (sent?.fresh && sameScheme(sent, challenge))) {
      const error = statusError(subject, answer, this.#now());
      const refused = challenge?.scheme === 'basic';
      throw refused
        ? new RegistryError({ code: 'credentials-refused', message: error.message, status: 401, registryCode: error.registryCode })
        : error;
    }
    const complete =
      challenge.scheme === 'bearer' ? { ...challenge, scope: challenge.scope ?? `repository:${repository}:pull` } : challenge;
    const authorization = await this.#authorizer.answer(complete, this.#credentials, subject, sent?.header);
    this.#remember(repository, complete);
    return authorization;
  }

  #remember(repository: string, challenge: Challenge): void {
    const oldest = this.#challenges.size >= maxRepositoriesKnown ? this.#challenges.keys().next().value : undefined;
    if (oldest !== undefined) this.#challenges.delete(oldest);
    this.#challenges.set(repository, challenge);
  }

  #ensureOk(subject: string, answer: Answer): void {
    if (answer.status !== 200) throw statusError(subject, answer, this.#now());
  }

  #subject(method: string, repository: string, reference: string): string {
    const subject = `${method} ${this.host}/${repository}${reference.includes(':') ? '@' : ':'}${reference}`;
    if (isTag(reference) || isDigest(reference)) return subject;
    throw new RegistryError({
      code: 'invalid-reference',
      message: `${subject}: "${reference}" is neither a tag nor a digest`,
    });
  }
}

function isTag(text: string): boolean {
  return TagName.safeParse(text).success;
}

const TagPage = z.object({ tags: z.array(z.string()).nullish() });

/**
 * The query of the next page. Only the query: registries behind proxies link to their inner scheme, host or prefix, and no link
 * should lead to another server.
 */
function nextQuery(answer: Answer): string | undefined {
  const link = /<([^<>]*)>\s*;[^<]*\brel\s*=\s*"?next\b/i.exec(header(answer, 'link'))?.[1];
  return link !== undefined && URL.canParse(link, answer.url.href) ? new URL(link, answer.url).search : undefined;
}

function header(answer: Answer, name: string): string {
  const value = answer.headers[name];
  return (Array.isArray(value) ? value.join(', ') : value) ?? '';
}

function sameScheme(sent: Authorization, challenge: Challenge): boolean {
  return sent.header.toLowerCase().startsWith(`${challenge.scheme} `);
}

function sameAlgorithm(one: string, other: string): boolean {
  return one.split(':')[0] === other.split(':')[0];
}

function mismatch(subject: string, expected: string, actual: string): RegistryError {
  return new RegistryError({
    code: 'digest-mismatch',
    message: `${subject}: content integrity error: expected ${expected}, the content is ${actual}`,
  });
}
