import { exactField, type FieldRequirement, type LabelRequirement, matchesFields, matchesLabels } from '@millrace/domain/selectors';
import { badRequest, gone, type Status, StatusError } from '@millrace/domain/status';
import type { Tx } from '@millrace/platform/store';
import type { Change } from './changes.ts';

/** What a client asks of a list. */
export interface ListRequest {
  namespace?: string;
  labels: readonly LabelRequirement[];
  fields: readonly FieldRequirement[];
  limit?: number;
  continue?: string;
  /** The list must be at least as new as this; with `exact` it is of this moment. */
  resourceVersion?: string;
  exact?: boolean;
}

/** A table whose rows are listed by namespace and name, in the order of their bytes. */
export interface Listed {
  table: 'stream' | 'controlled_stream' | 'image' | 'secret' | 'known_service_account' | 'known_namespace';
  /** Column by which the rows of a page are read. */
  key: 'uid' | 'name';
  /** In the change feed; absent where that keeps nothing of it. */
  resource?: Change['resource'];
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
  /** Of them, what has been deleted since the moment of the list: the last state, as clients get it. */
  deleted: Map<string, object>;
  /** Of the list; the pages of one list have the same. */
  resourceVersion: string;
  continue?: string;
  remainingItemCount?: number;
}

/**
 * Which rows make this page of the list. `tx` must be a snapshot (REPEATABLE READ): the page's resourceVersion is its own, and a
 * watch from there misses nothing. Later pages, and lists of an exact version, leave out what was created after their moment and hold
 * what was deleted since; what was changed since is as it is now. Throws {@link StatusError}: 400 for a malformed token or version, 410 for
 * a moment older than the change feed, 504 for a version that is not there yet.
 */
export async function pageOf(tx: Tx, listed: Listed, request: ListRequest): Promise<Page> {
  const [revision] = await tx.query<{ value: string; pruned: string }>('SELECT value, pruned FROM revision');
  const current = BigInt(revision?.value ?? 0);
  const token = request.continue ? readToken(request.continue) : undefined;
  if (token && request.resourceVersion && request.resourceVersion !== '0')
    throw new StatusError(badRequest('specifying resource version is not allowed when using continue'));
  const pruned = BigInt(revision?.pruned ?? 0);
  if (token && token.rv < pruned) throw new StatusError(gone(TOKEN_EXPIRED));
  checkVersion(request.resourceVersion, current);
  const exact = request.exact && request.resourceVersion ? BigInt(request.resourceVersion) : undefined;
  if (exact !== undefined && exact < pruned) throw new StatusError(gone('The resourceVersion for the provided list is too old.'));

  const moment = token?.rv ?? exact;
  const at = String(moment ?? current);
  const present = await presentOf(tx, listed, request, { moment, after: token });
  const lost = moment === undefined || !listed.resource ? [] : await deletedOf(tx, listed, request, { moment, after: token });
  const rows = lost.length ? [...present.rows, ...lost].sort(inOrder) : present.rows;
  const page = rows.slice(0, request.limit);
  const last = page.at(-1);
  const keys = page.map((row) => row[listed.key]);
  const deleted = new Map(lost.map((row) => [row[listed.key], row.object]));
  if (!last || page.length === rows.length) return { keys, deleted, resourceVersion: at };
  return {
    keys,
    deleted,
    resourceVersion: at,
    continue: writeToken({ rv: BigInt(at), namespace: last.namespace, name: last.name }),
    // How many there are that a selector takes is not told, as in Kubernetes.
    ...(isSelective(request) ? {} : { remainingItemCount: present.total + lost.length - page.length }),
  };
}

/** A list that goes on, or that is of the past. */
interface Part {
  moment?: bigint;
  after?: Pick<Token, 'namespace' | 'name'>;
}

const isSelective = ({ labels, fields }: ListRequest): boolean => labels.length + fields.length > 0;

/** What is there, from the token on: at least one row more than the page holds, where there are more. Selectors are answered here, from light rows. */
async function presentOf(tx: Tx, listed: Listed, request: ListRequest, part: Part): Promise<{ rows: Candidate[]; total: number }> {
  const { table, namespace } = listed;
  const { conditions, parameters, given } = conditionsOf(namespace, request, part);
  if (part.moment !== undefined)
    conditions.push(
      `NOT EXISTS (SELECT FROM change WHERE revision > ${given(String(part.moment))} AND change.uid = ${table}.uid AND type = 'ADDED')`,
    );
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

type LastState = Pick<Candidate, 'uid' | 'namespace' | 'name'> & { object: LabelledObject };
type LabelledObject = { metadata: { labels?: Record<string, string> }; [part: string]: unknown };

/** What was there at that moment and has been deleted since, in its last state. */
async function deletedOf(tx: Tx, listed: Listed, request: ListRequest, part: Part): Promise<LastState[]> {
  const { conditions, parameters, given } = conditionsOf('namespace', request, part);
  const since = `revision > ${given(String(part.moment))}`;
  conditions.push(since, `resource = ${given(listed.resource)}`, `type = 'DELETED'`);
  conditions.push(`NOT EXISTS (SELECT FROM change AS made WHERE made.${since} AND made.uid = change.uid AND made.type = 'ADDED')`);
  const rows = await tx.query<Omit<LastState, 'object'> & { object: string }>(
    `SELECT uid, namespace, name, object FROM change WHERE ${conditions.join(' AND ')}`,
    parameters,
  );
  return rows
    .map((row) => ({ ...row, object: JSON.parse(row.object) as LabelledObject }))
    .filter(
      ({ object }) =>
        matchesLabels(request.labels, object.metadata.labels ?? {}) && matchesFields(request.fields, (field) => textAt(object, field)),
    );
}

function conditionsOf(namespace: string, request: ListRequest, { after }: Part) {
  const conditions: string[] = [];
  const parameters: unknown[] = [];
  const given = (value: unknown) => `$${parameters.push(value)}`;
  const name = exactField(request.fields, 'metadata.name');
  if (request.namespace !== undefined) conditions.push(`${namespace} = ${given(request.namespace)}`);
  if (name !== undefined) conditions.push(`name = ${given(name)}`);
  if (after) {
    const place = [after.namespace, after.name].map((text) => `${given(text)}::text COLLATE "C"`);
    conditions.push(`(${namespace} COLLATE "C", name COLLATE "C") > (${place.join(', ')})`);
  }
  return { conditions, parameters, given };
}

function textAt(object: object, field: string): string {
  const value = field.split('.').reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], object);
  return typeof value === 'string' ? value : '';
}

const inOrder = (a: Pick<Candidate, 'namespace' | 'name'>, b: Pick<Candidate, 'namespace' | 'name'>): number =>
  Buffer.compare(Buffer.from(a.namespace), Buffer.from(b.namespace)) || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name));

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

const TOKEN_VERSION = 'meta.k8s.io/v1';
const TOKEN_EXPIRED = 'The provided continue parameter is too old to display a consistent list result. Start a new list without it.';

/** As Kubernetes writes tokens: the place is the key after which the list goes on. */
const writeToken = ({ rv, namespace, name }: Token): string =>
  Buffer.from(JSON.stringify({ v: TOKEN_VERSION, rv: Number(rv), start: `${namespace}/${name}\0` })).toString('base64url');

function readToken(text: string): Token {
  const refused = (why: string) => new StatusError(badRequest(`invalid continue token: continue key is not valid: ${why}`));
  const odd = text.search(/[^\w-]/);
  if (odd >= 0 || text.length % 4 === 1) throw refused(`illegal base64 data at input byte ${odd >= 0 ? odd : text.length - 1}`);
  const bytes = Buffer.from(text, 'base64url');
  let token: { v?: unknown; rv?: unknown; start?: unknown } | null;
  try {
    token = JSON.parse(bytes.toString()) as typeof token;
  } catch {
    throw refused(jsonProblem(bytes));
  }
  const { v = '', rv, start } = token ?? {};
  if (v !== TOKEN_VERSION) throw refused(`server does not recognize this encoded version ${JSON.stringify(v)}`);
  if (!Number.isSafeInteger(rv) || Number(rv) <= 0) throw refused(`incorrect encoded start resourceVersion (version ${TOKEN_VERSION})`);
  const [, namespace, name] = /^([^/]*)\/(.+)\0$/s.exec(typeof start === 'string' ? start : '') ?? [];
  if (namespace === undefined || name === undefined) throw refused(`encoded start key empty (version ${TOKEN_VERSION})`);
  return { rv: BigInt(rv as number), namespace, name };
}

/** What is wrong with bytes that are no JSON, in the words of Go that clients of Kubernetes know. */
function jsonProblem(bytes: Buffer): string {
  const [first] = bytes;
  if (first === undefined) return 'unexpected end of JSON input';
  if ('{["-0123456789tfn'.includes(String.fromCharCode(first))) return 'unexpected end of JSON input';
  const shown = first < 0x20 || first > 0x7e ? `\\u${first.toString(16).padStart(4, '0')}` : String.fromCharCode(first);
  return `invalid character '${shown}' looking for beginning of value`;
}
