/** One seed: a cell, a workload and a nemesis for a virtual minute, a healed end, and the verdict of the checkers. */
import { Random } from '../../shared/base/random.js'
import { SampledChoices } from '../../shared/simulator/choices.js'
import type { CellUnderTest } from './cell-under-test.js'
import { type CheckedInvariant, checkHistory } from './check-history.js'
import type { History } from './history.js'
import { Nemesis } from './nemesis.js'
import type { Violation } from './observed.js'
import { Stage } from './stage.js'
import { Workload } from './workload.js'

export interface RunOptions {
  readonly seed: number
  /** Lines of trace to keep, the last ones. */
  readonly traceLines?: number
  /** What to check; everything by default. */
  readonly only?: readonly CheckedInvariant[]
  /** How long workload and faults last; a virtual minute by default. */
  readonly lastsMs?: number
}

export interface RunResult {
  readonly seed: number
  readonly history: History
  readonly violations: readonly Violation[]
  /** Equal for two runs of one seed. */
  readonly digest: string
  readonly traceLines: readonly string[]
  readonly faults: readonly string[]
  readonly calls: number
  readonly virtualMs: number
}

const LASTS_MS = 60_000
/** From here on all faults are over; what is not settled by then counts as stuck. */
const SETTLES_WITHIN_MS = 20_000
const LOOK_EVERY_MS = 200
const CLIENTS = 8
/** One room, one country, one planet: the farther apart, the longer replicas know different things. */
const REPLICA_LATENCIES_MS = [
  [1, 8],
  [5, 60],
  [20, 150],
] as const

export function runSeed<Message, Stored>(cell: CellUnderTest<Message, Stored>, options: RunOptions): RunResult {
  const { seed, lastsMs = LASTS_MS } = options
  // Each part draws from its own source: a change in one leaves the others as they are.
  const [setting, workload, faults] = [1, 2, 3].map((part) => new Random(seed * 8 + part)) as [Random, Random, Random]
  const members = ['a', 'b', 'c', 'd', 'e'].slice(0, setting.chance(0.2) ? 5 : 3)
  const stage = new Stage(cell, { choices: new SampledChoices(seed * 8), members, traceLines: options.traceLines ?? 0 })
  const { world } = stage
  const latencyMs = setting.pick(REPLICA_LATENCIES_MS)
  for (const from of members) for (const to of members) if (from !== to) world.network.tune(from, to, { latencyMs })
  const asked = new Workload(stage, workload, CLIENTS, lastsMs)
  const nemesis = new Nemesis(stage, faults, {
    faults: setting.between(6, 14),
    endsAtMs: lastsMs,
    addClient: () => asked.addClient(),
  })
  world.runUntil(lastsMs)
  nemesis.heal()
  const stuckAtMs = lastsMs + SETTLES_WITHIN_MS
  for (let nextMs = lastsMs; nextMs < stuckAtMs && !stage.isQuiet; nextMs += LOOK_EVERY_MS) world.runUntil(nextMs)
  stage.settle()
  return {
    seed,
    history: stage.history,
    violations: checkHistory(stage.history, options.only),
    digest: world.trace.digest,
    traceLines: world.trace.lines,
    faults: nemesis.log,
    calls: stage.callCount,
    virtualMs: world.nowMs,
  }
}
