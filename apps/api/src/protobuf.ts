import { badRequest, StatusError } from '@millrace/domain/status';
import { entry, message, type Message, type Reader, readMessage, text, texts, wholeMessage } from './protobuf-message.ts';

/*
 * Kubernetes' protobuf, as far as clients insist on it: `kubectl create namespace`, `secret`, `serviceaccount`, `deployment`, `job` and `cronjob` send
 * nothing else, whatever the server answers. Everybody else sends JSON to a server that speaks JSON.
 */

export const PROTOBUF = 'application/vnd.kubernetes.protobuf';

const base64: Reader = (bytes) => bytes.toString('base64');

const metadata = {
  name: 'metadata',
  read: message({
    1: { name: 'name', read: text },
    2: { name: 'generateName', read: text },
    3: { name: 'namespace', read: text },
    5: { name: 'uid', read: text },
    6: { name: 'resourceVersion', read: text },
    11: texts('labels'),
    12: texts('annotations'),
    14: { name: 'finalizers', read: text, as: 'many' },
  }),
};
const reference = message({
  1: { name: 'kind', read: text },
  2: { name: 'namespace', read: text },
  3: { name: 'name', read: text },
  4: { name: 'uid', read: text },
  5: { name: 'apiVersion', read: text },
  6: { name: 'resourceVersion', read: text },
  7: { name: 'fieldPath', read: text },
});
const ofText = (name: string) => ({ name, read: text });
const many = (name: string, read: Reader) => ({ name, read, as: 'many' as const });

/* Workloads are stored as they are sent, so a field that is not read refuses the body. */
const wholeMetadata = {
  name: 'metadata',
  read: wholeMessage({
    ...Object.fromEntries(
      Object.entries({ 1: 'name', 2: 'generateName', 3: 'namespace', 5: 'uid', 6: 'resourceVersion' }).map(([n, name]) => [
        n,
        ofText(name),
      ]),
    ),
    11: texts('labels'),
    12: texts('annotations'),
    14: many('finalizers', text),
  }),
};
const container = wholeMessage({
  1: ofText('name'),
  2: ofText('image'),
  3: many('command', text),
  4: many('args', text),
  5: ofText('workingDir'),
  6: many('ports', wholeMessage({ 1: ofText('name'), 3: { name: 'containerPort', as: 'number' }, 4: ofText('protocol') })),
  7: many('env', wholeMessage({ 1: ofText('name'), 2: ofText('value') })),
  13: ofText('terminationMessagePath'),
  14: ofText('imagePullPolicy'),
  20: ofText('terminationMessagePolicy'),
});
const podSpec = wholeMessage({
  2: many('containers', container),
  3: ofText('restartPolicy'),
  6: ofText('dnsPolicy'),
  8: ofText('serviceAccountName'),
  15: many('imagePullSecrets', wholeMessage({ 1: ofText('name') })),
  20: many('initContainers', container),
});
const template = { name: 'template', read: wholeMessage({ 1: wholeMetadata, 2: { name: 'spec', read: podSpec } }) };
const status = { name: 'status', as: 'skipped' } as const;
const workload = (spec: Message): Message => ({ 1: wholeMetadata, 2: { name: 'spec', read: wholeMessage(spec) }, 3: status });
const jobSpec: Message = {
  1: { name: 'parallelism', as: 'number' },
  2: { name: 'completions', as: 'number' },
  6: template,
  7: { name: 'backoffLimit', as: 'number' },
};

const KINDS: Record<string, Message> = {
  Deployment: workload({
    1: { name: 'replicas', as: 'number' },
    2: { name: 'selector', read: wholeMessage({ 1: texts('matchLabels') }) },
    3: template,
    4: { name: 'strategy', read: wholeMessage({ 1: ofText('type') }) },
  }),
  Job: workload(jobSpec),
  CronJob: workload({
    1: ofText('schedule'),
    3: ofText('concurrencyPolicy'),
    4: { name: 'suspend', as: 'flag' },
    5: { name: 'jobTemplate', read: wholeMessage({ 1: wholeMetadata, 2: { name: 'spec', read: wholeMessage(jobSpec) } }) },
    8: ofText('timeZone'),
  }),
  Namespace: { 1: metadata },
  Secret: { 1: metadata, 2: { name: 'data', read: entry(base64), as: 'entries' }, 3: { name: 'type', read: text }, 4: texts('stringData') },
  ServiceAccount: {
    1: metadata,
    2: { name: 'secrets', read: reference, as: 'many' },
    3: { name: 'imagePullSecrets', read: message({ 1: { name: 'name', read: text } }), as: 'many' },
    4: { name: 'automountServiceAccountToken', as: 'flag' },
  },
};
const WHOLE = new Set(['Deployment', 'Job', 'CronJob']);
/** What every body begins with: then comes `Unknown`, which says what it holds. */
const MAGIC = Buffer.from('k8s\0');
const UNKNOWN: Message = {
  1: { name: 'type', read: message({ 1: { name: 'apiVersion', read: text }, 2: { name: 'kind', read: text } }) },
  2: { name: 'raw', read: (bytes) => bytes },
};

/** Whether a kind is read from protobuf. */
export const hasProtobuf = (kind: string): boolean => Object.hasOwn(KINDS, kind);

/** The object in a protobuf body that should be of a kind. Throws {@link StatusError} 400 for what cannot be read. */
export function parseProtobuf(body: Buffer, kind: string): object {
  try {
    if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw new RangeError('it does not begin as Kubernetes’ protobuf does');
    const { type, raw } = readMessage(body.subarray(MAGIC.length), UNKNOWN) as { type?: object; raw?: Buffer };
    return { ...type, ...readMessage(raw ?? Buffer.alloc(0), KINDS[kind] ?? {}, WHOLE.has(kind)) };
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    // Its words are our own, or those of a text that is none: they repeat nothing of the body, which may be a secret.
    throw new StatusError(badRequest(`the object provided is unrecognized (must be of type ${kind}): protobuf: ${error.message}`));
  }
}
