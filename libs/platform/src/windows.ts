import { Cron } from 'croner';
import type { ChangeWindow, Moment } from '@millrace/domain/change-control';
import { parseInterval } from '@millrace/domain/interval';

/*
 * Windows in time, read as cron reads them. Where clocks are changed, a window opens at the first such time of its day, and stays open for its
 * duration in real time.
 */

/** Schedules that a process has read; texts repeat. */
const READ_MAX = 1_000;
const read = new Map<string, Cron>();

/** What is wrong with a schedule or its time zone, or undefined. */
export function scheduleProblem(schedule: string, timeZone: string): string | undefined {
  if (schedule.length > 200 || schedule.trim().split(/\s+/).length !== 5) return 'must be five fields of cron, such as 0 9 * * 1-5';
  try {
    new Intl.DateTimeFormat('en', { timeZone });
  } catch {
    return `${JSON.stringify(timeZone.slice(0, 60))} is no time zone such as Europe/Berlin`;
  }
  try {
    return cron(schedule, timeZone).nextRun() ? undefined : 'never comes';
  } catch (error) {
    return `cannot be read: ${(error as Error).message}`;
  }
}

/** Whether one of the windows is open, and where none is, when the next one opens. Schedules that cannot be read never open. */
export function windowAt(windows: readonly ChangeWindow[] | undefined, now: Date): Moment['window'] {
  let opensAt: Date | undefined;
  for (const { schedule = '', timeZone = 'UTC', duration = '' } of windows ?? []) {
    if (scheduleProblem(schedule, timeZone)) continue;
    const times = cron(schedule, timeZone);
    // Also what opens right now has opened.
    const [opened] = times.previousRuns(1, new Date(now.getTime() + 1));
    if (opened && now.getTime() < opened.getTime() + (parseInterval(duration) ?? 0)) return { open: true };
    const next = times.nextRun(now);
    if (next && (!opensAt || next < opensAt)) opensAt = next;
  }
  return { open: false, ...(opensAt ? { opensAt } : {}) };
}

function cron(schedule: string, timezone: string): Cron {
  const key = `${timezone} ${schedule}`;
  let times = read.get(key);
  if (!times) {
    times = new Cron(schedule, { timezone, paused: true });
    if (read.size >= READ_MAX) read.clear();
    read.set(key, times);
  }
  return times;
}
