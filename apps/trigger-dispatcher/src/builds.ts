import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Builds as BuildsResource } from '@millrace/contracts/resources';
import { buildName, type BuildRequest, BUILDS_KEPT, type Instantiated, instantiate } from '@millrace/domain/build-config';
import { type Fields, fieldsIn, metadataOf } from '@millrace/domain/pod-template';
import type { Resolve } from '@millrace/domain/trigger-annotation';
import type { Tx } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import type { WorkloadRow } from './workload-tables.ts';
import { wholeSeconds } from './trigger-record.ts';
import { labelsOf, recordOf, WORKLOAD_COLUMNS, workloadObject, type WorkloadRecord } from './workload-record.ts';

/** A build that is to be stored, and its config with what it has built written down. */
export interface Made {
  kind: 'build';
  config: Fields;
  build: WorkloadRecord;
  /** Its forerunner that is no longer kept. */
  old: { namespace: string; name: string };
}

/** Builds of build configs: who builds hears of them on NATS, or watches them. */
@Injectable()
export class Builds {
  constructor(private readonly changes: Changes) {}

  make(config: WorkloadRecord, request: BuildRequest, resolve: Resolve): Made | Extract<Instantiated, { kind: 'repeated' }> {
    const created = new Date();
    const withUid = { ...config.object, metadata: { ...metadataOf(config.object), uid: config.uid } };
    const made = instantiate(withUid, request, resolve, wholeSeconds(created));
    if (made.kind === 'repeated') return made;
    const { namespace } = config;
    const object: Fields = { apiVersion: 'build.openshift.io/v1', kind: 'Build', ...made.build };
    const version = Number(fieldsIn(made.config, 'status')['lastVersion']);
    return {
      kind: 'build',
      // The uid is in a column of its own.
      config: { ...made.config, metadata: metadataOf(config.object) },
      build: {
        ...{ uid: randomUUID(), resource: BuildsResource.resource, namespace, name: made.name, created },
        ...{ generation: '1', resourceVersion: '', labels: labelsOf(object), object, problem: null },
      },
      old: { namespace, name: buildName(config.name, version - BUILDS_KEPT) },
    };
  }

  /** Stores builds, and forgets those that are older than the last ten of their configs. */
  async write(tx: Tx, made: readonly Made[]): Promise<void> {
    if (!made.length) return;
    const builds = made.map(({ build }) => build);
    const inserted = await tx.query<{ uid: string }>(
      `INSERT INTO workload (uid, resource, namespace, name, created, generation, resource_version, labels, object)
       SELECT uid, '${BuildsResource.resource}', namespace, name, created, 1, 0, labels::jsonb, object
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[]) AS k (uid, namespace, name, created, labels, object)
       ON CONFLICT (resource, namespace, name) DO NOTHING RETURNING uid`,
      [
        builds.map((build) => build.uid),
        builds.map((build) => build.namespace),
        builds.map((build) => build.name),
        builds.map((build) => build.created),
        builds.map((build) => JSON.stringify(build.labels)),
        builds.map((build) => JSON.stringify(build.object)),
      ],
    );
    const uids = new Set(inserted.map(({ uid }) => uid));
    for (const build of builds)
      if (uids.has(build.uid)) this.changes.record(tx, { ...build, type: 'ADDED', object: () => workloadObject(build) });
    await this.remove(tx, '(w.namespace, w.name) IN (SELECT * FROM unnest($1::text[], $2::text[]))', [
      made.map(({ old }) => old.namespace),
      made.map(({ old }) => old.name),
    ]);
  }

  /** With a build config go its builds. */
  async removeOf(tx: Tx, config: Pick<WorkloadRecord, 'namespace' | 'name'>): Promise<void> {
    await this.remove(tx, `w.namespace = $1 AND w.labels ->> 'openshift.io/build-config.name' = $2`, [config.namespace, config.name]);
  }

  private async remove(tx: Tx, condition: string, parameters: unknown[]): Promise<void> {
    const rows = await tx.query<WorkloadRow>(
      `DELETE FROM workload w WHERE w.resource = '${BuildsResource.resource}' AND ${condition} RETURNING ${WORKLOAD_COLUMNS}`,
      parameters,
    );
    for (const build of rows.map(recordOf))
      this.changes.record(tx, { ...build, type: 'DELETED', object: () => workloadObject(build), oldLabels: build.labels });
  }
}
