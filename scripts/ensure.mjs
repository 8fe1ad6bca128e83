// Makes a fresh clone runnable: checks Node, installs packages when the lock changed, and with --browser finds or
// installs Chromium. It runs before node_modules exists, so it uses Node's own modules only.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const stamp = `${root}node_modules/.installed`
const lock = `${root}.install.lock`
const unreadableLockIsStaleAfterMs = 5_000

const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) fail(`Node 20.19 or newer is needed, this is ${process.version}.`)

// The stamp decides, not file times: git sets new times on checkout, and a native addon belongs to one Node ABI.
const wanted = createHash('sha256')
  .update(readFileSync(`${root}package-lock.json`))
  .update(`${process.versions.modules} ${process.platform} ${process.arch}`)
  .digest('hex')
const isCurrent = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted

if (!isCurrent()) {
  takeLock()
  const problem = isCurrent() ? undefined : install()
  rmSync(lock, { recursive: true, force: true })
  if (problem) fail(problem)
}
if (process.argv.includes('--browser')) ensureChromium()

function install() {
  console.log('node_modules is missing or stale: running npm ci')
  const args = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund']
  // A caller in production mode must still get the compiler.
  const env = { ...process.env, NODE_ENV: 'development' }
  for (const key of Object.keys(env)) {
    if (/^npm_config_(omit|include|production|only|global|ignore_scripts|dry_run)$/i.test(key)) delete env[key]
  }
  const npm = process.env.npm_execpath
  const result = npm
    ? spawnSync(process.execPath, [npm, ...args], { cwd: root, stdio: 'inherit', env })
    : spawnSync('npm', args, { cwd: root, stdio: 'inherit', env, shell: process.platform === 'win32' })
  if (result.status !== 0) {
    return 'npm ci failed (see above). The native SQLite addon needs python3, make and a C++ compiler where no prebuilt binary can be had.'
  }
  writeFileSync(stamp, wanted)
  return undefined
}

/** One install at a time: others wait, and a lock whose process died is taken over. */
function takeLock() {
  for (;;) {
    try {
      mkdirSync(lock)
      writeFileSync(`${lock}/pid`, String(process.pid))
      return
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (lockIsStale()) rmSync(lock, { recursive: true, force: true })
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300)
  }
}

function lockIsStale() {
  try {
    process.kill(Number(readFileSync(`${lock}/pid`, 'utf8')), 0)
    return false
  } catch (error) {
    if (error.code === 'EPERM') return false
    if (error.code === 'ESRCH') return true
    const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
    return age > unreadableLockIsStaleAfterMs
  }
}

function ensureChromium() {
  if (process.env.SKIP_BROWSER_TESTS === '1') return
  const places = [process.env.CHROMIUM_PATH, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
  if (places.some((path) => path && existsSync(path))) return
  if (existsSync('/usr/bin/apt-get') && process.getuid?.() === 0) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    const apt = (...args) => spawnSync('apt-get', args, { stdio: 'inherit', env }).status === 0
    if (apt('update', '-q') && apt('install', '-y', '-q', '--no-install-recommends', 'chromium')) return
  }
  fail(
    'The browser tests need Chromium. Install it (Debian: sudo apt-get install chromium), or set CHROMIUM_PATH, or set SKIP_BROWSER_TESTS=1 to leave them out.',
  )
}

function fail(message) {
  console.error(`\n${message}\n`)
  process.exit(1)
}
