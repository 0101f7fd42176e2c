import type { DockerImage, Image } from '@millrace/domain/image';
import type { ImageSignature } from '@millrace/domain/image-signature';
import {
  IMAGE_API_VERSION,
  type ImageStream,
  type ImageStreamSpec,
  type ImageStreamTag,
  type ImageTag,
  type NamedTagEventList,
  type TagReference,
} from '@millrace/domain/image-stream';
import { PROJECT_GROUP } from '@millrace/domain/namespace';
import type { ObjectMeta } from '@millrace/domain/object-meta';
import { pullSpecOf } from '@millrace/domain/pull-spec';
import { formatStreamTag } from '@millrace/domain/stream-names';
import type { TagChange } from '@millrace/domain/tag-change';
import { CONTROL_GROUP, type PendingTagChange } from '@millrace/domain/tag-control';
import { inSeconds, repositoryOf } from './stream-rows.ts';
import type { ImageRow, StreamRow } from './tables.ts';

/*
 * From rows to the JSON that a client gets: which keys are always there, which are left out when empty, which are `null`. Typed
 * clients rely on it. An object here has no kind and apiVersion, as the items of a list have none; `asObject` adds them.
 */

/** Hosts under which the images of streams can be pulled, from inside and from outside; empty for none. */
export interface Registries {
  internal: string;
  external: string;
}

export type Kind =
  | 'ImageStream'
  | 'ImageStreamTag'
  | 'ImageTag'
  | 'ImageStreamImage'
  | 'ImageStreamMapping'
  | 'ImageStreamLayers'
  | 'Image'
  | 'ImageSignature'
  | 'SecretList'
  | keyof typeof OTHER_VERSIONS;

/** Kinds that are not of the group of images. */
const OTHER_VERSIONS = {
  Namespace: 'v1',
  Secret: 'v1',
  ServiceAccount: 'v1',
  Project: `${PROJECT_GROUP}/v1`,
  ProjectRequest: `${PROJECT_GROUP}/v1`,
  TagChange: `${CONTROL_GROUP}/v1`,
  TagApproval: `${CONTROL_GROUP}/v1`,
  TagRelease: `${CONTROL_GROUP}/v1`,
  TagRollback: `${CONTROL_GROUP}/v1`,
} as const;

export const apiVersionOf = (kind: Kind): string =>
  kind in OTHER_VERSIONS ? OTHER_VERSIONS[kind as keyof typeof OTHER_VERSIONS] : IMAGE_API_VERSION;

/** A single object, complete. */
export const asObject = (kind: Kind, object: object): Record<string, unknown> => ({ kind, apiVersion: apiVersionOf(kind), ...object });

/** A stream from its row and its tags with items or conditions, in any order; repositories are computed, never stored. */
export function streamView(row: StreamRow, lists: readonly NamedTagEventList[], registries: Registries): ImageStream {
  const spec = row.spec as ImageStreamSpec;
  const tags = lists.map(listView).sort((a, b) => (a.tag < b.tag ? -1 : 1));
  return {
    metadata: metadataView({
      ...row.metadata,
      name: row.name,
      namespace: row.namespace,
      uid: row.uid,
      resourceVersion: row.resourceVersion === '0' ? undefined : row.resourceVersion,
      generation: Number(row.generation),
      creationTimestamp: inSeconds(row.created),
      labels: row.labels ?? undefined,
      annotations: row.annotations ?? undefined,
    }),
    spec,
    status: {
      dockerImageRepository: repositoryOf({ ...row, spec }, registries.internal),
      ...(registries.external ? { publicDockerImageRepository: repositoryOf({ ...row, spec }, registries.external) } : {}),
      ...(tags.length ? { tags } : {}),
    },
  };
}

const listView = ({ tag, items, conditions, control }: NamedTagEventList): NamedTagEventList => ({
  tag,
  items: items?.length ? items : null,
  ...(conditions?.length ? { conditions } : {}),
  ...(control ? { control } : {}),
});

/** An image; `document` holds what its columns do not. */
export function imageView(row: ImageRow): Image {
  const document = JSON.parse(row.document) as Partial<Image>;
  return imageInOrder({
    ...document,
    metadata: metadataView({
      name: row.name,
      uid: row.uid,
      resourceVersion: row.resourceVersion === '0' ? undefined : row.resourceVersion,
      creationTimestamp: inSeconds(row.created),
      labels: row.labels ?? undefined,
      annotations: row.annotations ?? undefined,
    }),
    dockerImageReference: row.reference,
  });
}

/** A tag of a stream with the image on top of it, or undefined where there is none and none may be missing. */
export function streamTagView(stream: ImageStream, tag: string, image?: Image): ImageStreamTag {
  const list = stream.status.tags?.find((candidate) => candidate.tag === tag);
  const newest = list?.items?.[0];
  const top = newest?.image ? newest : undefined;
  const spec: TagReference | undefined = stream.spec.tags?.find((candidate) => candidate.name === tag);
  const { metadata } = stream;
  const annotations = spec?.annotations ?? undefined;
  const pullSpec = top && pullSpecOf(top, { policy: spec?.referencePolicy?.type, repository: stream.status.dockerImageRepository });
  const known = image
    ? { ...image, metadata: metadataView({ ...image.metadata, annotations: { ...image.metadata.annotations, ...annotations } }) }
    : { metadata: top ? { name: top.image } : {} };
  return {
    metadata: metadataView({
      name: formatStreamTag(metadata.name ?? '', tag),
      namespace: metadata.namespace,
      uid: metadata.uid,
      resourceVersion: metadata.resourceVersion,
      creationTimestamp: top?.created ?? metadata.creationTimestamp,
      labels: metadata.labels,
      annotations,
    }),
    tag: spec ?? null,
    generation: top?.generation ?? 0,
    lookupPolicy: stream.spec.lookupPolicy,
    ...(list?.conditions ? { conditions: list.conditions } : {}),
    image: withoutTexts({ ...known, dockerImageReference: pullSpec }),
  };
}

/** A tag as its stream has it: of spec, status and image each is `null` where it is not there. */
export function imageTagView(stream: ImageStream, tag: string, image?: Image): ImageTag {
  const spec = stream.spec.tags?.find((candidate) => candidate.name === tag);
  const list = stream.status.tags?.find((candidate) => candidate.tag === tag);
  const top = list?.items?.[0];
  const by = { policy: spec?.referencePolicy?.type, repository: stream.status.dockerImageRepository };
  return {
    metadata: metadataView({ ...stream.metadata, name: formatStreamTag(stream.metadata.name ?? '', tag) }),
    spec: spec ?? null,
    status: list ?? null,
    image: image && top ? withoutTexts({ ...image, dockerImageReference: pullSpecOf(top, by) }) : null,
  };
}

/** A tag with what is held back of it; undefined where nothing is. `changes` are those that wait, where they are wanted. */
export function tagChangeView(stream: ImageStream, tag: string, changes?: readonly PendingTagChange[]): TagChange | undefined {
  const list = stream.status.tags?.find((candidate) => candidate.tag === tag);
  if (!list?.control) return undefined;
  const { namespace, uid, resourceVersion, creationTimestamp } = stream.metadata;
  const control = stream.spec.tags?.find((candidate) => candidate.name === tag)?.control ?? {};
  const { decision, pending, newest, ...rest } = list.control;
  return {
    metadata: metadataView({ name: formatStreamTag(stream.metadata.name ?? '', tag), namespace, uid, resourceVersion, creationTimestamp }),
    spec: { control },
    status: {
      decision,
      pending,
      current: list.items?.[0] ?? null,
      ...(newest ? { newest } : {}),
      ...(changes?.length ? { changes: [...changes] } : {}),
      ...rest,
    },
  };
}

/** An image of a stream's history, under the name by which it was asked for. */
export function streamImageView(stream: ImageStream, name: string, image: Image): object {
  return {
    metadata: metadataView({
      name,
      namespace: stream.metadata.namespace,
      creationTimestamp: image.metadata.creationTimestamp,
      annotations: stream.metadata.annotations,
    }),
    image: withoutTexts(image),
  };
}

const withoutTexts = (image: Image): Image => imageInOrder({ ...image, dockerImageManifest: undefined, dockerImageConfig: undefined });

/** `dockerImageMetadata` is always there and always says what it is. */
function imageInOrder(image: Image): Image {
  return withoutUndefined({
    metadata: image.metadata,
    dockerImageReference: image.dockerImageReference || undefined,
    dockerImageMetadata: dockerImageView(image.dockerImageMetadata ?? {}),
    dockerImageMetadataVersion: image.dockerImageMetadataVersion || '1.0',
    dockerImageManifest: image.dockerImageManifest || undefined,
    dockerImageLayers: image.dockerImageLayers?.length ? image.dockerImageLayers : undefined,
    signatures: image.signatures?.length ? image.signatures.map(signatureView) : undefined,
    dockerImageSignatures: image.dockerImageSignatures?.length ? image.dockerImageSignatures : undefined,
    dockerImageManifestMediaType: image.dockerImageManifestMediaType || undefined,
    dockerImageConfig: image.dockerImageConfig || undefined,
    dockerImageManifests: image.dockerImageManifests?.length ? image.dockerImageManifests : undefined,
  });
}

/** A signature: part of its image, so it has no version of its own. */
export const signatureView = ({ kind: _kind, apiVersion: _version, metadata, ...signature }: ImageSignature): ImageSignature =>
  withoutUndefined({ metadata: metadataView({ ...metadata, resourceVersion: undefined }), ...signature });

/** Keys that clients get, in the order in which the API writes them; others, such as `os`, are dropped. */
// prettier-ignore
const CONFIG_KEYS = [
  'Hostname', 'Domainname', 'User', 'Memory', 'MemorySwap', 'CpuShares', 'Cpuset', 'AttachStdin', 'AttachStdout', 'AttachStderr',
  'PortSpecs', 'ExposedPorts', 'Tty', 'OpenStdin', 'StdinOnce', 'Env', 'Cmd', 'Dns', 'Image', 'Volumes', 'VolumesFrom', 'WorkingDir',
  'Entrypoint', 'NetworkDisabled', 'SecurityOpts', 'OnBuild', 'Labels',
];

function dockerImageView(metadata: DockerImage): DockerImage {
  const picked = (keys: readonly string[]) => pick(metadata, keys);
  const { ContainerConfig, Config } = metadata as { ContainerConfig?: object; Config?: object };
  return {
    kind: 'DockerImage',
    apiVersion: 'image.openshift.io/1.0',
    Id: metadata['Id'] ?? '',
    ...picked(['Parent', 'Comment']),
    Created: metadata['Created'] ?? null,
    ...picked(['Container']),
    ContainerConfig: pick(ContainerConfig ?? {}, CONFIG_KEYS),
    ...picked(['DockerVersion', 'Author']),
    ...(Config ? { Config: pick(Config, CONFIG_KEYS) } : {}),
    ...picked(['Architecture', 'Size']),
  };
}

/** The given keys that are not empty. */
function pick(from: object, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    keys.map((key) => [key, (from as Record<string, unknown>)[key]] as const).filter(([, value]) => !isEmpty(value)),
  );
}

/** `metadata` in the API's order, empty parts left out. */
export function metadataView(metadata: ObjectMeta): ObjectMeta {
  const { name, generateName, namespace, uid, resourceVersion, generation, creationTimestamp } = metadata;
  const { labels, annotations, ownerReferences, finalizers, managedFields } = metadata;
  const all = { name, generateName, namespace, uid, resourceVersion, generation, creationTimestamp };
  return Object.fromEntries(
    Object.entries({ ...all, labels, annotations, ownerReferences, finalizers, managedFields }).filter(([, value]) => !isEmpty(value)),
  );
}

const isEmpty = (value: unknown): boolean => !value || (typeof value === 'object' && Object.keys(value).length === 0);

const withoutUndefined = <T extends object>(object: T): T =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;
