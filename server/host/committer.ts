/**
 * Group commit, paced. An fsync costs the same for one op as for a thousand, so ops that arrive while a commit runs
 * are the next one; and commits that follow each other closely are kept apart, since then one write per socket carries
 * several updates too. How far apart is measured, not guessed: the dearer it was to deliver the last commit (many
 * readers, many documents), the longer the next one gathers. An idle replica commits at once.
 */
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import type { Op } from '../../shared/protocol/op.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import type { CommitFigures, Log } from '../storage/log.js'

/** What one commit made durable. */
export interface Committed {
  readonly seq: number
  /** Of the op with `seq`. */
  readonly position: number
  readonly ops: number
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

export class Committer {
  private pending: Op[] = []
  private oldestAtMs = 0
  private isRunning = false
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
    if (this.pending.length >= ENOUGH_OPS && !this.isRunning) this.run()
    else this.schedule()
  }

  /** Resolves when the commit of everything added so far has ended; what goes on being added is not waited for. */
  settled(): Promise<void> {
    if (this.ended === this.added) return Promise.resolve()
    return new Promise((resolve) => this.waiting.push({ upTo: this.added, resolve }))
  }

  private schedule(): void {
    if (this.isRunning || this.isScheduled) return
    if (this.pending.length >= ENOUGH_OPS) {
      this.run()
      return
    }
    this.isScheduled = true
    const waitMs = this.startedAtMs + this.paceMs - this.monotonicMs()
    // Even at once is after this turn's reads, so that what arrived together is committed together.
    if (waitMs <= 0.5) setImmediate(this.scheduled)
    else setTimeout(this.scheduled, waitMs)
  }

  private readonly scheduled = (): void => {
    this.isScheduled = false
    if (!this.isRunning) this.run()
  }

  private run(): void {
    const ops = this.pending
    const last = ops.at(-1)
    if (last === undefined) return
    this.pending = []
    this.isRunning = true
    const startedAtMs = this.monotonicMs()
    this.startedAtMs = startedAtMs
    const waitedMs = startedAtMs - this.oldestAtMs
    const onDone = (error?: CausewayError, figures?: CommitFigures): void => {
      this.isRunning = false
      this.ended += ops.length
      if (figures !== undefined) {
        const endedAtMs = this.monotonicMs()
        const tookMs = endedAtMs - startedAtMs
        const position = figures.position + ops.length - 1
        this.onCommitted({ seq: last.dot.seq, position, ops: ops.length, waitedMs, tookMs, figures })
        this.measureDelivery(endedAtMs)
      } else {
        // What gathered meanwhile builds on what failed: it fails with it.
        this.ended += this.pending.length
        this.pending = []
        this.onFailed(error ?? new CausewayError('internal/failure'))
      }
      this.tellSettled()
      if (this.pending.length > 0) this.schedule()
    }
    try {
      this.log.commit(encodeOpBatch(ops), onDone)
    } catch (error) {
      // The log takes nothing any more; whoever offered these ops is still in the middle of it.
      setImmediate(onDone, asCausewayError(error))
    }
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
