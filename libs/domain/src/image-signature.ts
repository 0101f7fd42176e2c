import { z } from 'zod';
import { ObjectMeta, optional } from './object-meta.ts';
import { type FieldError, forbiddenField, invalidValue, required } from './status.ts';
import { pathSegmentProblems } from './stream-names.ts';

export const SignatureCondition = z
  .object({
    type: z.string().default(''),
    status: z.string().default(''),
    lastProbeTime: z.string().nullish(),
    lastTransitionTime: z.string().nullish(),
    reason: optional(z.string()),
    message: optional(z.string()),
  })
  .meta({ id: 'SignatureCondition' });
export type SignatureCondition = z.infer<typeof SignatureCondition>;

const Issuer = { organization: optional(z.string()), commonName: optional(z.string()) };

/** A signature of an image, kept with it; `metadata.name` is `image@signature`, `content` base64. */
export const ImageSignature = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta.default({} as ObjectMeta),
    type: z.string().default(''),
    content: z.base64().default(''),
    conditions: optional(z.array(SignatureCondition)),
    imageIdentity: optional(z.string()),
    signedClaims: optional(z.record(z.string(), z.string())),
    created: optional(z.string()),
    issuedBy: optional(z.object(Issuer)),
    issuedTo: optional(z.object({ ...Issuer, publicKeyID: optional(z.string()) })),
  })
  .meta({ id: 'ImageSignature' });
export type ImageSignature = z.infer<typeof ImageSignature>;

/** The image and the signature that `image@signature` names; undefined where it is not of that form. */
export function parseSignatureName(name: string): { image: string; signature: string } | undefined {
  const [image, signature, ...more] = name.split('@');
  return image && signature && !more.length ? { image, signature } : undefined;
}

/** What a client may say of a new signature; who vouches for it, and whether it holds, is found out by others. */
export const submittedSignature = ({ metadata, type, content }: ImageSignature): ImageSignature => ({ metadata, type, content });

/** Whether an image has this signature already: by its name, or with the same content. */
export const hasSignature = (signatures: readonly ImageSignature[], wanted: ImageSignature): boolean =>
  signatures.some((one) => one.metadata.name === wanted.metadata.name || (one.type === wanted.type && one.content === wanted.content));

/** Field errors of a signature, in the order and the words of the reference; `path` is where it stands, '' for an object. */
export function validateSignature(signature: ImageSignature, path = ''): FieldError[] {
  const at = (field: string) => (path ? `${path}.${field}` : field);
  const { name = '', labels, annotations } = signature.metadata;
  const errors: FieldError[] = [];
  if (!name) errors.push(required(at('metadata.name'), 'name or generateName is required'));
  else errors.push(...pathSegmentProblems(name).map((problem) => invalidValue(at('metadata.name'), name, problem)));
  if (isFilled(labels)) errors.push(forbiddenField(at('metadata.labels'), 'signature labels cannot be set'));
  if (isFilled(annotations)) errors.push(forbiddenField(at('metadata.annotations'), 'signature annotations cannot be set'));
  if (!parseSignatureName(name)) errors.push(invalidValue(at('metadata.name'), name, 'name must be of format <imageName>@<signatureName>'));
  if (!signature.type) errors.push(required(at('type')));
  if (!signature.content) errors.push(required(at('content')));
  return [...errors, ...validateFindings(signature, at)];
}

/** Only who has looked at a signature, and says so in both conditions, may say whose it is. */
function validateFindings(signature: ImageSignature, at: (field: string) => string): FieldError[] {
  const { conditions = [] } = signature;
  const trusted = newest(conditions, 'Trusted');
  const missing = ['Trusted', 'ForImage'].filter((type) => !newest(conditions, type));
  const errors =
    missing.length === 1 ? [invalidValue(at('conditions'), conditions, `missing ${JSON.stringify(missing[0])} condition type`)] : [];
  if (trusted && trusted.status !== 'Unknown') return errors;
  const findings = ['imageIdentity', 'signedClaims', 'issuedBy', 'issuedTo'] as const;
  for (const field of findings)
    if (typeof signature[field] === 'string' ? signature[field] : isFilled(signature[field]))
      errors.push(invalidValue(at(field), signature[field], 'must be unset for unknown signature state'));
  return errors;
}

function newest(conditions: readonly SignatureCondition[], type: string): SignatureCondition | undefined {
  const probed = (one: SignatureCondition) => Date.parse(one.lastProbeTime ?? '') || 0;
  return conditions
    .filter((one) => one.type === type)
    .reduce<SignatureCondition | undefined>((latest, one) => (latest && probed(latest) > probed(one) ? latest : one), undefined);
}

const isFilled = (value: object | string | undefined): boolean => value !== undefined && Object.keys(value).length > 0;
