-- The schema as its migrations make it; written by tables.int.spec.ts, not by hand.

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

CREATE TABLE fact_position (
  event text NOT NULL,
  stream text NOT NULL,
  stream_created text NOT NULL,
  sequence bigint NOT NULL,
  event_id text NOT NULL DEFAULT ''::text,
  updated timestamp with time zone NOT NULL DEFAULT now()
);

CREATE TABLE hint (
  registry text NOT NULL,
  event_id text NOT NULL,
  received timestamp with time zone NOT NULL DEFAULT now()
);

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

CREATE TABLE push (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  registry text NOT NULL,
  event_id text NOT NULL,
  repository text NOT NULL DEFAULT ''::text,
  tag text NOT NULL DEFAULT ''::text,
  digest text NOT NULL DEFAULT ''::text,
  media_type text NOT NULL DEFAULT ''::text,
  occurred_at text NOT NULL DEFAULT ''::text,
  actor text,
  origin text,
  traceparent text NOT NULL,
  state text NOT NULL,
  reason text,
  attempts integer NOT NULL DEFAULT 0,
  next_attempt_at timestamp with time zone,
  claimed_by integer,
  received timestamp with time zone NOT NULL DEFAULT now(),
  since timestamp with time zone NOT NULL DEFAULT now(),
  ended timestamp with time zone,
  body text
) WITH (fillfactor=70);

ALTER TABLE outbox ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE outbox ALTER COLUMN facts SET STORAGE EXTERNAL;

ALTER TABLE dead_fact ADD CONSTRAINT dead_fact_event_event_id_key UNIQUE (event, event_id);
ALTER TABLE dead_fact ADD CONSTRAINT dead_fact_pkey PRIMARY KEY (id);
ALTER TABLE fact_position ADD CONSTRAINT fact_position_pkey PRIMARY KEY (event);
ALTER TABLE hint ADD CONSTRAINT hint_pkey PRIMARY KEY (registry, event_id);
ALTER TABLE migrations ADD CONSTRAINT "PK_8c82d7f526340ab734260ea46be" PRIMARY KEY (id);
ALTER TABLE outbox ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);
ALTER TABLE outbox_stream ADD CONSTRAINT outbox_stream_pkey PRIMARY KEY (stream);
ALTER TABLE push ADD CONSTRAINT push_event UNIQUE (registry, event_id);
ALTER TABLE push ADD CONSTRAINT push_pkey PRIMARY KEY (id);
ALTER TABLE push ADD CONSTRAINT push_state CHECK ((state = ANY (ARRAY['pending'::text, 'mapped'::text, 'quarantined'::text])));

CREATE INDEX hint_received ON hint USING btree (received);
CREATE INDEX outbox_sent ON outbox USING btree (stream, sequence) WHERE (sequence IS NOT NULL);
CREATE INDEX outbox_waiting ON outbox USING btree (id) WHERE (sequence IS NULL);
CREATE INDEX push_claimed ON push USING btree (claimed_by) WHERE ((state = 'pending'::text) AND (claimed_by IS NOT NULL));
CREATE INDEX push_due ON push USING btree (registry, next_attempt_at, id) WHERE ((state = 'pending'::text) AND (claimed_by IS NULL) AND (next_attempt_at IS NOT NULL));
CREATE INDEX push_listed ON push USING btree (state, id) WHERE (state <> 'mapped'::text);
CREATE INDEX push_mapped ON push USING btree (ended) WHERE (state = 'mapped'::text);
CREATE INDEX push_order ON push USING btree (registry, repository, tag, id) WHERE (state = 'pending'::text);
