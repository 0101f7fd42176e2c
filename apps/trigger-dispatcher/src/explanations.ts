import { Injectable } from '@nestjs/common';
import type { TagMoved } from '@millrace/contracts/events';
import { type Ask, ExplainTag, type ObjectAnswer, type ObjectQuestion } from '@millrace/contracts/requests';
import {
  Explanation,
  type Explained,
  EXPLAINED_DEFAULT,
  explainTrigger,
  explainWorkload,
  validateExplanation,
} from '@millrace/domain/explanation';
import { TRIGGER_API_VERSION } from '@millrace/domain/image-trigger';
import type { MovedTo } from '@millrace/domain/pending-change';
import { badRequest, invalid, malformed, methodNotAllowed, StatusError, unavailable } from '@millrace/domain/status';
import { splitStreamTag } from '@millrace/domain/stream-names';
import { tagKey, type TagName } from '@millrace/domain/trigger-annotation';
import { AskError, Bus } from '@millrace/platform/bus';
import { Clock } from '@millrace/platform/clock';
import { Store, type Tx } from '@millrace/platform/store';
import { windowAt } from '@millrace/platform/windows';
import { FollowedTags, movesIn } from './followed-tags.ts';
import type { WorkloadRow } from './workload-tables.ts';
import { memoryOf, movedTo, TRIGGERS, type TriggerRecord } from './trigger-record.ts';
import { Triggers } from './triggers.ts';
import { kindOf, recordOf, WORKLOAD_COLUMNS } from './workload-record.ts';

/** So many followers are looked at for the counts of the first page, and for so long; where they are more, the answer says how many it has counted. */
const COUNTED_MAX = 200_000;
const COUNTING_MAX_MS = 20_000;
const FETCH = 500;
const ASK_MS = 2_000;
/** Each reads through all followers of a tag: more at once would take the database from the others. */
const AT_ONCE_MAX = 2;

/** A follower as it is told. */
interface Follower extends Explained {
  kind: string;
  namespace: string;
  name: string;
}

/** What is asked about: a move that the tag has made, or one that it would make. */
interface Asked {
  tag: TagName;
  move: MovedTo;
  pullSpec: string;
  isHypothetical: boolean;
}

/** Answers what would happen for an image of a tag, for everything that follows it. Keeps nothing. */
@Injectable()
export class Explanations {
  private working = 0;

  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
    private readonly clock: Clock,
    private readonly triggers: Triggers,
    private readonly tags: FollowedTags,
  ) {}

  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb !== 'create' || question.subresource) throw new StatusError(methodNotAllowed());
    const { metadata, spec = {} } = parsed(question);
    const { name, tag } = splitStreamTag(spec.from?.name ?? '');
    const { namespace = '' } = question;
    const from = { kind: 'ImageStreamTag', namespace, name: `${name}:${tag}` };
    const at = { namespace, stream: name, tag };
    const [asked, ofTag] = await Promise.all([this.ask(at, spec.image), spec.image ? this.askTagStore(at, spec.image) : null]);
    const head = {
      apiVersion: TRIGGER_API_VERSION,
      kind: 'Explanation',
      metadata: { ...metadata, namespace },
      spec: { ...spec, from },
    };
    if (!asked)
      return { kind: 'object', code: 201, object: { ...head, status: { reason: `${namespace}/${name}:${tag} has never moved` } } };
    if (this.working >= AT_ONCE_MAX) throw new StatusError(unavailable('others are having tags explained: try again shortly'));
    this.working++;
    try {
      return {
        kind: 'object',
        code: 201,
        object: {
          ...head,
          status: { ...(ofTag ? { tag: ofTag } : {}), ...(await this.explain(asked, spec.limit ?? EXPLAINED_DEFAULT, spec.continue)) },
        },
      };
    } finally {
      this.working--;
    }
  }

  /** Undefined where there is nothing to explain. Throws StatusError 503. */
  private async ask(tag: TagName, image: string | undefined): Promise<Asked | undefined> {
    const current = await this.triggers.currentMove({ fromNamespace: tag.namespace, fromStream: tag.stream, fromTag: tag.tag });
    if (current && (!image || image === current.current.image))
      return { tag, move: movedTo(current), pullSpec: current.pullSpec, isHypothetical: false };
    return image ? { tag, ...nextMove(current, image, this.clock.now()), isHypothetical: true } : undefined;
  }

  /** Whether the tag would move there at all; null where there is no such stream. Throws StatusError 503. */
  private async askTagStore(tag: TagName, image: string): Promise<object | null> {
    try {
      return await this.bus.ask(ExplainTag, { ...tag, image }, { timeoutMs: ASK_MS });
    } catch (error) {
      if (!(error instanceof AskError)) throw error;
      throw new StatusError(unavailable(`tag-store cannot be asked what would become of the tag: ${error.message}`), { cause: error });
    }
  }

  private async explain({ tag, move, pullSpec, isHypothetical }: Asked, limit: number, from: string | undefined): Promise<object> {
    const now = this.clock.now();
    const told = new Told(limit, from);
    await this.store.transaction(
      async (tx) => {
        const { namespace, stream, tag: name } = tag;
        const followed = [namespace, stream, name];
        if (!told.after || told.after.resource === 'imagetriggers')
          await read<TriggerRecord>(tx, told, 'imagetriggers', { ...TRIGGERS_OF, parameters: followed }, async (rows) =>
            rows.map((row) => ({ kind: 'ImageTrigger', namespace: row.namespace, name: row.name, ...explained(row, move, now) })),
          );
        await read<WorkloadRow & { paused: boolean }>(tx, told, 'workloads', { ...WORKLOADS_OF, parameters: followed }, async (rows) => {
          const moves = movesIn(
            await this.tags.of(
              tx,
              rows.map(({ uid }) => uid),
            ),
          );
          const resolve = (other: TagName) => (tagKey(other) === tagKey(tag) ? pullSpec : moves.get(tagKey(other))?.pullSpec);
          return rows.map((row) => {
            const record = recordOf(row);
            const kind = kindOf(record);
            const becomes = row.paused ? PAUSED : explainWorkload(kind, record.object, tag, resolve);
            return { kind, namespace: row.namespace, name: row.name, ...becomes };
          });
        });
      },
      { isolation: 'REPEATABLE READ', readOnly: true },
    );
    const { generation, image } = move;
    const change = isHypothetical ? { image, pullSpec } : { generation, image, pullSpec, movedAt: move.movedAt };
    return { at: now.toISOString(), change, ...told.status };
  }
}

const PAUSED: Explained = { decision: 'Paused', reason: 'its trigger for the tag is paused, or not automatic' };

const explained = (row: TriggerRecord, move: MovedTo, now: Date): Explained =>
  explainTrigger(
    { control: row.spec, planned: row.planned ?? [], memory: memoryOf(row), ...(row.lastTriggered ? { fired: row.lastTriggered } : {}) },
    move,
    now,
    (at) => windowAt(row.spec.windows, at),
  );

/** The move that the tag would make. What is pulled for it is guessed from what is pulled now; who follows the tag compares it with what it has. */
function nextMove(current: TagMoved | null, image: string, now: Date): { move: MovedTo; pullSpec: string } {
  const { streamUid = 'none', generation = 0, pullSpec = '' } = current ?? {};
  const [repository = ''] = pullSpec.split('@');
  return {
    move: { streamUid, generation: generation + 1, movedAt: now.toISOString(), image },
    pullSpec: repository ? `${repository}@${image}` : image,
  };
}

type Part = 'imagetriggers' | 'workloads';
interface Read {
  select: string;
  /** What rows are told in the order of, which says where the next page begins. */
  key: readonly string[];
  parameters: readonly string[];
}

const TRIGGERS_OF = {
  select: `SELECT t.uid, t.namespace, t.name, t.spec, t.last_triggered AS "lastTriggered", t.held, t.control,
      (SELECT json_agg(json_build_object('streamUid', s.stream_uid, 'generation', s.generation, 'movedAt', s.moved_at)) FROM trigger_tag s WHERE s.trigger_uid = t.uid) AS planned
    FROM trigger t WHERE t.from_namespace = $1 AND t.from_stream = $2 AND t.from_tag = $3`,
  key: ['t.namespace', 't.name'],
};
const WORKLOADS_OF = {
  select: `SELECT ${WORKLOAD_COLUMNS}, f.paused FROM (
      SELECT workload_uid, bool_and(paused) AS paused FROM (
        SELECT workload_uid, false AS paused FROM workload_tag WHERE namespace = $1 AND stream = $2 AND tag = $3
        UNION ALL SELECT workload_uid, true FROM paused_tag WHERE namespace = $1 AND stream = $2 AND tag = $3) AS both_kinds
       GROUP BY workload_uid) AS f JOIN workload w ON w.uid = f.workload_uid WHERE true`,
  key: ['w.resource', 'w.namespace', 'w.name'],
};

/** Reads followers in pieces, so that no process holds them all. The first page goes on to count them; the others end with the page. */
async function read<R extends { resource?: string; namespace: string; name: string }>(
  tx: Tx,
  told: Told,
  part: Part,
  { select, key, parameters }: Read,
  explain: (rows: R[]) => Promise<Follower[]>,
): Promise<void> {
  if (!told.takesMore()) return;
  const after = told.after?.resource === part ? told.after.key : undefined;
  const beyond = after ? ` AND (${key.join(', ')}) > (${after.map((_, i) => `$${parameters.length + i + 1}`).join(', ')})` : '';
  await tx.query(`DECLARE ${part} NO SCROLL CURSOR FOR ${select}${beyond} ORDER BY ${key.join(', ')}`, [...parameters, ...(after ?? [])]);
  for (;;) {
    const rows = await tx.query<R>(`FETCH ${FETCH} FROM ${part}`);
    const followers = await explain(rows);
    rows.forEach((row, i) =>
      told.take(part, key.length === 3 ? [row.resource ?? '', row.namespace, row.name] : [row.namespace, row.name], followers[i]),
    );
    if (rows.length < FETCH || !told.takesMore()) return;
  }
}

/** What of the followers is told, and what is counted. */
class Told {
  readonly after: { resource: Part; key: readonly string[] } | undefined;
  private readonly followers: Follower[] = [];
  private readonly counts: Record<Part, Record<string, number>> = { imagetriggers: {}, workloads: {} };
  private counted = 0;
  private last: unknown;
  private isMore = false;
  private isCut = false;
  private readonly began = performance.now();

  /** Throws StatusError 400. */
  constructor(
    private readonly limit: number,
    from: string | undefined,
  ) {
    this.after = from === undefined ? undefined : readFrom(from);
  }

  /** Whether more of them are wanted. */
  takesMore(): boolean {
    if (this.after) return !this.isMore;
    this.isCut = this.counted >= COUNTED_MAX || performance.now() - this.began > COUNTING_MAX_MS;
    return !this.isCut;
  }

  take(part: Part, key: readonly string[], follower: Follower | undefined): void {
    if (!follower) return;
    this.counted++;
    this.counts[part][follower.decision] = (this.counts[part][follower.decision] ?? 0) + 1;
    if (this.followers.length >= this.limit) {
      this.isMore = true;
      return;
    }
    this.followers.push(follower);
    this.last = [part, ...key];
  }

  get status(): object {
    return {
      ...(this.after ? {} : { counts: this.counts, ...(this.isCut ? { counted: this.counted } : {}) }),
      followers: this.followers,
      ...(this.isMore ? { continue: Buffer.from(JSON.stringify(this.last)).toString('base64url') } : {}),
    };
  }
}

function readFrom(text: string): { resource: Part; key: readonly string[] } {
  try {
    const [resource, ...key] = JSON.parse(Buffer.from(text, 'base64url').toString()) as unknown[];
    const length = resource === 'imagetriggers' ? 2 : resource === 'workloads' ? 3 : undefined;
    if (key.length === length && key.every((part) => typeof part === 'string')) return { resource: resource as Part, key };
  } catch {
    // told below
  }
  throw new StatusError(badRequest('spec.continue is not valid: begin again without it'));
}

/** Throws StatusError 400 and 422. */
function parsed({ object, namespace = '' }: Ask<'create'>): Explanation {
  const { data, error } = Explanation.safeParse(object);
  if (error) throw new StatusError(malformed('Explanation', error));
  const errors = validateExplanation(data, namespace);
  if (errors.length) throw new StatusError(invalid(TRIGGERS.group, 'Explanation', data.metadata?.name ?? namespace, errors));
  return data;
}
