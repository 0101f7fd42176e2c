import { describe, expect, it } from 'vitest';
import { applyConflict, applyFields, updateFields, type ManagedFields } from './field-ownership.ts';

type Json = Record<string, unknown>;

const APPLY = { apiVersion: 'image.openshift.io/v1', now: '2026-11-21T01:00:00Z' };
const tag = (name: string, from?: string) => ({ name, ...(from ? { from: { kind: 'DockerImage', name: from } } : {}) });
const stream = (tags: object[], more: Json = {}) => ({ kind: 'ImageStream', metadata: { name: 's', ...more }, spec: { tags } });

function applied(live: Json, configuration: Json, manager = 'a', force = false): Json {
  const outcome = applyFields(live, configuration, { ...APPLY, manager }, force);
  if (outcome.kind !== 'applied') throw new Error(applyConflict(outcome.conflicts).message);
  return outcome.object;
}
const tagsOf = (object: Json) => (object['spec'] as { tags: { name: string }[] }).tags.map(({ name }) => name);
const managedOf = (object: Json) => (object['metadata'] as { managedFields: ManagedFields[] }).managedFields;

describe('server-side apply', () => {
  it('of as many tags as a body can hold takes time by their number, not by its square', () => {
    const many = (from: number) => stream(Array.from({ length: 10_000 }, (_, i) => tag(`t${from + i}`, 'e.io/a')));

    const first = applied({}, many(0));
    const moved = applied(first, many(5_000));
    const taken = applied(moved, many(10_000), 'b');

    expect(tagsOf(moved)).toHaveLength(10_000);
    expect(tagsOf(taken)).toHaveLength(15_000);
    expect(tagsOf(applied(taken, stream([])))).toHaveLength(10_000);
  });

  it('owns what it names, item by item', () => {
    expect(managedOf(applied({}, stream([tag('v1', 'e.io/a')], { labels: { x: 'y' } })))).toEqual([
      {
        manager: 'a',
        operation: 'Apply',
        apiVersion: 'image.openshift.io/v1',
        time: APPLY.now,
        fieldsType: 'FieldsV1',
        fieldsV1: {
          'f:metadata': { 'f:labels': { 'f:x': {} } },
          'f:spec': { 'f:tags': { 'k:{"name":"v1"}': { '.': {}, 'f:name': {}, 'f:from': {} } } },
        },
      },
    ]);
  });

  it('takes out what a manager applied and leaves out now, and nothing that another one owns or that was filled in', () => {
    const first = applied({}, stream([tag('v1', 'e.io/a'), tag('v2')], { labels: { x: 'y' } }));
    const both = applied(first, stream([tag('v2')]), 'b');
    (both['spec'] as { tags: Json[] }).tags[0]!['generation'] = 1;

    const next = applied(both, stream([]));

    expect(tagsOf(next)).toEqual(['v2']);
    expect(next).toMatchObject({ metadata: { labels: {} } });
  });

  it.each([
    ['the same value', 'e.io/a', undefined],
    ['another value', 'e.io/b', 'Apply failed with 1 conflict: conflict with "a": .spec.tags[name="v1"].from'],
  ])('of a field that somebody applied, with %s', (_, from, message) => {
    const live = applied({}, stream([tag('v1', 'e.io/a')]));
    const outcome = applyFields(live, stream([tag('v1', from)]), { ...APPLY, manager: 'b' }, false);

    expect(outcome.kind === 'conflicts' ? applyConflict(outcome.conflicts).message : undefined).toBe(message);
  });

  it('by force takes a field over, and its former owner leaves it alone', () => {
    const live = applied({}, stream([tag('v1', 'e.io/a')]));
    const taken = applied(live, stream([tag('v1', 'e.io/b')]), 'b', true);

    expect(managedOf(taken).find(({ manager }) => manager === 'a')?.fieldsV1).not.toHaveProperty([
      'f:spec',
      'f:tags',
      'k:{"name":"v1"}',
      'f:from',
    ]);
    expect(applied(taken, stream([tag('v1')]))).toMatchObject({ spec: { tags: [tag('v1', 'e.io/b')] } });
  });

  it('of an object that nobody kept count of meets an owner of everything', () => {
    const outcome = applyFields(stream([tag('v1', 'e.io/a')]), stream([tag('v1', 'e.io/b'), tag('v2')]), { ...APPLY, manager: 'b' }, false);

    expect(outcome.kind === 'conflicts' && applyConflict(outcome.conflicts)).toMatchObject({
      code: 409,
      reason: 'Conflict',
      message: 'Apply failed with 1 conflict: conflict with "before-first-apply" using image.openshift.io/v1: .spec.tags[name="v1"].from',
      details: {
        causes: [
          {
            reason: 'FieldManagerConflict',
            field: '.spec.tags[name="v1"].from',
            message: 'conflict with "before-first-apply" using image.openshift.io/v1',
          },
        ],
      },
    });
  });

  it('by kubectl goes on from what kubectl applied on its own side, and keeps that record', () => {
    const annotation = 'kubectl.kubernetes.io/last-applied-configuration';
    const live = stream([tag('v1', 'e.io/a')], { annotations: { [annotation]: JSON.stringify(stream([tag('v1', 'e.io/a')])) } });

    const next = applied(live, stream([tag('v1', 'e.io/b')]), 'kubectl');

    expect((next['metadata'] as { annotations: Record<string, string> }).annotations[annotation]).toBe(
      `{"kind":"ImageStream","metadata":{"name":"s"},"spec":{"tags":[{"from":{"kind":"DockerImage","name":"e.io/b"},"name":"v1"}]}}\n`,
    );
  });

  it.each([
    [[{ reference: true }], '.spec.tags: element 0: associative list with keys has an element that omits key field "name"'],
    [[tag('v1'), tag('v1')], '.spec.tags: duplicate entries for key [name="v1"]'],
  ])('of items without a name of their own is refused: %j', (tags, message) => {
    expect(() => applied({}, stream(tags))).toThrow(message);
  });
});

describe('an update', () => {
  const update = (live: Json, next: Json) => updateFields(live, next, { ...APPLY, manager: 'editor' });

  it('is not counted before the first apply', () => {
    const next = stream([tag('v2')]);

    expect(update(stream([tag('v1')]), next)).toBe(next);
  });

  it('owns what it changes, and takes it from who applied it', () => {
    const live = applied({}, stream([tag('v1', 'e.io/a'), tag('v2')]));

    const managed = managedOf(update(live, stream([tag('v1', 'e.io/b')])));

    expect(managed).toMatchObject([
      { manager: 'a', fieldsV1: { 'f:spec': { 'f:tags': { 'k:{"name":"v1"}': { '.': {}, 'f:name': {} } } } } },
      { manager: 'editor', operation: 'Update', fieldsV1: { 'f:spec': { 'f:tags': { 'k:{"name":"v1"}': { 'f:from': {} } } } } },
    ]);
    expect(JSON.stringify(managed)).not.toContain('v2');
  });

  it.each([[[]], [[{}]]])('with managedFields %j ends the count', (managedFields) => {
    const live = applied({}, stream([tag('v1')]));

    expect(managedOf(update(live, stream([tag('v1')], { managedFields })))).toEqual([]);
  });

  it('may set the owners itself, and what is no field of theirs is dropped', () => {
    const managedFields = [{ manager: 'm', operation: 'Apply', fieldsV1: { 'f:spec': { 'k:oops': {}, odd: {}, 'f:tags': {} } } }];

    expect(managedOf(update(stream([]), stream([], { managedFields })))[0]?.fieldsV1).toEqual({ 'f:spec': { 'f:tags': {} } });
  });
});
