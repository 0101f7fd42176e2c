import type { Resource } from '@millrace/contracts/resources';
import type { ImageTag } from '@millrace/domain/image-stream';
import { imageTagRow } from '@millrace/domain/image-tag-row';
import { AGE, at, column, type Column, type ColumnDefinition, list, NAME, type Printed, shortly, text } from './columns.ts';
import { WORKLOAD_COLUMNS } from './workload-columns.ts';

/** A server-side printed table of `meta.k8s.io`, which `oc get` and `kubectl get` show as it is. */
export interface Table {
  kind: 'Table';
  apiVersion: string;
  metadata: object;
  columnDefinitions: readonly ColumnDefinition[] | null;
  rows: { cells: unknown[]; object: unknown }[];
}

/** How much of the object goes with its row: `?includeObject=`. */
export type Included = 'None' | 'Metadata' | 'Object';

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
    column('Phase', (trigger) => text(trigger, 'status.phase'), {
      description: 'Active, Paused, Held, Waiting (a change does), Stopped (after a storm) or DryRun.',
    }),
    column('Pending', pendingOf, { description: 'The newest move that has not fired, and how many more wait with it.' }),
    column('Webhooks', (trigger) => list(trigger, 'spec.webhooks').length, { type: 'integer', description: 'How many are called.' }),
    column(
      'Last fired',
      (trigger, now) => ago(text(trigger, 'status.lastTriggered.at', 'status.lastTriggered.movedAt', 'status.lastTriggered'), now),
      {
        description: 'When a move last fired it.',
      },
    ),
    AGE,
    column(
      'Waits For',
      (trigger) =>
        list(trigger, 'status.pending.blockers')
          .map((blocker) => text(blocker, 'reason'))
          .join(','),
      { priority: 1, description: 'What holds it back.' },
    ),
    column('Next Look', (trigger, now) => until(text(trigger, 'status.pending.lookAt'), now), {
      priority: 1,
      description: 'Time until it is decided about again.',
    }),
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
  'control.millrace.dev/tagchanges': [
    NAME,
    column('Decision', (change) => text(change, 'status.decision.kind'), { description: 'Waiting, or UpToDate: nothing waits.' }),
    column('Reason', (change) => text(change, 'status.decision.reason'), { description: 'Why, in one word.' }),
    column('Pending', (change) => Number(at(change, 'status.pending') ?? 0), { type: 'integer', description: 'How many changes wait.' }),
    column('Newest', (change) => shortDigest(text(change, 'status.newest.image', 'status.newest.dockerImageReference')), {
      description: 'The image that the tag will move to.',
    }),
    column('Since', (change, now) => ago(text(change, 'status.newest.since'), now), { description: 'When that came.' }),
    column('Next Look', (change, now) => until(text(change, 'status.decision.lookAt'), now), {
      description: 'When it is decided again; nothing where only a person can change anything.',
    }),
    column('Current', (change) => shortDigest(text(change, 'status.current.image', 'status.current.dockerImageReference')), {
      description: 'What the tag points at.',
      priority: 1,
    }),
    column('Message', (change) => text(change, 'status.decision.message'), { description: 'Why, for people.', priority: 1 }),
  ],
  'triggers.millrace.dev/webhookpresets': [
    NAME,
    column('Receiver', (preset) => text(preset, 'spec.receiver'), { description: 'What is called.' }),
    column('Parameters', (preset) => parametersOf(preset), { description: 'What it is given; those with * must be.' }),
    column('Description', (preset) => text(preset, 'spec.description'), { priority: 1, description: 'What happens there.' }),
  ],
  ...WORKLOAD_COLUMNS,
  'ops.millrace.dev/registrynotifications': [
    NAME,
    column('Registry', (letter) => text(letter, 'spec.registry', 'registry'), { description: 'The registry that sent it.' }),
    column('State', (letter) => text(letter, 'status.state', 'state'), { description: 'Whether it waits or was given up.' }),
    column('Reason', (letter) => text(letter, 'status.reason', 'spec.reason', 'reason'), { description: 'Why it could not be used.' }),
    column('Attempts', (letter) => Number(at(letter, 'status.attempts') ?? 0), { type: 'integer', description: 'Tries made so far.' }),
    AGE,
  ],
  'ops.millrace.dev/scheduledimports': [
    NAME,
    column('Reference', (object) => text(object, 'spec.reference'), { description: 'What is looked at.' }),
    column('Tags', (object) => at(object, 'status.following'), { type: 'integer', description: 'How many tags follow it.' }),
    column('State', (object) => text(object, 'status.state'), {
      description: 'scheduled, due, late, checking, awaited (announced, and not served yet), failing or refused.',
    }),
    column('Last Check', (object, now) => ago(text(object, 'status.lastCheckAt'), now)),
    column('Next Check', (object, now) => until(text(object, 'status.nextCheckAt'), now)),
    column('Failures', (object) => at(object, 'status.failures'), { type: 'integer', description: 'In a row.' }),
    column('Reason', (object) => text(object, 'status.reason'), { description: 'Of the last failure.' }),
    column('Interval', (object) => text(object, 'spec.interval'), { priority: 1 }),
    column('Digest', (object) => text(object, 'status.digest'), { priority: 1, description: 'Served last.' }),
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

const parametersOf = (preset: Printed): string =>
  Object.entries((at(preset, 'spec.parameters') ?? {}) as Record<string, { required?: boolean }>)
    .map(([name, { required }]) => (required ? `${name}*` : name))
    .join(', ');

function eventOf(delivery: Printed): string {
  const generation = text(delivery, 'spec.generation');
  return `${fromOf(delivery)}${generation ? ` #${generation}` : ''}`;
}

/** `#7`, of several `#7 (+2)`. */
function pendingOf(trigger: Printed): string {
  const generation = text(trigger, 'status.pending.generation');
  const others = Number(at(trigger, 'status.pending.count') ?? 1) - 1;
  return generation ? `#${generation}${others > 0 ? ` (+${others})` : ''}` : '';
}

/** A source: `stream:tag`, in another namespace `namespace/stream:tag`. */
function fromOf(trigger: Printed): string {
  const name = text(trigger, 'spec.from.name', 'spec.from');
  const namespace = text(trigger, 'spec.from.namespace');
  return namespace && namespace !== text(trigger, 'metadata.namespace') ? `${namespace}/${name}` : name;
}

/** As much of a digest as tells it apart. */
const shortDigest = (image: string): string => (/^sha\d+:[0-9a-f]{64}/.test(image) ? image.slice(0, 19) : image);

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
