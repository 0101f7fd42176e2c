import { describe, expect, it } from 'vitest';
import { ImageStreams, type Resource, Secrets } from '@millrace/contracts/resources';
import { mayPatch, shownToWriter } from './confidential.ts';
import type { Outcome } from './objects.ts';

const admin = { name: 'admin', groups: ['system:masters'] };
const writer = { name: 'ci', groups: ['system:authenticated'] };
const target = (resource: Resource, name?: string) => ({ resource, verb: 'create' as const, namespace: 'demo', name, kind: resource.kind });

const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
const secret = {
  kind: 'Secret',
  apiVersion: 'v1',
  metadata: { name: 's', annotations: { [LAST_APPLIED]: 'hunter2', note: 'x' } },
  type: 'Opaque',
  data: { password: 'hunter2' },
};
const shown = { kind: 'Secret', apiVersion: 'v1', metadata: { name: 's', annotations: { note: 'x' } }, type: 'Opaque' };
const outcome = (content: Outcome['content']): Outcome => ({ code: 200, warnings: [], content });

describe('who writes a secret and may not read it', () => {
  it.each([
    ['is shown that it is there', outcome({ kind: 'object', object: secret }), outcome({ kind: 'object', object: shown })],
    [
      'is shown which were deleted',
      outcome({ kind: 'list', items: [secret], metadata: { resourceVersion: '1' } }),
      outcome({ kind: 'list', items: [shown], metadata: { resourceVersion: '1' } }),
    ],
    [
      'is shown a Status as it is',
      outcome({ kind: 'object', object: { kind: 'Status', details: { name: 's' } } }),
      outcome({ kind: 'object', object: { kind: 'Status', details: { name: 's' } } }),
    ],
  ])('%s', (_title, answered, expected) => {
    const told = shownToWriter(answered, target(Secrets, 's'), writer);

    expect(told).toEqual(expected);
    expect(JSON.stringify(told)).not.toContain('hunter2');
  });

  it('may not patch it: whether a patch applies tells what is there', () => {
    expect(() => mayPatch(target(Secrets, 's'), writer)).toThrow(
      'secrets "s" is forbidden: User "ci" cannot get resource "secrets" in API group "" in the namespace "demo"',
    );
  });
});

describe('nothing is withheld', () => {
  it.each([
    ['from who may read', target(Secrets, 's'), admin],
    ['of other kinds', target(ImageStreams, 's'), writer],
  ])('%s', (_title, at, user) => {
    const answered = outcome({ kind: 'object', object: secret });

    expect(shownToWriter(answered, at, user)).toBe(answered);
    expect(() => mayPatch(at, user)).not.toThrow();
  });
});
