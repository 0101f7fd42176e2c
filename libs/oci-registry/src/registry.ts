import { isDigest, RepositoryName, TagName } from '@millrace/domain/image-reference';
import { z } from 'zod';
import type { Cost, Purpose } from './budget.ts';
import { type Answer, type ConnectionOptions, placeOf } from './connection.ts';
import { type Candidate, type CandidateCredentials, candidatesOf } from './credentials.ts';
import { RegistryError, statusError } from './error.ts';
import {
  acceptedManifests,
  digestOf,
  headerOf,
  type Manifest,
  type ManifestHead,
  maxManifestBytes,
  mismatch,
  parseObject,
  readHead,
  readManifest,
} from './manifest.ts';
import { RecentMap } from './recent-map.ts';
import { type CallOptions, RegistryHost } from './registry-host.ts';

export type { Purpose } from './budget.ts';
export type { CandidateCredentials, Credentials } from './credentials.ts';
export type { ManifestHead } from './manifest.ts';
export type { CallOptions } from './registry-host.ts';

export interface RegistryOptions extends ConnectionOptions {
  credentials?: CandidateCredentials;
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
const headlessForMs = 3_600_000;
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
  /** Which of several candidates each repository took last. */
  readonly #taken = new RecentMap<Candidate>(maxRepositoriesKnown);
  /** Until when repositories whose HEAD does not tell enough are asked with GET. */
  readonly #headless = new RecentMap<number>(maxRepositoriesKnown);
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
   * How many milliseconds from now the next look at a tag of the repository may be sent, by the registry's limits and its failures;
   * 0: at once. Without a repository, by the budget of the first candidate.
   */
  nextTurnMs(purpose: Purpose, repository = ''): number {
    const candidate = this.#taken.get(this.#host.repositoryOf(repository)) ?? (this.#candidates[0] as Candidate);
    return this.#host.waitMs(candidate, purpose, purpose === 'check' ? 'manifest-head' : 'manifest');
  }

  /** What a tag or digest points at, with one HEAD where the registry says enough, otherwise with the GET that `getManifest` makes. */
  headManifest(repository: string, reference: string, call: CallOptions = {}): Promise<ManifestHead> {
    return this.#look(repository, reference, call);
  }

  /**
   * Whether a tag still points at the digest that is known, as cheaply as the registry lets one ask: it need not answer more than "the
   * same". A check is background work unless the call says otherwise.
   */
  async checkTag(repository: string, tag: string, known: string | undefined, call: CallOptions = {}): Promise<TagCheck> {
    const check = { purpose: 'check', ...call } as const;
    if (known === undefined) return { kind: 'moved', head: await this.#look(repository, tag, check) };
    const head = await this.#look(repository, tag, check, known);
    return head && head.digest !== known ? { kind: 'moved', head } : { kind: 'unchanged', digest: known };
  }

  /** The manifest itself, at most 4 MiB, its bytes checked against the reference if that is a digest, and against what the registry says. */
  async getManifest(repository: string, reference: string, call: CallOptions = {}): Promise<Manifest> {
    const subject = this.#subject('GET', repository, reference);
    return this.#readManifest(subject, reference, await this.#askForManifest('GET', repository, reference, subject, call));
  }

  /** A blob that fits in memory, such as an image's config, checked against its digest. */
  async getBlob(repository: string, digest: string, maxBytes = maxManifestBytes, call: CallOptions = {}): Promise<Buffer> {
    const subject = this.#subject('GET', repository, digest);
    if (!isDigest(digest)) throw new RegistryError({ code: 'invalid-reference', subject, reason: `"${digest}" is no digest` });
    const answer = await this.#request({ method: 'GET', repository, path: `blobs/${digest}`, subject, maxBytes, cost: 'other' }, call);
    this.#ensureOk(subject, answer);
    const actual = digestOf(answer.body, digest);
    if (actual !== digest) throw mismatch(subject, digest, actual);
    return answer.body;
  }

  /** Bytes of a blob, as its registry tells with HEAD; 0 where it does not. Asked once. */
  async blobSize(repository: string, digest: string, call: CallOptions = {}): Promise<number> {
    const kept = this.#host.blobSizes.get(digest);
    if (kept !== undefined) return kept;
    const subject = this.#subject('HEAD', repository, digest);
    const answer = await this.#request({ method: 'HEAD', repository, path: `blobs/${digest}`, subject, cost: 'other' }, call);
    this.#ensureOk(subject, answer);
    const size = Number(headerOf(answer.headers, 'content-length'));
    if (!Number.isSafeInteger(size) || size <= 0) return 0;
    this.#host.blobSizes.set(digest, size);
    return size;
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
        throw new RegistryError({ code: 'malformed', subject, reason: `the answer is no list of tags`, cause: list.error });
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
  async #request({ repository: named, subject, headers = {}, maxBytes = 0, ...rest }: ClientRequest, call: CallOptions): Promise<Answer> {
    if (!RepositoryName.safeParse(named).success) {
      throw new RegistryError({ code: 'invalid-reference', subject, reason: `"${named}" is no repository name` });
    }
    const repository = this.#host.repositoryOf(named);
    const request = { ...rest, repository, subject, headers, maxBytes };
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

  /** What the repository took last, then the others in their order; accounts that were wrong elsewhere come last. */
  *#inOrder(repository: string): Iterable<Candidate> {
    const taken = this.#taken.get(repository);
    if (taken) yield taken;
    const isRefused = (candidate: Candidate) => Number(this.#host.isRefused(candidate));
    for (const each of this.#candidates.toSorted((a, b) => isRefused(a) - isRefused(b))) if (each !== taken) yield each;
  }

  /** Undefined: the registry says that the reference still points at what is known. */
  async #look(repository: string, reference: string, call: CallOptions): Promise<ManifestHead>;
  async #look(repository: string, reference: string, call: CallOptions, known: string): Promise<ManifestHead | undefined>;
  async #look(repository: string, reference: string, call: CallOptions, known?: string): Promise<ManifestHead | undefined> {
    if ((this.#headless.get(repository) ?? 0) <= this.#now()) {
      const subject = this.#subject('HEAD', repository, reference);
      const answer = await this.#askForManifest('HEAD', repository, reference, subject, call, known);
      if (known !== undefined && answer.status === 304) return undefined;
      const head = this.#readHead(subject, reference, answer);
      if (head) return head;
      this.#headless.set(repository, this.#now() + headlessForMs);
    }
    const subject = this.#subject('GET', repository, reference);
    const answer = await this.#askForManifest('GET', repository, reference, subject, call, known);
    if (known !== undefined && answer.status === 304) return undefined;
    const { digest, mediaType, body } = this.#readManifest(subject, reference, answer);
    return { digest, mediaType, size: body.length };
  }

  #askForManifest(
    method: 'GET' | 'HEAD',
    repository: string,
    reference: string,
    subject: string,
    call: CallOptions,
    known?: string,
  ): Promise<Answer> {
    const headers = { accept: acceptedManifests, ...(known !== undefined && { 'if-none-match': `"${known}"` }) };
    const cost = method === 'HEAD' ? 'manifest-head' : 'manifest';
    return this.#request({ method, repository, path: `manifests/${reference}`, subject, headers, maxBytes: maxManifestBytes, cost }, call);
  }

  /** Undefined where GET has to tell. */
  #readHead(subject: string, reference: string, answer: Answer): ManifestHead | undefined {
    if (answer.status === 405 || answer.status === 501) return undefined;
    this.#ensureOk(subject, answer);
    return readHead(subject, reference, answer.headers);
  }

  #readManifest(subject: string, reference: string, answer: Answer): Manifest {
    this.#ensureOk(subject, answer);
    return readManifest(subject, reference, answer.body, answer.headers);
  }

  #ensureOk(subject: string, answer: Answer): void {
    if (answer.status !== 200) throw statusError(subject, answer, this.#now());
  }

  #subject(method: string, repository: string, reference: string): string {
    const subject = `${method} ${this.host}/${repository}${reference.includes(':') ? '@' : ':'}${reference}`;
    if (isTag(reference) || isDigest(reference)) return subject;
    throw new RegistryError({
      code: 'invalid-reference',
      subject,
      reason: `"${reference}" is neither a tag nor a digest`,
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
  const link = /<([^<>]*)>\s*;[^<]*\brel\s*=\s*"?next\b/i.exec(headerOf(answer.headers, 'link'))?.[1];
  return link !== undefined && URL.canParse(link, answer.url.href) ? new URL(link, answer.url).search : undefined;
}

function isRefusal(error: unknown): error is RegistryError {
  return error instanceof RegistryError && refusalCodes.has(error.code);
}
