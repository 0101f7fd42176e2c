import { describe, expect, it } from 'vitest';
import { bringsTheSame, choosePlatform, goPlatform, isAttestation, type PlatformEntry, platformsOf } from './platform.ts';

const entry = (text: string, annotations?: Record<string, string>): PlatformEntry => {
  const [os = '', architecture = ''] = text.split('/');
  return { platform: text ? { architecture, os } : undefined, annotations };
};
const about = { 'vnd.docker.reference.type': 'attestation-manifest' };

describe('of an index', () => {
  it.each([
    ['linux/amd64 linux/arm64', 'linux/arm64', 1],
    ['linux/amd64 linux/arm64', 'linux/s390x', 0],
    ['windows/amd64 linux/amd64', 'windows/amd64', 0],
    ['windows/amd64 linux/amd64', 'darwin/arm64', 1],
    ['linux/s390x linux/ppc64le', 'linux/arm64', 0],
    ['linux/arm linux/arm', 'linux/arm', 0],
    ['unknown/unknown linux/arm64', 'linux/amd64', 1],
    ['unknown/unknown unknown/unknown', 'linux/amd64', 0],
  ])('with %s, for %s, the entry %i is taken', (platforms, preferred, index) => {
    const entries = platforms.split(' ').map((each) => entry(each));
    const [os = '', architecture = ''] = preferred.split('/');

    expect(choosePlatform(entries, { architecture, os })).toBe(entries[index]);
  });

  it('without platforms the first entry that is no attestation is taken', () => {
    const entries = [entry('', about), entry(''), entry('')];

    expect(choosePlatform(entries, { architecture: 'amd64', os: 'linux' })).toBe(entries[1]);
  });

  it('without entries nothing is taken', () => {
    expect(choosePlatform([], { architecture: 'amd64', os: 'linux' })).toBeUndefined();
  });
});

it.each([
  ['linux/amd64', undefined, false],
  ['', undefined, false],
  ['unknown/unknown', undefined, true],
  ['linux/amd64', about, true],
  ['linux/amd64', { 'vnd.docker.reference.type': 'other' }, false],
])('an entry for %j with %j is an attestation: %s', (platform, annotations, expected) => {
  expect(isAttestation(entry(platform, annotations as Record<string, string> | undefined))).toBe(expected);
});

it.each([
  ['x64', 'linux', 'linux/amd64'],
  ['arm64', 'darwin', 'darwin/arm64'],
  ['x64', 'win32', 'windows/amd64'],
  ['ia32', 'linux', 'linux/386'],
  ['ppc64', 'linux', 'linux/ppc64le'],
  ['s390x', 'linux', 'linux/s390x'],
])('%s on %s is %s in Go', (arch, platform, expected) => {
  const { architecture, os } = goPlatform(arch, platform);

  expect(`${os}/${architecture}`).toBe(expected);
});

const listed = (digest: string, architecture: string, os = 'linux', variant?: string) => ({ digest, architecture, os, variant });
const AMD = listed('a', 'amd64');
const ARM = listed('b', 'arm64');
const ATTESTATION = listed('t', 'unknown', 'unknown');

describe('two indexes bring the same image to every platform', () => {
  it.each([
    ['when they have the same entries', [AMD, ARM], [AMD, ARM], true],
    ['when the order is another', [AMD, ARM], [ARM, AMD], true],
    ['when one has attestations', [AMD, ARM], [AMD, ATTESTATION, ARM, ATTESTATION], true],
    ['when the attestations are others', [AMD, ATTESTATION], [AMD, listed('u', 'unknown', 'unknown')], true],
    ['but not when one platform has another image', [AMD, ARM], [AMD, listed('c', 'arm64')], false],
    ['but not when a platform came', [AMD], [AMD, ARM], false],
    ['but not when a platform went', [AMD, ARM], [AMD], false],
    ['but not when the variant is another', [listed('a', 'arm', 'linux', 'v6')], [listed('a', 'arm', 'linux', 'v7')], false],
    ['but not when another image comes first for a platform', [AMD, listed('x', 'amd64')], [listed('x', 'amd64'), AMD], false],
    ['but not when nothing is known of one', [], [AMD], false],
    ['but not when neither has an image', [ATTESTATION], [ATTESTATION], false],
  ])('%s', (_title, one, other, same) => {
    expect(bringsTheSame(one, other)).toBe(same);
  });
});

describe('what an image runs on', () => {
  const image = (given: object) => ({ metadata: { name: 'sha256:own' }, ...given }) as Parameters<typeof platformsOf>[0];
  const manifest = (digest: string, os: string, architecture: string, variant?: string) => ({
    ...{ digest, os, architecture, variant, mediaType: 'm', manifestSize: 1 },
  });

  it.each([
    ['an image', image({ dockerImageMetadata: { Os: 'linux', Architecture: 'arm64', Variant: 'v8' } }), ['sha256:own linux arm64 v8']],
    ['an image that leaves Linux out', image({ dockerImageMetadata: { Architecture: 'amd64' } }), ['sha256:own linux amd64']],
    ['an image whose config says nothing', image({ dockerImageMetadata: { Architecture: 7 } }), []],
    ['an image without config', image({}), []],
    [
      'an index, without its attestations',
      image({
        dockerImageManifests: [manifest('a', 'linux', 'arm', 'v7'), manifest('b', 'unknown', 'unknown'), manifest('c', 'windows', 'amd64')],
      }),
      ['a linux arm v7', 'c windows amd64'],
    ],
  ])('%s', (_what, given, expected) => {
    expect(
      platformsOf(given).map(({ digest, os, architecture, variant }) => [digest, os, architecture, variant].filter(Boolean).join(' ')),
    ).toEqual(expected);
  });
});
