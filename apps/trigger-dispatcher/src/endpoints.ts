import { Injectable } from '@nestjs/common';
import { WebhookEnabled } from '@millrace/contracts/webhooks';
import { LONGEST_PROBE_WAIT_MS } from '@millrace/domain/circuit';
import { LONGEST_WAIT_MS } from '@millrace/domain/delivery-retry';
import { rateOf } from '@millrace/domain/webhook-pace';
import { Store, type Tx } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import { IMPAIRED, TRIGGER_COLUMNS, triggerChange, type TriggerRecord } from './trigger-record.ts';

/** A webhook, as what is called: of one trigger, by its name. */
export interface EndpointKey {
  triggerUid: string;
  webhook: string;
}

/** Deliveries that wait for a call, or for one that is under way to be over. */
export const WAITING = 'next_attempt_at IS NOT NULL AND claimed_by IS NULL';

/**
 * For a SELECT of a statement on its own: its commit does not wait for the disk. What a Postgres that crashes forgets of claims and outcomes, less than a
 * second of them, is made again, under the ids that receivers know.
 */
export const LOSABLE = `set_config('synchronous_commit', 'off', true)`;

/** Of a webhook `w`: a delivery that is made for it now may be sent at once, since nothing waits before it and nothing restrains it. */
export const UNRESTRAINED = `(w.due_at IS NULL AND w.circuit = 'closed' AND w.failures = 0 AND w.disabled_at IS NULL
  AND NOT w.ordered AND w.parallel IS NULL AND w.rate_calls IS NULL)`;

/** For `SET` on a webhook `w` that has deliveries to be looked at now. */
export const WAKE = `due_at = CASE WHEN w.disabled_at IS NOT NULL THEN NULL WHEN w.circuit = 'open' THEN coalesce(w.due_at, greatest(w.probe_at, now()))
  ELSE least(w.due_at, now()) END`;

/** The webhooks of triggers as endpoints: how fast each is called, whether its circuit is open, when it is looked at. */
@Injectable()
export class Endpoints {
  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
  ) {}

  /** To be taken before deliveries of the trigger are written, in the order in which everybody takes them. */
  async lock(tx: Tx, triggerUid: string): Promise<void> {
    await tx.query('SELECT FROM webhook WHERE trigger_uid = $1 ORDER BY name FOR UPDATE', [triggerUid]);
  }

  /**
   * After the webhooks of a trigger were written: their pace; and those that have changed get another chance, whatever was known of them.
   * Resolves to what is still wrong with any.
   */
  async configure(tx: Tx, trigger: TriggerRecord, changed: readonly string[]): Promise<TriggerRecord['impaired']> {
    const { webhooks } = trigger.spec;
    await tx.run(
      `UPDATE webhook w SET ordered = p.ordered, parallel = p.parallel, rate_calls = p.calls, rate_ms = p.per_ms, paced_until = NULL
         FROM unnest($2::text[], $3::boolean[], $4::int[], $5::int[], $6::int[]) AS p (name, ordered, parallel, calls, per_ms)
        WHERE w.trigger_uid = $1 AND w.name = p.name
          AND (w.ordered, w.parallel, w.rate_calls, w.rate_ms) IS DISTINCT FROM (p.ordered, p.parallel, p.calls, p.per_ms)`,
      [
        ...[trigger.uid, webhooks.map(({ name }) => name), webhooks.map(({ ordered }) => ordered ?? false)],
        webhooks.map(({ parallel }) => parallel ?? null),
        ...[webhooks.map((webhook) => rateOf(webhook)?.calls ?? null), webhooks.map((webhook) => rateOf(webhook)?.perMs ?? null)],
      ],
    );
    await this.revive(tx, trigger, changed, 'change');
    await tx.run(
      `UPDATE webhook w SET ${WAKE} WHERE trigger_uid = $1 AND EXISTS (SELECT FROM delivery d WHERE d.trigger_uid = w.trigger_uid AND d.webhook = w.name AND ${WAITING})`,
      [trigger.uid],
    );
    const [row] = await tx.query<Pick<TriggerRecord, 'impaired'>>(`SELECT ${IMPAIRED} AS impaired FROM trigger t WHERE t.uid = $1`, [
      trigger.uid,
    ]);
    return row?.impaired ?? null;
  }

  /** Deliveries of these webhooks are made again: what is disabled is tried again with one of them, the others get them one by one, in order. */
  async replayed(tx: Tx, keys: readonly EndpointKey[]): Promise<void> {
    const byTrigger = Map.groupBy(keys, ({ triggerUid }) => triggerUid);
    const uids = [...byTrigger.keys()].toSorted();
    const triggers = await tx.query<TriggerRecord>(
      `SELECT ${TRIGGER_COLUMNS} FROM trigger t WHERE uid = ANY($1) ORDER BY uid FOR UPDATE OF t`,
      [uids],
    );
    await tx.query('SELECT FROM webhook WHERE trigger_uid = ANY($1) ORDER BY trigger_uid, name FOR UPDATE', [uids]);
    for (const trigger of triggers) {
      const names = (byTrigger.get(trigger.uid) ?? []).map(({ webhook }) => webhook);
      if (!(await this.revive(tx, trigger, names, 'replay'))) continue;
      const [now] = await tx.query<TriggerRecord>(`SELECT ${TRIGGER_COLUMNS} FROM trigger t WHERE uid = $1`, [trigger.uid]);
      if (now) this.changes.record(tx, triggerChange(now, 'MODIFIED'));
    }
    await tx.run(
      `UPDATE webhook w SET circuit = CASE w.circuit WHEN 'closed' THEN 'draining' ELSE w.circuit END, ${WAKE}
         FROM unnest($1::uuid[], $2::text[]) AS k (uid, name) WHERE w.trigger_uid = k.uid AND w.name = k.name`,
      [keys.map(({ triggerUid }) => triggerUid), keys.map(({ webhook }) => webhook)],
    );
  }

  /** Whoever stops, or was found dead, had deliveries in hand: their webhooks are looked at again. The rows are locked by the caller. */
  async wake(tx: Tx, keys: readonly EndpointKey[]): Promise<void> {
    await tx.run(
      `UPDATE webhook w SET ${WAKE} FROM unnest($1::uuid[], $2::text[]) AS k (uid, name) WHERE w.trigger_uid = k.uid AND w.name = k.name`,
      [keys.map(({ triggerUid }) => triggerUid), keys.map(({ webhook }) => webhook)],
    );
  }

  /**
   * Finds what nobody has been woken for, and what stands further ahead than any wait that is given: it was put there by a clock that has been
   * set back since. Resolves to how many.
   */
  async heal(): Promise<number> {
    return this.store.transaction(async (tx) => {
      const longest = [LONGEST_WAIT_MS + LONGEST_PROBE_WAIT_MS];
      const ahead = `> now() + $1 * interval '1 millisecond'`;
      const found = await tx.query<{ triggerUid: string; webhook: string }>(
        `WITH RECURSIVE waiting (uid, webhook) AS (
           (SELECT trigger_uid, webhook FROM delivery WHERE ${WAITING} ORDER BY trigger_uid, webhook LIMIT 1)
           UNION ALL
           SELECT d.* FROM waiting CROSS JOIN LATERAL (
             SELECT trigger_uid, webhook FROM delivery WHERE ${WAITING} AND (trigger_uid, webhook) > (waiting.uid, waiting.webhook) ORDER BY trigger_uid, webhook LIMIT 1
           ) d
         ), found AS (
           SELECT w.trigger_uid, w.name FROM waiting JOIN webhook w ON w.trigger_uid = waiting.uid AND w.name = waiting.webhook
            WHERE w.due_at IS NULL AND w.disabled_at IS NULL
           UNION
           SELECT trigger_uid, name FROM webhook WHERE due_at ${ahead}
           UNION
           SELECT uid, webhook FROM waiting
            WHERE (SELECT max(d.next_attempt_at) FROM delivery d WHERE d.trigger_uid = waiting.uid AND d.webhook = waiting.webhook AND ${WAITING}) ${ahead}
         )
         SELECT w.trigger_uid AS "triggerUid", w.name AS webhook FROM webhook w JOIN found USING (trigger_uid, name) ORDER BY w.trigger_uid, w.name FOR UPDATE OF w`,
        longest,
      );
      if (!found.length) return 0;
      const keys = [found.map(({ triggerUid }) => triggerUid), found.map(({ webhook }) => webhook)];
      await tx.run(
        `UPDATE webhook w SET due_at = CASE WHEN w.disabled_at IS NULL THEN now() END, probe_at = least(w.probe_at, now()), paced_until = least(w.paced_until, now())
           FROM unnest($1::uuid[], $2::text[]) AS k (uid, name) WHERE w.trigger_uid = k.uid AND w.name = k.name`,
        keys,
      );
      await tx.run(
        `UPDATE delivery d SET next_attempt_at = now() FROM unnest($2::uuid[], $3::text[]) AS k (uid, name)
          WHERE d.trigger_uid = k.uid AND d.webhook = k.name AND d.next_attempt_at ${ahead} AND ${WAITING}`,
        [...longest, ...keys],
      );
      return found.length;
    });
  }

  /** Another chance for webhooks of a trigger; true where one of them had been disabled, which is told. Their rows are locked. */
  private async revive(tx: Tx, trigger: TriggerRecord, names: readonly string[], by: WebhookEnabled['by']): Promise<boolean> {
    if (!names.length) return false;
    const revived = await tx.query<{ name: string; disabledAt: Date | null }>(
      `WITH before AS (SELECT name, disabled_at FROM webhook WHERE trigger_uid = $1 AND name = ANY($2) AND (circuit = 'open' OR disabled_at IS NOT NULL))
       UPDATE webhook w SET disabled_at = NULL, failing_ms = 0, probe_at = now(), due_at = now() FROM before b
        WHERE w.trigger_uid = $1 AND w.name = b.name RETURNING w.name, b.disabled_at AS "disabledAt"`,
      [trigger.uid, names],
    );
    const enabled = revived.filter(({ disabledAt }) => disabledAt !== null);
    for (const { name, disabledAt } of enabled) {
      const since = disabledAt?.toISOString() ?? '';
      const { namespace, name: triggerName, uid } = trigger;
      tx.publishLater(
        WebhookEnabled,
        { trigger: { namespace, name: triggerName, uid }, webhook: name, by, disabledSince: since },
        { id: `${uid}.${name}.enabled.${since}` },
      );
    }
    return enabled.length > 0;
  }
}
