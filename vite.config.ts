/** The web pages: `client/web/index.html` (the demo, served at `/` by `causeway dev`) is built into `dist/web`. */
import { defineConfig, type Plugin } from 'vite'

/** The page is drawn first when its script has run: once, in the chosen colours, instead of empty and in the others. */
const drawOnce: Plugin = {
  name: 'draw-once',
  transformIndexHtml: {
    order: 'post',
    handler: (html) => html.replace('<script type="module"', '<script type="module" blocking="render"'),
  },
}

export default defineConfig({
  root: 'client/web',
  plugins: [drawOnce],
  // Two copies of Yjs in one page break `instanceof` inside Yjs.
  resolve: { dedupe: ['yjs'] },
  build: {
    outDir: '../../dist/web',
    emptyOutDir: true,
    target: 'es2022',
    // The colours use light-dark(), which these know.
    cssTarget: ['chrome123', 'firefox125', 'safari17.5'],
    // No data: addresses, so that a strict content security policy needs no exception for them.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: 'licenses.md' },
    rolldownOptions: { input: { index: 'client/web/index.html' } },
  },
})
