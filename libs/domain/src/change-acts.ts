import { z } from 'zod';
import { validateText } from './change-control.ts';
import { ObjectMeta, optional } from './object-meta.ts';
import { type FieldError, invalidValue, required } from './status.ts';

/* What people say about changes that wait: the bodies of `approve` and `release`. Who says it is known from the request. */

const head = {
  kind: optional(z.string()),
  apiVersion: optional(z.string()),
  metadata: optional(ObjectMeta),
};
const comment = optional(z.string()).describe('Why, for whoever reads it');

export const Approval = z
  .object({
    ...head,
    verdict: optional(z.string()).describe('Approve or Reject'),
    generation: optional(z.int()).describe('Which change is meant: the move of the tag'),
    image: optional(z.string()).describe('Which change is meant: its digest. One of the two has to be there'),
    comment,
    user: optional(z.string()).describe('Who says it. Set by the server.'),
    status: z.unknown().optional(),
  })
  .meta({ id: 'Approval', description: 'What one person says about the change that waits.' });
export type Approval = z.infer<typeof Approval>;

export const Release = z
  .object({
    ...head,
    force: optional(z.boolean()).describe(
      'Whether also the minimum age, windows, approval and coalescing are over for the change that waits. What pauses or denies it stays',
    ),
    comment,
    user: optional(z.string()).describe('Who releases. Set by the server.'),
    status: z.unknown().optional(),
  })
  .meta({ id: 'Release', description: 'Ends a hold, and the stop after a storm; with `dryRun=All` it is told what would happen.' });
export type Release = z.infer<typeof Release>;

/** Everything that is wrong with a verdict. */
export function validateApproval({ verdict, generation, image, comment }: Approval): FieldError[] {
  const errors: FieldError[] = [];
  if (!verdict) errors.push(required('verdict', 'Approve or Reject'));
  else if (verdict !== 'Approve' && verdict !== 'Reject') errors.push(invalidValue('verdict', verdict, 'must be Approve or Reject'));
  if (generation === undefined && !image) errors.push(required('generation', 'or image: which change is meant'));
  return [...errors, ...validateText(comment, 'comment')];
}

/** Everything that is wrong with a release. */
export const validateRelease = ({ comment }: Release): FieldError[] => validateText(comment, 'comment');
