import { Inject, Injectable } from '@nestjs/common';
import type { Resource } from '@millrace/contracts/resources';
import { StatusError } from '@millrace/domain/status';
import { CONFIG } from '@millrace/platform/service';
import type { ApiConfig } from './config.ts';
import { Objects, type ObjectRequest, type Outcome } from './objects.ts';
import { selectionOf } from './protocol.ts';
import { attributesOf, selectorOf, type Attributes } from './selector.ts';

const PAGE = 500;
/** Of what may be kept, the part that is for collections. */
const SHARE = 0.5;
/** Of attributes and the rest of an object, about. */
const OVERHEAD_BYTES = 400;
/** How long a collection that nobody lists is kept, and one that does not fit is not tried again. */
const IDLE_MS = 5 * 60_000;
const COMMA = Buffer.from(',');
const END = Buffer.from(']}\n');

/** Lists of everything in a namespace, or everywhere, from memory: after a write only what was changed is asked for. */
@Injectable()
export class Collections {
  private readonly collections = new Map<Resource, Collection>();
  private bytes = 0;

  constructor(
    private readonly objects: Objects,
    @Inject(CONFIG) private readonly config: Pick<ApiConfig, 'CACHE_BYTES'>,
  ) {}

  /**
   * The list, as of `position` or later; undefined where it is for the owner to make: it has pages or is of the past, it is not of what is followed, or
   * that does not fit.
   * @throws StatusError 400 for a selector that is none, and what the owner refuses
   */
  async list({ target, query, asIs }: ObjectRequest, position: bigint): Promise<Outcome | undefined> {
    const { resource, verb, namespace, kind, subresource } = target;
    if (verb !== 'list' || subresource !== undefined) return undefined;
    const selection = selectionOf(query);
    if (selection.limit || selection.continue || selection.exact || selection.historyLimit) return undefined;
    const selected = await this.select(resource, selectorOf(resource, { ...selection, namespace }), position);
    if (!selected) return undefined;
    const { group, version } = resource;
    const { items, version: resourceVersion } = selected;
    if (!asIs) {
      const parsed = items.map(({ json }) => JSON.parse(json.toString()) as Record<string, unknown>);
      return { code: 200, warnings: [], content: { kind: 'list', items: parsed, metadata: { resourceVersion } } };
    }
    const head = JSON.stringify({
      kind: `${kind}List`,
      apiVersion: group ? `${group}/${version}` : version,
      metadata: { resourceVersion },
    });
    const parts: Buffer[] = [Buffer.from(`${head.slice(0, -1)},"items":[`)];
    for (const [index, { json }] of items.entries()) {
      if (index) parts.push(COMMA);
      parts.push(json);
    }
    return { code: 200, warnings: [], content: { kind: 'json', json: Buffer.concat([...parts, END]) } };
  }

  /** The objects that are selected, in order, as of `version`; undefined where the resource is not followed, or does not fit. */
  async select(
    resource: Resource,
    selects: (attributes: Attributes) => boolean,
    position: bigint,
  ): Promise<{ items: Item[]; version: string } | undefined> {
    if (resource.madeOf?.of !== resource.resource) return undefined;
    const collection = this.collectionOf(resource);
    if (!(await collection.reach(position))) return undefined;
    return { items: collection.select(selects), version: collection.version };
  }

  private collectionOf(resource: Resource): Collection {
    const known = this.collections.get(resource);
    if (known) return known;
    const takes = (bytes: number) => (this.bytes += bytes) <= this.config.CACHE_BYTES * SHARE;
    const made = new Collection(resource, this.objects, takes);
    this.collections.set(resource, made);
    return made;
  }
}

export interface Item {
  attributes: Attributes;
  version: bigint;
  /** As it stands in a list: without kind and apiVersion. */
  json: Buffer;
}

/** All objects of one resource, brought up to date by what their owner tells has changed. */
class Collection {
  private items = new Map<string, Item>();
  /** By namespace and name, in the order of their bytes; undefined when something has come or gone. */
  private ordered: Item[] | undefined;
  private bytes = 0;
  private at: bigint | undefined;
  private refusedUntil = 0;
  private work: Promise<unknown> = Promise.resolve();
  private idle: NodeJS.Timeout | undefined;

  constructor(
    private readonly resource: Resource,
    private readonly objects: Pick<Objects, 'ask'>,
    /** Counts bytes in and out; false when there is no room for them. */
    private readonly takes: (bytes: number) => boolean,
  ) {}

  get version(): string {
    return String(this.at ?? 0);
  }

  /** Brings the collection to a position at least. False when it does not fit into memory. */
  reach(position: bigint): Promise<boolean> {
    clearTimeout(this.idle);
    this.idle = setTimeout(() => this.clear(), IDLE_MS).unref();
    if (this.at !== undefined && this.at >= position) return Promise.resolve(true);
    const reached = this.work.then(() => this.move(position));
    this.work = reached.catch(() => undefined);
    return reached;
  }

  select(selects: (attributes: Attributes) => boolean): Item[] {
    this.ordered ??= [...this.items.values()].sort((a, b) => inOrder(a.attributes, b.attributes));
    return this.ordered.filter(({ attributes }) => selects(attributes));
  }

  private async move(position: bigint): Promise<boolean> {
    if (Date.now() < this.refusedUntil) return false;
    try {
      if (this.at !== undefined && (await this.follow(position))) return true;
      this.clear();
      if ((await this.load()) && (await this.follow(position))) return true;
    } catch (error) {
      this.clear();
      throw error;
    }
    this.clear();
    this.refusedUntil = Date.now() + IDLE_MS;
    return false;
  }

  /** False when it does not fit, or the owner has forgotten what came after. */
  private async follow(position: bigint): Promise<boolean> {
    while (this.at === undefined || this.at < position) {
      const since = this.version;
      try {
        const question = { verb: 'changes', resource: this.resource.resource, since, waitMs: 0, limit: PAGE } as const;
        const { changes, resourceVersion } = await this.objects.ask(this.resource, question, 'changes');
        for (const { type, object } of changes) if (!this.take(object as object, type === 'DELETED')) return false;
        if (BigInt(resourceVersion) <= BigInt(since)) return false;
        this.at = BigInt(resourceVersion);
      } catch (error) {
        if (error instanceof StatusError && error.status.code === 410) return false;
        throw error;
      }
    }
    return true;
  }

  private async load(): Promise<boolean> {
    const { resource } = this.resource;
    let next: string | undefined;
    do {
      const page = await this.objects.ask(this.resource, { verb: 'list', resource, limit: PAGE, continue: next }, 'list');
      // Later pages are of the same moment, but for what has changed since: that is told again.
      this.at ??= BigInt(page.resourceVersion || 0);
      next = page.continue;
      for (const object of page.items) if (!this.take(object as object, false)) return false;
    } while (next);
    return true;
  }

  private take(object: object, deleted: boolean): boolean {
    const { resourceVersion = '0' } = (object as { metadata: { resourceVersion?: string } }).metadata;
    const version = BigInt(resourceVersion);
    const attributes = attributesOf(this.resource, object);
    const key = `${attributes.namespace}/${attributes.name}`;
    const known = this.items.get(key);
    if (known && known.version > version) return true;
    if (deleted) {
      if (!known) return true;
      this.items.delete(key);
      this.ordered = undefined;
      return this.count(-known.json.length - OVERHEAD_BYTES);
    }
    const text = JSON.stringify({ ...object, kind: undefined, apiVersion: undefined });
    const json = Buffer.allocUnsafeSlow(Buffer.byteLength(text));
    json.write(text);
    if (known) {
      const before = known.json.length;
      // It keeps its place in the order.
      Object.assign(known, { attributes, version, json });
      return this.count(json.length - before);
    }
    this.items.set(key, { attributes, version, json });
    this.ordered = undefined;
    return this.count(json.length + OVERHEAD_BYTES);
  }

  private count(bytes: number): boolean {
    this.bytes += bytes;
    return this.takes(bytes);
  }

  private clear(): void {
    this.takes(-this.bytes);
    this.bytes = 0;
    this.items = new Map();
    this.ordered = undefined;
    this.at = undefined;
  }
}

function inOrder(a: Attributes, b: Attributes): number {
  if (a.namespace === b.namespace) return a.name < b.name ? -1 : 1;
  return a.namespace < b.namespace ? -1 : 1;
}
