import { describe, expect, it } from 'vitest';
import { bringsTheSame } from './index-platforms.ts';

const entry = (digest: string, architecture: string, os = 'linux', variant?: string) => ({ digest, architecture, os, variant });
const AMD = entry('a', 'amd64');
const ARM = entry('b', 'arm64');
const ATTESTATION = entry('t', 'unknown', 'unknown');

describe('two indexes bring the same image to every platform', () => {
  it.each([
    ['when they have the same entries', [AMD, ARM], [AMD, ARM], true],
    ['when the order is another', [AMD, ARM], [ARM, AMD], true],
    ['when one has attestations', [AMD, ARM], [AMD, ATTESTATION, ARM, ATTESTATION], true],
    ['when the attestations are others', [AMD, ATTESTATION], [AMD, entry('u', 'unknown', 'unknown')], true],
    ['but not when one platform has another image', [AMD, ARM], [AMD, entry('c', 'arm64')], false],
    ['but not when a platform came', [AMD], [AMD, ARM], false],
    ['but not when a platform went', [AMD, ARM], [AMD], false],
    ['but not when the variant is another', [entry('a', 'arm', 'linux', 'v6')], [entry('a', 'arm', 'linux', 'v7')], false],
    ['but not when another image comes first for a platform', [AMD, entry('x', 'amd64')], [entry('x', 'amd64'), AMD], false],
    ['but not when nothing is known of one', [], [AMD], false],
    ['but not when neither has an image', [ATTESTATION], [ATTESTATION], false],
  ])('%s', (_title, one, other, same) => {
    expect(bringsTheSame(one, other)).toBe(same);
  });
});
