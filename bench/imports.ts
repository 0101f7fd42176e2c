import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRegistry } from '@millrace/embedded/registry';
import { apiClient } from '@millrace/testing/client';
import { makeImage, pushImage } from '@millrace/testing/images';
import { startProduct } from '@millrace/testing/product';
import { percentile, type Figure } from './figures.ts';

const TAGS = 12;
const ROUNDS = 30;

/** An import of several tags of one repository at once, beside the bare requests for their manifests and configs. */
export async function imports(): Promise<Figure[]> {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
  const [product, registry] = await Promise.all([startProduct({ args: ['--quiet'] }), startRegistry({ dataDir: scratch })]);
  const api = apiClient(product);
  try {
    const tags = Array.from({ length: TAGS }, (_, n) => `t${n}`);
    const images = tags.map((tag) => makeImage(`import-${tag}`));
    for (const [n, image] of images.entries()) await pushImage(registry.host, 'bench/app', tags[n] ?? '', image);
    const base = `http://${registry.host}/v2/bench/app`;
    const accept = images[0]?.mediaType ?? '';
    const get = async (path: string) => {
      const answer = await fetch(`${base}/${path}`, { headers: { accept } });
      if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
      return answer.arrayBuffer();
    };
    const bare = () =>
      Promise.all(
        images.map(async (image, n) => {
          await get(`manifests/${tags[n]}`);
          await get(`blobs/${image.config.digest}`);
        }),
      );
    const spec = {
      import: true,
      images: tags.map((tag) => ({
        from: { kind: 'DockerImage', name: `${registry.host}/bench/app:${tag}` },
        importPolicy: { insecure: true },
      })),
    };
    const imported = async (stream: string) => {
      const body = { metadata: { name: stream }, spec };
      const { status, json } = await api.request('POST', '/apis/image.openshift.io/v1/namespaces/bench/imagestreamimports', body);
      const found = (json?.status?.images as { status: { status: string } }[] | undefined)?.filter(
        (one) => one.status.status === 'Success',
      );
      if (status !== 201 || found?.length !== TAGS) throw new Error(`import: ${status}, ${found?.length} of ${TAGS} images`);
    };
    const took = { bare: [] as number[], imported: [] as number[] };
    for (let round = 0; round < ROUNDS; round++) {
      took.bare.push(await timed(bare));
      // A stream of its own each time: everything is written.
      took.imported.push(await timed(() => imported(`s${round}`)));
    }
    const [plain, whole] = [percentile(took.bare, 50), percentile(took.imported, 50)];
    const note = `p50 of ${ROUNDS}: ${whole.toFixed(1)} ms to ${plain.toFixed(1)} ms for ${TAGS} manifests and ${TAGS} configs side by side; a new stream each time`;
    return [
      {
        name: `import of ${TAGS} tags at once, of the bare requests`,
        value: whole / plain,
        unit: '×',
        limit: { value: 3, is: 'at most' },
        note,
      },
    ];
  } finally {
    await api.close();
    await product.stop();
    await registry.stop();
    product.remove();
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}
