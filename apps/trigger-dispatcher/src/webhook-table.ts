import { Injectable } from '@nestjs/common';
import { isCredentialHeader, MASK, type WebhookSpec } from '@millrace/domain/trigger-webhook';
import { type FieldError, invalidValue } from '@millrace/domain/status';
import { SealError, Sealing } from '@millrace/platform/sealing';
import { Store, type Tx } from '@millrace/platform/store';
import { freshSecret, webhookKey, type WebhookSecrets } from './webhook-secrets.ts';

/** The secrets of one webhook as they are to be kept. */
export interface Kept {
  name: string;
  secrets: WebhookSecrets;
  /** The server has made the secret just now. */
  made: boolean;
  /** It differs from what was kept before in what a reader cannot see. */
  changed: boolean;
}

/** Where webhooks are sent and what signs them. The specs that readers see are with the triggers. */
@Injectable()
export class WebhookTable {
  constructor(
    private readonly store: Store,
    private readonly sealing: Sealing,
  ) {}

  /**
   * What is to be kept for each webhook: a secret that is given, or else the one that is there, or else a fresh one; a masked
   * header keeps its value.
   */
  async keep(
    triggerUid: string,
    webhooks: readonly WebhookSpec[],
    given: readonly (string | undefined)[],
    exists: boolean,
  ): Promise<{ kept: Kept[]; errors: FieldError[] }> {
    const rows = exists
      ? await this.store.query<{ name: string; sealed: Buffer }>('SELECT name, sealed FROM webhook WHERE trigger_uid = $1', [triggerUid])
      : [];
    const errors: FieldError[] = [];
    const kept = webhooks.map((webhook, i): Kept => {
      const path = `spec.webhooks[${i}]`;
      const row = rows.find((one) => one.name === webhook.name);
      const old = row && this.opened(row.sealed, { triggerUid, name: webhook.name });
      const written = given[i] === MASK ? undefined : given[i];
      if (given[i] === MASK && !row)
        errors.push(invalidValue(`${path}.secret`, MASK, 'is masked, and none is kept; leave it out to have one made'));
      if (row && !old && !written)
        errors.push(invalidValue(`${path}.secret`, MASK, 'what is kept cannot be decrypted with this SECRETS_KEY; give a secret'));
      const headers: Record<string, string> = {};
      for (const [header, value] of Object.entries(webhook.headers ?? {})) {
        const value0 = old && Object.entries(old.headers).find(([known]) => known.toLowerCase() === header.toLowerCase())?.[1];
        if (value === MASK && isCredentialHeader(header) && value0 === undefined)
          errors.push(invalidValue(`${path}.headers[${header}]`, MASK, 'is masked, and no value is kept'));
        headers[header] = value === MASK && isCredentialHeader(header) ? (value0 ?? '') : value;
      }
      const secrets = { secret: written || old?.secret || freshSecret(), headers };
      const changed = !old || old.secret !== secrets.secret || JSON.stringify(old.headers) !== JSON.stringify(headers);
      return { name: webhook.name, secrets, made: !written && !old, changed };
    });
    return { kept, errors };
  }

  /**
   * Writes the webhooks of a trigger; of those that are no longer there the deliveries that wait are canceled, and a webhook that was
   * gone gets another chance when it has changed.
   */
  async write(tx: Tx, triggerUid: string, webhooks: readonly WebhookSpec[], kept: readonly Kept[]): Promise<void> {
    await tx.run('DELETE FROM webhook WHERE trigger_uid = $1 AND NOT name = ANY($2)', [triggerUid, webhooks.map(({ name }) => name)]);
    for (const [i, { name, url, timeoutSeconds }] of webhooks.entries()) {
      const one = kept[i];
      if (!one) continue;
      await tx.run(
        `INSERT INTO webhook (trigger_uid, name, url, host, timeout_seconds, sealed) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (trigger_uid, name) DO UPDATE SET url = excluded.url, host = excluded.host, timeout_seconds = excluded.timeout_seconds,
           sealed = CASE WHEN $7 THEN excluded.sealed ELSE webhook.sealed END,
           gone_at = CASE WHEN $7 OR webhook.url <> excluded.url OR webhook.timeout_seconds <> excluded.timeout_seconds THEN NULL ELSE webhook.gone_at END`,
        [
          triggerUid,
          name,
          url,
          new URL(url).host,
          timeoutSeconds,
          this.sealing.seal(one.secrets, webhookKey({ triggerUid, name })),
          one.changed,
        ],
      );
    }
    await tx.run(
      `UPDATE delivery d SET state = 'canceled', next_attempt_at = NULL, claimed_by = NULL, finished_at = now(), version = version + 1
        WHERE trigger_uid = $1 AND finished_at IS NULL AND NOT EXISTS (SELECT 1 FROM webhook w WHERE w.trigger_uid = d.trigger_uid AND w.name = d.webhook)`,
      [triggerUid],
    );
    await tx.run(
      `UPDATE delivery d SET host = w.host FROM webhook w
        WHERE d.trigger_uid = $1 AND d.finished_at IS NULL AND w.trigger_uid = d.trigger_uid AND w.name = d.webhook AND w.host <> d.host`,
      [triggerUid],
    );
  }

  private opened(sealed: Buffer, webhook: { triggerUid: string; name: string }): WebhookSecrets | undefined {
    try {
      return this.sealing.open(sealed, webhookKey(webhook)) as WebhookSecrets;
    } catch (error) {
      if (error instanceof SealError) return undefined;
      throw error;
    }
  }
}
