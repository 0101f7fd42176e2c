import { describe, expect, it } from 'vitest';
import { eventually } from '@millrace/testing/eventually';
import { aTag, aTrigger } from '@millrace/testing/image-trigger';
import { ProductBed } from '@millrace/testing/product-bed';

const SECRETS = '/api/v1/namespaces/shop/secrets';
const TRIGGERS = '/apis/triggers.millrace.dev/v1/namespaces/shop';
const DEPLOYMENTS = '/apis/apps/v1/namespaces/cluster/deployments';

const bed = new ProductBed();

async function done(method: string, path: string, body?: unknown, headers?: Record<string, string>) {
  const answer = await bed.api.request(method, path, body, headers);
  expect(answer.status, answer.text).toBeLessThan(300);
  return answer.json;
}
const push = (stream: string, letter: string) => bed.push(`shop/${stream}:latest`, letter);
const secret = (name: string, stringData: Record<string, string>) => ({ kind: 'Secret', apiVersion: 'v1', metadata: { name }, stringData });
const trigger = (name: string, stream: string, webhook: object) =>
  aTrigger(name, { from: aTag(`${stream}:latest`), webhooks: [{ name: 'hook', ...webhook }] });
const deliveries = async (name: string) => (await done('GET', `${TRIGGERS}/deliveries?labelSelector=trigger%3D${name}`)).items;

describe('a workload in a cluster', () => {
  const deployment = {
    ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', labels: { team: 'shop' } } },
    spec: {
      replicas: 3,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: {
          containers: [
            { name: 'web', image: 'e.io/shop/web:old', env: [{ name: 'MODE', value: 'prod' }] },
            { name: 'log', image: 'e.io/log:1' },
          ],
        },
      },
    },
  };
  const kubernetes = (more: object = {}) => ({
    ...{
      server: bed.product.api,
      caFrom: { secretKeyRef: { name: 'cluster', key: 'ca.crt' } },
      tokenFrom: { secretKeyRef: { name: 'cluster', key: 'token' } },
    },
    ...{ object: { apiVersion: 'apps/v1', kind: 'Deployment', namespace: 'cluster', name: 'web' }, containers: ['web'], ...more },
  });
  const read = () => done('GET', `${DEPLOYMENTS}/web`);
  const managers = (object: { metadata: { managedFields: { manager: string; operation: string; fieldsV1: object }[] } }) =>
    object.metadata.managedFields.filter(({ manager }) => manager === 'millrace');

  it('is left alone while another owns the image, and the delivery says who and what to do', async () => {
    await done('POST', DEPLOYMENTS, deployment);
    await bed.stream('shop/web');
    await done('POST', SECRETS, secret('cluster', { token: bed.product.token, 'ca.crt': bed.product.ca }));
    await done('POST', `${TRIGGERS}/imagetriggers`, trigger('web', 'web', { kubernetes: kubernetes() }));
    await push('web', 'a');

    await eventually(async () => {
      const [{ status }] = await deliveries('web');
      expect(status).toMatchObject({ state: 'retrying', lastAttempt: { status: 409 } });
      expect(status.lastAttempt.error).toContain('answered 409: another field manager owns the image');
    }, 20_000);
    expect((await read()).spec.template.spec.containers[0].image).toBe('e.io/shop/web:old');
  });

  it('gets the image of each push once it may be taken, and keeps everything else', async () => {
    const before = await read();
    const now = await done('GET', `${TRIGGERS}/imagetriggers/web`);
    await done('PUT', `${TRIGGERS}/imagetriggers/web`, {
      ...now,
      ...trigger('web', 'web', { kubernetes: kubernetes({ force: true }) }),
      metadata: now.metadata,
    });
    const image = await push('web', 'b');

    await eventually(async () => expect((await read()).spec.template.spec.containers[0].image).toBe(image), 20_000);
    const after = await read();
    const [web, log] = after.spec.template.spec.containers;
    expect(web).toMatchObject({ name: 'web', image, env: [{ name: 'MODE', value: 'prod' }] });
    expect(log).toEqual(before.spec.template.spec.containers[1]);
    expect({ ...after.spec, template: null }).toEqual({ ...before.spec, template: null });
    expect(after.metadata.labels).toEqual({ team: 'shop' });
    expect(managers(after)).toHaveLength(1);
    expect(managers(after)[0]).toMatchObject({ operation: 'Apply', apiVersion: 'apps/v1' });
    expect(JSON.stringify(managers(after)[0]?.fieldsV1)).toContain('k:{\\"name\\":\\"web\\"}');
    expect(JSON.stringify(managers(after)[0]?.fieldsV1)).not.toContain('replicas');

    // What it owns now needs no force.
    const next = await push('web', 'c');
    await eventually(async () => expect((await read()).spec.template.spec.containers[0].image).toBe(next), 20_000);
  });

  it('that is not there is not made', async () => {
    await bed.stream('shop/none');
    const object = { apiVersion: 'apps/v1', kind: 'Deployment', namespace: 'cluster', name: 'none' };
    await done('POST', `${TRIGGERS}/imagetriggers`, trigger('none', 'none', { kubernetes: kubernetes({ object }) }));
    await push('none', 'a');

    await eventually(
      async () => expect((await deliveries('none'))[0].status.lastAttempt.error).toContain('there is no such object'),
      20_000,
    );
    expect((await bed.api.request('GET', `${DEPLOYMENTS}/none`)).status).toBe(404);
  });
});

describe('a preset with a token in a Secret', () => {
  it('uses what the Secret holds now, and shows it nowhere', async () => {
    bed.sink.answer = () => ({ status: 202 });
    await bed.stream('shop/build');
    await done('POST', SECRETS, secret('tekton', { token: 'first-hmac-token' }));
    const parametersFrom = { token: { secretKeyRef: { name: 'tekton', key: 'token' } } };
    await done(
      'POST',
      `${TRIGGERS}/imagetriggers`,
      trigger('build', 'build', { preset: 'tekton-eventlistener', parameters: { server: bed.sink.url }, parametersFrom }),
    );
    await push('build', 'a');
    await eventually(() => expect(bed.sink.received).toHaveLength(1), 20_000);

    await done('PUT', `${SECRETS}/tekton`, secret('tekton', { token: 'second-hmac-token' }));
    await push('build', 'b');
    await eventually(() => expect(bed.sink.received).toHaveLength(2), 20_000);

    const { createHmac } = await import('node:crypto');
    for (const [i, token] of ['first-hmac-token', 'second-hmac-token'].entries()) {
      const { headers, body } = bed.sink.received[i] as (typeof bed.sink.received)[0];
      expect(headers['x-hub-signature-256']).toBe(`sha256=${createHmac('sha256', token).update(body).digest('hex')}`);
    }
    const shown = [await done('GET', `${TRIGGERS}/imagetriggers/build`), await deliveries('build'), bed.product.output()];
    for (const one of shown) expect(JSON.stringify(one)).not.toContain('hmac-token');
  });

  it('is found in the list of presets', async () => {
    const { kind, items } = await done('GET', '/apis/triggers.millrace.dev/v1/webhookpresets');

    expect(kind).toBe('WebhookPresetList');
    expect(items.find(({ metadata }: { metadata: { name: string } }) => metadata.name === 'tekton-eventlistener')).toMatchObject({
      spec: { receiver: 'Tekton Triggers', parameters: { token: { secret: true } } },
    });
  });
});
