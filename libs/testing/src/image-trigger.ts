/** An ImageTrigger that deploys what `web:latest` points at, unless its spec says otherwise; as it is sent. */
export const aTrigger = (name: string, spec: object = {}, metadata: object = {}) => ({
  apiVersion: 'triggers.millrace.dev/v1',
  kind: 'ImageTrigger',
  metadata: { name, ...metadata },
  spec: { kind: 'Deploy', from: aTag('web:latest'), ...spec },
});

/** A reference to a tag of a stream: `web:latest`. */
export const aTag = (name: string) => ({ kind: 'ImageStreamTag', name });
