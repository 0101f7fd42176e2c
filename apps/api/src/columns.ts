export interface ColumnDefinition {
  name: string;
  type: 'string' | 'number' | 'integer' | 'boolean' | 'date';
  format: string;
  description: string;
  priority: number;
}

/** What is printed of one object; fields are looked up leniently, since an object is whatever its owner answered. */
export interface Column extends ColumnDefinition {
  cell: (object: Printed, now: Date) => unknown;
}

export type Printed = Record<string, unknown>;

/** The value at a path such as `status.attempts`; undefined where the path breaks off. */
export function at(object: unknown, path: string): unknown {
  let found = object;
  for (const key of path.split('.')) {
    if (typeof found !== 'object' || found === null) return undefined;
    found = (found as Printed)[key];
  }
  return found;
}

/** The first of several paths that holds something, as text. */
export function text(object: Printed, ...paths: string[]): string {
  for (const path of paths) {
    const value = at(object, path);
    if (value !== undefined && value !== null && value !== '') return typeof value === 'object' ? JSON.stringify(value) : String(value);
  }
  return '';
}

export const list = (object: unknown, path: string): Printed[] => {
  const value = at(object, path);
  return Array.isArray(value) ? (value as Printed[]) : [];
};

export const column = (name: string, cell: Column['cell'], more: Partial<ColumnDefinition> = {}): Column => ({
  name,
  type: 'string',
  format: '',
  description: '',
  priority: 0,
  ...more,
  cell,
});

export const NAME = column('Name', (object) => text(object, 'metadata.name'), {
  format: 'name',
  description:
    'Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation ' +
    'of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. ' +
    'More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names',
});
export const AGE = column('Age', (object, now) => age(text(object, 'metadata.creationTimestamp'), now), {
  description: 'Time since the object was created.',
});
/** `5d3h`, as kubectl says ages. */
export function age(time: string, now: Date): string {
  const then = Date.parse(time);
  return Number.isNaN(then) ? '<unknown>' : shortly(Math.max(0, now.getTime() - then));
}

export function shortly(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  const both = (large: number, unit: string, small: number, smaller: string) => `${large}${unit}${small ? `${small}${smaller}` : ''}`;
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return both(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  if (hours < 8) return both(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  if (days < 8) return both(days, 'd', hours % 24, 'h');
  if (days < 365 * 2) return `${days}d`;
  if (days < 365 * 8) return both(Math.floor(days / 365), 'y', days % 365, 'd');
  return `${Math.floor(days / 365)}y`;
}
