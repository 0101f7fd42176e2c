import { z } from 'zod';
import type { AddressPolicy } from './address.ts';
import type { ScheduleProblem } from './change-control.ts';
import { validateLabels } from './labels.ts';
import { ObjectMeta, ObjectReference, optional } from './object-meta.ts';
import { type FieldError, forbiddenField, invalidValue, required } from './status.ts';
import { formatStreamTag, namespaceProblems, splitStreamTag, streamNameProblems } from './stream-names.ts';
import { controlOf, type TriggerControl, triggerControl, validateTriggerControl } from './trigger-control.ts';
import { completeWebhook, TriggerWebhook, type WebhookSpec } from './trigger-webhook.ts';
import { validateWebhook } from './webhook-validation.ts';

export const TRIGGER_GROUP = 'triggers.millrace.dev';
export const TRIGGER_API_VERSION = 'triggers.millrace.dev/v1';

export const WEBHOOKS_MAX = 32;

/** When a tag moves, what is to happen. */
export const ImageTrigger = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta,
    spec: optional(
      z.object({
        kind: optional(z.string()).describe('Build or Deploy: which event is told'),
        from: optional(ObjectReference).describe('The ImageStreamTag that is followed'),
        ...triggerControl,
        fireOnCreate: optional(z.boolean()).describe('Whether the image that the tag already points at fires'),
        webhooks: optional(z.array(TriggerWebhook)),
      }),
    ),
    status: z.unknown().optional(),
  })
  .meta({ id: 'ImageTrigger' });
export type ImageTrigger = z.infer<typeof ImageTrigger>;

export type TriggerKind = 'Build' | 'Deploy';

/** A spec as it is kept: valid, with its defaults. */
export interface TriggerSpec extends TriggerControl {
  kind: TriggerKind;
  from: { kind: 'ImageStreamTag'; namespace: string; name: string };
  paused: boolean;
  fireOnCreate: boolean;
  webhooks: WebhookSpec[];
}

/** Fills in what a client left out. Makes sense of a trigger that {@link validateTrigger} finds nothing wrong with. */
export function completeSpec(trigger: ImageTrigger, namespace: string): TriggerSpec {
  const { spec = {} } = trigger;
  const { name, tag } = splitStreamTag(spec.from?.name ?? '');
  return {
    kind: spec.kind === 'Build' ? 'Build' : 'Deploy',
    from: { kind: 'ImageStreamTag', namespace: spec.from?.namespace || namespace, name: formatStreamTag(name, tag) },
    ...controlOf(spec),
    paused: spec.paused ?? false,
    fireOnCreate: spec.fireOnCreate ?? false,
    webhooks: (spec.webhooks ?? []).map(completeWebhook),
  };
}

/** Everything that is wrong with a trigger as a client wrote it; `allow` says which addresses a webhook may name. */
export function validateTrigger(
  trigger: ImageTrigger,
  { namespace, allow, scheduleProblem }: { namespace: string; allow: AddressPolicy; scheduleProblem: ScheduleProblem },
): FieldError[] {
  const { metadata, spec = {} } = trigger;
  const errors = [...validateMetadata(metadata, namespace), ...validateLabels(metadata)];
  for (const [key, value] of Object.entries(metadata.annotations ?? {}))
    if (value.includes('\0')) errors.push(invalidValue('metadata.annotations', key, 'its value may not hold a NUL character'));
  if (!spec.kind) errors.push(required('spec.kind', 'Build or Deploy'));
  else if (spec.kind !== 'Build' && spec.kind !== 'Deploy') errors.push(notSupported('spec.kind', spec.kind, ['Build', 'Deploy']));
  errors.push(...validateFrom(spec.from), ...validateTriggerControl(spec, 'spec', scheduleProblem));
  const webhooks = spec.webhooks ?? [];
  if (webhooks.length > WEBHOOKS_MAX)
    errors.push(forbiddenField('spec.webhooks', `${webhooks.length} webhooks; a trigger has at most ${WEBHOOKS_MAX}`));
  else webhooks.forEach((webhook, i) => errors.push(...validateWebhook(webhook, `spec.webhooks[${i}]`, allow)));
  const names = webhooks.map((webhook) => webhook.name);
  names.forEach((name, i) => {
    if (name && names.indexOf(name) < i) errors.push(duplicate(`spec.webhooks[${i}].name`, name));
  });
  return errors;
}

const DNS_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const DNS_NAME_WORDS =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
/** Names are values of labels on deliveries, which hold no more. */
const NAME_LENGTH_MAX = 63;

function validateMetadata({ name = '', generateName = '' }: ObjectMeta, namespace: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!name) errors.push(required('metadata.name', 'name or generateName is required'));
  else if (name.length > NAME_LENGTH_MAX)
    errors.push(invalidValue('metadata.name', name, `must be no more than ${NAME_LENGTH_MAX} characters`));
  else if (!DNS_NAME.test(name)) errors.push(invalidValue(generateName ? 'metadata.generateName' : 'metadata.name', name, DNS_NAME_WORDS));
  if (!namespace) errors.push(required('metadata.namespace'));
  else errors.push(...namespaceProblems(namespace).map((problem) => invalidValue('metadata.namespace', namespace, problem)));
  return errors;
}

export function validateFrom(from: ObjectReference | undefined): FieldError[] {
  if (!from) return [required('spec.from', 'the ImageStreamTag to follow')];
  const errors: FieldError[] = [];
  if (from.kind !== 'ImageStreamTag')
    errors.push(
      from.kind
        ? notSupported('spec.from.kind', from.kind, ['ImageStreamTag'])
        : required('spec.from.kind', "valid values are 'ImageStreamTag'"),
    );
  if (from.namespace)
    errors.push(...namespaceProblems(from.namespace).map((problem) => invalidValue('spec.from.namespace', from.namespace, problem)));
  if (!from.name) errors.push(required('spec.from.name', 'stream:tag'));
  else {
    const { name, tag } = splitStreamTag(from.name);
    const problems = streamNameProblems(name).map((problem) => `the stream's name ${problem}`);
    if (/[:/%@\s\0]/.test(tag) || tag.length > 255) problems.push('the tag may not hold ":", "/", "%", "@" or a space');
    errors.push(...problems.map((problem) => invalidValue('spec.from.name', from.name, problem)));
  }
  return errors;
}

const notSupported = (field: string, value: string, supported: string[]): FieldError => ({
  reason: 'FieldValueNotSupported',
  field,
  text: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((one) => JSON.stringify(one)).join(', ')}`,
});
const duplicate = (field: string, value: string): FieldError => ({
  reason: 'FieldValueDuplicate',
  field,
  text: `Duplicate value: ${JSON.stringify(value)}`,
});
