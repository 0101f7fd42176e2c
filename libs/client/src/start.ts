import { DeliverPolicy } from '@nats-io/jetstream';
import { z } from 'zod';
import { ClientError } from './errors.ts';

/** Where reading begins: at the first event that is still there, after the last, at a time, or at a sequence (that event included). */
export type Start = 'all' | 'new' | { time: Date | string } | { sequence: number };

const Given = z.union(
  [
    z.enum(['all', 'new']),
    z.strictObject({ time: z.union([z.date(), z.iso.datetime({ offset: true }).transform((text) => new Date(text))]) }),
    z.strictObject({ sequence: z.int().positive() }),
  ],
  { error: "must be 'all', 'new', { time } with a Date or an RFC 3339 text, or { sequence } with a number from 1 on" },
);

/** As a consumer's configuration says it. */
export interface Delivery {
  deliver_policy: DeliverPolicy;
  opt_start_time?: string;
  opt_start_seq?: number;
}

export function deliveryFrom(start: Start): Delivery {
  const parsed = Given.safeParse(start);
  if (!parsed.success) throw new ClientError('bad-option', `from: ${parsed.error.issues.map((issue) => issue.message).join('; ')}`);
  const from = parsed.data;
  if (from === 'all') return { deliver_policy: DeliverPolicy.All };
  if (from === 'new') return { deliver_policy: DeliverPolicy.New };
  if ('time' in from) return { deliver_policy: DeliverPolicy.StartTime, opt_start_time: from.time.toISOString() };
  return { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: from.sequence };
}
