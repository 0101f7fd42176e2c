import { z } from 'zod';
import type { AddressPolicy } from './address.ts';
import { optional } from './object-meta.ts';
import { type ContainerList, type Fields, TEMPLATE_PATHS } from './pod-template.ts';
import { SecretSource, validateSource } from './secret-source.ts';
import { type FieldError, forbiddenField, invalidValue, required } from './status.ts';
import { urlProblem } from './webhook-url.ts';

/** A workload in a cluster that gets the image by server-side apply. */
export const KubernetesTarget = z
  .object({
    server: optional(z.string()).describe('Address of the API server: https://kubernetes.example.com:6443'),
    ca: optional(z.string()).describe("Certificates, PEM, of who has signed the server's; the public authorities when absent"),
    caFrom: optional(SecretSource).describe('The same, from a Secret'),
    tokenFrom: optional(SecretSource).describe('Bearer token of a service account that may patch the object'),
    object: optional(
      z.object({
        apiVersion: optional(z.string()).describe('apps/v1'),
        kind: optional(z.string()).describe('Deployment'),
        namespace: optional(z.string()).describe('Absent for cluster-scoped kinds'),
        name: optional(z.string()),
        resource: optional(z.string()).describe('Plural, as in the path, of a kind that is not known here'),
      }),
    ).describe('What is patched. It must be there: it is not made'),
    containers: optional(z.array(z.string())).describe('Containers of its pod template that get the image, by name'),
    initContainers: optional(z.array(z.string())).describe('Init containers that get it'),
    fieldPath: optional(z.string()).describe(
      'Instead of containers, the field that gets the image: spec.template.spec.containers[?(@.name=="web")].image, or spec.image of a kind of your own',
    ),
    fieldManager: optional(z.string()).describe('As whom the field is owned; millrace when absent'),
    force: optional(z.boolean()).describe('Whether the field is taken from another manager that owns it'),
  })
  .meta({ id: 'KubernetesTarget' });
export type KubernetesTarget = z.infer<typeof KubernetesTarget>;

/** Names of containers are few; an apply with many would be a mistake. */
const CONTAINERS_MAX = 32;
export const CA_MAX = 64 * 1_024;
export const FIELD_MANAGER = 'millrace';

const RESOURCES: Record<string, string> = {
  Pod: 'pods',
  ReplicationController: 'replicationcontrollers',
  Deployment: 'deployments',
  StatefulSet: 'statefulsets',
  DaemonSet: 'daemonsets',
  ReplicaSet: 'replicasets',
  Job: 'jobs',
  CronJob: 'cronjobs',
  DeploymentConfig: 'deploymentconfigs',
  BuildConfig: 'buildconfigs',
};

const own = <T>(of: Record<string, T>, key: string): T | undefined => (Object.hasOwn(of, key) ? of[key] : undefined);

/** One step of a field path: a field, and in a list the element with this name. */
interface Step {
  field: string;
  element?: string;
}

/** fieldPath := step ("." step)*    step := field [ "[?(@.name==" '"' name '"' ")]" ]; undefined for what is none. */
export function fieldPathOf(text: string): Step[] | undefined {
  const steps: Step[] = [];
  const pattern = /([A-Za-z][A-Za-z0-9_-]*)(?:\[\?\(@\.name=="([^"\\]{1,253})"\)\])?(?:\.|$)/y;
  for (let at = 0; at < text.length; at = pattern.lastIndex) {
    pattern.lastIndex = at;
    const [, field = '', element] = pattern.exec(text) ?? [];
    if (!field) return undefined;
    steps.push({ field, ...(element === undefined ? {} : { element }) });
  }
  const last = steps.at(-1);
  return last && last.element === undefined && !text.endsWith('.') ? steps : undefined;
}

/** Everything that is wrong with a target as a client wrote it. */
export function validateKubernetes(target: KubernetesTarget, path: string, allow: AddressPolicy): FieldError[] {
  const { server = '', ca, caFrom, tokenFrom, object = {}, containers = [], initContainers = [], fieldPath, fieldManager } = target;
  const errors: FieldError[] = [];
  const text = (field: string, value: string | undefined, pattern: RegExp, wanted: string) => {
    if (!value) errors.push(required(`${path}.${field}`));
    else if (!pattern.test(value)) errors.push(invalidValue(`${path}.${field}`, value, wanted));
  };
  const problem = !server || urlProblem(server, allow);
  if (!server) errors.push(required(`${path}.server`));
  else if (problem) errors.push(invalidValue(`${path}.server`, server, String(problem)));
  else if (!server.startsWith('https://') || new URL(server).search)
    errors.push(invalidValue(`${path}.server`, server, 'must begin with https:// and have no query'));
  if (ca && caFrom) errors.push(forbiddenField(`${path}.caFrom`, 'ca is given already'));
  if (ca && (ca.length > CA_MAX || !ca.includes('-----BEGIN CERTIFICATE-----')))
    errors.push(invalidValue(`${path}.ca`, '…', `must be certificates in PEM, up to ${CA_MAX / 1_024} kB`));
  if (caFrom) errors.push(...validateSource(caFrom, `${path}.caFrom`));
  if (!tokenFrom) errors.push(required(`${path}.tokenFrom`, 'a Secret with the token of a service account'));
  else errors.push(...validateSource(tokenFrom, `${path}.tokenFrom`));
  text('object.apiVersion', object.apiVersion, /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?v[a-z0-9]+$/, 'must be such as apps/v1');
  text('object.kind', object.kind, /^[A-Z][A-Za-z0-9]{0,62}$/, 'must be a kind, such as Deployment');
  text('object.name', object.name, /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, 'is no name of an object');
  if (object.namespace) text('object.namespace', object.namespace, /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'is no name of a namespace');
  if (object.resource) text('object.resource', object.resource, /^[a-z][a-z0-9-]{0,62}$/, 'must be a plural, such as deployments');
  else if (object.kind && !own(RESOURCES, object.kind))
    errors.push(required(`${path}.object.resource`, `the plural of ${object.kind}, as in its path`));
  const names = [...containers, ...initContainers];
  if (fieldPath !== undefined) {
    if (names.length) errors.push(forbiddenField(`${path}.fieldPath`, 'containers are given already'));
    if (fieldPath.length > 1_024 || !fieldPathOf(fieldPath))
      errors.push(
        invalidValue(
          `${path}.fieldPath`,
          fieldPath.slice(0, 100),
          'must be names of fields with dots between, elements of lists by name: containers[?(@.name=="web")].image; by index nothing can be applied',
        ),
      );
  } else if (!names.length) errors.push(required(`${path}.containers`, 'names of containers, or fieldPath'));
  else if (object.kind && !own(TEMPLATE_PATHS, object.kind))
    errors.push(forbiddenField(`${path}.containers`, `a ${object.kind} has no pod template that is known; give fieldPath`));
  if (names.length > CONTAINERS_MAX) errors.push(forbiddenField(`${path}.containers`, `more than ${CONTAINERS_MAX} names`));
  for (const name of names)
    if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name))
      errors.push(invalidValue(`${path}.containers`, name.slice(0, 100), 'is no name of a container'));
  if (fieldManager !== undefined && !/^[\x21-\x7e]{1,128}$/.test(fieldManager))
    errors.push(invalidValue(`${path}.fieldManager`, fieldManager.slice(0, 100), 'must be 1 to 128 printable characters'));
  return errors;
}

/** Where the object is. */
export function objectUrl({ server = '', object = {} }: KubernetesTarget): string {
  const { apiVersion = '', kind = '', namespace, name = '', resource = own(RESOURCES, kind) ?? '' } = object;
  const group = apiVersion.includes('/') ? `apis/${apiVersion}` : `api/${apiVersion}`;
  const within = namespace ? `namespaces/${encodeURIComponent(namespace)}/` : '';
  return `${server.replace(/\/+$/, '')}/${group}/${within}${resource}/${encodeURIComponent(name)}`;
}

/** The query of a server-side apply. */
export const applyQuery = ({ fieldManager = FIELD_MANAGER, force = false }: KubernetesTarget): string =>
  new URLSearchParams({ fieldManager, force: String(force) }).toString();

/** What is applied: of the object just the fields that hold the image. */
export function appliedObject({ object = {}, containers = [], initContainers = [], fieldPath }: KubernetesTarget, image: string): Fields {
  const { apiVersion, kind = '', namespace, name } = object;
  const paths = fieldPath === undefined ? pathsOf(kind, { containers, initContainers }) : [fieldPathOf(fieldPath) ?? []];
  const applied: Fields = { apiVersion, kind, metadata: { name, ...(namespace ? { namespace } : {}) } };
  for (const path of paths) put(applied, path, image);
  return applied;
}

function pathsOf(kind: string, names: Record<ContainerList, readonly string[]>): Step[][] {
  const template = [...(own(TEMPLATE_PATHS, kind) ?? []), 'spec'].map((field): Step => ({ field }));
  return Object.entries(names).flatMap(([list, elements]) =>
    elements.map((element) => [...template, { field: list, element }, { field: 'image' }]),
  );
}

function put(into: Fields, [step, ...rest]: readonly Step[], value: string): void {
  if (!step) return;
  const { field, element } = step;
  if (element === undefined) {
    if (!rest.length) into[field] = value;
    else put(owned(into, field, {}) as Fields, rest, value);
    return;
  }
  const list = owned(into, field, []) as Fields[];
  let found = list.find((one) => one['name'] === element);
  if (!found) list.push((found = { name: element }));
  put(found, rest, value);
}

/** A field may be named `constructor`: what every object inherits is not meant. */
function owned(into: Fields, field: string, fresh: unknown): unknown {
  if (!Object.hasOwn(into, field)) into[field] = fresh;
  return into[field];
}

const MESSAGES: Record<string, string> = {
  400: 'the object or field path does not fit the kind',
  401: 'the token is not accepted: it has expired, or is of another cluster',
  403: 'the token may not patch the object: give its service account a Role with the verb patch',
  404: 'there is no such object; it is not made: apply it first',
  409: 'another field manager owns the image: take it out of what that one applies, or set kubernetes.force',
  415: 'the server knows no server-side apply',
  422: 'the object would not be valid: does it have these containers?',
};

/** What an answer other than 2xx means, in words for whoever wrote the trigger; `answer` is the Status that came with it. */
export function kubernetesMeaning(status: number, answer: string): string {
  const said = /"message"\s*:\s*"((?:[^"\\]|\\.){1,400})/.exec(answer)?.[1]?.replaceAll(/\\(.)/g, '$1');
  const why = own(MESSAGES, String(status));
  return `answered ${status}${why ? `: ${why}` : ''}${said ? ` (${said})` : ''}`;
}
