import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { Inject, Injectable } from '@nestjs/common';
import type { Ask, ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { completeSpec, ImageTrigger, validateTrigger, type TriggerSpec } from '@millrace/domain/image-trigger';
import { recounted } from '@millrace/domain/pending-change';
import { signingOf } from '@millrace/domain/signing-key';
import {
  alreadyExists,
  badRequest,
  type FieldError,
  invalid,
  invalidValue,
  malformed,
  StatusError,
  success,
} from '@millrace/domain/status';
import { isControlled } from '@millrace/domain/trigger-control';
import { splitStreamTag } from '@millrace/domain/stream-names';
import { isCredentialHeader, isSecretParameter, maskWebhook } from '@millrace/domain/trigger-webhook';
import { exampleEvent } from '@millrace/domain/webhook-variables';
import { randomSuffix } from '@millrace/platform/generated-names';
import { CONFIG } from '@millrace/platform/service';
import { Store, type Tx } from '@millrace/platform/store';
import { scheduleProblem } from '@millrace/platform/windows';
import { Changes } from './changes.ts';
import type { DispatcherConfig } from './config.ts';
import { Endpoints } from './endpoints.ts';
import { answerChanges, answerList, meets } from './object-writes.ts';
import { Where } from './selection.ts';
import {
  TRIGGER_COLUMNS,
  triggerChange,
  triggerNamed,
  TRIGGERS,
  triggerObject,
  type TriggerObject,
  type TriggerRecord,
  withoutSecrets,
} from './trigger-record.ts';
import { Triggers } from './triggers.ts';
import { WebhookRequests } from './webhook-requests.ts';
import { type Kept, targetOf, WebhookTable } from './webhook-table.ts';
import { Webhooks } from './webhook.ts';

/** Triggers as objects of the API: create, read, change, delete, watch. */
@Injectable()
export class ImageTriggers {
  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
    private readonly triggers: Triggers,
    private readonly webhookTable: WebhookTable,
    private readonly endpoints: Endpoints,
    private readonly webhooks: Webhooks,
    private readonly requests: WebhookRequests,
    @Inject(CONFIG) private readonly config: DispatcherConfig,
  ) {}

  answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    switch (question.verb) {
      case 'get':
        return this.get(question);
      case 'list':
        return this.list(question);
      case 'create':
        return this.create(question);
      case 'update':
        return this.update(question);
      case 'delete':
        return this.delete(question);
      case 'deletecollection':
        return this.deleteAll(question);
      case 'changes':
        return answerChanges(this.changes, question);
      default:
        return question satisfies never;
    }
  }

  private async get({ namespace = '', name }: Ask<'get'>): Promise<ObjectAnswer> {
    return { kind: 'object', code: 200, object: triggerObject(await this.read(namespace, name)) };
  }

  private async create(question: Ask<'create'>): Promise<ObjectAnswer> {
    const { namespace = '' } = question;
    const trigger = parsed(question.object, namespace);
    const { metadata } = trigger;
    if (!metadata.name && metadata.generateName) metadata.name = `${metadata.generateName}${randomSuffix()}`;
    const uid = randomUUID();
    const { spec, kept } = await this.accept(trigger, namespace, uid, []);
    const record: TriggerRecord = {
      ...labelsOf(trigger),
      ...fromOf(spec),
      ...{ uid, namespace, name: metadata.name ?? '', created: new Date(), generation: '1', resourceVersion: '', spec },
      ...{ baseline: null, lastTriggered: null, held: null, control: null, lookAt: null, planned: null, impaired: null, findings: null },
    };
    // Asked before anything is locked too, so that a tag-store that is away costs nobody else time.
    await this.triggers.currentMove(record);
    const { resourceVersion } = await this.store.write(question.dryRun, async (tx) => {
      await this.triggers.holdFacts(tx);
      const inserted = await tx.run(
        `INSERT INTO trigger (uid, namespace, name, created, generation, resource_version, labels, annotations, spec, from_namespace, from_stream, from_tag)
         VALUES ($1, $2, $3, $4, 1, 0, $5, $6, $7, $8, $9, $10) ON CONFLICT (namespace, name) DO NOTHING`,
        [
          ...[uid, namespace, record.name, record.created, record.labels, record.annotations, spec],
          ...[record.fromNamespace, record.fromStream, record.fromTag],
        ],
      );
      if (!inserted) throw new StatusError(alreadyExists(TRIGGERS, record.name));
      record.findings = await this.webhookTable.write(tx, uid, spec.webhooks, kept);
      await this.endpoints.configure(tx, record, []);
      const recorded = this.changes.record(tx, triggerChange(record, 'ADDED'));
      await this.triggers.begin(tx, record);
      return recorded;
    });
    const object = withFreshSecrets(triggerObject(record, resourceVersion), question.dryRun ? [] : kept);
    return { kind: 'object', code: 201, object, ...warningsOf(kept) };
  }

  private async update(question: Ask<'update'>): Promise<ObjectAnswer> {
    const { namespace = '', name } = question;
    const trigger = parsed(question.object, namespace);
    const { metadata } = trigger;
    if (metadata.name !== name)
      throw new StatusError(badRequest(`the name of the object (${metadata.name ?? ''}) does not match the name on the URL (${name})`));
    if (!metadata.resourceVersion)
      throw new StatusError(
        invalid(TRIGGERS.group, 'ImageTrigger', name, [invalidValue('metadata.resourceVersion', 0, 'must be specified for an update')]),
      );
    const before = await this.read(namespace, name);
    const expected = { uid: metadata.uid, resourceVersion: metadata.resourceVersion };
    meets(TRIGGERS, before, expected);
    const { spec, kept } = await this.accept(trigger, namespace, before.uid, before.spec.webhooks.map(targetOf), before.spec);
    const from = fromOf(spec);
    const elsewhere = !isDeepStrictEqual(from, fromOf(before.spec));
    if (elsewhere) await this.triggers.currentMove({ ...before, ...from });
    const record: TriggerRecord = { ...before, ...labelsOf(trigger), ...from, spec };
    const respecified = !isDeepStrictEqual(spec, before.spec) || kept.some((one) => one.changed);
    if (!respecified && isDeepStrictEqual(labelsOf(trigger), { labels: before.labels, annotations: before.annotations }))
      return { kind: 'object', code: 200, object: triggerObject(before) };
    const { resourceVersion } = await this.store.write(question.dryRun, async (tx) => {
      if (elsewhere) await this.triggers.holdFacts(tx);
      // Nothing has happened to it since it was read, so what was found out above still holds.
      meets(TRIGGERS, await this.read(namespace, name, tx), { ...expected, uid: before.uid });
      record.generation = String(Number(before.generation) + (respecified ? 1 : 0));
      await tx.run(
        `UPDATE trigger SET labels = $2, annotations = $3, spec = $4, generation = $5, from_namespace = $6, from_stream = $7, from_tag = $8 WHERE uid = $1`,
        [
          ...[record.uid, record.labels, record.annotations, spec, record.generation],
          ...[record.fromNamespace, record.fromStream, record.fromTag],
        ],
      );
      await this.endpoints.lock(tx, record.uid);
      record.findings = await this.webhookTable.write(tx, record.uid, spec.webhooks, kept);
      record.impaired = await this.endpoints.configure(tx, record, changedWebhooks(before.spec, spec, kept));
      const recorded = this.changes.record(tx, triggerChange(record, 'MODIFIED', before.labels));
      if (elsewhere) await this.triggers.begin(tx, record);
      else if (respecified && remembers(before, spec)) {
        // What a rehearsal has counted is none of what then happens, and the other way round.
        if (spec.dryRun !== before.spec.dryRun) record.control = recounted(record.control ?? {});
        await this.triggers.decideAgain(tx, [record], { said: true });
      }
      return recorded;
    });
    const object = triggerObject(record, resourceVersion || before.resourceVersion);
    return { kind: 'object', code: 200, object: withFreshSecrets(object, question.dryRun ? [] : kept), ...warningsOf(kept) };
  }

  private async delete(question: Ask<'delete'>): Promise<ObjectAnswer> {
    const { namespace = '', name, preconditions = {} } = question;
    const deleted = await this.store.write(question.dryRun, async (tx) => {
      const trigger = await this.read(namespace, name, tx);
      meets(TRIGGERS, trigger, preconditions);
      await this.remove(tx, trigger);
      return trigger;
    });
    return { kind: 'object', code: 200, object: success({ name, group: TRIGGERS.group, kind: TRIGGERS.resource, uid: deleted.uid }) };
  }

  private async deleteAll(question: Ask<'deletecollection'>): Promise<ObjectAnswer> {
    return this.store.write(question.dryRun, async (tx): Promise<ObjectAnswer> => {
      const where = selected(question);
      const found = await tx.query<TriggerRecord>(
        `SELECT ${TRIGGER_COLUMNS} FROM trigger t ${where.sql} ORDER BY t.uid FOR UPDATE OF t`,
        where.parameters,
      );
      for (const trigger of found) await this.remove(tx, trigger);
      return { kind: 'list', items: found.map((trigger) => triggerObject(trigger)), resourceVersion: await this.changes.current(tx) };
    });
  }

  /** With it go the deliveries that wait; those that are over stay to be looked at. */
  private async remove(tx: Tx, trigger: TriggerRecord): Promise<void> {
    await this.endpoints.lock(tx, trigger.uid);
    await tx.run('DELETE FROM delivery WHERE trigger_uid = $1 AND finished_at IS NULL', [trigger.uid]);
    await tx.run('DELETE FROM trigger WHERE uid = $1', [trigger.uid]);
    this.changes.record(tx, triggerChange(trigger, 'DELETED'));
  }

  private list(question: Ask<'list'>): Promise<ObjectAnswer> {
    const { store, changes } = this;
    return answerList(
      { store, changes },
      question,
      { columns: TRIGGER_COLUMNS, from: 'trigger', as: 't', where: selected(question) },
      (row: TriggerRecord) => triggerObject(row),
    );
  }

  /** Throws StatusError 404. In a transaction the trigger is locked. */
  private read(namespace: string, name: string, tx?: Tx): Promise<TriggerRecord> {
    return triggerNamed(tx ?? this.store, { namespace, name }, { lock: tx !== undefined });
  }

  /** The spec to keep and the secrets beside it; throws StatusError 422 with everything that is wrong. */
  private async accept(
    trigger: ImageTrigger,
    namespace: string,
    uid: string,
    knownUrls: readonly string[],
    before?: TriggerSpec,
  ): Promise<{ spec: TriggerSpec; kept: Kept[] }> {
    const { WEBHOOK_ALLOW_ADDRESSES: allow } = this.config;
    const refuse = (errors: FieldError[]): void => {
      if (errors.length) throw new StatusError(invalid(TRIGGERS.group, 'ImageTrigger', trigger.metadata.name ?? '', errors));
    };
    refuse(validateTrigger(trigger, { namespace, allow, scheduleProblem }));
    const spec = completeSpec(trigger, namespace);
    const refused = await Promise.all(
      spec.webhooks.map(targetOf).map(async (target) => (knownUrls.includes(target) ? undefined : await this.webhooks.refusedHost(target))),
    );
    refuse(refused.flatMap((why, i) => (why === undefined ? [] : [invalidValue(`spec.webhooks[${i}].url`, '***', why)])));
    const given = (trigger.spec?.webhooks ?? []).map(({ secret }) => secret);
    const { kept, errors } = await this.webhookTable.keep(uid, spec.webhooks, given, before !== undefined);
    refuse(errors);
    const event = exampleEvent(spec.kind, { namespace, name: trigger.metadata.name ?? '' });
    const checked = await Promise.all(
      kept.map(({ secrets }, i) => {
        const webhook = secrets.send ?? spec.webhooks[i];
        return webhook && this.requests.check(namespace, webhook, secrets, { path: `spec.webhooks[${i}]`, event });
      }),
    );
    refuse(checked.flatMap((one) => one?.errors ?? []));
    for (const [i, one] of kept.entries()) one.findings = checked[i]?.findings ?? null;
    const { annotations } = trigger.metadata;
    if (annotations) trigger.metadata.annotations = withoutSecrets(annotations, kept.flatMap(credentialsOf));
    spec.webhooks = spec.webhooks.map(maskWebhook);
    return { spec, kept };
  }
}

/** What of a webhook was written in the clear and may be read nowhere. */
function credentialsOf({ secrets: { secret, previousSecret = '', headers, send } }: Kept): string[] {
  const values = (map: Record<string, string> = {}, isSecret: (name: string) => boolean) =>
    Object.entries(map).flatMap(([name, value]) => (isSecret(name) ? [value] : []));
  const parameters = values(send?.parameters, (name) => isSecretParameter(send?.preset, name));
  return [secret, previousSecret, ...values(headers, isCredentialHeader), ...parameters].filter((one) => one !== '');
}

/** A webhook that cannot be called as things stand is taken, and whoever writes it is told. */
function warningsOf(kept: readonly Kept[]): { warnings?: string[] } {
  const warnings = kept.flatMap(({ findings }, i) => (findings?.problem ? [`spec.webhooks[${i}].${findings.problem}`] : []));
  return warnings.length ? { warnings } : {};
}

/** Throws StatusError 400. */
function parsed(object: unknown, namespace: string): ImageTrigger {
  const { data, error } = ImageTrigger.safeParse(object);
  if (!data) throw new StatusError(malformed('ImageTrigger', error));
  if (data.metadata.namespace && data.metadata.namespace !== namespace)
    throw new StatusError(badRequest('the namespace of the provided object does not match the namespace sent on the request'));
  return data;
}

function labelsOf({ metadata: { labels, annotations } }: ImageTrigger): Pick<TriggerRecord, 'labels' | 'annotations'> {
  const orNull = (map: Record<string, string> | undefined) => (map && Object.keys(map).length ? map : null);
  return { labels: orNull(labels), annotations: orNull(annotations) };
}

/** Whether a new spec may let something fire, or hold it back. */
const remembers = ({ spec, control, held }: TriggerRecord, next: TriggerSpec): boolean =>
  isControlled(spec) || isControlled(next) || control !== null || held !== null;

function fromOf({ from }: TriggerSpec): Pick<TriggerRecord, 'fromNamespace' | 'fromStream' | 'fromTag'> {
  const { name, tag } = splitStreamTag(from.name);
  return { fromNamespace: from.namespace, fromStream: name, fromTag: tag };
}

/** Those that are sent elsewhere or otherwise than before; how fast they are sent does not matter. */
function changedWebhooks(before: TriggerSpec, { webhooks }: TriggerSpec, kept: readonly Kept[]): string[] {
  const sent = ({ name, url, timeoutSeconds, headers }: TriggerSpec['webhooks'][0]) => ({ name, url, timeoutSeconds, headers });
  return webhooks
    .filter((webhook, i) => {
      const known = before.webhooks.find(({ name }) => name === webhook.name);
      return kept[i]?.changed || !known || !isDeepStrictEqual(sent(known), sent(webhook));
    })
    .map(({ name }) => name);
}

function selected(question: Ask<'list'> | Ask<'deletecollection'>): Where {
  const where = new Where();
  where.select(question, { namespace: 't.namespace', name: 't.name' }, (key) => `(t.labels ->> ${where.value(key)})`);
  return where;
}

/** The one answer in which a secret that the server has made can be read. */
function withFreshSecrets(object: TriggerObject, kept: readonly Kept[]): TriggerObject {
  const made = new Map(
    kept.filter((one) => one.made && signingOf(one.secrets.secret) === 'HMAC').map((one) => [one.name, one.secrets.secret]),
  );
  const spec = object.spec as { webhooks: { name: string }[] };
  return {
    ...object,
    spec: {
      ...spec,
      webhooks: spec.webhooks.map((webhook) => (made.has(webhook.name) ? { ...webhook, secret: made.get(webhook.name) } : webhook)),
    },
  };
}
