import { expect, it } from 'vitest';
import { eventually } from '@millrace/testing/eventually';
import { aTrigger } from '@millrace/testing/image-trigger';
import { ProductBed } from '@millrace/testing/product-bed';
import { hasTool } from '@millrace/testing/tools';

const TRIGGERS = '/apis/triggers.millrace.dev/v1/namespaces/demo';

const bed = new ProductBed({ args: ['--quiet'] });
const kubectl = bed.scriptedKubectl('demo');

it.runIf(hasTool('kubectl'))(
  'a person finds what was delivered, reads its attempts and has it made again, with kubectl alone',
  async () => {
    const webhooks = [{ name: 'hook', url: bed.sink.url, rate: { calls: 100, per: '1s' } }];
    await bed.create(`${TRIGGERS}/imagetriggers`, aTrigger('deploy', { webhooks }));
    await bed.stream('demo/web');
    await bed.push('demo/web:latest', 'a');
    await eventually(async () => expect(await kubectl('get deliveries -l state=delivered')).toContain('deploy-'));

    const one = (await kubectl('get deliveries --field-selector spec.webhook=hook,status.state=delivered -o name')).trim();
    expect(await kubectl(`get ${one} -o wide`)).toMatch(/WEBHOOK +LAST[\s\S]* hook +204/);
    expect(await kubectl(`get ${one} -o jsonpath={.status.attemptLog[0].answer.status},{.status.attemptLog[0].request.method}`)).toBe(
      '204,POST',
    );

    const spec = { trigger: 'deploy', since: '1h', states: ['delivered'] };
    const replay = {
      apiVersion: 'triggers.millrace.dev/v1',
      kind: 'DeliveryReplay',
      metadata: { generateName: 'replay-', namespace: 'demo' },
      spec,
    };
    const counted = 'jsonpath={.status.matched},{.status.replayed}';
    expect(await kubectl(`create -f - --dry-run=server -o ${counted}`, replay)).toBe('1,0');
    expect(bed.sink.received).toHaveLength(1);
    expect(await kubectl(`create -f - -o ${counted}`, replay)).toBe('1,1');
    await eventually(() => expect(bed.sink.received).toHaveLength(2));
    await eventually(async () => expect(await kubectl('get deliveries -l state=delivered')).toContain('deploy-'));
    const raw = await kubectl(`create --raw ${TRIGGERS}/deliveryreplays -f -`, replay);
    expect(JSON.parse(raw)).toMatchObject({ kind: 'DeliveryReplay', status: { matched: 1, replayed: 1, remaining: 0 } });
    await eventually(() => expect(bed.sink.received).toHaveLength(3));
    expect(new Set(bed.sink.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  },
);
