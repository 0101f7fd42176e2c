import { z } from 'zod';

/*
 * Pull specs: the grammar of Docker's distribution/reference library, and how OpenShift reads its parts.
 *
 *   reference := name [":" tag] ["@" digest]
 *   name      := [host "/"] component ("/" component)*           at most 255 characters
 *   host      := label ("." label)* [":" port]                   label: letters of both cases, digits, inner dashes
 *   component := alphanumeric (("." | "_" | "__" | "-"+) alphanumeric)*   lower case
 *   tag       := a word character, then up to 127 of word characters, "." and "-"
 *   digest    := algorithm ":" hex                               sha256, sha384 or sha512, with just its length
 *
 * The expressions are written so that no text has two ways to match: a long bad text fails in linear time.
 */
const LABEL = '[a-zA-Z0-9]+(?:-+[a-zA-Z0-9]+)*';
const HOST = `${LABEL}(?:\\.${LABEL})*(?::[0-9]+)?`;
const COMPONENT = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const TAG = '\\w[\\w.-]{0,127}';
const DIGEST = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';

const REFERENCE_PATTERN = new RegExp(`^((?:${HOST}/)?${COMPONENT}(?:/${COMPONENT})*)(?::(${TAG}))?(?:@(${DIGEST}))?$`);
const REPOSITORY_PATTERN = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const TAG_PATTERN = new RegExp(`^${TAG}$`);
const DIGEST_PATTERN = /^(?:sha256:[0-9a-fA-F]{64}|sha384:[0-9a-fA-F]{96}|sha512:[0-9a-fA-F]{128})$/;
const ALGORITHM_PATTERN = /^sha(?:256|384|512):/;

export const NAME_LENGTH_MAX = 255;
export const DEFAULT_TAG = 'latest';

const DOCKER_HUB = 'docker.io';
const DOCKER_HUB_V1 = 'index.docker.io';
const DOCKER_HUB_V2 = 'registry-1.docker.io';

/** Content digest `algorithm:hex`, as registries name manifests and blobs. */
export const Digest = z.string().regex(DIGEST_PATTERN, 'must be a digest such as sha256:<64 hex digits>').meta({ id: 'Digest' });
export type Digest = z.infer<typeof Digest>;

/** A tag as registries accept it. Streams may hold others, which no registry can serve. */
export const TagName = z
  .string()
  .regex(TAG_PATTERN, 'must be up to 128 letters, digits, "_", "." and "-", and not begin with "." or "-"')
  .meta({ id: 'TagName' });
export type TagName = z.infer<typeof TagName>;

/** Path of a repository in its registry: `library/ruby`. */
export const RepositoryName = z
  .string()
  .max(NAME_LENGTH_MAX)
  .regex(REPOSITORY_PATTERN, 'must be lower-case path segments such as library/ruby')
  .meta({ id: 'RepositoryName' });
export type RepositoryName = z.infer<typeof RepositoryName>;

/** Why a text is no pull spec, stream tag or stream image; `message` is the reference implementation's wording. */
export class InvalidReference extends Error {
  override name = 'InvalidReference';
}

/**
 * The parts of a pull spec; a part that the text does not have is `''`. `id` is the digest. A bare host (`quay.io`) has a
 * registry and no name.
 */
export interface ImageReference {
  registry: string;
  namespace: string;
  name: string;
  tag: string;
  id: string;
}

/** Parses a pull spec. Throws {@link InvalidReference}. */
export function parseReference(text: string): ImageReference {
  const match = REFERENCE_PATTERN.exec(text);
  if (!match) throw new InvalidReference(whyNoReference(text));
  const path = match[1] as string;
  const tag = match[2] ?? '';
  const id = match[3] ?? '';
  if (path.length > NAME_LENGTH_MAX) throw new InvalidReference(`repository name must not be more than ${NAME_LENGTH_MAX} characters`);
  if (id && !DIGEST_PATTERN.test(id))
    throw new InvalidReference(ALGORITHM_PATTERN.test(id) ? 'invalid checksum digest length' : 'unsupported digest algorithm');

  const slash = path.indexOf('/');
  if (slash < 0) {
    // What looks like a host stands for a registry as a whole; `host:5000` reads as name and tag, but means a port.
    if (path.includes('.') || path.startsWith('localhost')) return { registry: text, namespace: '', name: '', tag: '', id };
    return { registry: '', namespace: '', name: path, tag, id };
  }
  const first = path.slice(0, slash);
  const rest = path.slice(slash + 1);
  // The grammar takes any first segment for a host; only one that looks like a host is a registry.
  if (!looksLikeHost(first)) return { registry: '', namespace: first, name: rest, tag, id };
  const next = rest.indexOf('/');
  if (next < 0) return { registry: first, namespace: '', name: rest, tag, id };
  return { registry: first, namespace: rest.slice(0, next), name: rest.slice(next + 1), tag, id };
}

/** The parsed pull spec, or undefined where the text is none. */
export function tryParseReference(text: string): ImageReference | undefined {
  try {
    return parseReference(text);
  } catch (error) {
    if (error instanceof InvalidReference) return undefined;
    throw error;
  }
}

/** The text with just the parts that the reference has: `[registry/][namespace/]name[:tag|@id]`; the digest wins over the tag. */
export function formatReference({ registry, namespace, name, tag, id }: ImageReference): string {
  if (!name) return '';
  const suffix = id ? (isDigest(id) ? `@${id}` : `:${id}`) : tag ? `:${tag}` : '';
  return `${registry ? `${registry}/` : ''}${namespace ? `${namespace}/` : ''}${name}${suffix}`;
}

/** With the defaults that Docker clients add: docker.io, library, latest. This is what is looked up and fetched. */
export function withClientDefaults(reference: ImageReference): ImageReference {
  const registry = reference.registry || DOCKER_HUB;
  return {
    registry,
    namespace: reference.namespace || (isDockerHub(registry) ? 'library' : ''),
    name: reference.name,
    tag: reference.tag || DEFAULT_TAG,
    id: reference.id,
  };
}

/** The shortest reference that a Docker daemon reads as the same. */
export function daemonMinimal(reference: ImageReference): ImageReference {
  const registry = reference.registry === DOCKER_HUB_V1 || reference.registry === DOCKER_HUB_V2 ? DOCKER_HUB : reference.registry;
  const namespace = isDockerHub(registry) && reference.namespace === 'library' ? '' : reference.namespace;
  return { registry, namespace, name: reference.name, tag: reference.tag === DEFAULT_TAG ? '' : reference.tag, id: reference.id };
}

/** By digest where there is one, else by tag. An id that is no digest is a tag of old registries. */
export function mostSpecific(reference: ImageReference): ImageReference {
  if (!reference.id) return reference;
  if (isDigest(reference.id)) return { ...reference, tag: '' };
  return reference.tag ? reference : { ...reference, tag: reference.id, id: '' };
}

/** Path of the repository in its registry: `namespace/name`. */
export function repositoryName({ namespace, name }: ImageReference): string {
  return name && namespace ? `${namespace}/${name}` : name;
}

/** Host, with port where one is given, that is contacted for this reference. */
export function registryHost({ registry }: Pick<ImageReference, 'registry'>): string {
  return registry === '' || registry === DOCKER_HUB || registry === DOCKER_HUB_V1 ? DOCKER_HUB_V2 : registry;
}

export function isDockerHub(registry: string): boolean {
  return registry === DOCKER_HUB || registry === DOCKER_HUB_V1 || registry === DOCKER_HUB_V2;
}

export function isDigest(text: string): boolean {
  return DIGEST_PATTERN.test(text);
}

/**
 * Whether what a user typed means this image: a prefix of its name or, where the name is a digest, of the hex digits.
 * An empty text means every image.
 */
export function matchesImage(image: string, typed: string): boolean {
  return image.startsWith(typed) || (isDigest(image) && image.startsWith(typed, image.indexOf(':') + 1));
}

function looksLikeHost(segment: string): boolean {
  return segment.includes('.') || segment.includes(':') || segment === 'localhost';
}

function whyNoReference(text: string): string {
  if (text === '') return 'repository name must have at least one component';
  return REFERENCE_PATTERN.test(text.toLowerCase()) ? 'repository name must be lowercase' : 'invalid reference format';
}
