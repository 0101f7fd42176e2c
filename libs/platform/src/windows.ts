import { Cron } from 'croner';
import type { ChangeWindow, Moment } from '@millrace/domain/change-control';
import { parseInterval } from '@millrace/domain/interval';

/*
 * Windows in time, read as cron reads them. Where clocks are changed, a window opens at the first such time of its day, and stays open for its
 * duration in real time.
 */

/** Two times of a schedule that follow each other, and so when it last opened for every moment from one to the other. */
interface Span {
  opened?: Date;
  next?: Date;
}

/** A schedule that was read, and the spans that it was asked about last: most questions are about the same. */
interface Schedule {
  cron: Cron;
  spans: Span[];
}
const SPANS_MAX = 8;

/** Schedules that a process has read; texts repeat. */
const READ_MAX = 1_000;
const read = new Map<string, Schedule | undefined>();

/** What is wrong with a schedule or its time zone, or undefined. */
export function scheduleProblem(schedule: string, timeZone: string): string | undefined {
  if (schedule.length > 200 || schedule.trim().split(/\s+/).length !== 5) return 'must be five fields of cron, such as 0 9 * * 1-5';
  try {
    new Intl.DateTimeFormat('en', { timeZone });
  } catch {
    return `${JSON.stringify(timeZone.slice(0, 60))} is no time zone such as Europe/Berlin`;
  }
  try {
    return new Cron(schedule, { timezone: timeZone, paused: true }).nextRun() ? undefined : 'never comes';
  } catch (error) {
    return `cannot be read: ${(error as Error).message}`;
  }
}

/** Whether one of the windows is open, and where none is, when the next one opens. Schedules that cannot be read never open. */
export function windowAt(windows: readonly ChangeWindow[] | undefined, now: Date): Moment['window'] {
  let opensAt: Date | undefined;
  for (const { schedule = '', timeZone = 'UTC', duration = '' } of windows ?? []) {
    const known = scheduleOf(schedule, timeZone);
    if (!known) continue;
    const { opened, next } = spanAt(known, now);
    if (opened && now.getTime() < opened.getTime() + (parseInterval(duration) ?? 0)) return { open: true };
    if (next && (!opensAt || next < opensAt)) opensAt = next;
  }
  return { open: false, ...(opensAt ? { opensAt } : {}) };
}

/** The last time of a schedule up to now, and the first after it. */
function spanAt({ cron, spans }: Schedule, now: Date): Span {
  const known = spans.find(({ opened, next }) => (!opened || opened <= now) && next !== undefined && now < next);
  if (known) return known;
  // Also what opens right now has opened.
  const [opened] = cron.previousRuns(1, new Date(now.getTime() + 1));
  const next = cron.nextRun(now) ?? undefined;
  const span = { ...(opened ? { opened } : {}), ...(next ? { next } : {}) };
  spans.unshift(span);
  if (spans.length > SPANS_MAX) spans.pop();
  return span;
}

/** Undefined for one that cannot be read. */
function scheduleOf(schedule: string, timeZone: string): Schedule | undefined {
  const key = `${timeZone} ${schedule}`;
  if (!read.has(key)) {
    if (read.size >= READ_MAX) read.clear();
    const problem = scheduleProblem(schedule, timeZone);
    read.set(key, problem ? undefined : { cron: new Cron(schedule, { timezone: timeZone, paused: true }), spans: [] });
  }
  return read.get(key);
}
