import { isDigest, TagName, tryParseReference } from './image-reference.ts';
import type { ImageStreamMapping } from './image-stream.ts';
import type { Image } from './image.ts';
import { namespaceProblems, streamNameProblems } from './stream-names.ts';

export type SubmittedMapping =
  | { kind: 'mapping'; namespace: string; stream: string; tag: string; image: Image & { metadata: { name: string } } }
  | { kind: 'unusable'; reason: string };

/**
 * Reads an ImageStreamMapping that a registry offered under an address (namespace and stream of its subject). What the body does not
 * say, the address does; where both speak they must agree. The image's name may be missing: it is the digest of its pull spec.
 */
export function readSubmittedMapping(body: ImageStreamMapping, address: { namespace: string; stream: string }): SubmittedMapping {
  const { metadata, tag = '', image } = body;
  const problems: string[] = [];
  const agree = (field: string, said: string | undefined, expected: string) => {
    if (said && said !== expected)
      problems.push(`${field}: is ${JSON.stringify(said)}, but it was published under ${JSON.stringify(expected)}`);
  };
  agree('metadata.namespace', metadata.namespace, address.namespace);
  agree('metadata.name', metadata.name, address.stream);
  problems.push(...namespaceProblems(address.namespace).map((problem) => `metadata.namespace: ${problem}`));
  problems.push(...streamNameProblems(address.stream).map((problem) => `metadata.name: ${problem}`));
  if (!tag) problems.push('tag: is required');
  else if (!TagName.safeParse(tag).success) problems.push(`tag: ${JSON.stringify(tag.slice(0, 200))} is no tag`);

  const pullSpec = image?.dockerImageReference ?? '';
  const reference = pullSpec ? tryParseReference(pullSpec) : undefined;
  const name = image?.metadata.name || reference?.id || '';
  if (!image) problems.push('image: is required');
  else {
    if (!pullSpec) problems.push('image.dockerImageReference: is required');
    else if (!reference?.name) problems.push(`image.dockerImageReference: ${JSON.stringify(pullSpec.slice(0, 300))} is no pull spec`);
    if (!name) problems.push('image.metadata.name: is required where the pull spec has no digest');
    else if (!isDigest(name)) problems.push(`image.metadata.name: ${JSON.stringify(name.slice(0, 200))} is no digest`);
    else if (reference?.id && reference.id !== name)
      problems.push(`image.metadata.name: is ${name}, but the pull spec is of ${reference.id}`);
  }
  if (problems.length || !image) return { kind: 'unusable', reason: problems.join('; ') };
  const named = image.metadata.name ? image : { ...image, metadata: { ...image.metadata, name } };
  return { kind: 'mapping', ...address, tag, image: named as Image & { metadata: { name: string } } };
}
