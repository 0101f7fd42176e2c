import { type MoveCause, TagMoved } from '@millrace/contracts/events';
import type { ChangeDecision, Verdict } from '@millrace/domain/change-control';
import { notableLabels } from '@millrace/domain/image-content';
import type { TagEvent } from '@millrace/domain/image-stream';
import { pullSpecOf } from '@millrace/domain/pull-spec';
import { keepsWaiting, type TagControl } from '@millrace/domain/tag-control';
import { applyEvent, mayBeLate, placeObservation, sortableInstant, type Observation, type Placement } from '@millrace/domain/tag-history';
import { followers } from '@millrace/domain/tag-source';
import type { Tx } from '@millrace/platform/store';
import { currentTrace, freshTrace } from '@millrace/platform/trace';
import { tellPublished } from './cdevents.ts';
import { insertChangeBelow, loadControls, nextWaiting, recentChanges, writeChanges, writeControls } from './change-rows.ts';
import type { TagStoreConfig } from './config.ts';
import { type Brought, ControlledTag } from './controlled-tag.ts';
import { labelsOf } from './image-rows.ts';
import { inSeconds, type LockedStream, repositoryOf } from './stream-rows.ts';
import { type Entry, insertItemBelow, loadTags, type Move, recentItems, type TagState, writeTags } from './tag-rows.ts';
import type { TagChange, TagOutcome } from './tags.ts';

/** `replaced`: the newest item is another, or says other, and nothing is told of it. `late`: the history is another below it. */
type Given = 'moved' | 'replaced' | 'late' | 'unchanged' | 'waits' | 'refused';

/** What is put on tags has a cause, so that a repeat is known. */
type BroughtObservation = Observation & { cause: string };

/** One call of move: the tags it touches, loaded at once, changed in memory by the rules, written at once. */
export class TagMoves {
  /** Streams whose visible state has changed. */
  readonly shown = new Set<LockedStream>();
  /** What a change waits for, or why it is refused. */
  readonly reasons = new Map<TagChange, string>();
  private readonly tags = new Map<string, TagState>();
  private readonly causes = new Set<string>();
  private readonly moves: Move[] = [];
  private readonly following = new Map<string, string[]>();
  private readonly controls = new Map<LockedStream, ReadonlyMap<string, TagControl>>();

  constructor(
    private readonly tx: Tx,
    private readonly config: Pick<TagStoreConfig, 'INTERNAL_REGISTRY_HOST' | 'CDEVENTS'>,
    private readonly now: Date,
  ) {}

  /** `settling` are tags about which it may be decided anew; they may have had a control until now. */
  async load(
    changes: readonly Pick<TagChange, 'stream' | 'tag' | 'cause'>[],
    settling: readonly Pick<TagChange, 'stream' | 'tag'>[] = [],
  ): Promise<void> {
    for (const { stream, tag } of settling) this.state(stream, tag).controlled ??= new ControlledTag(undefined, this.now);
    for (const { stream, tag } of [...changes, ...settling]) {
      this.state(stream, tag);
      for (const follower of this.followersOf(stream, tag)) this.state(stream, follower);
    }
    const states = [...this.tags.values()];
    const asked = changes.flatMap(({ stream, tag, cause }) => [
      { uid: stream.uid, tag, cause: cause.id },
      ...this.followersOf(stream, tag).map((follower) => ({ uid: stream.uid, tag: follower, cause: followCause(cause, tag) })),
    ]);
    const controlled = states.flatMap(({ stream, name, controlled: one }) =>
      one ? [{ uid: stream.uid, tag: name, controlled: one }] : [],
    );
    const [known, knownChanges] = await Promise.all([
      loadTags(this.tx, states, asked),
      controlled.length ? loadControls(this.tx, controlled, asked) : [],
    ]);
    for (const { uid, tag, cause } of [...known, ...knownChanges]) this.causes.add(keyOf(uid, tag, cause));
  }

  async apply(change: TagChange): Promise<TagOutcome> {
    const { stream, tag, event, source, observedAt, cause, labels, traceparent, counterpart = false } = change;
    const state = this.state(stream, tag);
    const observation = { event, cause: cause.id, source, observedAt: observedAt && sortableInstant(observedAt), counterpart };
    if (cause.kind !== 'tag') await this.settle(state);
    const before = state.top?.event;
    const given = await this.give(state, observation, { cause, labels, traceparent });
    switch (given.kind) {
      case 'waits':
      case 'refused':
        this.reasons.set(change, given.message ?? '');
        return given.kind;
      case 'late':
        return 'changed';
      case 'unchanged':
        return 'unchanged';
      case 'moved':
      case 'replaced':
        await this.follow(state, before, observation, { cause, labels, traceparent });
        return given.kind === 'moved' ? 'moved' : 'changed';
    }
  }

  /** Decides anew about what waits for a tag: it moves, goes on waiting, or is dropped. */
  async decideAnew({ stream, tag }: Pick<TagChange, 'stream' | 'tag'>, by: { by?: string; force?: boolean } = {}): Promise<void> {
    const state = this.state(stream, tag);
    if (state.controlled) state.controlled.settled = false;
    await this.settle(state, by);
  }

  /** What somebody says about the newest change that waits for a tag; false where that is not, or no longer, the image that is meant. */
  say({ stream, tag }: Pick<TagChange, 'stream' | 'tag'>, { image, ...verdict }: Verdict & { image: string }): boolean {
    const { controlled } = this.state(stream, tag);
    if (controlled?.newest?.event.image !== image) return false;
    controlled.say(verdict);
    return true;
  }

  /** The tags that follow get what the tag got; `before` is what it was. */
  private async follow(
    state: TagState,
    before: TagEvent | undefined,
    { event, counterpart }: Observation,
    brought: Brought,
  ): Promise<void> {
    const { cause } = brought;
    for (const name of this.followersOf(state.stream, state.name)) {
      const follower = this.state(state.stream, name);
      await this.settle(follower);
      const alike = counterpart && follower.top?.event.image === before?.image;
      const follows = { ...brought, cause: { ...cause, kind: 'follow' as const, follows: state.name } };
      await this.give(follower, { event, cause: followCause(cause, state.name), counterpart: alike }, follows);
    }
  }

  /** Gives one tag what was observed, as far as its control lets it. */
  private async give(state: TagState, observation: BroughtObservation, brought: Brought): Promise<{ kind: Given; message?: string }> {
    const decided = state.controlled && (await this.consider(state, state.controlled, observation, brought));
    if (decided) return decided;
    const before = state.top?.event;
    return this.noted(state, await this.put(state, observation), before, observation, brought);
  }

  private noted(
    state: TagState,
    put: Given,
    before: TagEvent | undefined,
    { counterpart }: Observation,
    brought: Brought,
    superseded?: number,
  ): { kind: Given } {
    if (put !== 'replaced' || counterpart) return { kind: put };
    return { kind: this.noteMove(state, before, brought, superseded) ? 'moved' : 'replaced' };
  }

  /** What a tag's control makes of what was observed; undefined where it has nothing to say. */
  private async consider(
    state: TagState,
    controlled: ControlledTag,
    observation: BroughtObservation,
    brought: Brought,
  ): Promise<{ kind: Given; message?: string } | undefined> {
    const { event, counterpart = false } = observation;
    const at = this.now.toISOString();
    const isPersons = brought.cause.kind === 'tag';
    const top = state.top?.event;
    const isCurrent = top?.image === event.image && top.dockerImageReference === event.dockerImageReference;
    const decision = controlled.decide({ image: event.image, since: at, verdicts: [] });
    if (isPersons) {
      if (isCurrent) return undefined;
      if (decision.kind === 'refuse') return { kind: 'refused', message: decision.message };
      controlled.settled = true;
      if (!keepsWaiting(controlled.control ?? {}, this.now)) controlled.drop('Tagged', 'the tag was put elsewhere', brought.cause.actor);
      return undefined;
    }

    const { newest } = controlled;
    const placement = await this.place(state, observation, newest ?? state.top);
    if (placement.kind === 'duplicate') return { kind: 'unchanged' };
    if (placement.kind === 'unchanged') {
      if (placement.confirms && newest) controlled.amend({ observedAt: observation.observedAt });
      else if (placement.confirms && state.top) this.setTop(state, { ...state.top, observedAt: observation.observedAt });
      return { kind: 'unchanged' };
    }
    if (placement.kind === 'late') return { kind: await this.putLate(state, placement, observation, brought) };
    this.causes.add(keyOf(state.stream.uid, state.name, observation.cause));
    if (decision.kind === 'refuse' && !isCurrent) {
      controlled.refuse(observation, brought, decision);
      return { kind: 'refused', message: decision.message };
    }
    if (isCurrent || (counterpart && !newest)) {
      // The tag was given what it has: nothing is to come of what came between.
      controlled.drop('Superseded', 'the tag was given again what it has', brought.cause.actor);
      controlled.observe(event.generation);
      const generation = Math.max(event.generation, top?.generation ?? 0);
      return { kind: this.putEvent(state, { ...observation, event: { ...event, generation } }) };
    }
    if (decision.kind === 'wait') {
      if (newest && (counterpart || newest.event.image === event.image))
        controlled.amend({ event: { ...event, created: newest.event.created } });
      else controlled.wait(observation, brought);
      return { kind: 'waits', message: waitsFor(decision) };
    }
    const superseded = controlled.sweep('superseded');
    controlled.observe(event.generation);
    controlled.noteMove(event.image, 'nothing held it back', { superseded, by: brought.cause.actor });
    return this.noted(state, this.putEvent(state, observation), top, observation, brought, superseded);
  }

  private async settle(state: TagState, { by, force }: { by?: string; force?: boolean } = {}): Promise<void> {
    const { controlled } = state;
    if (!controlled || controlled.settled) return;
    controlled.settled = true;
    for (;;) {
      const decision = controlled.decideNewest(force);
      if (!decision || decision.kind === 'wait') return;
      if (decision.kind === 'take') return this.takeNewest(state, controlled, by);
      controlled.refuseNewest(decision, by);
      const below = controlled.nextBelow;
      if (below !== undefined) controlled.newest = await nextWaiting(this.tx, state.stream.uid, state.name, below);
    }
  }

  /** What has waited takes effect, now. */
  private async takeNewest(state: TagState, controlled: ControlledTag, by?: string): Promise<void> {
    const { newest } = controlled;
    if (!newest) return;
    const before = state.top?.event;
    const superseded = controlled.take(by);
    const generation = Math.max(newest.event.generation, before?.generation ?? 0);
    const { source, observedAt, cause, brought } = newest;
    const observation = { event: { ...newest.event, created: inSeconds(this.now), generation }, source, observedAt, cause };
    const { kind } = this.noted(state, this.putEvent(state, observation), before, observation, brought, superseded);
    if (kind === 'moved' || kind === 'replaced') await this.follow(state, before, observation, brought);
  }

  /** Asks the rule what an observation does to a tag, and does that in memory. */
  private async put(state: TagState, observation: BroughtObservation): Promise<Given> {
    const placement = await this.place(state, observation, state.top);
    switch (placement.kind) {
      case 'duplicate':
        return 'unchanged';
      case 'unchanged':
        if (placement.confirms && state.top) this.setTop(state, { ...state.top, observedAt: observation.observedAt });
        return 'unchanged';
      case 'late':
        return this.putLate(state, placement, observation);
      case 'moved':
        return this.putEvent(state, observation);
      default:
        return placement satisfies never;
    }
  }

  /** The place of an observation where `top` is the newest; what its source told is kept. */
  private async place(state: TagState, observation: BroughtObservation, top: Entry | undefined): Promise<Placement<Entry>> {
    const { source, cause } = observation;
    const causeKnown = this.causes.has(keyOf(state.stream.uid, state.name, cause));
    const mark = source === undefined ? undefined : state.marks[source];
    let recent: Entry[] | undefined;
    if (!causeKnown && mayBeLate(mark, observation)) {
      // Rare: its place is found among the stored items, so what is new in memory is stored first.
      this.write();
      recent = await this.recent(state, observation);
    }
    const placement = placeObservation<Entry>({ top, mark, causeKnown, recent }, observation);
    if (placement.kind !== 'duplicate' && 'mark' in placement && placement.mark && source !== undefined) {
      state.marks[source] = placement.mark;
      state.changed = true;
    }
    return placement;
  }

  private async putLate(
    state: TagState,
    { item, below }: Extract<Placement<Entry>, { kind: 'late' }>,
    observation: BroughtObservation,
    brought?: Brought,
  ): Promise<Given> {
    const entry = { ...observation, event: item };
    if (below?.change && below.position !== undefined && brought && state.controlled) {
      const waits = below.change.outcome === null;
      await insertChangeBelow(this.tx, state.stream.uid, state.name, below.position, { entry, brought, waits, now: this.now });
      if (waits) state.controlled.pending++;
    } else {
      // Of a tag that was deleted since, nothing comes back.
      if (!state.top) return 'unchanged';
      await insertItemBelow(this.tx, state, entry, below?.position ?? state.topPosition);
      state.items++;
    }
    this.touch(state, observation);
    return 'late';
  }

  /** Makes an event the newest of a tag, or the newest say what it says; where that is another thing. */
  private putEvent(state: TagState, observation: BroughtObservation): 'replaced' | 'unchanged' {
    const applied = applyEvent(state.top?.event, observation.event, observation.counterpart);
    if (applied.kind === 'unchanged') return 'unchanged';
    if (applied.kind === 'replaced') this.setTop(state, { ...observation, event: applied.item });
    else this.addTop(state, { ...observation, event: applied.item });
    state.conditions = null;
    this.touch(state, observation);
    return 'replaced';
  }

  private touch(state: TagState, { cause }: BroughtObservation): void {
    this.causes.add(keyOf(state.stream.uid, state.name, cause));
    state.changed = true;
    this.shown.add(state.stream);
  }

  private addTop(state: TagState, entry: Entry): void {
    state.top = entry;
    state.topPosition = String(Math.floor(Number(state.topPosition ?? 0)) + 1);
    state.items++;
    state.added.push({ position: state.topPosition, entry });
  }

  private setTop(state: TagState, entry: Entry): void {
    state.top = entry;
    state.changed = true;
    const unwritten = state.added.at(-1);
    if (unwritten) unwritten.entry = entry;
    else if (state.topPosition !== null) state.replaced = { position: state.topPosition, entry };
  }

  /** Counts and keeps the move for {@link tell}; false where the tag still means the same image by the same pull spec. */
  private noteMove(state: TagState, previous: TagEvent | undefined, { cause, labels, traceparent }: Brought, superseded = 0): boolean {
    const current = state.top?.event;
    if (!current || (previous?.image === current.image && previous.dockerImageReference === current.dockerImageReference)) return false;
    const { stream, name } = state;
    const policy = stream.spec.tags?.find((tag) => tag.name === name)?.referencePolicy?.type;
    const data: TagMoved = {
      namespace: stream.namespace,
      stream: stream.name,
      streamUid: stream.uid,
      tag: name,
      generation: ++state.moves,
      streamGeneration: current.generation,
      previous: previous ? targetOf(previous) : null,
      current: targetOf(current),
      pullSpec: pullSpecOf(current, { policy, repository: repositoryOf(stream, this.config.INTERNAL_REGISTRY_HOST) }),
      labels: notableLabels(labels ?? {}),
      cause,
      movedAt: this.now.toISOString(),
      ...(superseded ? { superseded } : {}),
    };
    state.lastMove = { data, traceparent, unlabelled: labels === undefined && current.image !== '' };
    this.moves.push(state.lastMove);
    return true;
  }

  /** The moves, in their order. */
  get told(): TagMoved[] {
    return this.moves.map((move) => move.data);
  }

  /** Stages the moves, in their order. */
  async tell(): Promise<void> {
    await this.label();
    for (const { data, traceparent = currentTrace() ?? freshTrace() } of this.moves) {
      const meta = { id: `${data.streamUid}.${data.tag}.${data.generation}`, time: new Date(data.movedAt), traceparent };
      this.tx.publishLater(TagMoved, data, meta);
      if (this.config.CDEVENTS) tellPublished(this.tx, data, meta);
    }
  }

  /** Sends what is new, and waits for no answer. */
  write(): void {
    const controls = [...this.tags.values()].flatMap((state) => {
      const finished = state.controlled?.finish();
      if (!finished) return [];
      state.changed = true;
      if (finished.shown) this.shown.add(state.stream);
      return [{ uid: state.stream.uid, tag: state.name, ...finished }];
    });
    const states = [...this.tags.values()].filter((state) => state.changed);
    writeTags(this.tx, states);
    writeControls(this.tx, controls);
    writeChanges(
      this.tx,
      [...this.tags.values()].flatMap(({ stream, name, controlled }) =>
        controlled ? [{ uid: stream.uid, tag: name, now: this.now, ...controlled.takeRows() }] : [],
      ),
    );
    for (const state of states) Object.assign(state, { changed: false, replaced: undefined, added: [], lastMove: undefined });
  }

  /** What a late observation is placed among, also of what waits. */
  private async recent(state: TagState, { source, observedAt }: Observation): Promise<Entry[]> {
    const items = await recentItems(this.tx, state, { source, observedAt });
    if (!state.controlled) return items;
    const changes = await recentChanges(this.tx, state.stream.uid, state.name, { source, observedAt });
    return [...items, ...changes].sort((a, b) => ((a.observedAt ?? '') > (b.observedAt ?? '') ? -1 : 1));
  }

  /** Looks up the labels of images that came without them, such as those that a tag takes over from another. */
  private async label(): Promise<void> {
    const unlabelled = this.moves.filter((move) => move.unlabelled);
    if (!unlabelled.length) return;
    const labels = await labelsOf(
      this.tx,
      unlabelled.map((move) => move.data.current.image),
    );
    for (const move of unlabelled) move.data.labels = labels.get(move.data.current.image) ?? {};
  }

  private state(stream: LockedStream, name: string): TagState {
    const key = keyOf(stream.uid, name);
    let state = this.tags.get(key);
    if (!state) {
      const control = this.controlsOf(stream).get(name);
      state = { stream, name, items: 0, topPosition: null, moves: 0, marks: {}, conditions: null, changed: false, added: [] };
      if (control) state.controlled = new ControlledTag(control, this.now);
      this.tags.set(key, state);
    }
    return state;
  }

  private controlsOf(stream: LockedStream): ReadonlyMap<string, TagControl> {
    let controls = this.controls.get(stream);
    if (!controls) {
      controls = new Map((stream.spec.tags ?? []).flatMap(({ name, control }) => (control ? [[name, control] as const] : [])));
      this.controls.set(stream, controls);
    }
    return controls;
  }

  private followersOf(stream: LockedStream, tag: string): string[] {
    const key = keyOf(stream.uid, tag);
    let names = this.following.get(key);
    if (!names) {
      // One level, as the reference does it: who follows a follower stays, until the spec or a push moves what it follows.
      names = followers({ metadata: { namespace: stream.namespace, name: stream.name }, spec: stream.spec }, tag, 1);
      this.following.set(key, names);
    }
    return names;
  }
}

const waitsFor = ({ blockers }: Extract<ChangeDecision, { kind: 'wait' }>): string => blockers.map(({ message }) => message).join('; ');

const keyOf = (...parts: string[]): string => parts.join('\n');

/** A follower's own id for what it takes over: the same request may put something on it directly too. */
const followCause = (cause: MoveCause, tag: string): string => `${cause.id} > ${tag}`;

const targetOf = ({ image, dockerImageReference, created }: TagEvent) => ({ image, dockerImageReference, created });
