import { Injectable } from '@nestjs/common';
import { RepositoryPushed } from '@millrace/contracts/events';
import { isDockerHub, registryHost } from '@millrace/domain/image-reference';
import { onHint } from '@millrace/domain/import-schedule';
import { Bus } from '@millrace/platform/bus';
import { Clock } from '@millrace/platform/clock';
import type { FactBatch } from '@millrace/platform/facts';
import { Store, type Tx } from '@millrace/platform/store';
import { SCHEDULE_BELL, Schedule } from './schedule.ts';

interface Hinted {
  id: string;
  digest: string | null;
  announced: boolean;
  announcedDigest: string | null;
  looks: number;
  woken: boolean;
  failures: number;
  changedAt: number | null;
}

/** Of one repository without a tag; more come round in their turn. */
const WOKEN_AT_ONCE = 5_000;

/** Registries say what was pushed: just those references are looked at, at once. */
@Injectable()
export class Hints {
  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
    private readonly clock: Clock,
    private readonly schedule: Schedule,
  ) {}

  async take(batch: FactBatch<typeof RepositoryPushed>): Promise<void> {
    const pushes = batch.read(({ data }) => data).map(({ made }) => made);
    await this.store.transaction(async (tx) => {
      await batch.settle(tx);
      let woken = 0;
      for (const push of new Map(pushes.map((one) => [meaningOf(one), one])).values()) woken += await this.wake(tx, push);
      if (!woken) return;
      tx.afterCommit(() => {
        this.schedule.wake();
        this.bus.nudge(SCHEDULE_BELL);
      });
    });
  }

  /** Resolves to how many references are to be looked at for it. */
  private async wake(tx: Tx, { host, repository, tags, digest }: RepositoryPushed): Promise<number> {
    const rows = await tx.query<Hinted>(
      `SELECT id, digest, announced, announced_digest AS "announcedDigest", looks, woken, failures, extract(epoch FROM changed_at)::float8 * 1000 AS "changedAt"
         FROM scheduled_import WHERE host = $1 AND repository = $2 AND (cardinality($3::text[]) = 0 OR reference = ANY ($3))
        ORDER BY id LIMIT ${WOKEN_AT_ONCE} FOR UPDATE`,
      [contactedHost(host), repository, tags],
    );
    const now = this.clock.now().getTime();
    const looks = rows.flatMap((row) => {
      const known = {
        digest: row.digest ?? undefined,
        changedAt: row.changedAt ?? undefined,
        announced: row.announced ? { digest: row.announcedDigest ?? undefined, looks: row.looks } : undefined,
        woken: row.woken,
        failing: row.failures > 0,
      };
      const step = onHint(known, { digest, tagged: tags.length > 0 }, now);
      return step.kind === 'look' ? [{ id: row.id, ...step }] : [];
    });
    if (!looks.length) return 0;
    return tx.run(
      `UPDATE scheduled_import s SET woken = true, touched = s.touched + 1, next_check_at = to_timestamp(o.at / 1000),
              announced = s.announced OR o.announced, announced_digest = coalesce(o.digest, s.announced_digest), looks = 0
         FROM unnest($1::bigint[], $2::float8[], $3::boolean[], $4::text[]) AS o (id, at, announced, digest) WHERE s.id = o.id`,
      [
        looks.map(({ id }) => id),
        looks.map(({ at }) => at),
        looks.map(({ announced }) => announced !== undefined),
        looks.map(({ announced }) => announced?.digest ?? null),
      ],
    );
  }
}

const meaningOf = ({ host, repository, tags, digest }: RepositoryPushed): string => JSON.stringify([host, repository, tags, digest]);

/** Docker Hub has several names. */
const contactedHost = (host: string): string => registryHost({ registry: isDockerHub(host) ? '' : host });
