import { Image } from '@millrace/domain/image';
import { TagImportPolicy, TagReferencePolicy } from '@millrace/domain/image-stream';
import { z } from 'zod';
import { defineEvent } from './define.ts';

/* What tag-store and import-scheduler tell each other: what is wanted from registries outside, and what was found there. */

/** A tag of a stream's spec that names an image in a registry. */
export const WantedTag = z
  .object({
    tag: z.string(),
    from: z.string().describe('Pull spec, as it was written'),
    generation: z.int().nullable().describe('Generation of the spec tag; null where it never had one'),
    due: z.boolean().describe('The spec tag is newer than what was last imported, or tried'),
    failing: z.boolean().describe('The last import failed, and nothing has moved the tag since'),
    insecure: z.boolean().describe('Plain HTTP and certificates that nobody signed are taken'),
    scheduled: z.boolean().describe('To be looked at again from time to time'),
    importMode: z.string().describe('Legacy or PreserveOriginal'),
    referencePolicy: z.string().describe('Source or Local'),
    preferArch: z.string().optional().describe('Which image of a manifest list is wanted, as an annotation of the tag says'),
    preferOs: z.string().optional(),
  })
  .meta({ id: 'WantedTag' });
export type WantedTag = z.infer<typeof WantedTag>;

export const ImportWanted = defineEvent({
  name: 'import.wanted',
  stream: 'MILLRACE_IMPORTS',
  from: 'tag-store',
  to: ['import-scheduler'],
  summary: 'What a stream takes from registries, as its spec says now: all of it, told whenever the spec changes or the stream goes.',
  data: z
    .object({
      namespace: z.string(),
      stream: z.string(),
      streamUid: z.string(),
      resourceVersion: z
        .string()
        .describe(
          'Version on which this change is based, 0 for a new stream: it grows from fact to fact of a stream, and the newest holds',
        ),
      gone: z.boolean().describe('The stream is deleted: nothing of it is wanted any more'),
      repository: z
        .object({
          from: z.string().describe('Pull spec of a repository that is wanted as a whole'),
          due: z.boolean().describe('It was never imported'),
          insecure: z.boolean(),
        })
        .optional(),
      tags: z.array(WantedTag).describe('All that name an image in a registry and are more than a name for it'),
    })
    .meta({ id: 'ImportWanted' }),
  parameters: ['namespace', 'stream'],
  address: (wanted) => [wanted.namespace, wanted.stream],
});

/** What was found, or why nothing was, for one tag. */
export const ImportedTag = z
  .object({
    tag: z.string(),
    from: z.string().describe('Pull spec for which it was looked'),
    generation: z
      .int()
      .nullable()
      .describe(
        'Generation of the spec tag that it was done for: a spec tag that is newer by now is left alone. null: it takes effect anyway',
      ),
    importPolicy: TagImportPolicy,
    referencePolicy: TagReferencePolicy,
    makesTag: z.boolean().describe('Whether a failure makes the spec tag where it is missing'),
    result: z.discriminatedUnion('kind', [
      z.object({
        kind: z.literal('found'),
        image: Image,
        children: z.array(Image).describe('Platform images of an index that is kept as it is'),
        pullSpec: z.string().describe('By digest'),
      }),
      z.object({ kind: z.literal('failed'), reason: z.string(), message: z.string() }),
    ]),
  })
  .meta({ id: 'ImportedTag' });
export type ImportedTag = z.infer<typeof ImportedTag>;

export const ImportCompleted = defineEvent({
  name: 'import.completed',
  stream: 'MILLRACE_IMPORTS',
  from: 'import-scheduler',
  to: ['tag-store'],
  summary: 'Images that a stream wanted were looked for in their registries: what each tag points at now, or why that is not known.',
  data: z
    .object({
      id: z.string().describe('The same for every repeat'),
      namespace: z.string(),
      stream: z.string(),
      streamUid: z.string().describe('Only this stream is meant: one of the same name that was made since is left alone'),
      repository: z
        .string()
        .optional()
        .describe('It was done for this repository, which the stream wants as a whole; null generations count only while it does'),
      tags: z.array(ImportedTag),
    })
    .meta({ id: 'ImportCompleted' }),
  parameters: ['namespace', 'stream'],
  address: (completed) => [completed.namespace, completed.stream],
});
