import { fieldsOf, type Resource } from '@millrace/contracts/resources';
import type { ObjectMeta } from '@millrace/domain/object-meta';
import { matchesFields, matchesLabels, parseFieldSelector, parseLabelSelector } from '@millrace/domain/selectors';

/** What of an object a selector or a namespace can ask for. */
export interface Attributes {
  namespace: string;
  name: string;
  uid: string;
  labels?: Record<string, string>;
  /** Values of the resource's further fields that are not empty. */
  fields?: Record<string, string>;
}

export function attributesOf(resource: Resource, object: object): Attributes {
  const { namespace = '', name = '', uid = '', labels } = ((object as { metadata?: ObjectMeta }).metadata ?? {}) as ObjectMeta;
  let fields: Record<string, string> | undefined;
  for (const field of fieldsOf(resource)) {
    const value = field.startsWith('metadata.') ? '' : textAt(object, field);
    if (value) fields = { ...fields, [field]: value };
  }
  return { namespace, name, uid, labels, fields };
}

/**
 * Whether an object is among those that are asked for.
 * @throws StatusError 400 for a selector that is none
 */
export function selectorOf(
  resource: Resource,
  { namespace, labelSelector = '', fieldSelector = '' }: { namespace?: string; labelSelector?: string; fieldSelector?: string },
): (attributes: Attributes) => boolean {
  const labels = parseLabelSelector(labelSelector);
  const fields = parseFieldSelector(fieldSelector, fieldsOf(resource));
  return (one) =>
    (namespace === undefined || one.namespace === namespace) &&
    matchesLabels(labels, one.labels) &&
    matchesFields(fields, (field) => valueOf(one, field));
}

function valueOf({ namespace, name, fields }: Attributes, field: string): string {
  if (field === 'metadata.name') return name;
  if (field === 'metadata.namespace') return namespace;
  return fields?.[field] ?? '';
}

function textAt(object: object, path: string): string {
  const value = path.split('.').reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], object);
  return typeof value === 'string' ? value : '';
}
