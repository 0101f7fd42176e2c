import { z } from 'zod';
import { subdomainProblems, validateLabels } from './labels.ts';
import { ObjectMeta, ObjectReference, optional } from './object-meta.ts';
import { type FieldError, invalidValue, required } from './status.ts';

/** Who pods of a namespace run as, for clients that link secrets to it. An import takes every secret of its namespace, linked or not. */
export const ServiceAccount = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta.default({} as ObjectMeta),
    secrets: optional(z.array(ObjectReference)).describe('Secrets that pods of the account may use, as linked for mounting.'),
    imagePullSecrets: optional(z.array(z.object({ name: optional(z.string()) }))).describe('Secrets that are linked for pulling images.'),
    automountServiceAccountToken: optional(z.boolean()).describe('Whether pods of the account get a token. Kept, not used.'),
  })
  .meta({ id: 'ServiceAccount' });
export type ServiceAccount = z.infer<typeof ServiceAccount>;

/** Those that every namespace has, as on OpenShift. */
export const GIVEN_ACCOUNTS: readonly string[] = ['builder', 'default', 'deployer'];

/** Field errors of a service account, in Kubernetes' words. */
export function validateServiceAccount({ metadata }: Pick<ServiceAccount, 'metadata'>): FieldError[] {
  const { name = '' } = metadata;
  if (!name) return [required('metadata.name', 'name or generateName is required')];
  return [...subdomainProblems(name).map((problem) => invalidValue('metadata.name', name, problem)), ...validateLabels(metadata)];
}
