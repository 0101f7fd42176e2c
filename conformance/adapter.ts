/** Binds the rules to the names of the `fn` cases: `node conformance/run.mjs fn --adapter conformance/adapter.ts`. */
import {
  daemonMinimal,
  formatReference,
  matchesImage,
  mostSpecific,
  parseReference,
  registryHost,
  repositoryName,
  withClientDefaults,
} from '@millrace/domain/image-reference';
import { RegistryAllowList, type AllowedRegistry, type Transport } from '@millrace/domain/allowed-registries';
import type { ImageStream, TagEvent } from '@millrace/domain/image-stream';
import { planStream, type StreamPlan } from '@millrace/domain/import-plan';
import { planScheduled } from '@millrace/domain/import-schedule';
import { candidatesFor, keyringOf, lookupText } from '@millrace/domain/keyring';
import { followTag, resolvePullSpec } from '@millrace/domain/pull-spec';
import { parseStreamImage, parseStreamTag, splitStreamTag } from '@millrace/domain/stream-names';
import { addEvent } from '@millrace/domain/tag-history';
import { prioritizeTags } from '@millrace/domain/tag-priority';

type StreamInput = Pick<ImageStream, 'metadata'> & Partial<ImageStream>;
const streamOf = (input: StreamInput): ImageStream => ({
  ...input,
  spec: input.spec ?? { lookupPolicy: { local: false } },
  status: input.status ?? { dockerImageRepository: '' },
});

const planned = ({ tags, ...plan }: StreamPlan) => ({ ...plan, tags: tags.map((tag) => tag.name) });

/** Where a secret of a type keeps its registries. */
const DATA_KEYS: Record<string, string> = {
  'kubernetes.io/dockercfg': '.dockercfg',
  'kubernetes.io/dockerconfigjson': '.dockerconfigjson',
};

/** The cases leave out what is empty. */
const present = (parts: Record<string, string>) => Object.fromEntries(Object.entries(parts).filter(([, text]) => text !== ''));

export default {
  'ref.parse': (text: string) => {
    const reference = parseReference(text);
    return present({
      ...reference,
      exact: formatReference(reference),
      clientDefaults: formatReference(withClientDefaults(reference)),
      daemonMinimal: formatReference(daemonMinimal(reference)),
      mostSpecific: formatReference(mostSpecific(reference)),
      repositoryName: repositoryName(reference),
      registryHostV2: registryHost(reference),
    });
  },
  'istag.parse': (text: string) => parseStreamTag(text),
  'istag.split': (text: string) => splitStreamTag(text),
  'isimage.parse': (text: string) => parseStreamImage(text),
  'tags.prioritize': (tags: string[]) => prioritizeTags(tags),
  'digest.match': ([image, typed]: [string, string]) => matchesImage(image, typed),
  'event.add': ({ items, next }: { items: TagEvent[] | null; next: TagEvent }) => {
    const added = addEvent(items, next);
    return { ...added, conditionsCleared: added.changed };
  },
  'pullspec.resolve': (input: { stream: StreamInput; tag: string; defaultExternal: boolean; requireLatest: boolean }) => {
    const resolved = resolvePullSpec(streamOf(input.stream), input.tag, {
      external: input.defaultExternal,
      requireLatest: input.requireLatest,
    });
    // Who refuses pending tags is not told about them.
    const hasNewer = input.requireLatest ? {} : { hasNewer: resolved.kind === 'resolved' && resolved.hasNewer };
    if (resolved.kind === 'unresolved') return { pullSpec: '', hasStatus: false, isTagEmpty: false, error: resolved.message, ...hasNewer };
    const { pullSpec, hasStatus, isTagEmpty } = resolved;
    return { pullSpec, hasStatus, isTagEmpty, ...hasNewer };
  },
  'whitelist.admit': ({ allowed, pullSpec, transport }: { allowed: AllowedRegistry[]; pullSpec: string; transport: Transport }) => {
    const error = new RegistryAllowList(allowed).refusalOf(pullSpec, transport);
    return { admitted: error === undefined, error };
  },
  'import.plan': (stream: StreamInput) => planned(planStream(streamOf(stream))),
  'import.scheduledPlan': (stream: StreamInput) => {
    const plan = planScheduled(streamOf(stream));
    return plan ? { scheduled: true, ...planned(plan) } : { scheduled: false };
  },
  'tag.follow': ({ stream, tag }: { stream: StreamInput; tag: string }) => {
    const followed = followTag(streamOf(stream), tag);
    const { finalTag, multiple } = followed;
    return followed.kind === 'found' ? { finalTag, multiple, refName: followed.tag.name } : { finalTag, multiple, error: followed.message };
  },
  'keyring.lookup': ({ raw, image }: { raw: { type: string; json: unknown }[]; image: string }) => {
    const keyring = keyringOf(
      raw.map(({ type, json }, i) => ({ name: `secret-${i}`, type, texts: new Map([[DATA_KEYS[type] ?? type, JSON.stringify(json)]]) })),
    );
    const lookup = lookupText(image);
    const all = candidatesFor(keyring, image).map(({ credential }) => credential.username);
    if (all.length) return { lookup, found: true, used: all[0], all };
    // What cannot be read is told where nothing else is found, and no obstacle where something is.
    const [broken] = keyring.broken;
    return broken ? { error: broken.reason } : { lookup, found: false };
  },
};
