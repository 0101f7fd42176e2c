import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { Identity } from '@millrace/domain/access';
import { isHeard, VERDICTS_MAX, wordOf } from '@millrace/domain/change-acts';
import type { ImageStream, ImageStreamSpec, TagEvent, TagReference } from '@millrace/domain/image-stream';
import { conflict, type FieldError, forbiddenField, invalid, malformed, notFound, otherKind, StatusError } from '@millrace/domain/status';
import { formatStreamTag } from '@millrace/domain/stream-names';
import {
  rollbackReason,
  stepBack,
  TAG_CHANGES,
  type TagActOutcome,
  TagApproval,
  type TagChange,
  TagRelease,
  TagRollback,
  validateTagApproval,
  validateTagRelease,
  validateTagRollback,
} from '@millrace/domain/tag-change';
import { CONTROL_GROUP, type PendingTagChange, type TagControl } from '@millrace/domain/tag-control';
import { pickImage } from '@millrace/domain/tag-source';
import { Clock } from '@millrace/platform/clock';
import { Store, type Tx } from '@millrace/platform/store';
import type { z } from 'zod';
import { waitingChanges } from './change-rows.ts';
import type { WaitingChange } from './controlled-tag.ts';
import type { ListRequest } from './pages.ts';
import { meansImage } from './sources.ts';
import { inSeconds, type LockedStream } from './stream-rows.ts';
import { nameOfTag, selectsTag } from './stream-tags.ts';
import { type Listing, Streams } from './streams.ts';
import { Tags } from './tags.ts';
import { tagChangeView } from './views.ts';
import type { WriteOptions } from './writes.ts';

const SHOWN_MAX = 100;
/** How far one step back is looked for, and how many items an image is picked among. */
const ITEMS_MAX = 1_000;

interface At {
  namespace: string;
  name: string;
}

/** One act, in its transaction: the stream is locked. */
interface Act {
  tx: Tx;
  stream: ImageStream;
  tag: string;
  user: Identity;
}

/** Tags whose spec holds changes back, as objects: what waits, and what people do about it. */
@Injectable()
export class TagChanges {
  constructor(
    private readonly store: Store,
    private readonly streams: Streams,
    private readonly tags: Tags,
    private readonly clock: Clock,
  ) {}

  async get(namespace: string, fullName: string): Promise<TagChange> {
    const { name, tag } = nameOfTag(fullName, 'TagChanges');
    const read = async (tx: Tx) => {
      const [stream] = await this.streams.read(tx, 'namespace = $2 AND name = $3', [namespace, name], 1);
      if (!stream) return undefined;
      const changes = await waitingChanges(tx, stream.metadata.uid ?? '', tag, SHOWN_MAX);
      return tagChangeView(stream, tag, changes.map(shown));
    };
    const found = await this.store.transaction(read, { isolation: 'REPEATABLE READ', readOnly: true });
    if (!found) throw new StatusError(notFound(TAG_CHANGES, fullName));
    return found;
  }

  /** Sorted; a page holds the tags of so many streams. As with all that is one tag of a stream, there is nothing to watch. */
  async list(request: ListRequest): Promise<Listing<TagChange>> {
    const { items, continue: next } = await this.streams.listControlled({ ...request, labels: [], fields: streamFields(request) });
    const tags = items.flatMap((stream) => (stream.status.tags ?? []).flatMap(({ tag }) => tagChangeView(stream, tag) ?? []));
    return {
      items: tags.filter(({ metadata = {} }) => selectsTag(request, { metadata })),
      resourceVersion: '',
      ...(next ? { continue: next } : {}),
    };
  }

  /** Ends the hold; with `force` also what only time or people would end. */
  async release(at: At, sent: unknown, options: WriteOptions): Promise<TagRelease> {
    const { image, force = false } = bodyOf(TagRelease, 'TagRelease', sent);
    refuse('TagRelease', at, validateTagRelease({ image }));
    const status = await this.act(at, options, async ({ tx, stream, tag, user }) => {
      const control = controlOf(stream, tag);
      if (!control) throw new StatusError(notFound(TAG_CHANGES, at.name));
      if (image !== undefined) checkMeant(at, newestOf(stream, tag), image);
      const { hold: _hold, ...rest } = control;
      const spec = withControl(stream.spec, tag, rest);
      const { stream: written } = await this.streams.writeSpec(tx, stream, keyOf(stream), spec, user);
      if (force) await this.tags.settle(tx, { tags: [{ stream: lockedAs(written), tag }], by: user.name, force });
    });
    return { metadata: at, ...(image === undefined ? {} : { image }), ...(force ? { force } : {}), status };
  }

  /** Says something about the newest change; who said something before says it anew. */
  async approve(at: At, sent: unknown, options: WriteOptions): Promise<TagApproval> {
    const approval = bodyOf(TagApproval, 'TagApproval', sent);
    refuse('TagApproval', at, validateTagApproval(approval));
    const { image = '' } = approval;
    const word = wordOf(approval);
    const status = await this.act(at, options, async ({ tx, stream, tag, user }) => {
      const control = controlOf(stream, tag);
      if (!control) throw new StatusError(notFound(TAG_CHANGES, at.name));
      if (!control.approval) throw new StatusError(conflict(TAG_CHANGES, at.name, 'its control asks for no approval'));
      const newest = newestOf(stream, tag);
      checkMeant(at, newest, image);
      if (!isHeard(user.name, newest?.verdicts))
        throw new StatusError(conflict(TAG_CHANGES, at.name, `${VERDICTS_MAX} people have been heard about ${image} already`));
      const verdict = { image, user: user.name, ...word, at: this.clock.now().toISOString() };
      await this.tags.settle(tx, { tags: [{ stream: lockedAs(stream), tag }], by: user.name, verdict });
    });
    return { metadata: at, image, ...word, status };
  }

  /** Puts an older image of its history on a tag, and holds it there. What waits goes on waiting, and so does what comes. */
  async rollBack(at: At, sent: unknown, options: WriteOptions): Promise<TagRollback> {
    const { image, generation, reason } = bodyOf(TagRollback, 'TagRollback', sent);
    refuse('TagRollback', at, validateTagRollback({ image, generation, reason }));
    const status = await this.act(at, options, async ({ tx, stream, tag, user }) => {
      const top = topOf(stream, tag);
      const item = await this.target(tx, at, { stream, tag, top }, { image, generation });
      const hold = { reason: rollbackReason(user.name, { from: top, to: item }, reason) };
      const spec = withControl(stream.spec, tag, { ...controlOf(stream, tag), hold });
      const { stream: written } = await this.streams.writeSpec(tx, stream, keyOf(stream), spec, user);
      // Of the generation that the tag has: an import that is still to come is not called off.
      const event = { ...item, created: inSeconds(this.clock.now()), generation: top?.generation ?? item.generation };
      const cause = { kind: 'tag' as const, id: randomUUID(), actor: user.name };
      const [outcome] = await this.tags.move(tx, [{ stream: lockedAs(written), tag, event, cause }]);
      if (outcome === 'refused') refuse('TagRollback', at, [forbiddenField('image', `${item.image} is denied for this tag`)]);
    });
    return {
      metadata: at,
      ...(image === undefined ? {} : { image }),
      ...(generation === undefined ? {} : { generation }),
      ...(reason ? { reason } : {}),
      status,
    };
  }

  /** Runs an act in one transaction, and says what it did; in a dry run nothing is left of it but the answer. */
  private act({ namespace, name: fullName }: At, options: WriteOptions, work: (act: Act) => Promise<void>): Promise<TagActOutcome> {
    const { name, tag } = nameOfTag(fullName, 'TagChanges');
    return this.store.write(options.dryRun, async (tx) => {
      const before = await this.streams.lock(tx, namespace, name);
      if (!before) throw new StatusError(notFound(TAG_CHANGES, fullName));
      await work({ tx, stream: before, tag, user: options.user });
      const [after] = await this.streams.read(tx, 'uid = $2', [before.metadata.uid], 1);
      if (!after) throw new Error(`stream ${namespace}/${name} is gone though its row is locked`);
      return outcomeOf(before, after, tag);
    });
  }

  private async target(
    tx: Tx,
    at: At,
    { stream, tag, top }: { stream: ImageStream; tag: string; top: TagEvent | undefined },
    { image, generation }: Pick<TagRollback, 'image' | 'generation'>,
  ): Promise<TagEvent> {
    const uid = stream.metadata.uid ?? '';
    const refused = (why: string) => new StatusError(conflict(TAG_CHANGES, at.name, why));
    if (!top) throw refused('it points at nothing yet');
    let item: TagEvent | undefined;
    if (image !== undefined) {
      const picked = pickImage(image, await this.items(tx, uid, tag, `AND ${meansImage('image', '$4')}`, [image]));
      if (picked.kind !== 'found') throw refused(picked.kind === 'unknown' ? `${image} is no image of its history` : picked.message);
      item = picked.event;
    } else if (generation !== undefined) {
      [item] = await this.items(tx, uid, tag, 'AND generation = $4', [generation]);
      if (!item) throw refused(`no item of its history has generation ${generation}`);
    } else {
      const items = await this.items(tx, uid, tag);
      const [known] = await this.tags.known([{ namespace: at.namespace, stream: stream.metadata.name ?? '', tag }], tx);
      item = stepBack(items, { putBack: known?.move?.cause.kind === 'tag' && known.move.current.image === top.image });
      if (!item) throw refused('there is no older image in its history');
    }
    if (item.image === top.image && item.dockerImageReference === top.dockerImageReference)
      throw refused(`it points at ${image ?? item.image} already`);
    return item;
  }

  /** Items of a tag's history, newest first. */
  private async items(tx: Tx, uid: string, tag: string, condition = '', parameters: unknown[] = []): Promise<TagEvent[]> {
    const rows = await tx.query<{ created: Date; reference: string; image: string; generation: string }>(
      `SELECT created, reference, image, generation FROM tag_item
        WHERE stream_uid = $1 AND tag = $2 ${condition} ORDER BY position DESC LIMIT $3`,
      [uid, tag, ITEMS_MAX, ...parameters],
    );
    return rows.map(({ created, reference, image, generation }) => ({
      created: inSeconds(created),
      dockerImageReference: reference,
      image,
      generation: Number(generation),
    }));
  }
}

type Body = typeof TagRelease | typeof TagApproval | typeof TagRollback;

function bodyOf<S extends Body>(schema: S, kind: string, sent: unknown): z.output<S> {
  const { data, error } = schema.safeParse(sent ?? {});
  if (error) throw new StatusError(malformed(kind, error));
  const given = data as z.output<S>;
  if (given.kind && given.kind !== kind) throw new StatusError(otherKind(given.kind, { group: CONTROL_GROUP, kind }));
  return given;
}

function refuse(kind: string, { name }: At, errors: FieldError[]): void {
  if (errors.length) throw new StatusError(invalid(CONTROL_GROUP, kind, name, errors));
}

/** Who acts upon a change has seen the one that is the newest. */
function checkMeant({ name }: At, newest: PendingTagChange | undefined, image: string): void {
  if (!newest) throw new StatusError(conflict(TAG_CHANGES, name, 'nothing waits'));
  if (newest.image !== image) throw new StatusError(conflict(TAG_CHANGES, name, `the newest change is ${newest.image}, and not ${image}`));
}

const specTagOf = ({ spec }: ImageStream, tag: string): TagReference | undefined => spec.tags?.find(({ name }) => name === tag);
const controlOf = (stream: ImageStream, tag: string): TagControl | undefined => specTagOf(stream, tag)?.control;
const listOf = ({ status }: ImageStream, tag: string) => status.tags?.find((list) => list.tag === tag);
const topOf = (stream: ImageStream, tag: string): TagEvent | undefined => listOf(stream, tag)?.items?.[0];
const newestOf = (stream: ImageStream, tag: string): PendingTagChange | undefined => listOf(stream, tag)?.control?.newest;

const keyOf = ({ metadata: { namespace = '', name = '' } }: ImageStream) => ({ namespace, name });

const lockedAs = ({ metadata, spec }: ImageStream): LockedStream => {
  const { namespace = '', name = '', uid = '', generation = 0 } = metadata;
  return { namespace, name, uid, generation, spec };
};

/** The spec with another control of a tag, which may have no more than that. */
function withControl(spec: ImageStreamSpec, tag: string, control: TagControl): ImageStreamSpec {
  const before = spec.tags?.find(({ name }) => name === tag);
  const others = (spec.tags ?? []).filter((other) => other !== before);
  return { ...spec, tags: [...others, { ...(before ?? { name: tag }), control }] };
}

/** Selectors of names are of tags: streams are selected by what is before the colon, or not at all. */
const streamFields = ({ fields }: ListRequest): ListRequest['fields'] => fields.filter(({ field }) => field === 'metadata.namespace');

const shown = ({ event, since, verdicts, brought }: WaitingChange): PendingTagChange => ({
  image: event.image,
  dockerImageReference: event.dockerImageReference,
  generation: event.generation,
  since,
  cause: brought.cause,
  ...(verdicts.length ? { verdicts } : {}),
});

function outcomeOf(before: ImageStream, after: ImageStream, tag: string): TagActOutcome {
  const [previous, current] = [topOf(before, tag), topOf(after, tag)];
  const [waited, waits] = [listOf(before, tag)?.control, listOf(after, tag)?.control];
  const moved = !sameTarget(previous, current);
  const pending = waits?.pending ?? 0;
  const last = waits?.decisions?.[0];
  const refused = !moved && last?.kind === 'Refused' && last.at !== waited?.decisions?.[0]?.at;
  // What waits after a move was kept by a hold.
  const superseded = moved && pending === 0 ? Math.max(0, (waited?.pending ?? 0) - 1) : 0;
  const followers = (after.status.tags ?? []).flatMap(({ tag: name, items }) =>
    name !== tag && !sameTarget(topOf(before, name), items?.[0]) ? [name] : [],
  );
  const fullName = formatStreamTag(after.metadata.name ?? '', tag);
  const skipped = superseded ? `; ${superseded} before it ${superseded === 1 ? 'is' : 'are'} skipped` : '';
  const outcome = moved ? 'Moved' : refused ? 'Refused' : pending ? 'Waiting' : 'Unchanged';
  const message = {
    Moved: `${fullName} moves to ${current?.image || current?.dockerImageReference}${skipped}`,
    Refused: last?.message ?? '',
    Waiting: waits?.decision.message ?? '',
    Unchanged: 'nothing waits',
  }[outcome];
  return { outcome, message, previous: previous ?? null, current: current ?? null, superseded, followers, pending };
}

const sameTarget = (a: TagEvent | undefined, b: TagEvent | undefined): boolean =>
  a?.image === b?.image && a?.dockerImageReference === b?.dockerImageReference;
