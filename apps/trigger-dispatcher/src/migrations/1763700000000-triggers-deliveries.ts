import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Triggers with their webhooks, what fired, the deliveries of it, and the change feed. */
export class TriggersDeliveries1763700000000 implements MigrationInterface {
  name = 'TriggersDeliveries1763700000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `CREATE TABLE revision (
    single boolean PRIMARY KEY DEFAULT true CONSTRAINT revision_single CHECK (single),
    value bigint NOT NULL,
    pruned bigint NOT NULL DEFAULT 0
  ) WITH (fillfactor = 10)`,
  `INSERT INTO revision (value) VALUES (1)`,
  `COMMENT ON COLUMN revision.value IS 'The newest number that was handed out'`,
  `COMMENT ON COLUMN revision.pruned IS 'Changes up to here are no longer known'`,

  `CREATE TABLE change (
    revision bigint PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    type text NOT NULL CONSTRAINT change_type CHECK (type IN ('ADDED', 'MODIFIED', 'DELETED')),
    object text NOT NULL,
    old_labels jsonb,
    recorded timestamptz NOT NULL DEFAULT now()
  )`,
  `CREATE INDEX change_recorded ON change USING brin (recorded)`,
  `COMMENT ON COLUMN change.object IS 'The trigger as clients read it; its last state where it was deleted'`,
  `COMMENT ON COLUMN change.old_labels IS 'What it was selected by before'`,

  `CREATE TABLE trigger (
    uid uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    created timestamptz NOT NULL,
    generation bigint NOT NULL,
    resource_version bigint NOT NULL,
    labels jsonb,
    annotations jsonb,
    spec jsonb NOT NULL,
    from_namespace text NOT NULL,
    from_stream text NOT NULL,
    from_tag text NOT NULL,
    baseline jsonb,
    last_triggered jsonb,
    held text,
    CONSTRAINT trigger_name UNIQUE (namespace, name)
  ) WITH (fillfactor = 70)`,
  `CREATE INDEX trigger_from ON trigger (from_namespace, from_stream, from_tag)`,
  `COMMENT ON COLUMN trigger.spec IS 'TriggerSpec: complete, credentials masked'`,
  `COMMENT ON COLUMN trigger.baseline IS 'Where the tag stood when the trigger began to follow it'`,
  `COMMENT ON COLUMN trigger.held IS 'The newest tag.moved that came while it was paused, as JSON'`,

  `CREATE TABLE trigger_tag (
    trigger_uid uuid NOT NULL CONSTRAINT trigger_tag_of_trigger REFERENCES trigger (uid) ON DELETE CASCADE,
    stream_uid text NOT NULL,
    generation bigint NOT NULL,
    moved_at text NOT NULL,
    PRIMARY KEY (trigger_uid, stream_uid)
  ) WITH (fillfactor = 70)`,
  `COMMENT ON COLUMN trigger_tag.generation IS 'Moves of the tag up to here have fired, or came before the trigger'`,

  `CREATE TABLE webhook (
    trigger_uid uuid NOT NULL CONSTRAINT webhook_of_trigger REFERENCES trigger (uid) ON DELETE CASCADE,
    name text NOT NULL,
    url text NOT NULL,
    host text NOT NULL,
    timeout_seconds integer NOT NULL,
    sealed bytea NOT NULL,
    gone_at timestamptz,
    PRIMARY KEY (trigger_uid, name)
  )`,
  `COMMENT ON COLUMN webhook.sealed IS 'Secret and headers, encrypted; see sealing.ts'`,
  `COMMENT ON COLUMN webhook.gone_at IS 'When it answered 410: no more deliveries are made for it until it is changed'`,

  `CREATE TABLE firing (
    id text PRIMARY KEY,
    trigger_uid uuid NOT NULL,
    kind text NOT NULL,
    namespace text NOT NULL,
    stream text NOT NULL,
    tag text NOT NULL,
    generation bigint NOT NULL,
    image text NOT NULL,
    event text NOT NULL,
    traceparent text NOT NULL,
    created timestamptz NOT NULL
  )`,
  `CREATE INDEX firing_created ON firing (created)`,
  `COMMENT ON COLUMN firing.id IS 'Trigger, stream object, tag and generation: one move fires once'`,
  `COMMENT ON COLUMN firing.namespace IS 'Of the stream'`,
  `COMMENT ON COLUMN firing.event IS 'The CloudEvent as webhooks get it, JSON'`,

  `CREATE TABLE delivery (
    name text PRIMARY KEY,
    uid uuid NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    firing_id text NOT NULL CONSTRAINT delivery_of_firing REFERENCES firing (id) ON DELETE CASCADE,
    webhook text NOT NULL,
    namespace text NOT NULL,
    trigger_uid uuid NOT NULL,
    trigger_name text NOT NULL,
    host text NOT NULL,
    state text NOT NULL CONSTRAINT delivery_state CHECK (state IN ('pending', 'retrying', 'delivered', 'gone', 'dead', 'canceled')),
    attempts integer NOT NULL DEFAULT 0,
    started_at timestamptz,
    next_attempt_at timestamptz,
    claimed_by integer,
    last_attempt_at timestamptz,
    last_status integer,
    last_error text,
    last_ms integer,
    last_answer text,
    created timestamptz NOT NULL,
    finished_at timestamptz,
    CONSTRAINT delivery_once UNIQUE (firing_id, webhook)
  ) WITH (fillfactor = 70)`,
  `CREATE INDEX delivery_due ON delivery (host, next_attempt_at) WHERE next_attempt_at IS NOT NULL AND claimed_by IS NULL`,
  `CREATE INDEX delivery_claimed ON delivery (claimed_by) WHERE claimed_by IS NOT NULL`,
  `CREATE INDEX delivery_of_trigger ON delivery (trigger_uid, webhook) WHERE finished_at IS NULL`,
  `CREATE INDEX delivery_newest ON delivery (namespace, created, name)`,
  `CREATE INDEX delivery_finished ON delivery (finished_at) WHERE finished_at IS NOT NULL`,
  `COMMENT ON COLUMN delivery.name IS 'The trigger and a hash of firing and webhook'`,
  `COMMENT ON COLUMN delivery.host IS 'Host and port of the webhook: what shares of the parallel calls are counted by'`,
  `COMMENT ON COLUMN delivery.started_at IS 'First attempt since it was made or replayed'`,
  `COMMENT ON COLUMN delivery.next_attempt_at IS 'Null when it is over'`,
  `COMMENT ON COLUMN delivery.claimed_by IS 'The instance that is calling the webhook; counts only while that instance lives'`,
];
