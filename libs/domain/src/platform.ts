/**
 * Which of an index's images an import takes where the tag wants one image: for the preferred platform, else for Linux on AMD64,
 * else the first.
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

const LINUX_AMD64: Platform = { architecture: 'amd64', os: 'linux' };

/** Undefined for an index without entries. */
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
  return about === 'attestation-manifest' || (platform?.architecture === 'unknown' && platform.os === 'unknown');
}

/** How Go calls what Node.js runs on: `process.arch` and `process.platform`. */
export function goPlatform(arch: string, platform: string): Platform {
  return { architecture: GO_ARCHITECTURES[arch] ?? arch, os: platform === 'win32' ? 'windows' : platform };
}

const GO_ARCHITECTURES: Record<string, string> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le', mipsel: 'mipsle' };
