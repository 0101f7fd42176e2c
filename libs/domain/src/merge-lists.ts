/* How the lists and maps of objects are merged: item by item, as sets, or as a whole. Paths leave out indices: `spec.tags.from`. */

/** Where pods and pod templates are, and their lists. A second field tells items apart that have it: a port may be open for TCP and UDP. */
const POD_SPECS = ['spec', 'spec.template.spec', 'spec.jobTemplate.spec.template.spec'];
const CONTAINER_LISTS = ['containers', 'initContainers', 'ephemeralContainers'];
const POD_KEYS: Record<string, string | readonly [string, string]> = {
  ...Object.fromEntries(CONTAINER_LISTS.map((list) => [list, 'name'])),
  volumes: 'name',
  imagePullSecrets: 'name',
  hostAliases: 'ip',
  resourceClaims: 'name',
  schedulingGates: 'name',
  topologySpreadConstraints: ['topologyKey', 'whenUnsatisfiable'],
  ...Object.fromEntries(
    CONTAINER_LISTS.flatMap((list) => [
      [`${list}.env`, 'name'],
      [`${list}.ports`, ['containerPort', 'protocol']],
      [`${list}.volumeMounts`, 'mountPath'],
      [`${list}.volumeDevices`, 'devicePath'],
    ]),
  ),
};

/** Lists of objects that are merged item by item, and the field that names an item. */
const MERGE_KEYS: Record<string, string | readonly [string, string]> = {
  ...Object.fromEntries(POD_SPECS.flatMap((spec) => Object.entries(POD_KEYS).map(([list, key]) => [`${spec}.${list}`, key]))),
  'status.conditions': 'type',
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
const ATOMIC = new Set(['spec.tags.from', 'tag.from', 'dockerImageMetadata', 'image.dockerImageMetadata', 'spec.selector']);

const KEYS = new Map(Object.entries(MERGE_KEYS).map(([path, keys]) => [path, typeof keys === 'string' ? [keys] : keys]));
const keysOf = (path: string): readonly string[] | undefined => KEYS.get(path);

/** The merge key of a list; undefined where a list is replaced as a whole. */
export const mergeKeyOf = (path: string): string | undefined => keysOf(path)?.[0];

/** What names an item of a list with a merge key: that field, and a second one where the list has two and the item has it. */
export function itemKeyOf(path: string, item: unknown): Record<string, unknown> {
  const fields = (typeof item === 'object' && item !== null ? item : {}) as Record<string, unknown>;
  const [first = '', second] = keysOf(path) ?? [];
  const key = { [first]: fields[first] };
  return second !== undefined && fields[second] !== undefined ? { ...key, [second]: fields[second] } : key;
}

export const isMergedSet = (path: string): boolean => MERGED_SETS.has(path);
export const isAtomic = (path: string): boolean => ATOMIC.has(path);
