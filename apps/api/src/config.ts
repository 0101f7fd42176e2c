import { integer, secret, type Config, type ConfigShape } from '@millrace/platform/config';
import { z } from 'zod';

const list = () =>
  z
    .string()
    .default('')
    .transform((text) =>
      text
        .split(',')
        .map((part) => part.trim())
        .filter(Boolean),
    );

/** Environment of the api. */
export const config = {
  HTTP_PORT: integer(0, 65_535).default(8443).describe('Port of the API, always TLS; 0 takes a free one.'),
  DATA_DIR: z
    .string()
    .default('.millrace/api')
    .describe("Keeps the api's certificate authority, server certificate and administrator's token across restarts."),
  KUBECONFIG_PATH: z
    .string()
    .optional()
    .describe('Where the kubeconfig of the administrator is written, mode 0600; DATA_DIR/kubeconfig when absent.'),
  PUBLIC_URL: z
    .url()
    .optional()
    .describe('Address under which clients reach the api, for the kubeconfig; https://127.0.0.1:HTTP_PORT when absent.'),
  TLS_NAMES: list().describe('Further host names and IP addresses of the server certificate, separated by commas.'),
  TLS_CERT: z
    .string()
    .optional()
    .describe("The operator's own certificate chain (PEM) instead of a made one; usually TLS_CERT_FILE names its file. Needs TLS_KEY."),
  TLS_KEY: secret(z.string().optional()).describe('Private key (PEM) of TLS_CERT; usually TLS_KEY_FILE names its file.'),
  TLS_CA: z.string().optional().describe('Authority (PEM) that signed TLS_CERT, for the kubeconfig; TLS_CERT itself when absent.'),
  TOKENS: secret(z.string().default('')).describe(
    'Further identities, one a line as in Kubernetes\' static token file: token,user,uid,"group1,group2"; usually TOKENS_FILE names the file.',
  ),
  BODY_LIMIT_BYTES: integer(1024, 64 * 1024 * 1024)
    .default(3 * 1024 * 1024)
    .describe('Largest request body; NATS must carry as much (max_payload).'),
  WATCH_LIMIT: integer(1, 100_000).default(1_000).describe('Watches that one api process serves at a time; more are answered 429.'),
  WATCH_BACKLOG_BYTES: integer(64 * 1024, 1024 * 1024 * 1024)
    .default(4 * 1024 * 1024)
    .describe(
      'How far the client of a watch may be behind, in bytes of changes of its resource; one that is further behind is sent away with 410.',
    ),
} as const satisfies ConfigShape;
export type ApiConfig = Config<typeof config>;
