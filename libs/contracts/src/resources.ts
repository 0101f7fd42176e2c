import { Approval, Release } from '@millrace/domain/change-acts';
import { Explanation } from '@millrace/domain/explanation';
import { Image } from '@millrace/domain/image';
import { ImageSignature } from '@millrace/domain/image-signature';
import { ImageTrigger } from '@millrace/domain/image-trigger';
import { ImageStream, ImageStreamMapping, ImageStreamTag, ImageTag } from '@millrace/domain/image-stream';
import { ImageStreamImport } from '@millrace/domain/image-stream-import';
import { NamespaceObject, PROJECT_GROUP, ProjectRequest } from '@millrace/domain/namespace';
import { Secret, SecretList } from '@millrace/domain/secret';
import { ServiceAccount } from '@millrace/domain/service-account';
import { ImageStreamLayers } from '@millrace/domain/stream-layers';
import { TAG_CHANGES, TagApproval, TagChange, TagRelease, TagRollback } from '@millrace/domain/tag-change';
import {
  Build,
  BuildConfig,
  BuildRequest,
  CronJob,
  DaemonSet,
  Deployment,
  DeploymentConfig,
  Job,
  Pod,
  ReplicaSet,
  ReplicationController,
  StatefulSet,
} from '@millrace/domain/workload-shapes';
import { WebhookPresetObject } from '@millrace/domain/webhook-presets';
import type { z } from 'zod';
import type { Owner } from './define.ts';

export type Verb = 'create' | 'get' | 'list' | 'watch' | 'update' | 'patch' | 'delete' | 'deletecollection';

/** One resource of the Kubernetes-style API: how it is named, who owns it and what may be done with it. */
export interface Resource {
  readonly group: string;
  readonly version: 'v1';
  /** Plural, as in the path. */
  readonly resource: string;
  /** As in `oc get imagestream`, and in error texts that use the singular. */
  readonly singular: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly kind: string;
  readonly namespaced: boolean;
  readonly verbs: readonly Verb[];
  readonly owner: Owner;
  /** How long its owner may take for an answer, in milliseconds, where that is more than usual. */
  readonly answersWithinMs?: number;
  /** Paths by which objects can be selected; {@link NAME_FIELDS} when absent. */
  readonly fields?: readonly string[];
  /** What an answer about the resource is made of: it holds until one of these is touched. Absent where its owner is asked each time. */
  readonly madeOf?: Parts;
  /** Whether `metadata.managedFields` is kept, so that server-side apply knows who owns which field. */
  readonly keepsOwners?: boolean;
  /** Whether objects of it hold what no log may: then no log repeats what was wrong with one. */
  readonly confidential?: boolean;
  /** Shape of the object, for documents and for warnings about unknown fields; any object when absent. */
  readonly schema?: z.ZodType;
  /** A subresource of another kind than the resource has a shape of its own. */
  readonly subresources?: readonly { name: string; kind: string; verbs: readonly Verb[]; schema?: z.ZodType }[];
}

/** What objects of a resource are made of, by the names under which their owner tells what was touched. */
export interface Parts {
  /** Plural of the objects from which it follows, itself where nothing else does. */
  readonly of: string;
  /** What comes after the name of such an object in its own name. */
  readonly separator?: ':' | '@';
  /** Whether one of them shows an image: `known` one that is there, `any` also one that is still to come. A list of them shows none. */
  readonly image?: 'known' | 'any';
}

/** Fields of objects that have no more to be selected by. */
export const NAME_FIELDS: readonly string[] = ['metadata.name', 'metadata.namespace'];

const all: readonly Verb[] = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
const IMAGE = { group: 'image.openshift.io', version: 'v1', owner: 'tag-store' } as const;
const NAMESPACE_FIELDS = ['metadata.name', 'status.phase'];
/** Kubernetes' own group: as much of it as clients of image streams need. */
const CORE = { group: '', version: 'v1', owner: 'tag-store' } as const;
const PROJECT = { group: PROJECT_GROUP, version: 'v1', owner: 'tag-store' } as const;
const TRIGGERS = { group: 'triggers.millrace.dev', version: 'v1', owner: 'trigger-dispatcher' } as const;

export const ImageStreams: Resource = {
  ...IMAGE,
  resource: 'imagestreams',
  singular: 'imagestream',
  shortNames: ['is'],
  categories: ['all'],
  kind: 'ImageStream',
  namespaced: true,
  verbs: all,
  fields: [...NAME_FIELDS, 'spec.dockerImageRepository', 'status.dockerImageRepository'],
  madeOf: { of: 'imagestreams' },
  keepsOwners: true,
  schema: ImageStream,
  subresources: [
    { name: 'layers', kind: 'ImageStreamLayers', verbs: ['get'], schema: ImageStreamLayers },
    { name: 'secrets', kind: 'SecretList', verbs: ['get'], schema: SecretList },
    { name: 'status', kind: 'ImageStream', verbs: ['get', 'patch', 'update'] },
  ],
};
export const ImageStreamTags: Resource = {
  ...IMAGE,
  resource: 'imagestreamtags',
  singular: 'imagestreamtag',
  shortNames: ['istag'],
  kind: 'ImageStreamTag',
  namespaced: true,
  schema: ImageStreamTag,
  madeOf: { of: 'imagestreams', separator: ':', image: 'known' },
  verbs: ['create', 'delete', 'get', 'list', 'patch', 'update'],
};
export const ImageTags: Resource = {
  ...IMAGE,
  resource: 'imagetags',
  singular: 'imagetag',
  shortNames: ['itag'],
  kind: 'ImageTag',
  namespaced: true,
  schema: ImageTag,
  madeOf: { of: 'imagestreams', separator: ':', image: 'any' },
  verbs: ['create', 'delete', 'get', 'list', 'patch', 'update'],
};
export const ImageStreamImages: Resource = {
  ...IMAGE,
  resource: 'imagestreamimages',
  singular: 'imagestreamimage',
  shortNames: ['isimage'],
  kind: 'ImageStreamImage',
  namespaced: true,
  madeOf: { of: 'imagestreams', separator: '@', image: 'any' },
  verbs: ['get'],
};
export const ImageStreamMappings: Resource = {
  ...IMAGE,
  resource: 'imagestreammappings',
  singular: 'imagestreammapping',
  kind: 'ImageStreamMapping',
  namespaced: true,
  schema: ImageStreamMapping,
  verbs: ['create'],
};
/** Asks registries while the client waits. */
export const ImageStreamImports: Resource = {
  ...IMAGE,
  owner: 'import-scheduler',
  answersWithinMs: 150_000,
  resource: 'imagestreamimports',
  singular: 'imagestreamimport',
  kind: 'ImageStreamImport',
  namespaced: true,
  schema: ImageStreamImport,
  verbs: ['create'],
};
export const Images: Resource = {
  ...IMAGE,
  resource: 'images',
  singular: 'image',
  kind: 'Image',
  namespaced: false,
  verbs: all,
  madeOf: { of: 'images' },
  schema: Image,
};

export const ImageSignatures: Resource = {
  ...IMAGE,
  resource: 'imagesignatures',
  singular: 'imagesignature',
  kind: 'ImageSignature',
  namespaced: false,
  verbs: ['create', 'delete'],
  schema: ImageSignature,
};

export const Namespaces: Resource = {
  ...CORE,
  resource: 'namespaces',
  singular: 'namespace',
  shortNames: ['ns'],
  kind: 'Namespace',
  namespaced: false,
  verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
  fields: NAMESPACE_FIELDS,
  schema: NamespaceObject,
};
/** Credentials of a namespace's registries, and other secrets of it; encrypted where they are kept. */
export const Secrets: Resource = {
  ...CORE,
  resource: 'secrets',
  singular: 'secret',
  kind: 'Secret',
  namespaced: true,
  verbs: ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update'],
  confidential: true,
  fields: [...NAME_FIELDS, 'type'],
  schema: Secret,
};
/** With the secrets that are linked to them; every namespace has some. */
export const ServiceAccounts: Resource = {
  ...CORE,
  resource: 'serviceaccounts',
  singular: 'serviceaccount',
  shortNames: ['sa'],
  kind: 'ServiceAccount',
  namespaced: true,
  verbs: all,
  schema: ServiceAccount,
};
/** Namespaces as OpenShift's clients see them. */
export const Projects: Resource = {
  ...PROJECT,
  resource: 'projects',
  singular: 'project',
  kind: 'Project',
  namespaced: false,
  verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
  fields: NAMESPACE_FIELDS,
  schema: NamespaceObject,
};
/** A list of these has nothing in it: it answers whether one may ask for a project. */
export const ProjectRequests: Resource = {
  ...PROJECT,
  resource: 'projectrequests',
  singular: 'projectrequest',
  kind: 'ProjectRequest',
  namespaced: false,
  verbs: ['create', 'list'],
  schema: ProjectRequest,
};

export const ImageTriggers: Resource = {
  ...TRIGGERS,
  resource: 'imagetriggers',
  singular: 'imagetrigger',
  shortNames: ['itrig'],
  categories: ['all'],
  kind: 'ImageTrigger',
  confidential: true,
  schema: ImageTrigger,
  namespaced: true,
  verbs: all,
  madeOf: { of: 'imagetriggers' },
  subresources: [
    { name: 'approve', kind: 'Approval', verbs: ['create'], schema: Approval },
    { name: 'release', kind: 'Release', verbs: ['create'], schema: Release },
  ],
};
/** What would become of an image of a tag; answered, and kept nowhere. */
export const Explanations: Resource = {
  ...TRIGGERS,
  answersWithinMs: 30_000,
  resource: 'explanations',
  singular: 'explanation',
  kind: 'Explanation',
  namespaced: true,
  schema: Explanation,
  verbs: ['create'],
};
/** One webhook call to be made: state, attempts, and its replay. */
export const Deliveries: Resource = {
  ...TRIGGERS,
  resource: 'deliveries',
  singular: 'delivery',
  kind: 'Delivery',
  namespaced: true,
  verbs: ['get', 'list', 'delete'],
  subresources: [{ name: 'replay', kind: 'Delivery', verbs: ['create'] }],
};

/** Receivers of webhooks that are known; they come with the release. */
export const WebhookPresets: Resource = {
  ...TRIGGERS,
  resource: 'webhookpresets',
  singular: 'webhookpreset',
  kind: 'WebhookPreset',
  namespaced: false,
  verbs: ['get', 'list'],
  schema: WebhookPresetObject,
};

/*
 * Objects that teams have already, stored as they are sent: their images follow tags. The sender's fields are the sender's; the schemas say only what is
 * read here, and let everything else through.
 */
const workload = (
  group: string,
  resource: string,
  kind: string,
  schema: z.ZodType,
  more: Partial<Pick<Resource, 'shortNames' | 'categories' | 'subresources'>> = {},
): Resource => ({
  group,
  version: 'v1',
  owner: 'trigger-dispatcher',
  resource,
  singular: kind.toLowerCase(),
  kind,
  namespaced: true,
  verbs: all,
  keepsOwners: true,
  schema,
  categories: ['all'],
  subresources: [{ name: 'status', kind, verbs: ['get', 'patch', 'update'] }],
  ...more,
});

export const Deployments = workload('apps', 'deployments', 'Deployment', Deployment, { shortNames: ['deploy'] });
export const StatefulSets = workload('apps', 'statefulsets', 'StatefulSet', StatefulSet, { shortNames: ['sts'] });
export const DaemonSets = workload('apps', 'daemonsets', 'DaemonSet', DaemonSet, { shortNames: ['ds'] });
export const ReplicaSets = workload('apps', 'replicasets', 'ReplicaSet', ReplicaSet, { shortNames: ['rs'] });
export const CronJobs = workload('batch', 'cronjobs', 'CronJob', CronJob, { shortNames: ['cj'] });
export const Jobs = workload('batch', 'jobs', 'Job', Job);
export const ReplicationControllers = workload('', 'replicationcontrollers', 'ReplicationController', ReplicationController, {
  shortNames: ['rc'],
});
export const Pods = workload('', 'pods', 'Pod', Pod, { shortNames: ['po'] });
export const DeploymentConfigs = workload('apps.openshift.io', 'deploymentconfigs', 'DeploymentConfig', DeploymentConfig, {
  shortNames: ['dc'],
});
export const BuildConfigs = workload('build.openshift.io', 'buildconfigs', 'BuildConfig', BuildConfig, {
  shortNames: ['bc'],
  subresources: [
    { name: 'instantiate', kind: 'BuildRequest', verbs: ['create'], schema: BuildRequest },
    { name: 'status', kind: 'BuildConfig', verbs: ['get', 'patch', 'update'] },
  ],
});
/** Made by a BuildConfig, for whoever builds: who does tells the phase in its status. */
export const Builds = workload('build.openshift.io', 'builds', 'Build', Build, { subresources: [] });

/** The objects whose images follow tags, by the name of their resource. */
export const workloads: readonly Resource[] = [
  Deployments,
  StatefulSets,
  DaemonSets,
  ReplicaSets,
  CronJobs,
  Jobs,
  ReplicationControllers,
  Pods,
  DeploymentConfigs,
  BuildConfigs,
  Builds,
];

/** What a service could not use and kept: a notification or fact, with the reason; to be retried or dropped by an operator. */
const letters = (owner: Owner, resource: string, singular: string, kind: string): Resource => ({
  group: 'ops.millrace.dev',
  version: 'v1',
  resource,
  singular,
  kind,
  namespaced: false,
  verbs: ['get', 'list', 'delete'],
  owner,
  subresources: [{ name: 'replay', kind, verbs: ['create'] }],
});
/** Notifications of registries that ended without a mapping, or wait for their next try. */
export const RegistryNotifications = letters('registry-mapping', 'registrynotifications', 'registrynotification', 'RegistryNotification');
/** Facts that tag-store refused. */
export const DeadFacts = letters('tag-store', 'deadfacts', 'deadfact', 'DeadFact');

/** Paths by which objects of the resource can be selected. */
export const fieldsOf = ({ fields = NAME_FIELDS }: Resource): readonly string[] => fields;
/** References that scheduled tags follow: when each was looked at and will be, who follows it, and what is wrong; `check` has it looked at now. */
export const ScheduledImports: Resource = {
  group: 'ops.millrace.dev',
  version: 'v1',
  resource: 'scheduledimports',
  singular: 'scheduledimport',
  kind: 'ScheduledImport',
  namespaced: false,
  verbs: ['get', 'list'],
  owner: 'import-scheduler',
  subresources: [{ name: 'check', kind: 'ScheduledImport', verbs: ['create'] }],
};

/** Tags whose spec holds changes back: what waits, why and until when, and what people do about it. */
export const TagChanges: Resource = {
  ...TAG_CHANGES,
  version: 'v1',
  singular: 'tagchange',
  shortNames: ['tch'],
  kind: 'TagChange',
  namespaced: true,
  verbs: ['get', 'list'],
  owner: 'tag-store',
  schema: TagChange,
  madeOf: { of: 'imagestreams', separator: ':' },
  subresources: [
    { name: 'approve', kind: 'TagApproval', verbs: ['create'], schema: TagApproval },
    { name: 'release', kind: 'TagRelease', verbs: ['create'], schema: TagRelease },
    { name: 'rollback', kind: 'TagRollback', verbs: ['create'], schema: TagRollback },
  ],
};

/** Every resource of the API. */
export const resources: readonly Resource[] = [
  Images,
  ImageSignatures,
  ImageStreamImages,
  ImageStreamImports,
  ImageStreamMappings,
  ImageStreams,
  ImageStreamTags,
  ImageTags,
  Namespaces,
  Secrets,
  ServiceAccounts,
  Projects,
  ProjectRequests,
  ImageTriggers,
  Explanations,
  Deliveries,
  WebhookPresets,
  ...workloads,
  RegistryNotifications,
  DeadFacts,
  ScheduledImports,
  TagChanges,
];
