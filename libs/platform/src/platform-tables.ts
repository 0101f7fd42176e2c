import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Tables that every service with a database has: facts on their way out, the position among facts that come in, and facts it could not use. */
export class PlatformTables1763683200000 implements MigrationInterface {
  name = 'PlatformTables1763683200000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TABLE outbox (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      event text NOT NULL,
      stream text NOT NULL,
      subject text NOT NULL,
      event_id text NOT NULL,
      headers text NOT NULL,
      body text NOT NULL,
      created timestamptz NOT NULL DEFAULT now(),
      sequence bigint
    )`);
    // A fact lives here for a short time: compressing it costs more than its bytes do.
    await runner.query(`ALTER TABLE outbox ALTER COLUMN body SET STORAGE EXTERNAL`);
    await runner.query(`COMMENT ON COLUMN outbox.sequence IS 'Where JetStream stored it; null until then'`);
    await runner.query(`CREATE INDEX outbox_waiting ON outbox (id) WHERE sequence IS NULL`);
    await runner.query(`CREATE INDEX outbox_sent ON outbox (stream, sequence) WHERE sequence IS NOT NULL`);
    await runner.query(`CREATE TABLE outbox_stream (stream text PRIMARY KEY, created text NOT NULL)`);
    await runner.query(`COMMENT ON TABLE outbox_stream IS 'Which incarnation of a JetStream stream the sequences in outbox speak of'`);
    await runner.query(`CREATE TABLE fact_position (
      event text PRIMARY KEY,
      stream text NOT NULL,
      stream_created text NOT NULL,
      sequence bigint NOT NULL,
      event_id text NOT NULL DEFAULT '',
      updated timestamptz NOT NULL DEFAULT now()
    )`);
    await runner.query(
      `COMMENT ON COLUMN fact_position.event_id IS 'Id of the fact at that sequence: after a crash of its machine NATS may hand the sequence out again'`,
    );
    await runner.query(`CREATE TABLE dead_fact (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      event text NOT NULL,
      subject text NOT NULL,
      event_id text NOT NULL,
      headers text NOT NULL,
      body text NOT NULL,
      reason text NOT NULL,
      attempts integer NOT NULL,
      created timestamptz NOT NULL DEFAULT now(),
      UNIQUE (event, event_id)
    )`);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

/** A row of the outbox may hold several facts. */
export class FactsTogether1763850000000 implements MigrationInterface {
  name = 'FactsTogether1763850000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE outbox ADD COLUMN facts text');
    await runner.query('ALTER TABLE outbox ALTER COLUMN facts SET STORAGE EXTERNAL');
    await runner.query(
      `COMMENT ON COLUMN outbox.facts IS 'Where it is several: subject, id and beginning of each, JSON; body is how all of them end, and event_id the last'`,
    );
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}
