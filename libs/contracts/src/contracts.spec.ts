import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { namedSchemas } from './async-document.ts';
import { fromToken, toToken, type EventContract } from './define.ts';
import { events } from './events.ts';
import { ExplainTag, PullSecrets, requests, SecretValues } from './requests.ts';
import { resources } from './resources.ts';

interface Shape {
  properties: Record<string, unknown>;
  required?: string[];
}

const shapeOf = (event: EventContract): Shape => namedSchemas([event.data], (id) => id)[event.data.meta()?.id as string] as Shape;

const example = (event: EventContract): Record<string, unknown> =>
  JSON.parse(readFileSync(new URL(`../examples/${event.name}.v1.json`, import.meta.url), 'utf8')) as Record<string, unknown>;

describe.each(events.map((event) => [event.name, event] as [string, EventContract]))('%s', (_name, event) => {
  it('has an example that parses', () => {
    expect(event.data.safeParse(example(event)).error).toBeUndefined();
  });

  it('has a subject of the grammar, under its own prefix', () => {
    const subject = event.subjectOf(event.data.parse(example(event)));

    expect(subject).toMatch(/^millrace\.v1\.[a-z]+\.[a-z]+(\.[^.*>\s]+)+$/);
    expect(subject.startsWith(`${event.subject}.`)).toBe(true);
    expect(subject.split('.')).toHaveLength(event.subject.split('.').length + event.parameters.length);
  });

  it('has no top-level field that a CloudEvents or Nest deserializer takes for its envelope', () => {
    const fields = Object.keys(shapeOf(event).properties);

    expect(fields).not.toContain('data');
    expect(fields).not.toContain('pattern');
  });

  it('has the fields that its committed shape names: a version only grows by optional ones', async () => {
    const { properties, required } = shapeOf(event);

    await expect(JSON.stringify({ fields: Object.keys(properties), required: required ?? [] }, null, 2) + '\n').toMatchFileSnapshot(
      `../examples/${event.name}.v1.shape.json`,
    );
  });
});

describe('tokens of subjects', () => {
  it.each([
    ['3.5', '3~5'],
    ['latest', 'latest'],
    ['a_b-c', 'a_b-c'],
    ['we ird/na:me', 'we%20ird%2Fna%3Ame'],
    ['a~b', 'a%7Eb'],
    ['*', '%2A'],
    ['>', '%3E'],
    ['', '%00'],
  ])('%j is written %j and read back', (text, token) => {
    expect(toToken(text)).toBe(token);
    expect(fromToken(token)).toBe(text);
  });
});

describe('requests and resources', () => {
  it.each([PullSecrets, SecretValues, ExplainTag])('$name has an example whose question and answer parse', (request) => {
    const { question, answer } = JSON.parse(
      readFileSync(new URL(`../examples/${request.name}.v1.json`, import.meta.url), 'utf8'),
    ) as Record<string, unknown>;

    expect(request.question.parse(question)).toEqual(question);
    expect(request.answer.parse(answer)).toEqual(answer);
  });

  it('each request has a subject of its own', () => {
    expect(new Set(requests.map((request) => request.subject)).size).toBe(requests.length);
  });

  it('no event stream captures a request', () => {
    for (const request of requests) for (const event of events) expect(request.subject.startsWith(event.wildcard.slice(0, -1))).toBe(false);
  });

  it('names and kinds of resources are unique within a group', () => {
    const names = resources.map((r) => `${r.group}/${r.resource}`);

    expect(new Set(names).size).toBe(names.length);
  });
});
