import { containersOf, type Fields, fieldsIn, isObject, listIn, metadataOf, textIn } from './pod-template.ts';
import { distinct, type ImageChange, type Resolve, tagOfReference, type TagName } from './trigger-annotation.ts';

/* Image change triggers of a DeploymentConfig: `spec.triggers[] {type: ImageChange, imageChangeParams}`. One that is not automatic is as good as absent. */

export const DEPLOYMENT_CONFIG = 'DeploymentConfig';

interface Trigger {
  /** Place in `spec.triggers`. */
  index: number;
  params: Fields;
  tag: TagName;
  containers: readonly string[];
  last: string;
}

const automaticTriggers = (object: Fields): Trigger[] => imageTriggers(object).filter(({ params }) => params['automatic'] === true);

function imageTriggers(object: Fields): Trigger[] {
  const namespace = textIn(metadataOf(object), 'namespace');
  return listIn(object['spec'], 'triggers').flatMap((trigger, index): Trigger[] => {
    const params = fieldsIn(trigger, 'imageChangeParams');
    const from = fieldsIn(params, 'from');
    if (textIn(trigger, 'type') !== 'ImageChange' || textIn(from, 'kind') !== 'ImageStreamTag') return [];
    const tag = tagOfReference({ name: textIn(from, 'name'), namespace: textIn(from, 'namespace') }, namespace);
    const containers = listIn(params, 'containerNames').filter((name) => typeof name === 'string');
    return tag ? [{ index, params, tag, containers, last: textIn(params, 'lastTriggeredImage') }] : [];
  });
}

/** The tags whose moves concern a DeploymentConfig, each once. */
export const followedByDeploymentConfig = (object: Fields): TagName[] => distinct(automaticTriggers(object).map(({ tag }) => tag));

/** The tags that it would follow were its triggers automatic, each once. */
export const pausedByDeploymentConfig = (object: Fields): TagName[] =>
  distinct(imageTriggers(object).flatMap(({ params, tag }) => (params['automatic'] === true ? [] : [tag])));

export type DeploymentConfigOutcome<T extends Fields = Fields> =
  | { kind: 'unchanged' }
  /** Nothing is changed while a trigger waits for its first image. */
  | { kind: 'waiting'; for: TagName }
  /** `changes` may be empty: then only the bookkeeping is another. */
  | { kind: 'changed'; object: T; changes: readonly ImageChange[]; bookkept: readonly { tag: TagName; image: string; pointer: string }[] };

/** Sets `lastTriggeredImage` and the images of the named containers to what the tags mean; all triggers together or none. */
export function processDeploymentConfig<T extends Fields>(object: T, resolve: Resolve): DeploymentConfigOutcome<T> {
  const next = structuredClone(object);
  const containers = containersOf(DEPLOYMENT_CONFIG, next);
  const triggers = automaticTriggers(next).map((trigger) => ({ ...trigger, image: resolve(trigger.tag) ?? trigger.last }));
  const waiting = triggers.find(({ image }) => !image);
  if (waiting) return { kind: 'waiting', for: waiting.tag };
  const changes: ImageChange[] = [];
  const bookkept: { tag: TagName; image: string; pointer: string }[] = [];
  for (const { index, tag, params, containers: names, image, last } of triggers) {
    if (last !== image) {
      params['lastTriggeredImage'] = image;
      bookkept.push({ tag, image, pointer: `/spec/triggers/${index}/imageChangeParams/lastTriggeredImage` });
    }
    for (const { container, name, pointer } of containers) {
      if (!names.includes(name) || container['image'] === image) continue;
      container['image'] = image;
      changes.push({ tag, image, container: name, pointer: `${pointer}/image` });
    }
  }
  return changes.length || bookkept.length ? { kind: 'changed', object: next, changes, bookkept } : { kind: 'unchanged' };
}

/** What of the triggers can never do anything, in words for who has written them. */
export function deploymentConfigProblems(object: Fields): string[] {
  const names = containersOf(DEPLOYMENT_CONFIG, object).map(({ name }) => name);
  return listIn(object['spec'], 'triggers').flatMap((trigger, i) => {
    if (!isObject(trigger) || textIn(trigger, 'type') !== 'ImageChange') return [];
    const params = fieldsIn(trigger, 'imageChangeParams');
    const kind = textIn(fieldsIn(params, 'from'), 'kind');
    if (kind !== 'ImageStreamTag') return [`spec.triggers[${i}]: kind ${JSON.stringify(kind)} is not followed: only ImageStreamTag is`];
    const missing = listIn(params, 'containerNames').filter((name) => typeof name !== 'string' || !names.includes(name));
    return missing.map((name) => `spec.triggers[${i}]: no such container: ${typeof name === 'string' ? name : JSON.stringify(name)}`);
  });
}
