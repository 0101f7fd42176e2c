import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import { stringify as toYaml } from 'yaml';

const GZIP_FROM_BYTES = 128 * 1024;
const packed = promisify(gzip);

export const jsonBytes = (value: object, pretty = false): Buffer =>
  Buffer.from(`${JSON.stringify(value, undefined, pretty ? 2 : undefined)}\n`);

/** As the reference writes YAML: keys sorted, and texts quoted that YAML 1.1, which Kubernetes speaks, takes for times or switches. */
export const yamlBytes = (value: unknown): Buffer =>
  Buffer.from(toYaml(value, { sortMapEntries: true, schema: 'yaml-1.1', lineWidth: 0, aliasDuplicateObjects: false }));

/** Whether a body goes packed: it is large, and the client can unpack it. */
export const takesPacked = (body: Buffer, acceptEncoding: string | string[] | undefined): boolean =>
  body.length >= GZIP_FROM_BYTES && /\bgzip\b/.test(String(acceptEncoding ?? ''));

export const gzipped = (body: Buffer): Promise<Buffer> => packed(body, { level: constants.Z_BEST_SPEED });

/** A warning as RFC 7234 writes it, without what a header cannot carry. */
export function warningHeader(warning: string): string {
  const plain = warning.replace(/[\u0000-\u001f\u007f]/g, ' ').replace(/[^\u0020-\u007e]/g, '?');
  return `299 - "${plain.slice(0, 1024).replace(/["\\]/g, String.raw`\$&`)}"`;
}
