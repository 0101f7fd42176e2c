import type { ImageManifest } from './image.ts';

/*
 * What the digest of a multi-platform image means. An index (or manifest list) names one image a platform. Of two indexes that name the
 * same images only the wrapping differs: what anybody pulls from them is the same.
 */

export interface Platform {
  architecture: string;
  os: string;
}

type Entry = Pick<ImageManifest, 'digest' | 'architecture' | 'os' | 'variant'>;

const DEFAULT: Platform = { architecture: 'amd64', os: 'linux' };
/** Platform of entries that are no images, such as attestations. */
const NONE = 'unknown';

/**
 * Which entry stands for an index where one is to be chosen: the preferred platform, else linux/amd64, else the first that is an image.
 * Undefined for an index without entries.
 */
export function choosePlatform<E extends Pick<Entry, 'architecture' | 'os'>>(
  entries: readonly E[],
  preferred: Partial<Platform> = {},
): E | undefined {
  const find = ({ architecture, os }: Platform) => entries.find((entry) => entry.architecture === architecture && entry.os === os);
  const { architecture = DEFAULT.architecture, os = DEFAULT.os } = preferred;
  return find({ architecture, os }) ?? find(DEFAULT) ?? entries.find((entry) => entry.os !== NONE) ?? entries[0];
}

/**
 * Whether two indexes bring the same image to every platform. Attestations and the like do not count, nor does the order, except among
 * entries of one platform, of which clients take the first.
 */
export function bringsTheSame(one: readonly Entry[], other: readonly Entry[]): boolean {
  const [mine, theirs] = [byPlatform(one), byPlatform(other)];
  return mine.size > 0 && mine.size === theirs.size && [...mine].every(([platform, digests]) => theirs.get(platform) === digests);
}

function byPlatform(entries: readonly Entry[]): Map<string, string> {
  const digests = new Map<string, string>();
  for (const { digest, architecture, os, variant = '' } of entries) {
    if (os === NONE || architecture === NONE || os === '') continue;
    const platform = `${os}/${architecture}/${variant}`;
    digests.set(platform, `${digests.get(platform) ?? ''} ${digest}`);
  }
  return digests;
}
