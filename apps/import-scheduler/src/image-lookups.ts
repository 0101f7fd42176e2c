import { Inject, Injectable } from '@nestjs/common';
import type { ImportedTag } from '@millrace/contracts/imports';
import type { Image } from '@millrace/domain/image';
import {
  formatReference,
  type ImageReference,
  InvalidReference,
  parseReference,
  registryHost,
  repositoryName,
  tryParseReference,
  withClientDefaults,
} from '@millrace/domain/image-reference';
import type { Platform } from '@millrace/domain/platform';
import { internalError } from '@millrace/domain/status';
import { RegistryError } from '@millrace/oci-registry/error';
import { type DescribedImage, type DescribeOptions, describeImage, type RegistryImage } from '@millrace/oci-registry/image';
import type { Manifest } from '@millrace/oci-registry/manifest';
import type { RegistryClient } from '@millrace/oci-registry/registry';
import { CONFIG } from '@millrace/platform/service';
import type { ImportSchedulerConfig } from './config.ts';
import { Gate } from './gate.ts';
import { type Asked, type Failed, failedBecause } from './registry-failures.ts';
import { RegistryPool } from './registry-pool.ts';

/** An image that is to be looked at. */
export interface WantedImage {
  /** As it was written. */
  pullSpec: string;
  /** What is known to be served under it. */
  digest?: string;
  insecure: boolean;
  /** Legacy or PreserveOriginal. */
  importMode: string;
  preferred: Partial<Platform>;
  includeManifest: boolean;
}

export interface FoundImage {
  kind: 'found';
  /** Digest of what is served, which for an index need not be the image's. */
  served: string;
  image: RegistryImage;
  /** Platform images of an index that is kept as it is. */
  children: RegistryImage[];
  /** By digest, with the registry as it was written. */
  pullSpec: string;
}

export type LookedAt = FoundImage | Failed;
export type ListedTags = { kind: 'listed'; tags: string[] } | Failed;

/** For whom it is looked, and until when, by the clock of `performance`. */
export interface LookFor {
  namespace: string;
  until: number;
}

const TAGS_LISTED_MAX = 20_000;

/** Looks at images where they are: side by side, each once however often it is wanted. */
@Injectable()
export class ImageLookups {
  private readonly gate: Gate;

  constructor(
    private readonly registries: RegistryPool,
    @Inject(CONFIG) config: Pick<ImportSchedulerConfig, 'IMAGES_IN_FLIGHT'>,
  ) {
    this.gate = new Gate(config.IMAGES_IN_FLIGHT);
  }

  /** Answers in the order of `wanted`. Rejects only where nothing could be looked at at all, because tag-store cannot be asked for credentials. */
  look(wanted: readonly WantedImage[], by: LookFor): Promise<LookedAt[]> {
    const once = new Map<string, Promise<LookedAt>>();
    const described: Described = new Map();
    return Promise.all(
      wanted.map((one) => {
        const key = JSON.stringify(one);
        const look = once.get(key) ?? this.gate.through(() => this.lookAt(one, by, described));
        once.set(key, look);
        return look;
      }),
    );
  }

  /** The names of a repository's tags, in the registry's order. */
  async tagsOf(pullSpec: string, insecure: boolean, { namespace, until }: LookFor): Promise<ListedTags> {
    const reference = parseReference(pullSpec);
    const asked = { pullSpec, reference, insecure, of: 'repository' as const };
    const client = await this.clientFor(namespace, asked);
    if ('kind' in client) return client;
    try {
      const withinMs = Math.max(1, until - performance.now());
      const options = { maxTags: TAGS_LISTED_MAX, withinMs, tenant: namespace };
      const { tags } = await client.listTags(repositoryName(withClientDefaults(reference)), options);
      return { kind: 'listed', tags };
    } catch (error) {
      return failedBecause(error, asked);
    }
  }

  /** A name of a host may be one that no URL can hold. Rejects where tag-store cannot be asked for credentials. */
  private async clientFor(namespace: string, asked: Asked): Promise<RegistryClient | Failed> {
    try {
      return await this.registries.client(namespace, asked.reference, asked.insecure);
    } catch (error) {
      if (error instanceof RegistryError) return failedBecause(error, asked);
      throw error;
    }
  }

  private async lookAt(wanted: WantedImage, { namespace, until }: LookFor, described: Described): Promise<LookedAt> {
    const { insecure } = wanted;
    const reference = readReference(wanted.pullSpec);
    if ('kind' in reference) return reference;
    const complete = withClientDefaults(reference);
    const named = { ...reference, tag: complete.id ? '' : complete.tag };
    const asked = { pullSpec: formatReference(named), reference, insecure, of: 'image' as const };
    const client = await this.clientFor(namespace, asked);
    if ('kind' in client) return client;
    try {
      if (performance.now() > until) throw new RegistryError({ code: 'timeout', reason: 'there was no time left to look at it' });
      const repository = repositoryName(complete);
      const call = { tenant: namespace };
      const manifest = await client.getManifest(repository, wanted.digest ?? (complete.id || complete.tag), call);
      const found = await describedOnce(described, client, repository, manifest, {
        recordedAs: formatReference({ ...reference, tag: '', id: '' }),
        includeManifest: wanted.includeManifest,
        mode: wanted.importMode === 'PreserveOriginal' ? 'PreserveOriginal' : 'Legacy',
        platform: wanted.preferred,
        call,
      });
      const { image, children } = found;
      return { kind: 'found', served: manifest.digest, image, children, pullSpec: image.dockerImageReference };
    } catch (error) {
      return failedBecause(error, asked);
    }
  }
}

/**
 * Whether a repository is reached as one of the images that are imported with it is, which may be over plain HTTP: the reference remembers of a
 * registry how it answered, and streams that say so for their tags alone rely on it.
 */
export function isReachedInsecurely(repository: string, images: readonly Pick<WantedImage, 'pullSpec' | 'insecure'>[]): boolean {
  const hostOf = (pullSpec: string) => {
    const reference = tryParseReference(pullSpec);
    return reference && registryHost(reference);
  };
  return images.some(({ pullSpec, insecure }) => insecure && hostOf(pullSpec) === hostOf(repository));
}

/** What tag-store is told of an image: without the texts, which are not kept. */
export function resultOf(seen: LookedAt): ImportedTag['result'] {
  if (seen.kind === 'failed') return { kind: 'failed', reason: seen.status.reason ?? '', message: seen.status.message ?? '' };
  const bare = (image: object) => ({ ...image, dockerImageManifest: undefined, dockerImageConfig: undefined }) as Image;
  return { kind: 'found', image: bare(seen.image), children: seen.children.map(bare), pullSpec: seen.pullSpec };
}

/** By client, repository, digest and what is asked for: several tags often mean one image. */
type Described = Map<string, { client: RegistryClient; image: Promise<DescribedImage> }[]>;

function describedOnce(
  known: Described,
  client: RegistryClient,
  repository: string,
  manifest: Manifest,
  options: DescribeOptions,
): Promise<DescribedImage> {
  const key = JSON.stringify([repository, manifest.digest, options]);
  const same = known.get(key) ?? [];
  const found = same.find((one) => one.client === client);
  if (found) return found.image;
  const image = describeImage(client, repository, manifest, options);
  known.set(key, [...same, { client, image }]);
  return image;
}

function readReference(pullSpec: string): ImageReference | Failed {
  try {
    return parseReference(pullSpec);
  } catch (error) {
    if (!(error instanceof InvalidReference)) throw error;
    // As the reference names it, which fills in the tag before it reads the rest.
    const named = pullSpec.includes(':') || pullSpec.includes('@') ? pullSpec : `${pullSpec}:latest`;
    return { kind: 'failed', status: internalError(`unable to parse docker reference ${named}: ${error.message}`), passes: false };
  }
}
