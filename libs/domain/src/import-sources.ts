import type { RegistryAllowList } from './allowed-registries.ts';
import { tryParseReference } from './image-reference.ts';
import type { ImageStream } from './image-stream.ts';
import type { ImageStreamImport } from './image-stream-import.ts';
import { INSECURE_ANNOTATION } from './import-plan.ts';
import { type FieldError, forbiddenField } from './status.ts';

/** What of an import names a registry that images may not come from: as errors of the import, or of the stream that it would make. */
export type RefusedSources = { kind: 'none' } | { kind: 'import' | 'stream'; errors: FieldError[] };

/**
 * Asked before anything is asked of a registry: it must be one that images may come from, or that the stream has already. What would be written is
 * refused as the stream that it would make: that is where clients have learnt to read it.
 */
export function refusedSources(
  { spec }: ImageStreamImport,
  stream: Pick<ImageStream, 'metadata' | 'spec'> | undefined,
  allowed: RegistryAllowList,
): RefusedSources {
  const { images = [], repository } = spec;
  const known = new Set((stream?.spec.tags ?? []).map((tag) => tag.from?.name));
  const isInsecure = stream?.metadata.annotations?.[INSECURE_ANNOTATION] === 'true';
  const why = (name = '', insecure = false) => {
    const reference = known.has(name) ? undefined : tryParseReference(name);
    return reference && allowed.refusal(reference, insecure || isInsecure ? 'any' : 'secure');
  };
  const errors: FieldError[] = [];
  const ofStream: FieldError[] = [];
  for (const [i, { from, to, importPolicy }] of images.entries()) {
    const text = why(from?.name, importPolicy?.insecure);
    if (!text) continue;
    errors.push(forbiddenField(`spec.images[${i}].from.name`, text));
    if (spec.import && to) ofStream.push(forbiddenField(`spec.tags[${to.name}].from.name`, text));
  }
  const text = repository && why(repository.from?.name, repository.importPolicy?.insecure);
  if (text) errors.push(forbiddenField('spec.repository.from.name', text));
  if (!errors.length) return { kind: 'none' };
  return ofStream.length === errors.length ? { kind: 'stream', errors: ofStream } : { kind: 'import', errors };
}
