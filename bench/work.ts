import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { jetstream } from '@nats-io/jetstream';
import { connect, headers as natsHeaders, type NatsConnection } from '@nats-io/transport-node';
import type { ApiClient } from '@millrace/testing/client';
import type { Product } from '@millrace/testing/product';

/** `sha256:` and 32 random bytes: an image nobody has seen. */
export const freshDigest = (): string => `sha256:${randomBytes(32).toString('hex')}`;

/** An ImageStreamMapping whose image metadata is about `bytes` long: some labels, and the rest environment and build history, as images have it. */
export function mappingOf(namespace: string, stream: string, tag: string, bytes: number): unknown {
  const digest = freshDigest();
  return {
    kind: 'ImageStreamMapping',
    apiVersion: 'image.openshift.io/v1',
    metadata: { namespace, name: stream },
    tag,
    image: {
      metadata: { name: digest },
      dockerImageReference: `registry.example.com/${namespace}/${stream}@${digest}`,
      dockerImageMetadata: {
        kind: 'DockerImage',
        apiVersion: 'image.openshift.io/1.0',
        Id: digest,
        Created: '2026-01-02T03:04:05Z',
        ContainerConfig: {},
        Config: configOf(bytes),
        Architecture: 'amd64',
        Size: 1000,
      },
      dockerImageMetadataVersion: '1.0',
      dockerImageLayers: [{ name: digest, size: 1000, mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' }],
      dockerImageManifestMediaType: 'application/vnd.oci.image.manifest.v1+json',
    },
  };
}

const configs = new Map<number, unknown>();

function configOf(bytes: number): unknown {
  const labels = Object.fromEntries(
    Array.from({ length: Math.min(20, bytes / 200) }, (_, i) => [
      `org.example.label.${i}`,
      `value number ${i} of an image that some pipeline built`,
    ]),
  );
  const left = Math.max(0, bytes - JSON.stringify(labels).length - 700);
  const made = configs.get(bytes) ?? {
    Labels: labels,
    Env: Array.from({ length: Math.ceil(left / 100) }, (_, i) => `VARIABLE_NUMBER_${i}=`.padEnd(96, `${i} words of some value `)),
    Cmd: ['run'],
  };
  configs.set(bytes, made);
  return made;
}

export async function dial(url: string): Promise<NatsConnection> {
  const { host, username, password } = new URL(url);
  return connect({ servers: host, user: decodeURIComponent(username), pass: decodeURIComponent(password) });
}

/** Publishes mappings as a registry on NATS does, `inFlight` at a time. */
export async function submit(nats: NatsConnection, mappings: readonly { subject: string; body: string }[], inFlight = 200): Promise<void> {
  const js = jetstream(nats);
  const run = randomBytes(6).toString('hex');
  let next = 0;
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      for (let i = next++; i < mappings.length; i = next++) {
        const headers = natsHeaders();
        headers.set('Nats-Msg-Id', `${run}.${i}`);
        const one = mappings[i];
        if (one) await js.publish(one.subject, one.body, { headers, timeout: 30_000 });
      }
    }),
  );
}

/** Posts a notification as CNCF Distribution does: one push of a tag. Resolves when it is answered. */
export async function notify(
  product: Product,
  repository: string,
  tag: string,
  image: { digest: string; mediaType: string; size: number },
): Promise<void> {
  const { notifications } = JSON.parse(readFileSync(join(product.dataDir, 'secrets.json'), 'utf8')) as { notifications: string };
  const id = randomBytes(16).toString('hex');
  const event = {
    id,
    timestamp: new Date().toISOString(),
    action: 'push',
    target: { ...image, repository, tag, url: `http://${product.registry}/v2/${repository}/manifests/${image.digest}` },
    request: { id, addr: '127.0.0.1', host: product.registry, method: 'PUT', useragent: 'bench' },
    actor: {},
    source: { addr: 'bench', instanceID: 'bench' },
  };
  const answer = await fetch(`http://127.0.0.1:${product.health['registry-mapping']}/notifications/local`, {
    method: 'POST',
    headers: { authorization: `Bearer ${notifications}`, 'content-type': 'application/vnd.docker.distribution.events.v1+json' },
    body: JSON.stringify({ events: [event] }),
  });
  await answer.text();
  if (answer.status !== 202) throw new Error(`the notification was answered ${answer.status}`);
}

export async function makeTrigger(api: ApiClient, namespace: string, name: string, from: string, url?: string): Promise<void> {
  const answer = await api.request('POST', `/apis/triggers.millrace.dev/v1/namespaces/${namespace}/imagetriggers`, {
    apiVersion: 'triggers.millrace.dev/v1',
    kind: 'ImageTrigger',
    metadata: { name },
    spec: { kind: 'Deploy', from: { kind: 'ImageStreamTag', name: from }, webhooks: url ? [{ name: 'hook', url }] : [] },
  });
  if (answer.status !== 201) throw new Error(`trigger ${name}: ${answer.status} ${answer.text}`);
}

export async function makeStream(api: ApiClient, namespace: string, name: string): Promise<void> {
  const answer = await api.request('POST', `/apis/image.openshift.io/v1/namespaces/${namespace}/imagestreams`, {
    kind: 'ImageStream',
    apiVersion: 'image.openshift.io/v1',
    metadata: { name },
  });
  if (answer.status !== 201 && answer.status !== 409) throw new Error(`stream ${name}: ${answer.status} ${answer.text}`);
}

/** Resident memory of a process, MiB. */
export function residentOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) / 1024;
}
