/**
 * How far members lag, in ops and in time. For the time, samples of where each origin stood are kept for a while: the
 * oldest op that a member lacks is as old as the first sample that has it.
 */
import type { OriginId } from '../../shared/clock/dot.js'
import type { Lineages } from '../../shared/clock/lineages.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'

/** Samples of one origin, and least time between two. Beyond, a lag is at least so long. */
const SAMPLES = 1_024
const SAMPLE_MS = 100
/** Origins that are followed: the unretired ones, of which honest cells have a dozen. */
const ORIGINS = 256

interface Sample {
  readonly seq: number
  readonly atMs: number
}

export class LagTracker {
  private readonly lineages: Lineages
  private readonly samples = new Map<OriginId, Sample[]>()

  constructor(lineages: Lineages) {
    this.lineages = lineages
  }

  /** An op of this origin, and so all before it, exists. */
  saw(origin: OriginId, seq: number, nowMs: number): void {
    let samples = this.samples.get(origin)
    if (!samples) {
      if (this.samples.size >= ORIGINS) return
      samples = []
      this.samples.set(origin, samples)
    }
    const last = samples.at(-1)
    if (last && seq <= last.seq) return
    if (last && nowMs - last.atMs < SAMPLE_MS) samples[samples.length - 1] = { seq, atMs: last.atMs }
    else samples.push({ seq, atMs: nowMs })
    if (samples.length > SAMPLES) samples.splice(0, SAMPLES / 2)
  }

  /** What `held` lacks of `known`: how many ops, and since when the oldest of them is known, in ms. */
  of(held: VersionVector, known: VersionVector, nowMs: number): { readonly ops: number; readonly ms: number } {
    let ops = 0
    let since = nowMs
    for (const [origin, seq] of this.lineages.missing(held, known)) {
      const reached = this.lineages.valueIn(held, origin)
      ops += seq - reached
      const first = this.samples.get(origin)?.find((sample) => sample.seq > reached)
      if (first && first.atMs < since) since = first.atMs
    }
    return { ops, ms: Math.max(0, Math.round(nowMs - since)) }
  }
}
