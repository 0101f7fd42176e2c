import { Explanations, Namespaces, Projects, type Resource, resources } from '@millrace/contracts/resources';
import type { Identity } from '@millrace/domain/access';
import { StatusError } from '@millrace/domain/status';
import type { Objects } from './objects.ts';

/*
 * What several services have to do with one namespace. Its owner knows of what lies in its own room; where another service gets an object, the
 * namespace is made, and when it is deleted, what the others hold of it goes too.
 */

type Asker = Pick<Objects, 'ask'>;

/** Namespaces, and projects, which are the same. */
export const isNamespace = (resource: Resource): boolean => resource === Namespaces || resource === Projects;

const elsewhere = resources.filter(({ namespaced, owner, verbs }) => {
  return namespaced && owner !== Namespaces.owner && verbs.includes('deletecollection');
});

/**
 * Makes the namespace of an object that another service has got, unless it is there. What refuses that, or cannot answer now, takes nothing from the
 * object: its namespace is missing in a list until the next one.
 */
export async function makeNamespace(objects: Asker, target: { resource: Resource; namespace?: string }, user: Identity): Promise<void> {
  // An explanation leaves nothing behind.
  if (target.namespace === undefined || target.resource.owner === Namespaces.owner || target.resource === Explanations) return;
  const object = { metadata: { name: target.namespace } };
  try {
    await objects.ask(Namespaces, { verb: 'create', resource: Namespaces.resource, object, dryRun: false, user }, 'object');
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
  }
}

/** Deletes what other services hold of a namespace that is about to be deleted. */
export async function emptyNamespace(objects: Asker, namespace: string, user: Identity): Promise<void> {
  for (const one of elsewhere)
    await objects.ask(one, { verb: 'deletecollection', resource: one.resource, namespace, dryRun: false, user }, 'list');
}
