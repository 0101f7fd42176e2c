import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { WantedTag } from '@millrace/contracts/imports';
import { mostSpecific, parseReference, registryHost, repositoryName, withClientDefaults } from '@millrace/domain/image-reference';
import { intervalOf, isScheduled, nextPlace } from '@millrace/domain/import-schedule';
import type { Candidate } from '@millrace/domain/keyring';
import { Bell } from '@millrace/platform/backoff';
import { Clock } from '@millrace/platform/clock';
import type { Log } from '@millrace/platform/log';
import { PullCredentials } from '@millrace/platform/pull-credentials';
import { CONFIG, LOG } from '@millrace/platform/service';
import { Store, type Tx } from '@millrace/platform/store';
import type { ImportSchedulerConfig } from './config.ts';

/** What a pull spec names, as it is asked for; `reference` is a tag or a digest. */
export interface Place {
  host: string;
  repository: string;
  reference: string;
}

/** Throws InvalidReference. */
export function placeOf(pullSpec: string): Place {
  const reference = mostSpecific(withClientDefaults(parseReference(pullSpec)));
  return { host: registryHost(reference), repository: repositoryName(reference), reference: reference.id || reference.tag };
}

/** Whoever follows a reference, and however: its checks have the same place in the period. */
export const checkKey = ({ host, repository, reference }: Place): string => `${host}/${repository}@${reference}`;

/** Tells credentials apart without holding them; empty for none. */
export function fingerprintOf(candidates: readonly Candidate[]): string {
  if (!candidates.length) return '';
  const text = JSON.stringify(candidates.map(({ credential }) => credential));
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}

interface Unseated {
  streamUid: string;
  tag: string;
  namespace: string;
  source: string;
  insecure: boolean;
  importMode: string;
  intervalMs: number;
  woken: boolean;
}

const SEATS_AT_ONCE = 1_000;
const REFUSED_AT_ONCE = 5_000;

/** Which tags follow what: each scheduled tag has its seat at the one check that serves it. */
@Injectable()
export class Followers {
  /** Rung when tags wait for a seat, or a check is due sooner than it was. */
  readonly bell = new Bell();

  constructor(
    private readonly store: Store,
    private readonly credentials: PullCredentials,
    private readonly clock: Clock,
    @Inject(CONFIG) private readonly config: Pick<ImportSchedulerConfig, 'IMPORT_INTERVAL_SECONDS' | 'IMPORT_INTERVAL_MINIMUM_SECONDS'>,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /**
   * Takes what a stream wants now, in the transaction that keeps it. What is new or asked for anew waits for a seat; rows of tags that are
   * wanted no more went with what was kept of them.
   */
  async follow(tx: Tx, stream: { streamUid: string; namespace: string }, tags: readonly WantedTag[]): Promise<void> {
    const rows = await tx.query<{ tag: string; interval_ms: string; problem: string | null }>(
      `SELECT tag, interval_ms, problem FROM scheduled_tag WHERE stream_uid = $1`,
      [stream.streamUid],
    );
    const known = new Map(rows.map((row) => [row.tag, row]));
    const limits = {
      defaultMs: this.config.IMPORT_INTERVAL_SECONDS * 1_000,
      minimumMs: this.config.IMPORT_INTERVAL_MINIMUM_SECONDS * 1_000,
    };
    const wanted = tags
      .filter(({ from, scheduled, due, failing }) =>
        isScheduled({ from: { kind: 'DockerImage', name: from }, importPolicy: { scheduled } }, !due && !failing),
      )
      .map((tag) => ({ ...tag, ...intervalOf({ tag: tag.interval }, limits) }));
    const names = new Set(wanted.map(({ tag }) => tag));
    const left = rows.map(({ tag }) => tag).filter((tag) => !names.has(tag));
    if (left.length) await tx.run('DELETE FROM scheduled_tag WHERE stream_uid = $1 AND tag = ANY ($2::text[])', [stream.streamUid, left]);
    const changed = wanted.filter(({ tag, due, intervalMs, problem = null }) => {
      const before = known.get(tag);
      return due || !before || Number(before.interval_ms) !== intervalMs || before.problem !== problem;
    });
    if (!changed.length) return;
    await tx.run(
      `INSERT INTO scheduled_tag (stream_uid, tag, namespace, interval_ms, problem)
       SELECT $1, v.tag, $2, v.interval_ms, v.problem FROM unnest($3::text[], $4::bigint[], $5::text[]) AS v (tag, interval_ms, problem)
       ON CONFLICT (stream_uid, tag) DO UPDATE SET import_id = NULL, interval_ms = excluded.interval_ms, problem = excluded.problem`,
      [
        stream.streamUid,
        stream.namespace,
        changed.map(({ tag }) => tag),
        changed.map(({ intervalMs }) => intervalMs),
        changed.map(({ problem }) => problem ?? null),
      ],
    );
    tx.afterCommit(() => this.bell.ring());
  }

  /** Gives seats to tags that wait for one, as far as their credentials can be told; resolves to how many got one. */
  async seat(): Promise<number> {
    const waiting = await this.store.query<Unseated>(
      `SELECT t.stream_uid AS "streamUid", t.tag, t.namespace, t.woken, t.interval_ms::float8 AS "intervalMs", w.source, w.insecure, w.import_mode AS "importMode"
         FROM scheduled_tag t JOIN wanted_tag w USING (stream_uid, tag) WHERE t.import_id IS NULL ORDER BY t.namespace LIMIT ${SEATS_AT_ONCE}`,
    );
    if (!waiting.length) return 0;
    const seats = (await Promise.all(waiting.map((one) => this.seatOf(one)))).filter((seat) => seat !== undefined);
    if (!seats.length) return 0;
    const now = this.clock.now().getTime();
    const column = <T>(of: (seat: (typeof seats)[number]) => T) => seats.map(of);
    // "IS NULL" would have an index of all that wait read through for each of them, where the statistics are old.
    return this.store.transaction((tx) =>
      tx.run(
        `WITH given AS (
           SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::text[], $9::text[], $10::float8[], $12::boolean[])
             AS g (stream_uid, tag, source, host, repository, reference, insecure, import_mode, credentials, turn, woken)),
         made AS (
           INSERT INTO scheduled_import AS s (host, repository, reference, insecure, import_mode, credentials, woken, next_check_at, created)
           SELECT host, repository, reference, insecure, import_mode, credentials, bool_or(woken), to_timestamp(min(turn) / 1000), to_timestamp($11::float8 / 1000)
             FROM given GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
           ON CONFLICT ON CONSTRAINT scheduled_import_key DO UPDATE SET
             touched = s.touched + 1, digest = NULL, woken = s.woken OR excluded.woken OR s.failures > 0,
             next_check_at = CASE WHEN s.failures > 0 THEN excluded.created ELSE least(s.next_check_at, excluded.next_check_at) END
           RETURNING s.*)
         UPDATE scheduled_tag t SET import_id = made.id, woken = false FROM given g JOIN made USING (host, repository, reference, insecure, import_mode, credentials), wanted_tag w
          WHERE t.stream_uid = g.stream_uid AND t.tag = g.tag AND coalesce(t.import_id, 0) = 0
            AND w.stream_uid = g.stream_uid AND w.tag = g.tag AND w.source = g.source AND w.insecure = g.insecure AND w.import_mode = g.import_mode`,
        [
          column(({ streamUid }) => streamUid),
          column(({ tag }) => tag),
          column(({ source }) => source),
          column(({ host }) => host),
          column(({ repository }) => repository),
          column(({ reference }) => reference),
          column(({ insecure }) => insecure),
          column(({ importMode }) => importMode),
          column(({ credentials }) => credentials),
          column((seat) => (seat.woken ? now : nextPlace(checkKey(seat), seat.intervalMs, now))),
          now,
          column(({ woken }) => woken),
        ],
      ),
    );
  }

  /** Tags of a namespace stand up from a check whose credentials are no longer theirs; `woken`: what serves them next is looked at at once. */
  async unseat(namespace: string, importId: string, woken: boolean): Promise<void> {
    await this.store.query('UPDATE scheduled_tag SET import_id = NULL, woken = $3 WHERE namespace = $1 AND import_id = $2', [
      ...[namespace, importId, woken],
    ]);
    this.bell.ring();
  }

  /** Looks whether a secret has come that those may be served with who were refused; where one has, they are looked at anew. */
  async offerSecrets(): Promise<void> {
    const refused = await this.store.query<{ id: string; credentials: string; namespace: string; source: string }>(
      `SELECT DISTINCT ON (s.id, t.namespace) s.id, s.credentials, t.namespace, w.source
         FROM scheduled_import s JOIN scheduled_tag t ON t.import_id = s.id JOIN wanted_tag w USING (stream_uid, tag)
        WHERE s.failures > 0 AND s.refused ORDER BY s.id, t.namespace LIMIT ${REFUSED_AT_ONCE}`,
    );
    for (const { id, credentials, namespace, source } of refused) {
      const choice = await this.credentials.of(namespace, source).catch(() => undefined);
      if (choice && fingerprintOf(choice.candidates) !== credentials) await this.unseat(namespace, id, true);
    }
  }

  private async seatOf(one: Unseated): Promise<(Unseated & Place & { credentials: string }) | undefined> {
    try {
      const { candidates } = await this.credentials.of(one.namespace, one.source);
      return { ...one, ...placeOf(one.source), credentials: fingerprintOf(candidates) };
    } catch (error) {
      this.log.warn({ err: error, namespace: one.namespace, source: one.source }, 'schedule.not-seated');
      return undefined;
    }
  }
}
