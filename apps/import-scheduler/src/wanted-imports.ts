import { Injectable } from '@nestjs/common';
import type { EventData } from '@millrace/contracts/define';
import type { ImportWanted } from '@millrace/contracts/imports';
import type { FactBatch } from '@millrace/platform/facts';
import { valuesList } from '@millrace/platform/rows';
import { Store, type Tx } from '@millrace/platform/store';

type Wanted = EventData<typeof ImportWanted>;

const TAGS_PER_STATEMENT = 1_000;

/** What streams want from registries, as they last said, and when the next attempt at each tag is due. */
@Injectable()
export class WantedImports {
  constructor(private readonly store: Store) {}

  /** Keeps what streams want now. Of several facts about one stream only the newest counts. */
  async keep(batch: FactBatch<typeof ImportWanted>): Promise<void> {
    const facts = batch.read(({ data }) => data).map(({ made }) => made);
    const newest = new Map(facts.map((wanted) => [wanted.streamUid, wanted]));
    await this.store.transaction(async (tx) => {
      await batch.settle(tx);
      for (const wanted of newest.values()) await this.put(tx, wanted);
    });
  }

  private async put(tx: Tx, wanted: Wanted): Promise<void> {
    const { streamUid, namespace, stream, resourceVersion, repository, tags } = wanted;
    // A stream of the same name that was made anew takes the place of the old one.
    await tx.run('DELETE FROM wanted_stream WHERE (namespace = $1 AND name = $2 AND stream_uid <> $3) OR (stream_uid = $3 AND $4)', [
      namespace,
      stream,
      streamUid,
      wanted.gone,
    ]);
    if (wanted.gone) return;
    const known = await tx.run(
      `INSERT INTO wanted_stream AS s (stream_uid, namespace, name, resource_version, repository, repository_insecure, repository_next_attempt_at)
       VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $7 THEN now() END)
       ON CONFLICT (stream_uid) DO UPDATE SET resource_version = excluded.resource_version, repository = excluded.repository,
         repository_insecure = excluded.repository_insecure, repository_next_attempt_at = excluded.repository_next_attempt_at,
         repository_attempts = CASE WHEN s.repository IS NOT DISTINCT FROM excluded.repository THEN s.repository_attempts ELSE 0 END
       WHERE s.resource_version <= excluded.resource_version`,
      [streamUid, namespace, stream, resourceVersion, repository?.from ?? null, repository?.insecure ?? false, repository?.due ?? false],
    );
    if (!known) return;
    await tx.run('DELETE FROM wanted_tag WHERE stream_uid = $1 AND tag <> ALL ($2::text[])', [streamUid, tags.map(({ tag }) => tag)]);
    for (let from = 0; from < tags.length; from += TAGS_PER_STATEMENT)
      await this.putTags(tx, streamUid, tags.slice(from, from + TAGS_PER_STATEMENT));
  }

  /**
   * What is due is due now. What failed and is not due by the spec any more, because its failure is recorded there, keeps the time of its next
   * attempt as long as its source is the same.
   */
  private async putTags(tx: Tx, streamUid: string, tags: Wanted['tags']): Promise<void> {
    const casts = ['uuid', 'text', 'text', 'bigint', 'boolean', 'boolean', 'text', 'text', 'text', 'text', 'boolean', 'boolean'];
    const values = valuesList(
      tags.map((one) => [
        streamUid,
        one.tag,
        one.from,
        one.generation,
        one.insecure,
        one.scheduled,
        one.importMode,
        one.referencePolicy,
        one.preferArch ?? null,
        one.preferOs ?? null,
        one.due,
        one.failing,
      ]),
      casts,
    );
    await tx.run(
      `MERGE INTO wanted_tag AS t
       USING (VALUES ${values.sql}) AS v (stream_uid, tag, source, generation, insecure, scheduled, import_mode, reference_policy, prefer_arch, prefer_os, due, failing)
          ON t.stream_uid = v.stream_uid AND t.tag = v.tag
       WHEN NOT MATCHED THEN
         INSERT (stream_uid, tag, source, generation, insecure, scheduled, import_mode, reference_policy, prefer_arch, prefer_os, next_attempt_at)
         VALUES (v.stream_uid, v.tag, v.source, v.generation, v.insecure, v.scheduled, v.import_mode, v.reference_policy, v.prefer_arch, v.prefer_os,
                 CASE WHEN v.due THEN now() END)
       WHEN MATCHED THEN UPDATE SET
         source = v.source, generation = v.generation, insecure = v.insecure, scheduled = v.scheduled, import_mode = v.import_mode,
         reference_policy = v.reference_policy, prefer_arch = v.prefer_arch, prefer_os = v.prefer_os,
         attempts = CASE WHEN v.due AND t.generation IS DISTINCT FROM v.generation THEN 0 ELSE t.attempts END,
         next_attempt_at = CASE
           WHEN v.due AND t.generation IS NOT DISTINCT FROM v.generation THEN coalesce(t.next_attempt_at, now())
           WHEN v.due THEN now()
           WHEN v.failing AND t.source = v.source AND t.import_mode = v.import_mode THEN t.next_attempt_at
         END`,
      values.parameters,
    );
  }
}
