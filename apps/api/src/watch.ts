import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import type { Resource } from '@millrace/contracts/resources';
import { failure, gone, StatusError, type Status } from '@millrace/domain/status';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG } from '@millrace/platform/service';
import { Collections, type Item } from './collections.ts';
import type { ApiConfig } from './config.ts';
import { asTold, Follower, type Listener, type Told } from './follower.ts';
import { KeptAnswers } from './kept-answers.ts';
import type { Representation } from './media.ts';
import { Objects, type ObjectRequest } from './objects.ts';
import { positive, selectionOf, type Selection, type Target } from './protocol.ts';
import { selectorOf, type Attributes } from './selector.ts';
import type { Included } from './table.ts';
import { WatchClient } from './watch-client.ts';
import { EventLines, SelectedView } from './watch-events.ts';

const PAGE = 500;
const BOOKMARK_EVERY_MS = 60_000;
/** A last bookmark comes this long before the end, so that the client continues from there. */
const BOOKMARK_BEFORE_END_MS = 2_000;
const DEFAULT_TIMEOUT_MS = 30 * 60_000;

/** A watch that has begun: nothing can be refused any more. */
export interface Watch {
  /** Streams events until the client, the time limit or the server ends it. Never rejects. */
  stream(response: ServerResponse, headers: Record<string, string>): Promise<void>;
}

/** Serves watches: what is there first where that is wanted, then changes, which all watches of a resource get from one follower. */
@Injectable()
export class Watches implements OnModuleDestroy {
  private readonly running = new Set<OpenWatch>();
  private readonly followers = new Map<Resource, Follower>();

  constructor(
    private readonly objects: Objects,
    private readonly kept: KeptAnswers,
    private readonly collections: Collections,
    @Inject(CONFIG) private readonly config: ApiConfig,
    @Inject(LOG) private readonly log: Log,
  ) {}

  get count(): number {
    return this.running.size;
  }

  onModuleDestroy(): void {
    for (const one of this.running) one.end();
    for (const one of this.followers.values()) one.stop();
  }

  /**
   * Asks the owner for what comes first, so that what it refuses is refused with an HTTP status.
   * @throws StatusError 400 for selectors, 429 when too many watches run, and whatever the owner refuses but `Expired`, which is told as an event
   */
  async begin(request: ObjectRequest, form: Representation, included: Included): Promise<Watch> {
    if (this.running.size >= this.config.WATCH_LIMIT) throw new StatusError(tooManyWatches(this.config.WATCH_LIMIT));
    const { target, query } = request;
    const selection = watchSelection(target, query);
    const follower = this.followerOf(target.resource);
    const existing = (selects: (attributes: Attributes) => boolean) => this.existing(target.resource, selects);
    const watch = new OpenWatch({ objects: this.objects, existing, follower }, target, selection, {
      lines: new EventLines(target.resource, form, included, follower),
      bookmarks: /^(true|1)$/i.test(query.get('allowWatchBookmarks') ?? ''),
      initialEventsEnd: query.get('sendInitialEvents') === 'true',
      timeoutMs: timeoutIn(query),
    });
    this.running.add(watch);
    try {
      await watch.begin();
    } catch (error) {
      this.running.delete(watch);
      throw error;
    }
    return {
      stream: (response, headers) => watch.stream(response, headers).finally(() => this.running.delete(watch)),
    };
  }

  /** What is there now, from memory; undefined where it is not there. */
  private async existing(resource: Resource, selects: (attributes: Attributes) => boolean): Promise<Existing | undefined> {
    const position = await this.kept.position(resource.owner);
    const selected = position === undefined ? undefined : await this.collections.select(resource, selects, position);
    return selected && { version: BigInt(selected.version), objects: selected.items.map((item) => asAdded(resource, item)) };
  }

  private followerOf(resource: Resource): Follower {
    const known = this.followers.get(resource);
    if (known) return known;
    const follower = new Follower(resource, this.objects, this.config.WATCH_BACKLOG_BYTES, this.log);
    this.followers.set(resource, follower);
    return follower;
  }
}

/** What a watch begins with, as of a version. */
interface Existing {
  version: bigint;
  objects: Told[];
}

interface WatchOptions {
  lines: EventLines;
  bookmarks: boolean;
  initialEventsEnd: boolean;
  timeoutMs: number;
}

/** One watch, from its first event to its end. */
class OpenWatch implements Listener {
  private readonly selects: (attributes: Attributes) => boolean;
  private readonly view: SelectedView | undefined;
  private readonly over = Promise.withResolvers<void>();
  private client: WatchClient | undefined;
  /** The first of the follower's changes that it has not seen otherwise is above this. */
  private floor: bigint;
  /** Everything of the selection up to here has been sent. */
  private version: bigint;
  /** What comes before the follower's changes, and is not sent yet. */
  private first: Told[] = [];
  /** Where it stands among the follower's changes; undefined until it has caught up with them. */
  private place: number | undefined;
  private readonly follower: Follower;
  private catchingUp = false;
  private finished = false;
  private refusal: Status | undefined;

  /** @throws StatusError 400 for a selector that is none */
  constructor(
    private readonly from: {
      objects: Objects;
      existing: (selects: (attributes: Attributes) => boolean) => Promise<Existing | undefined>;
      follower: Follower;
    },
    private readonly target: Target,
    private readonly selection: Selection,
    private readonly options: WatchOptions,
  ) {
    this.follower = from.follower;
    this.selects = selectorOf(target.resource, { ...selection, namespace: target.namespace });
    this.view = selection.labelSelector || selection.fieldSelector ? new SelectedView() : undefined;
    this.version = this.floor = BigInt(selection.resourceVersion ?? 0);
  }

  get behind(): boolean {
    return this.client?.open === true && !this.client.ready;
  }

  /** Begins to listen, and gets what comes first. Throws what the owner refuses. */
  async begin(): Promise<void> {
    await this.follower.join(this);
    try {
      if (this.selection.resourceVersion === undefined || this.options.initialEventsEnd) await this.listExisting();
      else await this.catchUp();
    } catch (error) {
      this.follower.leave(this);
      throw error;
    }
  }

  async stream(response: ServerResponse, headers: Record<string, string>): Promise<void> {
    const timers = new Set<NodeJS.Timeout>();
    try {
      const client = await WatchClient.open(response, headers, {
        ready: () => {
          this.advance();
          this.follower.ready();
        },
        stalled: () => this.tooSlow(),
        gone: () => this.over.resolve(),
      });
      if (!client) return;
      this.client = client;
      if (this.finished) return this.ended(this.refusal);
      const { timeoutMs, bookmarks } = this.options;
      timers.add(setTimeout(() => this.end(), timeoutMs).unref());
      if (bookmarks) this.keepBookmarking(timers, Date.now() + timeoutMs);
      this.advance();
      await this.over.promise;
    } finally {
      for (const timer of timers) clearTimeout(timer);
      this.follower.leave(this);
      this.client?.close();
    }
  }

  told(): void {
    this.advance();
  }

  ended(refusal?: Status): void {
    this.finished = true;
    this.refusal = refusal;
    if (!this.client) return;
    this.client.close(refusal && this.options.lines.error(refusal));
    this.over.resolve();
  }

  end(): void {
    this.ended();
  }

  /** Sends what there is while the client takes it. */
  private advance(): void {
    const { client } = this;
    if (!client?.open) return;
    if (this.place !== undefined && !this.follower.holds(this.place)) return this.tooSlow();
    if (client.ready) client.together(() => this.sendReady(client));
    if (!client.ready || this.place !== undefined || this.catchingUp) return;
    this.catchingUp = true;
    this.catchUp()
      .finally(() => (this.catchingUp = false))
      .then(
        () => this.advance(),
        (error: unknown) => this.failed(error),
      );
  }

  private sendReady(client: WatchClient): void {
    while (client.ready && this.first.length) this.see(client, this.first.shift() as Told);
    if (!client.ready) return;
    if (this.options.initialEventsEnd) {
      this.options.initialEventsEnd = false;
      if (this.options.bookmarks) client.send(this.options.lines.bookmark(String(this.version), true));
    }
    while (client.ready && this.place !== undefined) {
      const told = this.follower.at(this.place);
      if (!told) break;
      this.place++;
      if (told.version <= this.floor) continue;
      this.version = told.version;
      this.see(client, told);
    }
  }

  private see(client: WatchClient, told: Told): void {
    const selected = this.selects(told.attributes);
    if (this.view) {
      const seen = this.view.see(told, selected);
      if (seen) client.send(this.options.lines.of(seen));
    } else if (selected) client.send(this.options.lines.of({ told, type: told.type }));
  }

  /** Takes its place among the follower's changes; where they do not go back so far, gets the next from the owner. */
  private async catchUp(): Promise<void> {
    this.place = this.follower.after(this.version);
    if (this.place !== undefined) return;
    try {
      const { changes, version } = await this.follower.changesAfter(this.version, this.target.namespace);
      this.first.push(...changes);
      this.standAt(version);
    } catch (error) {
      if (!(error instanceof StatusError) || error.status.code !== 410) throw error;
      this.ended(error.status);
    }
  }

  /** Everything that is there now, as ADDED. */
  private async listExisting(): Promise<void> {
    const { resource, namespace } = this.target;
    const { labelSelector, fieldSelector } = this.selection;
    let next: string | undefined;
    let version: string | undefined;
    this.view?.begin();
    const known = await this.from.existing(this.selects);
    if (known) {
      this.first = known.objects;
      return this.standAt(known.version);
    }
    do {
      const question = {
        verb: 'list',
        resource: resource.resource,
        namespace,
        labelSelector,
        fieldSelector,
        limit: PAGE,
        continue: next,
      } as const;
      const answer = await this.from.objects.ask(resource, question, 'list');
      // Pages of one list may be read at different moments: changes since the first are told again rather than missed.
      version ??= answer.resourceVersion;
      next = answer.continue;
      for (const object of answer.items) this.first.push(asTold(resource, { type: 'ADDED', object }));
    } while (next);
    this.standAt(BigInt(version || 0));
  }

  private standAt(version: bigint): void {
    this.version = this.floor = version;
    this.place = this.follower.after(version);
  }

  private tooSlow(): void {
    this.ended(tooSlow(this.version));
  }

  private failed(error: unknown): void {
    this.ended(error instanceof StatusError && error.status.code !== 503 ? error.status : undefined);
  }

  /** Every minute, and shortly before the end. */
  private keepBookmarking(timers: Set<NodeJS.Timeout>, end: number): void {
    const last = end - BOOKMARK_BEFORE_END_MS;
    const now = Date.now();
    const at = Math.max(now, Math.min(now + BOOKMARK_EVERY_MS, last));
    const timer = setTimeout(() => {
      timers.delete(timer);
      this.bookmark();
      if (at < last) this.keepBookmarking(timers, end);
    }, at - now).unref();
    timers.add(timer);
  }

  /** Of a client that waits for what comes: it has seen everything of its selection up to where the follower stands. */
  private bookmark(): void {
    if (!this.client?.ready || this.place === undefined || this.place < this.follower.end) return;
    if (this.follower.position > this.version) this.version = this.follower.position;
    this.client.send(this.options.lines.bookmark(String(this.version), false));
  }
}

/** Made whole when it is sent: a client that reads slowly holds no copies. */
function asAdded({ kind, group, version: apiVersion }: Resource, { attributes, version, json }: Item): Told {
  const head = JSON.stringify({ kind, apiVersion: group ? `${group}/${apiVersion}` : apiVersion });
  return {
    ...{ type: 'ADDED', version, attributes },
    get json() {
      return Buffer.concat([Buffer.from(`${head.slice(0, -1)},`), json.subarray(1)]);
    },
  };
}

/** A watch of one object by its name is a watch with a field selector. */
function watchSelection(target: Target, query: URLSearchParams): Selection {
  const version = query.get('resourceVersion') || undefined;
  if (version !== undefined && !/^\d+$/.test(version)) throw new StatusError(notAVersion(version));
  const selection = selectionOf(query);
  if (target.name === undefined) return selection;
  const byName = `metadata.name=${target.name}`;
  return { ...selection, fieldSelector: selection.fieldSelector ? `${selection.fieldSelector},${byName}` : byName };
}

const notAVersion = (version: string): Status => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Failure',
  message: `resourceVersion: Invalid value: ${JSON.stringify(version)}: strconv.ParseUint: parsing ${JSON.stringify(version)}: invalid syntax`,
  code: 500,
});

const tooManyWatches = (limit: number): Status =>
  failure(429, 'TooManyRequests', `${limit} watches are open, as many as this api serves: try again later`, { retryAfterSeconds: 10 });

const tooSlow = (version: bigint): Status =>
  gone(`the watch was too slow: its client did not read what came after resourceVersion ${version}; watch again from there, or list`);

/** As asked, else spread over half an hour to an hour, so that clients do not all come back at once. */
const timeoutIn = (query: URLSearchParams): number => {
  const seconds = positive(query, 'timeoutSeconds');
  return seconds === undefined ? DEFAULT_TIMEOUT_MS * (1 + Math.random()) : Math.min(seconds, 86_400) * 1000;
};
