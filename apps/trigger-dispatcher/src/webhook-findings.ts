import { Inject, Injectable } from '@nestjs/common';
import { Bell, pause } from '@millrace/platform/backoff';
import type { Log } from '@millrace/platform/log';
import { LOG, type Worker } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import type { Findings } from './delivery-tables.ts';
import { TRIGGER_COLUMNS, triggerChange, type TriggerRecord } from './trigger-record.ts';
import { webhookKey } from './webhook-secrets.ts';

/** A webhook of a trigger. */
export interface WebhookName {
  triggerUid: string;
  webhook: string;
}

/** For as long the same is not looked up again; other instances may have found something else meanwhile. */
const SAME_MS = 10_000;
const KNOWN_MAX = 10_000;
/** What is noted within this time is written at once. */
const GATHER_MS = 100;

/** What calls find out of webhooks, for who reads their triggers: a secret that is not there, the public keys of those that are. */
@Injectable()
export class WebhookFindings implements Worker {
  private readonly known = new Map<string, { text: string; at: number }>();
  private noted = new Map<string, WebhookName & { findings: Findings | null }>();
  private readonly bell = new Bell();
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
    @Inject(LOG) private readonly log: Log,
  ) {}

  start(): void {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.bell.ring();
    await this.running;
  }

  /** Costs nothing where it is what is known. */
  note({ triggerUid, webhook }: WebhookName, findings: Findings | null): void {
    const id = webhookKey({ triggerUid, name: webhook });
    const text = JSON.stringify(findings);
    const known = this.known.get(id);
    if (known?.text === text && performance.now() - known.at < SAME_MS) return;
    if (this.known.size >= KNOWN_MAX) this.known.clear();
    this.known.set(id, { text, at: performance.now() });
    this.noted.set(id, { triggerUid, webhook, findings });
    this.bell.ring();
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      await this.bell.wait(60_000, signal);
      await pause(GATHER_MS, signal);
      const noted = [...this.noted.values()];
      this.noted = new Map();
      try {
        if (noted.length) await this.write(noted);
      } catch (error) {
        // The next call finds it again.
        this.known.clear();
        if (!signal.aborted) this.log.warn({ err: error }, 'webhook-findings.not-written');
      }
    }
  }

  private async write(noted: readonly (WebhookName & { findings: Findings | null })[]): Promise<void> {
    const rows = [
      noted.map((one) => one.triggerUid),
      noted.map((one) => one.webhook),
      noted.map((one) => one.findings && JSON.stringify(one.findings)),
    ];
    const other = `FROM unnest($1::uuid[], $2::text[], $3::text[]) AS n (uid, name, findings)
      WHERE w.trigger_uid = n.uid AND w.name = n.name AND w.findings IS DISTINCT FROM n.findings::jsonb`;
    const differing = await this.store.query<{ uid: string }>(
      `SELECT DISTINCT w.trigger_uid AS uid ${other.replace('FROM', 'FROM webhook w,')} ORDER BY 1`,
      rows,
    );
    if (!differing.length) return;
    const read = `SELECT ${TRIGGER_COLUMNS} FROM trigger t WHERE uid = ANY ($1) ORDER BY uid FOR UPDATE OF t`;
    const uids = [differing.map(({ uid }) => uid)];
    await this.store.transaction(async (tx) => {
      await tx.query(read, uids);
      tx.send('SELECT FROM webhook WHERE trigger_uid = ANY ($1) ORDER BY trigger_uid, name FOR UPDATE', uids);
      await tx.run(`UPDATE webhook w SET findings = n.findings::jsonb ${other}`, rows);
      for (const trigger of await tx.query<TriggerRecord>(read, uids)) this.changes.record(tx, triggerChange(trigger, 'MODIFIED'));
    });
  }
}
