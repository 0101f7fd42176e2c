import { Injectable } from '@nestjs/common';
import { type PullSpecChanged, TagMoved } from '@millrace/contracts/events';
import { CurrentTag } from '@millrace/contracts/requests';
import { StatusError, unavailable } from '@millrace/domain/status';
import { decideBaseline } from '@millrace/domain/trigger-matching';
import { AskError, Bus } from '@millrace/platform/bus';
import type { FactBatch } from '@millrace/platform/facts';
import { Store, type Tx } from '@millrace/platform/store';
import { currentTrace, freshTrace } from '@millrace/platform/trace';
import { Changes } from './changes.ts';
import { Firings, type Firing } from './firings.ts';
import { type Outcome, TriggerDecisions } from './trigger-decisions.ts';
import { positionOf, standingOf, TRIGGER_COLUMNS, triggerChange, type TriggerRecord } from './trigger-record.ts';
import { WorkloadTriggers } from './workload-triggers.ts';

const ASK_MS = 2_000;

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
  ) {}

  /** Fires what the moves fire, each once: a repeat of a fact finds its generation planned. */
  async plan(batch: FactBatch<typeof TagMoved>): Promise<void> {
    const moves = batch.read(({ data, traceparent }) => ({ move: data, traceparent: traceparent || freshTrace() })).map(({ made }) => made);
    await this.store.transaction(async (tx) => {
      // First, because it is also the lock against whoever begins to follow a tag; see holdFacts.
      await batch.settle(tx);
      const moved = moves.map(({ move }) => move);
      const [followers, workloads] = await Promise.all([followersOf(tx, moved), this.workloads.find(tx, moved)]);
      const round = new Round();
      for (const held of moves)
        for (const trigger of followers.get(tagOf(held.move)) ?? []) round.take(this.decisions.arrived(trigger, held));
      await this.write(tx, round);
      await this.workloads.follow(tx, moves, workloads, { repeats: true });
    });
  }

  /** A pull spec that is another text concerns workloads alone: no tag has moved. */
  async pullOtherwise(batch: FactBatch<typeof PullSpecChanged>): Promise<void> {
    const told = batch.read(({ data, traceparent }) => ({ move: data, traceparent: traceparent || freshTrace() })).map(({ made }) => made);
    await this.store.transaction(async (tx) => {
      await batch.settle(tx);
      const found = await this.workloads.find(
        tx,
        told.map(({ move }) => move),
      );
      await this.workloads.follow(tx, told, found, { repeats: false });
    });
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
    await tx.run('DELETE FROM trigger_tag WHERE trigger_uid = $1', [trigger.uid]);
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

  private async write(tx: Tx, { firings, touched, outcomes }: Round): Promise<void> {
    if (!touched.size) return;
    const triggers = [...touched];
    const planned = triggers.flatMap((trigger) => (trigger.planned ?? []).map((one) => ({ ...one, uid: trigger.uid })));
    tx.send(
      `WITH planned AS (
         INSERT INTO trigger_tag (trigger_uid, stream_uid, generation, moved_at)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[])
         ON CONFLICT (trigger_uid, stream_uid) DO UPDATE SET generation = excluded.generation, moved_at = excluded.moved_at
      )
      UPDATE trigger t SET last_triggered = one.last_triggered::jsonb, held = one.held, baseline = one.baseline::jsonb, control = one.control::jsonb,
             look_at = one.look_at
        FROM unnest($5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::timestamptz[])
             AS one (uid, last_triggered, held, baseline, control, look_at) WHERE t.uid = one.uid`,
      [
        planned.map((one) => one.uid),
        planned.map((one) => one.streamUid),
        planned.map((one) => one.generation),
        planned.map((one) => one.movedAt),
        triggers.map((trigger) => trigger.uid),
        triggers.map((trigger) => trigger.lastTriggered && JSON.stringify(trigger.lastTriggered)),
        triggers.map((trigger) => trigger.held),
        triggers.map((trigger) => trigger.baseline && JSON.stringify(trigger.baseline)),
        triggers.map((trigger) => trigger.control && JSON.stringify(trigger.control)),
        triggers.map((trigger) => trigger.lookAt),
      ],
    );
    await this.firings.write(tx, firings);
    for (const trigger of triggers) this.changes.record(tx, triggerChange(trigger, 'MODIFIED'));
    this.decisions.report(tx, outcomes);
  }
}

/** What a transaction has decided, to be written at once. */
class Round {
  readonly firings: Firing[] = [];
  readonly touched = new Set<TriggerRecord>();
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

/** The triggers of these tags, by tag, locked. */
async function followersOf(tx: Tx, moves: readonly TagMoved[]): Promise<Map<string, TriggerRecord[]>> {
  const tags = [...new Map(moves.map((move) => [tagOf(move), move])).values()];
  const rows = await tx.query<TriggerRecord>(
    `SELECT ${TRIGGER_COLUMNS} FROM trigger t
       JOIN unnest($1::text[], $2::text[], $3::text[]) AS moved (namespace, stream, tag)
         ON t.from_namespace = moved.namespace AND t.from_stream = moved.stream AND t.from_tag = moved.tag
      ORDER BY t.uid FOR UPDATE OF t`,
    [tags.map((tag) => tag.namespace), tags.map((tag) => tag.stream), tags.map((tag) => tag.tag)],
  );
  return Map.groupBy(rows, (row) => tagOf({ namespace: row.fromNamespace, stream: row.fromStream, tag: row.fromTag }));
}
