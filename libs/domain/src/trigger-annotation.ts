import { same } from './field-sets.ts';
import { annotationOf, containersOf, type ContainerAt, type Fields, metadataOf, textIn } from './pod-template.ts';
import { z } from 'zod';
import { splitStreamTag } from './stream-names.ts';

/*
 * The annotation with which a workload follows tags:
 *
 *   [{"from": {"kind": "ImageStreamTag", "name": "app:latest", "namespace": "..."}, "fieldPath": "...", "paused": false}]
 *
 *   fieldPath := template ("containers" | "initContainers") "[" selector "]" ".image"
 *   template  := "spec.template.spec." | "spec.jobTemplate.spec.template.spec." (CronJob)
 *   selector  := decimal index | "?(@.name==" '"' name '"' ")"
 *
 * There is no bookkeeping: the container's image itself is the state.
 */
export const TRIGGERS_ANNOTATION = 'image.openshift.io/triggers';

const TEMPLATE = 'spec.template.spec.';
const BASES: Record<string, string> = {
  Deployment: TEMPLATE,
  StatefulSet: TEMPLATE,
  DaemonSet: TEMPLATE,
  CronJob: 'spec.jobTemplate.spec.template.spec.',
};
/** Plural and group, as keys of the reference's cache name kinds. */
const RESOURCES: Record<string, string> = {
  Deployment: 'deployments.apps',
  StatefulSet: 'statefulsets.apps',
  DaemonSet: 'daemonsets.apps',
  CronJob: 'cronjobs.batch',
};

/** Whether objects of a kind may follow tags by annotation. */
export const takesAnnotation = (kind: string): boolean => Object.hasOwn(BASES, kind);

const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const AnnotationTrigger = z.object({
  from: z.object({ kind: text, name: text, namespace: text, apiVersion: text }),
  fieldPath: text,
  paused: z
    .boolean()
    .nullish()
    .transform((value) => value ?? false),
});
export type AnnotationTrigger = z.output<typeof AnnotationTrigger>;

/** The tag of a stream, wherever it is. */
export interface TagName {
  namespace: string;
  stream: string;
  tag: string;
}

/** `demo/web:latest` */
export const tagKey = ({ namespace, stream, tag }: TagName): string => `${namespace}/${stream}:${tag}`;

/** What to pull for a tag now; undefined where it means nothing yet. */
export type Resolve = (tag: TagName) => string | undefined;

/** No stream, tag or namespace has a longer name, and no index holds one. */
const NAME_LENGTH_MAX = 255;

/** The tag that a reference names; without a tag that is `latest`. Undefined where it names no stream. */
export function tagOfReference(from: { name?: string; namespace?: string }, namespace: string): TagName | undefined {
  const { name, tag } = splitStreamTag(from.name ?? '');
  const found = { namespace: from.namespace || namespace, stream: name, tag };
  return name && Object.values(found).every((part) => part.length <= NAME_LENGTH_MAX) ? found : undefined;
}

export type Triggers = { kind: 'triggers'; triggers: readonly AnnotationTrigger[] } | { kind: 'malformed'; reason: string };

/** Reads the annotation; an empty one and JSON `null` are no triggers. */
export function triggersOf(object: unknown): Triggers {
  const annotation = annotationOf(object, TRIGGERS_ANNOTATION);
  if (!annotation) return { kind: 'triggers', triggers: [] };
  let value: unknown;
  try {
    value = JSON.parse(annotation);
  } catch (error) {
    return { kind: 'malformed', reason: `it is not JSON: ${(error as Error).message}` };
  }
  const { data, error } = z.array(AnnotationTrigger).nullable().safeParse(value);
  if (error) {
    const [issue] = error.issues;
    return { kind: 'malformed', reason: `${issue?.path.join('.') || 'it'}: ${issue?.message ?? 'is no trigger'}` };
  }
  const paths = (data ?? []).map(({ fieldPath }) => fieldPath);
  if (new Set(paths).size < paths.length) return { kind: 'malformed', reason: 'duplicate triggers are not allowed' };
  return { kind: 'triggers', triggers: data ?? [] };
}

/** The tags whose moves concern an object, each once. */
export function followedByAnnotation(kind: string, object: unknown): TagName[] {
  const read = takesAnnotation(kind) ? triggersOf(object) : undefined;
  if (read?.kind !== 'triggers') return [];
  const active = read.triggers.filter(({ from, paused }) => from.kind === 'ImageStreamTag' && !from.apiVersion && !paused);
  return distinct(active.map(({ from }) => tagOfReference(from, namespaceOf(object))));
}

/** The tags that an object would follow were its triggers not paused, each once. */
export function pausedByAnnotation(kind: string, object: unknown): TagName[] {
  const read = takesAnnotation(kind) ? triggersOf(object) : undefined;
  if (read?.kind !== 'triggers') return [];
  const paused = read.triggers.filter((trigger) => trigger.from.kind === 'ImageStreamTag' && !trigger.from.apiVersion && trigger.paused);
  return distinct(paused.map(({ from }) => tagOfReference(from, namespaceOf(object))));
}

/** The tags that have to be known to process an object, each once: also those whose moves do not concern it. */
export function askedByAnnotation(kind: string, object: unknown): TagName[] {
  const read = takesAnnotation(kind) ? triggersOf(object) : undefined;
  if (read?.kind !== 'triggers') return [];
  return distinct(read.triggers.filter(({ paused }) => !paused).map(({ from }) => tagOfReference(from, namespaceOf(object))));
}

/** One container that gets another image. */
export interface ImageChange {
  tag: TagName;
  image: string;
  container: string;
  /** JSON pointer of the field: `/spec/template/spec/containers/0/image`. */
  pointer: string;
}

export type Processed<T extends Fields = Fields> =
  | { kind: 'unchanged' }
  | { kind: 'changed'; object: T; changes: readonly ImageChange[] }
  /** Nothing of the object is changed, also by its other triggers. */
  | { kind: 'refused'; reason: string };

/** The object with the images that its tags mean now. A tag that means nothing yet leaves its container as it is. */
export function processAnnotation<T extends Fields>(kind: string, object: T, resolve: Resolve): Processed<T> {
  if (!takesAnnotation(kind)) return { kind: 'unchanged' };
  const read = triggersOf(object);
  if (read.kind === 'malformed') return { kind: 'refused', reason: read.reason };
  const next = structuredClone(object);
  const containers = containersOf(kind, next);
  const changes: ImageChange[] = [];
  for (const { from, fieldPath, paused } of read.triggers) {
    const tag = tagOfReference(from, namespaceOf(object));
    if (paused || !tag || !fieldPath.startsWith(BASES[kind] ?? '')) continue;
    const image = resolve(tag);
    if (image === undefined) continue;
    const found = containerAt(kind, containers, fieldPath);
    if (typeof found === 'string') return { kind: 'refused', reason: found };
    if (found.container['image'] === image) continue;
    found.container['image'] = image;
    changes.push({ tag, image, container: found.name, pointer: `${found.pointer}/image` });
  }
  return changes.length ? { kind: 'changed', object: next, changes } : { kind: 'unchanged' };
}

/** What of the annotation can never do anything, in words for who has written it. Tags need not be there yet. */
export function annotationProblems(kind: string, object: unknown): string[] {
  if (!annotationOf(object, TRIGGERS_ANNOTATION)) return [];
  if (!takesAnnotation(kind)) return [`a ${kind} follows no tags: only ${Object.keys(BASES).join(', ')} do`];
  const read = triggersOf(object);
  if (read.kind === 'malformed') return [read.reason];
  const containers = containersOf(kind, object);
  return read.triggers.flatMap(({ from, fieldPath }) => {
    if (from.kind !== 'ImageStreamTag') return [`kind ${JSON.stringify(from.kind)} is not followed: only ImageStreamTag is`];
    if (!tagOfReference(from, namespaceOf(object))) return [`${JSON.stringify(from.name)} names no tag of a stream`];
    if (!fieldPath.startsWith(BASES[kind] ?? '')) return [`field path is not below ${BASES[kind] ?? ''}: ${fieldPath}`];
    const found = containerAt(kind, containers, fieldPath);
    return typeof found === 'string' ? [found] : [];
  });
}

/** What the change of an object means for who keeps track of triggers. */
export type Indexed =
  { kind: 'indexed'; cached: boolean; key: string; change: '' | 'Added' | 'Updated' | 'Deleted' } | { kind: 'malformed'; reason: string };

/** `undefined` where there is no object now, or was none before. Whether something has to be done is said by `change`. */
export function indexTriggers(kind: string, object: Fields | undefined, old: Fields | undefined): Indexed {
  const read = triggersOf(object ?? old);
  const before = triggersOf(old);
  if (read.kind === 'malformed') return read;
  const metadata = metadataOf(object ?? old);
  const cached = read.triggers.length > 0;
  return {
    kind: 'indexed',
    cached,
    key: cached ? `${RESOURCES[kind] ?? kind}/${textIn(metadata, 'namespace')}/${textIn(metadata, 'name')}` : '',
    change: changeOf(),
  };

  function changeOf(): '' | 'Added' | 'Updated' | 'Deleted' {
    if (!object) return 'Deleted';
    if (!old) return 'Added';
    if (before.kind === 'malformed' || (before.triggers.length === 0 && cached)) return 'Added';
    if (read.kind !== 'triggers' || !same(before.triggers, read.triggers)) return 'Updated';
    const imagesOf = (of: Fields) => {
      const containers = containersOf(kind, of);
      return read.triggers.map(({ fieldPath }) => {
        const found = containerAt(kind, containers, fieldPath);
        return typeof found === 'string' ? found : found.container['image'];
      });
    };
    return same(imagesOf(object), imagesOf(old)) ? '' : 'Updated';
  }
}

const SELECTOR = /^(initContainers|containers)\[(?:(\d{1,9})|\?\(@\.name=="([^"]*)"\))\](?:\.(.*))?$/;

/** The container that a field path means, or what is wrong with the path. By name both lists are searched. */
function containerAt(kind: string, containers: readonly ContainerAt[], fieldPath: string): ContainerAt | string {
  const base = BASES[kind] ?? '';
  if (!fieldPath.endsWith('.image')) return `field path is not valid: ${fieldPath}`;
  const [, list, index, name, field] = (fieldPath.startsWith(base) && SELECTOR.exec(fieldPath.slice(base.length))) || [];
  const found = containers.find((one) => (name === undefined ? one.list === list && one.index === Number(index) : one.name === name));
  if (!list || !found) return `no such container: ${fieldPath}`;
  return field === 'image' ? found : `field path is not valid: ${fieldPath}`;
}

const namespaceOf = (object: unknown): string => textIn(metadataOf(object), 'namespace');

export function distinct(tags: readonly (TagName | undefined)[]): TagName[] {
  return [...new Map(tags.flatMap((tag) => (tag ? [[tagKey(tag), tag] as const] : []))).values()];
}
