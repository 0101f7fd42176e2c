import { expect, it } from 'vitest';
import { secretProblem } from '@millrace/domain/trigger-webhook';
import { freshSecret } from './webhook-secrets.ts';

it('a secret that the server makes is a Standard Webhooks secret, and no two are the same', () => {
  expect(secretProblem(freshSecret())).toBeUndefined();
  expect(freshSecret()).not.toBe(freshSecret());
});
