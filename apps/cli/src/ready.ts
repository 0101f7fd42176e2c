import { request } from 'node:https';
import { request as plainRequest } from 'node:http';

/** Asks a service's /readyz, for container health checks: they have no curl. The answer is printed when it is not ready. */
export async function ready([url]: string[]): Promise<number> {
  if (!url) {
    console.error('usage: millrace ready URL');
    return 2;
  }
  const target = new URL('/readyz', url);
  // The api's certificate is signed by its own CA; readiness is no secret and no decision hangs on who answers.
  const options = { timeout: 4_000, rejectUnauthorized: false };
  return new Promise((resolve) => {
    const asked = (target.protocol === 'https:' ? request : plainRequest)(target, options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => {
        if (response.statusCode !== 200) console.error(text);
        resolve(response.statusCode === 200 ? 0 : 1);
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`${target.href} has not answered within 4 s`)));
    asked.on('error', (error) => {
      console.error(error.message);
      resolve(1);
    });
    asked.end();
  });
}
