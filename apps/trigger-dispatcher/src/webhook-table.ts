import { isDeepStrictEqual } from 'node:util';
import { Injectable } from '@nestjs/common';
import { signingOf } from '@millrace/domain/signing-key';
import {
  isCredentialHeader,
  isSecretParameter,
  isSigned,
  MASK,
  requestTemplate,
  sendingOf,
  type WebhookSpec,
} from '@millrace/domain/trigger-webhook';
import { type FieldError, invalidValue } from '@millrace/domain/status';
import { SealError, Sealing } from '@millrace/platform/sealing';
import { Store, type Tx } from '@millrace/platform/store';
import type { Findings } from './delivery-tables.ts';
import { shownUrl } from './webhook-request.ts';
import { freshSecret, webhookKey, type WebhookSecrets } from './webhook-secrets.ts';

/** The secrets of one webhook as they are to be kept. */
export interface Kept {
  name: string;
  secrets: WebhookSecrets;
  /** The server has made the secret just now. */
  made: boolean;
  /** It differs from what was kept before in what a reader cannot see. */
  changed: boolean;
  findings: Findings | null;
}

/** Where a webhook goes, as far as that is settled: scheme, host and port, and a path where there is nothing more to it. */
export const targetOf = (webhook: WebhookSpec): string => webhook.kubernetes?.server ?? requestTemplate(webhook)?.base ?? webhook.url ?? '';

/** Where webhooks are sent and what signs them. The specs that readers see are with the triggers. */
@Injectable()
export class WebhookTable {
  constructor(
    private readonly store: Store,
    private readonly sealing: Sealing,
  ) {}

  /**
   * What is to be kept for each webhook: a secret that is given, or else the one that is there, or else a fresh one; what is masked
   * keeps its value.
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
      const refuse = (field: string, why: string) => errors.push(invalidValue(`${path}.${field}`, MASK, why));
      if (given[i] === MASK && !row) refuse('secret', 'is masked, and none is kept; leave it out to have one made');
      if (row && !old && !written && !webhook.secretFrom && isSigned(webhook))
        refuse('secret', 'what is kept cannot be decrypted with this SECRETS_KEY; give a secret');
      const headers = unmasked(webhook.headers ?? {}, isCredentialHeader, (name) => {
        const value = Object.entries(old?.headers ?? {}).find(([known]) => known.toLowerCase() === name.toLowerCase())?.[1];
        if (value === undefined) refuse(`headers[${name}]`, 'is masked, and no value is kept');
        return value;
      });
      const isSecret = (name: string) => isSecretParameter(webhook.preset, name);
      const parameters = unmasked(webhook.parameters ?? {}, isSecret, (name) => {
        const value = old?.send?.parameters?.[name];
        if (value === undefined) refuse(`parameters[${name}]`, 'is masked, and no value is kept');
        return value;
      });
      const { secret, made } = signingSecret(webhook, written, old?.secret);
      const previous = previousSecret(webhook.previousSecret, secret, old);
      if (webhook.previousSecret === MASK && previous === undefined)
        refuse('previousSecret', 'is masked, and none is kept, and secret replaces none');
      const { previousSecret: _, ...send } = sendingOf({ ...webhook, ...(webhook.headers ? { headers } : {}) }) ?? {};
      const secrets: WebhookSecrets = {
        ...{ secret, headers },
        ...(previous ? { previousSecret: previous } : {}),
        ...('name' in send ? { send: { ...send, ...(webhook.parameters ? { parameters } : {}) } } : {}),
      };
      const changed = !old || !isDeepStrictEqual(old, JSON.parse(JSON.stringify(secrets)));
      return { name: webhook.name, secrets, made, changed, findings: null };
    });
    return { kept, errors };
  }

  /**
   * Writes the webhooks of a trigger; of those that are no longer there the deliveries that wait are canceled, and a webhook that was
   * gone gets another chance when it has changed. Resolves to what is known of them.
   */
  async write(
    tx: Tx,
    triggerUid: string,
    webhooks: readonly WebhookSpec[],
    kept: readonly Kept[],
  ): Promise<Record<string, Findings> | null> {
    await tx.run('DELETE FROM webhook WHERE trigger_uid = $1 AND NOT name = ANY($2)', [triggerUid, webhooks.map(({ name }) => name)]);
    for (const [i, webhook] of webhooks.entries()) {
      const one = kept[i];
      if (!one) continue;
      const { name, timeoutSeconds } = webhook;
      const { send } = one.secrets;
      await tx.run(
        `INSERT INTO webhook (trigger_uid, name, url, host, timeout_seconds, sealed, findings) VALUES ($1, $2, $3, $4, $5, $6, $8)
         ON CONFLICT (trigger_uid, name) DO UPDATE SET url = excluded.url, host = excluded.host, timeout_seconds = excluded.timeout_seconds,
           sealed = CASE WHEN $7 THEN excluded.sealed ELSE webhook.sealed END, findings = excluded.findings,
           gone_at = CASE WHEN $7 OR webhook.url <> excluded.url OR webhook.timeout_seconds <> excluded.timeout_seconds THEN NULL ELSE webhook.gone_at END`,
        [
          triggerUid,
          name,
          send ? shownUrl(send) : webhook.url,
          new URL(targetOf(send ?? webhook)).host,
          timeoutSeconds,
          this.sealing.seal(one.secrets, webhookKey({ triggerUid, name })),
          one.changed,
          one.findings && JSON.stringify(one.findings),
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
    const [row] = await tx.query<{ findings: Record<string, Findings> | null }>(
      'SELECT json_object_agg(name, findings) FILTER (WHERE findings IS NOT NULL) AS findings FROM webhook WHERE trigger_uid = $1',
      [triggerUid],
    );
    return row?.findings ?? null;
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

/** The values, those that are masked as they were kept; `kept` says what is missing. */
function unmasked(
  values: Readonly<Record<string, string>>,
  isSecret: (name: string) => boolean,
  kept: (name: string) => string | undefined,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, value === MASK && isSecret(name) ? (kept(name) ?? '') : value]),
  );
}

function signingSecret(webhook: WebhookSpec, written: string | undefined, kept: string | undefined): { secret: string; made: boolean } {
  if (!isSigned(webhook) || webhook.secretFrom) return { secret: '', made: false };
  if (written) return { secret: written, made: false };
  // Who asks for another kind of key gets one.
  if (kept && (!webhook.signing || signingOf(kept) === webhook.signing)) return { secret: kept, made: false };
  return { secret: freshSecret(webhook.signing), made: true };
}

/** Masked, it is the one that is replaced just now, or else the one that was kept. */
function previousSecret(written: string | undefined, secret: string, old: WebhookSecrets | undefined): string | undefined {
  if (written !== MASK) return written;
  return old?.secret && old.secret !== secret ? old.secret : old?.previousSecret;
}
