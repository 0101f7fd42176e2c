import { z } from 'zod';
import { ObjectMeta, ObjectReference, optional } from './object-meta.ts';

/*
 * Workloads, as much of them as is read here. Everything else is the sender's and goes through: no shape is closed, and what one does not name is
 * stored as it came.
 */

/** A server manages some of `metadata`; in a template it is the sender's. */
const LooseMeta = ObjectMeta.loose().meta({ id: 'ObjectMeta', description: 'What every object has: its name, its version, its labels.' });

const text = (description: string) => optional(z.string()).describe(description);
const open = (description: string) => z.unknown().optional().describe(description);
/** Kubernetes' own field, which nobody here looks into. */
const list = (description: string) => optional(z.array(z.unknown())).describe(description);

const ContainerPort = z
  .looseObject({ containerPort: optional(z.number()), name: text('Name by which services find it.'), protocol: text('TCP, UDP or SCTP.') })
  .meta({ id: 'ContainerPort' });
const EnvVar = z.looseObject({ name: text('Name of the variable.'), value: text('Its value.') }).meta({ id: 'EnvVar' });
const VolumeMount = z
  .looseObject({ name: text('Name of the volume.'), mountPath: text('Where it is mounted.') })
  .meta({ id: 'VolumeMount' });
const Named = z.looseObject({ name: text('Name within the pod.') });

export const Container = z
  .looseObject({
    name: text('Name of the container, unique in the pod. Triggers name containers by it.'),
    image: text('What is pulled. A trigger puts the image of its tag here; the name of a local stream becomes its image.'),
    imagePullPolicy: text('Always, IfNotPresent or Never. Where absent: Always for latest and for what has no tag, else IfNotPresent.'),
    command: list('What is run.'),
    args: list('Its arguments.'),
    workingDir: text('Where it is run.'),
    ports: optional(z.array(ContainerPort)).describe('Ports that it listens on.'),
    env: optional(z.array(EnvVar)).describe('Its environment.'),
    envFrom: list('Where more of its environment comes from.'),
    resources: open('What it may use.'),
    volumeMounts: optional(z.array(VolumeMount)).describe('Volumes that it sees.'),
    livenessProbe: open('How it is known to live.'),
    readinessProbe: open('How it is known to be ready.'),
    startupProbe: open('How it is known to have started.'),
    lifecycle: open('What is done when it starts and stops.'),
    securityContext: open('What it may do.'),
    terminationMessagePath: text('Where it leaves its last words.'),
    terminationMessagePolicy: text('How its last words are found.'),
  })
  .meta({ id: 'Container' });

const PodSpec = z
  .looseObject({
    containers: optional(z.array(Container)).describe('What runs in the pod.'),
    initContainers: optional(z.array(Container)).describe('What runs before them, one after the other.'),
    volumes: optional(z.array(Named.meta({ id: 'Volume' }))).describe('What containers can mount.'),
    imagePullSecrets: optional(z.array(Named.meta({ id: 'LocalObjectReference' }))).describe('Secrets that images are pulled with.'),
    restartPolicy: text('Always, OnFailure or Never.'),
    serviceAccountName: text('As whom the pod acts.'),
    nodeSelector: open('Labels of nodes that it may run on.'),
    tolerations: list('Taints that it bears.'),
    affinity: open('Where it prefers to run.'),
    securityContext: open('What it may do.'),
    terminationGracePeriodSeconds: optional(z.number()).describe('How long it may take to stop.'),
    dnsPolicy: text('How it resolves names.'),
    schedulerName: text('Who places it.'),
  })
  .meta({ id: 'PodSpec' });

const PodTemplate = z
  .looseObject({ metadata: optional(LooseMeta), spec: optional(PodSpec) })
  .meta({ id: 'PodTemplateSpec', description: 'The pods that are made.' });

const kindOf = (id: string, description: string, spec: z.ZodType) =>
  z
    .looseObject({
      kind: z.string().optional(),
      apiVersion: z.string().optional(),
      metadata: LooseMeta,
      spec: optional(spec),
      status: z.unknown().optional(),
    })
    .meta({ id, description });

const templated = (id: string, more: Record<string, z.ZodType> = {}) =>
  z
    .looseObject({
      replicas: optional(z.number()).describe('How many pods are wanted.'),
      selector: open('Which pods are counted.'),
      template: optional(PodTemplate),
      minReadySeconds: optional(z.number()).describe('How long a pod must be ready to count.'),
      revisionHistoryLimit: optional(z.number()).describe('How many old versions are kept.'),
      ...more,
    })
    .meta({ id });

const FOLLOWS = 'It follows tags by the annotation image.openshift.io/triggers.';
const strategy = { strategy: open('How old pods are replaced.'), paused: optional(z.boolean()).describe('Whether nothing is rolled out.') };

export const Deployment = kindOf('Deployment', `Pods that are replaced step by step. ${FOLLOWS}`, templated('DeploymentSpec', strategy));
export const StatefulSet = kindOf(
  'StatefulSet',
  `Pods with names of their own. ${FOLLOWS}`,
  templated('StatefulSetSpec', { serviceName: text('Service that governs their names.'), updateStrategy: open('How pods are replaced.') }),
);
export const DaemonSet = kindOf(
  'DaemonSet',
  `A pod on each node. ${FOLLOWS}`,
  templated('DaemonSetSpec', { updateStrategy: open('How pods are replaced.') }),
);
export const ReplicaSet = kindOf('ReplicaSet', 'A number of pods.', templated('ReplicaSetSpec'));
export const ReplicationController = kindOf('ReplicationController', 'A number of pods.', templated('ReplicationControllerSpec'));
export const Pod = kindOf('Pod', 'Containers that run together.', PodSpec);

const JobSpec = z
  .looseObject({
    template: optional(PodTemplate),
    backoffLimit: optional(z.number()).describe('How often it is tried again.'),
    completions: optional(z.number()).describe('How many pods have to succeed.'),
    parallelism: optional(z.number()).describe('How many of them run at a time.'),
  })
  .meta({ id: 'JobSpec' });
export const Job = kindOf('Job', 'Pods that end.', JobSpec);
export const CronJob = kindOf(
  'CronJob',
  `A job by the clock. ${FOLLOWS}`,
  z
    .looseObject({
      schedule: text('When it runs, as cron writes it.'),
      suspend: optional(z.boolean()).describe('Whether it does not run.'),
      concurrencyPolicy: text('Allow, Forbid or Replace.'),
      jobTemplate: optional(z.looseObject({ metadata: optional(LooseMeta), spec: optional(JobSpec) }).meta({ id: 'JobTemplateSpec' })),
    })
    .meta({ id: 'CronJobSpec' }),
);

const ImageChangeParams = z
  .looseObject({
    automatic: optional(z.boolean()).describe('Whether moves of the tag change the template.'),
    containerNames: optional(z.array(z.string())).describe('Containers that get the image.'),
    from: optional(ObjectReference).describe('The ImageStreamTag that is followed.'),
    lastTriggeredImage: text('What was put into the template last.'),
  })
  .meta({ id: 'DeploymentTriggerImageChangeParams' });
export const DeploymentConfig = kindOf(
  'DeploymentConfig',
  'OpenShift’s deployment; it follows tags by its ImageChange triggers.',
  templated('DeploymentConfigSpec', {
    ...strategy,
    test: optional(z.boolean()).describe('Whether it is scaled down when it is not deploying.'),
    triggers: optional(
      z.array(
        z
          .looseObject({ type: text('ImageChange or ConfigChange.'), imageChangeParams: optional(ImageChangeParams) })
          .meta({ id: 'DeploymentTriggerPolicy' }),
      ),
    ).describe('What makes it deploy.'),
  }),
);

const ImageChangeTrigger = z
  .looseObject({
    from: optional(ObjectReference).describe('The ImageStreamTag that is followed; that of the strategy when absent.'),
    paused: optional(z.boolean()).describe('Whether moves of the tag build nothing.'),
    lastTriggeredImageID: text('What was built last, on older servers.'),
  })
  .meta({ id: 'ImageChangeTrigger' });
const BuildSpec = {
  source: open('What is built.'),
  strategy: open('How it is built.'),
  output: open('Where the image goes.'),
  resources: open('What a build may use.'),
  serviceAccount: text('As whom it builds.'),
  revision: open('Which version of the source.'),
  nodeSelector: open('Labels of nodes that it may run on.'),
  completionDeadlineSeconds: optional(z.number()).describe('How long it may take.'),
};
export const BuildConfig = kindOf(
  'BuildConfig',
  'How images are built; it follows tags by its ImageChange triggers.',
  z
    .looseObject({
      triggers: optional(
        z.array(
          z
            .looseObject({ type: text('ImageChange, ConfigChange or a webhook.'), imageChange: optional(ImageChangeTrigger) })
            .meta({ id: 'BuildTriggerPolicy' }),
        ),
      ).describe('What makes it build.'),
      runPolicy: text('Serial, SerialLatestOnly or Parallel.'),
      ...BuildSpec,
    })
    .meta({ id: 'BuildConfigSpec' }),
);
export const Build = kindOf(
  'Build',
  'One build of a BuildConfig, to be made by whoever hears of it.',
  z.looseObject({ triggeredBy: list('Why it was made.'), ...BuildSpec }).meta({ id: 'BuildSpec' }),
);
export const BuildRequest = z
  .looseObject({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: optional(LooseMeta),
    from: optional(ObjectReference).describe('The ImageStreamTag whose move asks for the build.'),
    triggeredByImage: optional(ObjectReference).describe('The image that asks for it.'),
    triggeredBy: list('All causes.'),
  })
  .meta({ id: 'BuildRequest', description: 'Asks a BuildConfig for a build.' });
