/** Binds the rules to the names of the `fn` cases: `node conformance/run.mjs fn --adapter conformance/adapter.ts`. */
import { BUILD_MESSAGE, buildCauses } from '@millrace/domain/build-config';
import { DEPLOYMENT_CONFIG, processDeploymentConfig } from '@millrace/domain/deployment-config';
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
import { type NamedTag, RESOLVE_NAMES_ANNOTATION, withLocalNames } from '@millrace/domain/local-names';
import { containersOf, type Fields } from '@millrace/domain/pod-template';
import { followTag, resolvePullSpec } from '@millrace/domain/pull-spec';
import { parseStreamImage, parseStreamTag, splitStreamTag } from '@millrace/domain/stream-names';
import { addEvent } from '@millrace/domain/tag-history';
import { prioritizeTags } from '@millrace/domain/tag-priority';
import { indexTriggers, processAnnotation, type Resolve, tagKey, type TagName } from '@millrace/domain/trigger-annotation';

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

interface TriggerInput {
  object: Fields;
  tags: Record<string, string>;
}
const resolveFrom =
  (tags: Record<string, string>): Resolve =>
  (tag) =>
    tags[tagKey(tag)];
const imagesOf = (kind: string, object: Fields): Record<string, unknown> =>
  Object.fromEntries(containersOf(kind, object).map(({ name, container }) => [name, container['image']]));

interface PolicyInput {
  namespace: string;
  kind: string;
  operation: string;
  image: string;
  registry: string;
  annotation?: boolean;
  templateAnnotation?: boolean;
  controlled?: boolean;
  oldImage?: string;
}
/** The streams that cases of `imagepolicy.resolve` take for granted. */
function streamsOfPolicy({ namespace, registry }: PolicyInput): (tag: TagName) => NamedTag | undefined {
  const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
  const image = (id: string, from: string): Partial<NamedTag> => ({ image: id, pullSpec: `${from}@${id}` });
  const local = (name: string) => `${registry}/${namespace}/${name}`;
  const tags: Record<string, Record<string, Partial<NamedTag>>> = {
    loc: { latest: image(digest('a'), local('loc')) },
    nol: { latest: image(digest('b'), 'ext.io/a/b') },
    extl: { src: image(digest('b'), 'ext.io/a/b'), pt: image(digest('b'), local('extl')) },
  };
  return ({ stream, tag }) => tags[stream] && { local: stream !== 'nol', repository: local(stream), ...tags[stream][tag] };
}

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
  'trigger.annotation': ({ kind, object, tags }: TriggerInput & { kind: string }) => {
    const processed = processAnnotation(kind, object, resolveFrom(tags));
    if (processed.kind === 'refused') return { fires: false, error: processed.reason };
    return processed.kind === 'changed' ? { fires: true, images: imagesOf(kind, processed.object) } : { fires: false };
  },
  'trigger.index': ({ kind, object, old }: { kind: string; object?: Fields; old?: Fields }) => {
    const indexed = indexTriggers(kind, object, old);
    if (indexed.kind === 'malformed') return { cached: false, key: '', change: '', error: indexed.reason };
    const { cached, key, change } = indexed;
    return { cached, key, change };
  },
  'trigger.deploymentconfig': ({ object, tags }: TriggerInput) => {
    const processed = processDeploymentConfig(object, resolveFrom(tags));
    if (processed.kind !== 'changed') return { fires: false, resolvable: processed.kind !== 'waiting' };
    const triggers = ((processed.object['spec'] as Fields)['triggers'] as { imageChangeParams?: { lastTriggeredImage?: string } }[]) ?? [];
    return {
      fires: true,
      resolvable: true,
      images: imagesOf(DEPLOYMENT_CONFIG, processed.object),
      lastTriggeredImage: triggers.flatMap(({ imageChangeParams }) => imageChangeParams?.lastTriggeredImage ?? []),
    };
  },
  'trigger.buildconfig': ({ object, tags }: TriggerInput) => {
    const causes = buildCauses(object, resolveFrom(tags));
    const [first] = causes;
    if (!first) return { fires: false };
    return { fires: true, from: first.from['name'], triggeredByImage: first.image, message: BUILD_MESSAGE, causes: causes.length };
  },
  'imagepolicy.resolve': (input: PolicyInput) => {
    const { namespace, kind, operation, image, annotation, templateAnnotation, controlled, oldImage } = input;
    const everyStream = { annotations: { [RESOLVE_NAMES_ANNOTATION]: '*' } };
    const objectWith = (text: string): Fields => {
      const containers = { spec: { containers: [{ name: 'c', image: text }] } };
      const template = { ...(templateAnnotation ? { metadata: everyStream } : {}), ...containers };
      const owner = controlled ? { ownerReferences: [{ controller: true }] } : {};
      const metadata = { namespace, ...(annotation ? everyStream : {}), ...owner };
      if (kind === 'Pod') return { metadata, ...containers };
      return { metadata, spec: kind === 'CronJob' ? { jobTemplate: { spec: { template } } } : { template } };
    };
    const old = operation === 'update' ? objectWith(oldImage ?? '') : undefined;
    return { image: imagesOf(kind, withLocalNames(kind, objectWith(image), old, streamsOfPolicy(input)))['c'] };
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
