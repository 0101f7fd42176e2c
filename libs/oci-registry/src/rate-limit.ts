/** What a registry says of its limits in the headers of any answer; the only place that knows their names. */
export interface RateLimit {
  /** Requests that a whole window allows. */
  limit?: number;
  remaining?: number;
  windowMs?: number;
  /** Until the window begins anew. */
  resetsInMs?: number;
}

export type Headers = Record<string, string | string[] | undefined>;

/**
 * Three dialects: `ratelimit-limit: 100;w=21600` with `ratelimit-remaining` (Docker Hub, early IETF drafts), `ratelimit:
 * "default";r=50;t=30` with `ratelimit-policy: "default";q=100;w=60` (later ones), and `x-ratelimit-*` (GitHub and others),
 * whose reset is a number of seconds or a time in seconds since 1970. Undefined where the answer says nothing.
 */
export function readRateLimit(headers: Headers, now: number): RateLimit | undefined {
  const remaining = headers['ratelimit-remaining'] ?? headers['x-ratelimit-remaining'];
  const combined = headers['ratelimit'];
  if (remaining === undefined && combined === undefined) return undefined;

  const structured = params(text(combined));
  const policy = params(text(headers['ratelimit-policy'] ?? headers['ratelimit-limit'] ?? headers['x-ratelimit-limit']));
  const read: RateLimit = {
    limit: integer(structured.get('limit')) ?? integer(policy.get('q')) ?? integer(policy.get('')),
    remaining: integer(structured.get('r') ?? structured.get('remaining')) ?? integer(params(text(remaining)).get('')),
    windowMs: seconds(policy.get('w')) ?? seconds(params(text(remaining)).get('w')),
    resetsInMs: resetIn(
      structured.get('t') ?? structured.get('reset') ?? text(headers['ratelimit-reset'] ?? headers['x-ratelimit-reset']),
      now,
    ),
  };
  return read.remaining === undefined ? undefined : read;
}

/** `Retry-After` is a number of seconds or a date. Milliseconds. */
export function retryAfter(header: string | string[] | undefined, now: number): number | undefined {
  const value = text(header).trim();
  if (!value) return undefined;
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** Of several limits in one header the first, which is the one that counts now; its bare value is under ''. */
function params(header: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const part of header.slice(0, 1000).split(/[;,]/)) {
    const [name = '', value] = part.trim().split('=', 2);
    const [key, content] = value === undefined ? ['', name] : [name.trim().toLowerCase(), value.trim()];
    if (!found.has(key)) found.set(key, content);
  }
  return found;
}

function text(header: string | string[] | undefined): string {
  return (Array.isArray(header) ? header[0] : header) ?? '';
}

function integer(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,12}$/.test(value) ? Number(value) : undefined;
}

function seconds(value: string | undefined): number | undefined {
  const number = integer(value);
  return number === undefined ? undefined : number * 1000;
}

const EARLIEST_TIME_S = 1_000_000_000;

function resetIn(value: string, now: number): number | undefined {
  const number = integer(value.trim());
  if (number === undefined) return undefined;
  return number < EARLIEST_TIME_S ? number * 1000 : Math.max(0, number * 1000 - now);
}
