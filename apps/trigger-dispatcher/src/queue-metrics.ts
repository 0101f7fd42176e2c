import { Inject, Injectable } from '@nestjs/common';
import { Gauge, type Registry } from 'prom-client';
import { METRICS } from '@millrace/platform/health';
import { Store } from '@millrace/platform/store';

/** All gauges of one scrape are read by the same questions. */
const FRESH_MS = 1_000;

interface Reading {
  waiting: { state: string; n: string; age: string }[];
  failed: { state: string; n: string }[];
  webhooks: { state: string; n: string }[];
}

/** What waits, what was given up, and which receivers fail, counted when it is asked for. Every label has a handful of values. */
@Injectable()
export class QueueMetrics {
  private reading: Promise<Reading> | undefined;

  constructor(
    private readonly store: Store,
    @Inject(METRICS) metrics: Registry,
  ) {
    const gauge = (name: string, help: string, of: (reading: Reading) => { state: string; value: number }[]) => {
      const reading = () => this.read();
      new Gauge({
        ...{ name, help, labelNames: ['state'], registers: [metrics] },
        async collect() {
          this.reset();
          for (const { state, value } of of(await reading())) this.set({ state }, value);
        },
      });
    };
    const counts = (rows: readonly { state: string; n: string }[]) => rows.map(({ state, n }) => ({ state, value: Number(n) }));
    gauge(
      'millrace_webhook_deliveries_waiting',
      'Deliveries that are not over: pending (not tried yet), retrying, or parked behind a webhook that is disabled',
      ({ waiting }) => counts(waiting),
    );
    gauge('millrace_webhook_oldest_waiting_seconds', 'Age of the oldest delivery that is not over', ({ waiting }) =>
      waiting.map(({ state, age }) => ({ state, value: Math.max(0, Number(age)) })),
    );
    gauge(
      'millrace_webhook_deliveries_failed',
      'Deliveries that ended without arriving and are kept: dead (given up) or gone (answered 410)',
      ({ failed }) => counts(failed),
    );
    gauge(
      'millrace_webhooks_impaired',
      'Webhooks that are not called as things come: open (their circuit), draining, disabled or gone',
      ({ webhooks }) => counts(webhooks),
    );
  }

  private read(): Promise<Reading> {
    if (this.reading) return this.reading;
    const reading = this.look().catch((): Reading => ({ waiting: [], failed: [], webhooks: [] }));
    this.reading = reading;
    setTimeout(() => (this.reading = undefined), FRESH_MS).unref();
    return reading;
  }

  private async look(): Promise<Reading> {
    const [waiting, failed, webhooks] = await Promise.all([
      this.store.query<Reading['waiting'][0]>(
        `SELECT state, sum(n) AS n, extract(epoch FROM now() - min(oldest)) AS age FROM (
           SELECT CASE WHEN w.disabled_at IS NULL THEN d.state ELSE 'parked' END AS state, d.n, d.oldest
             FROM (SELECT trigger_uid, webhook, state, count(*) AS n, min(created) AS oldest FROM delivery WHERE finished_at IS NULL GROUP BY 1, 2, 3) d
             LEFT JOIN webhook w ON w.trigger_uid = d.trigger_uid AND w.name = d.webhook
         ) one GROUP BY state`,
      ),
      this.store.query<Reading['failed'][0]>(`SELECT state, count(*) AS n FROM delivery WHERE state IN ('dead', 'gone') GROUP BY state`),
      this.store.query<Reading['webhooks'][0]>(
        `SELECT CASE WHEN gone_at IS NOT NULL THEN 'gone' WHEN disabled_at IS NOT NULL THEN 'disabled' ELSE circuit END AS state, count(*) AS n
           FROM webhook WHERE circuit <> 'closed' OR disabled_at IS NOT NULL OR gone_at IS NOT NULL GROUP BY 1`,
      ),
    ]);
    return { waiting, failed, webhooks };
  }
}
