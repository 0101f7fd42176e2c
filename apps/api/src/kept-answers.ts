import { Inject, Injectable } from '@nestjs/common';
import type { Owner } from '@millrace/contracts/define';
import { CONFIG } from '@millrace/platform/service';
import type { ApiConfig } from './config.ts';
import { Objects } from './objects.ts';
import type { Target } from './protocol.ts';
import { marksOf, struckBy, Touches } from './touches.ts';

/** An answer as it is sent. */
export interface Answer {
  code: number;
  body: Buffer;
  warnings: readonly string[];
  contentType?: string;
  /** The body with gzip, once somebody wanted it. */
  packed?: Promise<Buffer>;
}

export type Make = (position?: bigint) => Promise<Answer>;

export interface Asked {
  target: Target;
  query: URLSearchParams;
  /** What tells two answers apart: URL and form. */
  key: string;
  /** Whether the answer says how long ago something was. */
  tellsAge: boolean;
}

interface Kept {
  key: string;
  answer: Promise<Answer>;
  marks: readonly string[];
  bytes: number;
  until: number;
}

/** However little is touched: the version of a list must be one that a watch can begin at. */
const KEEP_MS = 30_000;
/** Of what may be kept, the part that is for answers, and of that for one of them. */
const SHARE = 0.5;
const ONE_SHARE = 0.25;
/** Of key, marks and the rest, about. */
const OVERHEAD_BYTES = 500;
/** Large bodies are kept packed too. */
const PACKED_SHARE = 1.25;

/**
 * Answers to reads, kept as they were sent until something is touched that they are made of. Before an answer is given again its owner is asked what
 * was touched, so that it is as fresh as a new one; a read that takes any version, or one that is known, is not even asked for.
 */
@Injectable()
export class KeptAnswers {
  private readonly kept = new Map<string, Kept>();
  private readonly marked = new Map<string, Set<Kept>>();
  private readonly touches = new Map<Owner, Touches>();
  private bytes = 0;

  constructor(
    private readonly objects: Objects,
    @Inject(CONFIG) private readonly config: Pick<ApiConfig, 'CACHE_BYTES'>,
  ) {}

  get count(): number {
    return this.kept.size;
  }

  /** A position up to which everything is known that was touched before the call; undefined where the owner does not say. */
  async position(owner: Owner): Promise<bigint | undefined> {
    try {
      const touches = this.touchesOf(owner);
      await touches.now();
      return touches.position;
    } catch {
      return undefined;
    }
  }

  /** The answer to a read: a kept one, or the one that `make` makes as of a position of the owner's, or asks it for. Rejects as `make` does. */
  async answer(asked: Asked, make: Make): Promise<Answer> {
    const { target, query, key } = asked;
    const marks = this.marksFor(target, query);
    if (!marks) return make();
    const touches = this.touchesOf(target.resource.owner);
    const version = query.get('resourceVersion') || undefined;
    try {
      await (version === undefined ? touches.now() : touches.atLeast(version));
    } catch {
      // The owner itself says why it cannot be asked.
      return make();
    }
    if (version !== undefined && BigInt(version) > touches.position) return make();
    const known = this.kept.get(key);
    if (known && known.until > Date.now()) {
      this.kept.delete(key);
      this.kept.set(key, known);
      return known.answer;
    }
    const { position } = touches;
    return this.keep(asked, marks, () => make(position));
  }

  /** From here on what is touched strikes the answer, also while it is on its way. */
  private keep({ key, tellsAge, target }: Asked, marks: string[], make: () => Promise<Answer>): Promise<Answer> {
    this.drop(this.kept.get(key));
    const now = Date.now();
    const until = tellsAge ? (Math.floor(now / 1_000) + 1) * 1_000 : now + KEEP_MS;
    const answer = make().then(onItsOwn);
    const one: Kept = { key, answer, marks: [...marks, target.resource.owner], bytes: OVERHEAD_BYTES, until };
    this.kept.set(key, one);
    this.bytes += one.bytes;
    for (const mark of one.marks) {
      const all = this.marked.get(mark);
      if (all) all.add(one);
      else this.marked.set(mark, new Set([one]));
    }
    answer.then(
      ({ code, body, warnings }) => {
        const bytes = Math.ceil(body.length * PACKED_SHARE);
        if (code !== 200 || warnings.length || bytes > this.config.CACHE_BYTES * SHARE * ONE_SHARE) return this.drop(one);
        if (this.kept.get(key) !== one) return;
        one.bytes += bytes;
        this.bytes += bytes;
        for (const oldest of this.kept.values()) {
          if (this.bytes <= this.config.CACHE_BYTES * SHARE) break;
          this.drop(oldest);
        }
      },
      () => this.drop(one),
    );
    return answer;
  }

  private drop(one: Kept | undefined): void {
    if (!one || this.kept.get(one.key) !== one) return;
    this.kept.delete(one.key);
    this.bytes -= one.bytes;
    for (const mark of one.marks) {
      const all = this.marked.get(mark);
      all?.delete(one);
      if (all?.size === 0) this.marked.delete(mark);
    }
  }

  private strike(mark: string): void {
    for (const one of [...(this.marked.get(mark) ?? [])]) this.drop(one);
  }

  private touchesOf(owner: Owner): Touches {
    const known = this.touches.get(owner);
    if (known) return known;
    const made = new Touches(
      (since) => this.objects.touched(owner, since),
      (objects) => {
        if (!objects) this.strike(owner);
        else for (const object of objects) for (const mark of struckBy(object)) this.strike(mark);
      },
    );
    this.touches.set(owner, made);
    return made;
  }

  /** Undefined for what is not kept: a list that goes on or is of the past is made anew, as is what nobody says the parts of. */
  private marksFor(target: Target, query: URLSearchParams): string[] | undefined {
    const { resource, verb, namespace, name, subresource } = target;
    if (!resource.madeOf || (subresource !== undefined && subresource !== 'status')) return undefined;
    if (query.has('continue') || query.get('resourceVersionMatch') === 'Exact') return undefined;
    const version = query.get('resourceVersion');
    if (version && !/^\d{1,18}$/.test(version)) return undefined;
    return marksOf(resource.madeOf, { verb, namespace, name });
  }
}

/** A body that is part of a larger buffer would keep all of that. */
function onItsOwn(answer: Answer): Answer {
  const { body } = answer;
  if (body.buffer.byteLength === body.length) return answer;
  const copy = Buffer.allocUnsafeSlow(body.length);
  body.copy(copy);
  return { ...answer, body: copy };
}
