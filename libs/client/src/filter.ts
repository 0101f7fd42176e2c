import { toToken } from '@millrace/contracts/define';
import { z } from 'zod';
import { contracts, eventNames, type EventName } from './contracts.ts';
import { ClientError } from './errors.ts';

/** Which events are wanted. What is left out means all. */
export interface EventFilter<N extends EventName = EventName> {
  events?: readonly N[];
  namespace?: string;
  stream?: string;
  tag?: string;
  /** `<namespace>/<name>` of a trigger; for a workload that follows the tag `<namespace>/deployments.apps/web`. */
  trigger?: string;
}

const Name = z.string().min(1).optional();
const Filter = z.strictObject({
  events: z
    .array(z.enum(eventNames as [EventName, ...EventName[]]))
    .min(1)
    .optional(),
  namespace: Name,
  stream: Name,
  tag: Name,
  trigger: z
    .string()
    .regex(/^[^/]+\/.+$/, 'must be <namespace>/<name>')
    .optional(),
});

/** A filter in NATS' words. */
export interface Selection {
  /** Subjects of what is wanted, one for each kind of event. */
  readonly subjects: readonly string[];
  /** Whether an event of this subject is wanted. */
  wants(subject: string): boolean;
}

/** Throws {@link ClientError} for a filter that can select nothing. */
export function selectionOf(filter: EventFilter): Selection {
  const parsed = Filter.safeParse(filter);
  if (!parsed.success) throw new ClientError('bad-option', `filter: ${z.prettifyError(parsed.error)}`);
  const given = parsed.data as Record<string, string | undefined>;
  const fields = ['namespace', 'stream', 'tag', 'trigger'].filter((field) => given[field] !== undefined);
  const lacking = (name: EventName) => fields.find((field) => !contracts[name].parameters.includes(field));
  const names = parsed.data.events ?? eventNames.filter((name) => !lacking(name));
  const patterns = names.map((name) => {
    const field = lacking(name);
    if (field) throw new ClientError('bad-option', `filter: ${name} is about no ${field}: leave one of the two out`);
    const { subject, parameters } = contracts[name];
    return [...subject.split('.'), ...parameters.map((parameter) => (given[parameter] === undefined ? '*' : toToken(given[parameter])))];
  });
  return {
    subjects: patterns.map((pattern) => pattern.join('.')),
    wants: (subject) => {
      const tokens = subject.split('.');
      return patterns.some(
        (pattern) => pattern.length === tokens.length && pattern.every((token, i) => token === '*' || token === tokens[i]),
      );
    },
  };
}

/**
 * What a server is to filter by, as a consumer's configuration says it: one subject before NATS 2.10, which of several kinds gives out all there is, so
 * that the rest is left out here.
 */
export function filterFor({ subjects }: Selection, serverVersion: string): { filter_subject?: string; filter_subjects?: string[] } {
  const [major = 0, minor = 0] = serverVersion.split('.').map(Number);
  if (subjects.length === 1) return { filter_subject: subjects[0] };
  return major > 2 || (major === 2 && minor >= 10) ? { filter_subjects: [...subjects] } : {};
}
