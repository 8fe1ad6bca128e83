/**
 * What a replica does when nobody asks: verifies what is stored, slice by slice, and keeps the log within its budget.
 * Both run in the log's and the document workers' threads, one job at a time, so that they never pile up.
 */
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { DocumentWorkers } from '../document/pool.js'
import type { Log } from '../storage/log.js'
import { byTime } from './settle-contents.js'

export interface MaintenanceOptions {
  readonly log: Log
  readonly workers: DocumentWorkers
  readonly budget: { readonly maxAgeMs: number; readonly maxBytes: number; readonly everyMs: number }
  /** The majority-durable cut: nothing above it is pruned. */
  readonly ceiling: () => VersionVector
  /** The log begins above this now. */
  readonly onPruned: (floor: VersionVector) => void
  readonly now: () => number
  readonly onDamage: (damage: {
    readonly document?: string
    readonly position?: number
    readonly reason: string
  }) => void
  readonly onFailure: (error: unknown) => void
}

const SCRUB_EVERY_MS = 1_000

export class Maintenance {
  private readonly options: MaintenanceOptions
  private isBusy = false
  private scrubbedAtMs: number
  private prunedAtMs: number

  constructor(options: MaintenanceOptions) {
    this.options = options
    this.scrubbedAtMs = this.prunedAtMs = options.now()
  }

  /** Call a few times a second. */
  tick(): void {
    const nowMs = this.options.now()
    if (this.isBusy) return
    if (nowMs - this.prunedAtMs >= this.options.budget.everyMs) {
      this.prunedAtMs = nowMs
      this.run(() => this.prune())
    } else if (nowMs - this.scrubbedAtMs >= SCRUB_EVERY_MS) {
      this.scrubbedAtMs = nowMs
      this.run(() => this.scrub())
    }
  }

  private run(job: () => Promise<void>): void {
    this.isBusy = true
    job()
      .catch(this.options.onFailure)
      .finally(() => {
        this.isBusy = false
      })
  }

  private async scrub(): Promise<void> {
    const { damaged } = await this.options.log.scrub()
    for (const damage of damaged) this.options.onDamage(damage)
  }

  /** Prunes; documents that hold the cut back get a base snapshot where their history will begin, for the next round. */
  private async prune(): Promise<void> {
    const { log, workers, budget, ceiling, now, onPruned } = this.options
    const { maxAgeMs, maxBytes } = budget
    const { wanted, deletedOps, floorVector } = await log.prune({
      maxAgeMs,
      maxBytes,
      nowMs: now(),
      ceiling: ceiling(),
    })
    if (deletedOps > 0) onPruned(floorVector)
    for (const { document, generation, position } of wanted) {
      const stored = await log.load(document, { upTo: position })
      if (stored === undefined) continue
      const tail = [...stored.tail].sort(byTime).map(({ update }) => update)
      const base = await workers.compact({ snapshot: stored.snapshot?.update, tail })
      const fingerprint = Buffer.from(base.fingerprint, 'hex')
      await log.saveSnapshot({ ...base, document, generation, position, fingerprint, kind: 'base' })
    }
  }
}
