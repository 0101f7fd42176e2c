import { z } from 'zod';
import { isDigest } from './image-reference.ts';
import { formatInterval, parseInterval } from './interval.ts';
import { optional } from './object-meta.ts';
import { type FieldError, forbiddenField, invalidValue, required } from './status.ts';

/*
 * What holds a change back: the same fields for a tag of a stream, where the pointer waits, and for a trigger, where only its action does.
 * A change is an image that a tag was given; the newest is decided about, and those before it are superseded.
 */

const Instant = z.iso.datetime({ offset: true, error: 'must be a time such as 2026-01-02T03:04:05Z' });

export const Hold = z
  .object({
    reason: optional(z.string()).describe('Why, for whoever reads it'),
    until: optional(Instant).describe('When it ends by itself; absent: when it is released'),
  })
  .meta({ id: 'Hold' });

export const ChangeWindow = z
  .object({
    schedule: optional(z.string()).describe('When it opens: five fields of cron, such as 0 9 * * 1-5'),
    timeZone: optional(z.string()).describe('IANA name, such as Europe/Berlin; UTC when absent'),
    duration: optional(z.string()).describe('How long it stays open, such as 8h'),
  })
  .meta({ id: 'ChangeWindow' });
export type ChangeWindow = z.infer<typeof ChangeWindow>;

export const ApprovalRule = z
  .object({
    required: optional(z.int()).describe('How many people must approve each change; 1 when absent'),
    within: optional(z.string()).describe(
      'How long they have, from when the change came, such as 24h; afterwards it is dropped. Absent: no deadline',
    ),
  })
  .meta({ id: 'ApprovalRule' });

export const DeniedImage = z
  .object({
    image: optional(z.string()).describe('Digest'),
    reason: optional(z.string()).describe('Why, for whoever reads it'),
    until: optional(Instant).describe('When it is allowed again; absent: never'),
  })
  .meta({ id: 'DeniedImage' });

/** Fields of a `spec`. */
export const changeControl = {
  paused: optional(z.boolean()).describe('Holds the newest change back until it is false again'),
  hold: optional(Hold).describe('Holds changes back until it is released'),
  minimumAge: optional(z.string()).describe(
    'How long an image must have been the newest before it counts, such as 24h; one that is replaced earlier is skipped',
  ),
  windows: optional(z.array(ChangeWindow)).describe('Changes happen in one of these; at any time when there are none'),
  approval: optional(ApprovalRule).describe('Changes wait for people'),
  deny: optional(z.array(DeniedImage)).describe('Images that never count'),
};
export const ChangeControl = z.object(changeControl).meta({ id: 'ChangeControl', description: 'What holds changes back.' });
export type ChangeControl = z.infer<typeof ChangeControl>;

export const Verdict = z
  .object({
    user: z.string(),
    verdict: z.enum(['Approve', 'Reject']),
    at: z.string().describe('RFC 3339'),
    comment: z.string().optional(),
  })
  .meta({ id: 'Verdict', description: 'What one person said about a change.' });
export type Verdict = z.infer<typeof Verdict>;

/** The newest change that has not taken effect. */
export interface Change {
  /** Digest; empty for a tag that only names a pull spec. */
  image: string;
  /** When it came, by our own clock, RFC 3339: what an image says of itself may be forged. */
  since: string;
  verdicts: readonly Verdict[];
}

export type BlockReason = 'Held' | 'Paused' | 'AwaitingApproval' | 'TooYoung' | 'OutsideWindow';

export const Blocker = z
  .object({ reason: z.string(), message: z.string(), until: z.string().optional().describe('When time alone may end it.') })
  .meta({ id: 'Blocker', description: 'One thing that a change waits for.' });
export type Blocker<Reason extends string = BlockReason> = z.infer<typeof Blocker> & { reason: Reason };

export type ChangeDecision =
  | { kind: 'take' }
  /** `lookAt` is when to decide again, RFC 3339; absent where only a person can change anything. */
  | { kind: 'wait'; blockers: readonly [Blocker, ...Blocker[]]; lookAt?: string }
  | { kind: 'refuse'; reason: 'Denied' | 'Rejected' | 'ApprovalExpired'; message: string };

export interface Moment {
  now: Date;
  /** Whether one of the windows is open, and where none is, when the next one opens. Of no meaning without windows. */
  window: { open: boolean; opensAt?: Date };
}

/** Whether a change takes effect now, what it waits for, or why it never does. */
export function decideChange(control: ChangeControl, change: Change, { now, window }: Moment): ChangeDecision {
  const denied = (control.deny ?? []).find(({ image, until }) => image && image === change.image && !isPast(until, now));
  if (denied) return { kind: 'refuse', reason: 'Denied', message: `${change.image} is denied${because(denied.reason)}` };
  const rejection = change.verdicts.find(({ verdict }) => verdict === 'Reject');
  if (control.approval && rejection)
    return { kind: 'refuse', reason: 'Rejected', message: `${rejection.user} rejected it${because(rejection.comment)}` };
  // A clock that was set back leaves times in the future behind: they count as now.
  const since = Math.min(Date.parse(change.since), now.getTime());
  const approval = approvalOf(control, change, since, now);
  if (approval?.kind === 'refuse') return approval;
  const [first, ...others] = [
    ...heldBy(control, now),
    ...(approval ? [approval.blocker] : []),
    ...agedBy(control, since, now),
    ...windowOf(control, window),
  ];
  if (!first) return { kind: 'take' };
  const blockers: [Blocker, ...Blocker[]] = [first, ...others];
  const times = [...blockers.flatMap(({ until }) => until ?? []), ...(approval?.expires ?? [])].map((at) => Date.parse(at));
  return { kind: 'wait', blockers, ...(times.length ? { lookAt: new Date(Math.min(...times)).toISOString() } : {}) };
}

/** What a force leaves of a control: people who hold, pause or deny mean it. */
export const forced = ({ hold, paused, deny }: ChangeControl): ChangeControl => ({ hold, paused, deny });

function heldBy({ hold, paused }: ChangeControl, now: Date): Blocker[] {
  const blockers: Blocker[] = [];
  if (hold && !isPast(hold.until, now))
    blockers.push({
      reason: 'Held',
      message: `held until ${hold.until ?? 'it is released'}${because(hold.reason)}`,
      ...(hold.until ? { until: new Date(hold.until).toISOString() } : {}),
    });
  if (paused) blockers.push({ reason: 'Paused', message: 'paused' });
  return blockers;
}

function approvalOf(
  { approval }: ChangeControl,
  { verdicts }: Change,
  since: number,
  now: Date,
): { kind: 'missing'; blocker: Blocker; expires: string[] } | Extract<ChangeDecision, { kind: 'refuse' }> | undefined {
  if (!approval) return undefined;
  const wanted = approval.required ?? 1;
  const people = new Set(verdicts.map(({ user }) => user));
  if (people.size >= wanted) return undefined;
  const deadline = approval.within === undefined ? undefined : since + (parseInterval(approval.within) ?? 0);
  const so = `${people.size} of ${wanted} have approved it`;
  if (deadline !== undefined && deadline <= now.getTime())
    return { kind: 'refuse', reason: 'ApprovalExpired', message: `${so} within ${approval.within}` };
  const expires = deadline === undefined ? [] : [new Date(deadline).toISOString()];
  const message = expires.length ? `${so}; it is dropped at ${expires[0]}` : so;
  return { kind: 'missing', blocker: { reason: 'AwaitingApproval', message }, expires };
}

function agedBy({ minimumAge }: ChangeControl, since: number, now: Date): Blocker[] {
  const ageMs = minimumAge === undefined ? 0 : (parseInterval(minimumAge) ?? 0);
  if (now.getTime() - since >= ageMs) return [];
  const until = new Date(since + ageMs).toISOString();
  return [{ reason: 'TooYoung', message: `must be ${minimumAge} old, which it is at ${until}`, until }];
}

function windowOf({ windows }: ChangeControl, { open, opensAt }: Moment['window']): Blocker[] {
  if (!windows?.length || open) return [];
  const until = opensAt?.toISOString();
  return [
    {
      reason: 'OutsideWindow',
      message: until ? `the next window opens at ${until}` : 'no window opens again',
      ...(until ? { until } : {}),
    },
  ];
}

const isPast = (until: string | undefined, now: Date): boolean => until !== undefined && Date.parse(until) <= now.getTime();
const because = (reason: string | undefined): string => (reason ? `: ${reason}` : '');

const WINDOWS_MAX = 20;
const DENIED_MAX = 1_000;
const APPROVERS_MAX = 20;
/** Characters of what people write for whoever reads it. */
export const TEXT_MAX = 1_000;
/** A year: what is longer is a mistake, or a hold. */
const INTERVAL_MAX_MS = 366 * 24 * 60 * 60 * 1_000;

/** What is wrong with the schedule of a window and its time zone; said by whoever can read cron. */
export type ScheduleProblem = (schedule: string, timeZone: string) => string | undefined;

/** Everything that is wrong with it; `path` is that of the object which has the fields. */
export function validateControl(control: ChangeControl, path: string, scheduleProblem: ScheduleProblem): FieldError[] {
  const { hold, minimumAge, windows = [], approval, deny = [] } = control;
  const errors: FieldError[] = [...validateText(hold?.reason, `${path}.hold.reason`), ...interval(minimumAge, `${path}.minimumAge`)];
  if (windows.length > WINDOWS_MAX) errors.push(forbiddenField(`${path}.windows`, `${windows.length} windows; at most ${WINDOWS_MAX}`));
  else windows.forEach((window, i) => errors.push(...validateWindow(window, `${path}.windows[${i}]`, scheduleProblem)));
  if (approval) {
    const { required: people = 1 } = approval;
    if (people < 1 || people > APPROVERS_MAX)
      errors.push(invalidValue(`${path}.approval.required`, people, `must be between 1 and ${APPROVERS_MAX}`));
    errors.push(...interval(approval.within, `${path}.approval.within`));
  }
  if (deny.length > DENIED_MAX) errors.push(forbiddenField(`${path}.deny`, `${deny.length} images; at most ${DENIED_MAX}`));
  else
    deny.forEach(({ image, reason }, i) => {
      if (!image) errors.push(required(`${path}.deny[${i}].image`, 'the digest'));
      else if (!isDigest(image))
        errors.push(invalidValue(`${path}.deny[${i}].image`, image, 'must be a digest such as sha256: and 64 hexadecimal digits'));
      errors.push(...validateText(reason, `${path}.deny[${i}].reason`));
    });
  return errors;
}

function validateWindow({ schedule, timeZone, duration }: ChangeWindow, path: string, scheduleProblem: ScheduleProblem): FieldError[] {
  const errors: FieldError[] = [];
  if (!schedule) errors.push(required(`${path}.schedule`, 'five fields of cron'));
  else {
    const problem = scheduleProblem(schedule, timeZone ?? 'UTC');
    if (problem) errors.push(invalidValue(`${path}.schedule`, schedule, problem));
  }
  if (!duration) errors.push(required(`${path}.duration`, 'how long it stays open, such as 8h'));
  return [...errors, ...interval(duration, `${path}.duration`)];
}

export function interval(given: string | undefined, field: string): FieldError[] {
  if (given === undefined) return [];
  const ms = parseInterval(given);
  if (!ms) return [invalidValue(field, given, 'must be an interval such as 30s, 15m, 1h30m or 7d')];
  return ms > INTERVAL_MAX_MS ? [invalidValue(field, given, `must be at most ${formatInterval(INTERVAL_MAX_MS)}`)] : [];
}

export const validateText = (given: string | undefined, field: string): FieldError[] =>
  given !== undefined && (given.length > TEXT_MAX || given.includes('\0') || !given.isWellFormed())
    ? [invalidValue(field, given.slice(0, 40), `must be up to ${TEXT_MAX} characters, without NUL`)]
    : [];
