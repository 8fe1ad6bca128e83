/** A replica as a process of its own: started from the build, ended by its id. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts } from '../../server/cli/free-ports.js'
import { CommandProcess } from './command-process.js'

/** A fresh data directory, on tmpfs where there is one: these tests are about correctness, not about the disk. */
export function temporaryDirectory(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'causeway-test-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

export async function freePort(): Promise<number> {
  return (await freePorts(1))[0]!
}

export interface ReplicaOptions {
  readonly port: number
  readonly data: string
  readonly name?: string
  readonly args?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

export class ReplicaProcess extends CommandProcess {
  readonly name: string
  readonly port: number
  readonly data: string

  /** Starts the process, which serves when `event('ready')` resolves. It ends with this one, however that ends. */
  constructor({ port, data, name = 'a', args = [], environment = {} }: ReplicaOptions) {
    const own = ['--name', name, '--cell', 'test', '--listen', `127.0.0.1:${port}`, '--data', data]
    super(['serve', '--end-with-parent', ...own, ...args], environment, { withChannel: true })
    this.name = name
    this.port = port
    this.data = data
  }

  /** Resolves when the replica says that it serves; rejects with its output when it ends before. */
  static async start(options: ReplicaOptions): Promise<ReplicaProcess> {
    const replica = new ReplicaProcess(options)
    await replica.event('ready')
    return replica
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`
  }

  get http(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Sends a signal and waits for the end; resolves with the exit code. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.child.kill(signal)
    return await this.ended
  }
}
