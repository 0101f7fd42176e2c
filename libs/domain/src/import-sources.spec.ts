import { describe, expect, it } from 'vitest';
import { RegistryAllowList } from './allowed-registries.ts';
import { ImageStreamImport } from './image-stream-import.ts';
import { ImageStream } from './image-stream.ts';
import { INSECURE_ANNOTATION } from './import-plan.ts';
import { refusedSources } from './import-sources.ts';

const allowed = new RegistryAllowList([{ domainName: 'quay.io' }, { domainName: 'plain.test', insecure: true }]);
const image = (name: string, more: object = {}) => ({ from: { kind: 'DockerImage', name }, to: { name: 'latest' }, ...more });
const stream = (from: string, annotations: Record<string, string> = {}) =>
  ImageStream.parse({
    metadata: { name: 'app', annotations },
    spec: { tags: [{ name: 'latest', from: { kind: 'DockerImage', name: from } }] },
  });

function refused(spec: object, of?: ImageStream): string[] {
  const sources = refusedSources(ImageStreamImport.parse({ metadata: { name: 'app' }, spec: { import: true, ...spec } }), of, allowed);
  return sources.kind === 'none' ? [] : sources.errors.map(({ field }) => `${sources.kind}: ${field}`);
}

describe('of the registries that an import names', () => {
  it.each<[string, object, ImageStream | undefined, string[]]>([
    ['one that is allowed is not refused', { images: [image('quay.io/team/app')] }, undefined, []],
    [
      'another is refused as the tag that it would make',
      { images: [image('evil.test/app')] },
      undefined,
      ['stream: spec.tags[latest].from.name'],
    ],
    [
      'a look alone is refused as the import',
      { import: false, images: [image('evil.test/app')] },
      undefined,
      ['import: spec.images[0].from.name'],
    ],
    [
      'an image for no tag is refused as the import',
      { images: [image('evil.test/app', { to: undefined })] },
      undefined,
      ['import: spec.images[0].from.name'],
    ],
    ['what the stream names already is not refused', { images: [image('evil.test/app')] }, stream('evil.test/app'), []],
    [
      'another image of the same registry is',
      { images: [image('evil.test/other')] },
      stream('evil.test/app'),
      ['stream: spec.tags[latest].from.name'],
    ],
    [
      'a repository is refused, and all with it as the import',
      { images: [image('evil.test/app')], repository: { from: { kind: 'DockerImage', name: 'evil.test/app' } } },
      undefined,
      ['import: spec.images[0].from.name', 'import: spec.repository.from.name'],
    ],
    [
      'one that is allowed as insecure is refused over TLS',
      { images: [image('plain.test/app')] },
      undefined,
      ['stream: spec.tags[latest].from.name'],
    ],
    ['and is not where the image is insecure', { images: [image('plain.test/app', { importPolicy: { insecure: true } })] }, undefined, []],
    ['or the stream', { images: [image('plain.test/app')] }, stream('quay.io/team/app', { [INSECURE_ANNOTATION]: 'true' }), []],
    ['a text that is no pull spec is for others to refuse', { images: [image('not a pull spec')] }, undefined, []],
  ])('%s', (_, spec, of, expected) => {
    expect(refused(spec, of)).toEqual(expected);
  });
});
