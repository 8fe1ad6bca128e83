/**
 * Hybrid logical clock (Kulkarni et al. 2014), 53 bits in one number: milliseconds since the epoch times 2^10 plus a
 * counter. It orders ops for people and for reads at a time; it never decides causality, which vectors give exactly.
 * A reading is greater than every reading it has met, without exception.
 */
export type HybridTime = number & { readonly __brand: 'HybridTime' }

const TICKS_PER_MS = 1024

export class HybridClock {
  private last: number

  constructor(last = 0) {
    this.last = last
  }

  /** The next reading at wall time `nowMs`: greater than all before. */
  next(nowMs: number): HybridTime {
    this.last = Math.max(this.last + 1, Math.floor(nowMs) * TICKS_PER_MS)
    return this.last as HybridTime
  }

  /** Takes note of a reading met elsewhere. */
  observe(time: HybridTime): void {
    if (time > this.last) this.last = time
  }

  get latest(): HybridTime {
    return this.last as HybridTime
  }

  /** Back to an earlier reading: only after a failed commit, when none of the later ones left the process. */
  reset(last: HybridTime): void {
    this.last = last
  }
}

/** Wall milliseconds of a reading. */
export function hybridTimeToMs(time: HybridTime): number {
  return Math.floor(time / TICKS_PER_MS)
}
