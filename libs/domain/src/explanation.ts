import { z } from 'zod';
import { BUILD_CONFIG, buildCauses } from './build-config.ts';
import type { Moment } from './change-control.ts';
import { DEPLOYMENT_CONFIG, processDeploymentConfig } from './deployment-config.ts';
import { isDigest } from './image-reference.ts';
import { validateFrom } from './image-trigger.ts';
import { ObjectMeta, ObjectReference, optional } from './object-meta.ts';
import { type ControlMemory, decideAgain, decideMove, foresee, type MovedTo, type Step, type WaitsFor } from './pending-change.ts';
import type { Fields } from './pod-template.ts';
import { type FieldError, invalidValue } from './status.ts';
import { type Resolve, tagKey, type TagName } from './trigger-annotation.ts';
import type { TriggerControl } from './trigger-control.ts';
import type { Ignored, Planned } from './trigger-matching.ts';
import { triggered, triggerProblems } from './workload.ts';

/* What would become of an image of a tag, by who follows the tag, and why: asked of the rules that decide. */

export const EXPLAINED_DEFAULT = 100;
export const EXPLAINED_MAX = 500;

export const Explanation = z
  .object({
    kind: optional(z.string()),
    apiVersion: optional(z.string()),
    metadata: optional(ObjectMeta),
    spec: optional(
      z.object({
        from: optional(ObjectReference).describe('The ImageStreamTag'),
        image: optional(z.string()).describe(
          'A digest: what would happen if the tag moved there now. Absent: what becomes of where it stands',
        ),
        limit: optional(z.int()).describe(`How many followers are told, up to ${EXPLAINED_MAX}; ${EXPLAINED_DEFAULT} when absent`),
        continue: optional(z.string()).describe('From status.continue: the next ones'),
      }),
    ),
    status: z.unknown().optional(),
  })
  .meta({
    id: 'Explanation',
    description: 'What follows a tag, what of it would fire or be updated, and what not and why. Nothing of it is kept.',
  });
export type Explanation = z.infer<typeof Explanation>;

/** Everything that is wrong with what is asked. It is asked in the namespace of the tag, so that access to that one is what it takes. */
export function validateExplanation({ spec = {} }: Explanation, namespace: string): FieldError[] {
  const errors = validateFrom(spec.from && { ...spec.from, kind: spec.from.kind ?? 'ImageStreamTag' });
  if (spec.from?.namespace && spec.from.namespace !== namespace)
    errors.push(
      invalidValue('spec.from.namespace', spec.from.namespace, `must be the namespace of the explanation, which is ${namespace}`),
    );
  if (spec.image && !isDigest(spec.image))
    errors.push(invalidValue('spec.image', spec.image, 'must be a digest such as sha256: and 64 hexadecimal digits'));
  if (spec.limit !== undefined && (spec.limit < 1 || spec.limit > EXPLAINED_MAX))
    errors.push(invalidValue('spec.limit', spec.limit, `must be between 1 and ${EXPLAINED_MAX}`));
  return errors;
}

/** What becomes of the change for one follower. */
export interface Explained {
  decision: string;
  reason: string;
  /** What it waits for. */
  blockers?: readonly WaitsFor[];
  /** What comes after the wait if nothing else happens, and when. */
  then?: { decision: string; at: string };
}

export interface ExplainedTrigger {
  control: TriggerControl;
  planned: readonly Planned[];
  memory: ControlMemory;
  /** The newest move that fired it. */
  fired?: { streamUid?: string; generation: number };
}

/** What a trigger does, or has done, about a move. */
export function explainTrigger(
  { control, planned, memory, fired }: ExplainedTrigger,
  move: MovedTo,
  now: Date,
  windowAt: (now: Date) => Moment['window'],
): Explained {
  const moment = { now, window: windowAt(now) };
  const step = decideMove(control, planned, memory, move, moment);
  if (step.kind !== 'ignore') return explainStep(step);
  const again =
    step.reason === 'already-pending' && memory.pending?.generation === move.generation && decideAgain(control, planned, memory, moment);
  return again ? explainStep(again) : explainIgnored(step);

  function explainStep(first: Exclude<Step, Ignored>): Explained {
    const { decision, reason } = wordsOf(first);
    if (first.kind !== 'wait') return { decision, reason };
    const end = foresee(control, planned, first, now, windowAt);
    const then = end.step.kind === 'wait' ? undefined : { decision: wordsOf(end.step).decision, at: end.at.toISOString() };
    return { decision, reason, blockers: first.pending.blockers, ...(then ? { then } : {}) };
  }

  function explainIgnored({ reason }: Ignored): Explained {
    const known = memory.decisions?.find((one) => one.generation === move.generation);
    switch (reason) {
      case 'already-planned':
        return fired?.streamUid === move.streamUid && fired.generation >= move.generation
          ? { decision: 'AlreadyFired', reason: `generation ${fired.generation} has fired` }
          : { decision: 'CameBefore', reason: 'the tag stood there when the trigger began to follow it' };
      case 'already-settled':
        return { decision: known?.decision ?? 'Settled', reason: known?.reason ?? 'it was decided about for good' };
      case 'already-pending':
        return { decision: 'Superseded', reason: `by ${memory.pending?.generation}, which waits` };
      case 'of-an-older-stream':
        return { decision: 'Superseded', reason: 'by a move of the stream that was made anew' };
      default:
        return reason satisfies never;
    }
  }
}

function wordsOf(step: Exclude<Step, Ignored>): { decision: string; reason: string } {
  const [latest] = step.memory.decisions ?? [];
  switch (step.kind) {
    case 'fire':
      return { decision: 'WouldFire', reason: latest?.reason ?? '' };
    case 'rehearse':
      return { decision: 'DryRun', reason: latest?.reason ?? '' };
    case 'refuse':
      return { decision: step.decision, reason: step.reason };
    case 'wait':
      return { decision: 'Waiting', reason: step.pending.blockers.map(({ message }) => message).join('; ') };
    default:
      return step satisfies never;
  }
}

/** What happens to a workload when its tags mean what `resolve` says. */
export function explainWorkload(kind: string, object: Fields, tag: TagName, resolve: Resolve): Explained {
  const concerns = (other: TagName): boolean => tagKey(other) === tagKey(tag);
  const problem = triggerProblems(kind, object).join('; ');
  const idle = (reason: string): Explained => (problem ? { decision: 'Broken', reason: problem } : { decision: 'UpToDate', reason });
  if (kind === BUILD_CONFIG) {
    const cause = buildCauses(object, resolve).find((one) => concerns(one.tag));
    return cause ? { decision: 'WouldBuild', reason: `nothing was built with ${cause.image}` } : idle('it was built with this image');
  }
  if (kind === DEPLOYMENT_CONFIG) {
    const processed = processDeploymentConfig(object, resolve);
    if (processed.kind === 'waiting')
      return { decision: 'Waiting', reason: `${tagKey(processed.for)} has no image yet, and all change together` };
  }
  const outcome = triggered(kind, object, resolve);
  if (outcome.kind === 'refused') return { decision: 'Broken', reason: outcome.reason };
  if (outcome.kind === 'unchanged') return idle('it has this image');
  const containers = outcome.changes.filter((change) => concerns(change.tag)).map(({ container }) => container);
  const isNoted = outcome.bookkept.some((one) => concerns(one.tag));
  if (!containers.length && !isNoted) return idle('it has this image');
  return { decision: 'WouldUpdate', reason: containers.length ? `containers: ${containers.join(', ')}` : 'only what it was triggered by' };
}
