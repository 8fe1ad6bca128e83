/** The server behind the demo's tests, with an empty notebook. To test another one, change `startDemoServer`. */
import { execFileSync } from 'node:child_process'
import { startEchoServer } from '../../models/echo-server.js'

export interface DemoServer {
  /** Where the notebook is served, `http://127.0.0.1:…/`. */
  readonly url: string
  stop(): Promise<void>
}

const DISK_DELAY_MS = 30

export async function startDemoServer(): Promise<DemoServer> {
  buildPages()
  const server = await startEchoServer({ port: 0, delayMs: DISK_DELAY_MS, pages: 'dist/web' })
  return { url: `http://127.0.0.1:${server.port}/`, stop: () => server.stop() }
}

/** As they ship: not with the settings that a test run leaves in the environment. */
function buildPages(): void {
  const env = { ...process.env, NODE_ENV: 'production' }
  execFileSync(process.execPath, ['node_modules/vite/bin/vite.js', 'build', '--logLevel', 'warn'], {
    env,
    stdio: 'inherit',
  })
}
