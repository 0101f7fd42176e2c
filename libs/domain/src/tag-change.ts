import { z } from 'zod';
import { validateWord, Word } from './change-acts.ts';
import { TEXT_MAX, validateText } from './change-control.ts';
import { TagEvent } from './image-stream.ts';
import { ObjectMeta, optional } from './object-meta.ts';
import { CONTROL_GROUP, PendingTagChange, TagControl, TagControlStatus } from './tag-control.ts';
import { type FieldError, invalidValue, required, tooLong } from './status.ts';

/* A tag with a control as an object of its own, `stream:tag`, and what people do to it: release, approve, roll back. */

export const TAG_CHANGES = { group: CONTROL_GROUP, resource: 'tagchanges' };

const Named = { kind: z.string().optional(), apiVersion: z.string().optional(), metadata: ObjectMeta.optional() };

export const TagChange = z
  .object({
    ...Named,
    spec: z.object({ control: TagControl.describe('That of the tag in the spec of its stream, where it is written.') }),
    status: TagControlStatus.extend({
      current: TagEvent.nullable().describe('What the tag points at.'),
      changes: z.array(PendingTagChange).optional().describe('What waits, newest first: at most 100, and not in lists.'),
    }),
  })
  .meta({ id: 'TagChange', description: 'What waits for a tag, why, and until when; its name is STREAM:TAG.' });
export type TagChange = z.infer<typeof TagChange>;

/** What an act did, or in a dry run would do. */
export const TagActOutcome = z
  .object({
    outcome: z.enum(['Moved', 'Waiting', 'Refused', 'Unchanged']).describe('What becomes, or became, of the tag.'),
    message: z.string(),
    previous: TagEvent.nullable().describe('What the tag pointed at before.'),
    current: TagEvent.nullable().describe('What it points at now.'),
    superseded: z.int().describe('How many changes before the newest were skipped.'),
    followers: z.array(z.string()).describe('Tags of the stream that moved along.'),
    pending: z.int().describe('How many changes wait now.'),
  })
  .meta({ id: 'TagActOutcome', description: 'What an act did.' });
export type TagActOutcome = z.infer<typeof TagActOutcome>;

const Done = { status: TagActOutcome.optional().describe('What came of it. Set by the server.') };

export const TagRelease = z
  .strictObject({
    ...Named,
    image: optional(z.string()).describe('Digest of the newest change, where only that one is meant to be released.'),
    force: optional(z.boolean()).describe('Moves to the newest although it is too young, outside of windows, or not approved.'),
    ...Done,
  })
  .meta({
    id: 'TagRelease',
    description: 'Ends the hold of a tag, which then moves once, to the newest image, as soon as nothing else holds it.',
  });
export type TagRelease = z.infer<typeof TagRelease>;

export const TagApproval = z
  .strictObject({
    ...Named,
    image: optional(z.string()).describe('Digest of the change that is meant: it must be the newest.'),
    ...Word.shape,
    ...Done,
  })
  .meta({ id: 'TagApproval', description: 'What somebody says about the newest change of a tag.' });
export type TagApproval = z.infer<typeof TagApproval>;

export const TagRollback = z
  .strictObject({
    ...Named,
    image: optional(z.string()).describe('Digest of an image of the history, or the beginning of one.'),
    generation: optional(z.int()).describe('Generation of an item of the history; the newest of several counts.'),
    reason: optional(z.string()).describe('Why, for whoever reads it.'),
    ...Done,
  })
  .meta({ id: 'TagRollback', description: 'Puts an older image on a tag, one back where none is named, and holds it there.' });
export type TagRollback = z.infer<typeof TagRollback>;

const IMAGE_MAX = 255;

const imageProblem = (image: string | undefined): FieldError[] =>
  image !== undefined && image.length > IMAGE_MAX ? [tooLong('image', IMAGE_MAX)] : [];

/** What is wrong with an approval, apart from the change that it is about. */
export function validateTagApproval({ image, ...word }: TagApproval): FieldError[] {
  return [...(image ? imageProblem(image) : [required('image', 'the digest of the change that is meant')]), ...validateWord(word)];
}

export const validateTagRelease = ({ image }: TagRelease): FieldError[] => imageProblem(image);

export function validateTagRollback({ image, generation, reason }: TagRollback): FieldError[] {
  return [
    ...(image !== undefined && generation !== undefined
      ? [invalidValue('generation', generation, 'give image or generation, not both')]
      : []),
    ...validateText(reason, 'reason'),
  ];
}

/**
 * The item that one step back leads to, of the newest items of a history. `putBack`: a person put the newest one there; where it is an older image,
 * the step is from where that was before, and not to the image that was left.
 */
export function stepBack(items: readonly TagEvent[], { putBack }: { putBack: boolean }): TagEvent | undefined {
  const [top, ...below] = items;
  if (!top) return undefined;
  const isTop = (item: TagEvent) => (top.image ? item.image === top.image : item.dockerImageReference === top.dockerImageReference);
  const before = putBack ? below.findIndex(isTop) : -1;
  return below.slice(before + 1).find((item) => !isTop(item));
}

/** Why a tag is held after somebody put an older image on it. */
export function rollbackReason(by: string, { from, to }: { from?: TagEvent; to: TagEvent }, why?: string): string {
  const named = (event: TagEvent) => event.image || event.dockerImageReference;
  const text = `rolled back by ${by} from ${from ? named(from) : 'nothing'} to ${named(to)}${why ? `: ${why}` : ''}`;
  return text.slice(0, TEXT_MAX);
}
