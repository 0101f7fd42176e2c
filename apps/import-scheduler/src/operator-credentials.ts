import type { Log } from '@millrace/platform/log';
import { OperatorCredentialsFile } from '@millrace/platform/operator-credentials';
import { OPERATOR_CREDENTIALS } from '@millrace/platform/pull-credentials';
import { CONFIG, LOG } from '@millrace/platform/service';
import type { ImportSchedulerConfig } from './config.ts';

/** What every namespace may fetch images with, beside its own secrets. */
export const operatorCredentials = {
  provide: OPERATOR_CREDENTIALS,
  inject: [CONFIG, LOG],
  useFactory: ({ REGISTRY_AUTH_FILE }: Pick<ImportSchedulerConfig, 'REGISTRY_AUTH_FILE'>, log: Log) =>
    new OperatorCredentialsFile(REGISTRY_AUTH_FILE, log),
};
