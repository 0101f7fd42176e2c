import { exactField, type FieldRequirement, type LabelRequirement, matchesFields, matchesLabels } from '@millrace/domain/selectors';
import { badRequest, gone, type Status, StatusError } from '@millrace/domain/status';
import type { Tx } from '@millrace/platform/store';

/** What a client asks of a list. */
export interface ListRequest {
  namespace?: string;
  labels: readonly LabelRequirement[];
  fields: readonly FieldRequirement[];
  limit?: number;
  continue?: string;
  /** The list must be at least as new as this. */
  resourceVersion?: string;
}

/** A table whose rows are listed by namespace and name, in the order of their bytes. */
export interface Listed {
  table: 'stream' | 'image' | 'secret' | 'known_namespace';
  /** Column by which the rows of a page are read. */
  key: 'uid' | 'name';
  /** SQL of the namespace; `''` for a resource that has none. */
  namespace: string;
  /** Further columns that {@link Candidate} needs to answer field selectors. */
  columns: string;
  fieldOf: (candidate: Candidate, field: string) => string;
}

export interface Candidate {
  uid: string;
  namespace: string;
  name: string;
  labels: Record<string, string> | null;
  [column: string]: unknown;
}

export interface Page {
  /** In the order of the list. */
  keys: string[];
  /** Of the list; the pages of one list have the same. */
  resourceVersion: string;
  continue?: string;
  remainingItemCount?: number;
}

/**
 * Which rows make this page of the list. `tx` must be a snapshot (REPEATABLE READ): the page's resourceVersion is its own, and a
 * watch from there misses nothing. Later pages leave out what was created after the first. Throws {@link StatusError}: 400 for a
 * malformed token or version, 410 for a token older than the change feed, 504 for a version that is not there yet.
 */
export async function pageOf(tx: Tx, listed: Listed, request: ListRequest): Promise<Page> {
  const [revision] = await tx.query<{ value: string; pruned: string }>('SELECT value, pruned FROM revision');
  const current = BigInt(revision?.value ?? 0);
  const token = request.continue ? readToken(request.continue) : undefined;
  if (token && request.resourceVersion && request.resourceVersion !== '0')
    throw new StatusError(badRequest('specifying resource version is not allowed when using continue'));
  if (token && token.rv < BigInt(revision?.pruned ?? 0))
    throw new StatusError(
      gone('The provided continue parameter is too old to display a consistent list result. Start a new list without it.'),
    );
  checkVersion(request.resourceVersion, current);

  const at = String(token?.rv ?? current);
  const { rows, total } = await candidatesOf(tx, listed, request, token);
  const page = rows.slice(0, request.limit);
  const last = page.at(-1);
  const keys = page.map((row) => row[listed.key]);
  if (!last || page.length === rows.length) return { keys, resourceVersion: at };
  return {
    keys,
    resourceVersion: at,
    continue: writeToken({ rv: BigInt(at), namespace: last.namespace, name: last.name }),
    // How many there are that a selector takes is not told, as in Kubernetes.
    ...(isSelective(request) ? {} : { remainingItemCount: total - page.length }),
  };
}

const isSelective = ({ labels, fields }: ListRequest): boolean => labels.length + fields.length > 0;

/** From the token on: at least one row more than the page holds, where there are more. Selectors are answered here, from light rows. */
async function candidatesOf(
  tx: Tx,
  listed: Listed,
  request: ListRequest,
  token: Token | undefined,
): Promise<{ rows: Candidate[]; total: number }> {
  const { table, namespace } = listed;
  const conditions: string[] = [];
  const parameters: unknown[] = [];
  const given = (value: unknown) => `$${parameters.push(value)}`;
  const name = exactField(request.fields, 'metadata.name');
  if (request.namespace !== undefined) conditions.push(`${namespace} = ${given(request.namespace)}`);
  if (name !== undefined) conditions.push(`name = ${given(name)}`);
  if (token) {
    const after = [token.namespace, token.name].map((part) => `${given(part)}::text COLLATE "C"`);
    conditions.push(`(${namespace} COLLATE "C", name COLLATE "C") > (${after.join(', ')})`);
    const since = `revision > ${given(String(token.rv))} AND change.uid = ${table}.uid AND type = 'ADDED'`;
    conditions.push(`NOT EXISTS (SELECT FROM change WHERE ${since})`);
  }
  const from = `FROM ${table} ${conditions.length ? `WHERE ${conditions.join(' AND ')}` : ''}`;
  const bound = isSelective(request) ? undefined : request.limit;
  const rows = await tx.query<Candidate>(
    `SELECT uid, ${namespace} AS namespace, name, labels${listed.columns} ${from}
      ORDER BY ${namespace} COLLATE "C", name COLLATE "C" ${bound ? `LIMIT ${bound + 1}` : ''}`,
    parameters,
  );
  const selected = rows.filter(
    (row) => matchesLabels(request.labels, row.labels ?? {}) && matchesFields(request.fields, (field) => listed.fieldOf(row, field)),
  );
  if (!bound || rows.length <= bound) return { rows: selected, total: selected.length };
  const [counted] = await tx.query<{ n: string }>(`SELECT count(*) AS n ${from}`, parameters);
  return { rows: selected, total: Number(counted?.n) };
}

function checkVersion(wanted: string | undefined, current: bigint): void {
  if (!wanted) return;
  if (!/^\d+$/.test(wanted)) throw new StatusError(badRequest(`resourceVersion: Invalid value: ${JSON.stringify(wanted)}: not a number`));
  if (BigInt(wanted) > current) throw new StatusError(tooLargeVersion(wanted, String(current)));
}

/** 504: the version may come; the client waits and asks again. */
const tooLargeVersion = (wanted: string, current: string): Status => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Failure',
  message: `Timeout: Too large resource version: ${wanted}, current: ${current}`,
  reason: 'Timeout',
  details: { causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }], retryAfterSeconds: 1 },
  code: 504,
});

/** Where a list goes on: after this object, at the state of this revision. */
interface Token {
  rv: bigint;
  namespace: string;
  name: string;
}

const writeToken = ({ rv, namespace, name }: Token): string =>
  Buffer.from(JSON.stringify({ v: 1, rv: String(rv), after: [namespace, name] })).toString('base64url');

function readToken(text: string): Token {
  try {
    const { v, rv, after } = JSON.parse(Buffer.from(text, 'base64url').toString()) as { v: unknown; rv: string; after: [string, string] };
    if (v === 1 && /^\d+$/.test(rv) && typeof after[0] === 'string' && typeof after[1] === 'string')
      return { rv: BigInt(rv), namespace: after[0], name: after[1] };
  } catch {
    // told below
  }
  throw new StatusError(
    badRequest('invalid continue token: continue key is not valid: use a token as an earlier page of this list gave it'),
  );
}
