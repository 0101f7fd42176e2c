import { afterAll, beforeAll, expect } from 'vitest';
import { apiClient, type ApiClient } from './client.ts';
import { kubectl, scriptedKubectl, type Input } from './kubectl.ts';
import { startProduct, type Product, type ProductOptions } from './product.ts';
import { aWebhookSink, type WebhookSink } from './webhook-sink.ts';

type Kubectl = (args: string, input?: Input) => Promise<string>;

/** Of the image that a letter stands for. */
export const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;

/** The built product, a client of its API, and a receiver of webhooks. To be made at the top of a spec. */
export class ProductBed {
  product!: Product;
  api!: ApiClient;
  sink!: WebhookSink;

  constructor(private readonly options: ProductOptions = {}) {
    beforeAll(async () => {
      [this.product, this.sink] = await Promise.all([startProduct(this.options), aWebhookSink()]);
      this.api = apiClient(this.product);
    }, 120_000);
    afterAll(async () => {
      await this.api.close();
      await this.product.stop();
      await this.sink.close();
      this.product.remove();
    });
  }

  /** Once it is stopped: with the data that it had. */
  async startAgain(): Promise<void> {
    this.product = await startProduct({ ...this.options, dataDir: this.product.dataDir });
    await this.api.close();
    this.api = apiClient(this.product);
  }

  kubectl(namespace?: string): Kubectl {
    return (args, input) => kubectl({ ...this.product, namespace }, args, input);
  }

  scriptedKubectl(namespace?: string): Kubectl {
    return (args, input) => scriptedKubectl({ ...this.product, namespace }, args, input);
  }

  /** Makes an object at the path of its list. */
  async create(path: string, object: object): Promise<void> {
    const { status, text } = await this.api.request('POST', path, object);
    expect(status, text).toBe(201);
  }

  /** Makes a stream: `team/app`. */
  async stream(stream: string, spec: object = {}): Promise<void> {
    const [namespace, name] = stream.split('/');
    await this.create(`/apis/image.openshift.io/v1/namespaces/${namespace}/imagestreams`, { metadata: { name }, spec });
  }

  /** Moves a tag of a stream that is there, `team/app:latest`, to the image of a letter; resolves to how that is pulled. */
  async push(to: string, letter: string): Promise<string> {
    const [, namespace, name, tag] = /^(.*)\/(.*):(.*)$/.exec(to) ?? [];
    const image = { metadata: { name: digest(letter) }, dockerImageReference: `e.io/${namespace}/${name}@${digest(letter)}` };
    await this.create(`/apis/image.openshift.io/v1/namespaces/${namespace}/imagestreammappings`, { metadata: { name }, tag, image });
    return image.dockerImageReference;
  }
}
