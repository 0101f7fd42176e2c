import { Agent, request } from 'undici';

export interface ApiAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
  // Tests look into answers of every shape.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  json: any;
}

export interface ApiClient {
  request: (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<ApiAnswer>;
  close: () => Promise<void>;
}

/** Token and CA of a kubeconfig with one user and one cluster, as the api writes it. */
export function credentialsIn(kubeconfig: string): { token: string; ca: string } {
  const value = (key: string): string => new RegExp(`${key}: *"?([^"\\s]+)"?`).exec(kubeconfig)?.[1] ?? '';
  return { token: value('token'), ca: Buffer.from(value('certificate-authority-data'), 'base64').toString() };
}

/** A client of the API as programs are: a token, a CA, keep-alive. */
export function apiClient({ api, token, ca }: { api: string; token: string; ca: string }): ApiClient {
  const dispatcher = new Agent({ connect: { ca }, connections: 64 });
  return {
    async request(method, path, body, headers = {}) {
      const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
      const answer = await request(`${api}${path}`, {
        dispatcher,
        method: method as 'GET',
        body: text ?? null,
        headers: {
          authorization: `Bearer ${token}`,
          accept: 'application/json',
          ...(text === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
      });
      const received = await answer.body.text();
      return { status: answer.statusCode, headers: answer.headers, text: received, json: parsed(received) };
    },
    close: () => dispatcher.destroy(),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
