import { z } from 'zod';
import { DAY, formatInterval, parseInterval, SECOND } from './interval.ts';
import { optional } from './object-meta.ts';
import { type FieldError, invalidValue, required } from './status.ts';

export const CALLS_MAX = 10_000;
export const PARALLEL_MAX = 1_000;
const PER_MS = { min: SECOND, max: DAY };

/** How fast a webhook wants to be called. */
export const webhookPace = {
  ordered: optional(z.boolean()).describe('Whether a delivery waits until the one before it was delivered or is over'),
  parallel: optional(z.int()).describe('How many calls may be under way at once; what the server allows for one host when absent'),
  rate: optional(z.object({ calls: optional(z.int()), per: optional(z.string()) })).describe(
    'How many calls there may be in how much time: {calls: 10, per: 1s}; as many as come when absent',
  ),
};

export interface WrittenPace {
  ordered?: boolean | undefined;
  parallel?: number | undefined;
  rate?: { calls?: number | undefined; per?: string | undefined } | undefined;
}

/** As it is kept. What was not asked for is not there. */
export interface WebhookPace {
  ordered?: true;
  parallel?: number;
  rate?: { calls: number; per: string };
}

/** Fills in what a client left out of a pace that {@link validatePace} finds nothing wrong with. */
export const completePace = ({ ordered, parallel, rate }: WrittenPace): WebhookPace => ({
  ...(ordered ? { ordered } : {}),
  ...(parallel === undefined ? {} : { parallel }),
  ...(rate ? { rate: { calls: rate.calls ?? 1, per: formatInterval(parseInterval(rate.per ?? '1s') ?? SECOND) } } : {}),
});

export const rateOf = ({ rate }: WebhookPace): { calls: number; perMs: number } | undefined =>
  rate && { calls: rate.calls, perMs: parseInterval(rate.per) ?? SECOND };

export function validatePace({ parallel, rate }: WrittenPace, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (parallel !== undefined && (parallel < 1 || parallel > PARALLEL_MAX))
    errors.push(invalidValue(`${path}.parallel`, parallel, `must be between 1 and ${PARALLEL_MAX}`));
  if (!rate) return errors;
  const { calls, per } = rate;
  if (calls === undefined) errors.push(required(`${path}.rate.calls`));
  else if (calls < 1 || calls > CALLS_MAX) errors.push(invalidValue(`${path}.rate.calls`, calls, `must be between 1 and ${CALLS_MAX}`));
  if (!per) errors.push(required(`${path}.rate.per`, 'such as 1s, 1m or 1h'));
  else {
    const ms = parseInterval(per);
    if (ms === undefined || ms < PER_MS.min || ms > PER_MS.max)
      errors.push(invalidValue(`${path}.rate.per`, per, 'must be an interval between 1s and 1d, such as 1s, 1m or 1h'));
  }
  return errors;
}
