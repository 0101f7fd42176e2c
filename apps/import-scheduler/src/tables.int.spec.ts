import { describeTables } from '@millrace/testing/tables';
import { database } from './tables.ts';

describeTables(database, new URL('./schema.sql', import.meta.url), ['wanted_tag_of_stream']);
