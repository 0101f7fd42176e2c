import { z } from 'zod';
import { subdomainProblems, validateLabels } from './labels.ts';
import { ObjectMeta, optional } from './object-meta.ts';
import { type FieldError, invalidValue, required } from './status.ts';

/** A secret of a namespace: what registries are pulled from with, and whatever else clients keep. `data` is base64, `stringData` goes into it. */
export const Secret = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta.default({} as ObjectMeta),
    data: optional(z.record(z.string(), z.base64())),
    stringData: optional(z.record(z.string(), z.string())),
    type: optional(z.string()),
  })
  .meta({ id: 'Secret' });
export type Secret = z.infer<typeof Secret>;

/** The secrets of a namespace that images are pulled with, as imagestreams/secrets answers them. */
export const SecretList = z.object({
  kind: z.string().optional(),
  apiVersion: z.string().optional(),
  metadata: z.object({ resourceVersion: optional(z.string()) }).optional(),
  items: z.array(Secret),
});

/** A secret whose data are read: what is in it, by key. */
export interface OpenSecret {
  metadata: ObjectMeta;
  type: string;
  texts: ReadonlyMap<string, string>;
}

export const OPAQUE = 'Opaque';
/** The one key that a secret for pulling has, by its type. */
const PULL_KEYS: Record<string, string> = {
  'kubernetes.io/dockercfg': '.dockercfg',
  'kubernetes.io/dockerconfigjson': '.dockerconfigjson',
};
/** Annotation of a secret that is not used to pull images. */
const EXCLUDED = 'openshift.io/image.excludeSecret';

export const isExcluded = ({ metadata }: Pick<Secret, 'metadata'>): boolean => metadata.annotations?.[EXCLUDED] === 'true';

/** Whether images of the secret's namespace are pulled with it. */
export const isPullSecret = (secret: Pick<Secret, 'metadata' | 'type'>): boolean =>
  Object.hasOwn(PULL_KEYS, secret.type ?? '') && !isExcluded(secret);

const KEY = '[-._a-zA-Z0-9]+';
const KEY_PATTERN = new RegExp(`^${KEY}$`);
const KEY_LENGTH_MAX = 253;
const KEY_WORDS =
  "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for " +
  `validation is '${KEY}')`;
const DATA_LENGTH_MAX = 1024 * 1024;
/** What an error shows instead of what is secret. */
const REDACTED = '<secret contents redacted>';

/** Field errors of a secret, in Kubernetes' words; they never hold what is in it. `old` is what it is to replace. */
export function validateSecret({ metadata, type, texts }: OpenSecret, old?: { type: string }): FieldError[] {
  const { name = '' } = metadata;
  const errors = name
    ? subdomainProblems(name).map((problem) => invalidValue('metadata.name', name, problem))
    : [required('metadata.name', 'name or generateName is required')];
  errors.push(...validateLabels(metadata));
  let length = 0;
  for (const [key, text] of texts) {
    errors.push(...keyProblems(key).map((problem) => invalidValue(`data[${key}]`, key, problem)));
    length += text.length;
  }
  if (length > DATA_LENGTH_MAX)
    errors.push({ reason: 'FieldValueTooLong', field: 'data', text: `Too long: may not be more than ${DATA_LENGTH_MAX} bytes` });
  const key = Object.hasOwn(PULL_KEYS, type) ? PULL_KEYS[type] : undefined;
  if (key !== undefined) errors.push(...pullErrors(`data[${key}]`, texts.get(key)));
  if (old && old.type !== type) errors.push(invalidValue('type', type, 'field is immutable'));
  return errors;
}

function keyProblems(key: string): string[] {
  const problems = key.length > KEY_LENGTH_MAX ? [`must be no more than ${KEY_LENGTH_MAX} characters`] : [];
  if (!KEY_PATTERN.test(key)) problems.push(KEY_WORDS);
  if (key === '.') problems.push(`must not be '.'`);
  else if (key.startsWith('..')) problems.push(key === '..' ? `must not be '..'` : `must not start with '..'`);
  return problems;
}

function pullErrors(field: string, text: string | undefined): FieldError[] {
  if (text === undefined) return [required(field)];
  try {
    const value: unknown = JSON.parse(text);
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return [];
  } catch {
    // told below: the words of the parser would repeat a part of the secret
  }
  return [invalidValue(field, REDACTED, 'must be a JSON object')];
}
