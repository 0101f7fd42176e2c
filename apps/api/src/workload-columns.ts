import { age, AGE, at, column, type Column, list, NAME, type Printed, shortly, text } from './columns.ts';

/* What Kubernetes and OpenShift print of workloads. Nothing is run here, so counts are what the object's status says, mostly none. */

const number = (object: Printed, path: string): number => Number(at(object, path) ?? 0);
const counted = (name: string, path: string, description: string): Column =>
  column(name, (object) => number(object, path), { type: 'integer', description });
const wide = { priority: 1 };

/** Containers and images of a pod template, and a selector where the kind has one. */
function podColumns(template: string, selector?: string): Column[] {
  const of = (object: Printed, field: string) =>
    list(object, `${template}.spec.containers`)
      .map((container) => text(container, field))
      .join(',');
  return [
    column('Containers', (object) => of(object, 'name'), { ...wide, description: 'Names of each container in the template.' }),
    column('Images', (object) => of(object, 'image'), { ...wide, description: 'Images referenced by each container in the template.' }),
    ...(selector
      ? [column('Selector', (object) => selectorText(at(object, selector)), { ...wide, description: 'Which pods are counted.' })]
      : []),
  ];
}

function selectorText(selector: unknown): string {
  const labels = at(selector, 'matchLabels') ?? selector ?? {};
  const pairs = Object.entries(labels).flatMap(([key, value]) => (typeof value === 'string' ? [`${key}=${value}`] : []));
  return pairs.sort().join(',') || '<none>';
}

const ready = column('Ready', (object) => `${number(object, 'status.readyReplicas')}/${text(object, 'spec.replicas') || 1}`, {
  description: 'Number of pods that are ready, of those that are wanted.',
});
const upToDate = (path: string) => counted('Up-to-date', path, 'Pods of the newest template.');
const available = (path: string) => counted('Available', path, 'Pods that have been ready long enough.');
const replicas: readonly Column[] = [
  column('Desired', (object) => Number(text(object, 'spec.replicas') || 1), { type: 'integer', description: 'Pods that are wanted.' }),
  counted('Current', 'status.replicas', 'Pods that are there.'),
  counted('Ready', 'status.readyReplicas', 'Pods that are ready.'),
  AGE,
];
const TEMPLATE = 'spec.template';

export const WORKLOAD_COLUMNS: Record<string, readonly Column[]> = {
  'apps/deployments': [
    NAME,
    ready,
    upToDate('status.updatedReplicas'),
    available('status.availableReplicas'),
    AGE,
    ...podColumns(TEMPLATE, 'spec.selector'),
  ],
  'apps/statefulsets': [NAME, ready, AGE, ...podColumns(TEMPLATE)],
  'apps/daemonsets': [
    NAME,
    counted('Desired', 'status.desiredNumberScheduled', 'Nodes that should run a pod.'),
    counted('Current', 'status.currentNumberScheduled', 'Nodes that run a pod.'),
    counted('Ready', 'status.numberReady', 'Nodes whose pod is ready.'),
    upToDate('status.updatedNumberScheduled'),
    available('status.numberAvailable'),
    column('Node Selector', (object) => selectorText(at(object, 'spec.template.spec.nodeSelector')), { description: 'Which nodes.' }),
    AGE,
    ...podColumns(TEMPLATE, 'spec.selector'),
  ],
  'apps/replicasets': [NAME, ...replicas, ...podColumns(TEMPLATE, 'spec.selector')],
  '/replicationcontrollers': [NAME, ...replicas, ...podColumns(TEMPLATE, 'spec.selector')],
  'batch/jobs': [
    NAME,
    column('Status', jobStatus, { description: 'Whether it runs, or how it has ended.' }),
    column('Completions', (job) => `${number(job, 'status.succeeded')}/${text(job, 'spec.completions') || 1}`, {
      description: 'Pods that have succeeded, of those that have to.',
    }),
    column('Duration', (job, now) => span(text(job, 'status.startTime'), text(job, 'status.completionTime'), now), {
      description: 'How long it has taken.',
    }),
    AGE,
    ...podColumns(TEMPLATE, 'spec.selector'),
  ],
  'batch/cronjobs': [
    NAME,
    column('Schedule', (job) => text(job, 'spec.schedule'), { description: 'When it runs.' }),
    column('Timezone', (job) => text(job, 'spec.timeZone') || '<none>', { description: 'By which clock.' }),
    column('Suspend', (job) => (at(job, 'spec.suspend') === true ? 'True' : 'False'), { description: 'Whether it does not run.' }),
    column('Active', (job) => list(job, 'status.active').length, { type: 'integer', description: 'Jobs that run.' }),
    column('Last Schedule', (job, now) => sinceOr(text(job, 'status.lastScheduleTime'), now, '<none>'), {
      description: 'When it last ran.',
    }),
    AGE,
    ...podColumns('spec.jobTemplate.spec.template', 'spec.jobTemplate.spec.selector'),
  ],
  '/pods': [
    NAME,
    column('Ready', (pod) => `${readyContainers(pod)}/${list(pod, 'spec.containers').length}`, {
      description: 'Containers that are ready.',
    }),
    column('Status', (pod) => text(pod, 'status.phase') || 'Pending', { description: 'What state it is in.' }),
    column('Restarts', (pod) => String(list(pod, 'status.containerStatuses').reduce((sum, one) => sum + number(one, 'restartCount'), 0)), {
      description: 'How often its containers were started again.',
    }),
    AGE,
    column(
      'Images',
      (pod) =>
        list(pod, 'spec.containers')
          .map((container) => text(container, 'image'))
          .join(','),
      {
        ...wide,
        description: 'Images of its containers.',
      },
    ),
  ],
  'apps.openshift.io/deploymentconfigs': [
    NAME,
    counted('Revision', 'status.latestVersion', 'Version that was deployed last.'),
    column('Desired', (config) => text(config, 'spec.replicas') || '1', { description: 'Pods that are wanted.' }),
    column('Current', (config) => text(config, 'status.replicas') || '0', { description: 'Pods that are there.' }),
    column('Triggered By', triggeredBy, { description: 'What makes it deploy.' }),
  ],
  'build.openshift.io/buildconfigs': [
    NAME,
    column('Type', strategyType, { description: 'How it builds.' }),
    column('From', sourceOf, { description: 'What it builds.' }),
    column('Latest', (config) => String(number(config, 'status.lastVersion')), { description: 'Number of its newest build.' }),
  ],
  'build.openshift.io/builds': [
    NAME,
    column('Type', strategyType, { description: 'How it builds.' }),
    column('From', sourceOf, { description: 'What it builds.' }),
    column('Status', (build) => text(build, 'status.phase'), { description: 'How far it is.' }),
    column('Started', (build, now) => sinceOr(text(build, 'status.startTimestamp'), now, ''), { description: 'When it was begun.' }),
    column('Duration', (build, now) => span(text(build, 'status.startTimestamp'), text(build, 'status.completionTimestamp'), now), {
      description: 'How long it has taken.',
    }),
  ],
};

function jobStatus(job: Printed): string {
  const condition = list(job, 'status.conditions').find((one) => one['status'] === 'True');
  return condition ? text(condition, 'type') : at(job, 'spec.suspend') === true ? 'Suspended' : 'Running';
}

const readyContainers = (pod: Printed): number => list(pod, 'status.containerStatuses').filter((one) => one['ready'] === true).length;

/** `config,image(app:v1)` */
function triggeredBy(config: Printed): string {
  return list(config, 'spec.triggers')
    .map((trigger) => (text(trigger, 'type') === 'ImageChange' ? `image(${text(trigger, 'imageChangeParams.from.name')})` : 'config'))
    .sort()
    .join(',');
}

function strategyType(object: Printed): string {
  const type = text(object, 'spec.strategy.type');
  if (type) return type;
  const strategy = Object.keys((at(object, 'spec.strategy') as object | undefined) ?? {})[0]?.replace(/Strategy$/, '') ?? '';
  return strategy.slice(0, 1).toUpperCase() + strategy.slice(1);
}

function sourceOf(object: Printed): string {
  if (at(object, 'spec.source.git') !== undefined)
    return `Git${at(object, 'spec.source.git.ref') ? `@${text(object, 'spec.source.git.ref')}` : ''}`;
  return at(object, 'spec.source.binary') !== undefined ? 'Binary' : at(object, 'spec.source.dockerfile') !== undefined ? 'Dockerfile' : '';
}

const sinceOr = (time: string, now: Date, otherwise: string): string => (time ? age(time, now) : otherwise);

function span(from: string, to: string, now: Date): string {
  const [begun, ended] = [Date.parse(from), to ? Date.parse(to) : now.getTime()];
  return Number.isNaN(begun) || Number.isNaN(ended) ? '' : shortly(Math.max(0, ended - begun));
}
