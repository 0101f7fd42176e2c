import type { AttemptRow } from './delivery-tables.ts';
import type { SentRequest } from './webhook.ts';

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
