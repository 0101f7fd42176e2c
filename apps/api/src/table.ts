import type { Resource } from '@millrace/contracts/resources';
import type { ImageTag } from '@millrace/domain/image-stream';
import { imageTagRow } from '@millrace/domain/image-tag-row';

/** A server-side printed table of `meta.k8s.io`, which `oc get` and `kubectl get` show as it is. */
export interface Table {
  kind: 'Table';
  apiVersion: string;
  metadata: object;
  columnDefinitions: readonly ColumnDefinition[] | null;
  rows: { cells: unknown[]; object: unknown }[];
}

interface ColumnDefinition {
  name: string;
  type: 'string' | 'number' | 'integer' | 'boolean' | 'date';
  format: string;
  description: string;
  priority: number;
}

/** What is printed of one object; fields are looked up leniently, since an object is whatever its owner answered. */
interface Column extends ColumnDefinition {
  cell: (object: Printed, now: Date) => unknown;
}

/** How much of the object goes with its row: `?includeObject=`. */
export type Included = 'None' | 'Metadata' | 'Object';

export type Printed = Record<string, unknown>;

/** Rows of the given objects, in their order. `columns: false` leaves the definitions out, as on a watch after its first event. */
export function tableOf(
  resource: Pick<Resource, 'group' | 'resource'>,
  objects: readonly Printed[],
  options: { metadata: object; now: Date; version?: 'v1' | 'v1beta1'; included?: Included; columns?: boolean },
): Table {
  const { metadata, now, version = 'v1', included = 'Metadata', columns: defined = true } = options;
  const columns = columnsOf(resource);
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${version}`,
    metadata,
    columnDefinitions: defined ? columns.map(({ cell: _, ...definition }) => definition) : null,
    rows: objects.map((object) => ({ cells: columns.map(({ cell }) => cell(object, now)), object: withRow(object, included, version) })),
  };
}

function withRow(object: Printed, included: Included, version: string): unknown {
  if (included === 'None') return null;
  return included === 'Object' ? object : metadataOf(object, version);
}

/** The object cut down to what every kind has. */
export const metadataOf = (object: Printed, version = 'v1'): object => ({
  kind: 'PartialObjectMetadata',
  apiVersion: `meta.k8s.io/${version}`,
  metadata: object['metadata'],
});

/** The value at a path such as `status.attempts`; undefined where the path breaks off. */
function at(object: unknown, path: string): unknown {
  let found = object;
  for (const key of path.split('.')) {
    if (typeof found !== 'object' || found === null) return undefined;
    found = (found as Printed)[key];
  }
  return found;
}

/** The first of several paths that holds something, as text. */
function text(object: Printed, ...paths: string[]): string {
  for (const path of paths) {
    const value = at(object, path);
    if (value !== undefined && value !== null && value !== '') return typeof value === 'object' ? JSON.stringify(value) : String(value);
  }
  return '';
}

const list = (object: unknown, path: string): Printed[] => {
  const value = at(object, path);
  return Array.isArray(value) ? (value as Printed[]) : [];
};

const column = (name: string, cell: Column['cell'], more: Partial<ColumnDefinition> = {}): Column => ({
  name,
  type: 'string',
  format: '',
  description: '',
  priority: 0,
  ...more,
  cell,
});

const NAME = column('Name', (object) => text(object, 'metadata.name'), {
  format: 'name',
  description:
    'Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation ' +
    'of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. ' +
    'More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names',
});
const AGE = column('Age', (object, now) => age(text(object, 'metadata.creationTimestamp'), now), {
  description: 'Time since the object was created.',
});
const IMAGE_REFERENCE = 'dockerImageReference is the string that can be used to pull this image.';
const updated = (when: (object: Printed) => string): Column =>
  column('Updated', (object, now) => ago(when(object), now), { description: 'Last update time.' });
const created = (object: Printed): string => text(object, 'metadata.creationTimestamp');

const COLUMNS: Record<string, readonly Column[]> = {
  'image.openshift.io/imagestreams': [
    NAME,
    column(
      'Image Repository',
      (stream) => text(stream, 'status.publicDockerImageRepository', 'spec.dockerImageRepository', 'status.dockerImageRepository'),
      {
        description:
          'dockerImageRepository represents the effective location this stream may be accessed at. May be empty until the server determines where the repository is located',
      },
    ),
    column('Tags', (stream) => tagsUpToWidth(tagsNewestFirst(stream), 40), { description: 'Human readable list of tags.' }),
    updated((stream) =>
      list(stream, 'status.tags')
        .map(movedAt)
        .reduce((latest, one) => (one > latest ? one : latest), ''),
    ),
  ],
  'image.openshift.io/imagestreamtags': [
    NAME,
    column('Image Reference', (tag) => text(tag, 'image.dockerImageReference'), { description: IMAGE_REFERENCE }),
    updated(created),
    column('Image Name', (tag) => text(tag, 'image.metadata.name'), {
      description: 'image associated with the ImageStream and tag.',
      priority: 1,
    }),
  ],
  'image.openshift.io/imagetags': [
    NAME,
    column('Spec', (tag) => rowOfTag(tag).spec, {
      description:
        'spec is the spec tag associated with this image stream tag, and it may be null if only pushes have occurred to this image stream.',
    }),
    column('Status', (tag) => rowOfTag(tag).status, {
      description:
        'status is the status tag details associated with this image stream tag, and it may be null if no push or import has been performed.',
    }),
    column('History', (tag) => rowOfTag(tag).history || null, { type: 'number', description: 'Number of history entries' }),
    column('Updated', (tag, now) => ago(rowOfTag(tag).updated, now), { description: 'Last updated at' }),
  ],
  'image.openshift.io/imagestreamimages': [
    NAME,
    updated(created),
    column('Image Reference', (image) => text(image, 'image.dockerImageReference'), { description: IMAGE_REFERENCE, priority: 1 }),
    column('Image Name', (image) => text(image, 'image.metadata.name'), {
      description: 'image associated with the ImageStream and image name.',
      priority: 1,
    }),
  ],
  'image.openshift.io/images': [
    NAME,
    column('Image Reference', (image) => text(image, 'dockerImageReference'), { description: IMAGE_REFERENCE }),
  ],
  'triggers.millrace.dev/imagetriggers': [
    NAME,
    column('From', fromOf, { description: 'The tag whose moves fire the trigger.' }),
    column('Kind', (trigger) => text(trigger, 'spec.kind'), { description: 'What it asks for: a build or a deployment.' }),
    column('Paused', (trigger) => at(trigger, 'spec.paused') === true, {
      type: 'boolean',
      description: 'Whether moves pass without firing.',
    }),
    column('Webhooks', (trigger) => list(trigger, 'spec.webhooks').length, { type: 'integer', description: 'How many are called.' }),
    column(
      'Last fired',
      (trigger, now) => ago(text(trigger, 'status.lastTriggered.at', 'status.lastTriggered.movedAt', 'status.lastTriggered'), now),
      {
        description: 'When a move last fired it.',
      },
    ),
    AGE,
  ],
  'triggers.millrace.dev/deliveries': [
    NAME,
    column('Trigger', (delivery) => text(delivery, 'spec.trigger.name'), { description: 'The trigger that fired.' }),
    column('Event', eventOf, { description: 'Which tag moved, and which of its moves it is.' }),
    column('Target', (delivery) => text(delivery, 'spec.url', 'spec.webhook'), { description: 'Where it is sent.' }),
    column('State', (delivery) => text(delivery, 'status.state'), { description: 'Whether it waits, arrived or was given up.' }),
    column('Attempts', (delivery) => Number(at(delivery, 'status.attempts') ?? 0), { type: 'integer', description: 'Calls made so far.' }),
    column('Next', (delivery, now) => until(text(delivery, 'status.nextAttemptAt'), now), {
      description: 'Time until the next attempt.',
    }),
    AGE,
  ],
  'ops.millrace.dev/registrynotifications': [
    NAME,
    column('Registry', (letter) => text(letter, 'spec.registry', 'registry'), { description: 'The registry that sent it.' }),
    column('State', (letter) => text(letter, 'status.state', 'state'), { description: 'Whether it waits or was given up.' }),
    column('Reason', (letter) => text(letter, 'status.reason', 'spec.reason', 'reason'), { description: 'Why it could not be used.' }),
    column('Attempts', (letter) => Number(at(letter, 'status.attempts') ?? 0), { type: 'integer', description: 'Tries made so far.' }),
    AGE,
  ],
  'ops.millrace.dev/deadfacts': [
    NAME,
    column('Event', (letter) => text(letter, 'spec.event', 'event'), { description: 'Which fact it is.' }),
    column('Reason', (letter) => text(letter, 'status.reason', 'spec.reason', 'reason'), { description: 'Why it could not be used.' }),
    AGE,
  ],
  '/namespaces': [
    NAME,
    column('Status', (namespace) => text(namespace, 'status.phase'), { description: 'The status of the namespace' }),
    AGE,
  ],
  '/secrets': [
    NAME,
    column('Type', (secret) => text(secret, 'type'), { description: 'Used to facilitate programmatic handling of secret data.' }),
    column('Data', (secret) => Object.keys(at(secret, 'data') ?? {}).length, { description: 'How many keys the secret has.' }),
    AGE,
  ],
  '/serviceaccounts': [
    NAME,
    column('Secrets', (account) => list(account, 'secrets').length, {
      description: 'How many secrets are linked for mounting; those for pulling are not counted.',
    }),
    AGE,
  ],
  'project.openshift.io/projects': [
    NAME,
    column('Display Name', displayName, { description: 'The name displayed by a UI when referencing a project.' }),
    column('Status', (project) => text(project, 'status.phase'), { description: 'phase is the current lifecycle phase of the project' }),
  ],
};
const DEFAULT_COLUMNS: readonly Column[] = [NAME, AGE];

/** An annotation, whose key holds dots. */
function displayName(project: Printed): unknown {
  const annotations = at(project, 'metadata.annotations') as Record<string, unknown> | undefined;
  return annotations?.['openshift.io/display-name'] ?? '';
}

const columnsOf = ({ group, resource }: Pick<Resource, 'group' | 'resource'>): readonly Column[] =>
  COLUMNS[`${group}/${resource}`] ?? DEFAULT_COLUMNS;

/** Whether rows of the resource say how many history items there are. */
export const countsHistory = ({ group, resource }: Pick<Resource, 'group' | 'resource'>): boolean =>
  `${group}/${resource}` === 'image.openshift.io/imagetags';

const rowOfTag = (tag: Printed) => imageTagRow(tag as Pick<ImageTag, 'spec' | 'status'>);

function eventOf(delivery: Printed): string {
  const generation = text(delivery, 'spec.generation');
  return `${fromOf(delivery)}${generation ? ` #${generation}` : ''}`;
}

/** A source: `stream:tag`, in another namespace `namespace/stream:tag`. */
function fromOf(trigger: Printed): string {
  const name = text(trigger, 'spec.from.name', 'spec.from');
  const namespace = text(trigger, 'spec.from.namespace');
  return namespace && namespace !== text(trigger, 'metadata.namespace') ? `${namespace}/${name}` : name;
}

const movedAt = (tag: Printed): string => text(list(tag, 'items')[0] ?? {}, 'created');

function tagsNewestFirst(stream: Printed): string[] {
  const tags = list(stream, 'status.tags').map((tag) => ({ name: text(tag, 'tag'), at: movedAt(tag) }));
  return tags.sort((a, b) => (a.at === b.at ? compare(a.name, b.name) : compare(b.at, a.at))).map(({ name }) => name);
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** As many tags as fit in the width, at least one; one may overrun a little where much room would stay empty. */
export function tagsUpToWidth(tags: readonly string[], width: number): string {
  const margin = Math.floor(width / 4);
  let remaining = width;
  let shown = tags.length;
  for (const [index, tag] of tags.entries()) {
    remaining -= tag.length + 1;
    if (remaining >= 0) continue;
    if (index > 0 && margin < remaining + tag.length && margin >= -remaining) continue;
    shown = Math.max(index, 1);
    break;
  }
  const hidden = tags.length - shown;
  return `${tags.slice(0, shown).join(',')}${hidden ? ` + ${hidden} more...` : ''}`;
}

/** `3 seconds ago`, as the reference says it; empty for no time. */
export function ago(time: string, now: Date): string {
  const then = Date.parse(time);
  return Number.isNaN(then) ? '' : `${roughly(Math.max(0, now.getTime() - then))} ago`;
}

function until(time: string, now: Date): string {
  const then = Date.parse(time);
  return Number.isNaN(then) ? '' : then <= now.getTime() ? 'now' : `in ${shortly(then - now.getTime())}`;
}

function roughly(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(ms / 3_600_000 + 0.5);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < 60) return `${seconds} seconds`;
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  const days = Math.floor(hours / 24);
  if (hours < 24 * 7 * 2) return `${days} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(days / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(days / 30)} months`;
  return `${Math.floor(days / 365)} years`;
}

/** `5d3h`, as kubectl says ages. */
export function age(time: string, now: Date): string {
  const then = Date.parse(time);
  return Number.isNaN(then) ? '<unknown>' : shortly(Math.max(0, now.getTime() - then));
}

function shortly(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  const both = (large: number, unit: string, small: number, smaller: string) => `${large}${unit}${small ? `${small}${smaller}` : ''}`;
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return both(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  if (hours < 8) return both(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  if (days < 8) return both(days, 'd', hours % 24, 'h');
  if (days < 365 * 2) return `${days}d`;
  if (days < 365 * 8) return both(Math.floor(days / 365), 'y', days % 365, 'd');
  return `${Math.floor(days / 365)}y`;
}
