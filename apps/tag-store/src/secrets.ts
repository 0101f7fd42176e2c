import { createHash, randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { Answer, Question } from '@millrace/contracts/define';
import {
  type ObjectAnswer,
  type ObjectQuestion,
  PULL_SECRETS_BELL,
  type PullSecrets,
  sealedValueOf,
  type SecretValues,
} from '@millrace/contracts/requests';
import { fieldsOf, Secrets as SecretsResource } from '@millrace/contracts/resources';
import { isRegistrySecret, REGISTRY_SECRET_TYPES, registriesOf } from '@millrace/domain/keyring';
import type { ObjectMeta } from '@millrace/domain/object-meta';
import { isPullSecret, LAST_APPLIED, OPAQUE, Secret, validateSecret } from '@millrace/domain/secret';
import {
  alreadyExists,
  internalError,
  invalid,
  methodNotAllowed,
  notFound,
  type Status,
  StatusError,
  success,
} from '@millrace/domain/status';
import { Bus } from '@millrace/platform/bus';
import { HEADER_BYTES, keyIdOf, SealError, Sealing } from '@millrace/platform/sealing';
import { Store, type Tx } from '@millrace/platform/store';
import { many, one, selection } from './answers.ts';
import { readBody } from './bodies.ts';
import { type Change, Changes, type Recorded } from './changes.ts';
import { jsonb } from './image-rows.ts';
import { type Listed, type ListRequest, pageOf } from './pages.ts';
import { inSeconds } from './stream-rows.ts';
import type { Listing } from './streams.ts';
import type { SecretRow } from './tables.ts';
import { asObject, metadataView } from './views.ts';
import { checkPreconditions, checkUpdate, type Preconditions, sameJson, withName, type WriteOptions } from './writes.ts';

const SECRETS = { group: '', resource: 'secrets' };
const KIND = 'Secret';
/** Of one value that is asked for, in base64: what is longer is no token, key or certificate. */
const VALUE_MAX = (64 * 1_024 * 4) / 3;

/** Secrets of namespaces. What is in one is sealed where it is kept, and is in no log, error or event. */
@Injectable()
export class Secrets {
  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
    private readonly sealing: Sealing,
    private readonly bus: Bus,
  ) {}

  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    const { namespace = '' } = question;
    switch (question.verb) {
      case 'get':
        return one(200, asObject(KIND, await this.get(namespace, question.name)));
      case 'list':
        return many(await this.list(selection(question, FIELDS)));
      case 'create': {
        const { object } = readBody(Secret, KIND, question.object, { namespace });
        return one(201, asObject(KIND, await this.create(namespace, object, question)));
      }
      case 'update': {
        const { object } = readBody(Secret, KIND, question.object, { namespace, name: question.name });
        return one(200, asObject(KIND, await this.update(namespace, question.name, object, question)));
      }
      case 'delete':
        return one(200, await this.remove(namespace, question.name, question.preconditions ?? {}, question));
      case 'deletecollection':
        return many(await this.removeAll(selection(question, FIELDS), question));
      default:
        throw new StatusError(methodNotAllowed());
    }
  }

  async get(namespace: string, name: string): Promise<Secret> {
    const secret = await this.find(this.store, namespace, name);
    if (!secret) throw new StatusError(notFound(SECRETS, name));
    return secret;
  }

  list(request: ListRequest, shown?: (row: SecretRow) => Secret): Promise<Listing<Secret>> {
    return this.store.transaction((tx) => this.page(tx, request, shown), { isolation: 'REPEATABLE READ', readOnly: true });
  }

  /** Those with which images are pulled, as one object: imagestreams/secrets is asked for like one, and answered with a list. */
  async forPulling(question: Extract<ObjectQuestion, { verb: 'get' }>): Promise<object> {
    const { namespace = '', labelSelector, fieldSelector } = question;
    const request = selection({ resource: SECRETS.resource, namespace, labelSelector, fieldSelector }, FIELDS);
    // Others need not be readable.
    const { items, resourceVersion } = await this.list(request, (row) => (isPullSecret(closed(row)) ? this.opened(row) : closed(row)));
    return { metadata: { resourceVersion }, items: items.filter(isPullSecret) };
  }

  /** Those with which images are fetched, as they lie in the database, unless the asker has them; in one snapshot with their revision. */
  sealedForPulling({ namespace, known }: Question<typeof PullSecrets>): Promise<Answer<typeof PullSecrets>> {
    return this.store.transaction(
      async (tx) => {
        const rows = await tx.query<SealedRow>(
          `SELECT uid, name, resource_version AS "resourceVersion", type, annotations, substring(sealed for ${HEADER_BYTES}) AS header
             FROM secret WHERE namespace = $1 AND type = ANY ($2) ORDER BY name COLLATE "C"`,
          [namespace, REGISTRY_SECRET_TYPES],
        );
        const chosen = rows.filter(({ name, type, annotations }) => isRegistrySecret({ metadata: metadataOf(name, annotations), type }));
        const revision = createHash('sha256')
          .update(JSON.stringify(chosen.map(({ uid, resourceVersion, header }) => [uid, resourceVersion, keyIdOf(header)])))
          .digest('base64url');
        if (revision === known) return { revision };
        const full = await tx.query<Pick<SecretRow, 'uid' | 'sealed'>>('SELECT uid, sealed FROM secret WHERE uid = ANY ($1)', [
          chosen.map(({ uid }) => uid),
        ]);
        const sealed = new Map(full.map((row) => [row.uid, row.sealed.toString('base64')]));
        const secrets = chosen.map(({ uid, name, resourceVersion, type, annotations, header }) => ({
          name,
          uid,
          resourceVersion,
          type,
          registries: registriesOf({ metadata: metadataOf(name, annotations), type }),
          keyId: keyIdOf(header),
          sealed: sealed.get(uid) ?? '',
        }));
        return { revision, secrets };
      },
      { isolation: 'REPEATABLE READ', readOnly: true },
    );
  }

  /** Single values, each sealed by itself: who asks for one is told no other. */
  async sealedValues({ namespace, keys }: Question<typeof SecretValues>): Promise<Answer<typeof SecretValues>> {
    const rows = await this.rows(this.store, 'namespace = $1 AND name = ANY ($2)', [namespace, [...new Set(keys.map(({ name }) => name))]]);
    const found = new Map(rows.map((row) => [row.name, row]));
    const values = keys.map(({ name, key }): Answer<typeof SecretValues>['values'][number] => {
      const row = found.get(name);
      if (!row) return { kind: 'missing', reason: `there is no secret ${name} in namespace ${namespace}` };
      try {
        const data = this.sealing.open(row.sealed, row.uid) as Record<string, string>;
        const value = key !== LAST_APPLIED && Object.hasOwn(data, key) ? data[key] : undefined;
        if (value === undefined) return { kind: 'missing', reason: `secret ${name} has no key ${key}` };
        if (value.length > VALUE_MAX) return { kind: 'unreadable', reason: `${key} of secret ${name} is longer than 64 kB` };
        return { kind: 'sealed', sealed: this.sealing.seal({ value }, sealedValueOf(namespace, { name, key })).toString('base64') };
      } catch (error) {
        if (!(error instanceof SealError)) throw error;
        return { kind: 'unreadable', reason: `secret ${name}: ${error.message}` };
      }
    });
    return { values };
  }

  async create(namespace: string, submitted: Secret, { dryRun }: WriteOptions): Promise<Secret> {
    const metadata = withName(submitted.metadata);
    const wanted = { metadata: { ...metadata, namespace }, type: submitted.type || OPAQUE, data: dataOf(submitted) };
    refuse(wanted);
    const { name = '' } = metadata;
    return numbered(
      await this.store.write(dryRun, async (tx) => {
        const uid = randomUUID();
        const inserted = await tx.run(
          `INSERT INTO secret (uid, namespace, name, created, labels, annotations, sealed, type) VALUES ($1, $2, $3, now(), $4, $5, $6, $7)
           ON CONFLICT (namespace, name) DO NOTHING`,
          [uid, namespace, name, jsonb(metadata.labels), ...this.kept(wanted, uid), wanted.type],
        );
        if (!inserted) throw new StatusError(alreadyExists(SECRETS, name));
        const recorded = this.record(tx, { namespace, name, uid, type: 'ADDED' });
        return { secret: await this.again(tx, namespace, name), recorded };
      }),
    );
  }

  async update(namespace: string, name: string, submitted: Secret, { dryRun }: WriteOptions): Promise<Secret> {
    return numbered(
      await this.store.write(dryRun, async (tx) => {
        const row = await this.lock(tx, namespace, name);
        const old = this.openedIfPossible(row);
        // An update without a version overwrites: as on a cluster, unlike what holds for streams.
        if (submitted.metadata.resourceVersion) checkUpdate(SECRETS, old.metadata, submitted.metadata);
        const metadata = { ...submitted.metadata, namespace, name };
        const wanted = { metadata, type: submitted.type || old.type || OPAQUE, data: dataOf(submitted) };
        refuse(wanted, { type: old.type ?? OPAQUE });
        // One under an older key, or one that is not readable, is written in any case.
        const current = keyIdOf(row.sealed) === this.sealing.keyId;
        if (current && sameJson(comparable(old), comparable(wanted))) return { secret: old };
        const uid = old.metadata.uid ?? '';
        await tx.run('UPDATE secret SET labels = $2, annotations = $3, sealed = $4 WHERE uid = $1', [
          uid,
          jsonb(metadata.labels),
          ...this.kept(wanted, uid),
        ]);
        const recorded = this.record(tx, { namespace, name, uid, type: 'MODIFIED' });
        return { secret: await this.again(tx, namespace, name), recorded };
      }),
    );
  }

  remove(namespace: string, name: string, preconditions: Preconditions, { dryRun }: WriteOptions): Promise<Status> {
    return this.store.write(dryRun, async (tx) => {
      const { metadata } = closed(await this.lock(tx, namespace, name));
      checkPreconditions(SECRETS, metadata, preconditions);
      await this.erase(tx, metadata);
      return success({ name, kind: SECRETS.resource, uid: metadata.uid });
    });
  }

  /** Deletes what the request selects, and answers what that was. */
  removeAll(request: ListRequest, { dryRun }: WriteOptions): Promise<Listing<Secret>> {
    return this.store.write(dryRun, async (tx) => {
      const listed = await this.page(tx, request, (row) => this.openedIfPossible(row));
      for (const { metadata } of listed.items) await this.erase(tx, metadata);
      return listed;
    });
  }

  private async page(tx: Tx, request: ListRequest, shown = (row: SecretRow) => this.opened(row)): Promise<Listing<Secret>> {
    const { keys, ...rest } = await pageOf(tx, LISTED, request);
    const rows = new Map((await this.rows(tx, 'uid = ANY ($1)', [keys])).map((row) => [row.uid, row]));
    return { ...rest, items: keys.flatMap((uid) => rows.get(uid) ?? []).map(shown) };
  }

  private async find(on: Pick<Tx, 'query'>, namespace: string, name: string): Promise<Secret | undefined> {
    return (await this.read(on, 'namespace = $1 AND name = $2', [namespace, name]))[0];
  }

  private async lock(tx: Tx, namespace: string, name: string): Promise<SecretRow> {
    const [row] = await this.rows(tx, 'namespace = $1 AND name = $2 FOR UPDATE', [namespace, name]);
    if (!row) throw new StatusError(notFound(SECRETS, name));
    return row;
  }

  private async again(tx: Tx, namespace: string, name: string): Promise<Secret> {
    const secret = await this.find(tx, namespace, name);
    if (!secret) throw new Error(`secret ${namespace}/${name} is gone though its row is locked`);
    return secret;
  }

  private async erase(tx: Tx, { namespace, name = '', uid = '' }: ObjectMeta): Promise<void> {
    const gone = await tx.run('DELETE FROM secret WHERE uid = $1', [uid]);
    // The feed is told that it is gone, not what it was.
    if (gone) this.record(tx, { namespace, name, uid, type: 'DELETED' });
  }

  /** Columns `annotations` and `sealed`: what kubectl applied repeats the data, and is sealed with them under a name that no key of data can have. */
  private kept({ metadata, data }: Wanted, uid: string): [string | null, Buffer] {
    const { [LAST_APPLIED]: applied, ...annotations } = metadata.annotations ?? {};
    return [jsonb(annotations), this.sealing.seal(applied === undefined ? data : { ...data, [LAST_APPLIED]: applied }, uid)];
  }

  private record(tx: Tx, change: Omit<Change, 'resource'>): Recorded {
    tx.afterCommit(() => this.bus.nudge(PULL_SECRETS_BELL));
    return this.changes.record(tx, { resource: 'secrets', ...change });
  }

  private async read(on: Pick<Tx, 'query'>, condition: string, parameters: unknown[]): Promise<Secret[]> {
    return (await this.rows(on, condition, parameters)).map((row) => this.opened(row));
  }

  private rows(on: Pick<Tx, 'query'>, condition: string, parameters: unknown[]): Promise<SecretRow[]> {
    return on.query<SecretRow>(
      `SELECT uid, namespace, name, created, resource_version AS "resourceVersion", labels, annotations, type, sealed
         FROM secret WHERE ${condition}`,
      parameters,
    );
  }

  /** Throws {@link StatusError} 500 where its key is missing: it says which, and what to do. */
  private opened(row: SecretRow): Secret {
    try {
      const { [LAST_APPLIED]: applied, ...data } = this.sealing.open(row.sealed, row.uid) as Record<string, string>;
      const { metadata, type } = closed(row);
      const annotations = applied === undefined ? metadata.annotations : { ...metadata.annotations, [LAST_APPLIED]: applied };
      return {
        metadata: { ...metadata, ...(annotations ? { annotations } : {}) },
        ...(Object.keys(data).length ? { data } : {}),
        type,
      };
    } catch (error) {
      if (!(error instanceof SealError)) throw error;
      throw new StatusError(internalError(`secret ${row.namespace}/${row.name}: ${error.message}`), { cause: error });
    }
  }

  /** One that goes, or is set again, need not be readable. */
  private openedIfPossible(row: SecretRow): Secret {
    try {
      return this.opened(row);
    } catch (error) {
      if (error instanceof StatusError) return closed(row);
      throw error;
    }
  }
}

/** The secret without what is sealed. */
const closed = ({ uid, namespace, name, created, resourceVersion, labels, annotations, type }: SecretRow): Secret => ({
  metadata: metadataView({
    namespace,
    name,
    uid,
    resourceVersion: resourceVersion === '0' ? undefined : resourceVersion,
    creationTimestamp: inSeconds(created),
    labels: labels ?? undefined,
    annotations: annotations ?? undefined,
  }),
  type,
});

const FIELDS = fieldsOf(SecretsResource);

/** A secret without what is sealed, but for the part that says under which key. */
type SealedRow = Pick<SecretRow, 'uid' | 'name' | 'resourceVersion' | 'type' | 'annotations'> & { header: Buffer };

const metadataOf = (name: string, annotations: SecretRow['annotations']): ObjectMeta => ({ name, annotations: annotations ?? undefined });

const LISTED: Listed = {
  table: 'secret',
  key: 'uid',
  namespace: 'namespace',
  columns: ', type',
  fieldOf: ({ namespace, name, type }, field) =>
    field === 'metadata.name' ? name : field === 'metadata.namespace' ? namespace : String(type),
};

type Wanted = Required<Pick<Secret, 'metadata' | 'type' | 'data'>>;

/** `data` with what `stringData` puts into it. */
const dataOf = ({ data = {}, stringData = {} }: Secret): Record<string, string> => ({
  ...data,
  ...Object.fromEntries(Object.entries(stringData).map(([key, text]) => [key, Buffer.from(text).toString('base64')])),
});

function refuse({ metadata, type, data }: Wanted, old?: { type: string }): void {
  // A byte a character: what is counted are bytes.
  const texts = new Map(Object.entries(data).map(([key, base64]) => [key, Buffer.from(base64, 'base64').toString('latin1')]));
  const errors = validateSecret({ metadata, type, texts }, old);
  if (errors.length) throw new StatusError(invalid('', KIND, metadata.name ?? '', errors));
}

const comparable = ({ metadata: { labels, annotations }, data }: Secret) => ({ labels, annotations, data });

const numbered = ({ secret, recorded }: { secret: Secret; recorded?: Recorded }): Secret =>
  recorded?.resourceVersion ? { ...secret, metadata: { ...secret.metadata, resourceVersion: recorded.resourceVersion } } : secret;
