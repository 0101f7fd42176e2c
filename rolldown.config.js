import { defineConfig } from 'rolldown';

// Our own rooms and the compiler's helpers go into the bundle; npm packages stay outside.
const inside = /^(?:[./\0]|@millrace\/|@oxc-project\/)/;

/** One program, split by service: starting one service loads that service only. */
export default defineConfig({
  input: { millrace: 'apps/cli/src/main.ts' },
  platform: 'node',
  external: (id) => !inside.test(id),
  onLog(level, log, next) {
    // A room that cannot be found would only show when the program starts.
    if (log.code === 'UNRESOLVED_IMPORT') throw new Error(log.message);
    next(level, log);
  },
  tsconfig: './tsconfig.json',
  output: { dir: 'dist', format: 'esm', sourcemap: true, cleanDir: true, keepNames: true, chunkFileNames: '[name]-[hash].js' },
});
