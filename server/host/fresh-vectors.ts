/**
 * What members have on disk, asked after a read began: that, and nothing heard before, bounds what a `fresh` read must
 * contain. A round of questions serves every read that began before it was sent; while many come, rounds are sent at a
 * pace, and reads that still lack answers are asked for again, since a member may have been away the first time.
 */
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { WaitTimers } from './waits.js'

/**
 * Asks every member, this one included, what it has on disk from now on. `heard` is called for each that answers and is
 * not recovering, as it comes; never for a vector that was known before.
 */
export type AskVectors = (heard: (member: string, durable: VersionVector) => void) => void

/** Least time between two rounds. */
const ROUND_GAP_MS = 5
const ASK_AGAIN_MS = 500

interface Read {
  /** The first round that was sent after it began. */
  readonly since: number
  readonly vectors: Map<string, VersionVector>
  readonly heard: () => void
}

export class FreshVectors {
  private readonly ask: AskVectors
  private readonly timers: WaitTimers
  private readonly reads = new Set<Read>()
  private rounds = 0
  private sentAtMs = Number.NEGATIVE_INFINITY
  private cancel: (() => void) | undefined

  constructor(ask: AskVectors, timers: WaitTimers) {
    this.ask = ask
    this.timers = timers
  }

  /** A read begins. `vectors` has what was answered since, by member; `heard` is called when it has more. */
  begin(heard: () => void): { readonly vectors: ReadonlyMap<string, VersionVector>; end(): void } {
    const read: Read = { since: this.rounds + 1, vectors: new Map(), heard }
    this.reads.add(read)
    this.sendIn(ROUND_GAP_MS - (this.timers.now() - this.sentAtMs))
    return { vectors: read.vectors, end: () => this.reads.delete(read) }
  }

  private sendIn(milliseconds: number): void {
    this.cancel?.()
    this.cancel = undefined
    if (milliseconds > 0) this.cancel = this.timers.after(milliseconds, () => this.send())
    else this.send()
  }

  private send(): void {
    this.cancel = undefined
    if (this.reads.size === 0) return
    this.rounds += 1
    this.sentAtMs = this.timers.now()
    this.sendIn(ASK_AGAIN_MS)
    const round = this.rounds
    this.ask((member, durable) => {
      for (const read of [...this.reads]) {
        if (read.since > round) continue
        read.vectors.set(member, durable)
        read.heard()
      }
    })
  }
}
