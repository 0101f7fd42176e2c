/*
 * Which tags come first where only some can be taken or shown: `latest`, then two-part versions (`1.2`, `v1.2-rc1`), then
 * full semantic versions, each newest first, then everything else by name.
 */

const NUMBER = '(?:0|[1-9][0-9]*)';
const IDENTIFIERS = '[0-9A-Za-z-]+(?:\\.[0-9A-Za-z-]+)*';
const FULL_PATTERN = new RegExp(`^(${NUMBER})\\.(${NUMBER})\\.(${NUMBER})(?:-(${IDENTIFIERS}))?(?:\\+${IDENTIFIERS})?$`);
// Of the word characters after the dash a version may not hold the underscore; such a tag is no version.
const MINOR_PATTERN = new RegExp(`^(${NUMBER})\\.(${NUMBER})(?:-([0-9A-Za-z]+))?$`);
const DIGITS = /^[0-9]+$/;
/** Numbers of a version are unsigned 64 bit; what does not fit is no version. */
const LARGEST = '18446744073709551615';

const LATEST = 0;
const MINOR = 1;
const FULL = 2;
const OTHER = 3;

interface RankedTag {
  tag: string;
  rank: number;
  /** Major, minor and patch as decimal texts without leading zeros: they may not fit a JavaScript number. */
  version: readonly string[];
  prerelease: readonly string[];
  prefixed: boolean;
}

/** The tags, best first; the given list stays as it is. */
export function prioritizeTags(tags: readonly string[]): string[] {
  return tags
    .map(rankTag)
    .sort(compareTags)
    .map((ranked) => ranked.tag);
}

function rankTag(tag: string): RankedTag {
  if (tag === 'latest') return { tag, rank: LATEST, version: [], prerelease: [], prefixed: false };
  const prefixed = tag.startsWith('v');
  const short = prefixed ? tag.slice(1) : tag;

  const full = FULL_PATTERN.exec(short);
  if (full) {
    const ranked = { tag, rank: FULL, version: full.slice(1, 4), prerelease: full[4]?.split('.') ?? [], prefixed };
    if (isVersion(ranked)) return ranked;
  }
  const minor = MINOR_PATTERN.exec(short);
  if (minor) {
    const ranked = { tag, rank: MINOR, version: minor.slice(1, 3), prerelease: minor[3] === undefined ? [] : [minor[3]], prefixed };
    if (isVersion(ranked)) return ranked;
  }
  return { tag, rank: OTHER, version: [], prerelease: [], prefixed };
}

function isVersion({ version, prerelease }: RankedTag): boolean {
  return (
    version.every((number) => compareNumbers(number, LARGEST) <= 0) &&
    prerelease.every((part) => !DIGITS.test(part) || ((part === '0' || !part.startsWith('0')) && compareNumbers(part, LARGEST) <= 0))
  );
}

function compareTags(a: RankedTag, b: RankedTag): number {
  if (a.rank !== b.rank) return a.rank - b.rank;
  if (a.rank === LATEST) return 0;
  if (a.rank === OTHER) return compareTexts(a.tag, b.tag);
  return compareVersions(b, a) || Number(a.prefixed) - Number(b.prefixed);
}

function compareVersions(a: RankedTag, b: RankedTag): number {
  for (let i = 0; i < a.version.length; i++) {
    const order = compareNumbers(a.version[i] as string, b.version[i] as string);
    if (order) return order;
  }
  // A version without a prerelease is newer than all its prereleases.
  if (!a.prerelease.length || !b.prerelease.length) return Number(b.prerelease.length > 0) - Number(a.prerelease.length > 0);
  for (let i = 0; i < Math.min(a.prerelease.length, b.prerelease.length); i++) {
    const order = comparePrereleases(a.prerelease[i] as string, b.prerelease[i] as string);
    if (order) return order;
  }
  return a.prerelease.length - b.prerelease.length;
}

function comparePrereleases(a: string, b: string): number {
  const numeric = DIGITS.test(a);
  if (numeric !== DIGITS.test(b)) return numeric ? -1 : 1;
  return numeric ? compareNumbers(a, b) : compareTexts(a, b);
}

function compareNumbers(a: string, b: string): number {
  return a.length - b.length || compareTexts(a, b);
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
