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

CREATE TABLE scheduled_import (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  host text NOT NULL,
  repository text NOT NULL,
  reference text NOT NULL,
  insecure boolean NOT NULL,
  import_mode text NOT NULL,
  credentials text NOT NULL,
  digest text,
  failures integer NOT NULL DEFAULT 0,
  refused boolean NOT NULL DEFAULT false,
  reason text,
  told text,
  announced boolean NOT NULL DEFAULT false,
  announced_digest text,
  looks integer NOT NULL DEFAULT 0,
  woken boolean NOT NULL DEFAULT false,
  touched bigint NOT NULL DEFAULT 0,
  next_check_at timestamp with time zone NOT NULL,
  claimed_by integer,
  checked_at timestamp with time zone,
  changed_at timestamp with time zone,
  created timestamp with time zone NOT NULL
) WITH (fillfactor=70);

CREATE TABLE scheduled_tag (
  stream_uid uuid NOT NULL,
  tag text NOT NULL,
  namespace text NOT NULL,
  import_id bigint,
  woken boolean NOT NULL DEFAULT false,
  interval_ms bigint NOT NULL,
  problem text,
  digest text,
  image text
) WITH (fillfactor=70);

CREATE TABLE wanted_stream (
  stream_uid uuid NOT NULL,
  namespace text NOT NULL,
  name text NOT NULL,
  resource_version bigint NOT NULL,
  repository text,
  repository_insecure boolean NOT NULL DEFAULT false,
  repository_attempts integer NOT NULL DEFAULT 0,
  repository_next_attempt_at timestamp with time zone,
  claimed_by integer
) WITH (fillfactor=70);

CREATE TABLE wanted_tag (
  stream_uid uuid NOT NULL,
  tag text NOT NULL,
  source text NOT NULL,
  generation bigint,
  insecure boolean NOT NULL,
  scheduled boolean NOT NULL,
  import_mode text NOT NULL,
  reference_policy text NOT NULL,
  prefer_arch text,
  prefer_os text,
  attempts integer NOT NULL DEFAULT 0,
  next_attempt_at timestamp with time zone
) WITH (fillfactor=70);

ALTER TABLE outbox ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE outbox ALTER COLUMN facts SET STORAGE EXTERNAL;

ALTER TABLE dead_fact ADD CONSTRAINT dead_fact_event_event_id_key UNIQUE (event, event_id);
ALTER TABLE dead_fact ADD CONSTRAINT dead_fact_pkey PRIMARY KEY (id);
ALTER TABLE fact_position ADD CONSTRAINT fact_position_pkey PRIMARY KEY (event);
ALTER TABLE migrations ADD CONSTRAINT "PK_8c82d7f526340ab734260ea46be" PRIMARY KEY (id);
ALTER TABLE outbox ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);
ALTER TABLE outbox_stream ADD CONSTRAINT outbox_stream_pkey PRIMARY KEY (stream);
ALTER TABLE scheduled_import ADD CONSTRAINT scheduled_import_key UNIQUE (host, repository, reference, insecure, import_mode, credentials);
ALTER TABLE scheduled_import ADD CONSTRAINT scheduled_import_pkey PRIMARY KEY (id);
ALTER TABLE scheduled_tag ADD CONSTRAINT scheduled_tag_pkey PRIMARY KEY (stream_uid, tag);
ALTER TABLE scheduled_tag ADD CONSTRAINT scheduled_tag_of_import FOREIGN KEY (import_id) REFERENCES scheduled_import(id);
ALTER TABLE scheduled_tag ADD CONSTRAINT scheduled_tag_of_wanted FOREIGN KEY (stream_uid, tag) REFERENCES wanted_tag(stream_uid, tag) ON DELETE CASCADE;
ALTER TABLE wanted_stream ADD CONSTRAINT wanted_stream_name UNIQUE (namespace, name);
ALTER TABLE wanted_stream ADD CONSTRAINT wanted_stream_pkey PRIMARY KEY (stream_uid);
ALTER TABLE wanted_tag ADD CONSTRAINT wanted_tag_pkey PRIMARY KEY (stream_uid, tag);
ALTER TABLE wanted_tag ADD CONSTRAINT wanted_tag_of_stream FOREIGN KEY (stream_uid) REFERENCES wanted_stream(stream_uid) ON DELETE CASCADE;

CREATE INDEX outbox_sent ON outbox USING btree (stream, sequence) WHERE (sequence IS NOT NULL);
CREATE INDEX outbox_waiting ON outbox USING btree (id) WHERE (sequence IS NULL);
CREATE INDEX scheduled_import_claimed ON scheduled_import USING btree (claimed_by) WHERE (claimed_by IS NOT NULL);
CREATE INDEX scheduled_import_due ON scheduled_import USING btree (next_check_at) WHERE ((claimed_by IS NULL) AND (NOT woken));
CREATE INDEX scheduled_import_failing ON scheduled_import USING btree (id) WHERE (failures > 0);
CREATE INDEX scheduled_import_woken ON scheduled_import USING btree (next_check_at) WHERE ((claimed_by IS NULL) AND woken);
CREATE INDEX scheduled_tag_following ON scheduled_tag USING btree (import_id);
CREATE INDEX scheduled_tag_in ON scheduled_tag USING btree (namespace);
CREATE INDEX scheduled_tag_unseated ON scheduled_tag USING btree (namespace) WHERE (import_id IS NULL);
CREATE INDEX wanted_stream_claimed ON wanted_stream USING btree (claimed_by) WHERE (claimed_by IS NOT NULL);
CREATE INDEX wanted_stream_due ON wanted_stream USING btree (repository_next_attempt_at) WHERE (repository_next_attempt_at IS NOT NULL);
CREATE INDEX wanted_tag_due ON wanted_tag USING btree (next_attempt_at) WHERE (next_attempt_at IS NOT NULL);
