import { type AttemptOutcome, isDelivered, isGone, jittered, toldDelayMs } from './delivery-retry.ts';
import { MINUTE, SECOND } from './interval.ts';

/*
 * What failing calls say about the endpoint that they go to: a webhook of a trigger. One that fails several times in a row is left alone but for probes,
 * until it answers; what waits for it then goes out in order. One that fails for days is disabled, and what waits for it is kept.
 */

/** closed: called as things come; open: only the oldest delivery is tried, now and then; draining: it answers again, and what has waited goes out one by one, in order. */
export type Circuit = 'closed' | 'open' | 'draining';

export interface EndpointHealth {
  circuit: Circuit;
  /** In a row, since the last success. */
  failures: number;
  /** For how long it has failed: probes and the waits between them, added up, so that no clock that jumps makes it longer. */
  failingMs: number;
  disabled: boolean;
}

/** What is known of an endpoint after one more call; `probeInMs` where its circuit is open, and this call says when the next probe is due. */
export interface Judgement extends EndpointHealth {
  probeInMs?: number;
}

/** So many failures in a row open the circuit. */
export const OPENS_AFTER = 5;
/** Waiting times between probes; the last one repeats. */
const PROBE_DELAYS_MS = [5, 10, 20, 40, 80, 160, 320, 600].map((seconds) => seconds * SECOND);
/** No probe is given a longer wait by these; `Retry-After` may ask for more. */
export const LONGEST_PROBE_WAIT_MS = 11 * MINUTE;

/** Answers about what was sent, not about who received it: others may well be taken. */
const REFUSES_THE_MESSAGE: ReadonlySet<number> = new Set([400, 409, 413, 414, 415, 422, 431]);

/** `probe`: the call was made while the circuit was open. One that was under way before says nothing that is not known. */
export function judge(
  health: EndpointHealth,
  call: { outcome: AttemptOutcome; ms: number; probe: boolean },
  { disableAfterMs, now, random }: { disableAfterMs: number; now: Date; random: number },
): Judgement {
  const { outcome, ms, probe } = call;
  if (health.disabled) return health;
  if (isDelivered(outcome)) return { circuit: afterAnswer(health.circuit), failures: 0, failingMs: 0, disabled: false };
  if (isGone(outcome)) return health;
  if (outcome.kind === 'answered' && REFUSES_THE_MESSAGE.has(outcome.status))
    return { ...health, circuit: afterAnswer(health.circuit), failures: 0 };
  if (health.circuit === 'open' && !probe) return health;
  const failures = health.failures + 1;
  if (failures < OPENS_AFTER) return { ...health, failures, failingMs: health.failingMs + ms };
  const wait = jittered(PROBE_DELAYS_MS[Math.min(failures - OPENS_AFTER, PROBE_DELAYS_MS.length - 1)] ?? 0, random);
  const probeInMs = Math.max(wait, toldDelayMs(outcome, now) ?? 0);
  const failingMs = health.failingMs + ms + probeInMs;
  return { circuit: 'open', failures, failingMs, disabled: failingMs >= disableAfterMs, probeInMs };
}

const afterAnswer = (circuit: Circuit): Circuit => (circuit === 'open' ? 'draining' : circuit);

/** What a trigger's status says of its webhook. */
export type WebhookState = 'Active' | 'Failing' | 'Disabled' | 'Gone';

export const stateOfWebhook = ({
  circuit,
  disabled,
  gone,
}: Pick<EndpointHealth, 'circuit' | 'disabled'> & { gone: boolean }): WebhookState =>
  gone ? 'Gone' : disabled ? 'Disabled' : circuit === 'open' ? 'Failing' : 'Active';
