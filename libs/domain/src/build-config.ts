import { type Fields, fieldsIn, isObject, listIn, metadataOf, textIn } from './pod-template.ts';
import { distinct, type Resolve, tagKey, tagOfReference, type TagName } from './trigger-annotation.ts';

/*
 * Image change triggers of a BuildConfig: `spec.triggers[] {type: ImageChange, imageChange {from, paused}}`. Without `from` it is the image that
 * the strategy builds with. What has built last stands in `status.imageChangeTriggers`.
 */

export const BUILD_CONFIG = 'BuildConfig';
export const BUILD_MESSAGE = 'Image change';

const STRATEGIES = ['dockerStrategy', 'sourceStrategy', 'customStrategy'] as const;

/** Why a build is made: an image of a tag that no build was made for. */
export interface BuildCause {
  tag: TagName;
  /** As the trigger, or the strategy, has it. */
  from: Fields;
  image: string;
}

interface Trigger {
  tag: TagName;
  from: Fields;
  paused: boolean;
  /** What it has built last: by its status, and by the field of older servers. */
  built: readonly string[];
}

/** The reference to the image that a strategy builds with. */
export function strategySource(object: unknown): Fields | undefined {
  const strategy = fieldsIn(fieldsIn(object, 'spec'), 'strategy');
  const own = STRATEGIES.map((name) => strategy[name]).find(isObject);
  return own && isObject(own['from']) ? own['from'] : undefined;
}

function imageTriggers(object: Fields): Trigger[] {
  const namespace = textIn(metadataOf(object), 'namespace');
  const built = listIn(object['status'], 'imageChangeTriggers').flatMap((status) => {
    const tag = tagOf(fieldsIn(status, 'from'), namespace);
    return tag ? [{ key: tagKey(tag), image: textIn(status, 'lastTriggeredImageID') }] : [];
  });
  return listIn(object['spec'], 'triggers').flatMap((trigger): Trigger[] => {
    if (textIn(trigger, 'type') !== 'ImageChange') return [];
    const params = fieldsIn(trigger, 'imageChange');
    const from = isObject(params['from']) ? params['from'] : strategySource(object);
    const tag = from && textIn(from, 'kind') === 'ImageStreamTag' ? tagOf(from, namespace) : undefined;
    if (!from || !tag) return [];
    const known = built.filter(({ key }) => key === tagKey(tag)).map(({ image }) => image);
    return [{ tag, from, paused: params['paused'] === true, built: [...known, textIn(params, 'lastTriggeredImageID')] }];
  });
}

const tagOf = (from: Fields, namespace: string) =>
  tagOfReference({ name: textIn(from, 'name'), namespace: textIn(from, 'namespace') }, namespace);

/** The tags whose moves concern a BuildConfig, each once. */
export const followedByBuildConfig = (object: Fields): TagName[] =>
  distinct(imageTriggers(object).flatMap(({ tag, paused }) => (paused ? [] : [tag])));

/** The tags that it would follow were its triggers not paused, each once. */
export const pausedByBuildConfig = (object: Fields): TagName[] =>
  distinct(imageTriggers(object).flatMap(({ tag, paused }) => (paused ? [tag] : [])));

/** What a build is to be made for: one build with all causes, each tag once; empty where nothing is new. */
export function buildCauses(object: Fields, resolve: Resolve): BuildCause[] {
  const causes = new Map<string, BuildCause>();
  for (const { tag, from, paused, built } of imageTriggers(object)) {
    const image = paused ? undefined : resolve(tag);
    if (image === undefined || built.includes(image) || causes.has(tagKey(tag))) continue;
    causes.set(tagKey(tag), { tag, from, image });
  }
  return [...causes.values()];
}

/** A request for a build, as `POST buildconfigs/NAME/instantiate` takes it. */
export interface BuildRequest {
  triggeredByImage?: Fields;
  from?: Fields;
  triggeredBy?: unknown[];
}

/** One request with all causes; the first is the one that the fields of older servers name. */
export function buildRequest(causes: readonly BuildCause[]): BuildRequest {
  const [first] = causes;
  if (!first) return {};
  return {
    triggeredByImage: { kind: 'DockerImage', name: first.image },
    from: first.from,
    triggeredBy: causes.map(({ from, image }) => ({ message: BUILD_MESSAGE, imageChangeBuild: { imageID: image, fromRef: from } })),
  };
}

export type Instantiated =
  | { kind: 'build'; config: Fields; build: Fields; name: string }
  /** A build for this image was made before. */
  | { kind: 'repeated'; reason: string };

/** How many builds of a config are kept. */
export const BUILDS_KEPT = 10;
export const buildName = (config: string, version: number): string => `${config}-${version}`;

/**
 * Makes the next build of a config, and writes down which images its triggers have built. `at` is RFC 3339 in whole seconds. `apiVersion`, uid and
 * resourceVersion of the build are for who stores it.
 */
export function instantiate(config: Fields, request: BuildRequest, resolve: Resolve, at: string): Instantiated {
  const metadata = metadataOf(config);
  const [configName, namespace] = [textIn(metadata, 'name'), textIn(metadata, 'namespace')];
  const from = request.from && tagOf(request.from, namespace);
  const image = textIn(request.triggeredByImage, 'name');
  const triggers = imageTriggers(config);
  const asked = from && triggers.find(({ tag }) => tagKey(tag) === tagKey(from));
  if (asked && image && asked.built.includes(image))
    return { kind: 'repeated', reason: `build config ${namespace}/${configName} has already instantiated a build for imageid ${image}` };

  const status = fieldsIn(config, 'status');
  const version = (typeof status['lastVersion'] === 'number' ? status['lastVersion'] : 0) + 1;
  const imageOf = (tag: TagName): string | undefined => (from && image && tagKey(tag) === tagKey(from) ? image : resolve(tag));
  const before = new Map(
    listIn(status, 'imageChangeTriggers').flatMap((one) => {
      const tag = tagOf(fieldsIn(one, 'from'), namespace);
      return tag && isObject(one) ? [[tagKey(tag), one] as const] : [];
    }),
  );
  const seen = new Map(triggers.map((trigger) => [tagKey(trigger.tag), trigger]));
  const imageChangeTriggers = [...seen].map(([key, { tag, from: named }]) => {
    const now = imageOf(tag);
    const known = before.get(key);
    if (now === undefined || known?.['lastTriggeredImageID'] === now) return known ?? { from: statusFrom(named) };
    return { from: statusFrom(named), lastTriggeredImageID: now, lastTriggerTime: at };
  });

  const name = buildName(configName, version);
  const spec = structuredClone(fieldsIn(config, 'spec'));
  const { triggers: _, runPolicy: __, successfulBuildsHistoryLimit: ___, failedBuildsHistoryLimit: ____, ...common } = spec;
  const source = strategySource({ spec: common });
  const sourceTag = source && textIn(source, 'kind') === 'ImageStreamTag' ? tagOf(source, namespace) : undefined;
  const pulled = sourceTag && imageOf(sourceTag);
  if (source && pulled) {
    for (const key of Object.keys(source)) Reflect.deleteProperty(source, key);
    Object.assign(source, { kind: 'DockerImage', name: pulled });
  }
  const build: Fields = {
    metadata: {
      name,
      namespace,
      labels: { ...fieldsIn(metadata, 'labels'), buildconfig: configName, 'openshift.io/build-config.name': configName },
      annotations: { 'openshift.io/build-config.name': configName, 'openshift.io/build.number': String(version) },
      ownerReferences: [
        { apiVersion: 'build.openshift.io/v1', kind: BUILD_CONFIG, name: configName, uid: metadata['uid'], controller: true },
      ],
    },
    spec: { ...common, ...(request.triggeredBy?.length ? { triggeredBy: request.triggeredBy } : {}) },
    status: { phase: 'New', config: { kind: BUILD_CONFIG, namespace, name: configName } },
  };
  return { kind: 'build', name, build, config: { ...config, status: { ...status, lastVersion: version, imageChangeTriggers } } };
}

const statusFrom = (from: Fields): Fields => ({
  name: textIn(from, 'name'),
  ...(textIn(from, 'namespace') ? { namespace: textIn(from, 'namespace') } : {}),
});

/** What of the triggers can never do anything, in words for who has written them. */
export function buildConfigProblems(object: Fields): string[] {
  return listIn(object['spec'], 'triggers').flatMap((trigger, i) => {
    if (!isObject(trigger) || textIn(trigger, 'type') !== 'ImageChange') return [];
    const params = fieldsIn(trigger, 'imageChange');
    const from = isObject(params['from']) ? params['from'] : strategySource(object);
    if (!from) return [`spec.triggers[${i}]: neither it nor the strategy names an image`];
    if (textIn(from, 'kind') === 'ImageStreamTag') return [];
    return [`spec.triggers[${i}]: kind ${JSON.stringify(textIn(from, 'kind'))} is not followed: only ImageStreamTag is`];
  });
}
