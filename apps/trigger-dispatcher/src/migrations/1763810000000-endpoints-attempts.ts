import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What is known of each webhook as an endpoint, the attempts of deliveries, and the order of deliveries. */
export class EndpointsAttempts1763810000000 implements MigrationInterface {
  name = 'EndpointsAttempts1763810000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `ALTER TABLE webhook
    ADD COLUMN ordered boolean NOT NULL DEFAULT false,
    ADD COLUMN parallel integer,
    ADD COLUMN rate_calls integer,
    ADD COLUMN rate_ms integer,
    ADD COLUMN paced_until timestamptz,
    ADD COLUMN due_at timestamptz,
    ADD COLUMN circuit text NOT NULL DEFAULT 'closed' CONSTRAINT webhook_circuit CHECK (circuit IN ('closed', 'open', 'draining')),
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    ADD COLUMN failing_ms bigint NOT NULL DEFAULT 0,
    ADD COLUMN failing_since timestamptz,
    ADD COLUMN failing_reason text,
    ADD COLUMN probe_at timestamptz,
    ADD COLUMN disabled_at timestamptz`,
  `COMMENT ON COLUMN webhook.ordered IS 'A delivery waits until the one before it was delivered or is over'`,
  `COMMENT ON COLUMN webhook.paced_until IS 'Its rate: when the calls that were made would be over, were they spread evenly'`,
  `COMMENT ON COLUMN webhook.due_at IS 'When to look for deliveries to be made; null while none is known to wait'`,
  `COMMENT ON COLUMN webhook.failures IS 'In a row, since the last success'`,
  `COMMENT ON COLUMN webhook.failing_ms IS 'Probes and the waits between them, added up'`,
  `COMMENT ON COLUMN webhook.probe_at IS 'While the circuit is open: when the oldest delivery is tried next'`,
  `COMMENT ON COLUMN webhook.disabled_at IS 'When it had failed for too long: what waits for it is kept, and not sent'`,
  `CREATE INDEX webhook_due ON webhook (due_at) WHERE due_at IS NOT NULL`,
  `CREATE INDEX webhook_failing ON webhook (circuit) WHERE circuit <> 'closed' OR disabled_at IS NOT NULL OR gone_at IS NOT NULL`,

  `ALTER TABLE delivery
    ADD COLUMN position bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN calls integer NOT NULL DEFAULT 0,
    ADD COLUMN tries integer NOT NULL DEFAULT 0,
    ADD COLUMN spent_ms bigint NOT NULL DEFAULT 0`,
  `COMMENT ON COLUMN delivery.position IS 'Deliveries of one webhook are in the order in which it fired'`,
  `COMMENT ON COLUMN delivery.calls IS 'Attempts ever, also before replays'`,
  `COMMENT ON COLUMN delivery.tries IS 'Of its attempts those that count: not those that probed an open circuit'`,
  `COMMENT ON COLUMN delivery.spent_ms IS 'What its tries and the waits that were given took'`,
  `UPDATE delivery SET calls = attempts, tries = attempts,
          spent_ms = coalesce(extract(epoch FROM last_attempt_at - started_at) * 1000, 0) WHERE attempts > 0`,
  `UPDATE webhook w SET due_at = now()
    WHERE EXISTS (SELECT 1 FROM delivery d WHERE d.trigger_uid = w.trigger_uid AND d.webhook = w.name AND d.finished_at IS NULL)`,
  // Who forgets what fired looks for its deliveries first; the constraint cost a third of making one.
  `ALTER TABLE delivery DROP CONSTRAINT delivery_of_firing`,
  `COMMENT ON COLUMN delivery.name IS 'The trigger and the beginning of the uid'`,
  `DROP INDEX delivery_due`,
  `CREATE INDEX delivery_due ON delivery (trigger_uid, webhook, next_attempt_at, position) WHERE next_attempt_at IS NOT NULL AND claimed_by IS NULL`,
  `DROP INDEX delivery_claimed`,
  `CREATE INDEX delivery_claimed ON delivery (trigger_uid, webhook) WHERE claimed_by IS NOT NULL`,
  `DROP INDEX delivery_of_trigger`,
  `CREATE INDEX delivery_of_trigger ON delivery (trigger_uid, webhook, position) WHERE finished_at IS NULL`,
  `CREATE INDEX delivery_failed ON delivery (namespace, created, name) WHERE state IN ('dead', 'gone')`,

  `CREATE TABLE attempt (
    delivery text NOT NULL CONSTRAINT attempt_of_delivery REFERENCES delivery (name) ON DELETE CASCADE,
    number integer NOT NULL,
    at timestamptz NOT NULL,
    ms integer NOT NULL,
    request text,
    status integer,
    headers text,
    answer text,
    error text,
    outcome text NOT NULL,
    next_at timestamptz,
    PRIMARY KEY (delivery, number)
  )`,
  `COMMENT ON COLUMN attempt.number IS 'Counts the attempts of the delivery, over its replays'`,
  `COMMENT ON COLUMN attempt.request IS 'Method, URL without its query, headers with credentials masked, size; JSON'`,
  `COMMENT ON COLUMN attempt.headers IS 'Of the answer, those worth having; JSON'`,
  `COMMENT ON COLUMN attempt.answer IS 'First 2 kB'`,
];
