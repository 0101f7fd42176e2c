import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

export interface Blob {
  digest: string;
  body: Buffer;
}

/** One platform's image with everything a registry needs of it. */
export interface MadeImage {
  digest: string;
  mediaType: string;
  manifest: Buffer;
  config: Blob;
  layers: Blob[];
  architecture: string;
}

/** An index of images. */
export interface MadeIndex {
  digest: string;
  mediaType: string;
  manifest: Buffer;
  images: MadeImage[];
}

export type Format = 'schema2' | 'oci';

const MEDIA = {
  schema2: {
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    layer: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
  },
  oci: {
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
    index: 'application/vnd.oci.image.index.v1+json',
  },
} as const;

const blob = (body: Buffer): Blob => ({ digest: `sha256:${createHash('sha256').update(body).digest('hex')}`, body });

/** A small image whose digest follows from its seed. */
export function makeImage(
  seed: string,
  options: { format?: Format; architecture?: string; labels?: Record<string, string> } = {},
): MadeImage {
  const media = MEDIA[options.format ?? 'schema2'];
  const architecture = options.architecture ?? 'amd64';
  const tar = tarOf(`${seed}.txt`, `${seed} for ${architecture}\n`);
  const layer = blob(gzipSync(tar));
  const config = blob(
    Buffer.from(
      JSON.stringify({
        architecture,
        os: 'linux',
        author: 'millrace tests',
        created: '2026-01-02T03:04:05Z',
        config: { Env: [`SEED=${seed}`], Cmd: ['run'], Labels: { 'org.opencontainers.image.revision': seed, ...options.labels } },
        rootfs: { type: 'layers', diff_ids: [blob(tar).digest] },
        history: [{ created: '2026-01-02T03:04:05Z', created_by: 'tests' }],
      }),
    ),
  );
  const manifest = blob(
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: media.manifest,
        config: { mediaType: media.config, digest: config.digest, size: config.body.length },
        layers: [{ mediaType: media.layer, digest: layer.digest, size: layer.body.length }],
      }),
    ),
  );
  return { digest: manifest.digest, mediaType: media.manifest, manifest: manifest.body, config, layers: [layer], architecture };
}

export function makeIndex(
  seed: string,
  architectures: readonly string[] = ['amd64', 'arm64'],
  options: { format?: Format; labels?: Record<string, string> } = {},
): MadeIndex {
  const { format = 'oci' } = options;
  const images = architectures.map((architecture) => makeImage(seed, { ...options, format, architecture }));
  const manifest = blob(
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA[format].index,
        manifests: images.map((image) => ({
          mediaType: image.mediaType,
          digest: image.digest,
          size: image.manifest.length,
          platform: { architecture: image.architecture, os: 'linux' },
        })),
      }),
    ),
  );
  return { digest: manifest.digest, mediaType: MEDIA[format].index, manifest: manifest.body, images };
}

/** One file in a tar archive: a ustar header, the content, the end. */
function tarOf(name: string, content: string): Buffer {
  const header = Buffer.alloc(512);
  const body = Buffer.from(content);
  header.write(name, 0);
  header.write('0000644\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${body.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\0' + '00', 257);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, body, Buffer.alloc((512 - (body.length % 512)) % 512), Buffer.alloc(1024)]);
}

/** Pushes as a client does, over HTTP: blobs first, then the manifest by its tag. Resolves to the manifest's digest. */
export async function pushImage(registry: string, repository: string, tag: string, made: MadeImage | MadeIndex): Promise<string> {
  const base = `http://${registry}/v2/${repository}`;
  const images = 'images' in made ? made.images : [made];
  for (const image of images) {
    for (const one of [image.config, ...image.layers]) await pushBlob(base, one);
    if ('images' in made) await putManifest(base, image.digest, image.mediaType, image.manifest);
  }
  await putManifest(base, tag, made.mediaType, made.manifest);
  return made.digest;
}

async function pushBlob(base: string, { digest, body }: Blob): Promise<void> {
  const begun = await expectOk(fetch(`${base}/blobs/uploads/`, { method: 'POST' }));
  const location = new URL(begun.headers.get('location') ?? '', base);
  location.searchParams.set('digest', digest);
  await expectOk(fetch(location, { method: 'PUT', body: new Uint8Array(body), headers: { 'content-type': 'application/octet-stream' } }));
}

async function putManifest(base: string, reference: string, mediaType: string, body: Buffer): Promise<void> {
  await expectOk(
    fetch(`${base}/manifests/${reference}`, { method: 'PUT', body: new Uint8Array(body), headers: { 'content-type': mediaType } }),
  );
}

async function expectOk(answered: Promise<Response>): Promise<Response> {
  const answer = await answered;
  if (!answer.ok) throw new Error(`${answer.url}: ${answer.status} ${await answer.text()}`);
  await answer.body?.cancel();
  return answer;
}

/** Writes an OCI layout that `skopeo copy oci:DIRECTORY:NAME` reads. */
export function writeOciLayout(directory: string, name: string, made: MadeImage | MadeIndex): void {
  const blobs = join(directory, 'blobs', 'sha256');
  mkdirSync(blobs, { recursive: true });
  const put = ({ digest, body }: Blob) => writeFileSync(join(blobs, digest.slice('sha256:'.length)), body);
  for (const image of 'images' in made ? made.images : [made]) {
    for (const one of [image.config, ...image.layers]) put(one);
    put({ digest: image.digest, body: image.manifest });
  }
  put({ digest: made.digest, body: made.manifest });
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const entry = {
    mediaType: made.mediaType,
    digest: made.digest,
    size: made.manifest.length,
    annotations: { 'org.opencontainers.image.ref.name': name },
  };
  writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
}
