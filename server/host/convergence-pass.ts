/**
 * Compares contents with the linked peers when nobody asks, so that an alarm rises by itself: document by document in
 * the order of their names, a few at a time, and then pausing for many times what that took. A fingerprint is computed
 * only where the ops are known to be equal at both sides: of a document on the move it would say nothing.
 */
import { Comparison } from '../replica/convergence.js'
import type { Log } from '../storage/log.js'
import type { ConvergencePeers } from './convergence-peers.js'
import type { DivergenceAlarms } from './divergence-alarms.js'

/** Documents of one step. */
const STEP_DOCUMENTS = 32
/** What a step may take for their fingerprints. */
const STEP_BUDGET_MS = 2_000
/** A step's time is at most one part in so many. */
const PART = 20
const LEAST_PAUSE_MS = 1_000
/** From the end of a round over all documents to the next. */
const ROUND_PAUSE_MS = 10 * 60_000
/** How often those that were found diverged are looked at again. */
const RECALL_EVERY_MS = 60_000

export interface ConvergencePassOptions {
  readonly cell: ConvergencePeers
  readonly list: Log['list']
  readonly alarms: DivergenceAlarms
  /** Of a clock that only rises. */
  readonly nowMs: () => number
  readonly onFailure: (error: unknown) => void
}

export class ConvergencePass {
  private readonly options: ConvergencePassOptions
  /** Where the next step begins. */
  private cursor: string | undefined
  private isBusy = false
  private stepAtMs: number
  private recallAtMs: number
  private roundAtMs = 0

  constructor(options: ConvergencePassOptions) {
    this.options = options
    this.stepAtMs = options.nowMs() + LEAST_PAUSE_MS
    this.recallAtMs = options.nowMs() + RECALL_EVERY_MS
  }

  /** Call a few times a second. Resolves when what it began is over. */
  async tick(): Promise<void> {
    const { nowMs, cell, alarms, onFailure } = this.options
    const beganAtMs = nowMs()
    if (this.isBusy || beganAtMs < this.stepAtMs || cell.linked.length === 0) return
    this.isBusy = true
    try {
      if (beganAtMs >= this.recallAtMs && alarms.documents.length > 0) {
        this.recallAtMs = beganAtMs + RECALL_EVERY_MS
        await this.compare(alarms.documents.slice(0, STEP_DOCUMENTS))
      } else if (beganAtMs >= this.roundAtMs) await this.step()
    } catch (error) {
      onFailure(error)
    } finally {
      this.stepAtMs = nowMs() + Math.max(LEAST_PAUSE_MS, (PART - 1) * (nowMs() - beganAtMs))
      this.isBusy = false
    }
  }

  private async step(): Promise<void> {
    const { list, nowMs } = this.options
    const { cursor } = this
    const page = await list({ prefix: '', limit: STEP_DOCUMENTS, ...(cursor !== undefined && { cursor }) })
    this.cursor = page.cursor
    if (page.cursor === undefined) this.roundAtMs = nowMs() + ROUND_PAUSE_MS
    await this.compare(page.documents.map(({ name }) => name))
  }

  private async compare(names: readonly string[]): Promise<void> {
    const { cell, alarms } = this.options
    if (names.length === 0) return
    const comparisons = new Map(names.map((name) => [name, new Comparison()]))
    const replicas = [cell.self, ...cell.linked]
    // Without computing anything: that tells where the ops are the same.
    await this.look(comparisons, replicas, names, 0)
    const standing = names.filter((name) => comparisons.get(name)!.couldTellMore)
    if (standing.length > 0) await this.look(comparisons, replicas, standing, STEP_BUDGET_MS)
    for (const [name, comparison] of comparisons) alarms.learn(name, comparison)
  }

  private async look(
    comparisons: ReadonlyMap<string, Comparison>,
    replicas: readonly string[],
    names: readonly string[],
    budgetMs: number,
  ): Promise<void> {
    await Promise.all(
      replicas.map(async (replica) => {
        try {
          const views = await this.options.cell.views(replica, names, budgetMs)
          for (const [index, name] of names.entries()) comparisons.get(name)!.see(replica, views[index] ?? null)
        } catch (error) {
          for (const comparison of comparisons.values()) comparison.forget(replica)
          this.options.onFailure(error)
        }
      }),
    )
  }
}
