import { Injectable } from '@nestjs/common';
import { aliveSql } from '@millrace/platform/lease';
import { valuesList } from '@millrace/platform/rows';
import { Store, type Tx } from '@millrace/platform/store';

/** A stream for which this instance imports, and nobody else. */
export interface ClaimedStream {
  stream_uid: string;
  namespace: string;
  name: string;
  /** Set where the repository is to be imported as a whole. */
  repository: string | null;
  repository_insecure: boolean;
  repository_attempts: number;
  claimed_by: number;
}

/** A tag of it that is due. */
export interface DueTag {
  tag: string;
  source: string;
  generation: string | null;
  insecure: boolean;
  scheduled: boolean;
  import_mode: string;
  reference_policy: string;
  prefer_arch: string | null;
  prefer_os: string | null;
  attempts: number;
}

/** What becomes of a tag, or a repository, after an attempt; without `inMs` it is not tried again. */
export interface Attempted {
  failed: boolean;
  inMs?: number;
}

/** How many due tags are looked through for streams that may be claimed. */
const LOOKED_THROUGH = 500;

/** The streams for which something is due, in Postgres, shared by all instances: a stream is imported for by one of them at a time. */
@Injectable()
export class ImportQueue {
  constructor(private readonly store: Store) {}

  /** Up to `limit` streams for which something is due, the longest waiting first. */
  claim(limit: number, instance: number): Promise<ClaimedStream[]> {
    return this.store.query<ClaimedStream>(
      `WITH due AS (
         (SELECT t.stream_uid, t.next_attempt_at AS at FROM wanted_tag t JOIN wanted_stream s USING (stream_uid)
           WHERE t.next_attempt_at <= now() AND s.claimed_by IS NULL ORDER BY t.next_attempt_at LIMIT ${LOOKED_THROUGH})
         UNION ALL
         (SELECT stream_uid, repository_next_attempt_at FROM wanted_stream
           WHERE repository_next_attempt_at <= now() AND claimed_by IS NULL ORDER BY repository_next_attempt_at LIMIT ${LOOKED_THROUGH})
       )
       UPDATE wanted_stream SET claimed_by = $2 WHERE stream_uid IN (
         SELECT s.stream_uid FROM wanted_stream s JOIN (SELECT stream_uid, min(at) AS at FROM due GROUP BY stream_uid) d USING (stream_uid)
          WHERE s.claimed_by IS NULL ORDER BY d.at LIMIT $1 FOR UPDATE OF s SKIP LOCKED)
       RETURNING stream_uid, namespace, name, repository_insecure, repository_attempts, claimed_by,
                 CASE WHEN repository_next_attempt_at <= now() THEN repository END AS repository`,
      [limit, instance],
    );
  }

  /** Tags of a stream that are due, at most `limit`. */
  dueTags({ stream_uid }: ClaimedStream, limit: number): Promise<DueTag[]> {
    return this.store.query<DueTag>(
      `SELECT tag, source, generation, insecure, scheduled, import_mode, reference_policy, prefer_arch, prefer_os, attempts
         FROM wanted_tag WHERE stream_uid = $1 AND next_attempt_at <= now() ORDER BY next_attempt_at, tag LIMIT $2`,
      [stream_uid, limit],
    );
  }

  /**
   * Gives the stream back, and notes what came of its attempts. A tag whose spec has changed meanwhile stays as due as that made it. False, and
   * nothing is noted, where the claim is no longer ours.
   */
  async finish(
    tx: Tx,
    claimed: ClaimedStream,
    { tags, repository }: { tags: readonly (Attempted & { due: DueTag })[]; repository: Attempted | undefined },
  ): Promise<boolean> {
    const after = repository?.inMs;
    const released = await tx.run(
      `UPDATE wanted_stream SET claimed_by = NULL,
         repository_attempts = CASE WHEN $3 THEN repository_attempts + 1 ELSE repository_attempts END,
         repository_next_attempt_at = CASE WHEN $4 AND repository IS NOT DISTINCT FROM $5 THEN now() + $6 * interval '1 millisecond' ELSE repository_next_attempt_at END
        WHERE stream_uid = $1 AND claimed_by = $2`,
      [claimed.stream_uid, claimed.claimed_by, repository?.failed ?? false, repository !== undefined, claimed.repository, after ?? null],
    );
    if (!released) return false;
    if (!tags.length) return true;
    const values = valuesList(
      tags.map(({ due, failed, inMs }) => [due.tag, due.source, due.generation, failed, inMs ?? null]),
      ['text', 'text', 'bigint', 'boolean', 'bigint'],
      1,
    );
    await tx.run(
      `UPDATE wanted_tag t SET attempts = CASE WHEN v.failed THEN t.attempts + 1 ELSE 0 END, next_attempt_at = now() + v.in_ms * interval '1 millisecond'
         FROM (VALUES ${values.sql}) AS v (tag, source, generation, failed, in_ms)
        WHERE t.stream_uid = $1 AND t.tag = v.tag AND t.source = v.source AND t.generation IS NOT DISTINCT FROM v.generation`,
      [claimed.stream_uid, ...values.parameters],
    );
    return true;
  }

  /** Gives a stream back as it was. */
  async release({ stream_uid, claimed_by }: ClaimedStream): Promise<void> {
    await this.store.query('UPDATE wanted_stream SET claimed_by = NULL WHERE stream_uid = $1 AND claimed_by = $2', [
      stream_uid,
      claimed_by,
    ]);
  }

  /** Frees what a killed instance had claimed. */
  async sweep(): Promise<number> {
    const rows = await this.store.query(
      `UPDATE wanted_stream SET claimed_by = NULL WHERE claimed_by IS NOT NULL AND NOT ${aliveSql('claimed_by')} RETURNING stream_uid`,
    );
    return rows.length;
  }
}
