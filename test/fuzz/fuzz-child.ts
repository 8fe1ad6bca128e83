/** The child process that runs cases: it may hang or burst without taking the test along. */
import { type Outcome, runCase } from './fuzz-case.js'

export interface Order {
  readonly from: number
  readonly count: number
}

export interface Report extends Order {
  readonly outcome: Outcome
  readonly failures: readonly Failure[]
}

export interface Failure {
  readonly seed: number
  readonly what: string
}

/** A case that takes so much processor time is a failure: its updates have less than a few kilobytes. */
const CASE_BUDGET_MS = 2_000

function run({ from, count }: Order): Report {
  const outcome: Outcome = { stray: 0, refused: 0, gap: 0, 'nothing-new': 0, new: 0 }
  const failures: Failure[] = []
  for (let seed = from; seed < from + count; seed++) {
    const before = process.cpuUsage()
    try {
      const found = runCase(seed)
      for (const kind of Object.keys(outcome) as (keyof Outcome)[]) outcome[kind] += found[kind]
    } catch (error) {
      failures.push({ seed, what: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
    const { user, system } = process.cpuUsage(before)
    const spent = (user + system) / 1_000
    if (spent > CASE_BUDGET_MS) failures.push({ seed, what: `took ${Math.round(spent)} ms of processor time` })
  }
  return { from, count, outcome, failures }
}

// Yjs prints where our oracle speaks.
console.error = () => {}
console.log = () => {}
process.on('message', (order: Order) => process.send?.(run(order)))
