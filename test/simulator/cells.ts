/** The cells that can be put to the test, by name, and the mutants of each. */
import type { CheckedInvariant } from './check-history.js'
import { MUTANTS as PRODUCTION_MUTANTS, type Mutant as ProductionMutant } from './production/mutants.js'
import { productionCell } from './production/production-cell.js'
import { MUTANTS as REFERENCE_MUTANTS, type Mutant as ReferenceMutant } from './reference/mutants.js'
import { referenceCell } from './reference/reference-cell.js'
import { type RunOptions, type RunResult, runSeed } from './run-seed.js'

export interface NamedCell {
  readonly mutants: Readonly<Record<string, readonly CheckedInvariant[]>>
  /** Runs one seed; `mutant` is a name of `mutants`. */
  run(options: RunOptions, mutant?: string): RunResult
}

export const CELLS = {
  /** What real processes run. */
  production: {
    mutants: PRODUCTION_MUTANTS,
    run: (options, mutant) => runSeed(productionCell(mutant as ProductionMutant | undefined), options),
  },
  /** The design in few lines: it shows that checkers and world are sharp enough. */
  reference: {
    mutants: REFERENCE_MUTANTS,
    run: (options, mutant) => runSeed(referenceCell(mutant as ReferenceMutant | undefined), options),
  },
} as const satisfies Record<string, NamedCell>

export type CellName = keyof typeof CELLS

export function isCell(name: string): name is CellName {
  return Object.hasOwn(CELLS, name)
}
