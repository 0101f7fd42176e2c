import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { ObjectQuestion } from '@millrace/contracts/requests';
import { StatusError, type Status } from '@millrace/domain/status';
import { pause } from '@millrace/platform/backoff';
import { CONFIG } from '@millrace/platform/service';
import type { ApiConfig } from './config.ts';
import type { Representation } from './media.ts';
import { Objects, type ObjectRequest } from './objects.ts';
import { positive, selectionOf, type Selection, type Target } from './protocol.ts';
import type { Printed } from './columns.ts';
import { metadataOf, tableOf, type Included } from './table.ts';

/** The longest a change is waited for in one question. An owner that is killed meanwhile is noticed this late, and a little. */
const POLL_MS = 8_000;
const POLL_GRACE_MS = 4_000;
const BATCH = 500;
const PAGE = 500;
const BOOKMARK_EVERY_MS = 60_000;
/** A last bookmark comes this long before the end, so that the client continues from there. */
const BOOKMARK_BEFORE_END_MS = 2_000;
/** How long a client may leave what it was sent unread. */
const STALLED_MS = 30_000;
/** How long an owner may be away before the watch ends and the client starts over. */
const OWNER_AWAY_MS = 30_000;
const DEFAULT_TIMEOUT_MS = 30 * 60_000;

/** A watch that has begun: nothing can be refused any more. */
export interface Watch {
  /** Streams events until the client, the time limit or the server ends it. Never rejects. */
  stream(response: ServerResponse, headers: Record<string, string>): Promise<void>;
}

/** Serves watches: what is there first where that is wanted, then changes as their owner tells them. */
@Injectable()
export class Watches implements OnModuleDestroy {
  private readonly running = new Set<AbortController>();

  constructor(
    private readonly objects: Objects,
    @Inject(CONFIG) private readonly config: ApiConfig,
  ) {}

  get count(): number {
    return this.running.size;
  }

  onModuleDestroy(): void {
    for (const one of this.running) one.abort();
  }

  /**
   * Asks the owner for what comes first, so that what it refuses is refused with an HTTP status.
   * @throws StatusError 429 when too many watches run, and whatever the owner refuses but `Expired`, which is told as an event
   */
  async begin(request: ObjectRequest, form: Representation, included: Included): Promise<Watch> {
    if (this.running.size >= this.config.WATCH_LIMIT) throw new StatusError(tooManyWatches(this.config.WATCH_LIMIT));
    const { target, query } = request;
    const selection = watchSelection(target, query);
    const feed = new Feed(this.objects, target, selection);
    const fresh = selection.resourceVersion === undefined;
    const initialEventsEnd = query.get('sendInitialEvents') === 'true';
    const first = fresh || initialEventsEnd ? await feed.existing() : await feed.changes(0).catch(expiredEvent);
    return {
      stream: async (response, headers) => {
        const abort = new AbortController();
        this.running.add(abort);
        response.once('close', () => abort.abort());
        try {
          const events = new EventStream(response, target, form, included, abort);
          response.writeHead(200, headers);
          response.flushHeaders();
          await run(feed, events, first, { bookmarks: bookmarksIn(query), initialEventsEnd, timeoutMs: timeoutIn(query) }, abort.signal);
        } finally {
          this.running.delete(abort);
          response.end();
        }
      },
    };
  }
}

interface Event {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'ERROR';
  object: unknown;
}

async function run(
  feed: Feed,
  events: EventStream,
  first: readonly Event[],
  { bookmarks, initialEventsEnd, timeoutMs }: { bookmarks: boolean; initialEventsEnd: boolean; timeoutMs: number },
  signal: AbortSignal,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  let lastBookmark = Date.now();
  let goodbye = bookmarks;
  if (!(await events.send(first))) return;
  if (initialEventsEnd && bookmarks) await events.bookmark(feed.version, true);
  while (!signal.aborted && Date.now() < end) {
    const nextBookmark = !bookmarks
      ? end
      : goodbye
        ? Math.min(lastBookmark + BOOKMARK_EVERY_MS, Math.max(end - BOOKMARK_BEFORE_END_MS, lastBookmark))
        : end;
    const waitMs = Math.min(POLL_MS, Math.max(0, Math.min(nextBookmark, end) - Date.now()));
    const changes = await feed.changesPatiently(waitMs, signal);
    if (changes === undefined || signal.aborted) return;
    if (!(await events.send(changes))) return;
    if (bookmarks && goodbye && Date.now() >= nextBookmark) {
      goodbye = Date.now() < end - BOOKMARK_BEFORE_END_MS;
      lastBookmark = Date.now();
      await events.bookmark(feed.version, false);
    }
  }
}

/** The changes of one selection of objects, in order; keeps how far it has come. */
class Feed {
  version: string;
  private readonly view?: SelectedView;

  constructor(
    private readonly objects: Objects,
    private readonly target: Target,
    private readonly selection: Selection,
  ) {
    this.version = selection.resourceVersion ?? '0';
    if (selection.labelSelector || selection.fieldSelector) this.view = new SelectedView();
  }

  /** Everything that is there now, as ADDED. */
  async existing(): Promise<Event[]> {
    const { resource, namespace } = this.target;
    const { labelSelector, fieldSelector } = this.selection;
    const events: Event[] = [];
    let next: string | undefined;
    let version: string | undefined;
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
      const answer = await this.objects.ask(resource, question, 'list');
      // Pages of one list may be read at different moments: changes since the first are told again rather than missed.
      version ??= answer.resourceVersion;
      next = answer.continue;
      for (const object of answer.items) events.push({ type: 'ADDED', object });
    } while (next);
    this.version = version || '0';
    return this.view?.begin(events) ?? events;
  }

  async changes(waitMs: number): Promise<Event[]> {
    const { resource, namespace } = this.target;
    const { labelSelector, fieldSelector } = this.selection;
    const question: ObjectQuestion = {
      verb: 'changes',
      resource: resource.resource,
      namespace,
      labelSelector,
      fieldSelector,
      since: this.version,
      waitMs: Math.round(waitMs),
      limit: BATCH,
    };
    const answer = await this.objects.ask(resource, question, 'changes', waitMs + POLL_GRACE_MS);
    this.version = answer.resourceVersion;
    return this.view?.seen(answer.changes) ?? answer.changes;
  }

  /** The same across a restart of the owner; what it refuses becomes an ERROR event. Undefined when it stays away or the watch ends. */
  async changesPatiently(waitMs: number, signal: AbortSignal): Promise<Event[] | undefined> {
    const giveUp = Date.now() + OWNER_AWAY_MS;
    for (let tries = 0; ; tries++) {
      try {
        return await orAborted(this.changes(waitMs), signal);
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        if (error.status.code !== 503) return [{ type: 'ERROR', object: error.status }];
        if (signal.aborted || Date.now() > giveUp) return undefined;
        await pause(Math.min(100 * 2 ** tries, 2_000), signal);
      }
    }
  }
}

/**
 * What a watch with a selector has shown. An object that comes to be selected is ADDED to who has not seen it; one that is not any more is
 * DELETED with the labels under which it was seen; one that was never shown is not told. A watch that goes on from a version knows of an
 * object only once it has told something of it.
 */
class SelectedView {
  private readonly shown = new Map<string, { labels: unknown } | 'not'>();
  private complete = false;

  begin(events: readonly Event[]): Event[] {
    this.complete = true;
    return this.seen(events);
  }

  seen(events: readonly Event[]): Event[] {
    return events.flatMap((event): Event[] => {
      const object = event.object as { metadata: { uid?: string; labels?: unknown } };
      const { uid = '', labels } = object.metadata;
      const before = this.shown.get(uid) ?? (this.complete ? 'not' : undefined);
      if (event.type !== 'DELETED') {
        this.shown.set(uid, { labels });
        return [event.type === 'MODIFIED' && before === 'not' ? { ...event, type: 'ADDED' } : event];
      }
      if (this.complete) this.shown.delete(uid);
      else this.shown.set(uid, 'not');
      if (before === 'not') return [];
      return before ? [{ ...event, object: { ...object, metadata: { ...object.metadata, labels: before.labels } } }] : [event];
    });
  }
}

/** Undefined as soon as the signal aborts: a client that has gone is not waited for as long as its last question. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const done = () => resolve(undefined);
    if (signal.aborted) done();
    signal.addEventListener('abort', done, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', done));
  });
}

/** Newline-separated JSON to a client that must keep up. */
class EventStream {
  private columnsSent = false;
  private readonly apiVersion: string;

  constructor(
    private readonly response: ServerResponse,
    private readonly target: Target,
    private readonly form: Representation,
    private readonly included: Included,
    private readonly abort: AbortController,
  ) {
    const { group, version } = target.resource;
    this.apiVersion = group ? `${group}/${version}` : version;
  }

  /** False when the watch is over: an ERROR was sent, or the client has gone or does not read. */
  async send(events: readonly Event[]): Promise<boolean> {
    for (const { type, object } of events) {
      if (this.abort.signal.aborted) return false;
      if (!(await this.write(type, type === 'ERROR' ? object : this.formed(object as Printed)))) return false;
      if (type === 'ERROR') return false;
    }
    return true;
  }

  async bookmark(resourceVersion: string, initialEventsEnd: boolean): Promise<boolean> {
    const annotations = initialEventsEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
    const { kind, schema } = this.target.resource;
    const metadata = { resourceVersion, ...annotations };
    // An object that has nothing but its version, with what its shape fills in: clients read it as one of the kind.
    const blank = schema?.safeParse({ metadata: {} }).data as object | undefined;
    const bookmark = { kind, apiVersion: this.apiVersion, ...blank, metadata };
    return this.write('BOOKMARK', this.form.as === 'table' ? this.table([], metadata) : bookmark);
  }

  private formed(object: Printed): unknown {
    const whole = object['kind'] ? object : { kind: this.target.resource.kind, apiVersion: this.apiVersion, ...object };
    switch (this.form.as) {
      case 'table': {
        const { resourceVersion } = (whole['metadata'] ?? {}) as { resourceVersion?: string };
        return this.table([whole], { resourceVersion });
      }
      case 'metadata':
        return metadataOf(whole);
      default:
        return whole;
    }
  }

  private table(objects: readonly Printed[], metadata: object): unknown {
    const version = this.form.as === 'table' ? this.form.version : 'v1';
    const columns = !this.columnsSent;
    this.columnsSent = true;
    return tableOf(this.target.resource, objects, { metadata, now: new Date(), version, included: this.included, columns });
  }

  private async write(type: string, object: unknown): Promise<boolean> {
    if (this.response.write(`${JSON.stringify({ type, object })}\n`)) return true;
    try {
      await once(this.response, 'drain', { signal: AbortSignal.any([this.abort.signal, AbortSignal.timeout(STALLED_MS)]) });
      return true;
    } catch {
      this.response.destroy();
      return false;
    }
  }
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

const tooManyWatches = (limit: number): Status => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Failure',
  message: `${limit} watches are open, as many as this api serves: try again later`,
  reason: 'TooManyRequests',
  details: { retryAfterSeconds: 10 },
  code: 429,
});

function expiredEvent(error: unknown): Event[] {
  if (error instanceof StatusError && error.status.code === 410) return [{ type: 'ERROR', object: error.status }];
  throw error;
}

const bookmarksIn = (query: URLSearchParams): boolean => /^(true|1)$/i.test(query.get('allowWatchBookmarks') ?? '');

/** As asked, else spread over half an hour to an hour, so that clients do not all come back at once. */
const timeoutIn = (query: URLSearchParams): number => {
  const seconds = positive(query, 'timeoutSeconds');
  return seconds === undefined ? DEFAULT_TIMEOUT_MS * (1 + Math.random()) : Math.min(seconds, 86_400) * 1000;
};
