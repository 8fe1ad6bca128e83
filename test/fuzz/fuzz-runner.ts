/**
 * Hands out ranges of cases to child processes with little memory, watches that they answer, and narrows a range whose
 * child died or hangs down to the case. `replay` of its number shows it again.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import type { Outcome } from './fuzz-case.js'
import type { Failure, Order, Report } from './fuzz-child.js'

export interface Budget {
  readonly from: number
  readonly cases: number
  readonly seconds: number
  readonly children: number
}

export interface Summary {
  readonly cases: number
  readonly outcome: Outcome
  readonly failures: readonly Failure[]
}

const BATCH = 400
const CHILD_HEAP_MB = 256
/** Nobody waits so long for a batch that takes some hundred milliseconds, however busy the machine. */
const HANGS_AFTER_MS = 60_000
const MOST_FAILURES = 5

export async function fuzz(budget: Budget): Promise<Summary> {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'causeway-fuzz-'))
  try {
    const entry = fileURLToPath(new URL('fuzz-child.ts', import.meta.url))
    await build({
      configFile: false,
      logLevel: 'silent',
      ssr: { noExternal: true },
      build: {
        ssr: entry,
        outDir: folder,
        emptyOutDir: false,
        rollupOptions: { output: { entryFileNames: 'child.mjs' } },
      },
    })
    return await new Runner(join(folder, 'child.mjs'), budget).run()
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

class Runner {
  private readonly program: string
  private readonly budget: Budget
  private readonly deadline: number
  private readonly outcome: Outcome = { stray: 0, refused: 0, gap: 0, 'nothing-new': 0, new: 0 }
  private readonly failures: Failure[] = []
  private next: number
  private done = 0

  constructor(program: string, budget: Budget) {
    this.program = program
    this.budget = budget
    this.deadline = performance.now() + budget.seconds * 1_000
    this.next = budget.from
  }

  async run(): Promise<Summary> {
    await Promise.all(Array.from({ length: this.budget.children }, () => this.work()))
    return { cases: this.done, outcome: this.outcome, failures: this.failures }
  }

  private async work(): Promise<void> {
    let child = this.start()
    const end = this.budget.from + this.budget.cases
    while (this.next < end && performance.now() < this.deadline && this.failures.length < MOST_FAILURES) {
      const order = { from: this.next, count: Math.min(BATCH, end - this.next) }
      this.next += order.count
      const report = await ask(child, order)
      if (typeof report === 'object') this.add(report)
      else {
        child = this.restart(child)
        child = await this.narrow(child, order)
      }
    }
    child.kill('SIGKILL')
  }

  /** One of these cases ends its process: runs them one by one. */
  private async narrow(first: ChildProcess, { from, count }: Order): Promise<ChildProcess> {
    let child = first
    for (let seed = from; seed < from + count; seed++) {
      const report = await ask(child, { from: seed, count: 1 })
      if (typeof report === 'object') this.add(report)
      else {
        this.failures.push({ seed, what: report })
        child = this.restart(child)
      }
    }
    return child
  }

  private add({ count, outcome, failures }: Report): void {
    this.done += count
    for (const kind of Object.keys(outcome) as (keyof Outcome)[]) this.outcome[kind] += outcome[kind]
    this.failures.push(...failures)
  }

  private restart(child: ChildProcess): ChildProcess {
    child.kill('SIGKILL')
    return this.start()
  }

  private start(): ChildProcess {
    return fork(this.program, {
      execArgv: [`--max-old-space-size=${CHILD_HEAP_MB}`],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
  }
}

/** The report, or how the child failed to give one. */
function ask(child: ChildProcess, order: Order): Promise<Report | string> {
  return new Promise((resolve) => {
    const settle = (answer: Report | string): void => {
      clearTimeout(timer)
      child.off('message', onReport).off('exit', onExit)
      resolve(answer)
    }
    const onReport = (report: unknown): void => settle(report as Report)
    const onExit = (code: number | null, signal: string | null): void => settle(`its process ended: ${code ?? signal}`)
    const timer = setTimeout(() => settle(`no answer within ${HANGS_AFTER_MS} ms`), HANGS_AFTER_MS)
    child.on('message', onReport).on('exit', onExit)
    child.send(order)
  })
}
