// `npm run sim`: bundles the simulator and runs it. What it takes and prints is in test/simulator/sim-command.ts.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'vite'

const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'causeway-sim-'))
try {
  await build({
    configFile: false,
    logLevel: 'silent',
    ssr: { noExternal: true },
    build: {
      ssr: fileURLToPath(new URL('../test/simulator/sim-command.ts', import.meta.url)),
      outDir: folder,
      minify: false,
      rollupOptions: { output: { entryFileNames: 'sim.mjs' } },
    },
  })
  const { simulate } = await import(pathToFileURL(join(folder, 'sim.mjs')).href)
  process.exitCode = await simulate(process.argv.slice(2))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
