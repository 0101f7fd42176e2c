import { describe, expect, it } from 'vitest';
import { requestedProject, reservedProject, validateNamespace, validateProject, validateProjectUpdate } from './namespace.ts';
import type { FieldError } from './status.ts';

const texts = (errors: FieldError[]) => errors.map((error) => `${error.field}: ${error.text}`);
const DISPLAY_NAME = 'openshift.io/display-name';

describe('a namespace', () => {
  it.each([
    ['team', []],
    ['a', []],
    ['', ['metadata.name: Required value: name or generateName is required']],
    ['No_Name', [expect.stringContaining('metadata.name: Invalid value: "No_Name": a lowercase RFC 1123 label must consist of')]],
    ['x'.repeat(64), [expect.stringContaining('must be no more than 63 characters')]],
  ])('named %j has these errors', (name, wanted) => {
    expect(texts(validateNamespace({ name }))).toEqual(wanted);
  });

  it('has labels that are well-formed', () => {
    expect(texts(validateNamespace({ name: 'team', labels: { 'a b': 'c' } }))).toEqual([expect.stringContaining('metadata.labels')]);
  });
});

describe('a project', () => {
  it.each([
    [{ name: 'team', annotations: { [DISPLAY_NAME]: 'The Team' } }, []],
    [{ name: 'a' }, ['metadata.name: Invalid value: "a": must be at least 2 characters long']],
    [{ name: 'a/b' }, [`metadata.name: Invalid value: "a/b": may not contain '/'`]],
    [{}, ['metadata.name: Required value: name or generateName is required']],
    [
      { name: 'team', annotations: { [DISPLAY_NAME]: 'a\nb' } },
      [`metadata.annotations[${DISPLAY_NAME}]: Invalid value: "a\\nb": may not contain a new line or tab`],
    ],
  ])('%j has these errors', (metadata, wanted) => {
    expect(texts(validateProject(metadata))).toEqual(wanted);
  });

  it('changes in display name and description only', () => {
    const old = { name: 'team', labels: { a: 'b', gone: 'x' }, annotations: { [DISPLAY_NAME]: 'old', other: 'x' } };
    const immutable = 'field is immutable, try updating the namespace';

    expect(validateProjectUpdate(old, { ...old, annotations: { 'openshift.io/description': 'd', other: 'x' } })).toEqual([]);
    expect(texts(validateProjectUpdate(old, { name: 'team', labels: { a: 'c', new: 'y' } }))).toEqual([
      `metadata.annotations[other]: Invalid value: "x": ${immutable}`,
      `metadata.labels[a]: Invalid value: "c": ${immutable}`,
      `metadata.labels[new]: Invalid value: "y": ${immutable}`,
      `metadata.labels[gone]: Invalid value: "x": ${immutable}`,
    ]);
  });

  it('that is asked for says who asked', () => {
    expect(requestedProject({ metadata: { name: 'team', labels: { a: 'b' } }, displayName: 'The Team' }, 'ann')).toEqual({
      name: 'team',
      annotations: { 'openshift.io/description': '', [DISPLAY_NAME]: 'The Team', 'openshift.io/requester': 'ann' },
    });
  });

  it.each([
    ['team', undefined],
    ['kubernetic', undefined],
    ['kube', 'project.project.openshift.io "kube" is forbidden: cannot request a project with the name "kube"'],
    ['openshift-x', 'project.project.openshift.io "openshift-x" is forbidden: cannot request a project starting with "openshift-"'],
  ])('named %j: whether one may ask for it', (name, message) => {
    expect(reservedProject(name)?.message).toBe(message);
  });
});
