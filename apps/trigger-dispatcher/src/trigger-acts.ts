import { Inject, Injectable } from '@nestjs/common';
import type { Ask, ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { Approval, isHeard, Release, validateApproval, validateRelease, VERDICTS_MAX, wordOf } from '@millrace/domain/change-acts';
import { TRIGGER_API_VERSION } from '@millrace/domain/image-trigger';
import { type PendingChange, released, voted } from '@millrace/domain/pending-change';
import { conflict, type FieldError, invalid, malformed, methodNotAllowed, noSuchPath, StatusError } from '@millrace/domain/status';
import { Clock } from '@millrace/platform/clock';
import type { Log } from '@millrace/platform/log';
import { LOG } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import type { z } from 'zod';
import type { Outcome } from './trigger-decisions.ts';
import { memoryOf, pendingStatus, triggerNamed, type TriggerRecord, TRIGGERS } from './trigger-record.ts';
import { Triggers } from './triggers.ts';

/** What people say about the change of a trigger that waits: `approve` and `release`. */
@Injectable()
export class TriggerActs {
  constructor(
    private readonly store: Store,
    private readonly clock: Clock,
    private readonly triggers: Triggers,
    @Inject(LOG) private readonly log: Log,
  ) {}

  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    switch (question.subresource) {
      case 'approve':
        return this.approve(created(question));
      case 'release':
        return this.release(created(question));
      default:
        throw new StatusError(noSuchPath());
    }
  }

  /** Throws StatusError 409 where another change waits than the one that is meant. */
  private async approve(question: Ask<'create'>): Promise<ObjectAnswer> {
    const approval = said('Approval', Approval, validateApproval, question);
    const { generation, image } = approval;
    const word = wordOf(approval);
    const user = question.user.name;
    const { trigger, outcome } = await this.store.write(question.dryRun, async (tx) => {
      const record = await triggerNamed(tx, question, { lock: true });
      const memory = memoryOf(record);
      meant(record, memory.pending, approval);
      if (!isHeard(user, memory.pending?.verdicts))
        throw new StatusError(conflict(TRIGGERS, record.name, `${VERDICTS_MAX} people have said something already`));
      record.control = voted(memory, { ...word, user, at: this.clock.now().toISOString() });
      const [decided] = await this.triggers.decideAgain(tx, [record], { said: true });
      return { trigger: record, outcome: decided };
    });
    this.told(question, 'trigger.verdict', { verdict: word.verdict, generation: generation ?? image });
    const body = { ...word, generation, image, user, status: outcomeStatus(outcome) };
    return { kind: 'object', code: 201, object: { ...headOf('Approval', trigger), ...body } };
  }

  private async release(question: Ask<'create'>): Promise<ObjectAnswer> {
    const { force = false, comment } = said('Release', Release, validateRelease, question);
    const user = question.user.name;
    const { trigger, outcome, ended } = await this.store.write(question.dryRun, async (tx) => {
      const record = await triggerNamed(tx, question, { lock: true });
      const memory = memoryOf(record);
      const { hold, ...spec } = record.spec;
      if (hold) {
        Object.assign(record, { spec, generation: String(Number(record.generation) + 1) });
        await tx.run('UPDATE trigger SET spec = $2, generation = $3 WHERE uid = $1', [record.uid, spec, record.generation]);
      }
      const stopped = record.spec.storm && memory.stopped;
      const at = this.clock.now().toISOString();
      if (record.control || record.held) record.control = released(memory, { by: user, at, force, ...(comment ? { comment } : {}) });
      const [decided] = await this.triggers.decideAgain(tx, [record], { said: true });
      return { trigger: record, outcome: decided, ended: [...(hold ? ['hold'] : []), ...(stopped ? ['storm'] : [])] };
    });
    this.told(question, 'trigger.released', { ended, force });
    const body = { force, comment, user, status: { ended, ...outcomeStatus(outcome) } };
    return { kind: 'object', code: 201, object: { ...headOf('Release', trigger), ...body } };
  }

  private told({ namespace, name, user, dryRun }: Ask<'create'>, message: string, fields: object): void {
    if (!dryRun) this.log.info({ trigger: `${namespace}/${name}`, user: user.name, ...fields }, message);
  }
}

/** Throws StatusError 405. */
function created(question: ObjectQuestion): Ask<'create'> {
  if (question.verb !== 'create') throw new StatusError(methodNotAllowed());
  return question;
}

/** Throws StatusError 400 and 422. */
function said<S extends z.ZodType>(
  kind: string,
  schema: S,
  problems: (act: z.output<S>) => FieldError[],
  question: Ask<'create'>,
): z.output<S> {
  const { data, error } = schema.safeParse(question.object);
  if (error) throw new StatusError(malformed(kind, error));
  const errors = problems(data);
  if (errors.length) throw new StatusError(invalid(TRIGGERS.group, kind, question.name ?? '', errors));
  return data;
}

/** Throws StatusError 409, which says what waits. */
function meant({ name, spec }: TriggerRecord, pending: PendingChange | undefined, { generation, image }: Approval): void {
  const refuse = (why: string) => new StatusError(conflict(TRIGGERS, name, why));
  if (!pending) throw refuse('no change waits');
  const waits = `generation ${pending.generation} (${pending.image}) has been waiting since ${pending.since}`;
  if (generation !== undefined && generation !== pending.generation) throw refuse(`generation ${generation} does not wait: ${waits}`);
  if (image && image !== pending.image) throw refuse(`${image} does not wait: ${waits}`);
  if (!spec.approval) throw refuse(`its changes need no approval: spec.approval is absent; ${waits}`);
}

const headOf = (kind: string, { namespace, name }: TriggerRecord) => ({
  apiVersion: TRIGGER_API_VERSION,
  kind,
  metadata: { namespace, name },
});

/** What came of it, or would: of which change, and what it still waits for. */
function outcomeStatus(outcome: Outcome | undefined): object {
  if (!outcome || outcome.step.kind === 'ignore') return { decision: 'Nothing', reason: 'no change waits' };
  const { step } = outcome;
  if (step.kind === 'wait')
    return {
      decision: 'Waiting',
      reason: step.pending.blockers.map(({ message }) => message).join('; '),
      pending: pendingStatus(step.pending),
    };
  const [latest] = step.memory.decisions ?? [];
  const { decision, reason, generation, image } = latest ?? {};
  return { decision, reason, generation, image, ...(step.kind === 'fire' && step.between.length ? { between: step.between } : {}) };
}
