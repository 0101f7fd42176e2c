import { createPublicKey, verify } from 'node:crypto';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { PULL_SECRETS_BELL, sealedValueOf, SecretValues } from '@millrace/contracts/requests';
import { Sealing } from '@millrace/platform/sealing';
import { certificate } from '@millrace/testing/certificates';
import { DispatcherBed } from '@millrace/testing/dispatcher-bed';
import { eventually } from '@millrace/testing/eventually';
import { aTrigger } from '@millrace/testing/image-trigger';
import type { Received } from '@millrace/testing/webhook-sink';
import { service } from './main.ts';
import { database } from './tables.ts';

const whsec = (fill: number) => `whsec_${Buffer.alloc(32, fill).toString('base64')}`;

const bed = new DispatcherBed<Answered>(service as never, database);
const sealing = new Sealing({ SECRETS_KEY: [Buffer.from(bed.key, 'base64')] });
/** `namespace/name/key`: what stands there. */
const secrets = new Map<string, string>();
let asked: string[];
let tagStoreIsAway: boolean;

beforeAll(() => {
  // Stands where tag-store does; what that answers is its own spec's.
  bed.peer.answer(SecretValues, async (question) => {
    if (tagStoreIsAway) throw new Error('away');
    const values = question.keys.map((one) => {
      const id = sealedValueOf(question.namespace, one);
      asked.push(id);
      const value = secrets.get(id);
      if (value === undefined)
        return { kind: 'missing' as const, reason: `there is no secret ${one.name} in namespace ${question.namespace}` };
      const sealed = sealing.seal({ value: Buffer.from(value).toString('base64') }, id);
      return { kind: 'sealed' as const, sealed: sealed.toString('base64') };
    });
    return { values };
  });
});
beforeEach(() => {
  asked = [];
  tagStoreIsAway = false;
});
// Nothing is left that would be called when its receiver is no more.
afterEach(async () => void (await bed.ask({ verb: 'deletecollection' })));

type Hook = Record<string, unknown>;
interface Answered {
  code: number;
  object: {
    message?: string;
    metadata: { annotations?: Record<string, string>; resourceVersion: string };
    spec: { webhooks: Hook[] };
    status: { webhooks: { name: string; state: string; problem?: string; publicKeys?: string[] }[] };
  };
  items: {
    metadata: { name: string };
    spec: { url: string };
    status: { state: string; attempts: number; lastAttempt?: { status?: number; error?: string; answer?: string } };
  }[];
  warnings?: string[];
}

const create = (webhook: Hook, metadata: object = {}) =>
  bed.ask({ verb: 'create', object: aTrigger('web', { webhooks: [{ name: 'hook', ...webhook }] }, metadata) });
const made = async (webhook: Hook, metadata: object = {}): Promise<Answered> => {
  const answer = await create(webhook, metadata);
  expect(answer.code, answer.object.message).toBe(201);
  return answer;
};
const get = async () => (await bed.ask({ verb: 'get', name: 'web' })).object;
const change = async (over: Hook): Promise<Answered> => {
  const now = await get();
  return bed.ask({
    verb: 'update',
    name: 'web',
    object: { ...now, spec: { ...now.spec, webhooks: [{ ...now.spec.webhooks[0], ...over }] } },
  });
};
const push = () => bed.push('web:latest', { labels: { note: 'a "b"' } });
const delivery = async () => {
  const { items } = await bed.ask({ resource: 'deliveries', verb: 'list' });
  expect(items.length).toBeGreaterThan(0);
  return items[0] as (typeof items)[0];
};
const received = async (n = 1): Promise<Received> => {
  await eventually(() => expect(bed.sink.received.length).toBeGreaterThanOrEqual(n));
  return bed.sink.received[n - 1] as Received;
};
const ref = (name: string, of = 'token') => ({ secretKeyRef: { name, key: of } });
const put = (name: string, value: string | undefined, of = 'token') => {
  const id = `${bed.namespace}/${name}/${of}`;
  if (value === undefined) secrets.delete(id);
  else secrets.set(id, value);
  bed.peer.bus.nudge(PULL_SECRETS_BELL);
};
/** Which keys verify a call, as any library of Standard Webhooks does. */
const verifiedBy = ({ headers, body }: Received, keys: string[]): string[] =>
  keys.filter((one) => {
    try {
      new Webhook(one).verify(body, headers as Record<string, string>);
      return true;
    } catch {
      return false;
    }
  });

describe('a preset', () => {
  it('sends what its receiver takes, with a token that is read nowhere', async () => {
    bed.sink.answer = () => ({ status: 201 });
    const answer = await made({
      preset: 'gitlab-pipeline',
      parameters: { server: bed.sink.url, project: 'team/web', token: 'glptt-hunter2hunter2' },
    });
    const move = await push();
    const { path, headers, body } = await received();

    expect(path).toBe('/api/v4/projects/team%2Fweb/trigger/pipeline');
    expect(headers['content-type']).toBe('application/json');
    expect(JSON.parse(body)).toMatchObject({ token: 'glptt-hunter2hunter2', ref: 'main', variables: { MILLRACE_IMAGE: move.pullSpec } });
    await eventually(async () => expect((await delivery()).status.state).toBe('delivered'));
    expect(answer.object.spec.webhooks[0]).toMatchObject({ parameters: { project: 'team/web', token: '***' } });
    const rows = await bed.store.query(
      'SELECT row_to_json(w) AS w FROM webhook w UNION ALL SELECT row_to_json(t) FROM trigger t UNION ALL SELECT row_to_json(d) FROM delivery d',
    );
    for (const shown of [rows, await get(), await delivery(), bed.dispatcher.logged])
      expect(JSON.stringify(shown)).not.toContain('hunter2');
    expect((await delivery()).spec.url).toBe(`${bed.sink.url}/api/v4/projects/team%2Fweb/trigger/pipeline`);
  });

  it('keeps what is sent back masked, and takes what is sent anew', async () => {
    const parameters = { server: bed.sink.url, project: '1', token: 'first-token' };
    bed.sink.answer = () => ({ status: 201 });
    await made({ preset: 'gitlab-pipeline', parameters });

    await change({ parameters: { ...parameters, token: '***', ref: 'release' } });
    await push();
    expect(JSON.parse((await received()).body)).toMatchObject({ token: 'first-token', ref: 'release' });
    await change({ parameters: { ...parameters, token: 'second-token' } });
    await push();
    expect(JSON.parse((await received(2)).body)).toMatchObject({ token: 'second-token' });
    const refused = await create(
      { name: 'other', preset: 'gitlab-pipeline', parameters: { ...parameters, token: '***' } },
      { name: 'other' },
    );
    expect(refused.object.message).toContain('spec.webhooks[0].parameters[token]: Invalid value: "***": is masked, and no value is kept');
  });

  it('whose answer is another than that of success is tried again, and says so', async () => {
    bed.sink.answer = () => ({ status: 200, body: '<html>Log in</html>' });
    await made({ preset: 'gitlab-pipeline', parameters: { server: bed.sink.url, project: '1', token: 't' } });
    await push();

    await eventually(async () =>
      expect((await delivery()).status).toMatchObject({
        state: 'retrying',
        lastAttempt: { error: 'answered 200, and 201 is what the receiver answers when it has acted' },
      }),
    );
  });

  it('with a parameter that it does not have, or without one that it needs, is refused', async () => {
    const { code, object } = await create({ preset: 'gitlab-pipeline', parameters: { server: bed.sink.url, tokn: 'x' } });

    expect(code).toBe(422);
    expect(object.message).toContain('parameters[tokn]: Forbidden: preset gitlab-pipeline has no such parameter');
    expect(object.message).toContain('parameters[project]: Required value');
    expect(object.message).toContain('parameters[token]: Required value');
  });

  it('is looked up as an object', async () => {
    const { object } = await bed.ask({ resource: 'webhookpresets', namespace: undefined, verb: 'get', name: 'slack' });
    const { items } = await bed.ask({ resource: 'webhookpresets', namespace: undefined, verb: 'list' });

    expect(object).toMatchObject({
      kind: 'WebhookPreset',
      metadata: { name: 'slack' },
      spec: { receiver: 'Slack', parameters: { path: { required: true, secret: true } } },
    });
    expect(items.map(({ metadata }) => metadata.name)).toContain('kargo');
    expect(await bed.ask({ resource: 'webhookpresets', namespace: undefined, verb: 'get', name: 'none' })).toMatchObject({ code: 404 });
    expect(await bed.ask({ resource: 'webhookpresets', namespace: undefined, verb: 'delete', name: 'slack' })).toMatchObject({ code: 405 });
  });
});

describe('a template', () => {
  it('makes URL, headers and body, and is signed as it is sent', async () => {
    await made({
      ...{
        url: `${bed.sink.url}/{{ stream }}/{{ tag }}?note={{ labels.note }}`,
        method: 'PUT',
        body: '{"image": "{{ image }}", "note": "{{ labels.note }}"}',
      },
      ...{ headers: { 'x-env': '{{ parameters.env }}', 'x-none': '{{ labels.none }}' }, parameters: { env: 'prod' }, secret: whsec(5) },
    });
    const move = await push();
    const call = await received();

    expect(call.path).toBe('/web/latest?note=a%20%22b%22');
    expect(JSON.parse(call.body)).toEqual({ image: move.pullSpec, note: 'a "b"' });
    expect(call.headers).toMatchObject({ 'x-env': 'prod', 'content-type': 'application/json' });
    expect(call.headers).not.toHaveProperty('x-none');
    expect(verifiedBy(call, [whsec(5)])).toEqual([whsec(5)]);
  });

  it.each([
    ['that cannot be read', '{% if %}', 'line 1'],
    ['that loops', '{% for i in (1..100000000) %}x{% endfor %}', 'on the way'],
    [
      'that makes 100 MB',
      '{% for i in (1..1000) %}{% for j in data.cause %}{{ event | json }}{% endfor %}{% endfor %}',
      'more than 256 kB',
    ],
    ['that is not JSON', '{"a": {{ image }}}', 'not JSON'],
    ['that names what is not there', '{"a": "{{ evnt.id }}"}', 'there is no evnt'],
  ])('%s is refused when it is written', async (_what, body, message) => {
    const { code, object } = await create({ url: bed.sink.url, body });

    expect(code).toBe(422);
    expect(object.message).toContain('spec.webhooks[0].body: Invalid value: "***": ');
    expect(object.message).toContain(message);
  });

  it('that an event breaks is a failed attempt that names its line, and delays nobody', async () => {
    const loops = '{% if labels.note %}\n{% for i in (1..4000) %}{% for j in (1..4000) %}x{% endfor %}{% endfor %}{% endif %}';
    await made({ url: `${bed.sink.url}/harm`, body: loops, contentType: 'text/plain' });
    await bed.create(aTrigger('other', { webhooks: [{ name: 'hook', url: bed.sink.url }] }));
    const pushed = Date.now();
    await push();
    const other = await received();

    expect(other.at - pushed).toBeLessThan(500);
    await eventually(async () => {
      const { items } = await bed.ask({ resource: 'deliveries', verb: 'list', labelSelector: 'trigger=web' });
      expect(items[0]?.status).toMatchObject({
        state: 'retrying',
        lastAttempt: { error: expect.stringMatching(/^body: line 2, column \d+: it /) },
      });
    });
    expect(bed.sink.received.map(({ path }) => path)).toEqual(['/']);
  });

  it('cannot make another host of a URL', async () => {
    for (const url of [`http://{{ tag }}.example.com/`, `${bed.sink.url}{{ labels.port }}/`, '{{ data.pullSpec }}/x']) {
      const { code, object } = await create({ url });

      expect(code).toBe(422);
      expect(object.message).toContain('the host may not be made of an event');
    }
  });

  it('does not lead inward by a redirect', async () => {
    const inward = await bed.aSink();
    bed.sink.answer = () => ({ status: 302, headers: { location: `${inward.url}/admin` } });
    await made({ url: bed.sink.url, body: '{}' });
    await push();

    await eventually(async () => expect((await delivery()).status.lastAttempt?.error).toBe('answered 302: redirects are not followed'));
    expect(inward.received).toEqual([]);
  });
});

describe('a secret by reference', () => {
  it('is read when it is needed, in its namespace alone, and changes with the secret', async () => {
    put('ci', 'first-token-of-ci');
    await made({
      url: bed.sink.url,
      headers: { authorization: 'Bearer {{ parameters.token }}' },
      parametersFrom: { token: ref('ci') },
      headersFrom: { 'x-whole': ref('ci') },
    });
    await push();
    expect((await received()).headers).toMatchObject({ authorization: 'Bearer first-token-of-ci', 'x-whole': 'first-token-of-ci' });

    put('ci', 'second-token-of-ci\n');
    await bed.peer.bus.check();
    await push();

    expect((await received(2)).headers).toMatchObject({ authorization: 'Bearer second-token-of-ci', 'x-whole': 'second-token-of-ci' });
    expect(new Set(asked)).toEqual(new Set([`${bed.namespace}/ci/token`]));
    const shown = [
      await get(),
      await delivery(),
      bed.dispatcher.logged,
      await bed.store.query('SELECT row_to_json(w) AS w FROM webhook w'),
    ];
    for (const one of shown) expect(JSON.stringify(one)).not.toContain('token-of-ci');
  });

  it('that is not there is told when it is written, fails the call with a reason, and is forgotten when it comes', async () => {
    const answer = await made({ url: bed.sink.url, headersFrom: { authorization: ref('late') } });
    expect(answer.warnings).toEqual([`spec.webhooks[0].headersFrom.authorization: there is no secret late in namespace ${bed.namespace}`]);
    expect(answer.object.status.webhooks[0]).toEqual({
      ...{ name: 'hook', state: 'Active', problem: `headersFrom.authorization: there is no secret late in namespace ${bed.namespace}` },
    });
    await push();
    await eventually(async () =>
      expect((await delivery()).status).toMatchObject({
        ...{
          state: 'retrying',
          lastAttempt: { error: `headersFrom.authorization: there is no secret late in namespace ${bed.namespace}` },
        },
      }),
    );

    put('late', 'Basic abc');

    // Nothing is called for it: the status follows the secret.
    await eventually(async () => expect((await get()).status.webhooks).toEqual([{ name: 'hook', state: 'Active' }]));
    expect((await received()).headers['authorization']).toBe('Basic abc');
    await eventually(async () => expect((await delivery()).status.state).toBe('delivered'));
  });

  it('that goes is told by the call that misses it', async () => {
    put('soon', 'abc');
    expect((await made({ url: bed.sink.url, headersFrom: { authorization: ref('soon') } })).warnings).toBeUndefined();
    put('soon', undefined);
    await bed.peer.bus.check();
    await push();

    await eventually(async () => expect((await get()).status.webhooks[0]?.problem).toContain('there is no secret soon'));
    expect(bed.sink.received).toEqual([]);
  });

  it('that does not hold what it should is told too', async () => {
    put('short', 'whsec_c2hvcnQ=');
    const answer = await made({ url: bed.sink.url, secretFrom: ref('short') });

    expect(answer.warnings?.[0]).toContain('secretFrom: what stands in the secret must be whsec_');
    expect(JSON.stringify(answer)).not.toContain('c2hvcnQ');
    put('short', whsec(7));
    await eventually(async () => expect((await get()).status.webhooks[0]).toEqual({ name: 'hook', state: 'Active' }));
  });

  it('is used for a while as it was last read when tag-store is away, and then waited for', async () => {
    put('kept', 'kept-value');
    await made({ url: bed.sink.url, headersFrom: { authorization: ref('kept') } });
    tagStoreIsAway = true;
    put('kept', 'kept-value');
    await bed.peer.bus.check();
    await push();
    expect((await received()).headers['authorization']).toBe('kept-value');

    await made({ url: bed.sink.url, headersFrom: { authorization: ref('unknown') } }, { name: 'other' });
    await push();
    await eventually(async () => {
      const { items } = await bed.ask({ resource: 'deliveries', verb: 'list', labelSelector: 'trigger=other' });
      expect(items[0]?.status.lastAttempt?.error).toContain(`secrets of namespace ${bed.namespace} cannot be asked for`);
    });
  });
});

describe('keys that sign', () => {
  const both = [whsec(1), whsec(2)];

  it('are two while receivers change over, in three steps', async () => {
    await made({ url: bed.sink.url, secret: whsec(1) });
    await push();
    expect(verifiedBy(await received(), both)).toEqual([whsec(1)]);

    expect((await change({ secret: whsec(2), previousSecret: '***' })).code).toBe(200);
    await push();
    const call = await received(2);
    expect(call.headers['webhook-signature']).toMatch(/^v1,\S+ v1,\S+$/);
    expect(verifiedBy(call, both)).toEqual(both);
    expect((await get()).spec.webhooks[0]).toMatchObject({ previousSecret: '***', secretSet: true });

    await change({ previousSecret: undefined });
    await push();
    expect(verifiedBy(await received(3), both)).toEqual([whsec(2)]);
  });

  it('read and written back stay as they are', async () => {
    await made({ url: bed.sink.url, secret: whsec(1) });
    await change({ secret: whsec(2), previousSecret: '***' });

    expect((await change({ timeoutSeconds: 20 })).code).toBe(200);
    expect((await change({ secret: whsec(2), timeoutSeconds: 21 })).code).toBe(200);
    await push();

    expect(verifiedBy(await received(), both)).toEqual(both);
  });

  it('stand in secrets, the one before beside the present one', async () => {
    put('keys', whsec(1), 'current');
    await made({ url: bed.sink.url, secretFrom: ref('keys', 'current'), previousSecretFrom: ref('keys', 'previous') });
    await push();
    expect(verifiedBy(await received(), both)).toEqual([whsec(1)]);
    expect((await get()).status.webhooks[0]).toEqual({ name: 'hook', state: 'Active' });

    put('keys', whsec(1), 'previous');
    put('keys', whsec(2), 'current');
    await bed.peer.bus.check();
    await push();

    expect(verifiedBy(await received(2), both)).toEqual(both);
  });

  it('of Ed25519 are made by the server, and the status says what verifies them', async () => {
    const { object } = await made({ url: bed.sink.url, signing: 'Ed25519' });
    const [publicKey = ''] = object.status.webhooks[0]?.publicKeys ?? [];
    await push();
    const { headers, body } = await received();

    expect(publicKey).toMatch(/^whpk_/);
    expect(JSON.stringify(object)).not.toContain('whsk_');
    const [version, signed = ''] = (headers['webhook-signature'] as string).split(',');
    const x = Buffer.from(publicKey.slice(5), 'base64').toString('base64url');
    const content = Buffer.from(`${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`);
    expect(version).toBe('v1a');
    expect(
      verify(null, content, createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }), Buffer.from(signed, 'base64')),
    ).toBe(true);
    expect((await get()).status.webhooks[0]?.publicKeys).toEqual([publicKey]);
  });

  it('change from HMAC to Ed25519 with both for a while', async () => {
    await made({ url: bed.sink.url, secret: whsec(1) });
    await change({ signing: 'Ed25519', previousSecret: '***' });
    await push();
    const call = await received();

    expect(call.headers['webhook-signature']).toMatch(/^v1a,\S+ v1,\S+$/);
    expect(verifiedBy(call, [whsec(1)])).toEqual([whsec(1)]);
  });

  it('that are masked where none is replaced and none is kept are refused', async () => {
    await made({ url: bed.sink.url, secret: whsec(1) });

    expect((await change({ previousSecret: '***' })).object.message).toContain(
      'previousSecret: Invalid value: "***": is masked, and none is kept',
    );
  });

  it('and all other credentials are in no copy that kubectl apply keeps', async () => {
    const webhook = {
      ...{ url: bed.sink.url, secret: whsec(1), previousSecret: whsec(2), headers: { Authorization: 'Bearer hunter2' } },
      ...{ body: '{}', parameters: { apiToken: 'pin' } },
    };
    const applied = `${JSON.stringify({ spec: { webhooks: [webhook] }, pins: 'pinned' })}\n`;
    const { object } = await made(webhook, { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': applied } });

    const copy = JSON.parse(object.metadata.annotations?.['kubectl.kubernetes.io/last-applied-configuration'] ?? '') as unknown;
    const masked = { secret: '***', previousSecret: '***', headers: { Authorization: '***' }, parameters: { apiToken: '***' } };
    expect(copy).toEqual({ spec: { webhooks: [{ ...webhook, ...masked }] }, pins: 'pinned' });
  });
});

describe('a workload in a cluster', () => {
  const kubernetes = (over: object = {}) => ({
    ...{ server: '', tokenFrom: ref('cluster'), containers: ['web'], ...over },
    object: { apiVersion: 'apps/v1', kind: 'Deployment', namespace: 'shop', name: 'web' },
  });
  interface Asked {
    method: string;
    url: string;
    headers: Record<string, unknown>;
    body: string;
  }

  /** An API server over TLS that answers as it is told. */
  async function aCluster(answer: (asked: Asked) => { status: number; body?: object }) {
    const authority = await certificate('authority');
    const { cert, key: privateKey } = await certificate('cluster', authority);
    const calls: Asked[] = [];
    const listening = createServer({ cert, key: privateKey }, (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const call = {
          method: request.method ?? '',
          url: request.url ?? '',
          headers: request.headers,
          body: Buffer.concat(chunks).toString(),
        };
        calls.push(call);
        const { status, body = {} } = answer(call);
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      });
    });
    await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      listening.closeAllConnections();
      listening.close();
    });
    return { server: `https://127.0.0.1:${(listening.address() as AddressInfo).port}`, ca: authority.cert, calls };
  }

  it('that is there gets the image by server-side apply, with nothing else of it', async () => {
    const cluster = await aCluster(() => ({ status: 200, body: { env: 'DATABASE_PASSWORD' } }));
    put('cluster', 'token-of-the-cluster');
    await made({ kubernetes: kubernetes({ server: cluster.server, ca: cluster.ca }) });
    const move = await push();
    await eventually(async () => expect((await delivery()).status.state).toBe('delivered'));

    const [looked, applied] = cluster.calls as [Asked, Asked];
    const path = '/apis/apps/v1/namespaces/shop/deployments/web';
    expect(looked).toMatchObject({ method: 'GET', url: path, headers: { authorization: 'Bearer token-of-the-cluster' } });
    expect(applied).toMatchObject({ method: 'PATCH', url: `${path}?fieldManager=millrace&force=false` });
    expect(applied.headers).toMatchObject({ 'content-type': 'application/apply-patch+yaml', authorization: 'Bearer token-of-the-cluster' });
    expect(applied.headers).not.toHaveProperty('webhook-signature');
    expect(JSON.parse(applied.body)).toEqual({
      ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace: 'shop' } },
      spec: { template: { spec: { containers: [{ name: 'web', image: move.pullSpec }] } } },
    });
    const shown = JSON.stringify([await delivery(), await get(), bed.dispatcher.lines('delivery.attempted')]);
    for (const secret of ['token-of-the-cluster', 'DATABASE_PASSWORD']) expect(shown).not.toContain(secret);
    expect((await delivery()).spec.url).toBe(`${cluster.server}${path}`);
  });

  it.each([
    [401, 'the token is not accepted'],
    [403, 'give its service account a Role with the verb patch'],
    [409, 'another field manager owns the image'],
    [422, 'does it have these containers'],
  ])('whose server answers %i is tried again, and says why', async (status, reason) => {
    const message = 'as the server says it';
    const cluster = await aCluster(({ method }) => (method === 'GET' ? { status: 200 } : { status, body: { kind: 'Status', message } }));
    put('cluster', 'token-of-the-cluster');
    await made({ kubernetes: kubernetes({ server: cluster.server, ca: cluster.ca }) });
    await push();

    await eventually(async () => {
      const { state, lastAttempt } = (await delivery()).status;
      expect({ state, status: lastAttempt?.status }).toEqual({ state: 'retrying', status });
      expect(lastAttempt?.error).toContain(reason);
      expect(lastAttempt?.error).toContain('(as the server says it)');
    });
  });

  it('that is not there is not made', async () => {
    const cluster = await aCluster(() => ({ status: 404, body: { message: 'deployments.apps "web" not found' } }));
    put('cluster', 'token-of-the-cluster');
    await made({ kubernetes: kubernetes({ server: cluster.server, ca: cluster.ca }) });
    await push();

    await eventually(async () => expect((await delivery()).status.lastAttempt?.error).toContain('there is no such object; it is not made'));
    expect(cluster.calls.map(({ method }) => method)).toEqual(['GET']);
  });

  it('is not called with a certificate of another authority, and with one from a secret it is', async () => {
    const cluster = await aCluster(() => ({ status: 200 }));
    put('cluster', 'token-of-the-cluster');
    put('cluster', (await certificate('other')).cert, 'ca.crt');
    await made({ kubernetes: kubernetes({ server: cluster.server, caFrom: ref('cluster', 'ca.crt') }) });
    await push();
    await eventually(async () => expect((await delivery()).status.lastAttempt?.error).toMatch(/certificate/));
    expect(cluster.calls).toEqual([]);

    put('cluster', cluster.ca, 'ca.crt');

    await eventually(async () => expect((await delivery()).status.state).toBe('delivered'));
  });

  it('may not be where webhooks may not go', async () => {
    const { code, object } = await create({ kubernetes: kubernetes({ server: 'https://169.254.169.254' }) });

    expect(code).toBe(422);
    expect(object.message).toContain('a metadata address is not allowed');
  });
});

it('a webhook from before templates works on, and is not written anew', async () => {
  await made({ url: `${bed.sink.url}/in?x=1`, secret: whsec(1), headers: { 'x-old': '{{ tag }}' } });
  const sealed = sealing.seal({ secret: whsec(1), headers: { 'x-old': '{{ tag }}' } }, `${(await get()).metadata['uid' as never]}/hook`);
  await bed.store.query('UPDATE webhook SET sealed = $1, url = $2', [sealed, `${bed.sink.url}/in?x=1`]);
  await push();
  const call = await received();

  expect(call.path).toBe('/in?x=1');
  expect(call.headers).toMatchObject({ 'x-old': '{{ tag }}', 'content-type': 'application/cloudevents+json; charset=utf-8' });
  expect(verifiedBy(call, [whsec(1)])).toEqual([whsec(1)]);
});
