import { Inject, Injectable } from '@nestjs/common';
import { PullSpecChanged, TagMoved } from '@millrace/contracts/events';
import { CurrentTag } from '@millrace/contracts/requests';
import { StatusError, unavailable } from '@millrace/domain/status';
import { decideBaseline } from '@millrace/domain/trigger-matching';
import { AskError, Bus } from '@millrace/platform/bus';
import { breathe } from '@millrace/platform/backoff';
import type { FactBatch } from '@millrace/platform/facts';
import { CONFIG } from '@millrace/platform/service';
import { Store, type Tx } from '@millrace/platform/store';
import { currentTrace, freshTrace } from '@millrace/platform/trace';
import { Changes } from './changes.ts';
import type { DispatcherConfig } from './config.ts';
import { type FanOut, FanOuts, type Part, type Told } from './fan-outs.ts';
import { Firings, type Firing } from './firings.ts';
import { type Outcome, TriggerDecisions } from './trigger-decisions.ts';
import { type Follower, FOLLOWER_COLUMNS, positionOf, progressChange, standingOf, type TriggerRecord } from './trigger-record.ts';
import { WorkloadTriggers } from './workload-triggers.ts';

const ASK_MS = 2_000;
/** Triggers that all moves of a batch reach in its own transaction, in parts; the moves that most follow go out beside it. */
const PARTS_IN_BATCH = 5;

/** Triggers of a part that are dealt with at a stretch, before others have the thread that all moves share. */
const SLICE = 25;

/** Acts on moves of tags: which triggers fire, which hold the move back, and where a new one begins. */
@Injectable()
export class Triggers {
  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
    private readonly changes: Changes,
    private readonly firings: Firings,
    private readonly decisions: TriggerDecisions,
    private readonly workloads: WorkloadTriggers,
    private readonly fanOuts: FanOuts,
    @Inject(CONFIG) private readonly config: Pick<DispatcherConfig, 'FAN_OUT_PART'>,
  ) {}

  /** Fires what the moves fire, each once: a repeat of a fact finds its generation planned. What many follow is brought to them in parts, later. */
  async plan(batch: FactBatch<typeof TagMoved>): Promise<void> {
    const told = toldBy(TagMoved, batch);
    const moved = told.map(({ move }) => move);
    await this.store.transaction(async (tx) => {
      // First, because it is also the lock against whoever begins to follow a tag; see holdFacts.
      await batch.settle(tx);
      const [{ few, many }, workloads] = await Promise.all([this.followersOf(tx, moved), this.workloads.find(tx, moved)]);
      const round = new Round();
      for (const held of told) for (const trigger of few.get(tagOf(held.move)) ?? []) round.take(this.decisions.arrived(trigger, held));
      this.fanOuts.put(
        tx,
        'triggers',
        told.filter(({ move }) => many.has(tagOf(move))),
      );
      await this.write(tx, round);
      await this.workloads.follow(tx, told, workloads, { repeats: true });
    });
  }

  /** A pull spec that is another text concerns workloads alone: no tag has moved. */
  async pullOtherwise(batch: FactBatch<typeof PullSpecChanged>): Promise<void> {
    const told = toldBy(PullSpecChanged, batch);
    await this.store.transaction(async (tx) => {
      await batch.settle(tx);
      const found = await this.workloads.find(
        tx,
        told.map(({ move }) => move),
      );
      await this.workloads.follow(tx, told, found, { repeats: false });
    });
  }

  /** Brings a move to some of the many triggers that follow its tag, in the order of their uids; those that began to follow it later are not among them. */
  async bring(tx: Tx, { id, move, traceparent, after }: FanOut, size: number): Promise<Part> {
    const triggers = await tx.query<Follower>(
      `SELECT ${FOLLOWER_COLUMNS} FROM trigger t WHERE ${NEXT} ORDER BY t.uid LIMIT $6 FOR UPDATE OF t`,
      [...nextOf(move, after, id), size],
    );
    for (let from = 0; from < triggers.length; from += SLICE) {
      if (from) await breathe();
      const round = new Round();
      for (const trigger of triggers.slice(from, from + SLICE)) round.take(this.decisions.arrived(trigger, { move, traceparent }));
      await this.write(tx, round);
    }
    return { brought: triggers.length, last: triggers.at(-1)?.uid ?? null, more: triggers.length === size };
  }

  /** The trigger that {@link bring} would begin with. */
  async after(tx: Tx, { id, move, after }: FanOut): Promise<string | null> {
    const [next] = await tx.query<{ uid: string }>(
      `SELECT t.uid FROM trigger t WHERE ${NEXT} ORDER BY t.uid LIMIT 1`,
      nextOf(move, after, id),
    );
    return next?.uid ?? null;
  }

  /**
   * Keeps moves from being acted on until the transaction ends; to be taken before any trigger is locked. So a move is either among
   * those acted on before the question where the tag stands, and in its answer, or it is acted on after the trigger is there. Several
   * transactions may hold it at once.
   */
  async holdFacts(tx: Tx): Promise<void> {
    await tx.query('LOCK TABLE fact_position IN SHARE MODE');
  }

  /**
   * Begins to follow a tag where it stands now; its present image fires only where the trigger says so. Facts must be held, and
   * the trigger's row and webhooks written. Throws StatusError 503 when tag-store cannot be asked.
   */
  async begin(tx: Tx, trigger: TriggerRecord): Promise<void> {
    const current = await this.currentMove(trigger);
    // Moves that are still on their way to others came before: tag-store has counted them.
    await tx.run(
      `WITH forgotten AS (DELETE FROM trigger_tag WHERE trigger_uid = $1)
       UPDATE trigger SET begun_after = (SELECT coalesce(max(id), 0) FROM fan_out) WHERE uid = $1`,
      [trigger.uid],
    );
    Object.assign(trigger, {
      planned: [],
      held: null,
      control: null,
      lookAt: null,
      baseline: current ? standingOf(current) : { generation: 0, at: new Date().toISOString() },
    });
    const round = new Round();
    round.touched.add(trigger);
    if (current && decideBaseline(trigger.spec, positionOf(current)) === 'decide') {
      // What came before it is not missed: the trigger was not there.
      trigger.planned = [{ ...positionOf(current), generation: current.generation - 1 }];
      round.take(this.decisions.arrived(trigger, { move: current, traceparent: currentTrace() ?? freshTrace() }));
    } else {
      if (current) trigger.planned = [positionOf(current)];
      this.decisions.again(trigger);
    }
    await this.write(tx, round);
  }

  /** Decides about triggers again, which must be locked: it is time, or something was said about them, which is to be written too. */
  async decideAgain(tx: Tx, triggers: readonly TriggerRecord[], { said = false } = {}): Promise<Outcome[]> {
    const round = new Round();
    const outcomes: Outcome[] = [];
    for (const trigger of triggers) {
      const outcome = this.decisions.again(trigger);
      if (outcome) outcomes.push(outcome);
      if (outcome) round.take(outcome);
      // Without a change that waits it was a hold that ends.
      if (said || (!outcome && !trigger.lookAt)) round.touched.add(trigger);
    }
    // Most looks find that there is still to be waited: nobody has to be told.
    const looks = triggers.filter((trigger) => !round.touched.has(trigger));
    if (looks.length)
      tx.send(
        'UPDATE trigger t SET look_at = one.look_at FROM unnest($1::uuid[], $2::timestamptz[]) AS one (uid, look_at) WHERE t.uid = one.uid',
        [looks.map(({ uid }) => uid), looks.map(({ lookAt }) => lookAt)],
      );
    await this.write(tx, round);
    return outcomes;
  }

  /** Where the tag stands. Throws StatusError 503. */
  async currentMove(trigger: Pick<TriggerRecord, 'fromNamespace' | 'fromStream' | 'fromTag'>): Promise<TagMoved | null> {
    const question = { namespace: trigger.fromNamespace, stream: trigger.fromStream, tag: trigger.fromTag };
    const cannot = (why: string, cause: unknown) =>
      new StatusError(
        unavailable(
          `tag-store cannot be asked where ${question.namespace}/${question.stream}:${question.tag} stands, so that the trigger knows what is new: ${why}`,
        ),
        { cause },
      );
    try {
      const { move } = await this.bus.ask(CurrentTag, question, { timeoutMs: ASK_MS });
      if (move === null || move === undefined) return null;
      const parsed = TagMoved.data.safeParse(move);
      if (parsed.success) return parsed.data;
      throw cannot('its answer is not a tag.moved', parsed.error);
    } catch (error) {
      throw error instanceof AskError ? cannot(error.message, error) : error;
    }
  }

  /**
   * The triggers of these tags, by tag, locked; and the tags that more follow than are for one transaction, or that have a move before these on
   * its way. Both are decided by one snapshot.
   */
  private async followersOf(tx: Tx, moves: readonly TagMoved[]): Promise<{ few: Map<string, Follower[]>; many: Set<string> }> {
    const { FAN_OUT_PART: part } = this.config;
    const tags = [...new Map(moves.map((move) => [tagOf(move), move])).values()];
    const rows = await tx.query<{ moved: string; many: boolean } & (Follower | { uid: null })>(
      `WITH counted AS (
         SELECT namespace, stream, tag, n, (SELECT count(*) FROM (
                  SELECT FROM trigger t WHERE t.from_namespace = k.namespace AND t.from_stream = k.stream AND t.from_tag = k.tag LIMIT $4 + 1) AS part) AS triggers
           FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (namespace, stream, tag, n)
       ), moved AS MATERIALIZED (
         SELECT namespace, stream, tag, n, triggers > $4 OR sum(triggers) OVER (ORDER BY triggers, n) > $5 OR EXISTS (
                  SELECT 1 FROM fan_out o WHERE o.followers = 'triggers' AND o.namespace = c.namespace AND o.stream = c.stream AND o.tag = c.tag) AS many
           FROM counted c
       ), locked AS (
         SELECT ${FOLLOWER_COLUMNS}, m.n FROM trigger t JOIN moved m ON t.from_namespace = m.namespace AND t.from_stream = m.stream AND t.from_tag = m.tag
          WHERE NOT m.many ORDER BY t.uid FOR UPDATE OF t
       )
       SELECT m.namespace || '/' || m.stream || ':' || m.tag AS moved, m.many, l.* FROM moved m
         LEFT JOIN locked l USING (n)`,
      [tags.map((tag) => tag.namespace), tags.map((tag) => tag.stream), tags.map((tag) => tag.tag), part, part * PARTS_IN_BATCH],
    );
    const triggers = rows.filter((row): row is typeof row & Follower => row.uid !== null);
    return {
      few: Map.groupBy(triggers, (row) => row.moved),
      many: new Set(rows.filter(({ many }) => many).map(({ moved }) => moved)),
    };
  }

  private async write(tx: Tx, { firings, touched, outcomes }: Round): Promise<void> {
    if (!touched.size) return;
    await this.firings.write(tx, firings);
    for (const trigger of touched) this.changes.record(tx, progressChange(trigger));
    this.decisions.report(tx, outcomes);
  }
}

/** What a transaction has decided, to be written at once. */
class Round {
  readonly firings: Firing[] = [];
  readonly touched = new Set<Follower>();
  readonly outcomes: Outcome[] = [];

  take(outcome: Outcome): void {
    const { trigger, firing, isNews } = outcome;
    if (firing) {
      const { move } = firing;
      const others = (trigger.planned ?? []).filter((one) => one.streamUid !== move.streamUid);
      trigger.planned = [...others, positionOf(move)];
      trigger.lastTriggered = { ...standingOf(move), at: new Date().toISOString() };
      this.firings.push(firing);
    }
    if (isNews) this.touched.add(trigger);
    this.outcomes.push(outcome);
  }
}

const tagOf = ({ namespace, stream, tag }: Pick<TagMoved, 'namespace' | 'stream' | 'tag'>): string => `${namespace}/${stream}:${tag}`;

/** The moves of a batch, as they were told. */
function toldBy({ name }: typeof TagMoved | typeof PullSpecChanged, batch: FactBatch<typeof TagMoved | typeof PullSpecChanged>): Told[] {
  const told = batch.read(({ data, traceparent }) => ({ move: data, traceparent: traceparent || freshTrace() }));
  return told.map(({ origin, made }) => ({ ...made, event: name, eventId: origin.id }));
}

/** Of a fan-out: `$1` to `$5` are {@link nextOf}. */
const NEXT = `t.from_namespace = $1 AND t.from_stream = $2 AND t.from_tag = $3 AND t.uid > $4 AND t.begun_after < $5`;
const FIRST = '00000000-0000-0000-0000-000000000000';
const nextOf = ({ namespace, stream, tag }: TagMoved, after: string | null, id: string) => [namespace, stream, tag, after ?? FIRST, id];
