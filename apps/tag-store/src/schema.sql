-- The schema as its migrations make it; written by tables.int.spec.ts, not by hand.

CREATE TABLE change (
  revision bigint NOT NULL,
  resource text NOT NULL,
  namespace text NOT NULL,
  name text NOT NULL,
  uid uuid NOT NULL,
  type text NOT NULL,
  object text,
  recorded timestamp with time zone NOT NULL DEFAULT now()
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

CREATE TABLE fact_position (
  event text NOT NULL,
  stream text NOT NULL,
  stream_created text NOT NULL,
  sequence bigint NOT NULL,
  event_id text NOT NULL DEFAULT ''::text,
  updated timestamp with time zone NOT NULL DEFAULT now()
);

CREATE TABLE image (
  name text NOT NULL,
  uid uuid NOT NULL,
  resource_version bigint NOT NULL DEFAULT 0,
  created timestamp with time zone NOT NULL,
  labels jsonb,
  annotations jsonb,
  reference text NOT NULL,
  document text NOT NULL
) WITH (fillfactor=50);

CREATE TABLE image_child (
  parent text NOT NULL,
  child text NOT NULL
);

CREATE TABLE migrations (
  id integer NOT NULL DEFAULT nextval('migrations_id_seq'::regclass),
  timestamp bigint NOT NULL,
  name character varying NOT NULL
);

CREATE TABLE namespace (
  uid uuid NOT NULL,
  name text NOT NULL,
  created timestamp with time zone NOT NULL,
  resource_version bigint NOT NULL DEFAULT 0,
  labels jsonb,
  annotations jsonb
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

CREATE TABLE revision (
  single boolean NOT NULL DEFAULT true,
  value bigint NOT NULL,
  pruned bigint NOT NULL DEFAULT 0
) WITH (fillfactor=10);

CREATE TABLE secret (
  uid uuid NOT NULL,
  namespace text NOT NULL,
  name text NOT NULL,
  created timestamp with time zone NOT NULL,
  resource_version bigint NOT NULL DEFAULT 0,
  labels jsonb,
  annotations jsonb,
  type text NOT NULL,
  sealed bytea NOT NULL
);

CREATE TABLE service_account (
  uid uuid NOT NULL,
  namespace text NOT NULL,
  name text NOT NULL,
  created timestamp with time zone NOT NULL,
  resource_version bigint NOT NULL DEFAULT 0,
  labels jsonb,
  annotations jsonb,
  content jsonb NOT NULL
);

CREATE TABLE stream (
  uid uuid NOT NULL,
  namespace text NOT NULL,
  name text NOT NULL,
  created timestamp with time zone NOT NULL,
  generation bigint NOT NULL,
  resource_version bigint NOT NULL DEFAULT 0,
  labels jsonb,
  annotations jsonb,
  metadata jsonb,
  spec jsonb NOT NULL
) WITH (fillfactor=70);

CREATE TABLE tag (
  stream_uid uuid NOT NULL,
  name text NOT NULL,
  items bigint NOT NULL DEFAULT 0,
  top_position numeric,
  image text,
  reference text,
  created timestamp with time zone,
  generation bigint,
  conditions jsonb,
  moves bigint NOT NULL DEFAULT 0,
  last_move text,
  marks jsonb,
  control text,
  look_at timestamp with time zone,
  looked_at timestamp with time zone
) WITH (fillfactor=70);

CREATE TABLE tag_change (
  stream_uid uuid NOT NULL,
  tag text NOT NULL,
  position numeric NOT NULL,
  image text NOT NULL,
  reference text NOT NULL,
  created timestamp with time zone NOT NULL,
  generation bigint NOT NULL,
  source text,
  observed_at text COLLATE "C",
  cause text NOT NULL,
  brought text NOT NULL,
  traceparent text,
  since timestamp with time zone NOT NULL,
  verdicts text,
  outcome text,
  decided timestamp with time zone
);

CREATE TABLE tag_item (
  stream_uid uuid NOT NULL,
  tag text NOT NULL,
  position numeric NOT NULL,
  image text NOT NULL,
  reference text NOT NULL,
  created timestamp with time zone NOT NULL,
  generation bigint NOT NULL,
  source text,
  observed_at text COLLATE "C",
  cause text
);

ALTER TABLE image ALTER COLUMN document SET STORAGE EXTERNAL;
ALTER TABLE outbox ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE outbox ALTER COLUMN facts SET STORAGE EXTERNAL;

ALTER TABLE change ADD CONSTRAINT change_pkey PRIMARY KEY (revision);
ALTER TABLE change ADD CONSTRAINT change_type CHECK ((type = ANY (ARRAY['ADDED'::text, 'MODIFIED'::text, 'DELETED'::text])));
ALTER TABLE dead_fact ADD CONSTRAINT dead_fact_event_event_id_key UNIQUE (event, event_id);
ALTER TABLE dead_fact ADD CONSTRAINT dead_fact_pkey PRIMARY KEY (id);
ALTER TABLE fact_position ADD CONSTRAINT fact_position_pkey PRIMARY KEY (event);
ALTER TABLE image ADD CONSTRAINT image_pkey PRIMARY KEY (name);
ALTER TABLE image_child ADD CONSTRAINT image_child_pkey PRIMARY KEY (parent, child);
ALTER TABLE image_child ADD CONSTRAINT image_child_of_image FOREIGN KEY (parent) REFERENCES image(name) ON DELETE CASCADE;
ALTER TABLE migrations ADD CONSTRAINT "PK_8c82d7f526340ab734260ea46be" PRIMARY KEY (id);
ALTER TABLE namespace ADD CONSTRAINT namespace_name UNIQUE (name);
ALTER TABLE namespace ADD CONSTRAINT namespace_pkey PRIMARY KEY (uid);
ALTER TABLE outbox ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);
ALTER TABLE outbox_stream ADD CONSTRAINT outbox_stream_pkey PRIMARY KEY (stream);
ALTER TABLE revision ADD CONSTRAINT revision_pkey PRIMARY KEY (single);
ALTER TABLE revision ADD CONSTRAINT revision_single CHECK (single);
ALTER TABLE secret ADD CONSTRAINT secret_name UNIQUE (namespace, name);
ALTER TABLE secret ADD CONSTRAINT secret_pkey PRIMARY KEY (uid);
ALTER TABLE service_account ADD CONSTRAINT service_account_name UNIQUE (namespace, name);
ALTER TABLE service_account ADD CONSTRAINT service_account_pkey PRIMARY KEY (uid);
ALTER TABLE stream ADD CONSTRAINT stream_name UNIQUE (namespace, name);
ALTER TABLE stream ADD CONSTRAINT stream_pkey PRIMARY KEY (uid);
ALTER TABLE tag ADD CONSTRAINT tag_pkey PRIMARY KEY (stream_uid, name);
ALTER TABLE tag ADD CONSTRAINT tag_of_stream FOREIGN KEY (stream_uid) REFERENCES stream(uid) ON DELETE CASCADE;
ALTER TABLE tag_change ADD CONSTRAINT tag_change_pkey PRIMARY KEY (stream_uid, tag, "position");
ALTER TABLE tag_change ADD CONSTRAINT tag_change_of_tag FOREIGN KEY (stream_uid, tag) REFERENCES tag(stream_uid, name) ON DELETE CASCADE;
ALTER TABLE tag_item ADD CONSTRAINT tag_item_pkey PRIMARY KEY (stream_uid, tag, "position");
ALTER TABLE tag_item ADD CONSTRAINT tag_item_of_tag FOREIGN KEY (stream_uid, tag) REFERENCES tag(stream_uid, name) ON DELETE CASCADE;

CREATE INDEX image_child_child ON image_child USING btree (child);
CREATE INDEX outbox_sent ON outbox USING btree (stream, sequence) WHERE (sequence IS NOT NULL);
CREATE INDEX outbox_waiting ON outbox USING btree (id) WHERE (sequence IS NULL);
CREATE INDEX tag_controlled ON tag USING btree (stream_uid) WHERE (control IS NOT NULL);
CREATE INDEX tag_look_at ON tag USING btree (look_at) WHERE (look_at IS NOT NULL);
CREATE INDEX tag_looked_at ON tag USING btree (looked_at) WHERE (look_at IS NOT NULL);
CREATE UNIQUE INDEX tag_change_cause ON tag_change USING btree (stream_uid, tag, cause);
CREATE INDEX tag_change_decided ON tag_change USING btree (decided) WHERE (outcome IS NOT NULL);
CREATE INDEX tag_change_observed ON tag_change USING btree (stream_uid, tag, source, observed_at) WHERE (source IS NOT NULL);
CREATE INDEX tag_change_waiting ON tag_change USING btree (stream_uid, tag, "position") WHERE (outcome IS NULL);
CREATE UNIQUE INDEX tag_item_cause ON tag_item USING btree (stream_uid, tag, cause) WHERE (cause IS NOT NULL);
CREATE INDEX tag_item_image ON tag_item USING btree (image);
CREATE INDEX tag_item_observed ON tag_item USING btree (stream_uid, tag, source, observed_at) WHERE (source IS NOT NULL);
