import { z } from 'zod';
import { Namespace, namespaceProblems, streamNameProblems } from './stream-names.ts';

/**
 * How the repositories of a registry are image streams. Unless said otherwise `ns/name` is stream `name` of namespace `ns`, and a
 * repository with fewer or more segments is none.
 */
export const RepositoryLayout = z
  .strictObject({
    prefix: z
      .string()
      .regex(/^[^/].*\/$/, 'must end with "/", as in "mirror/"')
      .optional()
      .describe('Taken away before the rest is read; repositories that do not begin with it are no streams'),
    namespace: Namespace.optional().describe('Namespace of all streams; where it is absent, the first segment of the repository'),
    stream: z
      .enum(['segment', 'last-segment', 'dashed-path'])
      .default('segment')
      .describe(
        'What is left of the repository names the stream. segment: it must be one; last-segment: the last one, whatever comes before; ' +
          'dashed-path: all of them, joined by "-"',
      ),
  })
  .meta({ id: 'RepositoryLayout' });
export type RepositoryLayout = z.infer<typeof RepositoryLayout>;

export const defaultLayout: RepositoryLayout = { stream: 'segment' };

export type StreamOfRepository = { kind: 'stream'; namespace: string; stream: string } | { kind: 'none'; reason: string };

/** The stream that a repository is, or why it is none, in words for whoever configures the layout. */
export function streamOfRepository(repository: string, layout: RepositoryLayout = defaultLayout): StreamOfRepository {
  const { prefix = '', namespace } = layout;
  const none = (why: string): StreamOfRepository => ({ kind: 'none', reason: `repository ${repository} is no image stream: ${why}` });
  if (!repository.startsWith(prefix)) return none(`it does not begin with ${prefix}`);

  const segments = repository.slice(prefix.length).split('/');
  const place = namespace ?? (segments.shift() as string);
  const stream = nameOf(segments, layout.stream);
  if (stream === undefined)
    return none(
      `its name must be ${prefix}${namespace === undefined ? 'NAMESPACE/' : ''}STREAM${layout.stream === 'segment' ? '' : ' or longer'}` +
        ' by the layout of this registry',
    );

  const problems = [
    ...namespaceProblems(place).map((problem) => `namespace ${JSON.stringify(place)} ${problem}`),
    ...streamNameProblems(stream).map((problem) => `stream name ${JSON.stringify(stream)} ${problem}`),
  ];
  return problems.length ? none(problems.join('; ')) : { kind: 'stream', namespace: place, stream };
}

function nameOf(segments: readonly string[], rule: RepositoryLayout['stream']): string | undefined {
  switch (rule) {
    case 'segment':
      return segments.length === 1 ? segments[0] : undefined;
    case 'last-segment':
      return segments.at(-1);
    case 'dashed-path':
      return segments.length ? segments.join('-') : undefined;
  }
}
