import { Inject, Injectable } from '@nestjs/common';
import { Counter, type Registry } from 'prom-client';
import { BuildTriggered, DeployTriggered, type TagMoved, type Triggered, type TriggeredObject } from '@millrace/contracts/events';
import { BUILD_CONFIG, type BuildCause, buildCauses, buildRequest } from '@millrace/domain/build-config';
import { containersOf, defaultPullPolicy, type Fields, fieldsIn, textIn } from '@millrace/domain/pod-template';
import { distinct, type ImageChange, tagKey, type TagName } from '@millrace/domain/trigger-annotation';
import { type Bookkept, triggered, triggerProblems } from '@millrace/domain/workload';
import { METRICS } from '@millrace/platform/health';
import type { Log } from '@millrace/platform/log';
import { LOG } from '@millrace/platform/service';
import type { Tx } from '@millrace/platform/store';
import { currentTrace, freshTrace } from '@millrace/platform/trace';
import { Builds, type Made } from './builds.ts';
import { Changes } from './changes.ts';
import { FollowedTags, type Moves, movesIn, resolveWith } from './followed-tags.ts';
import type { FollowedTagRow, WorkloadRow } from './tables.ts';
import { kindOf, recordOf, WORKLOAD_COLUMNS, workloadObject, type WorkloadRecord } from './workload-record.ts';

/** The rows that moves of tags concern: the tags, the workloads, and all tags that the workloads follow. */
export interface Followers {
  locked: FollowedTagRow[];
  records: WorkloadRecord[];
  known: FollowedTagRow[];
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
    const [locked, records, known] = await Promise.all([this.tags.lock(tx, tags), this.followersOf(tx, tags), this.tags.besides(tx, tags)]);
    return { locked, records, known };
  }

  /**
   * Brings what follows these tags up to date, in as few statements as for one object. `repeats`: a move of a known generation says nothing new.
   * One object that cannot be brought up to date says so itself, and holds up no other.
   */
  async follow(
    tx: Tx,
    told: readonly { move: TagMoved; traceparent: string }[],
    { locked, records, known }: Followers,
    options: { repeats: boolean },
  ): Promise<void> {
    const moved = this.tags.take(
      tx,
      locked,
      told.map(({ move }) => move),
      options,
    );
    if (!moved.length || !records.length) return;
    const moves = movesIn([...known, ...moved]);
    const round = new Round(new Map(told.map(({ move, traceparent }) => [tagKey(move), traceparent])));
    const touched = records.filter((record) => this.bringUpToDate(round, record, moves));
    if (touched.length)
      tx.send(
        `UPDATE workload w SET object = one.object, generation = one.generation, problem = one.problem
           FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[]) AS one (uid, object, generation, problem) WHERE w.uid = one.uid`,
        [
          touched.map((record) => record.uid),
          touched.map((record) => JSON.stringify(record.object)),
          touched.map((record) => record.generation),
          touched.map((record) => record.problem),
        ],
      );
    for (const record of touched)
      this.changes.record(tx, { ...record, type: 'MODIFIED', object: workloadObject(record), oldLabels: record.labels });
    await this.write(tx, round);
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

  /** Locked, in the order of their uids. */
  private async followersOf(tx: Tx, tags: readonly TagName[]): Promise<WorkloadRecord[]> {
    const rows = await tx.query<WorkloadRow>(
      `SELECT ${WORKLOAD_COLUMNS} FROM workload w WHERE w.uid IN (
         SELECT t.workload_uid FROM workload_tag t JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (namespace, stream, tag)
             ON t.namespace = k.namespace AND t.stream = k.stream AND t.tag = k.tag)
        ORDER BY w.uid FOR UPDATE OF w`,
      [tags.map((tag) => tag.namespace), tags.map((tag) => tag.stream), tags.map((tag) => tag.tag)],
    );
    return rows.map(recordOf);
  }
}

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
