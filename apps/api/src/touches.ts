import type { Touched } from '@millrace/contracts/requests';
import type { Parts } from '@millrace/contracts/resources';

type Touch = NonNullable<Touched['objects']>[number];

/** Who a read is about, as far as its line says. */
export interface Addressed {
  verb: string;
  namespace?: string;
  name?: string;
}

/*
 * Marks tie an answer to what it is made of: an answer holds its marks, a touched object strikes some.
 * `streams/ns/name` is one object, `streams/ns/` are those of a namespace, `streams//` all, and `streams known` those that were there before.
 */

/** What an answer is made of; undefined where its name does not say. */
export function marksOf({ of, separator, image }: Parts, { verb, namespace = '', name }: Addressed): string[] | undefined {
  if (verb === 'list') return [`${of}/${namespace}/`];
  if (name === undefined) return undefined;
  const end = separator === undefined ? name.length : name.indexOf(separator);
  if (end <= 0) return undefined;
  const marks = [`${of}/${namespace}/${name.slice(0, end)}`];
  if (image === 'known') marks.push('images known');
  if (image === 'any') marks.push('images//');
  return marks;
}

/** What a touched object strikes. */
export function struckBy({ resource, namespace, name, type }: Touch): string[] {
  const marks = [`${resource}/${namespace}/${name}`, `${resource}/${namespace}/`];
  if (namespace) marks.push(`${resource}//`);
  if (type !== 'ADDED') marks.push(`${resource} known`);
  return marks;
}

/** How old a view may be that is asked for at any version. */
const ANY_MS = 1_000;

/** Follows what is touched of one owner's objects. Everybody who asks at the same time shares one question. */
export class Touches {
  private since: string | undefined;
  private heardAt = Number.NEGATIVE_INFINITY;
  private asking: Promise<unknown> = Promise.resolve();
  private next: Promise<void> | undefined;

  constructor(
    private readonly ask: (since?: string) => Promise<Touched>,
    /** Gets what was touched, before anybody who waits goes on; undefined: anything may have been. */
    private readonly touched: (objects: readonly Touch[] | undefined) => void,
  ) {}

  /** How far we know what was touched. */
  get position(): bigint {
    return BigInt(this.since ?? 0);
  }

  /** Resolves when everything is known that was touched before the call. Rejects when the owner does not answer. */
  now(): Promise<void> {
    // What is under way may have been answered already: only a question that begins after the call will do.
    return (this.next ??= this.asking.then(() => this.begin()));
  }

  /** The same, unless it was known a moment ago, or further than the version that is asked for. */
  atLeast(version: string): Promise<void> | undefined {
    const enough =
      version === '0' ? performance.now() - this.heardAt < ANY_MS : this.since !== undefined && BigInt(version) <= this.position;
    return enough ? undefined : this.now();
  }

  private begin(): Promise<void> {
    this.next = undefined;
    const asked = this.look();
    this.asking = asked.catch(() => undefined);
    return asked;
  }

  private async look(): Promise<void> {
    const startedAt = performance.now();
    const { position, objects } = await this.ask(this.since);
    // An owner that is behind what it said has been put back to an earlier state.
    const known = BigInt(position) < this.position ? undefined : objects;
    this.since = position;
    this.heardAt = startedAt;
    if (known === undefined || known.length) this.touched(known);
  }
}
