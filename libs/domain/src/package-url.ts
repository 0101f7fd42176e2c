import { formatReference, isDigest, tryParseReference, withClientDefaults } from './image-reference.ts';

/**
 * The package URL of an image (https://github.com/package-url/purl-spec, type oci): name and repository from its pull spec, version its digest:
 * `pkg:oci/web@sha256%3A…?repository_url=registry.example.com/demo/web&tag=1.2`. Undefined for what is no image of a registry by digest.
 */
export function packageUrl({ image, pullSpec, tag }: { image: string; pullSpec: string; tag?: string }): string | undefined {
  const parsed = isDigest(image) ? tryParseReference(pullSpec) : undefined;
  if (!parsed) return undefined;
  const reference = withClientDefaults(parsed);
  const repository = formatReference({ ...reference, tag: '', id: '' });
  const qualifiers = [`repository_url=${encoded(repository)}`, ...(tag ? [`tag=${encoded(tag)}`] : [])];
  // The type's rule: names are in lower case.
  return `pkg:oci/${encoded(reference.name.toLowerCase())}@${encoded(image)}?${qualifiers.join('&')}`;
}

/** Slashes need no escape in a qualifier, and are easier to read so. */
const encoded = (text: string): string => encodeURIComponent(text).replaceAll('%2F', '/');
