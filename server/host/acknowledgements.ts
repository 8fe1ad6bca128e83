/**
 * Acknowledgements that wait until what they acknowledge is on disk elsewhere. Own ops reach a concern in their order,
 * so those of one concern are a queue; what added nothing waits for everything that was shown at its moment.
 */
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'

/** What is known of other replicas. */
export interface Reach {
  /** Members that count. */
  readonly size: number
  /** The highest own seq that has reached the concern. */
  reachedSeq(concern: WriteConcern): number
  isReached(seen: VersionVector, concern: WriteConcern): boolean
}

interface Waiting<Target> {
  readonly target: Target
  /** Who is to be told. */
  readonly lane: object
  readonly release: () => void
}

/** Queues are cut down when this much of them is gone. */
const COMPACT_AT = 1_024

class Queue<Target> {
  private entries: Waiting<Target>[] = []
  private head = 0

  get size(): number {
    return this.entries.length - this.head
  }

  push(entry: Waiting<Target>): void {
    this.entries.push(entry)
  }

  /** Drops what `lanes` waited for. */
  forget(lanes: ReadonlySet<object>): void {
    this.entries = this.entries.slice(this.head).filter(({ lane }) => !lanes.has(lane))
    this.head = 0
  }

  /** Takes those at the front of which `isReached` holds. */
  take(isReached: (target: Target) => boolean): Waiting<Target>[] {
    const taken: Waiting<Target>[] = []
    while (this.head < this.entries.length && isReached(this.entries[this.head]!.target)) {
      taken.push(this.entries[this.head++]!)
    }
    if (this.head >= COMPACT_AT) {
      this.entries.splice(0, this.head)
      this.head = 0
    }
    return taken
  }
}

export class Acknowledgements {
  private readonly reach: Reach
  private readonly ofSeqs = new Map<WriteConcern, Queue<number>>()
  private readonly ofVectors = new Map<WriteConcern, Queue<VersionVector>>()

  /** Lanes that ended and may still have something in the queues, and at most how much. */
  private readonly gone = new Set<object>()
  private goneCount = 0

  constructor(reach: Reach) {
    this.reach = reach
  }

  get size(): number {
    let size = 0
    for (const queues of [this.ofSeqs, this.ofVectors]) for (const queue of queues.values()) size += queue.size
    return size
  }

  /** Whether an own op, durable here, waits for others. False: it has reached its concern. */
  waitsForSeq(seq: number, concern: WriteConcern): boolean {
    return concern !== 'local' && this.reach.reachedSeq(concern) < seq
  }

  waitsForVector(seen: VersionVector, concern: WriteConcern): boolean {
    return concern !== 'local' && !this.reach.isReached(seen, concern)
  }

  /** In rising order of `seq`, per concern. */
  addSeq(seq: number, concern: WriteConcern, lane: object, release: () => void): void {
    queueOf(this.ofSeqs, concern).push({ target: seq, lane, release })
  }

  addVector(seen: VersionVector, concern: WriteConcern, lane: object, release: () => void): void {
    queueOf(this.ofVectors, concern).push({ target: seen, lane, release })
  }

  /**
   * Nobody listens at this lane any more, where `count` were waited for. While others cannot be reached, what those left
   * who went would gather: it is dropped when it is half of all.
   */
  forget(lane: object, count: number): void {
    this.gone.add(lane)
    this.goneCount += count
    if (this.goneCount * 2 < this.size) return
    for (const queues of [this.ofSeqs, this.ofVectors]) for (const queue of queues.values()) queue.forget(this.gone)
    this.gone.clear()
    this.goneCount = 0
  }

  /** What has reached its concern by now is acknowledged. */
  advance(): void {
    for (const [concern, queue] of this.ofSeqs) {
      if (queue.size === 0) continue
      const reached = this.reach.reachedSeq(concern)
      for (const { release } of queue.take((seq) => seq <= reached)) release()
    }
    // The vectors were taken one after another from what only grows: the first that is not reached ends it.
    for (const [concern, queue] of this.ofVectors) {
      for (const { release } of queue.take((seen) => this.reach.isReached(seen, concern))) release()
    }
    if (this.size > 0) return
    this.gone.clear()
    this.goneCount = 0
  }
}

function queueOf<Target>(queues: Map<WriteConcern, Queue<Target>>, concern: WriteConcern): Queue<Target> {
  let queue = queues.get(concern)
  if (!queue) {
    queue = new Queue()
    queues.set(concern, queue)
  }
  return queue
}
