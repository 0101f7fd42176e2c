import { randomInt } from 'node:crypto';

/** As Kubernetes has them: no vowels, nothing that looks like another letter. */
const LETTERS = 'bcdfghjklmnpqrstvwxz2456789';

export const SUFFIX_LENGTH = 5;

/** What is put behind `generateName`. */
export function randomSuffix(): string {
  return Array.from({ length: SUFFIX_LENGTH }, () => LETTERS[randomInt(LETTERS.length)]).join('');
}
