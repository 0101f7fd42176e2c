import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { Ask, ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { BuildConfigs, Builds as BuildsResource, type Resource, workloads } from '@millrace/contracts/resources';
import { type BuildRequest, BUILD_CONFIG, followedByBuildConfig } from '@millrace/domain/build-config';
import { same } from '@millrace/domain/field-sets';
import { tagsNamedIn, withLocalNames } from '@millrace/domain/local-names';
import { ObjectMeta, optional } from '@millrace/domain/object-meta';
import { type Fields, isObject, listIn, metadataOf, textIn, withPullPolicies } from '@millrace/domain/pod-template';
import {
  alreadyExists,
  badRequest,
  conflict,
  invalid,
  malformed,
  methodNotAllowed,
  notFound,
  StatusError,
  success,
} from '@millrace/domain/status';
import { distinct, indexTriggers, takesAnnotation, type TagName } from '@millrace/domain/trigger-annotation';
import { askedTags, followedTags, pausedTags, respecified, TAGS_MAX, validateWorkload } from '@millrace/domain/workload';
import { randomSuffix } from '@millrace/platform/generated-names';
import { Store, type Tx } from '@millrace/platform/store';
import { z } from 'zod';
import { Builds } from './builds.ts';
import { Changes, type Recorded } from './changes.ts';
import { FollowedTags, namedTag, resolveWith, type Told } from './followed-tags.ts';
import { answerChanges, answerList, meets } from './object-writes.ts';
import { Where } from './selection.ts';
import type { WorkloadRow } from './workload-tables.ts';
import { kept, kindOf, labelsOf, recordOf, WORKLOAD_COLUMNS, workloadObject, type WorkloadRecord } from './workload-record.ts';
import { Round, WorkloadTriggers } from './workload-triggers.ts';

/** How often a write without a version is tried on what others write meanwhile. */
const TRIES = 5;

/** The tags that an object follows, as far as they are news, and what tag-store says of all that it needs. */
interface Asked {
  followed: readonly TagName[];
  told: Told;
}

/** Another has written the object since it was read. */
class Overtaken extends Error {}

/** Whether questions about a resource are answered here. */
export const isWorkload = (resource: string): boolean => workloads.some((one) => one.resource === resource);

/** Workloads, DeploymentConfigs, BuildConfigs and Builds as objects of the API: kept as they are sent, with the images of their tags. */
@Injectable()
export class Workloads {
  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
    private readonly tags: FollowedTags,
    private readonly triggers: WorkloadTriggers,
    private readonly builds: Builds,
  ) {}

  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    const of = workloads.find(({ resource }) => resource === question.resource);
    if (!of) throw new StatusError(methodNotAllowed());
    switch (question.verb) {
      case 'get':
        return { kind: 'object', code: 200, object: workloadObject(await this.read(of, question)) };
      case 'list':
        return this.list(question);
      case 'create':
        return question.subresource ? this.instantiate(of, question) : this.create(of, question);
      case 'update':
        return this.update(of, question);
      case 'delete':
        return this.delete(of, question);
      case 'deletecollection':
        return this.deleteAll(of, question);
      case 'changes':
        return answerChanges(this.changes, question);
      default:
        return question satisfies never;
    }
  }

  private async create(of: Resource, question: Ask<'create'>): Promise<ObjectAnswer> {
    const sent = parsed(of, question.object, question);
    const asked = await this.ask(sent.object, undefined, question.dryRun);
    const record: WorkloadRecord = {
      ...{ uid: randomUUID(), resource: of.resource, namespace: sent.namespace, name: sent.name, created: new Date() },
      ...{ generation: '1', resourceVersion: '', labels: labelsOf(sent.object), object: sent.object, problem: null },
    };
    const recorded = await this.store.write(question.dryRun, async (tx) => {
      const round = await this.complete(tx, record, undefined, asked);
      const inserted = await tx.run(
        `INSERT INTO workload (uid, resource, namespace, name, created, generation, resource_version, labels, object, problem)
         VALUES ($1, $2, $3, $4, $5, 1, 0, $6, $7, $8) ON CONFLICT (resource, namespace, name) DO NOTHING`,
        [
          ...[record.uid, of.resource, record.namespace, record.name, record.created, record.labels],
          ...[JSON.stringify(record.object), record.problem],
        ],
      );
      if (!inserted) throw new StatusError(alreadyExists(of, record.name));
      this.follow(tx, record, undefined);
      await this.triggers.write(tx, round);
      return this.changes.record(tx, { ...record, type: 'ADDED', object: () => workloadObject(record) });
    });
    return answerOf(record, recorded, 201);
  }

  private async update(of: Resource, question: Ask<'update'>): Promise<ObjectAnswer> {
    const sent = parsed(of, question.object, question);
    const { uid, resourceVersion } = sent.metadata;
    for (let tries = 1; ; tries++) {
      const before = await this.read(of, question);
      meets(of, before, { uid, resourceVersion });
      const object = withOwnStatus(of, before.object, sent.object, question.subresource);
      const asked = await this.ask(object, before.object, question.dryRun);
      try {
        const { record, recorded } = await this.store.write(question.dryRun, (tx) => this.replace(tx, of, before, object, asked));
        return answerOf(record, recorded, 200);
      } catch (error) {
        if (!(error instanceof Overtaken)) throw error;
        if (resourceVersion || tries === TRIES)
          throw new StatusError(conflict(of, before.name, 'it is being changed by others: try again'));
      }
    }
  }

  private async replace(
    tx: Tx,
    of: Resource,
    before: WorkloadRecord,
    object: Fields,
    asked: Asked,
  ): Promise<{ record: WorkloadRecord; recorded?: Recorded }> {
    const record: WorkloadRecord = { ...before, object, labels: labelsOf(object), generation: String(Number(before.generation) + 1) };
    const round = await this.complete(tx, record, before.object, asked);
    const [now] = await tx.query<{ resourceVersion: string; uid: string }>(
      'SELECT uid, resource_version AS "resourceVersion" FROM workload WHERE resource = $1 AND namespace = $2 AND name = $3 FOR UPDATE',
      [of.resource, before.namespace, before.name],
    );
    if (now?.uid !== before.uid || now.resourceVersion !== before.resourceVersion) throw new Overtaken();
    if (!respecified(kindOf(record), before.object, record.object)) record.generation = before.generation;
    if (record.problem === before.problem && same(timeless(before.object), timeless(record.object))) return { record: before };
    await tx.run('UPDATE workload SET object = $2, labels = $3, generation = $4, problem = $5 WHERE uid = $1', [
      ...[record.uid, JSON.stringify(record.object), record.labels, record.generation, record.problem],
    ]);
    this.follow(tx, record, before.object);
    await this.triggers.write(tx, round);
    const recorded = this.changes.record(tx, {
      ...record,
      type: 'MODIFIED',
      object: () => workloadObject(record),
      oldLabels: before.labels,
    });
    return { record, recorded };
  }

  /** What the tags of an object that is about to be written mean: those that it follows, and those that it names images by. */
  private async ask(object: Fields, before: Fields | undefined, dryRun: boolean): Promise<Asked> {
    const kind = String(object['kind']);
    const named = tagsNamedIn(kind, object, before);
    const followed = this.isNews(kind, object, before) ? followedTags(kind, object) : [];
    const asked = followed.length || !before ? askedTags(kind, object) : [];
    const tags = distinct([...followed, ...asked, ...named]);
    if (tags.length > TAGS_MAX)
      throw new StatusError(badRequest(`the object names ${tags.length} tags of image streams; it may name at most ${TAGS_MAX}`));
    return { followed, told: await this.tags.ask(dryRun ? [] : followed, tags) };
  }

  /** Whether an object's triggers, or what they are about, differ from before. */
  private isNews(kind: string, object: Fields, before: Fields | undefined): boolean {
    if (!before || !takesAnnotation(kind)) return true;
    const indexed = indexTriggers(kind, object, before);
    return indexed.kind === 'malformed' || indexed.change !== '';
  }

  /** Fills in what the server adds to an object that a client wrote: pull policies, local names, the images of its tags. */
  private async complete(tx: Tx, record: WorkloadRecord, before: Fields | undefined, { followed, told }: Asked): Promise<Round> {
    const kind = kindOf(record);
    const moves = await this.tags.hold(tx, followed, told);
    record.object = withLocalNames(kind, withPullPolicies(kind, record.object), before, (tag) => namedTag(told, tag));
    const round = new Round();
    this.triggers.written(round, record, before, moves);
    return round;
  }

  private follow(tx: Tx, record: WorkloadRecord, before: Fields | undefined): void {
    this.index(tx, 'workload_tag', followedTags, record, before);
    this.index(tx, 'paused_tag', pausedTags, record, before);
  }

  private index(tx: Tx, table: string, tagsOf: typeof followedTags, { uid, object }: WorkloadRecord, before: Fields | undefined): void {
    const tags = tagsOf(String(object['kind']), object);
    if (before ? same(tags, tagsOf(String(object['kind']), before)) : !tags.length) return;
    if (before) tx.send(`DELETE FROM ${table} WHERE workload_uid = $1`, [uid]);
    tx.send(`INSERT INTO ${table} (workload_uid, namespace, stream, tag) SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[])`, [
      ...[uid, tags.map((tag) => tag.namespace), tags.map((tag) => tag.stream), tags.map((tag) => tag.tag)],
    ]);
  }

  /** A build that somebody asks for, or a controller of the reference's kind; answered with the Build. */
  private async instantiate(of: Resource, question: Ask<'create'>): Promise<ObjectAnswer> {
    if (of !== BuildConfigs || question.subresource !== 'instantiate') throw new StatusError(methodNotAllowed());
    const request = buildRequestOf(question.object);
    const asked = await this.read(of, question);
    const told = await this.tags.ask([], followedByBuildConfig(asked.object));
    const { build, recorded } = await this.store.write(question.dryRun, async (tx) => {
      const config = await this.read(of, question, tx);
      const moves = new Map([...told.tags].flatMap(([key, said]) => (said?.move ? [[key, said.move] as const] : [])));
      const made = this.builds.make(config, request, resolveWith(moves));
      if (made.kind === 'repeated') throw new StatusError(conflict(of, config.name, made.reason));
      config.object = made.config;
      await tx.run('UPDATE workload SET object = $2 WHERE uid = $1', [config.uid, JSON.stringify(config.object)]);
      const round = new Round();
      round.builds.push(made);
      await this.triggers.write(tx, round);
      this.changes.record(tx, { ...config, type: 'MODIFIED', object: () => workloadObject(config), oldLabels: config.labels });
      const { build } = made;
      return { build, recorded: this.changes.record(tx, { ...build, type: 'ADDED', object: () => workloadObject(build) }) };
    });
    return answerOf(build, recorded, 201);
  }

  private async delete(of: Resource, question: Ask<'delete'>): Promise<ObjectAnswer> {
    const deleted = await this.store.write(question.dryRun, async (tx) => {
      const record = await this.read(of, question, tx);
      meets(of, record, question.preconditions ?? {});
      await this.remove(tx, record);
      return record;
    });
    return { kind: 'object', code: 200, object: success({ name: deleted.name, group: of.group, kind: of.resource, uid: deleted.uid }) };
  }

  private async deleteAll(of: Resource, question: Ask<'deletecollection'>): Promise<ObjectAnswer> {
    return this.store.write(question.dryRun, async (tx): Promise<ObjectAnswer> => {
      const where = selected(question);
      const rows = await tx.query<WorkloadRow>(
        `SELECT ${WORKLOAD_COLUMNS} FROM workload w ${where.sql} ORDER BY w.uid FOR UPDATE OF w`,
        where.parameters,
      );
      const records = rows.map(recordOf);
      for (const record of records) await this.remove(tx, record);
      return { kind: 'list', items: records.map((record) => workloadObject(record)), resourceVersion: await this.changes.current(tx) };
    });
  }

  private async remove(tx: Tx, record: WorkloadRecord): Promise<void> {
    await tx.run('DELETE FROM workload WHERE uid = $1', [record.uid]);
    if (kindOf(record) === BUILD_CONFIG) await this.builds.removeOf(tx, record);
    this.changes.record(tx, { ...record, type: 'DELETED', object: () => workloadObject(record), oldLabels: record.labels });
  }

  private list(question: Ask<'list'>): Promise<ObjectAnswer> {
    const { store, changes } = this;
    return answerList(
      { store, changes },
      question,
      { columns: WORKLOAD_COLUMNS, from: 'workload', as: 'w', where: selected(question) },
      (row: WorkloadRow) => workloadObject(recordOf(row)),
    );
  }

  /** Throws StatusError 404. In a transaction the row is locked. */
  private async read(of: Resource, { namespace = '', name = '' }: { namespace?: string; name?: string }, tx?: Tx): Promise<WorkloadRecord> {
    const [row] = await (tx ?? this.store).query<WorkloadRow>(
      `SELECT ${WORKLOAD_COLUMNS} FROM workload w WHERE w.resource = $1 AND w.namespace = $2 AND w.name = $3 ${tx ? 'FOR UPDATE OF w' : ''}`,
      [of.resource, namespace, name],
    );
    if (!row) throw new StatusError(notFound(of, name));
    return recordOf(row);
  }
}

const Named = z.object({ metadata: optional(ObjectMeta) });

/** Throws StatusError 400 and 422. */
function parsed(of: Resource, sent: unknown, { namespace = '', name: named }: { namespace?: string; name?: string }) {
  const object = isObject(sent) ? sent : {};
  const { data, error } = Named.safeParse(object);
  if (!data) throw new StatusError(malformed(of.kind, error));
  const { metadata = {} } = data;
  if (metadata.namespace && metadata.namespace !== namespace)
    throw new StatusError(badRequest('the namespace of the provided object does not match the namespace sent on the request'));
  const name = metadata.name || (metadata.generateName ? `${metadata.generateName}${randomSuffix()}` : '');
  if (named !== undefined && name !== named)
    throw new StatusError(badRequest(`the name of the object (${name}) does not match the name on the URL (${named})`));
  const errors = validateWorkload({ metadata: { ...metadata, name, namespace } });
  if (errors.length) throw new StatusError(invalid(of.group, of.kind, name, errors));
  const apiVersion = of.group ? `${of.group}/${of.version}` : of.version;
  return { metadata, name, namespace, object: { ...kept(object, { namespace, name }), apiVersion, kind: of.kind } };
}

/** An update leaves the status as it is, and one of the status everything else; a Build's is its builder's. */
function withOwnStatus(of: Resource, before: Fields, sent: Fields, subresource: string | undefined): Fields {
  if (of === BuildsResource) return sent;
  if (subresource === 'status') return { ...before, status: sent['status'] };
  const { status: _, ...rest } = sent;
  return 'status' in before ? { ...rest, status: before['status'] } : rest;
}

/** An apply that changes nothing changes nothing: also not when somebody applied. */
function timeless(object: Fields): Fields {
  const metadata = metadataOf(object);
  if (!Array.isArray(metadata['managedFields'])) return object;
  const managedFields = listIn(metadata, 'managedFields').map((entry) => ({ ...(entry as Fields), time: '' }));
  return { ...object, metadata: { ...metadata, managedFields } };
}

function buildRequestOf(sent: unknown): BuildRequest {
  const { from, triggeredByImage, triggeredBy } = isObject(sent) ? sent : {};
  return {
    ...(isObject(from) && textIn(from, 'name') ? { from } : {}),
    ...(isObject(triggeredByImage) ? { triggeredByImage } : {}),
    ...(Array.isArray(triggeredBy) ? { triggeredBy } : {}),
  };
}

/** With what is wrong with its triggers, which a client is to see at once. */
const answerOf = (record: WorkloadRecord, recorded: Recorded | undefined, code: number) => ({
  kind: 'object' as const,
  code,
  object: workloadObject(record, recorded?.resourceVersion || record.resourceVersion),
  ...(record.problem ? { warnings: [`its triggers, or some of them, do nothing: ${record.problem}`] } : {}),
});

function selected(question: Ask<'list'> | Ask<'deletecollection'>): Where {
  const where = new Where();
  where.add(`w.resource = ${where.value(question.resource)}`);
  where.select(question, { namespace: 'w.namespace', name: 'w.name' }, (key) => `(w.labels ->> ${where.value(key)})`);
  return where;
}
