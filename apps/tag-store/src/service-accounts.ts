import { createHash, randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { fieldsOf, ServiceAccounts as ServiceAccountsResource } from '@millrace/contracts/resources';
import type { ObjectMeta } from '@millrace/domain/object-meta';
import { GIVEN_ACCOUNTS, ServiceAccount, validateServiceAccount } from '@millrace/domain/service-account';
import { alreadyExists, invalid, methodNotAllowed, notFound, type Status, StatusError, success } from '@millrace/domain/status';
import { Store, type Tx } from '@millrace/platform/store';
import { many, one, selection } from './answers.ts';
import { readBody } from './bodies.ts';
import { Changes, type Recorded } from './changes.ts';
import { jsonb } from './image-rows.ts';
import { type Listed, type ListRequest, pageOf } from './pages.ts';
import { inSeconds } from './stream-rows.ts';
import type { Listing } from './streams.ts';
import type { ServiceAccountRow } from './tables.ts';
import { asObject, metadataView } from './views.ts';
import { checkPreconditions, checkUpdate, type Preconditions, sameJson, withName, type WriteOptions } from './writes.ts';

const ACCOUNTS = { group: '', resource: 'serviceaccounts' };
const KIND = 'ServiceAccount';

/**
 * Service accounts of namespaces, with the secrets that are linked to them. The ones that every namespace is given have no row until they are
 * changed; a namespace need not be there for them.
 */
@Injectable()
export class ServiceAccounts {
  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
  ) {}

  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    const { namespace = '' } = question;
    switch (question.verb) {
      case 'get':
        return one(200, asObject(KIND, await this.get(namespace, question.name)));
      case 'list':
        return many(await this.list(selection(question, fieldsOf(ServiceAccountsResource))));
      case 'create': {
        const { object } = readBody(ServiceAccount, KIND, question.object, { namespace });
        return one(201, asObject(KIND, await this.create(namespace, object, question)));
      }
      case 'update': {
        const { object } = readBody(ServiceAccount, KIND, question.object, { namespace, name: question.name });
        return one(200, asObject(KIND, await this.update(namespace, question.name, object, question)));
      }
      case 'delete':
        return one(200, await this.remove(namespace, question.name, question.preconditions ?? {}, question));
      case 'deletecollection':
        return many(await this.removeAll(selection(question, fieldsOf(ServiceAccountsResource)), question));
      default:
        throw new StatusError(methodNotAllowed());
    }
  }

  async get(namespace: string, name: string): Promise<ServiceAccount> {
    return this.find(this.store, namespace, name);
  }

  list(request: ListRequest): Promise<Listing<ServiceAccount>> {
    return this.store.transaction((tx) => this.page(tx, request), { isolation: 'REPEATABLE READ', readOnly: true });
  }

  async create(namespace: string, submitted: ServiceAccount, { dryRun }: WriteOptions): Promise<ServiceAccount> {
    const wanted = { ...submitted, metadata: { ...withName(submitted.metadata), namespace } };
    const { name = '' } = wanted.metadata;
    refuse(wanted);
    if (GIVEN_ACCOUNTS.includes(name)) throw new StatusError(alreadyExists(ACCOUNTS, name));
    return numbered(await this.store.write(dryRun, (tx) => this.insert(tx, wanted, randomUUID(), 'ADDED')));
  }

  async update(namespace: string, name: string, submitted: ServiceAccount, { dryRun }: WriteOptions): Promise<ServiceAccount> {
    return numbered(
      await this.store.write(dryRun, async (tx) => {
        const old = await this.lock(tx, namespace, name);
        // An update without a version overwrites: as on a cluster, unlike what holds for streams.
        if (submitted.metadata.resourceVersion) checkUpdate(ACCOUNTS, old.metadata, submitted.metadata);
        const wanted = { ...submitted, metadata: { ...submitted.metadata, namespace, name } };
        refuse(wanted);
        if (sameJson(comparable(old), comparable(wanted))) return { account: old };
        const { uid = '' } = old.metadata;
        const updated = await tx.run('UPDATE service_account SET labels = $2, annotations = $3, content = $4 WHERE uid = $1', [
          uid,
          ...columns(wanted),
        ]);
        // One that the namespace is given gets its row now.
        if (!updated) return this.insert(tx, wanted, uid, 'MODIFIED');
        const recorded = this.changes.record(tx, { resource: 'serviceaccounts', namespace, name, uid, type: 'MODIFIED' });
        return { account: await this.find(tx, namespace, name), recorded };
      }),
    );
  }

  /** One that every namespace is given comes back at once, as it is given: another object of that name, as on a cluster. */
  remove(namespace: string, name: string, preconditions: Preconditions, { dryRun }: WriteOptions): Promise<Status> {
    return this.store.write(dryRun, async (tx) => {
      const account = await this.lock(tx, namespace, name);
      checkPreconditions(ACCOUNTS, account.metadata, preconditions);
      await this.replace(tx, account);
      return success({ name, kind: ACCOUNTS.resource, uid: account.metadata.uid });
    });
  }

  /** Deletes what the request selects, and answers what that was. */
  removeAll(request: ListRequest, { dryRun }: WriteOptions): Promise<Listing<ServiceAccount>> {
    return this.store.write(dryRun, async (tx) => {
      const listed = await this.page(tx, request);
      for (const account of listed.items) await this.replace(tx, account);
      return listed;
    });
  }

  /** Those of a namespace that goes. */
  removeOwn(namespace: string): Promise<void> {
    return this.store.transaction(async (tx) => {
      const own = await this.read(tx, 'uid IN (SELECT uid FROM service_account WHERE namespace = $1)', [namespace]);
      for (const account of own) await this.erase(tx, account);
    });
  }

  private async page(tx: Tx, request: ListRequest): Promise<Listing<ServiceAccount>> {
    const { keys, deleted, ...rest } = await pageOf(tx, LISTED, request);
    const accounts = new Map((await this.read(tx, 'uid = ANY ($1)', [keys])).map((account) => [account.metadata.uid, account]));
    const items = keys.map((uid) => accounts.get(uid) ?? (deleted.get(uid) as ServiceAccount | undefined));
    return { ...rest, items: items.filter((account) => account !== undefined) };
  }

  /** Throws {@link StatusError} 404 for one that is neither there nor given. */
  private async find(on: Pick<Tx, 'query'>, namespace: string, name: string): Promise<ServiceAccount> {
    const [known] = await this.read(on, 'namespace = $1 AND name = $2', [namespace, name]);
    if (known) return known;
    if (!GIVEN_ACCOUNTS.includes(name)) throw new StatusError(notFound(ACCOUNTS, name));
    // The view has it with the same uid, as soon as the namespace is there.
    const uid = createHash('md5').update(`serviceaccount/${namespace}/${name}`).digest('hex');
    const parts = [uid.slice(0, 8), uid.slice(8, 12), uid.slice(12, 16), uid.slice(16, 20), uid.slice(20)];
    return { metadata: { name, namespace, uid: parts.join('-'), resourceVersion: '1', creationTimestamp: inSeconds(new Date()) } };
  }

  private async lock(tx: Tx, namespace: string, name: string): Promise<ServiceAccount> {
    await tx.query('SELECT uid FROM service_account WHERE namespace = $1 AND name = $2 FOR UPDATE', [namespace, name]);
    return this.find(tx, namespace, name);
  }

  private async insert(
    tx: Tx,
    wanted: ServiceAccount,
    uid: string,
    type: 'ADDED' | 'MODIFIED',
  ): Promise<{ account: ServiceAccount; recorded: Recorded }> {
    const { namespace = '', name = '' } = wanted.metadata;
    const inserted = await tx.run(
      `INSERT INTO service_account (uid, namespace, name, created, labels, annotations, content) VALUES ($1, $2, $3, now(), $4, $5, $6)
       ON CONFLICT (namespace, name) DO NOTHING`,
      [uid, namespace, name, ...columns(wanted)],
    );
    if (!inserted) throw new StatusError(alreadyExists(ACCOUNTS, name));
    const recorded = this.changes.record(tx, { resource: 'serviceaccounts', namespace, name, uid, type });
    return { account: await this.find(tx, namespace, name), recorded };
  }

  private async replace(tx: Tx, account: ServiceAccount): Promise<void> {
    const { namespace, name = '' } = account.metadata;
    await this.erase(tx, account);
    if (GIVEN_ACCOUNTS.includes(name)) await this.insert(tx, { metadata: { namespace, name } }, randomUUID(), 'ADDED');
  }

  private async erase(tx: Tx, account: ServiceAccount): Promise<void> {
    const { namespace, name = '', uid = '' } = account.metadata;
    await tx.run('DELETE FROM service_account WHERE uid = $1', [uid]);
    this.changes.record(tx, { resource: 'serviceaccounts', namespace, name, uid, type: 'DELETED', object: account });
  }

  /** Accounts of a condition on view `known_service_account`, in no order. */
  async read(on: Pick<Tx, 'query'>, condition: string, parameters: unknown[]): Promise<ServiceAccount[]> {
    const rows = await on.query<ServiceAccountRow>(
      `SELECT uid, namespace, name, created, resource_version AS "resourceVersion", labels, annotations, content
         FROM known_service_account WHERE ${condition}`,
      parameters,
    );
    return rows.map(({ content, ...row }) => ({
      metadata: metadataView({
        ...row,
        resourceVersion: row.resourceVersion === '0' ? undefined : row.resourceVersion,
        creationTimestamp: inSeconds(row.created),
        labels: row.labels ?? undefined,
        annotations: row.annotations ?? undefined,
      }),
      ...content,
    }));
  }
}

const LISTED: Listed = {
  table: 'known_service_account',
  key: 'uid',
  resource: 'serviceaccounts',
  namespace: 'namespace',
  columns: '',
  fieldOf: ({ namespace, name }, field) => (field === 'metadata.name' ? name : namespace),
};

const contentOf = ({ secrets, imagePullSecrets, automountServiceAccountToken }: ServiceAccount) => ({
  ...(secrets?.length ? { secrets } : {}),
  ...(imagePullSecrets?.length ? { imagePullSecrets } : {}),
  ...(automountServiceAccountToken === undefined ? {} : { automountServiceAccountToken }),
});

const columns = (account: ServiceAccount): (string | null)[] => [
  jsonb(account.metadata.labels),
  jsonb(account.metadata.annotations),
  JSON.stringify(contentOf(account)),
];

const comparable = (account: ServiceAccount) => {
  const { labels, annotations }: ObjectMeta = account.metadata;
  return { labels, annotations, ...contentOf(account) };
};

function refuse(account: ServiceAccount): void {
  const errors = validateServiceAccount(account);
  if (errors.length) throw new StatusError(invalid('', KIND, account.metadata.name ?? '', errors));
}

const numbered = ({ account, recorded }: { account: ServiceAccount; recorded?: Recorded }): ServiceAccount =>
  recorded?.resourceVersion ? { ...account, metadata: { ...account.metadata, resourceVersion: recorded.resourceVersion } } : account;
