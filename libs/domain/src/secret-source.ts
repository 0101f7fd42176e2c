import { z } from 'zod';
import { subdomainProblems } from './labels.ts';
import { optional } from './object-meta.ts';
import { type FieldError, invalidValue, required } from './status.ts';

/** Where a value stands that nobody writes into an object: a key of a `v1` Secret of the object's own namespace. */
export const SecretSource = z
  .object({
    secretKeyRef: optional(
      z.object({
        name: optional(z.string()).describe('Name of the Secret, in the same namespace'),
        key: optional(z.string()).describe('Key of its data'),
      }),
    ).describe('The key of a Secret'),
  })
  .meta({ id: 'SecretSource', description: 'A value that stands in a Secret of the same namespace.' });
export type SecretSource = z.infer<typeof SecretSource>;

export interface SecretKey {
  name: string;
  key: string;
}

/** `name/key`: neither holds a slash. */
export const secretKeyText = ({ name, key }: SecretKey): string => `${name}/${key}`;

/** The key that a valid source names. */
export const secretKeyOf = ({ secretKeyRef: { name = '', key = '' } = {} }: SecretSource): SecretKey => ({ name, key });

export function validateSource({ secretKeyRef }: SecretSource, path: string): FieldError[] {
  if (!secretKeyRef) return [required(`${path}.secretKeyRef`, 'name and key of a Secret in the same namespace')];
  const { name = '', key = '' } = secretKeyRef;
  const errors: FieldError[] = [];
  if (!name) errors.push(required(`${path}.secretKeyRef.name`));
  else errors.push(...subdomainProblems(name).map((problem) => invalidValue(`${path}.secretKeyRef.name`, name, problem)));
  if (!key) errors.push(required(`${path}.secretKeyRef.key`));
  else if (key.length > 253 || !/^[-._a-zA-Z0-9]+$/.test(key))
    errors.push(invalidValue(`${path}.secretKeyRef.key`, key, "must be up to 253 letters, digits, '-', '_' or '.'"));
  return errors;
}
