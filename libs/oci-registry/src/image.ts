import { type Image, type ImageManifest, LAYERS_ORDER_ANNOTATION } from '@millrace/domain/image';
import { choosePlatform, goPlatform, type Platform } from '@millrace/domain/platform';
import { z } from 'zod';
import { RegistryError, type RegistryErrorCode } from './error.ts';
import { type Descriptor, type Manifest, type ManifestEntry, mediaTypes, parseObject } from './manifest.ts';
import type { CallOptions, RegistryClient } from './registry.ts';

/** An image as a registry tells it: the API's `Image` without kind and apiVersion, with what is always there. */
export type RegistryImage = z.input<typeof Image> & {
  metadata: { name: string };
  dockerImageReference: string;
  dockerImageMetadata: DockerImage;
  dockerImageManifestMediaType: string;
};

/** `dockerImageMetadata`. A type, not an interface: the API's is open. */
export type DockerImage = {
  kind: 'DockerImage';
  apiVersion: 'image.openshift.io/1.0';
  /** Digest of the config, or of the manifest where there is no config. */
  Id: string;
  Parent?: string;
  Comment?: string;
  /** RFC 3339 in whole seconds. */
  Created: string | null;
  Container?: string;
  ContainerConfig: DockerConfig;
  DockerVersion?: string;
  Author?: string;
  Config?: DockerConfig;
  Architecture?: string;
  /** Bytes of the config and of each different layer. */
  Size?: number;
};

export type DockerConfig = Partial<z.infer<typeof DockerConfig>>;

export interface DescribedImage {
  image: RegistryImage;
  /** What the entries of an index are, in its order; empty for a single image. */
  children: RegistryImage[];
  /** Entries of an index that could not be described, and never will be by trying again. */
  missingChildren: { digest: string; reason: RegistryErrorCode | 'too-many-children' }[];
}

export interface DescribeOptions {
  /** Pull spec of the repository as it should be recorded; `<host>/<repository>` unless the user wrote it in another way. */
  recordedAs?: string;
  /** Adds the raw `dockerImageManifest` and `dockerImageConfig`. */
  includeManifest?: boolean;
  /**
   * What an index becomes: itself with all its entries (`PreserveOriginal`, also where left out), or the image of one platform as
   * if the index were not there (`Legacy`).
   */
  mode?: 'PreserveOriginal' | 'Legacy';
  /** The preferred platform of `Legacy`, in Go's names; what is left out is that of this machine. */
  platform?: Partial<Platform>;
  /** For whom the registry is asked, and how long that may wait. */
  call?: CallOptions;
  now?: () => Date;
}

const maxChildren = 64;
const childrenAtOnce = 4;
const maxIndexDepth = 3;

/**
 * The complete image that a tag or digest points at, or that an already fetched manifest is. An index brings its entries with
 * it: what is gone from the registry or is no image manifest is reported, while an error that may pass (a timeout, a rate limit)
 * or concerns the whole repository fails the description, so that nobody records half an image.
 */
export async function describeImage(
  client: RegistryClient,
  repository: string,
  reference: string | Manifest,
  options: DescribeOptions = {},
): Promise<DescribedImage> {
  const found = typeof reference === 'string' ? await client.getManifest(repository, reference, options.call) : reference;
  const manifest = options.mode === 'Legacy' ? await ofOnePlatform(client, repository, found, options) : found;
  const image = await describe(client, repository, manifest, options);
  if (manifest.content.kind === 'image') return { image, children: [], missingChildren: [] };

  const digests = [...new Set(manifest.content.manifests.map(({ digest }) => digest))];
  const outcomes = await inParallel(childrenAtOnce, digests.slice(0, maxChildren), (digest) =>
    describeChild(client, repository, digest, options),
  );
  return {
    image,
    children: outcomes.filter((outcome) => 'metadata' in outcome),
    missingChildren: [
      ...outcomes.filter((outcome) => 'reason' in outcome),
      ...digests.slice(maxChildren).map((digest) => ({ digest, reason: 'too-many-children' as const })),
    ],
  };
}

/** The image that an index stands for on a platform; what is no index stands for itself. */
async function ofOnePlatform(client: RegistryClient, repository: string, manifest: Manifest, options: DescribeOptions): Promise<Manifest> {
  const own = goPlatform(process.arch, process.platform);
  const { architecture = own.architecture, os = own.os } = options.platform ?? {};
  for (let depth = 0; manifest.content.kind === 'index'; depth++) {
    const chosen = depth < maxIndexDepth ? choosePlatform(manifest.content.manifests, { architecture, os }) : undefined;
    if (!chosen) {
      const subject = `${client.host}/${repository}@${manifest.digest}`;
      throw new RegistryError({ code: 'unsupported-manifest', subject, reason: 'the index leads to no image' });
    }
    manifest = await client.getManifest(repository, chosen.digest, options.call);
  }
  return manifest;
}

const permanent = new Set<RegistryErrorCode>([
  'not-found',
  'unsupported-manifest',
  'malformed',
  'too-large',
  'digest-mismatch',
  'invalid-reference',
]);

async function describeChild(client: RegistryClient, repository: string, digest: string, options: DescribeOptions) {
  try {
    return await describe(client, repository, await client.getManifest(repository, digest, options.call), options);
  } catch (error) {
    if (error instanceof RegistryError && permanent.has(error.code)) return { digest, reason: error.code };
    throw error;
  }
}

async function describe(client: RegistryClient, repository: string, manifest: Manifest, options: DescribeOptions): Promise<RegistryImage> {
  const { digest, mediaType, content } = manifest;
  const identity = {
    dockerImageReference: `${options.recordedAs ?? `${client.host}/${repository}`}@${digest}`,
    dockerImageMetadataVersion: '1.0',
    dockerImageManifestMediaType: mediaType,
    ...(options.includeManifest && { dockerImageManifest: manifest.body.toString('utf8') }),
  } as const;
  if (content.kind === 'index') {
    return {
      metadata: { name: digest },
      ...identity,
      dockerImageMetadata: { ...dockerImage, Id: digest, Created: seconds((options.now ?? (() => new Date()))()), ContainerConfig: {} },
      dockerImageManifests: content.manifests.map(listed),
    };
  }

  const { config } = content;
  const configBytes = configTypes.has(config.mediaType)
    ? await client.getBlob(repository, config.digest, undefined, options.call)
    : undefined;
  const layers = await withSizes(client, repository, content.layers, options);
  const sizes = new Map([
    ...layers.map((layer) => [layer.digest, layer.size] as const),
    [config.digest, configBytes?.length ?? config.size],
  ]);
  return {
    metadata: { name: digest, annotations: { [LAYERS_ORDER_ANNOTATION]: 'ascending' } },
    ...identity,
    ...(options.includeManifest && configBytes && { dockerImageConfig: configBytes.toString('utf8') }),
    dockerImageMetadata: {
      ...dockerImage,
      Id: config.digest,
      ...(configBytes
        ? configMetadata(configBytes, `${client.host}/${repository}@${config.digest}`)
        : artifactMetadata(content.annotations)),
      Size: [...sizes.values()].reduce((sum, size) => sum + size, 0),
    },
    dockerImageLayers: layers.map((layer) => ({ name: layer.digest, size: layer.size, mediaType: layer.mediaType })),
  };
}

/** Some tools write manifests without the sizes of layers; no layer is empty. */
async function withSizes(
  client: RegistryClient,
  repository: string,
  layers: Descriptor[],
  options: DescribeOptions,
): Promise<Descriptor[]> {
  if (layers.every(({ size }) => size > 0)) return layers;
  return inParallel(childrenAtOnce, layers, async (layer) =>
    layer.size > 0 ? layer : { ...layer, size: await client.blobSize(repository, layer.digest, options.call) },
  );
}

const dockerImage = { kind: 'DockerImage', apiVersion: 'image.openshift.io/1.0' } as const;

/**
 * Configs that are read as an image's. Beside the two proper types, those that old tools gave to image configs. Charts, policies,
 * signatures and the like have configs of other types: such an artifact is described by its manifest alone.
 */
const configTypes = new Set<string>([
  mediaTypes.ociConfig,
  mediaTypes.dockerConfig,
  'application/octet-stream',
  'application/json',
  'text/html',
  '',
]);

function listed({ digest, mediaType, size, platform }: ManifestEntry): z.input<typeof ImageManifest> {
  return {
    digest,
    mediaType,
    manifestSize: size,
    architecture: platform?.architecture ?? '',
    os: platform?.os ?? '',
    ...(platform?.variant && { variant: platform.variant }),
  };
}

type ConfigMetadata = Omit<DockerImage, 'kind' | 'apiVersion' | 'Id' | 'Size'>;

/** From the config blob, the fields that the API has; others (os, variant, Healthcheck, StopSignal, history) are dropped. */
function configMetadata(bytes: Buffer, subject: string): ConfigMetadata {
  const json = parseObject(bytes);
  if (!json) throw new RegistryError({ code: 'malformed', subject, reason: `the image's config is not a JSON object` });
  const config = ImageConfig.parse(json);
  return {
    ...dropEmpty({ Parent: config.parent, Comment: config.comment }),
    Created: instant(config.created),
    ...dropEmpty({ Container: config.container }),
    ContainerConfig: dropEmpty(config.container_config ?? {}),
    ...dropEmpty({ DockerVersion: config.docker_version, Author: config.author }),
    ...(config.config && { Config: dropEmpty(config.config) }),
    ...dropEmpty({ Architecture: config.architecture }),
  };
}

function artifactMetadata(annotations: Record<string, string>): ConfigMetadata {
  return { Created: instant(annotations['org.opencontainers.image.created']), ContainerConfig: {} };
}

// Written by any tool in the world: a field of another type than expected is no reason to refuse the image.
const Text = z.string().optional().catch(undefined);
const Int = z.int().optional().catch(undefined);
const Flag = z.boolean().optional().catch(undefined);
const Texts = z.array(z.string()).optional().catch(undefined);
const TextMap = z.record(z.string(), z.string()).optional().catch(undefined);
const NameSet = z
  .record(z.string(), z.unknown())
  .transform((names) => Object.fromEntries(Object.keys(names).map((name) => [name, {}])))
  .optional()
  .catch(undefined);

/** In the order in which the API writes them. */
const DockerConfig = z.object({
  Hostname: Text,
  Domainname: Text,
  User: Text,
  Memory: Int,
  MemorySwap: Int,
  CpuShares: Int,
  Cpuset: Text,
  AttachStdin: Flag,
  AttachStdout: Flag,
  AttachStderr: Flag,
  PortSpecs: Texts,
  ExposedPorts: NameSet,
  Tty: Flag,
  OpenStdin: Flag,
  StdinOnce: Flag,
  Env: Texts,
  Cmd: Texts,
  Dns: Texts,
  Image: Text,
  Volumes: NameSet,
  VolumesFrom: Text,
  WorkingDir: Text,
  Entrypoint: Texts,
  NetworkDisabled: Flag,
  SecurityOpts: Texts,
  OnBuild: Texts,
  Labels: TextMap,
});

const ImageConfig = z.object({
  parent: Text,
  comment: Text,
  created: Text,
  container: Text,
  container_config: DockerConfig.optional().catch(undefined),
  docker_version: Text,
  author: Text,
  config: DockerConfig.optional().catch(undefined),
  architecture: Text,
});

/** Empty text, zero, false, empty lists and maps are left out, as the API does. */
function dropEmpty<T extends object>(fields: T): Partial<T> {
  const isEmpty = (value: unknown) => !value || (typeof value === 'object' && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => !isEmpty(value))) as Partial<T>;
}

/** Go's zero time, written by tools that have none, is no time. */
function instant(text: string | undefined): string | null {
  const date = new Date(text !== undefined && /^\d{4}-\d\d-\d\dT/.test(text) ? text : Number.NaN);
  return Number.isNaN(date.getTime()) || date.getUTCFullYear() <= 1 ? null : seconds(date);
}

function seconds(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z');
}

/** Results in the order of the items. The first failure is thrown once the calls under way have ended; no further one is begun. */
async function inParallel<T, R>(width: number, items: T[], call: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  let failed = false;
  const worker = async () => {
    for (const [index, item] of queue) {
      if (failed) return;
      try {
        results[index] = await call(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const workers = await Promise.allSettled(Array.from({ length: width }, worker));
  const failure = workers.find((each) => each.status === 'rejected');
  if (failure) throw failure.reason;
  return results;
}
