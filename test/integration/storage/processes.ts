/** Starts writer processes and reads what they say. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const script = fileURLToPath(new URL('writer-process.mjs', import.meta.url))

export interface WriterProcess {
  readonly child: ChildProcess
  /** What it has said so far. */
  readonly lines: readonly string[]
  /** Resolves when it has said `count` lines that start with `word`, or has ended. */
  said(word: string, count?: number): Promise<void>
  /** Resolves with its exit code when it has ended and everything it said was read. */
  readonly ended: Promise<number | null>
}

/** `wrapper`: a command that runs it, with its arguments. */
export function startWriter(
  directory: string,
  incarnation: string,
  most: number,
  wrapper: readonly string[] = [],
): WriterProcess {
  const [command, ...rest] = [...wrapper, process.execPath, script, directory, incarnation, String(most)]
  const child = spawn(command!, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
  child.stderr!.resume()
  const lines: string[] = []
  const reader = createInterface(child.stdout!)
  reader.on('line', (line) => lines.push(line))
  const ended = Promise.all([once(child, 'exit'), once(reader, 'close')]).then(([[code]]) => code as number | null)
  const said = (word: string, count = 1): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (lines.filter((line) => line.startsWith(word)).length >= count) resolve()
      }
      reader.on('line', look)
      void ended.then(() => resolve())
      look()
    })
  return { child, lines, said, ended }
}

/** Whether system calls can be made to fail here. */
export const canTrace = (): boolean => runs('strace', '-o', '/dev/null', 'true')

export const isRoot = process.getuid?.() === 0

/** Whether a command runs here and succeeds. */
export const runs = (command: string, ...args: readonly string[]): boolean => spawnSync(command, args).status === 0
