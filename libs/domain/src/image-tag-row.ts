import type { ImageTag, TagReference } from './image-stream.ts';

/** What a row of a table says of an ImageTag. */
export interface ImageTagRow {
  /** What puts images into it: `Tag`, `Ref`, `Scheduled`, `Track`, `Push`, or nothing. */
  spec: string;
  /** What it means now, or why it means nothing yet. */
  status: string;
  /** How many images its history has. */
  history: number;
  /** RFC 3339: when it last moved or its import last failed; empty for never. */
  updated: string;
}

export function imageTagRow({ spec, status }: Pick<ImageTag, 'spec' | 'status'>): ImageTagRow {
  const items = status?.items ?? [];
  const conditions = status?.conditions ?? [];
  const [newest] = items;
  const wanted = spec?.generation ?? 0;
  const isKnown = wanted > 0 && newest !== undefined && newest.generation > 0;
  const isBehind = isKnown && newest.generation < wanted;
  const isAhead = isKnown && newest.generation > wanted;

  const source = spec?.from ? sourceOf(spec.from) : { text: '' };
  const got = isBehind || !newest ? '' : newest.image ? `image/${newest.image}` : newest.dockerImageReference;
  const meaning = got || source.text;
  const failures = conditions.filter(({ type, status: outcome }) => type === 'ImportSuccess' && outcome === 'False');
  return {
    spec: kindOf(spec, { isPushed: newest !== undefined && meaning !== '', isAhead }),
    status: failures.length ? `ImportFailed (${failures.at(-1)?.reason ?? ''})` : isBehind ? 'Importing' : (source.problem ?? meaning),
    history: items.length,
    updated: [newest?.created ?? '', ...conditions.map(({ lastTransitionTime = '' }) => lastTransitionTime)].reduce(later),
  };
}

function kindOf(spec: TagReference | null | undefined, { isPushed, isAhead }: { isPushed: boolean; isAhead: boolean }): string {
  if (!spec?.from) return isPushed ? 'Push' : '';
  // A tag that follows another has that one's generations: they do not tell who moved it.
  if (spec.from.kind === 'ImageStreamTag' && !spec.from.name?.includes(':')) return 'Track';
  if (isAhead) return 'Push';
  return spec.importPolicy?.scheduled ? 'Scheduled' : spec.reference ? 'Ref' : 'Tag';
}

function sourceOf({ kind, namespace, name = '' }: NonNullable<TagReference['from']>): { text: string; problem?: string } {
  switch (kind) {
    case 'DockerImage':
      return { text: name };
    case 'ImageStreamImage':
      return name.includes('@') ? { text: `image/${name.slice(name.indexOf('@') + 1)}` } : { text: '', problem: 'InvalidRefName' };
    case 'ImageStreamTag':
      return { text: namespace ? `istag ${namespace}/${name}` : `istag/${name}` };
    default:
      return { text: '', problem: 'InvalidRefKind' };
  }
}

const later = (a: string, b: string): string => (b > a ? b : a);
