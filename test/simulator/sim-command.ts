/**
 * `npm run sim`: seeds one after the other, progress now and then, a summary at the end. It can be stopped at any time
 * and says how to go on. A violation prints the line that replays it; a single seed prints its faults and, where it
 * fails, the trace up to the first violation.
 */
import { parseArgs } from 'node:util'
import { CELLS, type CellName, isCell, type NamedCell } from './cells.js'
import type { RunResult } from './run-seed.js'

const DEFAULT_CELL = 'production'

const USAGE = `npm run sim -- [--cell name] [--seed N] [--runs M] [--mutant name] [--trace lines]

  --cell name    which cell: ${Object.keys(CELLS).join(', ')} (${DEFAULT_CELL})
  --seed N       the first seed (1)
  --runs M       how many seeds (100, or 1 where only --seed is given)
  --mutant name  builds the cell wrong in one way; stops at the first violation it must show
${mutantLines()}
  --trace lines  how many lines of trace a single seed prints before its first violation (40)`

const PROGRESS_EVERY_MS = 5_000
const MOST_FAILURES = 10
/** Lines: more than a run has. */
const WHOLE_TRACE = 1_000_000

interface Settings {
  readonly cell: CellName
  readonly seed: number
  readonly runs: number
  readonly mutant: string | undefined
  readonly traceLines: number
}

/** Runs the command; returns its exit code: 1 where an invariant broke without a mutant, or held in spite of one. */
export async function simulate(args: readonly string[]): Promise<number> {
  const settings = readSettings(args)
  if (typeof settings === 'string') {
    console.log(settings)
    return settings === USAGE ? 0 : 2
  }
  const campaign = new Campaign(settings)
  const stop = (): void => campaign.stop()
  process.on('SIGINT', stop).on('SIGTERM', stop)
  try {
    while (campaign.runNext()) await new Promise((resolve) => setImmediate(resolve)) // Lets a signal in.
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
  console.log(campaign.summary())
  return campaign.hasSucceeded ? 0 : 1
}

class Campaign {
  private readonly settings: Settings
  private readonly begunAt = performance.now()
  private toldAt = this.begunAt
  private done = 0
  private isStopped = false
  private readonly failures: RunResult[] = []
  private readonly totals = { virtualMs: 0, calls: 0, faults: 0 }

  constructor(settings: Settings) {
    this.settings = settings
  }

  stop(): void {
    this.isStopped = true
  }

  /** False: there is nothing more to do. */
  runNext(): boolean {
    const { cell, seed: first, runs, mutant } = this.settings
    if (this.isStopped || this.done === runs) return false
    const isAlone = runs === 1
    const result = cellOf(cell).run({ seed: first + this.done, traceLines: isAlone ? WHOLE_TRACE : 0 }, mutant)
    this.done++
    this.totals.virtualMs += result.virtualMs
    this.totals.calls += result.calls
    this.totals.faults += result.faults.length
    if (isAlone) console.log(result.faults.map((fault) => `  ${fault}`).join('\n'))
    if (result.violations.length > 0) this.fail(result)
    if (performance.now() - this.toldAt > PROGRESS_EVERY_MS) {
      this.toldAt = performance.now()
      console.log(`seed ${result.seed}, ${this.done} of ${runs} runs, ${this.failures.length} with violations`)
    }
    return true
  }

  /** Without a mutant nothing broke; with one, what it is there to break. */
  get hasSucceeded(): boolean {
    const { mutant } = this.settings
    return mutant ? this.failures.some((result) => this.isCaught(result, mutant)) : this.failures.length === 0
  }

  summary(): string {
    const { cell, seed: first, runs, mutant } = this.settings
    const { virtualMs, calls, faults } = this.totals
    const seconds = (performance.now() - this.begunAt) / 1_000
    const rest = runs - this.done
    return [
      `${this.done} seeds from ${first}: ${this.failures.length} with violations`,
      `${(virtualMs / 3_600_000).toFixed(2)} virtual hours, ${calls} calls, ${faults} faults`,
      `${seconds.toFixed(1)} s, ${((this.done / seconds) * 60).toFixed(0)} seeds a minute`,
      ...this.failures.map((result) => `replay: ${replayLine(cell, result.seed, mutant)}`),
      ...(rest > 0 && !mutant ? [`go on: ${replayLine(cell, first + this.done)} --runs ${rest}`] : []),
    ].join('\n')
  }

  private fail(result: RunResult): void {
    const { cell, mutant, traceLines } = this.settings
    this.failures.push(result)
    const shownAtMs = result.history.events[Math.min(...result.violations.map(({ at }) => at))]!.atMs
    const before = result.traceLines.filter((line) => Number.parseInt(line, 10) <= shownAtMs)
    console.log(
      [describeFailure(cell, result, mutant), ...before.slice(Math.max(0, before.length - traceLines))].join('\n'),
    )
    if (mutant ? this.isCaught(result, mutant) : this.failures.length === MOST_FAILURES) this.stop()
  }

  /** Whether an invariant broke that this mutant is there to break. */
  private isCaught({ violations }: RunResult, mutant: string): boolean {
    const invariants = cellOf(this.settings.cell).mutants[mutant] ?? []
    return violations.some(({ invariant }) => invariants.some((one) => one === invariant))
  }
}

function replayLine(cell: CellName, seed: number, mutant?: string): string {
  return `npm run sim -- ${cell === DEFAULT_CELL ? '' : `--cell ${cell} `}--seed ${seed}${mutant ? ` --mutant ${mutant}` : ''}`
}

export function describeFailure(cell: CellName, { seed, history, violations }: RunResult, mutant?: string): string {
  const lines = violations.map(({ invariant, at, says }) => {
    const { atMs, by } = history.events[at]!
    return `  ${invariant} at ${atMs} ms, ${by}: ${says}`
  })
  return [`seed ${seed}: ${violations.length} violations; ${replayLine(cell, seed, mutant)}`, ...lines].join('\n')
}

function readSettings(args: readonly string[]): Settings | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        cell: { type: 'string' },
        seed: { type: 'string' },
        runs: { type: 'string' },
        mutant: { type: 'string' },
        trace: { type: 'string' },
        help: { type: 'boolean' },
      },
    })
    if (values.help) return USAGE
    const { cell = DEFAULT_CELL, mutant } = values
    if (!isCell(cell)) return `no cell ${cell}\n\n${USAGE}`
    if (mutant !== undefined && !Object.hasOwn(CELLS[cell].mutants, mutant)) return `no mutant ${mutant}\n\n${USAGE}`
    const seed = Number(values.seed ?? 1)
    const runs = Number(values.runs ?? (values.seed === undefined || mutant ? 100 : 1))
    const traceLines = Number(values.trace ?? 40)
    for (const count of [seed, runs, traceLines])
      if (!Number.isSafeInteger(count) || count < 0) return `not a count: ${count}\n\n${USAGE}`
    return { cell, seed, runs, mutant, traceLines }
  } catch (error) {
    return `${error instanceof Error ? error.message : error}\n\n${USAGE}`
  }
}

/** Without knowing which. */
function cellOf(name: CellName): NamedCell {
  return CELLS[name]
}

function mutantLines(): string {
  return Object.entries(CELLS)
    .map(([name, { mutants }]) => `                 ${name}: ${Object.keys(mutants).join(' ')}`)
    .join('\n')
}
