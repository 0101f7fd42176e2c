import { z } from 'zod';
import { parseInterval } from './interval.ts';
import { ObjectMeta, optional } from './object-meta.ts';
import { type FieldError, forbiddenField, invalidValue } from './status.ts';

export const REPLAY_MAX = 10_000;
export const REPLAY_NAMES_MAX = 1_000;

/** What a replay may pick: the states of deliveries, also those that are over. */
export const REPLAYED_STATES = ['dead', 'gone', 'parked', 'retrying', 'canceled', 'delivered'] as const;
export type ReplayedState = (typeof REPLAYED_STATES)[number];
/** What failed, unless others are asked for. */
const REPLAYED_OTHERWISE: readonly ReplayedState[] = ['dead', 'gone', 'parked'];

/** Has deliveries made again: created, never kept. What was replayed is in the answer. */
export const DeliveryReplay = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: optional(ObjectMeta),
    spec: optional(
      z.object({
        trigger: optional(z.string()).describe('Only deliveries of this trigger'),
        webhook: optional(z.string()).describe('Only deliveries of webhooks of this name'),
        names: optional(z.array(z.string())).describe(`Only these, at most ${REPLAY_NAMES_MAX}`),
        labelSelector: optional(z.string()).describe('Only deliveries with these labels, such as state=dead,trigger=web'),
        states: optional(z.array(z.string())).describe(
          `Some of ${REPLAYED_STATES.join(', ')}; ${REPLAYED_OTHERWISE.join(', ')} when absent`,
        ),
        since: optional(z.string()).describe('Only what fired at this time or later: RFC 3339, or an interval such as 24h before now'),
        until: optional(z.string()).describe('Only what fired before this time, likewise'),
        limit: optional(z.int()).describe(`How many at most, the oldest first; ${REPLAY_MAX} when absent, which is the most`),
      }),
    ),
    status: z.unknown().optional(),
  })
  .meta({ id: 'DeliveryReplay' });
export type DeliveryReplay = z.infer<typeof DeliveryReplay>;

/** What is to be replayed, complete. */
export interface ReplaySelection {
  trigger?: string;
  webhook?: string;
  names?: readonly string[];
  labelSelector?: string;
  states: readonly ReplayedState[];
  since?: Date;
  until?: Date;
  limit: number;
}

/** What a client asks for, or all that is wrong with it. */
export function readReplay({ spec = {} }: DeliveryReplay, now: Date): { selection: ReplaySelection } | { errors: FieldError[] } {
  const { trigger, webhook, names, labelSelector, states = [], limit = REPLAY_MAX } = spec;
  const errors: FieldError[] = [];
  states.forEach((state, i) => {
    if (!isReplayedState(state))
      errors.push({
        reason: 'FieldValueNotSupported',
        field: `spec.states[${i}]`,
        text: `Unsupported value: ${JSON.stringify(state)}: supported values: ${REPLAYED_STATES.map((one) => JSON.stringify(one)).join(', ')}`,
      });
  });
  if (names && names.length > REPLAY_NAMES_MAX)
    errors.push(forbiddenField('spec.names', `${names.length} names; a replay has at most ${REPLAY_NAMES_MAX}`));
  if (limit < 1 || limit > REPLAY_MAX) errors.push(invalidValue('spec.limit', limit, `must be between 1 and ${REPLAY_MAX}`));
  const time = (field: 'since' | 'until'): Date | undefined => {
    const text = spec[field];
    if (!text) return undefined;
    const at = instant(text, now);
    if (!at) errors.push(invalidValue(`spec.${field}`, text, 'must be a time such as 2026-11-20T09:00:00Z, or an interval such as 24h'));
    return at;
  };
  const [since, until] = [time('since'), time('until')];
  if (since && until && since >= until) errors.push(invalidValue('spec.until', spec.until, 'must be later than since'));
  if (errors.length) return { errors };
  return {
    selection: {
      ...(trigger ? { trigger } : {}),
      ...(webhook ? { webhook } : {}),
      ...(names?.length ? { names } : {}),
      ...(labelSelector ? { labelSelector } : {}),
      states: states.length ? states.filter(isReplayedState) : labelSelector || names?.length ? REPLAYED_STATES : REPLAYED_OTHERWISE,
      ...(since ? { since } : {}),
      ...(until ? { until } : {}),
      limit,
    },
  };
}

const isReplayedState = (state: string): state is ReplayedState => (REPLAYED_STATES as readonly string[]).includes(state);

const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:\d{2})$/;

function instant(text: string, now: Date): Date | undefined {
  const ago = parseInterval(text);
  const ms = ago === undefined ? (RFC_3339.test(text) ? Date.parse(text) : Number.NaN) : now.getTime() - ago;
  // What Postgres can compare with: an interval may reach back beyond it.
  return Number.isNaN(ms) || ms < 0 || ms > 8.64e15 ? undefined : new Date(ms);
}
