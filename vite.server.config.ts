/**
 * The server as it runs: few files instead of hundreds, since a start pays for each (see
 * docs/decisions/0004-few-files.md). `tsc` checks the types and writes the declarations beside them.
 */
import { defineConfig } from 'vite'

/** Packages that a start needs are taken in, as far as they are used; others are loaded from where they are installed. */
const TAKEN_IN = /^(?:commander|lib0|ws|zod)(?:\/|$)/

export default defineConfig({
  ssr: { noExternal: true, target: 'node' },
  build: {
    ssr: true,
    outDir: 'dist/server',
    // The declarations are there already.
    emptyOutDir: false,
    target: 'node20.19',
    minify: false,
    sourcemap: true,
    license: { fileName: 'licenses.md' },
    rolldownOptions: {
      platform: 'node',
      input: {
        index: 'server/index.ts',
        'cli/main': 'server/cli/main.ts',
        'workers/document-worker': 'server/workers/document-worker.ts',
        'workers/log-worker': 'server/workers/log-worker.ts',
      },
      external: (id) => /^[a-z@]/.test(id) && !TAKEN_IN.test(id),
      output: {
        entryFileNames: '[name].js',
        chunkFileNames: 'chunks/[name].js',
        // A process that loads a part after an update must fail, not find another function under the same letter.
        minifyInternalExports: false,
      },
    },
  },
})
