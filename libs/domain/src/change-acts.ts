import { z } from 'zod';
import { validateText, type Verdict } from './change-control.ts';
import { ObjectMeta, optional } from './object-meta.ts';
import { type FieldError, invalidValue, required } from './status.ts';

/*
 * What people say about changes that wait: the bodies of `approve` and `release` of a trigger, and the word that is the same about a tag. Who says it is
 * known from the request.
 */

const head = {
  kind: optional(z.string()),
  apiVersion: optional(z.string()),
  metadata: optional(ObjectMeta),
};
const comment = optional(z.string()).describe('Why, for whoever reads it');

/** What an approval says about the change that it means, be it of a trigger or of a tag. */
export const Word = z.object({ verdict: optional(z.string()).describe('Approve (when absent) or Reject'), comment });
export type Word = z.infer<typeof Word>;

export const Approval = z
  .object({
    ...head,
    generation: optional(z.int()).describe('Which change is meant: the move of the tag'),
    image: optional(z.string()).describe('Which change is meant: its digest. One of the two has to be there'),
    ...Word.shape,
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

/** Everything that is wrong with an approval. */
export const validateApproval = ({ generation, image, ...word }: Approval): FieldError[] => [
  ...(generation === undefined && !image ? [required('generation', 'or image: which change is meant')] : []),
  ...validateWord(word),
];

/** Everything that is wrong with a release. */
export const validateRelease = ({ comment }: Release): FieldError[] => validateText(comment, 'comment');

/** Everything that is wrong with a word. */
export const validateWord = ({ verdict, comment }: Word): FieldError[] => [
  ...(verdict === undefined || verdict === 'Approve' || verdict === 'Reject'
    ? []
    : [invalidValue('verdict', verdict.slice(0, 40), 'must be Approve or Reject')]),
  ...validateText(comment, 'comment'),
];

/** What is kept of a valid one. */
export const wordOf = ({ verdict, comment }: Word): Pick<Verdict, 'verdict' | 'comment'> => ({
  verdict: verdict === 'Reject' ? 'Reject' : 'Approve',
  ...(comment ? { comment } : {}),
});

/** How many people are heard about one change; no rule asks for so many. */
export const VERDICTS_MAX = 100;

/** Whether what somebody says counts for a change about which others have said this. */
export const isHeard = (user: string, verdicts: readonly Verdict[] = []): boolean =>
  verdicts.length < VERDICTS_MAX || verdicts.some((one) => one.user === user);

/** The verdicts of a change with another: what a person said before is replaced. */
export const withVerdict = (verdicts: readonly Verdict[], said: Verdict): Verdict[] => [
  ...verdicts.filter(({ user }) => user !== said.user),
  said,
];
