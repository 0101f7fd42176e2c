import type { IncomingHttpHeaders } from 'node:http';
import type { Resource } from '@millrace/contracts/resources';
import { methodNotAllowed, StatusError } from '@millrace/domain/status';
import { discoveryOf, type Discovery } from './discovery.ts';
import { jsonBytes, yamlBytes } from './encoding.ts';
import { contentTypeOf, negotiate, negotiateOpenApi, OPENAPI_V2_MESSAGE } from './media.ts';
import { openApiOf, type OpenApi } from './openapi.ts';
import { swaggerOf, type Swagger } from './openapi-v2.ts';

/** An answer that is bytes already. */
export interface Page {
  code: number;
  body: Buffer;
  contentType: string;
  headers?: Record<string, string>;
}

export interface PageRequest {
  path: string;
  method: string;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  pretty: boolean;
}

const NOTHING = Buffer.alloc(0);
const OPENAPI = '/openapi/v3';
/** `kubectl create` asks for these before it sends a kind that cannot be patched, such as an import. */
const CUSTOM_KINDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const NO_CUSTOM_KINDS = { kind: 'CustomResourceDefinitionList', apiVersion: 'apiextensions.k8s.io/v1', metadata: {}, items: [] };
const YEAR_S = 365 * 24 * 3600;

/** As a Go server answers a path that it does not have; clients of Kubernetes know it. */
const pageNotFound = (): Page => ({
  code: 404,
  body: Buffer.from('404 page not found\n'),
  contentType: 'text/plain; charset=utf-8',
});

/** What the api says about itself: discovery, version, OpenAPI. Made once, answered from memory. */
export class Documents {
  private readonly discovery: Discovery;
  private readonly openApi: OpenApi;
  private readonly swagger: Swagger;

  constructor(resources: readonly Resource[], version: string) {
    this.discovery = discoveryOf(resources, version);
    this.openApi = openApiOf(resources, version);
    this.swagger = swaggerOf(resources, version);
  }

  /** Whether objects of this group and version can be asked for at all. */
  serves(group: string, version: string): boolean {
    return this.discovery.documents.has(group ? `/apis/${group}/${version}` : `/api/${version}`);
  }

  /** @throws StatusError 405 for another method than GET, 406 for a form that a document does not have */
  answer(request: PageRequest): Page {
    const path = request.path.length > 1 && request.path.endsWith('/') ? request.path.slice(0, -1) : request.path;
    const openApi = this.openApi.documents.get(path);
    const document = path === '/openapi/v2' || path === OPENAPI ? {} : this.documentAt(path);
    if (!openApi && !document) return pageNotFound();
    if (request.method !== 'GET') throw new StatusError(methodNotAllowed());
    if (path === '/openapi/v2') return this.ofSwagger(request);
    if (path === OPENAPI) return cached(request, { body: this.openApi.index.json, etag: this.openApi.index.etag });
    if (openApi) return ofGroup(request, openApi);
    return this.ofDiscovery(request, path, document ?? {});
  }

  private documentAt(path: string): object | undefined {
    return path === CUSTOM_KINDS ? NO_CUSTOM_KINDS : this.discovery.documents.get(path);
  }

  private ofSwagger(request: PageRequest): Page {
    const { json, message, etag } = this.swagger;
    if (negotiateOpenApi(request.headers.accept, OPENAPI_V2_MESSAGE) === 'json') return cached(request, { body: json, etag });
    return cached(request, { body: message, etag, contentType: OPENAPI_V2_MESSAGE });
  }

  private ofDiscovery({ headers, pretty }: PageRequest, path: string, document: object): Page {
    const form = negotiate(headers.accept, { discovery: path === '/api' || path === '/apis' });
    if (form.as === 'aggregated-discovery') {
      const contentType = `application/json;g=apidiscovery.k8s.io;v=${form.version};as=APIGroupDiscoveryList`;
      return { code: 200, body: jsonBytes(this.discovery.aggregated(path, form.version) ?? {}), contentType, headers: { vary: 'Accept' } };
    }
    const body = form.as === 'yaml' ? yamlBytes(document) : jsonBytes(document, pretty || path === '/version');
    return { code: 200, body, contentType: contentTypeOf(form) };
  }
}

/** The document of one group. Under the hash of its content it never changes; who comes with an old hash gets what there is now. */
function ofGroup(request: PageRequest, { json, etag }: { json: Buffer; etag: string }): Page {
  negotiateOpenApi(request.headers.accept);
  const page = cached(request, { body: json, etag });
  if (request.query.get('hash') !== etag) return page;
  return { ...page, headers: { ...page.headers, 'cache-control': `public, immutable, max-age=${YEAR_S}` } };
}

function cached(
  { headers: asked }: PageRequest,
  { body, etag, contentType = 'application/json' }: { body: Buffer; etag: string; contentType?: string },
): Page {
  const quoted = `"${etag}"`;
  const headers = { etag: quoted, vary: 'Accept-Encoding, Accept', 'cache-control': 'public, max-age=60' };
  if (asked['if-none-match'] === quoted) return { code: 304, body: NOTHING, contentType, headers };
  return { code: 200, body, contentType, headers };
}
