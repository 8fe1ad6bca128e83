/**
 * Ways in which the reference cell can be built wrong, one a name, and which invariants must notice (one of them is
 * enough; others may break as well). A checker that finds none of its mutants checks nothing.
 */
import type { CheckedInvariant } from '../check-history.js'

export const MUTANTS = {
  /** Keeps its incarnation over a restart: dots come back after an old backup is put back. */
  'reuse-incarnation': ['I1'],
  /** Delivers an op without looking at what it depends on. */
  'skip-deps': ['I2'],
  /** An op names fewer causes than its acceptor had. */
  'forget-deps': ['I2'],
  /** Applies, sends and acknowledges while the commit is under way. */
  'show-before-fsync': ['I3'],
  /** Calls durable what was only written. */
  'skip-fsync': ['I3'],
  /** Serves documents as they are and names the clock of what is still being committed. */
  'serve-ahead': ['I4'],
  /** The client does not take the acknowledged clock into its token. */
  'token-without-writes': ['I5'],
  /** The client does not take the cut of a read into its token. */
  'token-without-reads': ['I6'],
  /** The client offers its outbox from the end. */
  'reverse-outbox': ['I7'],
  /** Offers are accepted wherever they arrive, whatever their session has seen. */
  'offers-ignore-token': ['I8'],
  /** Reads are served wherever they arrive. */
  'reads-ignore-token': ['I9'],
  /** The writer whose wall clock is ahead wins, whatever came first. */
  'wall-clock-registers': ['I10'],
  /** The writer whose op arrives last wins. */
  'arrival-order-registers': ['I11'],
  /** The client forgets a write when the first replica has it. */
  'drop-resubmission': ['I12'],
  /** A write is called saved when the first replica has it. */
  'saved-too-early': ['I12'],
  /** Nobody asks for what is missing. */
  'never-ask': ['I13'],
  /** Requests wait as long as it takes. */
  'park-for-ever': ['I13'],
  /** Delivers an op before the coordination entries it depends on. */
  'red-late': ['I15'],
  /** Proposes a claim at once. */
  'propose-early': ['I16'],
  /** The past of a claim does not reach who reads it. */
  'forget-claim-past': ['I16'],
  /** Takes for a majority what one replica has. */
  'wrong-majority-cut': ['I17'],
  /** Gossips what has arrived instead of what is on disk. */
  'gossip-received': ['I17'],
  /** Cuts the log wherever it gets long. */
  'truncate-early': ['I18'],
  /** State transfer puts the other's state in the place of its own. */
  'install-by-replace': ['I18'],
  /** Takes writes whose predecessors it has not seen. */
  'skip-gap-check': ['I19'],
  /** Fresh reads ask nobody. */
  'fresh-alone': ['I20'],
  /** After its start a replica counts in fresh reads before it has what the others know. */
  'count-too-soon': ['I20'],
  /** A disk that is not empty is taken for complete unless a peer within reach remembers that it held more. */
  'trust-old-disk': ['I20'],
  /** When a request has waited long enough, it is answered with what is there. */
  'answer-anyway': ['I21'],
} as const satisfies Record<string, readonly CheckedInvariant[]>

export type Mutant = keyof typeof MUTANTS
