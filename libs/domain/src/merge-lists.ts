/* How the lists and maps of objects are merged: item by item, as sets, or as a whole. Paths leave out indices: `spec.tags.from`. */

/** Lists of objects that are merged item by item, and the field that names an item. */
const MERGE_KEYS: Record<string, string> = {
  'spec.tags': 'name',
  'status.tags': 'tag',
  'status.tags.conditions': 'type',
  signatures: 'name',
  'signatures.conditions': 'type',
  'image.signatures': 'name',
  'metadata.ownerReferences': 'uid',
  secrets: 'name',
  imagePullSecrets: 'name',
};
/** Lists of texts that are merged as sets. */
const MERGED_SETS = new Set(['metadata.finalizers']);
/** Objects that have one owner as a whole. */
const ATOMIC = new Set(['spec.tags.from', 'tag.from', 'dockerImageMetadata', 'image.dockerImageMetadata']);

/** The merge key of a list; undefined where a list is replaced as a whole. */
export const mergeKeyOf = (path: string): string | undefined => (Object.hasOwn(MERGE_KEYS, path) ? MERGE_KEYS[path] : undefined);
export const isMergedSet = (path: string): boolean => MERGED_SETS.has(path);
export const isAtomic = (path: string): boolean => ATOMIC.has(path);
