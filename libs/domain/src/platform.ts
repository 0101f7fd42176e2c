import type { Image, ImageManifest } from './image.ts';

/*
 * What an index (or manifest list) means: one image a platform. Of two indexes that name the same images only the wrapping differs: what anybody
 * pulls from them is the same.
 */

/** Names as Go has them: `amd64`, `linux`. */
export interface Platform {
  architecture: string;
  os: string;
}

/** An entry of an index, as far as the choice needs it. */
export interface PlatformEntry {
  platform?: Platform | null;
  annotations?: Record<string, string>;
}

/** Platform of entries that are no images, such as attestations. */
const NONE = 'unknown';

const LINUX_AMD64: Platform = { architecture: 'amd64', os: 'linux' };

/**
 * Which of an index's images an import takes where the tag wants one image: for the preferred platform, else for Linux on AMD64, else the first.
 * Undefined for an index without entries.
 */
export function choosePlatform<Entry extends PlatformEntry>(entries: readonly Entry[], preferred: Platform): Entry | undefined {
  for (const { architecture, os } of [preferred, LINUX_AMD64]) {
    const found = entries.find(({ platform }) => platform?.architecture === architecture && platform.os === os);
    if (found) return found;
  }
  return entries.find((entry) => !isAttestation(entry)) ?? entries[0];
}

/** An entry that says something about another one, such as how it was built, and is no image for any platform. */
export function isAttestation({ platform, annotations }: PlatformEntry): boolean {
  const about = annotations?.['vnd.docker.reference.type'];
  return about === 'attestation-manifest' || (platform?.architecture === NONE && platform.os === NONE);
}

/** An image for one platform. */
export interface PlatformImage extends Platform {
  digest: string;
  variant?: string;
}

/** What an image runs on: of an index each of its images, of any other itself, where its config says. */
export function platformsOf({ metadata, dockerImageManifests, dockerImageMetadata }: Image): PlatformImage[] {
  if (dockerImageManifests?.length)
    return dockerImageManifests
      .filter(({ os, architecture }) => !isAttestation({ platform: { os, architecture } }))
      .map(({ digest, os, architecture, variant }) => ({ digest, os, architecture, ...(variant ? { variant } : {}) }));
  const [os, architecture, variant] = ['Os', 'Architecture', 'Variant'].map((key) => textOf(dockerImageMetadata?.[key]));
  if (!architecture) return [];
  // Configs of Docker's own format leave Linux out.
  return [{ digest: metadata.name ?? '', os: os || LINUX_AMD64.os, architecture, ...(variant ? { variant } : {}) }];
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

type Listed = Pick<ImageManifest, 'digest' | 'architecture' | 'os' | 'variant'>;

/**
 * Whether two indexes bring the same image to every platform. Attestations and the like do not count, nor does the order, except among
 * entries of one platform, of which clients take the first.
 */
export function bringsTheSame(one: readonly Listed[], other: readonly Listed[]): boolean {
  const [mine, theirs] = [byPlatform(one), byPlatform(other)];
  return mine.size > 0 && mine.size === theirs.size && [...mine].every(([platform, digests]) => theirs.get(platform) === digests);
}

function byPlatform(entries: readonly Listed[]): Map<string, string> {
  const digests = new Map<string, string>();
  for (const { digest, architecture, os, variant = '' } of entries) {
    if (os === NONE || architecture === NONE || os === '') continue;
    const platform = `${os}/${architecture}/${variant}`;
    digests.set(platform, `${digests.get(platform) ?? ''} ${digest}`);
  }
  return digests;
}

/** How Go calls what Node.js runs on: `process.arch` and `process.platform`. */
export function goPlatform(arch: string, platform: string): Platform {
  return { architecture: GO_ARCHITECTURES[arch] ?? arch, os: platform === 'win32' ? 'windows' : platform };
}

const GO_ARCHITECTURES: Record<string, string> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le', mipsel: 'mipsle' };
