/**
 * The server as it runs: few files instead of hundreds, and CommonJS, which Node loads faster (see
 * docs/decisions/0004-few-files.md). `tsc` checks the types and writes the declarations beside them.
 */
import { defineConfig, type Plugin } from 'vite'

/** Packages that a start needs are taken in, as far as they are used; others are loaded from where they are installed. */
const TAKEN_IN = /^(?:commander|lib0|ws|zod)(?:\/|$)/

/** What is named outside stays a module, as package.json says of its files. */
const modules: Plugin = {
  name: 'modules',
  generateBundle(_options, bundle) {
    const file = (fileName: string, ...lines: string[]) =>
      this.emitFile({ type: 'asset', fileName, source: lines.map((line) => `${line}\n`).join('') })
    const index = bundle['index.cjs']
    const names = index?.type === 'chunk' ? index.exports.join(', ') : ''
    const load = "createRequire(import.meta.url)('./"
    const node = "import { createRequire } from 'node:module'"
    file('index.js', node, `export const { ${names} } = ${load}index.cjs')`)
    file('cli/main.js', '#!/usr/bin/env node', node, `${load}main.cjs')`)
  },
}

export default defineConfig({
  plugins: [modules],
  ssr: { noExternal: true, target: 'node' },
  // No search for native helpers of `ws` that nobody installs.
  define: { 'process.env.WS_NO_BUFFER_UTIL': '"1"', 'process.env.WS_NO_UTF_8_VALIDATE': '"1"' },
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
        format: 'cjs',
        entryFileNames: '[name].cjs',
        chunkFileNames: 'chunks/[name].cjs',
        // A process that loads a part after an update must fail, not find another function under the same letter.
        minifyInternalExports: false,
      },
    },
  },
})
