import { tryParseReference } from './image-reference.ts';

/* Where objects that run containers keep them, and what Kubernetes fills in about their images. */

/** An object as a client wrote it: only the fields that a rule asks for are known. */
export type Fields = Record<string, unknown>;

/** Kinds that hold a pod template, and where; a Pod is one itself. */
export const TEMPLATE_PATHS: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  ReplicationController: ['spec', 'template'],
  Deployment: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
  DaemonSet: ['spec', 'template'],
  ReplicaSet: ['spec', 'template'],
  Job: ['spec', 'template'],
  DeploymentConfig: ['spec', 'template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
};

export type ContainerList = 'containers' | 'initContainers';

/** A container where it stands in its object. */
export interface ContainerAt {
  container: Fields;
  list: ContainerList;
  index: number;
  name: string;
  /** JSON pointer: `/spec/template/spec/containers/0`. */
  pointer: string;
}

export const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);
export const fieldsIn = (object: unknown, key: string): Fields => (isObject(object) && isObject(object[key]) ? object[key] : {});
export const listIn = (object: unknown, key: string): unknown[] => (isObject(object) && Array.isArray(object[key]) ? object[key] : []);
export const textIn = (object: unknown, key: string): string => (isObject(object) && typeof object[key] === 'string' ? object[key] : '');

export const metadataOf = (object: unknown): Fields => fieldsIn(object, 'metadata');
export const annotationOf = (object: unknown, key: string): string | undefined => {
  const value = fieldsIn(metadataOf(object), 'annotations')[key];
  return typeof value === 'string' ? value : undefined;
};

/** The pod template of an object; undefined where the kind has none. The fields may be missing. */
export function podTemplateOf(kind: string, object: unknown): Fields | undefined {
  const path = Object.hasOwn(TEMPLATE_PATHS, kind) ? TEMPLATE_PATHS[kind] : undefined;
  return path?.reduce<Fields>((at, key) => fieldsIn(at, key), isObject(object) ? object : {});
}

/** The containers of an object, then its init containers, in their order; what is no object is left out. */
export function containersOf(kind: string, object: unknown): ContainerAt[] {
  const template = podTemplateOf(kind, object);
  if (!template) return [];
  const base = [...(TEMPLATE_PATHS[kind] ?? []), 'spec'].map((key) => `/${key}`).join('');
  return (['containers', 'initContainers'] as const).flatMap((list) =>
    listIn(template['spec'], list).flatMap((container, index) =>
      isObject(container) ? [{ container, list, index, name: textIn(container, 'name'), pointer: `${base}/${list}/${index}` }] : [],
    ),
  );
}

export type PullPolicy = 'Always' | 'IfNotPresent';

/** Kubernetes' default: what has no digest and is untagged or `latest` may be another image the next time. */
export function defaultPullPolicy(image: string): PullPolicy {
  const reference = tryParseReference(image);
  return reference && !reference.id && (reference.tag === '' || reference.tag === 'latest') ? 'Always' : 'IfNotPresent';
}

/** The object with an `imagePullPolicy` on every container that has none, by the image as the client wrote it. */
export function withPullPolicies<T extends Fields>(kind: string, object: T): T {
  if (containersOf(kind, object).every(({ container }) => textIn(container, 'imagePullPolicy'))) return object;
  const next = structuredClone(object);
  for (const { container } of containersOf(kind, next))
    if (!textIn(container, 'imagePullPolicy')) container['imagePullPolicy'] = defaultPullPolicy(textIn(container, 'image'));
  return next;
}
