import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '@millrace/testing/eventually';
import { makeImage } from '@millrace/testing/images';
import { anImportBed, type ImportBed } from '@millrace/testing/import-bed';
import { aToldRegistry, type ToldRegistry } from '@millrace/testing/told-registry';
import { service } from './main.ts';

const aBed = (env: Record<string, string>) => anImportBed(service as never, env);

let bed: ImportBed;
let registry: ToldRegistry;

beforeAll(async () => {
  bed = await aBed({ IMPORT_TIMEOUT_MS: '1000' });
});
afterAll(() => bed.stop());
beforeEach(async () => {
  registry = await aToldRegistry();
  registry.has('team/app', { latest: makeImage('latest'), v1: makeImage('v1') });
});
afterEach(() => registry.close());

const from = (tag: string) => `${registry.host}/team/app:${tag}`;
const completedOf = (stream: string) => bed.completed.map(({ data }) => data).filter((data) => data.stream === stream);
const tagsOf = (uid: string) =>
  bed.sql(
    `SELECT tag, attempts, CASE WHEN next_attempt_at IS NULL THEN 'never' WHEN next_attempt_at > now() THEN 'later' ELSE 'now' END AS due
       FROM wanted_tag WHERE stream_uid = $1 ORDER BY tag`,
    [uid],
  );

describe('what the spec of a stream wants', () => {
  it('is imported by itself, the tags of a stream together', async () => {
    const uid = await bed.want('together', [
      { tag: 'latest', from: from('latest') },
      { tag: 'v1', from: from('v1'), generation: 2 },
      { tag: 'done', from: from('v1'), due: false },
    ]);

    await eventually(() => expect(completedOf('together')).toHaveLength(1));
    expect(completedOf('together')).toMatchObject([
      {
        streamUid: uid,
        tags: [
          {
            tag: 'latest',
            from: from('latest'),
            generation: 1,
            result: { kind: 'found', image: { metadata: { name: makeImage('latest').digest } } },
          },
          { tag: 'v1', generation: 2, result: { kind: 'found', pullSpec: `${registry.host}/team/app@${makeImage('v1').digest}` } },
        ],
      },
    ]);
    expect((await tagsOf(uid)).map(({ due }) => due)).toEqual(['never', 'never', 'never']);
  });

  it('is told as a failure that ends the matter, where trying again would not help', async () => {
    const uid = await bed.want('permanent', [{ from: from('nosuch') }]);

    await eventually(() => expect(completedOf('permanent')).toHaveLength(1));
    expect(completedOf('permanent')).toMatchObject([{ tags: [{ result: { kind: 'failed', reason: 'NotFound' } }] }]);
    expect(await tagsOf(uid)).toEqual([{ tag: 'latest', attempts: 1, due: 'never' }]);
  });

  it('is tried again later where it may help, and told when it did', async () => {
    registry.answer = (_request, response) => response.writeHead(503).end();
    const uid = await bed.want('passing', [{ from: from('latest') }]);
    await eventually(async () => expect(await tagsOf(uid)).toEqual([{ tag: 'latest', attempts: 1, due: 'later' }]));

    registry.answer = (_request, _response, proceed) => proceed();
    await bed.sql('UPDATE wanted_tag SET next_attempt_at = now() WHERE stream_uid = $1', [uid]);
    await eventually(() => expect(completedOf('passing')).toHaveLength(2));
    expect(completedOf('passing').map(({ tags }) => tags[0]?.result.kind)).toEqual(['failed', 'found']);
    expect(await tagsOf(uid)).toEqual([{ tag: 'latest', attempts: 0, due: 'never' }]);
  });

  it('is imported anew where it became another while it was looked at', async () => {
    let held: (() => void) | undefined;
    registry.answer = (request, _response, proceed) => {
      if (request.url?.endsWith('/manifests/latest')) held = proceed;
      else proceed();
    };
    const uid = await bed.want('changing', [{ from: from('latest') }]);
    await eventually(() => expect(held).toBeDefined());
    await bed.want('changing', [{ from: from('v1'), generation: 2 }], { streamUid: uid, resourceVersion: '2' });
    await eventually(async () =>
      expect(await bed.sql('SELECT source FROM wanted_tag WHERE stream_uid = $1', [uid])).toEqual([{ source: from('v1') }]),
    );
    held?.();

    await eventually(() => expect(completedOf('changing').map(({ tags }) => tags[0]?.from)).toEqual([from('latest'), from('v1')]));
    expect(await tagsOf(uid)).toEqual([{ tag: 'latest', attempts: 0, due: 'never' }]);
  });

  it('may be a repository as a whole', async () => {
    await bed.want('whole', [], { repository: { from: `${registry.host}/team/app`, due: true, insecure: true } });

    await eventually(() => expect(completedOf('whole')).toHaveLength(1));
    expect(completedOf('whole')).toMatchObject([
      {
        repository: `${registry.host}/team/app`,
        tags: [
          { tag: 'latest', generation: null },
          { tag: 'v1', generation: null },
        ],
      },
    ]);
  });

  it('is taken over from an instance that is gone', async () => {
    const uid = await bed.want('orphan', [{ from: from('latest'), due: false }]);
    await eventually(async () => expect(await tagsOf(uid)).toHaveLength(1));
    // No instance has this number: it stands for one that was killed at work.
    await bed.sql('UPDATE wanted_stream SET claimed_by = 2147483646 WHERE stream_uid = $1', [uid]);
    await bed.sql('UPDATE wanted_tag SET next_attempt_at = now() WHERE stream_uid = $1', [uid]);

    await eventually(() => expect(completedOf('orphan')).toHaveLength(1));
  });

  it('is left to people where the service is told so', async () => {
    const off = await aBed({ IMPORT_ON_CHANGE: 'false' });
    const uid = await off.want('left', [{ from: from('latest') }]);
    await eventually(async () =>
      expect(
        await off.sql(
          'SELECT next_attempt_at <= now() AS due, claimed_by FROM wanted_tag JOIN wanted_stream USING (stream_uid) WHERE stream_uid = $1',
          [uid],
        ),
      ).toEqual([{ due: true, claimed_by: null }]),
    );

    expect(registry.asked).toEqual([]);
    await off.stop();
  });
});
