/**
 * Fixed seeds of the cell that real processes make up, and its mutants. What a failure prints replays it:
 * `npm run sim -- --seed 8117`. A longer run: `npm run sim -- --seed 1000 --runs 100000`.
 */
import { describe, expect, test } from 'vitest'
import type { CheckedInvariant } from '../check-history.js'
import { runSeed } from '../run-seed.js'
import { describeFailure } from '../sim-command.js'
import { MUTANTS, type Mutant } from './mutants.js'
import { productionCell } from './production-cell.js'

const FIXED_SEEDS = [1, 2, 3, 4, 5, 6]
const MOST_SEEDS = 100

/** Together they meet everything. */
const MEETING_SEEDS = [4, 14, 95]

/** Where to look first for those that need a rare world. */
const FIRST_SEEDS: Partial<Record<Mutant, number>> = { 'fold-for-everybody': 12 }

describe('a cell that keeps its promises', () => {
  test.each(FIXED_SEEDS)('breaks no invariant in a minute of faults (seed %i)', (seed) => {
    const result = runSeed(productionCell(), { seed })
    expect(result.violations, describeFailure('production', result)).toEqual([])
    expect(result.calls).toBeGreaterThanOrEqual(1_000)
    expect(result.faults.length).toBeGreaterThanOrEqual(5)
    expect(result.virtualMs).toBeGreaterThanOrEqual(60_000)
  })

  test('one seed, one trace, whether it is kept or not', () => {
    const [once, again] = [0, 100].map((traceLines) => {
      return runSeed(productionCell(), { seed: 8117, traceLines, only: [], lastsMs: 20_000 })
    })
    expect(again!.digest).toBe(once!.digest)
    expect(again!.history).toEqual(once!.history)
  })

  test('runs meet every kind of event, or their checkers are idle', () => {
    const met = new Set<string>()
    for (const seed of MEETING_SEEDS) {
      for (const event of runSeed(productionCell(), { seed, only: [] }).history.events) met.add(event.type)
    }
    // Nobody takes claims here; members do not change; documents never wait for parts.
    const expected = [
      'invoke ok refused saved marked gone client-settled start accept durable deliver send serve acknowledge taken',
      'install truncate need majority-cut fingerprint replica-settled crash disk recovered healed withdraw rewound',
    ].flatMap((line) => line.split(' '))
    expect(expected.filter((type) => !met.has(type))).toEqual([])
    expect(met).not.toContain('pending')
  })
})

describe('a cell that is built wrong is caught', () => {
  test.each(Object.keys(MUTANTS) as Mutant[])('%s', (mutant) => {
    const only: readonly CheckedInvariant[] = MUTANTS[mutant]
    const first = FIRST_SEEDS[mutant] ?? 1
    const seeds = Array.from({ length: MOST_SEEDS }, (_, at) => first + at)
    expect(seeds.some((seed) => isCaught(mutant, seed, only))).toBe(true)
  })
})

/** A mutant may also break an assumption of the cores, which would end the process: nobody overlooks that. */
function isCaught(mutant: Mutant, seed: number, only: readonly CheckedInvariant[]): boolean {
  try {
    return runSeed(productionCell(mutant), { seed, only }).violations.length > 0
  } catch {
    return true
  }
}
