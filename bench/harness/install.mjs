// The peers' packages are no dependency of the product: they are installed here, and only when somebody benchmarks.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const home = fileURLToPath(new URL('..', import.meta.url))
const stamp = `${home}node_modules/.installed`

/** Runs `npm ci` in `bench/` unless its packages are those of the lock file and of this Node. */
export function installPeers() {
  const wanted = createHash('sha256')
    .update(readFileSync(`${home}package-lock.json`))
    .update(`${process.versions.modules} ${process.platform} ${process.arch}`)
    .digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  console.log('bench: installing the peers (npm ci in bench/)')
  // The settings of the project around us come as environment variables and are not ours: a peer may ask for a newer Node.
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^npm_/i.test(key)))
  const result = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: home, stdio: 'inherit', env })
  if (result.status !== 0) throw new Error('npm ci in bench/ failed')
  writeFileSync(stamp, wanted)
}

/** Installs and builds Causeway where its folder is a checkout with sources; a build that fails stops the benchmark. */
export function buildCauseway(root) {
  if (!existsSync(`${root}/server/cli/main.ts`)) return
  const steps = [
    [process.execPath, ['scripts/ensure.mjs']],
    ['npx', ['--no-install', 'vite', 'build', '-c', 'vite.server.config.ts', '--logLevel', 'warn']],
  ]
  for (const [command, args] of steps) {
    if (spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status !== 0) {
      throw new Error('the build of Causeway failed')
    }
  }
}
