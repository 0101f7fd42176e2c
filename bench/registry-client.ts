import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRegistry } from '@millrace/embedded/registry';
import { acceptedManifests } from '@millrace/oci-registry/manifest';
import { Registries } from '@millrace/oci-registry/registries';
import { makeImage, pushImage } from '@millrace/testing/images';
import { aTokenServer } from '@millrace/testing/token-server';
import { Agent } from 'undici';
import type { Figure } from './figures.ts';

const REPOSITORIES = 20;
const TAGS = 10;
const AT_ONCE = 16;
const SECONDS = 4;
const ROUNDS = 3;
const builder = { username: 'builder', password: 'secret' };

/** Checks of unchanged tags through the client, with tokens, beside a bare loop that sends HEAD with a token that it was given: the same registry, tags and number at once. */
export async function registryClient(): Promise<Figure[]> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-bench-'));
  const tokens = await aTokenServer({ users: { builder: 'secret' } });
  const rootCertificates = join(directory, 'token-server.pem');
  await writeFile(rootCertificates, tokens.certificate);
  const image = makeImage('bench');
  const tags = Array.from({ length: REPOSITORIES * TAGS }, (_, n) => ({
    repository: `bench/r${n % REPOSITORIES}`,
    tag: `t${Math.floor(n / REPOSITORIES)}`,
  }));

  const open = await startRegistry({ dataDir: directory, port: 0 });
  for (const { repository, tag } of tags) await pushImage(open.host, repository, tag, image);
  await open.stop();
  const { realm, service, issuer } = tokens;
  const registry = await startRegistry({ dataDir: directory, port: 0, tokenServer: { realm, service, issuer, rootCertificates } });

  const registries = new Registries();
  const agent = new Agent({ connections: AT_ONCE });
  const given = new Map(tags.map(({ repository }) => [repository, `Bearer ${tokens.token('builder', [`repository:${repository}:pull`])}`]));
  try {
    const bare = async ({ repository, tag }: (typeof tags)[number]) => {
      const { statusCode, body } = await agent.request({
        origin: registry.url,
        path: `/v2/${repository}/manifests/${tag}`,
        method: 'HEAD',
        headers: { accept: acceptedManifests, authorization: given.get(repository) },
        reset: false,
      });
      await body.dump();
      if (statusCode !== 200) throw new Error(`the registry answered ${statusCode}`);
    };
    const access = { registry: registry.url, credentials: [builder, undefined] };
    const head = async ({ repository, tag }: (typeof tags)[number]) => {
      await registries.client(access).headManifest(repository, tag, { purpose: 'check' });
    };
    const check = async ({ repository, tag }: (typeof tags)[number]) => {
      await registries.client(access).checkTag(repository, tag, image.digest, { tenant: repository });
    };
    await rateOf(tags, bare, 1);
    const rates = { bare: [] as Rate[], head: [] as Rate[], check: [] as Rate[] };
    for (let round = 0; round < ROUNDS; round++) {
      rates.bare.push(await rateOf(tags, bare, SECONDS));
      rates.head.push(await rateOf(tags, head, SECONDS));
      rates.check.push(await rateOf(tags, check, SECONDS));
    }
    const [bareRate, headRate, checkRate] = [rates.bare, rates.head, rates.check].map(median) as [Rate, Rate, Rate];
    const note = (rate: Rate) =>
      `${rate.perSecond.toFixed(0)} a second, ${rate.cpuMicroseconds.toFixed(0)} µs of this process each, against ${bareRate.perSecond.toFixed(0)} and ${bareRate.cpuMicroseconds.toFixed(0)} µs; ${AT_ONCE} at once, medians of ${ROUNDS}`;
    const limit = { value: 0.7, is: 'at least' } as const;
    return [
      {
        name: 'checks of tags (conditional HEAD), of a bare HEAD loop',
        value: checkRate.perSecond / bareRate.perSecond,
        unit: '×',
        limit,
        note: note(checkRate),
      },
      {
        name: 'HEAD through the client, of a bare HEAD loop',
        value: headRate.perSecond / bareRate.perSecond,
        unit: '×',
        limit,
        note: note(headRate),
      },
    ];
  } finally {
    await registries.close();
    await agent.close();
    await registry.stop();
    await tokens.close();
    await rm(directory, { recursive: true, force: true });
  }
}

interface Rate {
  perSecond: number;
  /** Of this process for one call. */
  cpuMicroseconds: number;
}

async function rateOf<T>(items: readonly T[], call: (item: T) => Promise<void>, seconds: number): Promise<Rate> {
  let calls = 0;
  const cpu = process.cpuUsage();
  const begun = performance.now();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async (_, worker) => {
      for (let n = worker; performance.now() - begun < seconds * 1000; n += AT_ONCE) {
        await call(items[n % items.length] as T);
        calls++;
      }
    }),
  );
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: (calls * 1000) / (performance.now() - begun), cpuMicroseconds: (user + system) / calls };
}

function median(rates: readonly Rate[]): Rate {
  return rates.toSorted((a, b) => a.perSecond - b.perSecond)[Math.floor(rates.length / 2)] as Rate;
}
