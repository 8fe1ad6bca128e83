/** All checkers, by the invariant they judge. What each says is in its file. */
import { checkBlueBeforeRed } from './checkers/blue-before-red.js'
import { checkCausalConsistency, checkMonotonicWrites, checkWritesFollowReads } from './checkers/causal-consistency.js'
import { checkCausalDelivery, checkRedBeforeBlue } from './checkers/causal-delivery.js'
import { checkClockHonesty } from './checkers/clock-honesty.js'
import { checkConvergence } from './checkers/convergence.js'
import { checkDots } from './checkers/dots.js'
import { checkFreshReads } from './checkers/fresh-reads.js'
import { checkLastWriter } from './checkers/last-writer.js'
import { checkLostWrites } from './checkers/lost-writes.js'
import { checkMajorityCut } from './checkers/majority-cut.js'
import { checkPending } from './checkers/pending.js'
import { checkPersistBeforeShow } from './checkers/persist-before-show.js'
import { checkProgress } from './checkers/progress.js'
import { checkSessionHonesty } from './checkers/session-honesty.js'
import { checkMonotonicReads, checkReadYourWrites } from './checkers/session-reads.js'
import { checkTruncation } from './checkers/truncation.js'
import type { History } from './history.js'
import { type Checker, Observed, type Violation } from './observed.js'

export const CHECKERS = {
  I1: checkDots,
  I2: checkCausalDelivery,
  I3: checkPersistBeforeShow,
  I4: checkClockHonesty,
  I5: checkReadYourWrites,
  I6: checkMonotonicReads,
  I7: checkMonotonicWrites,
  I8: checkWritesFollowReads,
  I9: checkCausalConsistency,
  I10: checkLastWriter,
  I11: checkConvergence,
  I12: checkLostWrites,
  I13: checkProgress,
  I15: checkRedBeforeBlue,
  I16: checkBlueBeforeRed,
  I17: checkMajorityCut,
  I18: checkTruncation,
  I19: checkPending,
  I20: checkFreshReads,
  I21: checkSessionHonesty,
} as const satisfies Record<string, Checker>

export type CheckedInvariant = keyof typeof CHECKERS

/** What breaks the invariants, those of `only` if given; empty for a good history. */
export function checkHistory(history: History, only?: readonly CheckedInvariant[]): Violation[] {
  const observed = new Observed(history)
  return (only ?? (Object.keys(CHECKERS) as CheckedInvariant[])).flatMap((invariant) => CHECKERS[invariant](observed))
}
