/**
 * `npm run sim`: seeds one after the other, progress now and then, a summary at the end. It can be stopped at any time
 * and says how to go on. A violation prints the line that replays it; a single seed prints its faults and, where it
 * fails, the end of its trace.
 */
import { parseArgs } from 'node:util'
import type { CheckedInvariant } from './check-history.js'
import { MUTANTS, type Mutant } from './reference/mutants.js'
import { referenceCell } from './reference/reference-cell.js'
import { type RunResult, runSeed } from './run-seed.js'

const USAGE = `npm run sim -- [--seed N] [--runs M] [--mutant name] [--trace lines]

  --seed N       the first seed (1)
  --runs M       how many seeds (100, or 1 where only --seed is given)
  --mutant name  builds the cell wrong in one way; stops at the first violation it must show
                 ${Object.keys(MUTANTS).join(' ')}
  --trace lines  how many lines of trace a failing seed prints (40)`

const PROGRESS_EVERY_MS = 5_000
const MOST_FAILURES = 10

interface Settings {
  readonly seed: number
  readonly runs: number
  readonly mutant: Mutant | undefined
  readonly traceLines: number
}

/** Runs the command; returns its exit code: 1 where an invariant broke without a mutant, or held in spite of one. */
export async function simulate(args: readonly string[]): Promise<number> {
  const settings = readSettings(args)
  if (typeof settings === 'string') {
    console.log(settings)
    return settings === USAGE ? 0 : 2
  }
  const { seed: first, runs, mutant, traceLines } = settings
  let isStopped = false
  const stop = (): void => {
    isStopped = true
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
  const begunAt = performance.now()
  let toldAt = begunAt
  let virtualMs = 0
  let calls = 0
  let faults = 0
  const failures: RunResult[] = []
  let seed = first
  for (; seed < first + runs && !isStopped; seed++) {
    const result = runSeed(referenceCell(mutant), { seed, traceLines: runs === 1 ? traceLines : 0 })
    virtualMs += result.virtualMs
    calls += result.calls
    faults += result.faults.length
    if (result.violations.length > 0) {
      failures.push(result)
      console.log(describeFailure(result, mutant))
      if (mutant && expected(result, mutant).length > 0) stop()
      if (!mutant && failures.length === MOST_FAILURES) stop()
    }
    if (runs === 1) console.log([...result.faults.map((fault) => `  ${fault}`), ...result.traceLines].join('\n'))
    if (performance.now() - toldAt > PROGRESS_EVERY_MS) {
      toldAt = performance.now()
      console.log(`seed ${seed}, ${seed - first + 1} of ${runs} runs, ${failures.length} with violations`)
    }
    // Lets a signal in.
    await new Promise((resolve) => setImmediate(resolve))
  }
  process.off('SIGINT', stop).off('SIGTERM', stop)
  const done = seed - first
  const seconds = (performance.now() - begunAt) / 1_000
  console.log(
    [
      `${done} seeds from ${first}: ${failures.length} with violations`,
      `${(virtualMs / 3_600_000).toFixed(2)} virtual hours, ${calls} calls, ${faults} faults`,
      `${seconds.toFixed(1)} s, ${((done / seconds) * 60).toFixed(0)} seeds a minute`,
      ...failures.map((result) => `replay: ${replayLine(result.seed, mutant)}`),
      ...(done < runs && !mutant ? [`go on: npm run sim -- --seed ${seed} --runs ${runs - done}`] : []),
    ].join('\n'),
  )
  if (mutant) return failures.some((result) => expected(result, mutant).length > 0) ? 0 : 1
  return failures.length > 0 ? 1 : 0
}

export function replayLine(seed: number, mutant?: Mutant): string {
  return `npm run sim -- --seed ${seed}${mutant ? ` --mutant ${mutant}` : ''}`
}

/** Violations that this mutant is there to show. */
export function expected({ violations }: RunResult, mutant: Mutant): RunResult['violations'] {
  const invariants: readonly CheckedInvariant[] = MUTANTS[mutant]
  return violations.filter(({ invariant }) => invariants.some((one) => one === invariant))
}

export function describeFailure({ seed, history, violations }: RunResult, mutant?: Mutant): string {
  const lines = violations.map(({ invariant, at, says }) => {
    const { atMs, by } = history.events[at]!
    return `  ${invariant} at ${atMs} ms, ${by}: ${says}`
  })
  return [`seed ${seed}: ${violations.length} violations; ${replayLine(seed, mutant)}`, ...lines].join('\n')
}

function readSettings(args: readonly string[]): Settings | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        seed: { type: 'string' },
        runs: { type: 'string' },
        mutant: { type: 'string' },
        trace: { type: 'string' },
        help: { type: 'boolean' },
      },
    })
    if (values.help) return USAGE
    const { mutant } = values
    if (mutant !== undefined && !isMutant(mutant)) return `no mutant ${mutant}\n\n${USAGE}`
    const seed = Number(values.seed ?? 1)
    const runs = Number(values.runs ?? (values.seed === undefined || mutant ? 100 : 1))
    const traceLines = Number(values.trace ?? 40)
    for (const count of [seed, runs, traceLines])
      if (!Number.isSafeInteger(count) || count < 0) return USAGE.concat('\n')
    return { seed, runs, mutant, traceLines }
  } catch (error) {
    return `${error instanceof Error ? error.message : error}\n\n${USAGE}`
  }
}

function isMutant(name: string): name is Mutant {
  return Object.hasOwn(MUTANTS, name)
}
