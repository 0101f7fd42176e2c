import { Secrets } from '@millrace/contracts/resources';
import { decideAccess, type Identity } from '@millrace/domain/access';
import { withoutContent, type Secret } from '@millrace/domain/secret';
import { StatusError } from '@millrace/domain/status';
import type { Outcome } from './objects.ts';
import { forbiddenFor, type Target } from './protocol.ts';

/* Secrets are written by some who may not read them: what they are answered shows nothing that they have not sent. */

/** Refuses to change a part of a secret where its rest may not be read: whether a patch applies tells what is there. Throws {@link StatusError}. */
export function mayPatch(target: Target, user: Identity): void {
  if (!isSecret(target) || reads(user, target)) return;
  const { resource, namespace, name } = target;
  const { group, version, resource: plural } = resource;
  const path = { kind: 'objects' as const, group, version, resource: plural, namespace, name, watch: false };
  throw new StatusError(forbiddenFor(user.name, { path, verb: 'get', query: new URLSearchParams() }));
}

/** What a writer is shown of the outcome: of secrets that he may not read only that they are there. */
export function shownToWriter(outcome: Outcome, target: Target, user: Identity): Outcome {
  const { content } = outcome;
  if (!isSecret(target) || reads(user, target)) return outcome;
  switch (content.kind) {
    case 'object':
      return { ...outcome, content: { kind: 'object', object: withheld(content.object) } };
    case 'list':
      return { ...outcome, content: { ...content, items: content.items.map(withheld) } };
    default:
      throw new Error('a write is answered with objects, which can be looked into');
  }
}

const isSecret = ({ resource }: Target): boolean => resource === Secrets;

const reads = (user: Identity, { resource: { group, resource }, namespace, name }: Target): boolean =>
  decideAccess(user, { kind: 'resource', verb: name === undefined ? 'list' : 'get', group, resource, namespace, name }).allowed;

const withheld = (object: Record<string, unknown>): Record<string, unknown> =>
  object['kind'] === 'Status' ? object : withoutContent(object as Secret);
