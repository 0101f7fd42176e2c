import { PullSpecChanged, TagMoved } from '@millrace/contracts/events';
import { CurrentTag, ExplainTag, KnownTags } from '@millrace/contracts/requests';
import { aPeer } from './service.ts';

type Peer = Awaited<ReturnType<typeof aPeer>>;

/** Stands where tag-store does: moves tags, tells it on NATS, and answers where they are. */
export class TagMoves {
  private readonly last = new Map<string, TagMoved>();
  /** How it answers; replaced to let it fail. */
  answer: (question: { namespace: string; stream: string; tag: string }) => TagMoved | null = ({ namespace, stream, tag }) =>
    this.last.get(`${namespace}/${stream}:${tag}`) ?? null;

  /** Streams that may be named by name alone: `demo/web`. */
  readonly local = new Set<string>();

  constructor(private readonly peer: Peer) {}

  serve(): void {
    this.peer.answer(CurrentTag, async (question) => ({ move: this.answer(question) }));
    // Its tags hold nothing back.
    this.peer.answer(ExplainTag, async ({ image, ...tag }) => {
      const current = this.answer(tag)?.current ?? null;
      const becomes =
        image === current?.image
          ? ({ outcome: 'unchanged', reason: 'Current', message: 'it points there already' } as const)
          : ({ outcome: 'moves', reason: 'Allowed', message: 'nothing holds it back' } as const);
      return { ...becomes, current, pending: 0, followers: [] };
    });
    this.peer.answer(KnownTags, async ({ tags }) => ({
      at: new Date().toISOString(),
      tags: tags.map((tag) => {
        const move = this.answer(tag);
        const known = move ?? [...this.last.values()].find(({ namespace, stream }) => namespace === tag.namespace && stream === tag.stream);
        if (!known) return null;
        const repository = `registry.example.com/${tag.namespace}/${tag.stream}`;
        return {
          streamUid: known.streamUid,
          local: this.local.has(`${tag.namespace}/${tag.stream}`),
          repository,
          moves: move?.generation ?? 0,
          move,
        };
      }),
    }));
  }

  /** The next move of a tag, without telling it: `demo/web:latest`. */
  make(tag: string, over: Partial<TagMoved> = {}): TagMoved {
    const [, namespace = '', stream = '', name = ''] = /^(.*)\/(.*):(.*)$/.exec(tag) ?? [];
    const before = this.last.get(tag);
    const generation = over.generation ?? (before?.generation ?? 0) + 1;
    const image = `sha256:${String(generation).padStart(64, '0')}`;
    const movedAt = new Date().toISOString();
    const move: TagMoved = {
      ...{ namespace, stream, tag: name, streamUid: before?.streamUid ?? `uid-of-${stream}`, generation, streamGeneration: 1 },
      previous: before?.current ?? null,
      current: { image, dockerImageReference: `registry.example.com/${namespace}/${stream}@${image}`, created: movedAt },
      pullSpec: `registry.example.com/${namespace}/${stream}@${image}`,
      labels: {},
      cause: { kind: 'push', id: `push-${generation}` },
      movedAt,
      ...over,
    };
    this.last.set(tag, move);
    return move;
  }

  async tell(move: TagMoved, traceparent?: string): Promise<void> {
    await this.peer.tell(TagMoved, move, {
      id: `${move.streamUid}.${move.tag}.${move.generation}`,
      ...(traceparent ? { traceparent } : {}),
    });
  }

  /** Its image stays and is pulled by another text. */
  async pullBy(tag: string, pullSpec: string): Promise<TagMoved> {
    const before = this.last.get(tag);
    if (!before) throw new Error(`${tag} has never moved`);
    const move = { ...before, pullSpec };
    this.last.set(tag, move);
    await this.peer.tell(PullSpecChanged, move, { id: `${move.streamUid}.${move.tag}.${move.generation}.${pullSpec}` });
    return move;
  }

  async push(tag: string, over: Partial<TagMoved> = {}): Promise<TagMoved> {
    const move = this.make(tag, over);
    await this.tell(move);
    return move;
  }
}
