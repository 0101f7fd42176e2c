import { Inject, Injectable } from '@nestjs/common';
import { Counter, type Registry } from 'prom-client';
import { BuildTriggered, DeployTriggered, type TagMoved, type Triggered, type TriggeredObject } from '@millrace/contracts/events';
import { BUILD_CONFIG, type BuildCause, buildCauses, buildRequest } from '@millrace/domain/build-config';
import { containersOf, defaultPullPolicy, type Fields, fieldsIn, textIn } from '@millrace/domain/pod-template';
import { distinct, type ImageChange, tagKey, type TagName } from '@millrace/domain/trigger-annotation';
import { type Bookkept, triggered, triggerProblems } from '@millrace/domain/workload';
import { METRICS } from '@millrace/platform/health';
import type { Log } from '@millrace/platform/log';
import { packed, unpacked } from '@millrace/platform/rows';
import { CONFIG, LOG } from '@millrace/platform/service';
import type { Tx } from '@millrace/platform/store';
import { currentTrace, freshTrace } from '@millrace/platform/trace';
import { Builds, type Made } from './builds.ts';
import { Changes } from './changes.ts';
import type { DispatcherConfig } from './config.ts';
import { type FanOut, FanOuts, type Part, type Told } from './fan-outs.ts';
import { FOLLOWED_TAG_COLUMNS, type FollowedTag, FollowedTags, type Moves, movesIn, resolveWith } from './followed-tags.ts';
import type { WorkloadRow } from './workload-tables.ts';
import { kindOf, recordOf, WORKLOAD_COLUMNS, workloadObject, type WorkloadRecord } from './workload-record.ts';

/** Workloads that tags concern, and all tags that they follow. */
interface Concerned {
  records: WorkloadRecord[];
  known: FollowedTag[];
}

/** The rows that moves of tags concern: the tags and the workloads, but for those of tags that more follow than one transaction is for. */
export interface Followers extends Concerned {
  locked: FollowedTag[];
  many: ReadonlySet<string>;
}

interface Announcement {
  contract: typeof BuildTriggered | typeof DeployTriggered;
  id: string;
  data: Triggered;
  traceparent: string;
}

/** What the tags of workloads do to them: images are set, builds are made, and each is announced. */
@Injectable()
export class WorkloadTriggers {
  private readonly updated: Counter<'kind'>;

  constructor(
    private readonly tags: FollowedTags,
    private readonly builds: Builds,
    private readonly changes: Changes,
    private readonly fanOuts: FanOuts,
    @Inject(CONFIG) private readonly config: Pick<DispatcherConfig, 'FAN_OUT_PART'>,
    @Inject(LOG) private readonly log: Log,
    @Inject(METRICS) metrics: Registry,
  ) {
    this.updated = new Counter({
      name: 'millrace_workload_updates_total',
      help: 'Workloads and build configs that the image of a tag was put into, by kind',
      labelNames: ['kind'],
      registers: [metrics],
    });
  }

  /** What follows the tags of these moves, locked. All of it is asked for at once: each answer that is waited for costs a push its share. */
  async find(tx: Tx, moves: readonly TagMoved[]): Promise<Followers> {
    const tags = distinct(moves);
    const [locked, concerned] = await Promise.all([this.tags.lock(tx, tags), this.concernedBy(tx, tags)]);
    return { locked, ...concerned };
  }

  /**
   * Brings what follows these tags up to date, in as few statements as for one object. `repeats`: a move of a known generation says nothing new.
   * One object that cannot be brought up to date says so itself, and holds up no other.
   */
  async follow(tx: Tx, told: readonly Told[], { locked, records, known, many }: Followers, options: { repeats: boolean }): Promise<void> {
    const moved = this.tags.take(
      tx,
      locked,
      told.map(({ move }) => move),
      options,
    );
    const last = new Map(told.map((one) => [tagKey(one.move), one]));
    this.fanOuts.put(
      tx,
      'workloads',
      moved.flatMap((row) => (many.has(tagKey(row)) ? (last.get(tagKey(row)) ?? []) : [])),
    );
    if (moved.length) await this.bringAll(tx, { records, known: [...known, ...moved] }, told);
  }

  /** Brings some of the many workloads that follow a tag up to date, in the order of their uids. */
  async bring(tx: Tx, fanOut: FanOut, size: number): Promise<Part> {
    const rows = await tx.query<WorkloadRow>(
      `SELECT ${WORKLOAD_COLUMNS} FROM workload_tag t JOIN workload w ON w.uid = t.workload_uid WHERE ${NEXT} ORDER BY t.workload_uid LIMIT $5 FOR UPDATE OF w`,
      [...nextOf(fanOut), size],
    );
    const records = rows.map(recordOf);
    // Asked when they are locked: what their tags mean by now is what they get, and who changes that later finds them done.
    if (records.length)
      await this.bringAll(
        tx,
        {
          records,
          known: await this.tags.of(
            tx,
            rows.map(({ uid }) => uid),
          ),
        },
        [fanOut],
      );
    return { brought: rows.length, last: rows.at(-1)?.uid ?? null, more: rows.length === size };
  }

  /** The workload that {@link bring} would begin with. */
  async after(tx: Tx, fanOut: FanOut): Promise<string | null> {
    const [next] = await tx.query<{ uid: string }>(
      `SELECT t.workload_uid AS uid FROM workload_tag t WHERE ${NEXT} ORDER BY t.workload_uid LIMIT 1`,
      nextOf(fanOut),
    );
    return next?.uid ?? null;
  }

  /**
   * Puts what the tags mean now into a record that a client has written; `before` is its object as it was. What that makes is in the round, to
   * be written when the row is.
   */
  written(round: Round, record: WorkloadRecord, before: Fields | undefined, moves: Moves): void {
    const kind = kindOf(record);
    const had = new Map(
      (before ? containersOf(kind, before) : []).map(({ pointer, container }) => [`${pointer}/image`, container['image']]),
    );
    const outcome = triggered(kind, record.object, resolveWith(moves));
    record.problem = outcome.kind === 'refused' ? outcome.reason : triggerProblems(kind, record.object).join('; ') || null;
    if (outcome.kind === 'changed') {
      record.object = outcome.object;
      // What a client only put back is no news.
      const news = outcome.changes.filter(({ pointer, image }) => had.get(pointer) !== image);
      this.announce(round, record, { changes: news, bookkept: before ? [] : outcome.bookkept }, moves);
    }
    if (kind === BUILD_CONFIG) this.build(round, record, moves);
  }

  /** The events and builds of a round. */
  async write(tx: Tx, round: Round): Promise<void> {
    await this.builds.write(tx, round.builds);
    const time = new Date();
    for (const { contract, data, id, traceparent } of round.announcements) tx.publishLater(contract, data, { id, time, traceparent });
    tx.afterCommit(() => {
      for (const { id, data, traceparent } of round.announcements) {
        this.updated.inc({ kind: data.object?.kind ?? '' });
        const { namespace, stream, tag, pullSpec, trigger } = data;
        this.log.info(
          { id, object: `${trigger.namespace}/${trigger.name}`, tag: tagKey({ namespace, stream, tag }), image: pullSpec, traceparent },
          'workload.triggered',
        );
      }
    });
  }

  private async bringAll(tx: Tx, { records, known }: Concerned, told: readonly Pick<Told, 'move' | 'traceparent'>[]): Promise<void> {
    if (!records.length) return;
    const moves = movesIn(known);
    const round = new Round(new Map(told.map(({ move, traceparent }) => [tagKey(move), traceparent])));
    const touched = records.filter((record) => this.bringUpToDate(round, record, moves));
    if (touched.length)
      tx.send(
        `UPDATE workload w SET object = one.object, generation = one.generation, problem = one.problem
           FROM unnest($1::uuid[], ${unpacked('$2')}, $3::bigint[], $4::text[]) AS one (uid, object, generation, problem) WHERE w.uid = one.uid`,
        [
          touched.map((record) => record.uid),
          packed(touched.map((record) => JSON.stringify(record.object))),
          touched.map((record) => record.generation),
          touched.map((record) => record.problem),
        ],
      );
    for (const record of touched)
      this.changes.record(tx, { ...record, type: 'MODIFIED', object: () => workloadObject(record), oldLabels: record.labels });
    await this.write(tx, round);
  }

  /** Whether the record has changed. */
  private bringUpToDate(round: Round, record: WorkloadRecord, moves: Moves): boolean {
    const kind = kindOf(record);
    if (kind === BUILD_CONFIG) return this.build(round, record, moves);
    const outcome = triggered(kind, record.object, resolveWith(moves));
    const problem = outcome.kind === 'refused' ? outcome.reason : triggerProblems(kind, record.object).join('; ') || null;
    if (outcome.kind !== 'changed') {
      if (problem === record.problem) return false;
      record.problem = problem;
      return true;
    }
    Object.assign(record, { object: outcome.object, problem, generation: String(Number(record.generation) + 1) });
    this.announce(round, record, outcome, moves);
    return true;
  }

  /** One build with all causes; false where there is none. */
  private build(round: Round, record: WorkloadRecord, moves: Moves): boolean {
    const causes = buildCauses(record.object, resolveWith(moves));
    const [first] = causes;
    if (!first) return false;
    const made = this.builds.make(record, buildRequest(causes), resolveWith(moves));
    if (made.kind === 'repeated') return false;
    record.object = made.config;
    round.builds.push(made);
    this.announceBuild(round, record, made, first, moves);
    return true;
  }

  private announce(
    round: Round,
    record: WorkloadRecord,
    { changes, bookkept }: { changes: readonly ImageChange[]; bookkept: readonly Bookkept[] },
    moves: Moves,
  ): void {
    const containers = new Map(containersOf(kindOf(record), record.object).map((at) => [`${at.pointer}/image`, at.container]));
    const byTag = Map.groupBy<string, { tag: TagName; image: string; pointer: string }>([...changes, ...bookkept], ({ tag }) =>
      tagKey(tag),
    );
    for (const [key, ofTag] of byTag) {
      const move = moves.get(key);
      if (!move) continue;
      const object: TriggeredObject = {
        ...nameOf(record),
        patch: ofTag.map(({ pointer, image }) => ({ op: 'add', path: pointer, value: image })),
        containers: ofTag.flatMap(({ pointer, image }) => {
          const container = containers.get(pointer);
          const imagePullPolicy = textIn(container, 'imagePullPolicy') || defaultPullPolicy(image);
          return container ? [{ name: textIn(container, 'name'), image, imagePullPolicy }] : [];
        }),
      };
      const id = `${record.uid}.${record.generation}.${key}`;
      round.announcements.push({ contract: DeployTriggered, id, data: eventOf(record, move, object), traceparent: round.traceOf(key) });
    }
  }

  private announceBuild(round: Round, record: WorkloadRecord, made: Made, first: BuildCause, moves: Moves): void {
    const key = tagKey(first.tag);
    const move = moves.get(key);
    if (!move) return;
    const status = fieldsIn(made.config, 'status');
    const object: TriggeredObject = {
      ...nameOf(record),
      patch: ['lastVersion', 'imageChangeTriggers'].map((field) => ({ op: 'add', path: `/status/${field}`, value: status[field] })),
      build: { name: made.build.name, triggeredBy: (fieldsIn(made.build.object, 'spec')['triggeredBy'] as unknown[] | undefined) ?? [] },
    };
    const data = eventOf(record, move, object);
    round.announcements.push({ contract: BuildTriggered, id: `${record.uid}.${made.build.name}`, data, traceparent: round.traceOf(key) });
  }

  /** The workloads locked, in the order of their uids; which tags are left out, all by one snapshot. */
  private async concernedBy(tx: Tx, tags: readonly TagName[]): Promise<Concerned & { many: Set<string> }> {
    const rows = await tx.query<{ many: TagName[] | null; known: FollowedTag[] | null } & (WorkloadRow | { uid: null })>(
      `WITH moved AS MATERIALIZED (
         SELECT namespace, stream, tag, (SELECT count(*) FROM (
                  SELECT FROM workload_tag t WHERE t.namespace = k.namespace AND t.stream = k.stream AND t.tag = k.tag LIMIT $4 + 1) AS part) > $4 AS many
           FROM unnest($1::text[], $2::text[], $3::text[]) AS k (namespace, stream, tag)
       ), locked AS (
         SELECT ${WORKLOAD_COLUMNS} FROM workload w WHERE w.uid IN (
           SELECT t.workload_uid FROM workload_tag t JOIN moved m ON t.namespace = m.namespace AND t.stream = m.stream AND t.tag = m.tag WHERE NOT m.many)
          ORDER BY w.uid FOR UPDATE OF w
       ), known AS (
         SELECT ${FOLLOWED_TAG_COLUMNS} FROM followed_tag f WHERE (f.namespace, f.stream, f.tag) IN (
           SELECT t.namespace, t.stream, t.tag FROM locked l JOIN workload_tag t ON t.workload_uid = l.uid)
       )
       SELECT l.*, left_out.many, CASE WHEN row_number() OVER (ORDER BY l.uid) = 1 THEN (SELECT json_agg(known) FROM known) END AS known
         FROM (SELECT json_agg(moved) AS many FROM moved WHERE moved.many) AS left_out LEFT JOIN locked l ON true ORDER BY l.uid`,
      [tags.map((tag) => tag.namespace), tags.map((tag) => tag.stream), tags.map((tag) => tag.tag), this.config.FAN_OUT_PART],
    );
    return {
      records: rows.flatMap(({ many: _, known: __, ...row }) => (row.uid === null ? [] : [recordOf(row)])),
      known: rows[0]?.known ?? [],
      many: new Set((rows[0]?.many ?? []).map(tagKey)),
    };
  }
}

/** Of a fan-out: `$1` to `$4` are {@link nextOf}. */
const NEXT = `t.namespace = $1 AND t.stream = $2 AND t.tag = $3 AND t.workload_uid > $4`;
const FIRST = '00000000-0000-0000-0000-000000000000';
const nextOf = ({ move: { namespace, stream, tag }, after }: FanOut) => [namespace, stream, tag, after ?? FIRST];

/** What a transaction has to write and tell beside the rows of the workloads. */
export class Round {
  readonly announcements: Announcement[] = [];
  readonly builds: Made[] = [];
  private readonly own = currentTrace() ?? freshTrace();

  /** @param traces of the moves, by tag */
  constructor(private readonly traces: ReadonlyMap<string, string> = new Map()) {}

  traceOf(key: string): string {
    return this.traces.get(key) ?? this.own;
  }
}

const nameOf = ({ object, namespace, name, uid, generation }: WorkloadRecord) => ({
  ...{ apiVersion: String(object['apiVersion']), kind: String(object['kind']), namespace, name, uid, generation: Number(generation) },
});

function eventOf(record: WorkloadRecord, move: TagMoved, object: TriggeredObject): Triggered {
  const { namespace, stream, tag, generation, previous, current, pullSpec, labels, cause, movedAt } = move;
  const [group = ''] = object.apiVersion.includes('/') ? object.apiVersion.split('/') : [];
  return {
    trigger: { namespace: record.namespace, name: `${record.resource}${group ? `.${group}` : ''}/${record.name}`, uid: record.uid },
    ...{ namespace, stream, tag, generation, previous, current, pullSpec, labels, cause, movedAt },
    object,
  };
}
