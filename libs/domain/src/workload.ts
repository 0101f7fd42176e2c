import { BUILD_CONFIG, buildConfigProblems, followedByBuildConfig, pausedByBuildConfig } from './build-config.ts';
import {
  DEPLOYMENT_CONFIG,
  deploymentConfigProblems,
  followedByDeploymentConfig,
  pausedByDeploymentConfig,
  processDeploymentConfig,
} from './deployment-config.ts';
import { same } from './field-sets.ts';
import { validateLabels } from './labels.ts';
import type { ObjectMeta } from './object-meta.ts';
import { type Fields, fieldsIn, metadataOf } from './pod-template.ts';
import { type FieldError, invalidValue, required } from './status.ts';
import { namespaceProblems } from './stream-names.ts';
import {
  annotationProblems,
  askedByAnnotation,
  followedByAnnotation,
  type ImageChange,
  pausedByAnnotation,
  processAnnotation,
  type Resolve,
  type TagName,
} from './trigger-annotation.ts';

/* What the kinds whose objects follow tags have in common. */

/** Server-side fields of `metadata`: whatever a client sends there is overwritten. */
export const SERVER_METADATA = ['uid', 'resourceVersion', 'generation', 'creationTimestamp', 'selfLink'] as const;

/** The tags whose moves concern an object, each once. */
export function followedTags(kind: string, object: Fields): TagName[] {
  if (kind === DEPLOYMENT_CONFIG) return followedByDeploymentConfig(object);
  if (kind === BUILD_CONFIG) return followedByBuildConfig(object);
  return followedByAnnotation(kind, object);
}

/** The tags that an object would follow were its triggers not paused, each once. */
export function pausedTags(kind: string, object: Fields): TagName[] {
  if (kind === DEPLOYMENT_CONFIG) return pausedByDeploymentConfig(object);
  if (kind === BUILD_CONFIG) return pausedByBuildConfig(object);
  return pausedByAnnotation(kind, object);
}

/** The tags that have to be known when an object is written; more than {@link followedTags} where a trigger is of an unknown kind. */
export const askedTags = (kind: string, object: Fields): TagName[] =>
  kind === DEPLOYMENT_CONFIG || kind === BUILD_CONFIG ? followedTags(kind, object) : askedByAnnotation(kind, object);

/** How many tags one object may name: they are asked about together. */
export const TAGS_MAX = 500;

/** What of an object's triggers can never do anything. */
export function triggerProblems(kind: string, object: Fields): string[] {
  const own = kind === DEPLOYMENT_CONFIG ? deploymentConfigProblems(object) : kind === BUILD_CONFIG ? buildConfigProblems(object) : [];
  return [...own, ...annotationProblems(kind, object)];
}

/** A value that was set because of a tag, and is no container's image. */
export interface Bookkept {
  tag: TagName;
  image: string;
  pointer: string;
}

export type Triggered<T extends Fields = Fields> =
  | { kind: 'unchanged' }
  | { kind: 'changed'; object: T; changes: readonly ImageChange[]; bookkept: readonly Bookkept[] }
  | { kind: 'refused'; reason: string };

/** The object with the images that its tags mean now; a BuildConfig is built instead. */
export function triggered<T extends Fields>(kind: string, object: T, resolve: Resolve): Triggered<T> {
  if (kind === DEPLOYMENT_CONFIG) {
    const processed = processDeploymentConfig(object, resolve);
    return processed.kind === 'waiting' ? { kind: 'unchanged' } : processed;
  }
  const processed = processAnnotation(kind, object, resolve);
  return processed.kind === 'changed' ? { ...processed, bookkept: [] } : processed;
}

/** Whether a write counts as another generation of the object: as Kubernetes counts, by everything but metadata and status. */
export function respecified(kind: string, before: Fields, next: Fields): boolean {
  const wanted = ({ metadata: _, status: __, ...rest }: Fields) => rest;
  if (!same(wanted(before), wanted(next))) return true;
  const annotations = (of: Fields) => fieldsIn(metadataOf(of), 'annotations');
  return kind === 'Deployment' && !same(annotations(before), annotations(next));
}

/** The state of a tag as a follower knows it. */
export interface TagState {
  streamUid: string;
  generation: number;
  /** RFC 3339. */
  movedAt: string;
}

/**
 * Whether what is told of a tag is newer than what is known. Of one generation of one stream a move says nothing new, while a change of its
 * pull spec does (`repeats: false`). A stream that was made again counts anew, so then time decides.
 */
export function isNewer(known: TagState | undefined, told: TagState, { repeats }: { repeats: boolean }): boolean {
  if (!known) return true;
  if (known.streamUid !== told.streamUid) return Date.parse(told.movedAt) > Date.parse(known.movedAt);
  return repeats ? told.generation > known.generation : told.generation >= known.generation;
}

const DNS_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const DNS_NAME_WORDS =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const NAME_LENGTH_MAX = 253;

/** What is wrong with an object as far as it is ours: its name, place and labels. What is in it is judged by whoever runs it. */
export function validateWorkload({ metadata }: { metadata: ObjectMeta }): FieldError[] {
  const { name = '', generateName, namespace = '' } = metadata;
  const errors: FieldError[] = [];
  const field = generateName ? 'metadata.generateName' : 'metadata.name';
  if (!name) errors.push(required('metadata.name', 'name or generateName is required'));
  else if (name.length > NAME_LENGTH_MAX) errors.push(invalidValue(field, name, `must be no more than ${NAME_LENGTH_MAX} characters`));
  else if (!DNS_NAME.test(name)) errors.push(invalidValue(field, name, DNS_NAME_WORDS));
  errors.push(...namespaceProblems(namespace).map((problem) => invalidValue('metadata.namespace', namespace, problem)));
  return [...errors, ...validateLabels(metadata)];
}
