import { z } from 'zod';
import { changeControl, interval, type ScheduleProblem, validateControl } from './change-control.ts';
import { parseInterval } from './interval.ts';
import { optional } from './object-meta.ts';
import { type FieldError, invalidValue, required } from './status.ts';

/* What holds the changes of a trigger back: the fields of its spec. What becomes of a change is pending-change's. */

export const StormValve = z
  .object({
    firings: optional(z.int()).describe('How many firings are let through in the period'),
    within: optional(z.string()).describe('The period, such as 1h'),
  })
  .meta({ id: 'StormValve' });

/** Fields of a trigger's `spec`: those that a tag has too, and its own. */
export const triggerControl = {
  ...changeControl,
  coalesce: optional(z.string()).describe(
    'How long changes are collected from the first of a burst, such as 30s; then the newest fires, and tells those in between',
  ),
  storm: optional(StormValve).describe('Stops the trigger where more fires, until it is released'),
  dryRun: optional(z.boolean()).describe('Decides and records what it would have done, and fires nothing'),
};
export const TriggerControl = z.object(triggerControl);
export type TriggerControl = z.infer<typeof TriggerControl>;

/** Whether anything may hold its changes back. */
export const isControlled = ({ paused, hold, minimumAge, windows, approval, deny, coalesce, storm, dryRun }: TriggerControl): boolean =>
  Boolean(paused || hold || minimumAge || windows?.length || approval || deny?.length || coalesce || storm || dryRun);

/** The fields as they were given, without those that were not: what is kept with the spec. */
export const controlOf = (spec: TriggerControl): TriggerControl => JSON.parse(JSON.stringify(TriggerControl.parse(spec))) as TriggerControl;

/** Every firing of the period is remembered. */
const STORM_FIRINGS_MAX = 1_000;
const COALESCE_MAX_MS = 24 * 60 * 60 * 1_000;

/** Everything that is wrong with it; `path` is that of the object which has the fields. */
export function validateTriggerControl(control: TriggerControl, path: string, scheduleProblem: ScheduleProblem): FieldError[] {
  const { coalesce, storm } = control;
  const errors = [...validateControl(control, path, scheduleProblem), ...interval(coalesce, `${path}.coalesce`)];
  if ((parseInterval(coalesce ?? '') ?? 0) > COALESCE_MAX_MS)
    errors.push(invalidValue(`${path}.coalesce`, coalesce, 'must be at most 1d: a change that waits longer has a minimumAge or windows'));
  if (!storm) return errors;
  const { firings, within } = storm;
  if (firings === undefined) errors.push(required(`${path}.storm.firings`, 'how many firings are let through in the period'));
  else if (firings < 1 || firings > STORM_FIRINGS_MAX)
    errors.push(invalidValue(`${path}.storm.firings`, firings, `must be between 1 and ${STORM_FIRINGS_MAX}`));
  if (within === undefined) errors.push(required(`${path}.storm.within`, 'the period, such as 1h'));
  return [...errors, ...interval(within, `${path}.storm.within`)];
}
