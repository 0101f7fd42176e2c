import { z } from 'zod';
import { DEFAULT_TAG, InvalidReference, NAME_LENGTH_MAX } from './image-reference.ts';

const STREAM_NAME = '[a-z0-9]+(?:[._-][a-z0-9]+)*';
const STREAM_NAME_PATTERN = new RegExp(`^${STREAM_NAME}$`);
const LABEL_PATTERN = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/;

/** Name of an image stream: also one path segment of its repository in a registry. */
export const StreamName = z
  .string()
  .max(NAME_LENGTH_MAX)
  .regex(STREAM_NAME_PATTERN, `must match "${STREAM_NAME}"`)
  .meta({ id: 'StreamName' });
export type StreamName = z.infer<typeof StreamName>;

/** A namespace: a DNS label. */
export const Namespace = z
  .string()
  .max(63)
  .regex(LABEL_PATTERN, 'must be lower case letters, digits and "-", and begin and end with a letter or digit')
  .meta({ id: 'Namespace' });
export type Namespace = z.infer<typeof Namespace>;

/** What is wrong with an object's name as one segment of a URL path, in Kubernetes' words; empty where nothing is. */
export function pathSegmentProblems(name: string): string[] {
  if (name === '.' || name === '..') return [`may not be '${name}'`];
  const problems = ['/', '%'].filter((illegal) => name.includes(illegal)).map((illegal) => `may not contain '${illegal}'`);
  return name.includes('\0') ? [...problems, 'may not contain a NUL character'] : problems;
}

/** What is wrong with a stream's name, in the reference's words; empty where nothing is. */
export function streamNameProblems(name: string): string[] {
  const problems = pathSegmentProblems(name);
  if (problems.length) return problems;
  return STREAM_NAME_PATTERN.test(name) ? [] : [`must match "${STREAM_NAME}"`];
}

/** What is wrong with a namespace, in Kubernetes' words; empty where nothing is. */
export function namespaceProblems(namespace: string): string[] {
  const problems = namespace.length > 63 ? ['must be no more than 63 characters'] : [];
  if (!LABEL_PATTERN.test(namespace))
    problems.push(
      "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric " +
        "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    );
  return problems;
}

export interface StreamTagName {
  name: string;
  tag: string;
}

/** Reads `stream:tag`: exactly one colon, both sides there. Throws {@link InvalidReference}. */
export function parseStreamTag(text: string): StreamTagName {
  if (text.includes('@')) throw new InvalidReference(`${JSON.stringify(text)} is an image stream image, not an image stream tag`);
  const colon = text.indexOf(':');
  if (colon < 0 || text.includes(':', colon + 1))
    throw new InvalidReference(`expected exactly one : delimiter in the istag ${JSON.stringify(text)}`);
  const name = text.slice(0, colon);
  const tag = text.slice(colon + 1);
  if (!name || !tag) throw new InvalidReference(`image stream tag name ${JSON.stringify(text)} must have a name and a tag`);
  return { name, tag };
}

/** Reads `stream[:tag]` as `oc` and triggers do: a missing or empty tag is `latest`; `ok` says whether there was a colon. */
export function splitStreamTag(text: string): StreamTagName & { ok: boolean } {
  const colon = text.indexOf(':');
  if (colon < 0) return { name: text, tag: DEFAULT_TAG, ok: false };
  return { name: text.slice(0, colon), tag: text.slice(colon + 1) || DEFAULT_TAG, ok: true };
}

/** `stream:tag`; an empty tag is `latest`. */
export function formatStreamTag(name: string, tag: string): string {
  return `${name}:${tag || DEFAULT_TAG}`;
}

/** Reads `stream@id`: exactly one `@`, both sides there; the id may be a prefix of a digest. Throws {@link InvalidReference}. */
export function parseStreamImage(text: string): { name: string; id: string } {
  const at = text.indexOf('@');
  if (at < 0 || text.includes('@', at + 1))
    throw new InvalidReference(`expected exactly one @ in the isimage name ${JSON.stringify(text)}`);
  const name = text.slice(0, at);
  const id = text.slice(at + 1);
  if (!name || !id) throw new InvalidReference(`image stream image name ${JSON.stringify(text)} must have a name and ID`);
  return { name, id };
}
