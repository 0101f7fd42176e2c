import { z } from 'zod';
import { Blocker, type ChangeControl, changeControl, type ChangeDecision, decideChange, Verdict } from './change-control.ts';
import { optional } from './object-meta.ts';

/*
 * What holds changes of a tag back, at the tag itself: while a change waits, the pointer, its history and everybody who follows it stay. What
 * pushes, imports and followed tags bring is held; what a person tags moves at once, unless it is denied.
 */

export const CONTROL_GROUP = 'control.millrace.dev';

export const TagControl = z
  .object({
    ...changeControl,
    holdOnRollback: optional(z.boolean()).describe('Sets hold by itself when a person puts an older image of its history on the tag'),
  })
  .meta({ id: 'TagControl', description: 'What holds back the images that pushes, imports and followed tags bring.' });
export type TagControl = z.infer<typeof TagControl>;

/** Where a change came from. */
export const ChangeCause = z
  .object({
    kind: z.string().describe('push, mapping, import or follow'),
    id: z.string().describe('Id of the fact or request that led to it'),
    registry: z.string().optional(),
    actor: z.string().optional(),
    follows: z.string().optional(),
  })
  .meta({ id: 'ChangeCause', description: 'Where a change came from.' });

/** A change that waits, as it is shown. */
export const PendingTagChange = z
  .object({
    image: z.string().describe('The image.'),
    dockerImageReference: z.string().describe('Its pull spec.'),
    generation: z.int().describe('Generation of the spec at which it came.'),
    since: z.string().describe('When it came, by our own clock.'),
    cause: ChangeCause.optional().describe('Where it came from.'),
    verdicts: z.array(Verdict).optional().describe('What people said about it.'),
  })
  .meta({ id: 'PendingTagChange', description: 'An image that the tag was given and does not point at yet.' });
export type PendingTagChange = z.infer<typeof PendingTagChange>;

/** What became of a change. */
export const TagDecision = z
  .object({
    kind: z.string().describe('Moved, Refused, or Dropped: nothing came of it because of something newer.'),
    reason: z.string().describe('Why, in one word.'),
    message: z.string().describe('Why, for people.'),
    at: z.string(),
    image: z.string(),
    superseded: z.int().optional().describe('How many changes before it were skipped with it.'),
    by: z.string().optional().describe('Who brought it about, where somebody did.'),
  })
  .meta({ id: 'TagDecision', description: 'What became of a change of a tag.' });
export type TagDecision = z.infer<typeof TagDecision>;

/** `status.tags[].control` of a stream: there where the tag has a control. */
export const TagControlStatus = z
  .object({
    decision: z
      .object({
        kind: z.string().describe('Waiting, or UpToDate: nothing waits.'),
        reason: z.string().describe('Held, Paused, AwaitingApproval, TooYoung, OutsideWindow, or NothingWaits.'),
        message: z.string().describe('Why, for people.'),
        at: z.string().describe('When that was decided.'),
        lookAt: z.string().optional().describe('When it is decided again; absent where only a person can change anything.'),
        blockers: z.array(Blocker).optional().describe('Everything that the newest change waits for.'),
      })
      .describe('What was decided about the newest change, and why.'),
    pending: z.int().describe('How many changes wait.'),
    newest: PendingTagChange.optional().describe('The one of them that the tag will move to.'),
    observedGeneration: z.int().optional().describe('Generation of the spec up to which images came, whatever became of them.'),
    decisions: z.array(TagDecision).optional().describe('What became of the last changes, newest first.'),
  })
  .meta({ id: 'TagControlStatus', description: 'What waits for a tag, and what was decided.' });
export type TagControlStatus = z.infer<typeof TagControlStatus>;

/** How many past decisions are shown. */
export const TAG_DECISIONS_MAX = 5;

/** A control as it is stored, with its keys in one order; undefined where it asks for nothing. An empty hold is one, and so is an empty approval. */
export function storedControl(control: TagControl | null | undefined): TagControl | undefined {
  if (!control) return undefined;
  const { paused, hold, minimumAge, windows, approval, deny, holdOnRollback } = control;
  const stored: TagControl = {
    ...(paused ? { paused } : {}),
    ...(hold ? { hold: present({ reason: hold.reason, until: hold.until }) } : {}),
    ...(minimumAge ? { minimumAge } : {}),
    ...(windows?.length ? { windows: windows.map(({ schedule, timeZone, duration }) => present({ schedule, timeZone, duration })) } : {}),
    ...(approval ? { approval: present({ required: approval.required, within: approval.within }) } : {}),
    ...(deny?.length ? { deny: deny.map(({ image, reason, until }) => present({ image, reason, until })) } : {}),
    ...(holdOnRollback ? { holdOnRollback } : {}),
  };
  return Object.keys(stored).length ? stored : undefined;
}

const present = <T extends object>(fields: T): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== '')) as T;

export const sameControl = (a: TagControl | null | undefined, b: TagControl | null | undefined): boolean =>
  JSON.stringify(storedControl(a)) === JSON.stringify(storedControl(b));

interface Tagged {
  name: string;
  control?: TagControl;
}

/** The tags of a PUT: clients that do not know controls leave them out and mean no harm, so an absent one stays as it is. `{}` takes it away. */
export function keepControls<T extends Tagged>(before: readonly Tagged[] | undefined, tags: readonly T[] | undefined): T[] | undefined {
  const controls = new Map((before ?? []).flatMap(({ name, control }) => (control ? [[name, control] as const] : [])));
  return tags && controls.size
    ? tags.map((tag) => (tag.control === undefined && controls.has(tag.name) ? { ...tag, control: controls.get(tag.name) } : tag))
    : tags?.slice();
}

/** A tag with its defaults whose control says what was sent: an empty one takes it away, and is not none. */
export const withSentControl = <T extends Tagged>(tag: T, { control }: Tagged): T => (control ? { ...tag, control } : tag);

/** Names of the tags whose control is not what it was. */
export function changedControls(before: readonly Tagged[] | undefined, after: readonly Tagged[] | undefined): string[] {
  const [old, now] = [controlsOf(before), controlsOf(after)];
  return [...new Set([...old.keys(), ...now.keys()])].filter((name) => !sameControl(old.get(name), now.get(name)));
}

const controlsOf = (tags: readonly Tagged[] | undefined): Map<string, TagControl> =>
  new Map((tags ?? []).flatMap(({ name, control }) => (control ? [[name, control] as const] : [])));

/** Whether what waits stays when a person tags; else their word is the newest, and what waits came before it. */
export const keepsWaiting = ({ hold, paused }: TagControl, now: Date): boolean => standing({ hold, paused }, now).kind === 'wait';

/** Of what stands whatever comes: a hold, a pause. */
const standing = ({ hold, paused }: ChangeControl, now: Date): ChangeDecision =>
  decideChange({ hold, paused }, { image: '', since: now.toISOString(), verdicts: [] }, { now, window: { open: true } });

export interface Waiting {
  pending: number;
  newest?: PendingTagChange;
  /** About the newest; a change that is not to wait is not there any more. */
  decision?: Extract<ChangeDecision, { kind: 'wait' }>;
  observedGeneration?: number;
  decisions: readonly TagDecision[];
}

/** What is shown of a tag's control at a moment. */
export function controlStatus(
  control: TagControl,
  { pending, newest, decision, observedGeneration, decisions }: Waiting,
  now: Date,
): TagControlStatus {
  const at = now.toISOString();
  const shown = decision ? waitingDecision(decision, at) : idleDecision(standing(control, now), at);
  return {
    decision: shown,
    pending,
    ...(newest ? { newest: { ...newest, verdicts: newest.verdicts?.length ? newest.verdicts : undefined } } : {}),
    ...(observedGeneration ? { observedGeneration } : {}),
    ...(decisions.length ? { decisions: decisions.slice(0, TAG_DECISIONS_MAX) } : {}),
  };
}

function waitingDecision({ blockers, lookAt }: Extract<ChangeDecision, { kind: 'wait' }>, at: string): TagControlStatus['decision'] {
  return {
    kind: 'Waiting',
    reason: blockers[0].reason,
    message: blockers.map(({ message }) => message).join('; '),
    at,
    ...(lookAt ? { lookAt } : {}),
    blockers: blockers.map((blocker) => ({ ...blocker })),
  };
}

function idleDecision(decision: ChangeDecision, at: string): TagControlStatus['decision'] {
  if (decision.kind !== 'wait') return { kind: 'UpToDate', reason: 'NothingWaits', message: 'nothing waits', at };
  const { reason, message, lookAt } = waitingDecision(decision, at);
  return { kind: 'UpToDate', reason, message: `${message}; nothing waits`, at, ...(lookAt ? { lookAt } : {}) };
}

/** Whether two are the same to who reads them: the time of the decision alone is no news. */
export function sameStatus(a: TagControlStatus | null | undefined, b: TagControlStatus | null | undefined): boolean {
  const timeless = (status: TagControlStatus | null | undefined) => status && { ...status, decision: { ...status.decision, at: '' } };
  return JSON.stringify(sorted(timeless(a))) === JSON.stringify(sorted(timeless(b)));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== undefined)
      .sort(([x], [y]) => (x < y ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}
