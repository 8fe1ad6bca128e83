/** The `causeway` command as people start it: a child process from the build, its output, its signals. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export const commandFile = fileURLToPath(new URL('../../dist/server/cli/main.js', import.meta.url))

/** The environment without options: those of the tests are none of the command's, which refuses what it does not know. */
export function environment(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith('CAUSEWAY_'))
  return { ...Object.fromEntries(others), ...more }
}

export class CommandProcess {
  readonly child: ChildProcess
  /** All that was written so far. */
  out = ''
  err = ''
  /** Resolves to the exit code when the process has ended and everything was read; null after a signal. */
  readonly ended: Promise<number | null>
  private readonly lines: string[] = []
  private readonly watchers = new Set<() => void>()
  private isOver = false

  /** `withChannel`: the process can tell when this one ends. `ownGroup`: it leads a group of processes, as in a terminal. */
  constructor(
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    { withChannel = false, ownGroup = false } = {},
  ) {
    this.child = spawn(process.execPath, [commandFile, ...args], {
      env: environment(env),
      detached: ownGroup,
      stdio: withChannel ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'],
    })
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.out += text
    })
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.err += text
    })
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      this.lines.push(line)
      this.wake()
    })
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject)
      this.child.once('close', (code) => {
        this.isOver = true
        resolve(code)
        this.wake()
      })
    })
    this.ended.catch(() => {})
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /**
   * The first line on standard output, from the first on, for which `isWanted` holds; rejects when the process ends
   * without one.
   */
  line(isWanted: (line: string) => boolean = () => true): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const line = this.lines.find(isWanted)
        if (line === undefined && !this.isOver) return
        this.watchers.delete(look)
        if (line === undefined) reject(new Error(`ended with ${this.child.exitCode}:\n${this.out}${this.err}`))
        else resolve(line)
      }
      this.watchers.add(look)
      look()
    })
  }

  /** The event with this name that a command wrote as a line of JSON. */
  async event(event: string): Promise<Record<string, unknown>> {
    return JSON.parse(await this.line((line) => line.startsWith(`{"event":"${event}"`)))
  }

  private wake(): void {
    for (const watcher of [...this.watchers]) watcher()
  }
}

/** Whether a process runs: one that has ended and that nobody asked for its end does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
