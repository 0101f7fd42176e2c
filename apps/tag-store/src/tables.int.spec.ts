import { describeTables } from '@millrace/testing/tables';
import { database } from './tables.ts';

describeTables(database, new URL('./schema.sql', import.meta.url), [
  'tag_of_stream',
  'tag_item_of_tag',
  'tag_change_of_tag',
  'image_child_of_image',
  'change_type',
]);
