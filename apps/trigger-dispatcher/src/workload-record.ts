import { type Fields, fieldsIn, isObject, metadataOf } from '@millrace/domain/pod-template';
import { SERVER_METADATA } from '@millrace/domain/workload';
import type { WorkloadRow } from './workload-tables.ts';
import { wholeSeconds } from './trigger-record.ts';

/** Says on an object that its triggers, or some of them, do nothing, and why. The server's: what a client sends there is dropped. */
export const PROBLEM_ANNOTATION = 'triggers.millrace.dev/problem';

/** A workload as it is worked with: `object` is what the row holds as JSON, with kind, name and namespace. */
export interface WorkloadRecord extends Omit<WorkloadRow, 'object'> {
  object: Fields;
}

/** For `SELECT … FROM workload w`. */
export const WORKLOAD_COLUMNS =
  'w.uid, w.resource, w.namespace, w.name, w.created, w.generation, w.resource_version AS "resourceVersion", w.labels, w.object, w.problem';

export const recordOf = (row: WorkloadRow): WorkloadRecord => ({ ...row, object: JSON.parse(row.object) as Fields });
export const kindOf = ({ object }: Pick<WorkloadRecord, 'object'>): string => String(object['kind']);

/** An object without what the server says about it. */
export function kept(object: Fields, { namespace, name }: { namespace: string; name: string }): Fields {
  const metadata = { ...metadataOf(object), name, namespace } as Fields;
  for (const key of SERVER_METADATA) Reflect.deleteProperty(metadata, key);
  const { [PROBLEM_ANNOTATION]: _, ...annotations } = fieldsIn(metadata, 'annotations');
  metadata['annotations'] = annotations;
  // An empty map says what no map says.
  for (const map of ['annotations', 'labels']) if (!Object.keys(fieldsIn(metadata, map)).length) Reflect.deleteProperty(metadata, map);
  return { ...object, metadata };
}

/** The object as clients read it. */
export function workloadObject(record: WorkloadRecord, resourceVersion = record.resourceVersion): Fields & { metadata: Fields } {
  const { apiVersion, kind, metadata, ...rest } = record.object;
  const { name, namespace, annotations, ...more } = isObject(metadata) ? metadata : {};
  const shown = record.problem ? { ...fieldsIn({ annotations }, 'annotations'), [PROBLEM_ANNOTATION]: record.problem } : annotations;
  return {
    apiVersion,
    kind,
    metadata: {
      ...{ name, namespace, uid: record.uid },
      ...(resourceVersion ? { resourceVersion } : {}),
      generation: Number(record.generation),
      creationTimestamp: wholeSeconds(record.created),
      ...(shown === undefined ? {} : { annotations: shown }),
      ...more,
    },
    ...rest,
  };
}

/** Its labels, to select by. */
export function labelsOf(object: Fields): Record<string, string> | null {
  const labels = fieldsIn(metadataOf(object), 'labels') as Record<string, string>;
  return Object.keys(labels).length ? labels : null;
}
