/*
 * How long something takes, or how often it happens, as people write it: `30s`, `5m`, `1h30m`, `1d`.
 */

/** In milliseconds. */
export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const INTERVAL_PATTERN = /^(?=\d)(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,7})s)?$/;

/** Milliseconds; undefined where the text is no interval. */
export function parseInterval(text: string): number | undefined {
  const match = INTERVAL_PATTERN.exec(text.trim());
  if (!match) return undefined;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0)) as [number, number, number, number];
  return days * DAY + hours * HOUR + minutes * MINUTE + seconds * SECOND;
}

/** As {@link parseInterval} reads it: `1h30m`. */
export function formatInterval(ms: number): string {
  const units: [number, string][] = [
    [DAY, 'd'],
    [HOUR, 'h'],
    [MINUTE, 'm'],
    [SECOND, 's'],
  ];
  let left = Math.max(SECOND, Math.round(ms / SECOND) * SECOND);
  let text = '';
  for (const [unit, letter] of units) {
    if (left >= unit) text += `${Math.floor(left / unit)}${letter}`;
    left %= unit;
  }
  return text;
}
