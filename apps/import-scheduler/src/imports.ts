import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { ImportedTag } from '@millrace/contracts/imports';
import { ApplyImport, type ObjectAnswer, type ObjectQuestion, TagStoreObjects } from '@millrace/contracts/requests';
import { RegistryAllowList } from '@millrace/domain/allowed-registries';
import type { Image } from '@millrace/domain/image';
import { tryParseReference } from '@millrace/domain/image-reference';
import { IMAGE_API_VERSION, IMAGE_GROUP, type ImageStream } from '@millrace/domain/image-stream';
import { type ImageImportStatus, ImageStreamImport, type ImageStreamImportStatus } from '@millrace/domain/image-stream-import';
import { heldBack } from '@millrace/domain/import-outcome';
import {
  defaultImport,
  IMPORTS,
  PREFER_ARCH_ANNOTATION,
  PREFER_OS_ANNOTATION,
  tagOfRepository,
  tagsOfRepository,
  validateImport,
} from '@millrace/domain/import-plan';
import { refusedSources } from '@millrace/domain/import-sources';
import {
  badRequest,
  conflict,
  type FieldError,
  invalid,
  malformed,
  methodNotAllowed,
  notFound,
  StatusError,
  success,
  unavailable,
} from '@millrace/domain/status';
import { RegistryError } from '@millrace/oci-registry/error';
import { AskError, Bus } from '@millrace/platform/bus';
import { CONFIG } from '@millrace/platform/service';
import type { ImportSchedulerConfig } from './config.ts';
import { ImageLookups, isReachedInsecurely, type LookedAt, resultOf, type WantedImage } from './image-lookups.ts';
import type { Failed } from './registry-failures.ts';

const KIND = 'ImageStreamImport';
const ASK_MS = 30_000;

type Creation = Extract<ObjectQuestion, { verb: 'create' }>;

/** One image of an import, wherever it was asked for. */
interface Item {
  wanted: WantedImage;
  /** Tag under which it is looked for; none for a digest. */
  sourceTag?: string;
  /** Tag of the stream that gets it. */
  to?: string;
  importPolicy: ImportedTag['importPolicy'];
  referencePolicy: ImportedTag['referencePolicy'];
  makesTag: boolean;
}

/** Imports that somebody asks for and waits for. */
@Injectable()
export class Imports {
  private readonly allowed: RegistryAllowList;

  constructor(
    private readonly bus: Bus,
    private readonly lookups: ImageLookups,
    @Inject(CONFIG) private readonly config: ImportSchedulerConfig,
  ) {
    this.allowed = new RegistryAllowList(config.ALLOWED_REGISTRIES, [config.INTERNAL_REGISTRY_HOST]);
  }

  /** Looks at what is asked for and, if asked to, has it put into the stream. Throws {@link StatusError} where the request as a whole is refused. */
  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb !== 'create') throw new StatusError(methodNotAllowed());
    const { namespace = '' } = question;
    const asked = this.read(question.object, namespace);
    const stream = await this.streamOf(namespace, asked);
    this.checkAllowed(asked, stream, namespace);
    const by = { namespace, until: performance.now() + this.config.IMPORT_WITHIN_MS };
    const preferredOf = preferences(stream);

    const images = (asked.spec.images ?? []).map((one) => imageItem(one, preferredOf));
    const [imagesSeen, repository] = await this.orUnavailable(
      Promise.all([
        this.lookups.look(
          images.map(({ wanted }) => wanted),
          by,
        ),
        this.lookAtRepository(
          asked,
          images.map(({ wanted }) => wanted),
          preferredOf,
          by,
        ),
      ]),
    );
    const status: ImageStreamImportStatus = {
      ...(images.length ? { images: images.map((item, i) => statusOf(item, imagesSeen[i])) } : {}),
      ...(repository ? { repository: repository.status } : {}),
    };
    const warnings: string[] = [];
    if (asked.spec.import) {
      const tags = [...pairs(repository?.items ?? [], repository?.seen ?? []), ...pairs(images, imagesSeen)].flatMap(importedTag);
      await this.write(question, asked, tags, status);
      if (status.import) warnings.push(...heldBack(status.import, tags.flatMap(tagAndImage)));
    }
    return {
      kind: 'object',
      code: 201,
      ...(warnings.length ? { warnings } : {}),
      object: {
        kind: KIND,
        apiVersion: IMAGE_API_VERSION,
        metadata: { ...asked.metadata, namespace, uid: randomUUID(), creationTimestamp: `${new Date().toISOString().slice(0, 19)}Z` },
        spec: asked.spec,
        status: inside(status),
      },
    };
  }

  private read(sent: unknown, namespace: string): ImageStreamImport {
    const parsed = ImageStreamImport.safeParse(sent);
    if (!parsed.success) throw new StatusError(malformed(KIND, parsed.error));
    const { uid: _uid, creationTimestamp: _created, managedFields: _fields, ...metadata } = parsed.data.metadata;
    if (metadata.namespace && metadata.namespace !== namespace)
      throw new StatusError(badRequest('the namespace of the provided object does not match the namespace sent on the request'));
    const asked = defaultImport({ metadata, spec: parsed.data.spec }, { importMode: this.config.IMPORT_MODE });
    for (const [i, { to }] of (asked.spec.images ?? []).entries())
      if (to && (to.name.includes('\0') || !to.name.isWellFormed()))
        throw new StatusError(
          badRequest(`spec.images[${i}].to.name: a NUL character or half a surrogate pair cannot be stored; remove it`),
        );
    const errors = validateImport(asked, { namespace });
    const images = asked.spec.images?.length ?? 0;
    const { IMPORT_IMAGES_MAX } = this.config;
    if (images > IMPORT_IMAGES_MAX)
      errors.push({
        reason: 'FieldValueInvalid',
        field: 'spec.images',
        text: `Invalid value: ${images}: one import takes at most ${IMPORT_IMAGES_MAX} images: ask for the others in another`,
      });
    if (errors.length) throw refusal(KIND, asked, errors);
    return asked;
  }

  /** The stream that is named; undefined where it will be made. */
  private async streamOf(namespace: string, { metadata }: ImageStreamImport): Promise<ImageStream | undefined> {
    const { name = '', resourceVersion } = metadata;
    const answer = await this.orUnavailable(
      this.bus.ask(TagStoreObjects, { verb: 'get', resource: 'imagestreams', namespace, name, historyLimit: 1 }, { timeoutMs: ASK_MS }),
    );
    if (answer.kind === 'refused' && answer.status.code === 404) {
      if (resourceVersion) throw new StatusError(notFound(IMPORTS, name));
      return undefined;
    }
    if (answer.kind === 'refused') throw new StatusError(answer.status);
    if (answer.kind !== 'object') throw new Error(`tag-store answered ${answer.kind} where a stream was asked for`);
    const stream = answer.object as ImageStream;
    const current = stream.metadata.resourceVersion;
    if (resourceVersion && resourceVersion !== current) {
      const why = `the image stream was updated from ${JSON.stringify(resourceVersion)} to ${JSON.stringify(current)}`;
      throw new StatusError(conflict({ group: IMAGE_GROUP, resource: 'imagestream' }, name, why));
    }
    return stream;
  }

  /** Before anything is asked of a registry: it must be one that images may come from. */
  private checkAllowed(asked: ImageStreamImport, stream: ImageStream | undefined, namespace: string): void {
    const refused = refusedSources(asked, stream, this.allowed);
    if (refused.kind === 'import') throw refusal(KIND, asked, refused.errors);
    if (refused.kind === 'stream') throw refusal('ImageStream', { metadata: { ...asked.metadata, namespace } }, refused.errors);
  }

  private async lookAtRepository(
    { spec: { repository } }: ImageStreamImport,
    images: readonly WantedImage[],
    preferredOf: Preferences,
    by: { namespace: string; until: number },
  ) {
    if (!repository) return undefined;
    const { from, importPolicy = {}, referencePolicy = {}, includeManifest = false } = repository;
    const name = from?.name ?? '';
    const insecure = importPolicy.insecure === true || isReachedInsecurely(name, images);
    const listed = await this.lookups.tagsOf(name, insecure, by);
    if (listed.kind === 'failed') return { status: { status: listed.status }, items: [], seen: [] };
    const { tags, additional } = tagsOfRepository(listed.tags, this.config.IMPORT_TAGS_PER_REPOSITORY);
    const items = tags.map((tag): Item => ({
      wanted: {
        pullSpec: tagOfRepository(name, tag),
        insecure,
        importMode: importPolicy.importMode ?? '',
        preferred: preferredOf(tag),
        includeManifest,
      },
      sourceTag: tag,
      to: tag,
      importPolicy,
      referencePolicy,
      makesTag: false,
    }));
    const seen = await this.lookups.look(
      items.map(({ wanted }) => wanted),
      by,
    );
    return {
      status: {
        status: repositoryStatus(seen),
        images: items.map((item, i) => statusOf(item, seen[i])),
        ...(additional.length ? { additionalTags: additional } : {}),
      },
      items,
      seen,
    };
  }

  /** Has it written; images are then told as they are stored. */
  private async write(
    { dryRun, user, namespace = '' }: Creation,
    { metadata }: ImageStreamImport,
    tags: ImportedTag[],
    status: ImageStreamImportStatus,
  ) {
    const question = { id: randomUUID(), namespace, stream: metadata.name ?? '', tags, dryRun, user };
    const answer = await this.orUnavailable(this.bus.ask(ApplyImport, question, { timeoutMs: ASK_MS }));
    if (answer.kind === 'refused') throw new StatusError(answer.status);
    status.import = answer.stream;
    const stored = new Map(answer.images.map((image) => [image.metadata.name, image]));
    const again = (image: Image): Image => {
      const { dockerImageManifest, dockerImageConfig } = image;
      const known = stored.get(image.metadata.name);
      return known ? { ...known, ...(dockerImageManifest ? { dockerImageManifest, dockerImageConfig } : {}) } : image;
    };
    for (const one of [...(status.images ?? []), ...(status.repository?.images ?? [])]) {
      if (one.image) one.image = again(one.image);
      if (one.manifests) one.manifests = one.manifests.map(again);
    }
  }

  private async orUnavailable<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof RegistryError && error.code === 'closed')
        throw new StatusError(unavailable('import-scheduler is stopping: try again shortly'), { cause: error });
      if (!(error instanceof AskError)) throw error;
      if (error.code === 'too-large')
        throw new StatusError(badRequest('what was found is more than NATS carries at once: import fewer images in one request'), {
          cause: error,
        });
      throw new StatusError(unavailable('tag-store has not answered: try again shortly'), { cause: error });
    }
  }
}

const tagAndImage = ({ tag, result }: ImportedTag) => (result.kind === 'found' ? [{ tag, image: result.image.metadata.name ?? '' }] : []);

function imageItem(
  { from, to, importPolicy = {}, referencePolicy = {}, includeManifest = false }: NonNullable<ImageStreamImport['spec']['images']>[number],
  preferredOf: Preferences,
): Item {
  const pullSpec = from?.name ?? '';
  const reference = tryParseReference(pullSpec);
  const sourceTag = reference?.id ? undefined : reference?.tag || 'latest';
  return {
    wanted: {
      pullSpec,
      insecure: importPolicy.insecure === true,
      importMode: importPolicy.importMode ?? '',
      preferred: preferredOf(to?.name ?? sourceTag),
      includeManifest,
    },
    sourceTag,
    to: to?.name,
    importPolicy,
    referencePolicy,
    makesTag: true,
  };
}

type Preferences = (tag: string | undefined) => WantedImage['preferred'];

/** Which platform the tags of a stream prefer. */
function preferences(stream: ImageStream | undefined): Preferences {
  const annotations = new Map((stream?.spec.tags ?? []).map((tag) => [tag.name, tag.annotations ?? {}]));
  return (tag = '') => {
    const { [PREFER_ARCH_ANNOTATION]: architecture, [PREFER_OS_ANNOTATION]: os } = annotations.get(tag) ?? {};
    return { ...(architecture ? { architecture } : {}), ...(os ? { os } : {}) };
  };
}

const pairs = (items: Item[], seen: LookedAt[]): [Item, LookedAt][] => items.flatMap((item, i) => (seen[i] ? [[item, seen[i]]] : []));

function statusOf({ sourceTag }: Item, seen: LookedAt | undefined): ImageImportStatus {
  const tag = sourceTag ? { tag: sourceTag } : {};
  if (seen?.kind !== 'found') return { status: (seen as Failed).status, ...tag };
  return {
    status: success(),
    image: seen.image as Image,
    ...tag,
    ...(seen.children.length ? { manifests: seen.children as Image[] } : {}),
  };
}

function repositoryStatus(seen: readonly LookedAt[]) {
  const failed = seen.filter(({ kind }) => kind === 'failed').length;
  if (!failed) return success();
  const which = failed === 1 ? 'one of the images' : `${failed} of the images`;
  return {
    kind: 'Status' as const,
    apiVersion: 'v1' as const,
    metadata: {},
    status: 'Failure' as const,
    message: `${which} from this repository failed to import`,
    reason: 'ImportFailed',
  };
}

function importedTag([item, seen]: [Item, LookedAt]): ImportedTag[] {
  const { to, importPolicy, referencePolicy, makesTag, wanted } = item;
  if (!to) return [];
  return [{ tag: to, from: wanted.pullSpec, generation: null, importPolicy, referencePolicy, makesTag, result: resultOf(seen) }];
}

/** A status inside an object has no kind and version of its own; nor has the stream. */
function inside(status: ImageStreamImportStatus): object {
  const bare = <T extends { status: object }>(one: T) => {
    const { kind: _kind, apiVersion: _version, ...rest } = one.status as { kind?: string; apiVersion?: string };
    return { ...one, status: rest };
  };
  return {
    ...(status.import ? { import: status.import } : {}),
    ...(status.repository
      ? { repository: { ...bare(status.repository), ...(status.repository.images ? { images: status.repository.images.map(bare) } : {}) } }
      : {}),
    ...(status.images ? { images: status.images.map(bare) } : {}),
  };
}

const refusal = (kind: string, { metadata }: Pick<ImageStreamImport, 'metadata'>, errors: FieldError[]): StatusError =>
  new StatusError(invalid(IMAGE_GROUP, kind, metadata.name ?? '', errors));
