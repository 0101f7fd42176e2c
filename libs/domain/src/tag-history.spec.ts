import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TagEvent } from './image-stream.ts';
import {
  addEvent,
  applyEvent,
  compareInstants,
  type HistoryEntry,
  InvalidInstant,
  mayBeLate,
  type Observation,
  placeObservation,
  type SourceMark,
  sortableInstant,
} from './tag-history.ts';

const event = (dockerImageReference: string, image: string, generation = 1, created = '2026-01-01T00:00:00Z'): TagEvent => ({
  created,
  dockerImageReference,
  image,
  generation,
});

describe('push-down', () => {
  it.each([
    {
      title: 'no history',
      top: undefined,
      next: event('r', 'i'),
      applied: { kind: 'pushed', reason: 'first-image', item: event('r', 'i') },
    },
    { title: 'all equal', top: event('r', 'i'), next: event('r', 'i'), applied: { kind: 'unchanged', reason: 'same-event' } },
    {
      title: 'another generation',
      top: event('r', 'i', 1),
      next: event('r', 'i', 2),
      applied: { kind: 'replaced', reason: 'new-generation', item: event('r', 'i', 2) },
    },
    {
      title: 'a lower generation',
      top: event('r', 'i', 2),
      next: event('r', 'i', 1),
      applied: { kind: 'replaced', reason: 'new-generation', item: event('r', 'i', 1) },
    },
    {
      title: 'same pull spec, another image',
      top: event('r', 'i', 1),
      next: event('r', 'j', 2),
      applied: { kind: 'replaced', reason: 'same-pull-spec', item: event('r', 'j', 2) },
    },
    {
      title: 'same image, another pull spec',
      top: event('r', 'i', 1),
      next: event('q', 'i', 1),
      applied: { kind: 'replaced', reason: 'same-image', item: event('q', 'i', 1) },
    },
    {
      title: 'both differ',
      top: event('r', 'i'),
      next: event('q', 'j'),
      applied: { kind: 'pushed', reason: 'another-image', item: event('q', 'j') },
    },
    {
      title: 'an imported image after a reference',
      top: event('e.io/a:1', ''),
      next: event('e.io/a@x', 'x'),
      applied: { kind: 'pushed', reason: 'another-image', item: event('e.io/a@x', 'x') },
    },
    {
      title: 'a reference after a reference',
      top: event('e.io/a:1', ''),
      next: event('e.io/a:2', ''),
      applied: { kind: 'replaced', reason: 'same-image', item: event('e.io/a:2', '') },
    },
  ])('$title', ({ top, next, applied }) => {
    expect(applyEvent(top, next)).toEqual(applied);
  });

  it('another digest of the image that a tag has takes its place', () => {
    expect(applyEvent(event('r@i', 'i', 1), event('r@j', 'j', 1), true)).toEqual({
      kind: 'replaced',
      reason: 'same-image',
      item: event('r@j', 'j', 1),
    });
  });

  it('a replaced item keeps the time at which it was created', () => {
    const top = event('r', 'i', 1, '2026-01-01T00:00:00Z');
    for (const next of [
      event('r', 'i', 2, '2026-02-02T00:00:00Z'),
      event('q', 'i', 1, '2026-02-02T00:00:00Z'),
      event('r', 'j', 1, '2026-02-02T00:00:00Z'),
    ])
      expect(applyEvent(top, next)).toMatchObject({ kind: 'replaced', item: { created: '2026-01-01T00:00:00Z' } });
  });

  it('A, B, A gives three items: nothing below the top is looked at', () => {
    const [a, b] = [event('a', 'a'), event('b', 'b')];
    const history = [a, b, a].reduce((items: TagEvent[], next) => addEvent(items, next).items, []);

    expect(history).toEqual([a, b, a]);
  });

  it('an empty list is as none', () => {
    expect(addEvent([], event('r', 'i'))).toEqual({ changed: true, items: [event('r', 'i')] });
    expect(addEvent(null, event('r', 'i'))).toEqual({ changed: true, items: [event('r', 'i')] });
  });

  it('never loses an older item, never has neighbours that are alike, and leaves its input as it is', () => {
    const anEvent = fc.record({
      created: fc.constant('2026-01-01T00:00:00Z'),
      dockerImageReference: fc.constantFrom('p', 'q', 'r'),
      image: fc.constantFrom('i', 'j', 'k'),
      generation: fc.constantFrom(1, 2),
    });
    fc.assert(
      fc.property(fc.array(anEvent), (events) => {
        let items: TagEvent[] = [];
        for (const next of events) {
          const before = structuredClone(items);
          const added = addEvent(items, next);

          expect(items).toEqual(before);
          expect(added.items.slice(-before.length || added.items.length).slice(1)).toEqual(before.slice(1));
          expect(added.changed).toBe(JSON.stringify(added.items) !== JSON.stringify(before));
          expect(added.items[0]).toMatchObject({
            image: next.image,
            dockerImageReference: next.dockerImageReference,
            generation: next.generation,
          });
          items = added.items;
        }
      }),
    );
  });
});

/** A tag as its owner stores it: history newest first, and a mark for each source. */
class Tag {
  history: HistoryEntry[] = [];
  marks = new Map<string, SourceMark>();

  observe(observation: Observation) {
    const { source, observedAt } = observation;
    const mark = source === undefined ? undefined : this.marks.get(source);
    const same = this.history.filter((entry) => entry.source === source && entry.observedAt !== undefined);
    const firstBelow = same.findIndex((entry) => observedAt !== undefined && compareInstants(entry.observedAt as string, observedAt) < 0);
    const placement = placeObservation(
      {
        top: this.history[0],
        mark,
        recent: mayBeLate(mark, observation) ? same.slice(0, firstBelow < 0 ? undefined : firstBelow + 1) : undefined,
        causeKnown: observation.cause !== undefined && this.history.some((entry) => entry.cause === observation.cause),
      },
      observation,
    );
    if (placement.kind === 'moved') {
      const entry = { ...observation, event: placement.item };
      if (placement.change === 'pushed') this.history.unshift(entry);
      else this.history[0] = entry;
    }
    if (placement.kind === 'late') {
      const at = placement.below ? this.history.indexOf(placement.below) : 0;
      this.history.splice(at + 1, 0, { ...observation, event: placement.item });
    }
    if (placement.kind === 'unchanged' && placement.confirms) this.history[0] = { ...(this.history[0] as HistoryEntry), observedAt };
    if ('mark' in placement && placement.mark && source !== undefined) this.marks.set(source, placement.mark);
    return placement;
  }

  get images() {
    return this.history.map((entry) => entry.event.image).join(' ');
  }
}

const push = (image: string, second: number, more: Partial<Observation> = {}): Observation => ({
  event: event(`r/a@${image}`, image),
  source: 'main',
  observedAt: `2026-01-01T00:00:${String(second).padStart(2, '0')}Z`,
  ...more,
});
const byHand = (image: string): Observation => ({ event: event(`r/a@${image}`, image) });

describe('order of observations', () => {
  it.each([
    { title: 'in order', deliver: [push('A', 1), push('B', 2), push('C', 3)], outcomes: ['moved', 'moved', 'moved'], images: 'C B A' },
    { title: 'the older one late', deliver: [push('B', 2), push('A', 1)], outcomes: ['moved', 'late'], images: 'B A' },
    {
      title: 'one between two late',
      deliver: [push('A', 1), push('C', 3), push('B', 2)],
      outcomes: ['moved', 'moved', 'late'],
      images: 'C B A',
    },
    { title: 'backwards', deliver: [push('C', 3), push('B', 2), push('A', 1)], outcomes: ['moved', 'late', 'late'], images: 'C B A' },
    { title: 'repeated at once', deliver: [push('A', 1), push('A', 1)], outcomes: ['moved', 'duplicate'], images: 'A' },
    {
      title: 'repeated after a move',
      deliver: [push('A', 1), push('B', 2), push('A', 1)],
      outcomes: ['moved', 'moved', 'duplicate'],
      images: 'B A',
    },
    { title: 'pushed again', deliver: [push('A', 1), push('A', 2)], outcomes: ['moved', 'unchanged'], images: 'A' },
    {
      title: 'pushed again, then something older: what came before the second push is late',
      deliver: [push('A', 1), push('A', 3), push('B', 2)],
      outcomes: ['moved', 'unchanged', 'late'],
      images: 'A B',
    },
    {
      title: 'late, but the same image as the one after it',
      deliver: [push('A', 2), push('B', 3), push('A', 1)],
      outcomes: ['moved', 'moved', 'unchanged'],
      images: 'B A',
    },
    {
      title: 'late, but the same image as the one before it',
      deliver: [push('A', 1), push('B', 3), push('A', 2)],
      outcomes: ['moved', 'moved', 'unchanged'],
      images: 'B A',
    },
    {
      title: 'two at the same time: the order of arrival counts',
      deliver: [push('A', 1), push('B', 1), push('A', 1), push('B', 1)],
      outcomes: ['moved', 'moved', 'duplicate', 'duplicate'],
      images: 'B A',
    },
    {
      title: 'another registry has its own clock',
      deliver: [push('A', 9), push('B', 1, { source: 'other' }), push('C', 2, { source: 'other' })],
      outcomes: ['moved', 'moved', 'moved'],
      images: 'C B A',
    },
    {
      title: 'late for its own registry while another one is on top: beneath its own newer entry',
      deliver: [push('A', 1), push('C', 3), push('X', 1, { source: 'other' }), push('B', 2)],
      outcomes: ['moved', 'moved', 'moved', 'late'],
      images: 'X C B A',
    },
    {
      title: 'a person moves the tag; the next push counts, a late one does not',
      deliver: [push('A', 2), byHand('M'), push('Z', 1), push('B', 3)],
      outcomes: ['moved', 'moved', 'late', 'moved'],
      images: 'B M A Z',
    },
    {
      title: 'a repeat after a person moved the tag changes nothing',
      deliver: [push('A', 1), byHand('M'), push('A', 1)],
      outcomes: ['moved', 'moved', 'duplicate'],
      images: 'M A',
    },
    {
      title: 'a push of what a person had tagged counts as told: older pushes are late, and its repeat is a repeat',
      deliver: [byHand('M'), push('M', 5), push('A', 4), byHand('N'), push('M', 5)],
      outcomes: ['moved', 'unchanged', 'late', 'moved', 'duplicate'],
      images: 'N M A',
    },
    {
      title: 'a person may go back and forth',
      deliver: [byHand('A'), byHand('B'), byHand('A')],
      outcomes: ['moved', 'moved', 'moved'],
      images: 'A B A',
    },
    {
      title: 'a known cause is a repeat, whatever else it says',
      deliver: [push('A', 1, { cause: 'c' }), push('B', 2), push('A', 3, { cause: 'c' })],
      outcomes: ['moved', 'moved', 'duplicate'],
      images: 'B A',
    },
    {
      title: 'digits below a millisecond count',
      deliver: [
        push('B', 0, { observedAt: '2026-01-01T00:00:00.123456789Z' }),
        push('A', 0, { observedAt: '2026-01-01T00:00:00.123456788Z' }),
        push('C', 0, { observedAt: '2026-01-01T00:00:00.12345679Z' }),
      ],
      outcomes: ['moved', 'late', 'moved'],
      images: 'C B A',
    },
  ])('$title', ({ deliver, outcomes, images }) => {
    const tag = new Tag();

    expect(deliver.map((observation) => tag.observe(observation).kind)).toEqual(outcomes);
    expect(tag.images).toBe(images);
  });

  it('only an observation that is not newer than what its source told needs a look at the history', () => {
    const mark = { observedAt: '2026-01-01T00:00:01Z', image: 'A', dockerImageReference: 'r/a@A' };

    expect(mayBeLate(undefined, push('A', 1))).toBe(false);
    expect(mayBeLate(mark, push('A', 2))).toBe(false);
    expect(mayBeLate(mark, push('A', 1))).toBe(true);
    expect(mayBeLate(mark, push('A', 0))).toBe(true);
    expect(mayBeLate(mark, byHand('A'))).toBe(false);
  });

  it('every outcome says why', () => {
    const tag = new Tag();
    const reasons = [
      push('A', 2, { cause: 'c' }),
      push('A', 2, { cause: 'c' }),
      push('A', 2),
      push('A', 3),
      push('B', 4),
      push('Z', 1),
      push('Z', 0),
    ];

    expect(reasons.map((observation) => tag.observe(observation).reason)).toEqual([
      'first-image',
      'known-cause',
      'same-observation',
      'same-event',
      'another-image',
      'source-is-ahead',
      'late-and-in-history',
    ]);
  });

  const deliveries = (images: fc.Arbitrary<string>) =>
    fc.uniqueArray(fc.integer({ min: 0, max: 59 }), { minLength: 1, maxLength: 12 }).chain((seconds) =>
      fc.tuple(
        fc.tuple(...[...seconds].sort((a, b) => a - b).map((second) => images.map((image) => push(image, second)))),
        fc.shuffledSubarray(
          seconds.flatMap((_, i) => [i, i]),
          { minLength: 2 * seconds.length },
        ),
      ),
    );

  it('the tag ends at the newest push, in whatever order and however often all are delivered', () => {
    fc.assert(
      fc.property(deliveries(fc.constantFrom('A', 'B', 'C')), ([pushes, order]) => {
        const tag = new Tag();
        for (const i of order) tag.observe(pushes[i] as Observation);

        expect(tag.history[0]?.event.image).toBe(pushes.at(-1)?.event.image);
        tag.images.split(' ').reduce((above, image) => (expect(image).not.toBe(above), image));
      }),
      { numRuns: 500 },
    );
  });

  it('the history of different images ends as if all had been delivered once and in order', () => {
    fc.assert(
      fc.property(deliveries(fc.uuid()), ([pushes, order]) => {
        const [inOrder, shuffled] = [new Tag(), new Tag()];
        for (const observation of pushes) inOrder.observe(observation);
        for (const i of order) shuffled.observe(pushes[i] as Observation);

        expect(shuffled.history).toEqual(inOrder.history);
      }),
      { numRuns: 500 },
    );
  });
});

describe('times as registries write them', () => {
  it.each([
    ['2026-11-21T02:44:01Z', '2026-11-21T02:44:01.000000000Z'],
    ['2026-11-21T02:44:01.5Z', '2026-11-21T02:44:01.500000000Z'],
    ['2026-11-21T02:44:01.123456789Z', '2026-11-21T02:44:01.123456789Z'],
    ['2026-11-21T02:44:01.1234567891Z', '2026-11-21T02:44:01.123456789Z'],
    ['2026-11-21t02:44:01.5z', '2026-11-21T02:44:01.500000000Z'],
    ['2026-11-21T02:44:01.000000001+02:00', '2026-11-21T00:44:01.000000001Z'],
    ['2026-01-01T00:30:00+0100', '2025-12-31T23:30:00.000000000Z'],
    ['2026-11-21T23:44:01-08:00', '2026-11-22T07:44:01.000000000Z'],
  ])('%s is %s', (instant, sortable) => {
    expect(sortableInstant(instant)).toBe(sortable);
    expect(compareInstants(instant, sortable)).toBe(0);
  });

  it.each(['', 'yesterday', '2026-11-21', '2026-11-21T02:44:01', '2026-11-21T02:44Z', '1763693041', '2026-13-41T02:44:01+01:00'])(
    '%j is refused',
    (text) => {
      expect(() => sortableInstant(text)).toThrow(InvalidInstant);
    },
  );

  it('are compared exactly, across offsets and numbers of digits', () => {
    const order = [
      '2026-11-21T02:44:00.999999999Z',
      '2026-11-21T02:44:01Z',
      '2026-11-21T03:44:01.000000001+01:00',
      '2026-11-21T02:44:01.1Z',
      '2026-11-21T02:44:01.10000001Z',
      '2026-11-21T02:44:01.11Z',
    ];
    for (const [i, a] of order.entries())
      for (const [j, b] of order.entries()) expect(Math.sign(compareInstants(a, b))).toBe(Math.sign(i - j));
  });
});
