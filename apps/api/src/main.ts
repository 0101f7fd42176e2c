import type { ServiceDefinition } from '@millrace/platform/service';
import { ApiModule } from './api.module.ts';
import { config } from './config.ts';
import { giveAccess, openDoor, serverOptions } from './server.ts';

/** The one HTTP front door: Kubernetes-style protocol, identity, access, watch. */
export const service: ServiceDefinition<typeof config> = {
  name: 'api',
  config: config,
  module: ApiModule,
  http: serverOptions,
  prepare: openDoor,
  listening: giveAccess,
};
