/**
 * Group commit, paced. An fsync costs the same for one op as for a thousand, so ops that arrive while a commit runs
 * are the next one; and commits that follow each other closely are kept apart, since then one write per socket carries
 * several updates too. How far apart is measured, not guessed: the dearer it was to deliver the last commit (many
 * readers, many documents), the longer the next one gathers. An idle replica commits at once.
 */
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { type Op, partsOf } from '../../shared/protocol/op.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import type { CommitFigures, Log } from '../storage/log.js'

/** What one commit made durable. */
export interface Committed {
  /** In the order in which they were added. */
  readonly ops: readonly Op[]
  /** Of the last of them; the others stand just before it. */
  readonly position: number
  /** How long the oldest op had waited for the batch to begin. */
  readonly waitedMs: number
  /** From handing the batch over to knowing that it is on disk. */
  readonly tookMs: number
  readonly figures: CommitFigures
}

/** Least and greatest time between the starts of two commits of few ops. */
const SHORTEST_PACE_MS = 5
const LONGEST_PACE_MS = 25
/** Between the two: so many times what it took to deliver the last commit, whose share of a core this bounds. */
const PACE_PER_DELIVERY = 20
/** So many ops share a commit's cost well enough: waiting for more would only add delay. */
const ENOUGH_OPS = 128
/**
 * Batches at the log at most. The second one of many ops goes before the first one's word is back, so that the disk
 * does not wait for this thread; the log makes one commit of what lies there.
 */
const BATCHES_AT_LOG = 3

/** What a batch holds at most, unless a single op is larger: far below what its encoding allows, however long a disk stalls. */
const BATCH_OPS = 8_192
const BATCH_BYTES = 8 * 1024 * 1024

/** Ops at the log. */
interface Batch {
  readonly ops: readonly Op[]
  readonly startedAtMs: number
  readonly waitedMs: number
  /** What became of it, where those before it have not ended yet. */
  outcome: CausewayError | CommitFigures | undefined
}

const NO_BATCH: Batch = { ops: [], startedAtMs: 0, waitedMs: 0, outcome: undefined }

export class Committer {
  private pending: Op[] = []
  private oldestAtMs = 0
  /** Oldest first. */
  private readonly atLog: Batch[] = []
  /** The log took the newest of them not at all: what builds on it must not get there. */
  private isRefused = false
  private isScheduled = false
  private startedAtMs = Number.NEGATIVE_INFINITY
  private paceMs = SHORTEST_PACE_MS
  /** Ops ever added, and those among them whose commit has ended. */
  private added = 0
  private ended = 0
  private readonly waiting: { readonly upTo: number; readonly resolve: () => void }[] = []
  private readonly log: Pick<Log, 'commit'>
  private readonly onCommitted: (committed: Committed) => void
  private readonly onFailed: (error: CausewayError) => void
  private readonly monotonicMs: () => number

  constructor(options: {
    log: Pick<Log, 'commit'>
    onCommitted: (committed: Committed) => void
    /** Once for all that was added and not committed. */
    onFailed: (error: CausewayError) => void
    monotonicMs: () => number
  }) {
    this.log = options.log
    this.onCommitted = options.onCommitted
    this.onFailed = options.onFailed
    this.monotonicMs = options.monotonicMs
  }

  add(op: Op): void {
    if (this.pending.length === 0) this.oldestAtMs = this.monotonicMs()
    this.pending.push(op)
    this.added++
    this.schedule()
  }

  /** Whether nothing that was added waits for the disk. */
  get isIdle(): boolean {
    return this.ended === this.added
  }

  /** Resolves when the commit of everything added so far has ended; what goes on being added is not waited for. */
  settled(): Promise<void> {
    if (this.ended === this.added) return Promise.resolve()
    return new Promise((resolve) => this.waiting.push({ upTo: this.added, resolve }))
  }

  private schedule(): void {
    while (!this.isRefused && this.pending.length >= ENOUGH_OPS) {
      if (this.atLog.length >= BATCHES_AT_LOG) return
      this.run()
    }
    if (this.pending.length === 0 || this.isScheduled || this.atLog.length > 0) return
    this.isScheduled = true
    const waitMs = this.startedAtMs + this.paceMs - this.monotonicMs()
    // Even at once is after this turn's reads, so that what arrived together is committed together.
    if (waitMs <= 0.5) setImmediate(this.scheduled)
    else setTimeout(this.scheduled, waitMs)
  }

  private readonly scheduled = (): void => {
    this.isScheduled = false
    if (!this.isRefused && this.atLog.length === 0 && this.pending.length > 0) this.run()
  }

  private run(): void {
    const ops = this.takePending()
    const startedAtMs = this.monotonicMs()
    this.startedAtMs = startedAtMs
    const batch: Batch = { ops, startedAtMs, waitedMs: startedAtMs - this.oldestAtMs, outcome: undefined }
    this.atLog.push(batch)
    const onDone = (error?: CausewayError, figures?: CommitFigures): void => {
      batch.outcome = figures ?? error ?? new CausewayError('internal/failure')
      this.takeOutcomes()
    }
    try {
      this.log.commit(encodeOpBatch(ops), onDone)
    } catch (error) {
      // Whoever offered these ops is still in the middle of it.
      this.isRefused = true
      setImmediate(onDone, asCausewayError(error))
    }
  }

  private takePending(): Op[] {
    const { pending } = this
    let count = 0
    for (let bytes = 0; count < pending.length && count < BATCH_OPS; count++) {
      for (const { update } of partsOf(pending[count]!)) bytes += update.length
      if (count > 0 && bytes > BATCH_BYTES) break
    }
    this.pending = pending.slice(count)
    return count === pending.length ? pending : pending.slice(0, count)
  }

  /** In order: what a batch builds on is told before it. */
  private takeOutcomes(): void {
    for (;;) {
      const { ops, startedAtMs, waitedMs, outcome } = this.atLog[0] ?? NO_BATCH
      if (outcome === undefined) break
      this.atLog.shift()
      this.ended += ops.length
      if (outcome instanceof CausewayError) this.failed(outcome)
      else {
        const endedAtMs = this.monotonicMs()
        const position = outcome.position + ops.length - 1
        const tookMs = endedAtMs - startedAtMs
        this.onCommitted({ ops, position, waitedMs, tookMs, figures: outcome })
        this.measureDelivery(endedAtMs)
      }
    }
    this.tellSettled()
    this.schedule()
  }

  /** What came after it builds on it and fails with it; the log has failed, or never saw, what of that lies there. */
  private failed(error: CausewayError): void {
    for (const { ops } of this.atLog.splice(0)) this.ended += ops.length
    this.ended += this.pending.length
    this.pending = []
    this.isRefused = false
    this.onFailed(error)
  }

  /** Sockets are written at the end of the turn, by a `setImmediate` that is before this one. */
  private measureDelivery(startedAtMs: number): void {
    setImmediate(() => {
      const paceMs = PACE_PER_DELIVERY * (this.monotonicMs() - startedAtMs)
      this.paceMs = Math.min(Math.max(paceMs, SHORTEST_PACE_MS), LONGEST_PACE_MS)
    })
  }

  private tellSettled(): void {
    while (this.waiting.length > 0 && this.waiting[0]!.upTo <= this.ended) this.waiting.shift()!.resolve()
  }
}
