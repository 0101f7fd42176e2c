import { acr } from './dialects/acr.ts';
import { artifactory } from './dialects/artifactory.ts';
import { cloudevents } from './dialects/cloudevents.ts';
import type { Dialect, Headers, Outcome } from './dialects/dialect.ts';
import { distribution } from './dialects/distribution.ts';
import { dockerhub } from './dialects/dockerhub.ts';
import { ecr } from './dialects/ecr.ts';
import { gar } from './dialects/gar.ts';
import { ghcr } from './dialects/ghcr.ts';
import { harbor } from './dialects/harbor.ts';
import { nexus } from './dialects/nexus.ts';
import { quay } from './dialects/quay.ts';
import { zot } from './dialects/zot.ts';

/** Every dialect in which registries tell of their pushes, by name. */
export const dialects: ReadonlyMap<string, Dialect> = new Map(
  [distribution, acr, artifactory, cloudevents, dockerhub, ecr, gar, ghcr, harbor, nexus, quay, zot].map((dialect) => [
    dialect.name,
    dialect,
  ]),
);

/** What a notification says, event by event in its order. A body that is no JSON is one malformed event. */
export function outcomesIn(dialect: Dialect, body: string, headers: Headers): Outcome[] {
  let payload: unknown;
  try {
    payload = JSON.parse(body);
  } catch (error) {
    return [{ kind: 'malformed', reason: `the body is not JSON: ${(error as Error).message}`, event: body }];
  }
  return dialect.read(payload, headers);
}
