import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { DEFAULT_NAMESPACE, NAME_LABEL, type NamespaceObject, validateNamespace } from '@millrace/domain/namespace';
import type { ObjectMeta } from '@millrace/domain/object-meta';
import { alreadyExists, type FieldError, forbidden, invalid, notFound, type Status, StatusError, success } from '@millrace/domain/status';
import { Store, type Tx } from '@millrace/platform/store';
import { Changes, type Recorded } from './changes.ts';
import { jsonb } from './image-rows.ts';
import { type Listed, type ListRequest, pageOf } from './pages.ts';
import { Secrets } from './secrets.ts';
import { ServiceAccounts } from './service-accounts.ts';
import { inSeconds } from './stream-rows.ts';
import { type Listing, Streams } from './streams.ts';
import type { NamespaceRow } from './tables.ts';
import { metadataView } from './views.ts';
import { checkPreconditions, checkUpdate, type Preconditions, sameJson, withName, type WriteOptions } from './writes.ts';

const NAMESPACES = { group: '', resource: 'namespaces' };
/** Streams that one transaction deletes with their namespace. */
const STREAMS_AT_ONCE = 100;

const PHASE = 'Active';

/** How a namespace is refused: as one, or as the project that it is for OpenShift's clients. */
export interface NamespaceRules {
  group: string;
  kind: string;
  /** What is wrong with it; `old` is what it is to replace. */
  validate: (metadata: ObjectMeta, old?: ObjectMeta) => FieldError[];
}
const RULES: NamespaceRules = { group: '', kind: 'Namespace', validate: validateNamespace };

/**
 * Namespaces: those that somebody made, and those that are there because a stream or secret is in them. What needs a namespace does not wait for
 * it to be made.
 */
@Injectable()
export class Namespaces {
  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
    private readonly streams: Streams,
    private readonly secrets: Secrets,
    private readonly serviceAccounts: ServiceAccounts,
  ) {}

  async get(name: string): Promise<NamespaceObject> {
    const [known] = await this.read(this.store, 'name = $1', [name]);
    if (!known) throw new StatusError(notFound(NAMESPACES, name));
    return known;
  }

  list(request: ListRequest): Promise<Listing<NamespaceObject>> {
    return this.store.transaction(
      async (tx) => {
        const { keys, ...rest } = await pageOf(tx, LISTED, request);
        const known = new Map((await this.read(tx, 'name = ANY ($1)', [keys])).map((one) => [one.metadata.name, one]));
        return { ...rest, items: keys.map((name) => known.get(name)).filter((one) => one !== undefined) };
      },
      { isolation: 'REPEATABLE READ', readOnly: true },
    );
  }

  async create(submitted: ObjectMeta, { dryRun }: WriteOptions, rules = RULES): Promise<NamespaceObject> {
    const metadata = withName(submitted);
    const { name = '' } = metadata;
    refuse(rules, name, rules.validate(metadata));
    return numbered(
      await this.store.write(dryRun, async (tx) => {
        const [known] = await this.read(tx, 'name = $1', [name]);
        if (known) throw new StatusError(alreadyExists(NAMESPACES, name));
        return this.insert(tx, metadata, randomUUID(), new Date());
      }),
    );
  }

  async update(name: string, submitted: ObjectMeta, { dryRun }: WriteOptions, rules = RULES): Promise<NamespaceObject> {
    return numbered(
      await this.store.write(dryRun, async (tx) => {
        await tx.query('SELECT uid FROM namespace WHERE name = $1 FOR UPDATE', [name]);
        const [old] = await this.read(tx, 'name = $1', [name]);
        if (!old) throw new StatusError(notFound(NAMESPACES, name));
        // An update without a version overwrites: as on a cluster, unlike what holds for streams.
        if (submitted.resourceVersion) checkUpdate(NAMESPACES, old.metadata, submitted);
        const metadata = { ...submitted, name, labels: { ...submitted.labels, [NAME_LABEL]: name } };
        refuse(rules, name, rules.validate(metadata, old.metadata));
        if (sameJson(comparable(old.metadata), comparable(metadata))) return { namespace: old };
        const { uid = '' } = old.metadata;
        const updated = await tx.run('UPDATE namespace SET labels = $2, annotations = $3 WHERE uid = $1', [uid, ...columns(metadata)]);
        // One that was there only because something is in it is made by being given something of its own.
        if (!updated) return this.insert(tx, metadata, uid, new Date(old.metadata.creationTimestamp ?? 0));
        const recorded = this.changes.record(tx, { resource: 'namespaces', name, uid, type: 'MODIFIED' });
        return { namespace: await this.again(tx, name), recorded };
      }),
    );
  }

  /** Everything that is in it goes first, in parts: who is interrupted deletes on with the same request. What comes meanwhile makes the namespace anew. */
  async remove(name: string, preconditions: Preconditions, options: WriteOptions): Promise<Status> {
    const { metadata } = await this.get(name);
    if (name === DEFAULT_NAMESPACE) throw new StatusError(forbidden(NAMESPACES, name, 'this namespace may not be deleted'));
    checkPreconditions(NAMESPACES, metadata, preconditions);
    const { uid = '' } = metadata;
    if (!options.dryRun) {
      await this.empty(name, options);
      await this.store.transaction(async (tx) => {
        const [gone] = await tx.query<{ uid: string }>('SELECT uid FROM namespace WHERE name = $1 FOR UPDATE', [name]);
        if (!gone) return;
        const [last] = await this.read(tx, 'name = $1', [name]);
        await tx.run('DELETE FROM namespace WHERE uid = $1', [uid]);
        this.changes.record(tx, { resource: 'namespaces', name, uid, type: 'DELETED', object: last });
      });
    }
    return success({ name, kind: NAMESPACES.resource, uid });
  }

  private async empty(namespace: string, options: WriteOptions): Promise<void> {
    const all = { namespace, labels: [], fields: [], limit: STREAMS_AT_ONCE };
    for (let more = true; more;) more = (await this.streams.removeAll(all, options)).continue !== undefined;
    for (let more = true; more;) more = (await this.secrets.removeAll(all, options)).continue !== undefined;
    await this.serviceAccounts.removeOwn(namespace);
  }

  private async insert(
    tx: Tx,
    metadata: ObjectMeta,
    uid: string,
    created: Date,
  ): Promise<{ namespace: NamespaceObject; recorded: Recorded }> {
    const { name = '' } = metadata;
    const inserted = await tx.run(
      'INSERT INTO namespace (uid, name, created, labels, annotations) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING',
      [uid, name, created, ...columns(metadata)],
    );
    if (!inserted) throw new StatusError(alreadyExists(NAMESPACES, name));
    const recorded = this.changes.record(tx, { resource: 'namespaces', name, uid, type: 'ADDED' });
    return { namespace: await this.again(tx, name), recorded };
  }

  private async again(tx: Tx, name: string): Promise<NamespaceObject> {
    const [namespace] = await this.read(tx, 'name = $1', [name]);
    if (!namespace) throw new Error(`namespace ${name} is gone though its row is locked`);
    return namespace;
  }

  /** Namespaces of a condition on view `known_namespace`, in no order. */
  async read(on: Pick<Tx, 'query'>, condition: string, parameters: unknown[]): Promise<NamespaceObject[]> {
    const rows = await on.query<NamespaceRow>(
      `SELECT uid, name, created, resource_version AS "resourceVersion", labels, annotations FROM known_namespace WHERE ${condition}`,
      parameters,
    );
    return rows.map(({ uid, name, created, resourceVersion, labels, annotations }) => ({
      metadata: metadataView({
        name,
        uid,
        resourceVersion: resourceVersion === '0' ? undefined : resourceVersion,
        creationTimestamp: inSeconds(created),
        labels: { ...labels, [NAME_LABEL]: name },
        annotations: annotations ?? undefined,
      }),
      spec: { finalizers: ['kubernetes'] },
      status: { phase: PHASE },
    }));
  }
}

const LISTED: Listed = {
  table: 'known_namespace',
  key: 'name',
  namespace: `''`,
  columns: '',
  fieldOf: ({ name }, field) => (field === 'metadata.name' ? name : PHASE),
};

/** The label with its name goes without saying. */
function columns({ labels = {}, annotations }: ObjectMeta): (string | null)[] {
  const { [NAME_LABEL]: _name, ...own } = labels;
  return [jsonb(own), jsonb(annotations)];
}

const comparable = ({ labels, annotations }: ObjectMeta) => ({ labels, annotations });

function refuse({ group, kind }: NamespaceRules, name: string, errors: FieldError[]): void {
  if (errors.length) throw new StatusError(invalid(group, kind, name, errors));
}

const numbered = ({ namespace, recorded }: { namespace: NamespaceObject; recorded?: Recorded }): NamespaceObject =>
  recorded?.resourceVersion ? { ...namespace, metadata: { ...namespace.metadata, resourceVersion: recorded.resourceVersion } } : namespace;
