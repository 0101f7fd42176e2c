import { defineConfig } from 'rolldown';

/** One program, split by service: starting one service loads that service only. npm packages stay outside. */
export default defineConfig({
  input: { millrace: 'apps/cli/src/main.ts' },
  platform: 'node',
  external: (id) => !id.startsWith('.') && !id.startsWith('/') && !id.startsWith('@millrace/'),
  tsconfig: './tsconfig.json',
  output: { dir: 'dist', format: 'esm', sourcemap: true, cleanDir: true, keepNames: true, chunkFileNames: '[name]-[hash].js' },
});
