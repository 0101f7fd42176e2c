import { randomUUID } from 'node:crypto';
import type { ImageStreamSpec } from '@millrace/domain/image-stream';
import type { Tx } from '@millrace/platform/store';

export interface StreamKey {
  namespace: string;
  name: string;
}

/** A stream whose row this transaction has locked. */
export interface LockedStream extends StreamKey {
  uid: string;
  generation: number;
  spec: ImageStreamSpec;
}

/** Locks the rows of the streams that exist, always in the order of their names; the keys of the answer are {@link streamKey}. */
export async function lockStreams(tx: Tx, keys: readonly StreamKey[]): Promise<Map<string, LockedStream>> {
  const rows = await tx.query<{ uid: string; namespace: string; name: string; generation: string; spec: ImageStreamSpec }>(
    `SELECT s.uid, s.namespace, s.name, s.generation, s.spec
       FROM stream s JOIN (SELECT DISTINCT namespace, name FROM unnest($1::text[], $2::text[]) AS k (namespace, name)) AS k
            ON s.namespace = k.namespace AND s.name = k.name
      ORDER BY s.namespace, s.name FOR NO KEY UPDATE OF s`,
    [keys.map((key) => key.namespace), keys.map((key) => key.name)],
  );
  return new Map(rows.map((row) => [streamKey(row), { ...row, generation: Number(row.generation) }]));
}

/** Makes the streams that are not there yet, empty; answers those that it made. */
export function insertStreams(tx: Tx, keys: readonly StreamKey[]): Promise<(StreamKey & { uid: string })[]> {
  const wanted = [...new Map(keys.map((key) => [streamKey(key), key])).values()];
  return tx.query(
    `INSERT INTO stream (uid, namespace, name, created, generation, spec)
     SELECT k.uid, k.namespace, k.name, now(), 1, '{"lookupPolicy": {"local": false}}'
       FROM unnest($1::uuid[], $2::text[], $3::text[]) AS k (uid, namespace, name)
      WHERE NOT EXISTS (SELECT 1 FROM stream s WHERE s.namespace = k.namespace AND s.name = k.name)
      ORDER BY k.namespace, k.name
     ON CONFLICT DO NOTHING RETURNING uid, namespace, name`,
    [wanted.map(() => randomUUID()), wanted.map((key) => key.namespace), wanted.map((key) => key.name)],
  );
}

export const streamKey = ({ namespace, name }: StreamKey): string => `${namespace}/${name}`;

/** The repository that belongs to a stream; empty where there is none. */
export function repositoryOf(stream: Pick<LockedStream, 'namespace' | 'name' | 'spec'>, internalRegistryHost: string): string {
  return internalRegistryHost ? `${internalRegistryHost}/${stream.namespace}/${stream.name}` : (stream.spec.dockerImageRepository ?? '');
}

/** RFC 3339 in whole seconds, as the API shows times. */
export const inSeconds = (time: Date): string => `${time.toISOString().slice(0, 19)}Z`;
