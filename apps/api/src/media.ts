import { notAcceptable, StatusError } from '@millrace/domain/status';

/** The form in which an answer is wanted. */
export type Representation =
  | { as: 'json' }
  | { as: 'yaml' }
  | { as: 'table'; version: 'v1' | 'v1beta1' }
  | { as: 'metadata' }
  | { as: 'aggregated-discovery'; version: 'v2' | 'v2beta1' };

const JSON_FORM: Representation = { as: 'json' };
/** The reference's words, protobuf included: clients compare texts, and one that insists on protobuf is refused either way. */
const AVAILABLE = 'application/json, application/yaml, application/vnd.kubernetes.protobuf';

/** What may be answered beside JSON and YAML. */
export interface Offers {
  /** Objects can be printed as a table or cut down to their metadata. */
  objects?: 'one' | 'list';
  discovery?: boolean;
}

/**
 * The first clause of an Accept header that can be served.
 * @throws StatusError 406 when there is none
 */
export function negotiate(accept: string | undefined, offers: Offers = {}): Representation {
  if (!accept || accept === '*/*' || accept === 'application/json') return JSON_FORM;
  let transformed = false;
  for (const clause of accept.split(',', 32)) {
    const [type = '', ...parameters] = clause.split(';').map((part) => part.trim());
    const given = new Map(parameters.map((parameter) => parameter.split('=', 2) as [string, string]));
    const as = given.get('as');
    transformed ||= as !== undefined;
    const found = as === undefined ? plain(type.toLowerCase()) : type === 'application/json' ? asked(as, given, offers) : undefined;
    if (found) return found;
  }
  throw new StatusError(
    transformed
      ? notAcceptable(`only the following media types are accepted: ${AVAILABLE}`)
      : { ...notAcceptable(`406: Not Acceptable\n\nAvailable representations: ${AVAILABLE}`), details: {} },
  );
}

function plain(type: string): Representation | undefined {
  switch (type) {
    case 'application/json':
    case 'application/*':
    case '*/*':
    case '':
      return JSON_FORM;
    case 'application/yaml':
      return { as: 'yaml' };
    default:
      return undefined;
  }
}

function asked(as: string, given: Map<string, string>, { objects, discovery }: Offers): Representation | undefined {
  const group = given.get('g');
  const version = given.get('v');
  if (group === 'meta.k8s.io' && (version === 'v1' || version === 'v1beta1') && objects) {
    if (as === 'Table') return { as: 'table', version };
    if (as === (objects === 'one' ? 'PartialObjectMetadata' : 'PartialObjectMetadataList')) return { as: 'metadata' };
  }
  if (group === 'apidiscovery.k8s.io' && (version === 'v2' || version === 'v2beta1') && discovery && as === 'APIGroupDiscoveryList')
    return { as: 'aggregated-discovery', version };
  return undefined;
}

export const contentTypeOf = (form: Representation): string => (form.as === 'yaml' ? 'application/yaml' : 'application/json');

/** OpenAPI v2 as a protobuf message; kubectl and oc ask for it in no other form. */
export const OPENAPI_V2_MESSAGE = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

/**
 * In which form an OpenAPI document is wanted. Older clients write the message's version with an `@`, which no media type may hold.
 * @throws StatusError 406 when there is none
 */
export function negotiateOpenApi(accept: string | undefined, message?: string): 'json' | 'message' {
  for (const clause of (accept || '*/*').split(',', 32)) {
    const type = clause.split(';', 1)[0]?.trim().toLowerCase().replace('@', '.') ?? '';
    if (type === 'application/json' || type === 'application/*' || type === '*/*') return 'json';
    if (type === message) return 'message';
  }
  throw new StatusError(notAcceptable(`only the following media types are accepted: application/json${message ? `, ${message}` : ''}`));
}
