import type { ImageManifest } from './image.ts';

/*
 * What the digest of a multi-platform image means. An index (or manifest list) names one image a platform. Of two indexes that name the
 * same images only the wrapping differs: what anybody pulls from them is the same.
 */

type Entry = Pick<ImageManifest, 'digest' | 'architecture' | 'os' | 'variant'>;

/** Platform of entries that are no images, such as attestations. */
const NONE = 'unknown';

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
