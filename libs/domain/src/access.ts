import { z } from 'zod';

/** Who asks. Groups decide; `system:masters` may do everything. */
export const Identity = z.object({ name: z.string(), uid: z.string().optional(), groups: z.array(z.string()) }).meta({ id: 'Identity' });
export type Identity = z.infer<typeof Identity>;

export const MASTERS = 'system:masters';
export const AUTHENTICATED = 'system:authenticated';
export const ANONYMOUS: Identity = { name: 'system:anonymous', groups: ['system:unauthenticated'] };

/** One request as access control sees it: an object of the API, or a path that is none. */
export type AccessRequest =
  | { kind: 'resource'; verb: string; group: string; resource: string; subresource?: string; namespace?: string; name?: string }
  | { kind: 'path'; verb: string; path: string };

export type AccessDecision = { allowed: true; reason: string } | { allowed: false; reason: string };

const OPEN_PATHS = new Set(['/livez', '/readyz', '/healthz', '/version', '/version/']);
const DISCOVERY = /^\/(api|apis|version|openapi)(\/|$)/;

/** The one place that decides what an identity may do; roles will be further rows here. */
export function decideAccess(who: Identity, request: AccessRequest): AccessDecision {
  if (request.kind === 'path' && request.verb === 'get' && OPEN_PATHS.has(request.path))
    return { allowed: true, reason: 'health and version are open to everyone' };
  if (who.groups.includes(MASTERS)) return { allowed: true, reason: `member of ${MASTERS}` };
  if (request.kind === 'path' && request.verb === 'get' && DISCOVERY.test(request.path) && who.groups.includes(AUTHENTICATED))
    return { allowed: true, reason: 'discovery is open to every authenticated user' };
  return { allowed: false, reason: '' };
}
