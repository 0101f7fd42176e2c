import { Inject, Injectable } from '@nestjs/common';
import type { TriggerSpec } from '@millrace/domain/image-trigger';
import { exampleEvent } from '@millrace/domain/webhook-variables';
import { Bell, pause } from '@millrace/platform/backoff';
import { Lease } from '@millrace/platform/lease';
import type { Log } from '@millrace/platform/log';
import { SealError, Sealing } from '@millrace/platform/sealing';
import { LOG, type Worker } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import { NamespaceSecrets } from './namespace-secrets.ts';
import { WebhookFindings } from './webhook-findings.ts';
import { WebhookRequests } from './webhook-requests.ts';
import { webhookKey, type WebhookSecrets } from './webhook-secrets.ts';

const EVERY_MS = 15_000;
/** Secrets that change all the time are not looked at all the time. */
const REST_MS = 1_000;
const ROWS = 200;

interface Row {
  triggerUid: string;
  webhook: string;
  namespace: string;
  trigger: string;
  kind: TriggerSpec['kind'];
  sealed: Buffer;
}

/** Looks again at webhooks whose secrets were not there, or not right: nothing calls them until their tag moves. */
@Injectable()
export class WebhookRechecks implements Worker {
  private readonly bell = new Bell();
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly store: Store,
    private readonly lease: Lease,
    private readonly sealing: Sealing,
    private readonly secrets: NamespaceSecrets,
    private readonly requests: WebhookRequests,
    private readonly findings: WebhookFindings,
    @Inject(LOG) private readonly log: Log,
  ) {}

  start(): void {
    this.secrets.onChange(() => this.bell.ring());
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.bell.ring();
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      await this.bell.wait(EVERY_MS, signal);
      try {
        if (!signal.aborted && (await this.lease.leads('webhook-rechecks'))) await this.round(signal);
      } catch (error) {
        if (!signal.aborted) this.log.warn({ err: error }, 'webhook-rechecks.failed');
      }
      await pause(REST_MS, signal);
    }
  }

  private async round(signal: AbortSignal): Promise<void> {
    let after = ['00000000-0000-0000-0000-000000000000', ''];
    for (let rows: Row[] | undefined; !signal.aborted && (rows === undefined || rows.length === ROWS);) {
      rows = await this.store.query<Row>(
        `SELECT w.trigger_uid AS "triggerUid", w.name AS webhook, t.namespace, t.name AS trigger, t.spec ->> 'kind' AS kind, w.sealed
           FROM webhook w JOIN trigger t ON t.uid = w.trigger_uid
          WHERE w.findings -> 'problem' IS NOT NULL AND (w.trigger_uid, w.name) > ($1::uuid, $2) ORDER BY w.trigger_uid, w.name LIMIT ${ROWS}`,
        after,
      );
      for (const row of rows) await this.look(row);
      const last = rows.at(-1);
      if (last) after = [last.triggerUid, last.webhook];
    }
  }

  private async look(row: Row): Promise<void> {
    try {
      const secrets = this.sealing.open(row.sealed, webhookKey({ triggerUid: row.triggerUid, name: row.webhook })) as WebhookSecrets;
      const event = exampleEvent(row.kind, { namespace: row.namespace, name: row.trigger });
      if (!secrets.send) return;
      const { findings, asked } = await this.requests.check(row.namespace, secrets.send, secrets, { path: 'webhook', event });
      if (asked) this.findings.note(row, findings);
    } catch (error) {
      // Deliveries say it, and so does the log at the start.
      if (!(error instanceof SealError)) throw error;
    }
  }
}
