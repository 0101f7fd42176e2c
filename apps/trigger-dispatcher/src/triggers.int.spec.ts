import { describe, expect, it } from 'vitest';
import { TriggersTouched } from '@millrace/contracts/requests';
import { DispatcherBed } from '@millrace/testing/dispatcher-bed';
import { eventually } from '@millrace/testing/eventually';
import { aTag, aTrigger } from '@millrace/testing/image-trigger';
import { service } from './main.ts';
import { database } from './tables.ts';

const SECRET = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;

type Loose = Record<string, never> & { metadata: Record<string, string>; spec: Record<string, never>; status: Record<string, never> };
interface Answered {
  code: number;
  object: Loose;
  items: Loose[];
  changes: { type: string; object: Loose }[];
  resourceVersion: string;
  continue?: string;
  remainingItemCount?: number;
}

const bed = new DispatcherBed<Answered>(service as never, database, { env: { WEBHOOK_ALLOW_ADDRESSES: 'private' } });
const create = (name: string, spec: Record<string, unknown> = {}, metadata: Record<string, unknown> = {}) =>
  bed.ask({ verb: 'create', object: aTrigger(name, spec, metadata) });
const get = async (name: string) => (await bed.ask({ verb: 'get', name })).object;
/** What had been missed when this generation fired. */
const missedBy = (generation: number) => bed.eventsOf().find((event) => event.generation === generation)?.missed;
async function change(name: string, spec: Record<string, unknown>, metadata: Record<string, unknown> = {}): Promise<Answered> {
  const now = await get(name);
  return bed.ask({ verb: 'update', name, object: { ...now, metadata: { ...now.metadata, ...metadata }, spec: { ...now.spec, ...spec } } });
}

describe('a move of a tag', () => {
  it('fires each trigger that follows the tag, once, with the event of its kind', async () => {
    await create('deploy');
    await create('build', { kind: 'Build' });
    await create('other', { from: aTag('web:v2') });
    const move = bed.tags.make(`${bed.namespace}/web:latest`);

    await bed.tags.tell(move, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
    await bed.actedOn();

    expect(bed.fired('deploy')).toEqual([1]);
    expect(bed.fired('other')).toEqual([]);
    expect(bed.builds.map(({ trigger }) => trigger.name)).toEqual(['build']);
    const { uid } = (await get('deploy')).metadata;
    const told = bed.deploys.find(({ data }) => data.trigger.uid === uid);
    expect(told?.header('ce-id')).toBe(`${uid}.uid-of-web.latest.1`);
    expect(told?.header('Nats-Msg-Id')).toBe(told?.header('ce-id'));
    expect(told?.header('ce-type')).toBe('dev.millrace.deploy.triggered.v1');
    expect(told?.header('traceparent')).toBe('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
    expect(told?.data).toMatchObject({ pullSpec: move.pullSpec, current: move.current, previous: null, cause: move.cause });
    expect((await get('deploy')).status).toMatchObject({ lastTriggered: { generation: 1, image: move.current.image } });
  });

  it('that is told again, or late, does nothing', async () => {
    await create('deploy');
    const first = await bed.push();
    const second = await bed.push();

    await bed.tags.tell(second);
    await bed.tags.tell(first);
    await bed.tags.tell(second);
    await bed.actedOn();

    expect(bed.fired('deploy')).toEqual([1, 2]);
  });

  it('after a gap fires the newest and says what was missed', async () => {
    await create('deploy');
    await bed.push();
    bed.tags.make(`${bed.namespace}/web:latest`);
    bed.tags.make(`${bed.namespace}/web:latest`);
    await bed.push();
    await bed.actedOn();

    expect(bed.fired('deploy')).toEqual([1, 4]);
    expect(missedBy(4)).toEqual({
      first: 2,
      last: 3,
    });
  });

  it('of a stream that was deleted and made again fires from 1 on; repeats from the older one do not', async () => {
    await create('deploy');
    await bed.push();
    const old = await bed.push();
    await bed.push('web:latest', { streamUid: 'made-again', generation: 1 });
    await bed.tags.tell(old);
    await bed.actedOn();

    expect(bed.fired('deploy')).toEqual([1, 2, 1]);
  });

  it('fires a trigger of another namespace that follows it', async () => {
    const elsewhere = `${bed.namespace}-other`;
    await create('deploy', { from: { kind: 'ImageStreamTag', name: 'web:latest', namespace: elsewhere } });
    await bed.tags.push(`${elsewhere}/web:latest`);
    await bed.actedOn();

    expect(bed.fired('deploy')).toEqual([1]);
  });

  it('many in one go each fire, in order', async () => {
    await create('deploy');
    const moves = Array.from({ length: 300 }, () => bed.tags.make(`${bed.namespace}/web:latest`));
    for (const move of moves) await bed.tags.tell(move);
    await bed.actedOn();

    expect(bed.fired('deploy')).toEqual(moves.map((move) => move.generation));
  });

  it('NATS lost and told everything anew fires nothing twice', async () => {
    await create('deploy');
    const moves = [await bed.push(), await bed.push()];
    await bed.actedOn();
    await bed.store.query('UPDATE fact_position SET sequence = 0');
    for (const move of moves) await bed.tags.tell(move);

    await eventually(async () => {
      await bed.push('other:latest');
      expect(
        Number((await bed.store.query<{ sequence: string }>("SELECT sequence FROM fact_position WHERE event = 'tag.moved'"))[0]?.sequence),
      ).toBeGreaterThan(2);
    });
    await bed.actedOn();
    expect(bed.fired('deploy')).toEqual([1, 2]);
    // Told twice under one id, JetStream would have dropped it.
    expect(
      await bed.store.query('SELECT 1 FROM outbox WHERE subject LIKE $1', [`millrace.v1.deploy.triggered.${bed.namespace}.web.%`]),
    ).toHaveLength(2);
  });
});

describe('where a trigger begins', () => {
  it('the image that the tag points at already does not fire; the next one does', async () => {
    bed.tags.make(`${bed.namespace}/web:latest`);
    const present = bed.tags.make(`${bed.namespace}/web:latest`);
    const made = await create('deploy');
    await bed.tags.tell(present);
    await bed.push();
    await bed.actedOn();

    expect(made.object.status).toMatchObject({ baseline: { generation: 2, image: present.current.image } });
    expect(bed.fired('deploy')).toEqual([3]);
  });

  it('with fireOnCreate it fires, once', async () => {
    const present = bed.tags.make(`${bed.namespace}/web:latest`, { generation: 5 });
    await create('deploy', { fireOnCreate: true });
    await bed.tags.tell(present);
    await bed.actedOn();

    expect(bed.fired('deploy')).toEqual([5]);
    expect(bed.eventsOf()[0]?.missed).toBeUndefined();
  });

  it('a tag that has never moved has generation 0, and its first push fires', async () => {
    const made = await create('deploy');
    await bed.push();
    await bed.actedOn();

    expect(made.object.status).toMatchObject({ baseline: { generation: 0 } });
    expect(bed.fired('deploy')).toEqual([1]);
  });

  it('a move between the question and the creation is not lost', async () => {
    const ordinary = bed.tags.answer;
    let told: Promise<void> | undefined;
    bed.tags.answer = (question) => {
      const answer = ordinary(question);
      // The tag moves just after tag-store has answered, each time it is asked.
      if (question.namespace === bed.namespace) told = bed.tags.tell(bed.tags.make(`${bed.namespace}/web:latest`));
      return answer;
    };
    await create('deploy').finally(() => (bed.tags.answer = ordinary));
    await told;
    await bed.actedOn();

    expect(bed.fired('deploy').at(-1)).toBe(2);
  });

  it('without tag-store it cannot begin: 503 says why, and nothing is made', async () => {
    const ordinary = bed.tags.answer;
    bed.tags.answer = () => {
      throw new Error('no');
    };
    const made = await create('deploy').finally(() => (bed.tags.answer = ordinary));

    expect(made.code).toBe(503);
    expect(made.object['message']).toContain(`tag-store cannot be asked where ${bed.namespace}/web:latest stands`);
    expect((await bed.ask({ verb: 'get', name: 'deploy' })).code).toBe(404);
  });

  it('following another tag begins anew there', async () => {
    await create('deploy');
    await bed.push();
    await bed.actedOn();
    bed.tags.make(`${bed.namespace}/web:stable`, { generation: 7 });
    const changed = await change('deploy', { from: aTag('web:stable') });
    await bed.push();
    await bed.push('web:stable');
    await bed.actedOn();

    expect(changed.object.status).toMatchObject({ baseline: { generation: 7 } });
    expect(bed.fired('deploy').filter((generation) => generation !== 1)).toEqual([8]);
  });
});

describe('a paused trigger', () => {
  it('holds the newest move and says so; un-paused it fires that one, once', async () => {
    await create('deploy');
    await bed.push();
    await bed.actedOn();
    await change('deploy', { paused: true });
    await bed.push();
    await bed.push();
    const newest = await bed.push();
    await bed.actedOn();
    expect(bed.fired('deploy')).toEqual([1]);
    expect((await get('deploy')).status).toMatchObject({
      phase: 'Paused',
      pending: { generation: 4, image: newest.current.image, count: 3 },
    });

    const released = await change('deploy', { paused: false });
    await bed.tags.tell(newest);
    await bed.actedOn();

    expect(released.object.status).toMatchObject({ phase: 'Active', lastTriggered: { generation: 4 } });
    expect(released.object.status['pending']).toBeUndefined();
    expect(bed.fired('deploy')).toEqual([1, 4]);
    expect(missedBy(4)).toEqual({
      first: 2,
      last: 3,
    });
  });

  it('un-paused without a move meanwhile fires nothing', async () => {
    await create('deploy', { paused: true });
    await change('deploy', { paused: false });
    await bed.actedOn();

    expect(bed.fired('deploy')).toEqual([]);
  });

  it('made with fireOnCreate fires what the tag pointed at when it is un-paused', async () => {
    bed.tags.make(`${bed.namespace}/web:latest`, { generation: 3 });
    await create('deploy', { paused: true, fireOnCreate: true });
    await bed.actedOn();
    expect(bed.fired('deploy')).toEqual([]);

    await change('deploy', { paused: false });
    await bed.actedOn();

    expect(bed.fired('deploy')).toEqual([3]);
    expect(missedBy(3)).toBeUndefined();
  });
});

describe('triggers as objects', () => {
  const hook = { name: 'argo', url: 'https://192.0.66.1/hook' };

  it('are made with what the server adds', async () => {
    const { code, object } = await create('deploy', { webhooks: [{ ...hook, secret: SECRET }] }, { labels: { app: 'web' } });

    expect(code).toBe(201);
    expect(object).toMatchObject({
      apiVersion: 'triggers.millrace.dev/v1',
      kind: 'ImageTrigger',
      metadata: { name: 'deploy', namespace: bed.namespace, generation: 1, labels: { app: 'web' } },
      spec: {
        kind: 'Deploy',
        from: { kind: 'ImageStreamTag', namespace: bed.namespace, name: 'web:latest' },
        paused: false,
        fireOnCreate: false,
        webhooks: [{ ...hook, timeoutSeconds: 15, secretSet: true }],
      },
      status: { observedGeneration: 1, phase: 'Active', webhooks: [{ name: 'argo', state: 'Active' }] },
    });
    expect(object.metadata['resourceVersion']).toMatch(/^\d+$/);
    expect(object.metadata['uid']).toMatch(/^[0-9a-f-]{36}$/);
    expect(object.metadata['creationTimestamp']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(object).toEqual(await get('deploy'));
  });

  it('with the same name are refused, with a generated one are not', async () => {
    await create('deploy');

    expect(await create('deploy')).toMatchObject({ code: 409, object: { reason: 'AlreadyExists' } });
    const generated = await bed.ask({ verb: 'create', object: { ...aTrigger(''), metadata: { generateName: 'deploy-' } } });
    expect(generated.object.metadata['name']).toMatch(/^deploy-[a-z0-9]{5}$/);
  });

  it('that are wrong are refused with every field', async () => {
    const made = await create('deploy', { kind: 'x', webhooks: [{ ...hook, url: 'http://127.0.0.1/' }] });

    expect(made).toMatchObject({ code: 422, object: { reason: 'Invalid', details: { kind: 'ImageTrigger' } } });
    expect((made.object as unknown as { details: { causes: { field: string }[] } }).details.causes.map((cause) => cause.field)).toEqual([
      'spec.kind',
      'spec.webhooks[0].url',
    ]);
    expect(await create('deploy', { paused: 'yes' })).toMatchObject({ code: 400, object: { reason: 'BadRequest' } });
  });

  it('whose webhook names a host of this machine are refused by what the name resolves to', async () => {
    const made = await create('deploy', { webhooks: [{ ...hook, url: 'http://localhost:9/' }] });

    expect(made.code).toBe(422);
    expect(made.object['message']).toContain('a loopback address');
  });

  it('of another namespace than that of the path are refused', async () => {
    expect(await create('deploy', {}, { namespace: 'elsewhere' })).toMatchObject({ code: 400 });
  });

  it('change only from their latest version', async () => {
    const { object } = await create('deploy');
    await change('deploy', { paused: true });

    expect(await bed.ask({ verb: 'update', name: 'deploy', object })).toMatchObject({ code: 409, object: { reason: 'Conflict' } });
    expect(
      await bed.ask({
        verb: 'update',
        name: 'deploy',
        object: { ...object, metadata: { ...object.metadata, resourceVersion: undefined } },
      }),
    ).toMatchObject({ code: 422 });
    expect(
      await bed.ask({ verb: 'update', name: 'gone', object: { ...object, metadata: { ...object.metadata, name: 'gone' } } }),
    ).toMatchObject({ code: 404 });
  });

  it('count a generation when the spec changes, a version with every change, none with none', async () => {
    const { object } = await create('deploy');
    const same = await change('deploy', {});
    const labelled = await change('deploy', {}, { labels: { app: 'web' } });
    const paused = await change('deploy', { paused: true });

    expect(same.object.metadata['resourceVersion']).toBe(object.metadata['resourceVersion']);
    expect(labelled.object.metadata['generation']).toBe(1);
    expect(paused.object.metadata['generation']).toBe(2);
    const versions = [object, labelled.object, paused.object].map(({ metadata }) => Number(metadata['resourceVersion']));
    expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b));
  });

  it('two changes at once: one of them is told that it came too late', async () => {
    const { object } = await create('deploy');
    const update = (paused: boolean, name: string) =>
      bed.ask({ verb: 'update', name: 'deploy', object: { ...object, spec: { ...object.spec, paused, webhooks: [{ ...hook, name }] } } });

    const codes = (await Promise.all([update(true, 'a'), update(true, 'b'), update(true, 'c')])).map(({ code }) => code);

    expect(codes.toSorted()).toEqual([200, 409, 409]);
  });

  it('a dry run changes nothing and tells nothing', async () => {
    bed.tags.make(`${bed.namespace}/web:latest`);
    const made = await bed.ask({ verb: 'create', object: aTrigger('deploy', { fireOnCreate: true, webhooks: [hook] }), dryRun: true });
    await create('kept');
    const changed = await bed.ask({
      verb: 'update',
      name: 'kept',
      object: { ...(await get('kept')), spec: { ...aTrigger('kept').spec, paused: true } },
      dryRun: true,
    });
    const deleted = await bed.ask({ verb: 'delete', name: 'kept', dryRun: true });
    await bed.ask({ verb: 'deletecollection', dryRun: true });
    await bed.actedOn();

    expect([made.code, changed.code, deleted.code]).toEqual([201, 200, 200]);
    expect(JSON.stringify(made)).not.toContain('whsec_');
    expect((await bed.ask({ verb: 'get', name: 'deploy' })).code).toBe(404);
    expect((await get('kept')).spec['paused']).toBe(false);
    expect(bed.fired('deploy')).toEqual([]);
  });

  it('are deleted with their preconditions met', async () => {
    const { object } = await create('deploy');
    const { uid } = object.metadata;

    expect(await bed.ask({ verb: 'delete', name: 'deploy', preconditions: { uid: 'other' } })).toMatchObject({ code: 409 });
    expect(await bed.ask({ verb: 'delete', name: 'deploy', preconditions: { resourceVersion: '1' } })).toMatchObject({ code: 409 });
    expect(await bed.ask({ verb: 'delete', name: 'deploy', preconditions: { uid } })).toMatchObject({
      code: 200,
      object: { status: 'Success', details: { uid } },
    });
    expect(await bed.ask({ verb: 'delete', name: 'deploy' })).toMatchObject({ code: 404 });
  });

  it('a deleted trigger no longer fires; one of the same name made later is another', async () => {
    await create('deploy');
    await bed.push();
    await bed.actedOn();
    await bed.ask({ verb: 'delete', name: 'deploy' });
    await bed.push();
    await create('deploy');
    await bed.push();
    await bed.actedOn();

    expect(bed.fired('deploy')).toEqual([1, 3]);
  });

  it('are listed by name, in pages, by label and by field', async () => {
    for (const name of ['c', 'a', 'd', 'b']) await create(name, {}, { labels: { app: name < 'c' ? 'web' : 'api', rank: name } });
    const names = ({ items }: Answered) => items.map(({ metadata }) => metadata['name']);
    const first = await bed.ask({ verb: 'list', limit: 3 });
    const second = await bed.ask({ verb: 'list', limit: 3, continue: first.continue });

    expect(names(first)).toEqual(['a', 'b', 'c']);
    expect(first.remainingItemCount).toBe(1);
    expect(names(second)).toEqual(['d']);
    expect(second.continue).toBeUndefined();
    expect(second.resourceVersion).toBe(first.resourceVersion);
    expect(names(await bed.ask({ verb: 'list', labelSelector: 'app=web' }))).toEqual(['a', 'b']);
    expect(names(await bed.ask({ verb: 'list', labelSelector: 'app!=web,rank in (d,x)' }))).toEqual(['d']);
    expect(names(await bed.ask({ verb: 'list', labelSelector: '!app' }))).toEqual([]);
    expect(names(await bed.ask({ verb: 'list', fieldSelector: 'metadata.name=c' }))).toEqual(['c']);
    expect((await bed.ask({ verb: 'list', namespace: undefined })).items.length).toBeGreaterThan(4);
    expect(await bed.ask({ verb: 'list', continue: 'x' })).toMatchObject({ code: 400 });
    expect(await bed.ask({ verb: 'list', labelSelector: 'a b' })).toMatchObject({ code: 400 });
  });

  it('that are more than can be told at once are listed in pages only', async () => {
    await create('deploy');
    await bed.store.query(
      `INSERT INTO trigger SELECT copy.* FROM trigger t, generate_series(1, 10000) AS n,
         jsonb_populate_record(t, jsonb_build_object('uid', gen_random_uuid(), 'name', 'copy-' || n)) AS copy WHERE t.namespace = $1`,
      [bed.namespace],
    );

    expect(await bed.ask({ verb: 'list' })).toMatchObject({ code: 413, object: { reason: 'RequestEntityTooLarge' } });
    const page = await bed.ask({ verb: 'list', limit: 20_000 });
    expect(page.items).toHaveLength(10_000);
    expect(page.remainingItemCount).toBe(1);
    expect((await bed.ask({ verb: 'list', limit: 500, continue: page.continue })).items).toHaveLength(1);
    expect((await bed.ask({ verb: 'list', limit: 500, labelSelector: 'app=web' })).items).toEqual([]);
    await bed.store.query('DELETE FROM trigger WHERE namespace = $1', [bed.namespace]);
  });

  it('a selection of them is deleted at once', async () => {
    for (const name of ['a', 'b', 'c']) await create(name, {}, { labels: { half: name < 'c' ? 'first' : 'second' } });

    const deleted = await bed.ask({ verb: 'deletecollection', labelSelector: 'half=first' });

    expect(deleted.items).toHaveLength(2);
    expect((await bed.ask({ verb: 'list' })).items.map(({ metadata }) => metadata['name'])).toEqual(['c']);
  });

  it('unknown resources and subresources are not there', async () => {
    expect(await bed.ask({ verb: 'get', name: 'x', resource: 'nothing' })).toMatchObject({ code: 404 });
    expect(await bed.ask({ verb: 'get', name: 'x', subresource: 'status' })).toMatchObject({ code: 404 });
  });
});

describe('watching triggers', () => {
  const since = (resourceVersion: string, more: Record<string, unknown> = {}) =>
    bed.ask({ verb: 'changes', since: resourceVersion, waitMs: 0, limit: 100, ...more });

  it('every change is told in order, firing included, and none twice', async () => {
    const { resourceVersion } = await bed.ask({ verb: 'list' });
    await create('deploy');
    await bed.push();
    await bed.actedOn();
    const first = await since(resourceVersion);
    await change('deploy', { paused: true });
    await bed.ask({ verb: 'delete', name: 'deploy' });

    const told = [...first.changes, ...(await since(first.resourceVersion)).changes].filter(
      ({ object }) => object.metadata['name'] === 'deploy',
    );

    expect(told.map(({ type }) => type)).toEqual(['ADDED', 'MODIFIED', 'MODIFIED', 'DELETED']);
    const versions = told.map(({ object }) => Number(object.metadata['resourceVersion']));
    expect(versions).toEqual(versions.toSorted((a, b) => a - b));
    expect(told[1]?.object.status).toMatchObject({ lastTriggered: { generation: 1 } });
    expect((await since(String(versions.at(-1)))).changes).toEqual([]);
  });

  it('of firings that came one after the other the last is told, and one that another change or the end of the trigger followed is told by that', async () => {
    const { resourceVersion } = await bed.ask({ verb: 'list' });
    await create('deploy');
    for (let n = 0; n < 2; n++) {
      await bed.push();
      await bed.actedOn();
    }
    const told = async () =>
      (await since(resourceVersion)).changes
        .filter(({ object }) => object.metadata['name'] === 'deploy')
        .map(({ type, object }) => [type, (object.status as { lastTriggered?: { generation: number } }).lastTriggered?.generation]);

    expect(await told()).toEqual([
      ['ADDED', undefined],
      ['MODIFIED', 2],
    ]);
    await change('deploy', { paused: true });
    expect(await told()).toEqual([
      ['ADDED', undefined],
      ['MODIFIED', 2],
    ]);
    await bed.ask({ verb: 'delete', name: 'deploy' });
    expect((await told()).map(([type]) => type)).toEqual(['ADDED', 'MODIFIED', 'DELETED']);
  });

  it('what was touched is told by name', async () => {
    const { position } = await bed.peer.ask(TriggersTouched, {});
    await create('deploy');

    const touched = await bed.peer.ask(TriggersTouched, { since: position });

    expect(touched.objects).toEqual([{ resource: 'imagetriggers', namespace: bed.namespace, name: 'deploy', type: 'ADDED' }]);
    expect(Number(touched.position)).toBeGreaterThan(Number(position));
  });

  it('a watcher that waits is told at once', async () => {
    const { resourceVersion } = await bed.ask({ verb: 'list' });
    const waiting = since(resourceVersion, { waitMs: 20_000 });
    await create('deploy');

    expect((await waiting).changes).toHaveLength(1);
  });

  it('what enters a selection is added, what leaves it is deleted, what is outside is not told', async () => {
    const { resourceVersion } = await bed.ask({ verb: 'list' });
    await create('deploy', {}, { labels: { app: 'api' } });
    await change('deploy', {}, { labels: { app: 'web' } });
    await change('deploy', { paused: true });
    await change('deploy', {}, { labels: { app: 'api' } });
    await bed.ask({ verb: 'delete', name: 'deploy' });

    expect((await since(resourceVersion, { labelSelector: 'app=web' })).changes.map(({ type }) => type)).toEqual([
      'ADDED',
      'MODIFIED',
      'DELETED',
    ]);
    expect((await since(resourceVersion, { fieldSelector: 'metadata.name=other' })).changes).toEqual([]);
  });

  it('who asks for changes that are no longer known is told to list again', async () => {
    await create('deploy');
    await bed.store.query("UPDATE change SET recorded = now() - interval '2 hours'");
    const newest = (await bed.ask({ verb: 'list' })).resourceVersion;
    const { Changes } = await import('./changes.ts');
    await bed.dispatcher.app.get(Changes).prune(60);

    expect(await since('1')).toMatchObject({ code: 410, object: { reason: 'Expired' } });
    expect(await since(newest)).toMatchObject({ changes: [] });
    expect(await since('x')).toMatchObject({ code: 400 });
  });
});

describe('secrets', () => {
  const hook = { name: 'argo', url: 'https://192.0.66.1/hook?token=in-query' };
  const sealed = async (name: string) =>
    (
      await bed.store.query<{ sealed: Buffer }>(
        'SELECT w.sealed FROM webhook w JOIN trigger t ON t.uid = w.trigger_uid WHERE t.namespace = $1 AND t.name = $2',
        [bed.namespace, name],
      )
    )[0]?.sealed;

  it('that the server makes are told once, in the answer that makes them', async () => {
    const made = await create('deploy', { webhooks: [hook] });
    const secret = (made.object.spec['webhooks'] as unknown as { secret: string }[])[0]?.secret;

    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(JSON.stringify(await get('deploy'))).not.toContain('whsec_');
    const added = await change('deploy', {
      webhooks: [
        { ...hook, secretSet: true },
        { ...hook, name: 'second' },
      ],
    });
    const secrets = (added.object.spec['webhooks'] as unknown as { secret?: string }[]).map((webhook) => webhook.secret?.slice(0, 6));
    expect(secrets).toEqual([undefined, 'whsec_']);
  });

  it('and credentials in headers are nowhere in plain: not in answers, changes, tables or logs', async () => {
    const { resourceVersion } = await bed.ask({ verb: 'list' });
    const webhooks = [{ ...hook, secret: SECRET, headers: { Authorization: 'Bearer hunter2', 'x-env': 'prod' } }];
    const applied = { 'kubectl.kubernetes.io/last-applied-configuration': JSON.stringify({ spec: { webhooks } }) };
    const made = await create('deploy', { webhooks }, { annotations: applied });
    const listed = await bed.ask({ verb: 'list' });
    const changes = await bed.ask({ verb: 'changes', since: resourceVersion, waitMs: 0, limit: 100 });
    const rows = await bed.store.query(
      'SELECT t::text AS row FROM trigger t UNION ALL SELECT w::text FROM webhook w UNION ALL SELECT c::text FROM change c',
    );

    for (const text of [made, listed, changes, rows, bed.dispatcher.logged].map((one) => JSON.stringify(one))) {
      expect(text).not.toContain(SECRET);
      expect(text).not.toContain(SECRET.slice(6));
      expect(text).not.toContain(bed.key);
    }
    for (const text of [listed.items.map(({ spec }) => spec), await sealed('deploy')].map((one) => JSON.stringify(one)))
      expect(text).not.toContain('hunter2');
    expect(listed.items[0]?.spec).toMatchObject({ webhooks: [{ headers: { Authorization: '***', 'x-env': 'prod' }, secretSet: true }] });
    expect(JSON.stringify(bed.dispatcher.logged)).not.toContain('in-query');
  });

  it('stay when an update leaves them out or sends them masked, and change when it gives others', async () => {
    await create('deploy', { webhooks: [{ ...hook, secret: SECRET, headers: { Authorization: 'Bearer hunter2' } }] });
    const before = await sealed('deploy');
    await change('deploy', { paused: true });
    await change('deploy', { webhooks: [{ ...hook, secret: '***', headers: { Authorization: '***' } }] });
    expect(await sealed('deploy')).toEqual(before);

    const other = await change('deploy', {
      webhooks: [{ ...hook, secret: SECRET.replace('BQUF', 'AAAA'), headers: { Authorization: '***' } }],
    });

    expect(await sealed('deploy')).not.toEqual(before);
    expect(other.object.metadata['generation']).toBe(3);
  });

  it('that are masked where none is kept are refused', async () => {
    expect(await create('deploy', { webhooks: [{ ...hook, secret: '***' }] })).toMatchObject({ code: 422 });
    expect(await create('deploy', { webhooks: [{ ...hook, headers: { Authorization: '***' } }] })).toMatchObject({ code: 422 });
  });
});
