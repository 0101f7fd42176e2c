import { createHash } from 'node:crypto';
import { isDigest } from '@millrace/domain/image-reference';
import { z } from 'zod';
import { RegistryError } from './error.ts';
import type { Headers } from './rate-limit.ts';

export const mediaTypes = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  dockerManifestList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
} as const;

/** Asked for in one request. Schema 1 is not: registries would convert to it, and its content has another digest. */
export const acceptedManifests = [
  mediaTypes.ociIndex,
  mediaTypes.dockerManifestList,
  mediaTypes.ociManifest,
  mediaTypes.dockerManifest,
].join(', ');

export const maxManifestBytes = 4 * 1024 * 1024;

/** The digest of the bytes by the algorithm of another digest, sha256 without one. */
export function digestOf(bytes: Uint8Array, like = 'sha256:'): string {
  const algorithm = like.slice(0, like.indexOf(':'));
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

const Text = z.string().catch('');
const Annotations = z.record(z.string(), z.string()).optional().catch(undefined);

export type Descriptor = z.infer<typeof Descriptor>;
export const Descriptor = z.object({
  mediaType: Text,
  digest: z.string().regex(/^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]{32,}$/),
  size: z.int().nonnegative().catch(0),
});

export type ManifestEntry = z.infer<typeof ManifestEntry>;
/** An entry of an index; an artifact has no platform, an attestation `unknown/unknown`. */
export const ManifestEntry = Descriptor.extend({
  platform: z.object({ architecture: Text, os: Text, variant: Text }).nullish().catch(undefined),
  annotations: Annotations,
});

const ImageContent = z.object({ config: Descriptor, layers: z.array(Descriptor).nullish(), annotations: Annotations });
const IndexContent = z.object({ manifests: z.array(ManifestEntry).nullish() });

export type ManifestContent =
  | { kind: 'image'; config: Descriptor; layers: Descriptor[]; annotations: Record<string, string> }
  | { kind: 'index'; manifests: ManifestEntry[] };

export interface Manifest {
  digest: string;
  /** What the content calls itself, otherwise what the registry calls it. */
  mediaType: string;
  /** The exact bytes: the digest is theirs. */
  body: Buffer;
  json: Record<string, unknown>;
  content: ManifestContent;
}

/** What a registry tells of a manifest without sending it. */
export interface ManifestHead {
  digest: string;
  mediaType: string;
  size: number;
}

/** From a good answer to HEAD; undefined where it lacks digest, type or length, as some registries' do. */
export function readHead(subject: string, reference: string, headers: Headers): ManifestHead | undefined {
  const mediaType = headerOf(headers, 'content-type');
  const digest = headerOf(headers, 'docker-content-digest');
  const size = Number(headerOf(headers, 'content-length') || Number.NaN);
  const kind = kindOf(mediaType);
  if (kind === 'schema1') throw unsupported(subject, schema1);
  if (!isDigest(digest) || kind === 'unknown' || !Number.isSafeInteger(size) || size <= 0) return undefined;
  const isSameAlgorithm = reference.split(':')[0] === digest.split(':')[0];
  if (isDigest(reference) && isSameAlgorithm && reference !== digest) throw mismatch(subject, reference, digest);
  return { digest: isDigest(reference) ? reference : digest, mediaType: mediaType.split(';')[0]?.trim() ?? '', size };
}

/** From a good answer to GET; fails with `digest-mismatch` where the bytes are not what was asked for, or what the registry says. */
export function readManifest(subject: string, reference: string, body: Buffer, headers: Headers): Manifest {
  // Read first: the digest of a schema 1 manifest is not that of its bytes, and the error should say what is wrong.
  const manifest = parseManifest(subject, body, headerOf(headers, 'content-type'));
  const claims = [reference, headerOf(headers, 'docker-content-digest')].filter(isDigest);
  for (const claim of claims) {
    const actual = digestOf(body, claim);
    if (actual !== claim) throw mismatch(subject, claim, actual);
  }
  return { digest: claims[0] ?? digestOf(body), ...manifest };
}

export function mismatch(subject: string, expected: string, actual: string): RegistryError {
  return new RegistryError({
    code: 'digest-mismatch',
    subject,
    reason: `content integrity error: expected ${expected}, the content is ${actual}`,
  });
}

export function headerOf(headers: Headers, name: string): string {
  const value = headers[name];
  return (Array.isArray(value) ? value.join(', ') : value) ?? '';
}

/**
 * Reads the bytes of a manifest that the registry served as `contentType`. Fails with `unsupported-manifest` for schema 1 and
 * other formats, `malformed` for what is no manifest, or one that could be read as two kinds.
 */
export function parseManifest(subject: string, body: Buffer, contentType: string): Omit<Manifest, 'digest'> {
  const malformed = (why: string, cause?: unknown) => new RegistryError({ code: 'malformed', subject, reason: `${why}`, cause });
  const json = parseObject(body);
  if (!json) throw malformed(`the manifest (${contentType || 'no media type'}) is not a JSON object`);

  const served = kindOf(contentType);
  const named = typeof json.mediaType === 'string' && json.mediaType !== '' ? kindOf(json.mediaType) : undefined;
  const kind = named ?? (served === 'unknown' ? kindByContent(json) : served);
  if (kind === 'schema1' || kind === 'unknown') {
    throw unsupported(subject, kind === 'schema1' ? schema1 : `"${String(json.mediaType ?? contentType).slice(0, 200)}"`);
  }
  // Bytes that one reader takes for an index and another for an image pass checks as one and run as the other.
  if (served !== 'unknown' && served !== kind) throw malformed(`served as ${contentType}, but the manifest says ${String(json.mediaType)}`);
  if (json.manifests && (json.layers || json.config)) throw malformed('the manifest is an index and an image at once');

  const mediaType = named ? String(json.mediaType) : served === 'unknown' ? defaultTypes[kind] : bareType(contentType);
  try {
    return { mediaType, body, json, content: readContent(kind, json) };
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    const first = error.issues[0];
    throw malformed(`the manifest is not valid at ${first?.path.join('.')}: ${first?.message}`, error);
  }
}

const schema1 = 'Docker schema 1, push the image again with a newer tool';

function unsupported(subject: string, what: string): RegistryError {
  return new RegistryError({ code: 'unsupported-manifest', subject, reason: `unsupported image manifest type: ${what}` });
}

/** The bytes as a JSON object, or undefined. */
export function parseObject(body: Buffer): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(body.toString('utf8'));
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? (json as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

type Kind = ManifestContent['kind'];

const defaultTypes: Record<Kind, string> = { image: mediaTypes.ociManifest, index: mediaTypes.ociIndex };

function readContent(kind: Kind, json: Record<string, unknown>): ManifestContent {
  if (kind === 'index') return { kind, manifests: IndexContent.parse(json).manifests ?? [] };
  const { config, layers, annotations } = ImageContent.parse(json);
  return { kind, config, layers: layers ?? [], annotations: annotations ?? {} };
}

/** The kind that a manifest's media type stands for; `unknown` also for the `application/json` that some registries send. */
export function kindOf(contentType: string): Kind | 'schema1' | 'unknown' {
  switch (bareType(contentType)) {
    case mediaTypes.ociIndex:
    case mediaTypes.dockerManifestList:
      return 'index';
    case mediaTypes.ociManifest:
    case mediaTypes.dockerManifest:
      return 'image';
    case 'application/vnd.docker.distribution.manifest.v1+json':
    case 'application/vnd.docker.distribution.manifest.v1+prettyjws':
      return 'schema1';
    default:
      return 'unknown';
  }
}

function kindByContent(json: Record<string, unknown>): ReturnType<typeof kindOf> {
  if (json.schemaVersion === 1) return 'schema1';
  if (Array.isArray(json.manifests)) return 'index';
  return json.config && json.layers ? 'image' : 'unknown';
}

function bareType(contentType: string): string {
  return (contentType.split(';')[0] ?? '').trim().toLowerCase();
}
