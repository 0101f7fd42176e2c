import type { Resource } from '@millrace/contracts/resources';
import type { Status } from '@millrace/domain/status';
import type { ChangeType, Follower, Told } from './follower.ts';
import type { Representation } from './media.ts';
import { metadataOf, tableOf, type Included, type Printed } from './table.ts';

/** What one watch sees of a change. */
export interface Seen {
  told: Told;
  type: ChangeType;
  /** Labels under which it was seen before, where it is told as gone because it is not selected any more. */
  labels?: unknown;
}

/** The lines of one watch, in the form that its client asked for. What looks the same to several watches is rendered once. */
export class EventLines {
  private columnsSent = false;
  private readonly apiVersion: string;
  private readonly name: string;

  constructor(
    private readonly resource: Resource,
    private readonly form: Representation,
    private readonly included: Included,
    private readonly keeper: Pick<Follower, 'keepLine'>,
  ) {
    const { group, version } = resource;
    this.apiVersion = group ? `${group}/${version}` : version;
    this.name = form.as === 'table' ? `table ${form.version} ${included}` : form.as;
  }

  of({ told, type, labels }: Seen): Buffer {
    // Only the first row of a watch comes with the columns.
    const own = labels !== undefined || (this.form.as === 'table' && !this.columnsSent);
    if (own || !told.lines) return this.render(told, type, labels);
    const name = `${type} ${this.name}`;
    const known = told.lines.get(name);
    if (known) return known;
    const line = this.render(told, type);
    this.keeper.keepLine(told, name, line);
    return line;
  }

  error(status: Status): Buffer {
    return line('ERROR', JSON.stringify(status));
  }

  bookmark(resourceVersion: string, initialEventsEnd: boolean): Buffer {
    const annotations = initialEventsEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
    const { kind, schema } = this.resource;
    const metadata = { resourceVersion, ...annotations };
    // An object that has nothing but its version, with what its shape fills in: clients read it as one of the kind.
    const blank = schema?.safeParse({ metadata: {} }).data as object | undefined;
    const bookmark = { kind, apiVersion: this.apiVersion, ...blank, metadata };
    return line('BOOKMARK', JSON.stringify(this.form.as === 'table' ? this.table([], metadata) : bookmark));
  }

  private render({ json }: Told, type: ChangeType, labels?: unknown): Buffer {
    const plain = this.form.as !== 'table' && this.form.as !== 'metadata';
    if (plain && labels === undefined) return line(type, json);
    const object = JSON.parse(json.toString()) as Printed & { metadata: { resourceVersion?: string } };
    const shown = labels === undefined ? object : { ...object, metadata: { ...object.metadata, labels } };
    if (plain) return line(type, JSON.stringify(shown));
    const { resourceVersion } = object.metadata;
    return line(type, JSON.stringify(this.form.as === 'table' ? this.table([shown], { resourceVersion }) : metadataOf(shown)));
  }

  private table(objects: readonly Printed[], metadata: object): unknown {
    const version = this.form.as === 'table' ? this.form.version : 'v1';
    const columns = !this.columnsSent;
    this.columnsSent = true;
    return tableOf(this.resource, objects, { metadata, now: new Date(), version, included: this.included, columns });
  }
}

const END = Buffer.from('}\n');

const line = (type: string, json: string | Buffer): Buffer =>
  Buffer.concat([Buffer.from(`{"type":"${type}","object":`), typeof json === 'string' ? Buffer.from(json) : json, END]);

/**
 * What a watch with a selector has shown. An object that comes to be selected is ADDED to who has not seen it; one that is not any more is
 * DELETED with the labels under which it was seen; one that was never shown is not told. A watch that goes on from a version knows of an
 * object only once it has told something of it.
 */
export class SelectedView {
  private readonly shown = new Map<string, { labels: unknown } | 'not'>();
  /** Whether the watch began with everything that was there. */
  private complete = false;

  begin(): void {
    this.complete = true;
  }

  /** `selected`: whether the object is selected as it is now. */
  see(told: Told, selected: boolean): Seen | undefined {
    const { uid, labels } = told.attributes;
    const before = this.shown.get(uid) ?? (this.complete ? 'not' : undefined);
    if (told.type !== 'DELETED' && selected) {
      this.shown.set(uid, { labels });
      return { told, type: told.type === 'MODIFIED' && before === 'not' ? 'ADDED' : told.type };
    }
    if (this.complete) this.shown.delete(uid);
    else this.shown.set(uid, 'not');
    if (before === 'not' || (before === undefined && told.type !== 'MODIFIED' && !selected)) return undefined;
    return { told, type: 'DELETED', ...(before ? { labels: before.labels } : {}) };
  }
}
