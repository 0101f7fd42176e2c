import type { z } from 'zod';

/** The programs that own nouns; `registry` and `anyone` stand outside. */
export type Owner = 'api' | 'registry-mapping' | 'import-scheduler' | 'tag-store' | 'trigger-dispatcher' | 'registry';

/** JetStream streams: bulky mappings and imports do not push events for build systems out of their retention. */
export type StreamName = 'MILLRACE_MAPPINGS' | 'MILLRACE_IMPORTS' | 'MILLRACE_EVENTS';

/** A fact that one program tells and others hear: subject, shape and owner, written once. */
export interface EventContract<S extends z.ZodType = z.ZodType> {
  readonly kind: 'event';
  /** `<noun>.<past verb>` */
  readonly name: string;
  /** Subject without its address: `millrace.v1.tag.moved`. */
  readonly subject: string;
  /** What a consumer of all of them filters by: `millrace.v1.tag.moved.>`. */
  readonly wildcard: string;
  /** CloudEvents type. */
  readonly type: string;
  readonly stream: StreamName;
  readonly from: Owner;
  /** Programs of ours that act on it; it is kept until each of them has. */
  readonly to: readonly Owner[];
  readonly summary: string;
  readonly data: S;
  /** Names of the address tokens after the subject, in order, for documentation. */
  readonly parameters: readonly string[];
  /** Full subject of one event. */
  readonly subjectOf: (data: z.output<S>) => string;
  /** What CloudEvents' `subject` says of one event, where it says anything. */
  readonly about?: (data: z.output<S>) => string;
}

/** A question to the owner of a noun, answered over NATS request/reply. */
export interface RequestContract<Q extends z.ZodType = z.ZodType, A extends z.ZodType = z.ZodType> {
  readonly kind: 'request';
  readonly name: string;
  /** `millrace.req.v1.<owner>.<name>` */
  readonly subject: string;
  readonly to: Owner;
  readonly summary: string;
  readonly question: Q;
  readonly answer: A;
}

export type EventData<C extends EventContract> = z.output<C['data']>;
export type Question<C extends RequestContract> = z.output<C['question']>;
export type Answer<C extends RequestContract> = z.output<C['answer']>;

export const SUBJECT_PREFIX = 'millrace.v1';
export const REQUEST_PREFIX = 'millrace.req.v1';
const TYPE_PREFIX = 'dev.millrace';

/**
 * One token of a subject. `.` is written `~`, which no name or tag holds; what NATS forbids in a token, or what a name
 * outside the registry grammar may hold, is percent-encoded. {@link fromToken} reads it back.
 */
export function toToken(text: string): string {
  return (
    encodeURIComponent(text)
      .replace(/[~*!'()]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
      .replaceAll('.', '~') || '%00'
  );
}

export function fromToken(token: string): string {
  return token === '%00' ? '' : decodeURIComponent(token.replaceAll('~', '.'));
}

export function defineEvent<S extends z.ZodType>(definition: {
  name: string;
  stream: StreamName;
  from: Owner;
  to: readonly Owner[];
  summary: string;
  data: S;
  parameters: readonly string[];
  address: (data: z.output<S>) => readonly string[];
  /** CloudEvents type, where it is not ours to choose. */
  type?: string;
  about?: (data: z.output<S>) => string;
}): EventContract<S> {
  const { address, ...rest } = definition;
  const subject = `${SUBJECT_PREFIX}.${definition.name}`;
  return {
    kind: 'event',
    ...rest,
    subject,
    wildcard: `${subject}.>`,
    type: definition.type ?? `${TYPE_PREFIX}.${definition.name}.v1`,
    subjectOf: (data) => [subject, ...address(data).map(toToken)].join('.'),
  };
}

export function defineRequest<Q extends z.ZodType, A extends z.ZodType>(definition: {
  name: string;
  to: Owner;
  summary: string;
  question: Q;
  answer: A;
}): RequestContract<Q, A> {
  return { kind: 'request', ...definition, subject: `${REQUEST_PREFIX}.${definition.to}.${definition.name}` };
}
