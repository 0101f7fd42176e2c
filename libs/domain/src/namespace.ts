import { z } from 'zod';
import { validateLabels } from './labels.ts';
import { ObjectMeta, optional } from './object-meta.ts';
import { type FieldError, forbidden, invalidValue, required, type Status } from './status.ts';
import { namespaceProblems, pathSegmentProblems } from './stream-names.ts';

export const PROJECT_GROUP = 'project.openshift.io';

/** A namespace, and a project, which is the same seen by OpenShift's clients. What a client says of spec and status is not kept. */
export const NamespaceObject = z.object({
  kind: z.string().optional(),
  apiVersion: z.string().optional(),
  metadata: ObjectMeta.default({} as ObjectMeta),
  spec: optional(z.object({ finalizers: optional(z.array(z.string())) })),
  status: optional(z.object({ phase: optional(z.string()) })),
});
export type NamespaceObject = z.infer<typeof NamespaceObject>;

/** What `oc new-project` posts. */
export const ProjectRequest = z.object({
  kind: z.string().optional(),
  apiVersion: z.string().optional(),
  metadata: ObjectMeta.default({} as ObjectMeta),
  displayName: optional(z.string()),
  description: optional(z.string()),
});
export type ProjectRequest = z.infer<typeof ProjectRequest>;

/** The label that every namespace has, with its name. */
export const NAME_LABEL = 'kubernetes.io/metadata.name';
const DISPLAY_NAME = 'openshift.io/display-name';
const DESCRIPTION = 'openshift.io/description';
const REQUESTER = 'openshift.io/requester';

/** The namespace that is always there. */
export const DEFAULT_NAMESPACE = 'default';

/** Field errors of a namespace, in Kubernetes' words. */
export function validateNamespace(metadata: ObjectMeta): FieldError[] {
  const { name = '' } = metadata;
  if (!name) return [required('metadata.name', 'name or generateName is required')];
  return [...namespaceProblems(name).map((problem) => invalidValue('metadata.name', name, problem)), ...validateLabels(metadata)];
}

/** Field errors of a project: stricter than those of a namespace. */
export function validateProject(metadata: ObjectMeta): FieldError[] {
  const { name = '', annotations = {} } = metadata;
  const problems = name ? projectNameProblems(name) : [];
  const errors = problems.length ? problems.map((problem) => invalidValue('metadata.name', name, problem)) : validateNamespace(metadata);
  const display = annotations[DISPLAY_NAME] ?? '';
  if (/[\n\t]/.test(display))
    errors.push(invalidValue(`metadata.annotations[${DISPLAY_NAME}]`, display, 'may not contain a new line or tab'));
  return errors;
}

function projectNameProblems(name: string): string[] {
  const problems = pathSegmentProblems(name);
  return problems.length || name.length > 1 ? problems : ['must be at least 2 characters long'];
}

/** Field errors of a changed project: of it, display name and description may change; everything else belongs to the namespace. */
export function validateProjectUpdate(old: ObjectMeta, wanted: ObjectMeta): FieldError[] {
  const errors = validateProject(wanted);
  for (const part of ['annotations', 'labels'] as const) {
    const [before = {}, after = {}] = [old[part], wanted[part]];
    for (const key of new Set([...Object.keys(after), ...Object.keys(before)]))
      if (after[key] !== before[key] && !(part === 'annotations' && (key === DISPLAY_NAME || key === DESCRIPTION)))
        errors.push(invalidValue(`metadata.${part}[${key}]`, after[key] ?? before[key], 'field is immutable, try updating the namespace'));
  }
  return errors;
}

/** Metadata of the project that somebody asks for. */
export function requestedProject({ metadata, displayName = '', description = '' }: ProjectRequest, requester: string): ObjectMeta {
  return { name: metadata.name, annotations: { [DESCRIPTION]: description, [DISPLAY_NAME]: displayName, [REQUESTER]: requester } };
}

const RESERVED = ['openshift', 'kubernetes', 'kube'];

/** Why nobody may ask for a project of this name; undefined where one may. */
export function reservedProject(name: string): Status | undefined {
  const of = { group: PROJECT_GROUP, resource: 'project' };
  if (RESERVED.includes(name)) return forbidden(of, name, `cannot request a project with the name ${JSON.stringify(name)}`);
  const prefix = RESERVED.map((one) => `${one}-`).find((one) => name.startsWith(one));
  return prefix ? forbidden(of, name, `cannot request a project starting with ${JSON.stringify(prefix)}`) : undefined;
}
