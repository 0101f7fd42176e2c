import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ObjectAnswer, PullSecrets, TagStoreObjects } from '@millrace/contracts/requests';
import { Bus } from '@millrace/platform/bus';
import { Resealing } from '@millrace/platform/resealing';
import { Sealing } from '@millrace/platform/sealing';
import { Store } from '@millrace/platform/store';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aService, type StartedService } from '@millrace/testing/service';
import { service } from './main.ts';
import { aSecretsKey } from './testbed.ts';
import { ADMIN } from './testbed-objects.ts';

const [first, second, third] = [aSecretsKey(), aSecretsKey(), aSecretsKey()];
const idOf = (key: string): string => new Sealing({ SECRETS_KEY: [Buffer.from(key, 'base64')] }).keyId;

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let database: Awaited<ReturnType<typeof aDatabase>>;
beforeAll(async () => {
  [nats, database] = await Promise.all([aNatsServer(), aDatabase()]);
});
afterAll(async () => {
  await nats.stop();
  await database.drop();
});

/** tag-store with these keys, the current one first; stopped when `work` is done. */
async function withKeys(keys: string[], work: (tagStore: StartedService) => Promise<void>): Promise<void> {
  const tagStore = await aService(service as never, { DATABASE_URL: database.url, NATS_URL: nats.url, SECRETS_KEY: keys.join('\n') });
  try {
    await work(tagStore);
  } finally {
    await tagStore.stop();
  }
}
const ask = async ({ app }: StartedService, question: object): Promise<ObjectAnswer> =>
  app.get(Bus).ask(TagStoreObjects, { resource: 'secrets', namespace: 'team', dryRun: false, user: ADMIN, ...question } as never);
const make = (tagStore: StartedService, name: string) =>
  ask(tagStore, {
    verb: 'create',
    object: { metadata: { name }, type: 'kubernetes.io/dockercfg', stringData: { '.dockercfg': '{}', name } },
  });
const read = async (tagStore: StartedService, name: string): Promise<unknown> => {
  const answer = await ask(tagStore, { verb: 'get', name });
  return answer.kind === 'object' ? answer.object : answer;
};
const keyIds = async ({ app }: StartedService) =>
  new Set((await app.get(Bus).ask(PullSecrets, { namespace: 'team' })).secrets?.map(({ keyId }) => keyId));
const names = Array.from({ length: 250 }, (_, i) => `s${i}`);

describe('a key that is replaced', () => {
  it('gives way in the background, while every secret stays readable and none is seen to change', async () => {
    let before: unknown;
    await withKeys([first], async (tagStore) => {
      for (const name of names) await make(tagStore, name);
      before = await read(tagStore, 's7');
    });

    await withKeys([first, second], async (tagStore) => expect(await read(tagStore, 's7')).toEqual(before));
    await withKeys([second, first], async (tagStore) => {
      expect(await read(tagStore, 's249')).toMatchObject({ metadata: { name: 's249' } });
      await eventually(() => expect(tagStore.lines('sealing.current')).toMatchObject([{ table: 'secret', keyId: idOf(second) }]));

      expect(tagStore.lines('sealing.resealed')).toMatchObject([{ rows: names.length }]);
      expect(await keyIds(tagStore)).toEqual(new Set([idOf(second)]));
      const metrics = await (await fetch(`http://127.0.0.1:${tagStore.port}/metrics`)).text();
      expect(metrics).toMatch(/^millrace_sealed_under_other_keys 0$/m);
    });
    await withKeys([second], async (tagStore) => expect(await read(tagStore, 's7')).toEqual(before));
  });

  it('that goes too soon is told by its id in the log and to who reads, and what it sealed is there again with it', async () => {
    await withKeys([third], async (tagStore) => {
      const lost = await eventually(() => {
        const lines = tagStore.lines('sealing.key-missing');
        expect(lines).toHaveLength(1);
        return lines;
      });
      await make(tagStore, 'fresh');

      expect(lost).toMatchObject([
        { table: 'secret', keyId: idOf(second), rows: names.length, todo: expect.stringMatching(/^add that key behind/) },
      ]);
      expect(await read(tagStore, 's7')).toMatchObject({
        kind: 'refused',
        status: { code: 500, message: expect.stringContaining(`sealed under key ${idOf(second)}, and given are ${idOf(third)}`) },
      });
      expect(await read(tagStore, 'fresh')).toMatchObject({ metadata: { name: 'fresh' } });
      expect(tagStore.logged.join()).not.toContain(third);
    });

    await withKeys([third, second], async (tagStore) => {
      await eventually(() => expect(tagStore.lines('sealing.current')).toHaveLength(1));
      expect(await keyIds(tagStore)).toEqual(new Set([idOf(third)]));
    });
  });

  it('gives way once where two instances work on it', async () => {
    await withKeys([first, third], async (one) =>
      withKeys([first, third], async (two) => {
        const looks = [one, two].map(({ app }) => app.get(Resealing).look());
        const under = await Promise.all(looks);
        await eventually(async () => expect(await keyIds(two)).toEqual(new Set([idOf(first)])));

        expect(under.map(({ missing }) => missing)).toEqual([{}, {}]);
        expect(await one.app.get(Store).query('SELECT count(*)::int AS n FROM secret')).toEqual([{ n: names.length + 1 }]);
      }),
    );
  });
});
