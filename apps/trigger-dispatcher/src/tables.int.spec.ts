import { describeTables } from '@millrace/testing/tables';
import { database } from './tables.ts';

describeTables(database, new URL('./schema.sql', import.meta.url), [
  'change_recorded',
  'trigger_tag_of_trigger',
  'webhook_of_trigger',
  'delivery_of_firing',
  'change_type',
  'delivery_state',
  'fan_out_followers',
  'workload_tag_of_workload',
  'paused_tag_of_workload',
]);
