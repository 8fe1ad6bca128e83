/** A replica as a process of its own: started from the build, ended by its id. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('../../dist/server/cli/main.js', import.meta.url))

/** A fresh data directory, on tmpfs where there is one: these tests are about correctness, not about the disk. */
export function temporaryDirectory(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'causeway-test-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

export class ReplicaProcess {
  readonly port: number
  readonly data: string
  readonly output: string[] = []
  private readonly child: ChildProcess
  private readonly exited: Promise<number | null>

  private constructor(port: number, data: string, args: readonly string[], environment: Record<string, string>) {
    this.port = port
    this.data = data
    const listen = `127.0.0.1:${port}`
    this.child = spawn(
      process.execPath,
      [main, 'serve', '--name', 'a', '--cell', 'test', '--listen', listen, '--data', data, ...args],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...withoutOptions(process.env), ...environment },
      },
    )
    this.exited = new Promise((resolve) => this.child.once('exit', (code) => resolve(code)))
  }

  /** Resolves when the replica says that it serves; rejects with its output when it ends before. */
  static async start(options: {
    port: number
    data: string
    args?: readonly string[]
    environment?: Record<string, string>
  }): Promise<ReplicaProcess> {
    const replica = new ReplicaProcess(options.port, options.data, options.args ?? [], options.environment ?? {})
    await new Promise<void>((resolve, reject) => {
      const read = (chunk: Buffer): void => {
        replica.output.push(chunk.toString())
        if (chunk.includes('"event":"ready"')) resolve()
      }
      replica.child.stdout?.on('data', read)
      replica.child.stderr?.on('data', (chunk: Buffer) => replica.output.push(chunk.toString()))
      replica.child.once('exit', (code) =>
        reject(new Error(`the replica ended with ${code}:\n${replica.output.join('')}`)),
      )
      replica.child.once('error', reject)
    })
    return replica
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`
  }

  get http(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** Sends a signal and waits for the end; resolves with the exit code. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.child.kill(signal)
    return await this.exited
  }
}

/** Options of the tests are none of the replica's, which refuses what it does not know. */
function withoutOptions(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('CAUSEWAY_')))
}
