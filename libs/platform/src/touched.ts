import type { Touched } from '@millrace/contracts/requests';
import type { Tx } from './store.ts';

/** Who would be told more forgets everything it has kept. */
const TOUCHED_MAX = 1_000;
const MAX_REVISION = String(2n ** 63n - 1n);

type Row = Record<'value' | 'pruned', string> & Record<'resource' | 'namespace' | 'name' | 'type', string | null>;

/**
 * Which objects have changed since a resourceVersion, by name, in one statement; not which where that is no longer known, or is too much to tell. Of
 * a service that numbers its changes in tables `revision` and `change`.
 */
export async function touchedSince(store: Pick<Tx, 'query'>, since?: string): Promise<Touched> {
  const rows = await store.query<Row>(
    `SELECT value, pruned, one.* FROM revision LEFT JOIN LATERAL (
       SELECT resource, namespace, name, type FROM change WHERE change.revision > $1 ORDER BY change.revision LIMIT ${TOUCHED_MAX + 1}
     ) AS one ON true`,
    [since ?? MAX_REVISION],
  );
  const position = rows[0]?.value ?? '0';
  const known = since !== undefined && BigInt(since) >= BigInt(rows[0]?.pruned ?? 0) && rows.length <= TOUCHED_MAX;
  if (!known) return { position };
  const objects = rows.filter(({ resource }) => resource !== null).map(({ value: _, pruned: __, ...object }) => object);
  return { position, objects: objects as Touched['objects'] };
}
