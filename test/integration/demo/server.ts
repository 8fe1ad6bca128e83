/** The replica behind the demo's tests, with an empty notebook and the pages as they ship. */
import { execFileSync } from 'node:child_process'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'

export interface DemoServer {
  /** Where the notebook is served, `http://127.0.0.1:…/`. */
  readonly url: string
  stop(): Promise<void>
}

export async function startDemoServer(): Promise<DemoServer> {
  buildPages()
  const directory = temporaryDirectory()
  const replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path, args: ['--demo'] })
  return {
    url: `${replica.http}/`,
    stop: async () => {
      await replica.end()
      directory.remove()
    },
  }
}

/** As they ship: not with the settings that a test run leaves in the environment. */
function buildPages(): void {
  const env = { ...process.env, NODE_ENV: 'production' }
  execFileSync(process.execPath, ['node_modules/vite/bin/vite.js', 'build', '--logLevel', 'warn'], {
    env,
    stdio: 'inherit',
  })
}
