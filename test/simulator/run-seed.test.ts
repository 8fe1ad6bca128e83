/**
 * Fixed seeds of the reference cell, and its mutants. What a failure prints replays it: `npm run sim -- --cell reference
 * --seed 8117`. The cell of real processes has a suite of its own, `production/production-cell.test.ts`.
 */
import { describe, expect, test } from 'vitest'
import { CHECKERS, type CheckedInvariant } from './check-history.js'
import { MUTANTS, type Mutant } from './reference/mutants.js'
import { referenceCell } from './reference/reference-cell.js'
import { runSeed } from './run-seed.js'
import { describeFailure } from './sim-command.js'

const FIXED_SEEDS = Array.from({ length: 12 }, (_, at) => at + 1)
const MOST_SEEDS = 100

describe('a cell that keeps its promises', () => {
  test.each(FIXED_SEEDS)('breaks no invariant in a minute of faults (seed %i)', (seed) => {
    const result = runSeed(referenceCell(), { seed })
    expect(result.violations, describeFailure('reference', result)).toEqual([])
    expect(result.calls).toBeGreaterThanOrEqual(1_000)
    expect(result.faults.length).toBeGreaterThanOrEqual(5)
    expect(result.virtualMs).toBeGreaterThanOrEqual(60_000)
  })

  test('one seed, one trace, whether it is kept or not', () => {
    const [once, again] = [0, 100].map((traceLines) => runSeed(referenceCell(), { seed: 8117, traceLines, only: [] }))
    expect(again!.digest).toBe(once!.digest)
    expect(again!.history).toEqual(once!.history)
    expect(again!.traceLines.length).toBeGreaterThan(50)
    expect(runSeed(referenceCell(), { seed: 8118, only: [] }).digest).not.toBe(once!.digest)
  })

  test('runs meet every kind of event, or their checkers are idle', () => {
    const met = new Set<string>()
    for (const seed of FIXED_SEEDS.slice(0, 6)) {
      for (const event of runSeed(referenceCell(), { seed, only: [] }).history.events) met.add(event.type)
    }
    // Ops that wait in documents are what must not be; commits that fail end the life here; members do not change.
    const expected = [
      'invoke ok refused unknown saved marked gone client-settled start accept durable deliver send serve acknowledge',
      'install truncate need majority-cut coordinate propose fingerprint replica-settled crash disk recovered healed',
    ].flatMap((line) => line.split(' '))
    expect([...met].sort()).toEqual(expected.sort())
  })
})

describe('a cell that is built wrong is caught', () => {
  test.each(Object.keys(MUTANTS) as Mutant[])('%s', (mutant) => {
    const only: readonly CheckedInvariant[] = MUTANTS[mutant]
    let seed = 1
    while (seed <= MOST_SEEDS && runSeed(referenceCell(mutant), { seed, only }).violations.length === 0) seed++
    expect(seed).toBeLessThanOrEqual(MOST_SEEDS)
  })

  test('every invariant has a mutant of its own', () => {
    const caught = new Set<string>(Object.values(MUTANTS).flat())
    expect(Object.keys(CHECKERS).filter((invariant) => !caught.has(invariant))).toEqual([])
  })
})
