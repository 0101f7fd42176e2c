import { Injectable } from '@nestjs/common';
import { DeadFacts as Resource } from '@millrace/contracts/resources';
import { badRequest, conflict, notFound, type Status, StatusError, success } from '@millrace/domain/status';
import { type DeadFact, DeadFacts } from '@millrace/platform/dead-facts';
import { inSeconds } from './stream-rows.ts';

const PAGE = 500;

/** Facts that this service refused and put aside, as objects that an operator can list, look at, replay and drop. */
@Injectable()
export class DeadFactObjects {
  constructor(private readonly facts: DeadFacts) {}

  async get(name: string): Promise<object> {
    const fact = isId(name) ? await this.facts.get(name) : undefined;
    if (!fact) throw new StatusError(notFound(Resource, name));
    return { kind: Resource.kind, apiVersion: `${Resource.group}/${Resource.version}`, ...view(fact) };
  }

  /** Oldest first; the token of a page is the id of its last fact. */
  async list({ limit = PAGE, continue: token }: { limit?: number; continue?: string }) {
    if (token !== undefined && !isId(token)) throw new StatusError(badRequest('invalid continue token: continue key is not valid'));
    const rows = await this.facts.list(token ?? '0', limit + 1);
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return { items: page.map(view), resourceVersion: '', ...(last && rows.length > limit ? { continue: last.id } : {}) };
  }

  async drop(name: string, { dryRun }: { dryRun: boolean }): Promise<Status> {
    await this.get(name);
    if (!dryRun && !(await this.facts.drop(name))) throw new StatusError(notFound(Resource, name));
    return success({ name, group: Resource.group, kind: Resource.resource });
  }

  /** Has the fact acted on again; it is gone when that succeeds, and stays with a 409 that says why when it is refused again. */
  async replay(name: string, { dryRun }: { dryRun: boolean }): Promise<Status> {
    await this.get(name);
    if (dryRun) return success({ name, group: Resource.group, kind: Resource.resource });
    try {
      if (!(await this.facts.replay(name))) throw new Error('nothing here acts on facts of this kind any more; drop it');
    } catch (error) {
      throw new StatusError(conflict(Resource, name, `it was refused again: ${(error as Error).message}`), { cause: error });
    }
    return success({ name, group: Resource.group, kind: Resource.resource });
  }
}

const isId = (name: string): boolean => /^\d{1,18}$/.test(name);

const view = ({ id, event, subject, eventId, body, reason, attempts, created }: DeadFact) => ({
  metadata: { name: id, creationTimestamp: inSeconds(created) },
  spec: { event, subject, eventId, data: readable(body) },
  status: { reason, attempts },
});

/** What was refused may be no JSON: that may be why. */
function readable(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}
