import { describe, expect, it } from 'vitest';
import { eventually } from '@millrace/testing/eventually';
import { aTag, aTrigger } from '@millrace/testing/image-trigger';
import { digest, ProductBed } from '@millrace/testing/product-bed';
import { hasTool } from '@millrace/testing/tools';

const TRIGGERS = '/apis/triggers.millrace.dev/v1/namespaces/team/imagetriggers';

const bed = new ProductBed();
const kubectl = bed.kubectl('team');
const manifest = (spec: object) => aTrigger('deploy', { from: aTag('app:latest'), ...spec });
const explanation = (spec: object) => ({
  apiVersion: 'triggers.millrace.dev/v1',
  kind: 'Explanation',
  spec: { from: { name: 'app:latest' }, ...spec },
});

describe.runIf(hasTool('kubectl'))('a trigger that holds changes back', () => {
  it('is applied, tells what waits and why, is explained, and is released and approved', { timeout: 60_000 }, async () => {
    await bed.stream('team/app');
    const held = { hold: { reason: 'back to what worked' }, approval: { within: '24h' }, storm: { firings: 20, within: '1h' } };
    expect(await kubectl('apply -f -', manifest(held))).toBe('imagetrigger.triggers.millrace.dev/deploy created\n');
    expect(await kubectl('apply -f -', manifest(held))).toBe('imagetrigger.triggers.millrace.dev/deploy unchanged\n');
    for (const letter of ['a', 'b', 'c']) await bed.push('team/app:latest', letter);

    await eventually(
      async () => expect(await kubectl('get imagetriggers')).toMatch(/deploy +app:latest +Deploy +Waiting +#3 \(\+2\) +0/),
      20_000,
    );
    expect(await kubectl('get imagetriggers -o wide')).toContain('Held,AwaitingApproval');
    const described = await kubectl('describe imagetrigger deploy');
    for (const text of ['held until it is released: back to what worked', 'Superseded', digest('b'), '0 of 1 have approved it'])
      expect(described).toContain(text);
    const explained = await kubectl('create -f - -o yaml', explanation({}));
    expect(explained).toMatch(/decision: Waiting\n.*kind: ImageTrigger\n.*name: deploy/);
    expect(await kubectl('create -f - -o jsonpath={.status.counts}', explanation({ image: digest('d') }))).toBe(
      '{"imagetriggers":{"Waiting":1},"workloads":{}}',
    );

    expect(await kubectl(`create --raw ${TRIGGERS}/deploy/release?dryRun=All -f /dev/null`)).toContain('"ended":["hold"]');
    expect(await kubectl(`create --raw ${TRIGGERS}/deploy/release -f /dev/null`)).toContain('"decision":"Waiting"');
    const wrong = await kubectl(`create --raw ${TRIGGERS}/deploy/approve -f -`, { verdict: 'Approve', generation: 2 });
    expect(wrong).toContain(`generation 2 does not wait: generation 3 (${digest('c')}) has been waiting since`);
    expect(await kubectl(`create --raw ${TRIGGERS}/deploy/approve -f -`, { verdict: 'Approve', generation: 3 })).toContain(
      '"decision":"Fired"',
    );

    expect(await kubectl('get imagetrigger deploy -o jsonpath={.status.phase},{.status.lastTriggered.generation},{.spec.hold}')).toBe(
      'Active,3,',
    );
    expect(await kubectl('apply -f -', manifest({ minimumAge: 'soon' }))).toContain(
      'spec.minimumAge: Invalid value: "soon": must be an interval',
    );
    expect(await kubectl('explain imagetrigger.spec.storm')).toContain('How many firings are let through in the period');
  });
});
