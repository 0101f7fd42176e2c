import { isDigest, RepositoryName, TagName } from '@millrace/domain/image-reference';
import { z } from 'zod';
import type { Cost, Purpose } from './budget.ts';
import { type Answer, type ConnectionOptions, placeOf } from './connection.ts';
import { type Candidate, type CandidateCredentials, candidatesOf } from './credentials.ts';
import { RegistryError, statusError } from './error.ts';
import { acceptedManifests, digestOf, kindOf, type Manifest, maxManifestBytes, parseManifest, parseObject } from './manifest.ts';
import { RecentMap } from './recent-map.ts';
import { type CallOptions, RegistryHost } from './registry-host.ts';

export type { Purpose } from './budget.ts';
export type { CandidateCredentials, Credentials } from './credentials.ts';
export type { CallOptions } from './registry-host.ts';

export interface RegistryOptions extends ConnectionOptions {
  credentials?: CandidateCredentials;
}

export interface ManifestHead {
  digest: string;
  mediaType: string;
  size: number;
}

/** What a check of a tag found. */
export type TagCheck = { kind: 'unchanged'; digest: string } | { kind: 'moved'; head: ManifestHead };

export interface TagList {
  tags: string[];
  /** There are more tags than were asked for, or the registry's pages lead in a circle. */
  truncated: boolean;
}

export interface ListOptions extends CallOptions {
  maxTags?: number;
  maxPages?: number;
  pageSize?: number;
  withinMs?: number;
}

interface ClientRequest {
  method: 'GET' | 'HEAD';
  repository: string;
  path: string;
  subject: string;
  headers?: Record<string, string>;
  maxBytes?: number;
  cost: Cost;
}

const maxRepositoriesKnown = 5_000;
const refusalCodes = new Set<RegistryError['code']>(['unauthorized', 'credentials-missing', 'credentials-refused', 'forbidden']);

/**
 * Reads from one OCI or Docker registry: manifests, small blobs, tags. Every answer is bounded in time and size and checked
 * against its digest; failures are `RegistryError`. Nothing is retried but a broken kept-alive connection: when to try again is
 * the caller's decision, and `retryable` and `retryAfterMs` say what the registry thinks of it.
 */
export class RegistryClient {
  /** The registry as pull specs name it: `quay.io`, `docker.io`, `registry:5000`. */
  readonly host: string;
  readonly #host: RegistryHost;
  readonly #candidates: Candidate[];
  /** Which candidate each repository took last, where it was not the first. */
  readonly #taken = new RecentMap<Candidate>(maxRepositoriesKnown);
  readonly #now: () => number;
  readonly #options: RegistryOptions;

  /** `host` is what clients of one registry share; `Registries` keeps it. */
  constructor(options: RegistryOptions, host = new RegistryHost(options)) {
    this.#now = options.now ?? Date.now;
    this.host = placeOf(options.registry).host;
    this.#host = host;
    this.#candidates = candidatesOf(options.credentials);
    this.#options = options;
  }

  /** A client for the same registry that shares connections and tokens with this one; closing either closes both. */
  withCredentials(credentials: CandidateCredentials): RegistryClient {
    return new RegistryClient({ ...this.#options, credentials }, this.#host);
  }

  /**
   * How many milliseconds from now the registry's limits allow the next look at a tag of the repository; 0: at once. Without a
   * repository, by the first candidate's budget.
   */
  nextTurnMs(purpose: Purpose, repository?: string): number {
    const candidate = (repository !== undefined && this.#taken.get(repository)) || (this.#candidates[0] as Candidate);
    return this.#host.waitMs(candidate, purpose, purpose === 'check' ? 'manifest-head' : 'manifest');
  }

  /** What a tag or digest points at, with one HEAD where the registry says enough, otherwise with the GET that `getManifest` makes. */
  async headManifest(repository: string, reference: string, call: CallOptions = {}): Promise<ManifestHead> {
    const subject = this.#subject('HEAD', repository, reference);
    const headers = { accept: acceptedManifests };
    const answer = await this.#request(
      { method: 'HEAD', repository, path: `manifests/${reference}`, subject, headers, cost: 'manifest-head' },
      call,
    );
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
      const manifest = await this.getManifest(repository, reference, call);
      return { digest: manifest.digest, mediaType: manifest.mediaType, size: manifest.body.length };
    }
    this.#ensureOk(subject, answer);
    if (isDigest(reference) && sameAlgorithm(reference, digest) && reference !== digest) throw mismatch(subject, reference, digest);
    return { digest: isDigest(reference) ? reference : digest, mediaType: mediaType.split(';')[0]?.trim() ?? '', size };
  }

  /** The manifest itself, at most 4 MiB, its bytes checked against the reference if that is a digest, and against what the registry says. */
  async getManifest(repository: string, reference: string, call: CallOptions = {}): Promise<Manifest> {
    const subject = this.#subject('GET', repository, reference);
    const headers = { accept: acceptedManifests };
    const answer = await this.#request(
      { method: 'GET', repository, path: `manifests/${reference}`, subject, headers, maxBytes: maxManifestBytes, cost: 'manifest' },
      call,
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
  async getBlob(repository: string, digest: string, maxBytes = maxManifestBytes, call: CallOptions = {}): Promise<Buffer> {
    const subject = this.#subject('GET', repository, digest);
    if (!isDigest(digest)) throw new RegistryError({ code: 'invalid-reference', message: `${subject}: "${digest}" is no digest` });
    const answer = await this.#request({ method: 'GET', repository, path: `blobs/${digest}`, subject, maxBytes, cost: 'other' }, call);
    this.#ensureOk(subject, answer);
    const actual = digestOf(answer.body, digest);
    if (actual !== digest) throw mismatch(subject, digest, actual);
    return answer.body;
  }

  /** Tags in the registry's order, page by page, until there are no more, or `maxTags`, or `maxPages`, or `withinMs` are over. */
  async listTags(
    repository: string,
    { maxTags = 100_000, maxPages = 1_000, pageSize = 1_000, withinMs = 120_000, ...call }: ListOptions = {},
  ): Promise<TagList> {
    const subject = `GET tags of ${this.host}/${repository}`;
    const end = this.#now() + withinMs;
    const tags = new Set<string>();
    const seen = new Set<string>();
    let query = `?n=${pageSize}`;
    for (let page = 0; page < maxPages && !seen.has(query) && this.#now() < end; page++) {
      seen.add(query);
      const path = `tags/list${query}`;
      const headers = { accept: 'application/json' };
      const answer = await this.#request(
        { method: 'GET', repository, path, subject, headers, maxBytes: maxManifestBytes, cost: 'other' },
        call,
      );
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
    return this.#host.close();
  }

  /** Sends as the candidate that the repository took last, and as the others while it is refused. Any other answer is the caller's. */
  async #request(
    { method, repository: named, path, subject, headers = {}, maxBytes = 0, cost }: ClientRequest,
    call: CallOptions,
  ): Promise<Answer> {
    if (!RepositoryName.safeParse(named).success) {
      throw new RegistryError({ code: 'invalid-reference', message: `${subject}: "${named}" is no repository name` });
    }
    const repository = this.#host.isDockerHub && !named.includes('/') ? `library/${named}` : named;
    const request = { method, repository, path, subject, headers, maxBytes, cost };
    const [first, ...others] = this.#candidates as [Candidate, ...Candidate[]];
    if (others.length === 0) return this.#host.send(request, first, call);

    const refusals = new Map<Candidate, RegistryError>();
    for (const candidate of this.#inOrder(repository)) {
      try {
        const answer = await this.#host.send(request, candidate, call);
        const error = answer.status === 403 ? statusError(subject, answer, this.#now()) : undefined;
        if (!error || !isRefusal(error)) {
          this.#taken.set(repository, candidate);
          return answer;
        }
        refusals.set(candidate, error);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        refusals.set(candidate, error);
      }
    }
    this.#taken.delete(repository);
    // What the first says is what its owner should hear.
    throw refusals.get(first);
  }

  #inOrder(repository: string): Iterable<Candidate> {
    const taken = this.#taken.get(repository);
    return taken ? new Set([taken, ...this.#candidates]) : this.#candidates;
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

function isRefusal(error: unknown): error is RegistryError {
  return error instanceof RegistryError && refusalCodes.has(error.code);
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
