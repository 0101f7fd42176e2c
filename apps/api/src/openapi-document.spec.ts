import { readFileSync } from 'node:fs';
import { Validator } from '@seriousme/openapi-schema-validator';
import { expect, it } from 'vitest';

it('the published OpenAPI document is valid OpenAPI 3.1', async () => {
  const document = JSON.parse(readFileSync(new URL('../../../docs/generated/openapi.json', import.meta.url), 'utf8')) as Record<
    string,
    unknown
  >;

  const validator = new Validator();
  const result = await validator.validate(document);

  expect(result.errors ?? []).toEqual([]);
  expect(validator.version).toBe('3.1');
});
