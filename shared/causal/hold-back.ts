/**
 * Ops that came before their causes. What waits here is bounded and may be dropped at any moment, since every range can
 * be fetched again; what is dropped is the farthest from being delivered, of the origin that holds the most, so that one
 * origin's flood never displaces what another waits for.
 */
import { assert } from '../base/assert.js'
import type { OriginId } from '../clock/dot.js'
import type { Op } from '../protocol/op.js'

/** Consecutive ops of one origin, as one message brought them. */
export interface Run {
  readonly origin: OriginId
  /** At least one; seqs rise by one. */
  readonly ops: readonly Op[]
  /** The origin's chain value after the last of them, as the sender knows it. */
  readonly chain: Uint8Array
  /** What they count for against limits. */
  readonly bytes: number
}

/** A run that waits, and how far it has been used. */
export interface HeldRun extends Run {
  readonly from: string
  readonly sinceMs: number
  /** Ops before this one are delivered. */
  next: number
  /** Chain values of `ops` from `verifiedFrom` on, once the last was seen to be `chain`. */
  chains: readonly Uint8Array[] | undefined
  verifiedFrom: number
  askedAtMs: number | undefined
}

export interface HoldBackLimits {
  readonly ops: number
  readonly bytes: number
}

interface Waiting {
  /** By first seq. */
  readonly runs: HeldRun[]
  /** No run ever reached further: what does is covered by none, and thousands that come in order need no search. */
  reached: number
  bytes: number
  ops: number
}

export class HoldBack {
  private readonly limits: HoldBackLimits
  private readonly byOrigin = new Map<OriginId, Waiting>()
  private heldOps = 0
  private heldBytes = 0
  /** Ops dropped for want of room, ever. */
  dropped = 0

  constructor(limits: HoldBackLimits) {
    this.limits = limits
  }

  get ops(): number {
    return this.heldOps
  }

  get bytes(): number {
    return this.heldBytes
  }

  /** Keeps a run, unless what is here already covers it; says whether it was kept. */
  add(run: HeldRun): boolean {
    let waiting = this.byOrigin.get(run.origin)
    if (!waiting) {
      waiting = { runs: [], reached: 0, bytes: 0, ops: 0 }
      this.byOrigin.set(run.origin, waiting)
    }
    const { runs } = waiting
    const isFarthest = lastSeq(run) > waiting.reached
    if (!isFarthest && runs.some((other) => firstSeq(other) <= firstSeq(run) && lastSeq(other) >= lastSeq(run))) {
      return false
    }
    waiting.reached = Math.max(waiting.reached, lastSeq(run))
    let at = runs.length
    while (at > 0 && firstSeq(runs[at - 1]!) > firstSeq(run)) at--
    runs.splice(at, 0, run)
    this.count(waiting, run, 1)
    return true
  }

  /** The run of each origin that comes first. */
  *heads(): IterableIterator<HeldRun> {
    for (const { runs } of this.byOrigin.values()) yield runs[0]!
  }

  /** The run of `origin` that comes first. */
  head(origin: OriginId): HeldRun | undefined {
    return this.byOrigin.get(origin)?.runs[0]
  }

  /** Origins of which something waits. */
  origins(): readonly OriginId[] {
    return [...this.byOrigin.keys()]
  }

  remove(run: HeldRun): void {
    const waiting = this.byOrigin.get(run.origin)
    // The first where it was delivered, the last where there was no room: either is found at once.
    const at = waiting?.runs[0] === run ? 0 : (waiting?.runs.lastIndexOf(run) ?? -1)
    assert(waiting && at >= 0, 'removes a run that is not held')
    waiting.runs.splice(at, 1)
    this.count(waiting, run, -1)
    if (waiting.runs.length === 0) this.byOrigin.delete(run.origin)
  }

  /** Drops what came from `peer`. */
  removeFrom(peer: string): void {
    for (const run of this.all()) if (run.from === peer) this.remove(run)
  }

  /** What was used of the runs counts no more: the cut went back. */
  reuse(): void {
    for (const run of this.all()) {
      run.next = 0
      run.chains = undefined
    }
  }

  /** Drops the farthest runs of the largest origins until the limits hold. */
  enforce(): void {
    while (this.heldOps > this.limits.ops || this.heldBytes > this.limits.bytes) {
      let largest: Waiting | undefined
      for (const waiting of this.byOrigin.values())
        if (!largest || share(waiting, this.limits) > share(largest, this.limits)) largest = waiting
      const last = largest?.runs.at(-1)
      assert(last, 'limits exceeded by nothing')
      this.dropped += last.ops.length
      this.remove(last)
    }
  }

  private all(): HeldRun[] {
    return [...this.byOrigin.values()].flatMap(({ runs }) => runs)
  }

  private count(waiting: Waiting, run: HeldRun, sign: 1 | -1): void {
    waiting.bytes += sign * run.bytes
    waiting.ops += sign * run.ops.length
    this.heldBytes += sign * run.bytes
    this.heldOps += sign * run.ops.length
  }
}

/** How much of the limits an origin takes, by whichever it takes more of. */
function share({ ops, bytes }: Waiting, limits: HoldBackLimits): number {
  return Math.max(ops / limits.ops, bytes / limits.bytes)
}

export function firstSeq({ ops }: Run): number {
  return ops[0]!.dot.seq
}

export function lastSeq({ ops }: Run): number {
  return ops.at(-1)!.dot.seq
}
