import type { AttemptRow } from './delivery-tables.ts';
import type { SentRequest } from './webhook.ts';

/** The attempt that a delivery `d` has with it, as columns: number, at, ms, request, status, headers, answer, error, outcome, next_at. */
export const LAST_ATTEMPT = `d.calls, d.last_attempt_at - d.last_ms * interval '1 millisecond', d.last_ms, d.last_request, d.last_status, d.last_headers, d.last_answer,
  d.last_error, d.last_outcome, d.last_next_at`;

/** Of a delivery, `$1`, all that are kept. */
export const ATTEMPTS = `SELECT number, at, ms, request, status, headers, answer, error, outcome, next_at AS "nextAt" FROM attempt WHERE delivery = $1
  UNION ALL
  SELECT ${LAST_ATTEMPT} FROM delivery d WHERE name = $1 AND last_outcome IS NOT NULL AND NOT EXISTS (SELECT FROM attempt a WHERE a.delivery = d.name AND a.number = d.calls)
  ORDER BY number`;

/** One attempt of a delivery as clients read it. What is a credential was masked before it was kept. */
export function attemptObject(row: AttemptRow): object {
  const answered = row.status !== null;
  return {
    number: row.number,
    at: row.at.toISOString(),
    milliseconds: row.ms,
    ...(row.request === null ? {} : { request: JSON.parse(row.request) as SentRequest }),
    ...(answered
      ? {
          answer: {
            status: row.status,
            ...(row.headers === null ? {} : { headers: JSON.parse(row.headers) as Record<string, string> }),
            ...(row.answer === null ? {} : { body: row.answer }),
          },
        }
      : {}),
    ...(row.error === null ? {} : { error: row.error }),
    outcome: row.outcome,
    ...(row.nextAt ? { nextAttemptAt: row.nextAt.toISOString() } : {}),
  };
}
