-- The schema as its migrations make it; written by tables.int.spec.ts, not by hand.

CREATE TABLE attempt (
  delivery text NOT NULL,
  number integer NOT NULL,
  at timestamp with time zone NOT NULL,
  ms integer NOT NULL,
  request text,
  status integer,
  headers text,
  answer text,
  error text,
  outcome text NOT NULL,
  next_at timestamp with time zone
);

CREATE TABLE change (
  revision bigint NOT NULL,
  namespace text NOT NULL,
  name text NOT NULL,
  type text NOT NULL,
  object text,
  old_labels jsonb,
  recorded timestamp with time zone NOT NULL DEFAULT now(),
  resource text NOT NULL DEFAULT 'imagetriggers'::text
);

CREATE TABLE dead_fact (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  event text NOT NULL,
  subject text NOT NULL,
  event_id text NOT NULL,
  headers text NOT NULL,
  body text NOT NULL,
  reason text NOT NULL,
  attempts integer NOT NULL,
  created timestamp with time zone NOT NULL DEFAULT now()
);

CREATE TABLE delivery (
  name text NOT NULL,
  uid uuid NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  firing_id text NOT NULL,
  webhook text NOT NULL,
  namespace text NOT NULL,
  trigger_uid uuid NOT NULL,
  trigger_name text NOT NULL,
  host text NOT NULL,
  state text NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  started_at timestamp with time zone,
  next_attempt_at timestamp with time zone,
  claimed_by integer,
  last_attempt_at timestamp with time zone,
  last_status integer,
  last_error text,
  last_ms integer,
  last_answer text,
  created timestamp with time zone NOT NULL,
  finished_at timestamp with time zone,
  position bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  calls integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  spent_ms bigint NOT NULL DEFAULT 0,
  last_request text,
  last_headers text,
  last_outcome text,
  last_next_at timestamp with time zone
) WITH (fillfactor=70);

CREATE TABLE fact_position (
  event text NOT NULL,
  stream text NOT NULL,
  stream_created text NOT NULL,
  sequence bigint NOT NULL,
  event_id text NOT NULL DEFAULT ''::text,
  updated timestamp with time zone NOT NULL DEFAULT now()
);

CREATE TABLE fan_out (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  followers text NOT NULL,
  namespace text NOT NULL,
  stream text NOT NULL,
  tag text NOT NULL,
  event text NOT NULL,
  event_id text NOT NULL,
  move text NOT NULL,
  traceparent text NOT NULL,
  after uuid,
  brought integer NOT NULL DEFAULT 0,
  created timestamp with time zone NOT NULL DEFAULT now()
) WITH (fillfactor=70);

CREATE TABLE firing (
  id text NOT NULL,
  trigger_uid uuid NOT NULL,
  kind text NOT NULL,
  namespace text NOT NULL,
  stream text NOT NULL,
  tag text NOT NULL,
  generation bigint NOT NULL,
  image text NOT NULL,
  event text NOT NULL,
  traceparent text NOT NULL,
  created timestamp with time zone NOT NULL
);

CREATE TABLE followed_tag (
  namespace text NOT NULL,
  stream text NOT NULL,
  tag text NOT NULL,
  stream_uid text,
  generation bigint,
  moved_at text,
  move text,
  noted timestamp with time zone NOT NULL DEFAULT now()
) WITH (fillfactor=70);

CREATE TABLE migrations (
  id integer NOT NULL DEFAULT nextval('migrations_id_seq'::regclass),
  timestamp bigint NOT NULL,
  name character varying NOT NULL
);

CREATE TABLE outbox (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  event text NOT NULL,
  stream text NOT NULL,
  subject text NOT NULL,
  event_id text NOT NULL,
  headers text NOT NULL,
  body text NOT NULL,
  created timestamp with time zone NOT NULL DEFAULT now(),
  sequence bigint,
  facts text
);

CREATE TABLE outbox_stream (
  stream text NOT NULL,
  created text NOT NULL
);

CREATE TABLE paused_tag (
  workload_uid uuid NOT NULL,
  namespace text NOT NULL,
  stream text NOT NULL,
  tag text NOT NULL
);

CREATE TABLE revision (
  single boolean NOT NULL DEFAULT true,
  value bigint NOT NULL,
  pruned bigint NOT NULL DEFAULT 0
) WITH (fillfactor=10);

CREATE TABLE trigger (
  uid uuid NOT NULL,
  namespace text NOT NULL,
  name text NOT NULL,
  created timestamp with time zone NOT NULL,
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
  control jsonb,
  look_at timestamp with time zone,
  begun_after bigint NOT NULL DEFAULT 0
) WITH (fillfactor=70);

CREATE TABLE trigger_tag (
  trigger_uid uuid NOT NULL,
  stream_uid text NOT NULL,
  generation bigint NOT NULL,
  moved_at text NOT NULL
) WITH (fillfactor=70);

CREATE TABLE webhook (
  trigger_uid uuid NOT NULL,
  name text NOT NULL,
  url text NOT NULL,
  host text NOT NULL,
  timeout_seconds integer NOT NULL,
  sealed bytea NOT NULL,
  gone_at timestamp with time zone,
  findings jsonb,
  ordered boolean NOT NULL DEFAULT false,
  parallel integer,
  rate_calls integer,
  rate_ms integer,
  paced_until timestamp with time zone,
  due_at timestamp with time zone,
  circuit text NOT NULL DEFAULT 'closed'::text,
  failures integer NOT NULL DEFAULT 0,
  failing_ms bigint NOT NULL DEFAULT 0,
  failing_since timestamp with time zone,
  failing_reason text,
  probe_at timestamp with time zone,
  disabled_at timestamp with time zone
);

CREATE TABLE workload (
  uid uuid NOT NULL,
  resource text NOT NULL,
  namespace text NOT NULL,
  name text NOT NULL,
  created timestamp with time zone NOT NULL,
  generation bigint NOT NULL,
  resource_version bigint NOT NULL,
  labels jsonb,
  object text NOT NULL,
  problem text
) WITH (fillfactor=70);

CREATE TABLE workload_tag (
  workload_uid uuid NOT NULL,
  namespace text NOT NULL,
  stream text NOT NULL,
  tag text NOT NULL
);

ALTER TABLE outbox ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE outbox ALTER COLUMN facts SET STORAGE EXTERNAL;

ALTER TABLE attempt ADD CONSTRAINT attempt_pkey PRIMARY KEY (delivery, number);
ALTER TABLE attempt ADD CONSTRAINT attempt_of_delivery FOREIGN KEY (delivery) REFERENCES delivery(name) ON DELETE CASCADE;
ALTER TABLE change ADD CONSTRAINT change_pkey PRIMARY KEY (revision);
ALTER TABLE change ADD CONSTRAINT change_type CHECK ((type = ANY (ARRAY['ADDED'::text, 'MODIFIED'::text, 'DELETED'::text])));
ALTER TABLE dead_fact ADD CONSTRAINT dead_fact_event_event_id_key UNIQUE (event, event_id);
ALTER TABLE dead_fact ADD CONSTRAINT dead_fact_pkey PRIMARY KEY (id);
ALTER TABLE delivery ADD CONSTRAINT delivery_once UNIQUE (firing_id, webhook);
ALTER TABLE delivery ADD CONSTRAINT delivery_pkey PRIMARY KEY (name);
ALTER TABLE delivery ADD CONSTRAINT delivery_state CHECK ((state = ANY (ARRAY['pending'::text, 'retrying'::text, 'delivered'::text, 'gone'::text, 'dead'::text, 'canceled'::text])));
ALTER TABLE fact_position ADD CONSTRAINT fact_position_pkey PRIMARY KEY (event);
ALTER TABLE fan_out ADD CONSTRAINT fan_out_pkey PRIMARY KEY (id);
ALTER TABLE fan_out ADD CONSTRAINT fan_out_followers CHECK ((followers = ANY (ARRAY['triggers'::text, 'workloads'::text])));
ALTER TABLE firing ADD CONSTRAINT firing_pkey PRIMARY KEY (id);
ALTER TABLE followed_tag ADD CONSTRAINT followed_tag_pkey PRIMARY KEY (namespace, stream, tag);
ALTER TABLE migrations ADD CONSTRAINT "PK_8c82d7f526340ab734260ea46be" PRIMARY KEY (id);
ALTER TABLE outbox ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);
ALTER TABLE outbox_stream ADD CONSTRAINT outbox_stream_pkey PRIMARY KEY (stream);
ALTER TABLE paused_tag ADD CONSTRAINT paused_tag_pkey PRIMARY KEY (workload_uid, namespace, stream, tag);
ALTER TABLE paused_tag ADD CONSTRAINT paused_tag_of_workload FOREIGN KEY (workload_uid) REFERENCES workload(uid) ON DELETE CASCADE;
ALTER TABLE revision ADD CONSTRAINT revision_pkey PRIMARY KEY (single);
ALTER TABLE revision ADD CONSTRAINT revision_single CHECK (single);
ALTER TABLE trigger ADD CONSTRAINT trigger_name UNIQUE (namespace, name);
ALTER TABLE trigger ADD CONSTRAINT trigger_pkey PRIMARY KEY (uid);
ALTER TABLE trigger_tag ADD CONSTRAINT trigger_tag_pkey PRIMARY KEY (trigger_uid, stream_uid);
ALTER TABLE trigger_tag ADD CONSTRAINT trigger_tag_of_trigger FOREIGN KEY (trigger_uid) REFERENCES trigger(uid) ON DELETE CASCADE;
ALTER TABLE webhook ADD CONSTRAINT webhook_pkey PRIMARY KEY (trigger_uid, name);
ALTER TABLE webhook ADD CONSTRAINT webhook_of_trigger FOREIGN KEY (trigger_uid) REFERENCES trigger(uid) ON DELETE CASCADE;
ALTER TABLE webhook ADD CONSTRAINT webhook_circuit CHECK ((circuit = ANY (ARRAY['closed'::text, 'open'::text, 'draining'::text])));
ALTER TABLE workload ADD CONSTRAINT workload_name UNIQUE (resource, namespace, name);
ALTER TABLE workload ADD CONSTRAINT workload_pkey PRIMARY KEY (uid);
ALTER TABLE workload_tag ADD CONSTRAINT workload_tag_pkey PRIMARY KEY (workload_uid, namespace, stream, tag);
ALTER TABLE workload_tag ADD CONSTRAINT workload_tag_of_workload FOREIGN KEY (workload_uid) REFERENCES workload(uid) ON DELETE CASCADE;

CREATE INDEX change_recorded ON change USING brin (recorded);
CREATE INDEX delivery_claimed ON delivery USING btree (trigger_uid, webhook) WHERE (claimed_by IS NOT NULL);
CREATE INDEX delivery_due ON delivery USING btree (trigger_uid, webhook, next_attempt_at, "position") WHERE ((next_attempt_at IS NOT NULL) AND (claimed_by IS NULL));
CREATE INDEX delivery_failed ON delivery USING btree (namespace, created, name) WHERE (state = ANY (ARRAY['dead'::text, 'gone'::text]));
CREATE INDEX delivery_finished ON delivery USING btree (finished_at) WHERE (finished_at IS NOT NULL);
CREATE INDEX delivery_newest ON delivery USING btree (namespace, created, name);
CREATE INDEX delivery_of_trigger ON delivery USING btree (trigger_uid, webhook, "position") WHERE (finished_at IS NULL);
CREATE INDEX fan_out_of_tag ON fan_out USING btree (followers, namespace, stream, tag, id);
CREATE INDEX firing_created ON firing USING btree (created);
CREATE INDEX outbox_sent ON outbox USING btree (stream, sequence) WHERE (sequence IS NOT NULL);
CREATE INDEX outbox_waiting ON outbox USING btree (id) WHERE (sequence IS NULL);
CREATE INDEX paused_tag_of ON paused_tag USING btree (namespace, stream, tag);
CREATE INDEX trigger_due ON trigger USING btree (look_at) WHERE (look_at IS NOT NULL);
CREATE INDEX trigger_from ON trigger USING btree (from_namespace, from_stream, from_tag, uid);
CREATE INDEX webhook_due ON webhook USING btree (due_at) WHERE (due_at IS NOT NULL);
CREATE INDEX webhook_failing ON webhook USING btree (circuit) WHERE ((circuit <> 'closed'::text) OR (disabled_at IS NOT NULL) OR (gone_at IS NOT NULL));
CREATE INDEX webhook_problem ON webhook USING btree (trigger_uid, name) WHERE ((findings -> 'problem'::text) IS NOT NULL);
CREATE INDEX workload_tag_followers ON workload_tag USING btree (namespace, stream, tag, workload_uid);
