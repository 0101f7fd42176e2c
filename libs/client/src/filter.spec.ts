import { describe, expect, it } from 'vitest';
import { ClientError } from './errors.ts';
import { type EventFilter, filterFor, selectionOf } from './filter.ts';

describe('the subjects of a filter', () => {
  it.each<[EventFilter, string[]]>([
    [{ events: ['tag.moved'] }, ['millrace.v1.tag.moved.*.*.*']],
    [{ events: ['tag.moved'], namespace: 'demo', stream: 'python', tag: '3.5' }, ['millrace.v1.tag.moved.demo.python.3~5']],
    [
      { events: ['build.triggered', 'image.created'], namespace: 'a*b' },
      ['millrace.v1.build.triggered.a%2Ab.*.*.*', 'millrace.v1.image.created.a%2Ab.*.*'],
    ],
    [
      { trigger: 'demo/deployments.apps/web' },
      ['build', 'deploy'].map((kind) => `millrace.v1.${kind}.triggered.*.*.*.demo%2Fdeployments~apps%2Fweb`),
    ],
  ])('%j are %j', (filter, subjects) => {
    expect(selectionOf(filter).subjects).toEqual(subjects);
  });

  it.each([
    [1, '2.9.10', { filter_subject: 'millrace.v1.tag.moved.*.*.*' }],
    [2, '2.9.10', {}],
    [2, '2.10.0', { filter_subjects: ['millrace.v1.tag.moved.*.*.*', 'millrace.v1.image.created.*.*.*'] }],
    [2, '3.0.0-beta', { filter_subjects: ['millrace.v1.tag.moved.*.*.*', 'millrace.v1.image.created.*.*.*'] }],
    [2, '', {}],
  ])('%i of them are put to a server %j as %j', (count, version, given) => {
    const events = (['tag.moved', 'image.created'] as const).slice(0, count);

    expect(filterFor(selectionOf({ events }), version)).toEqual(given);
  });
});

describe('what a filter wants', () => {
  const subject = 'millrace.v1.build.triggered.demo.web.latest.demo%2Fweb';

  it.each<[EventFilter, string, boolean]>([
    [{ events: ['build.triggered'] }, subject, true],
    [{ events: ['build.triggered', 'tag.moved'] }, subject, true],
    [{ events: ['deploy.triggered', 'tag.moved'] }, subject, false],
    [{ stream: 'web' }, subject, true],
    [{ stream: 'other' }, subject, false],
    [{}, 'millrace.v1.repository.pushed.docker~io.library%2Fruby', false],
    [{}, 'millrace.v2.build.triggered.demo.web.latest.demo%2Fweb', false],
  ])('%j and %s: %s', (filter, told, wanted) => {
    expect(selectionOf(filter).wants(told)).toBe(wanted);
  });
});

describe('a filter that makes no sense is refused, with what is wrong', () => {
  it.each<[object, RegExp]>([
    [{ events: [] }, /events/],
    [{ events: ['tag.moves'] }, /events\[0\]/],
    [{ trigger: 'web' }, /must be <namespace>\/<name>/],
    [{ events: ['tag.moved'], trigger: 'demo/web' }, /tag\.moved is about no trigger/],
    [{ namespace: '' }, /namespace/],
    [{ names: 'demo' }, /names/],
  ])('%j', (filter, message) => {
    expect(() => selectionOf(filter)).toThrow(message);
    expect(() => selectionOf(filter)).toThrow(ClientError);
  });
});
