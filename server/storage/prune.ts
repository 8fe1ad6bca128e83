/**
 * The log is a cache: what is older or more than the budget goes, from its beginning, never above the majority-durable
 * cut. What must survive is every document's present state and, within the budget, its history.
 *
 *   base ───── ops kept ───── head ── tail ──▶     history: base, then the ops above it
 *     ▲ the cut
 *
 * The rule: an op may go when, for each document that it touches,
 *   - a base stands at or above it, or
 *   - the head stands at or above it and itself lies below the budget's cut: such a document has rested since, and its
 *     head serves as its base;
 *   - or, beyond twice the budget, the head stands at or above it, wherever that lies: then this document's history
 *     begins at its head. Losing history is better than filling the disk.
 * The cut is the last op before the first one that may not go; the documents that hold it back are `wanted`, with the
 * position at which a base (a state loaded with `upTo`) would free them.
 *
 * The file keeps its size: what was freed is used again.
 *
 * A document without a base row whose first ops are pruned has its head as base; when a newer head arrives the old one
 * becomes the base row (see `LogStore.saveSnapshot`).
 */
import type Database from 'better-sqlite3'
import type { OriginId } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { PruneOptions, PruneReport } from './log.js'
import type { LogRow } from './log-row.js'
import { type LinkColumns, linksOf } from './op-row.js'
import { originNames } from './origin-table.js'
import { DamageError } from './sqlite-values.js'

/** Ops that one call looks at: commits wait for it. */
export const PRUNE_SLICE_OPS = 1_000
/** Documents that one call names as holding the cut back. */
const PRUNE_WANTED_LIMIT = 100

/** Beyond this many times the budget, history gives way. */
const HARD_FACTOR = 2
const TICKS_PER_MS = 1024

interface PruneRow extends LinkColumns {
  readonly position: number
  readonly origin: number
  readonly seq: number
  readonly total: number
}

/** Positions of a document's snapshots; 0 where it has none. */
export interface Cover {
  readonly head: number
  readonly base: number
}

export class Pruner {
  private readonly database: Database.Database
  private readonly originOf: (number: number) => OriginId
  private readonly selectRows: Database.Statement<[number, number], PruneRow>
  private readonly selectCover: Database.Statement<[number], Cover>

  constructor(database: Database.Database) {
    this.database = database
    this.originOf = originNames(database)
    this.selectRows = database.prepare(
      'SELECT position, origin, seq, document, previous, more, total FROM ops WHERE position > ? ORDER BY position LIMIT ?',
    )
    this.selectCover = database.prepare(
      `SELECT COALESCE(MAX(position) FILTER (WHERE kind = 'head'), 0) AS head,
       COALESCE(MAX(position) FILTER (WHERE kind = 'base'), 0) AS base FROM snapshots WHERE document = ?`,
    )
  }

  /**
   * Prunes one slice, inside the transaction that the caller has begun; the row of the log that it returns is for the
   * caller to write. `ceiling` is unfolded.
   */
  prune(
    log: LogRow,
    options: PruneOptions,
    ceiling: VersionVector,
  ): { report: Omit<PruneReport, 'floorVector'>; log: LogRow } {
    const soft = this.budgetCut(log, options, 1)
    const hard = this.budgetCut(log, options, HARD_FACTOR)
    const covers = new Map<number, Cover>()
    const wanted = new Set<number>()
    const outlived = new Set<number>()
    let { floor, floorTotal } = log
    let deletedOps = 0
    let isHeldBack = false
    for (const row of this.selectRows.all(log.floor, PRUNE_SLICE_OPS)) {
      const documents = row.position <= soft ? this.documentsBelow(row, ceiling) : undefined
      if (!documents) break
      for (const document of documents) {
        const cover = covers.get(document) ?? this.coverOf(document)
        covers.set(document, cover)
        const mayGo =
          cover.base >= row.position || (cover.head >= row.position && (cover.head <= soft || row.position <= hard))
        if (!mayGo) {
          isHeldBack = true
          if (wanted.size < PRUNE_WANTED_LIMIT) wanted.add(document)
        }
      }
      if (isHeldBack) continue // The others that hold it back are worth naming, too.
      for (const document of documents) if (covers.get(document)!.base < row.position) outlived.add(document)
      floor = row.position
      floorTotal = row.total
      deletedOps++
    }
    if (deletedOps > 0) this.cut(log.floor, floor, outlived)
    const more = !isHeldBack && deletedOps === PRUNE_SLICE_OPS
    const report = { deletedOps, floor, more, wanted: [...wanted].map((id) => this.named(id, soft)) }
    return { report, log: { ...log, floor, floorTotal } }
  }

  /** The documents of an op; `undefined` where it must stay: it is above the ceiling, or damaged and waits for repair. */
  private documentsBelow(row: PruneRow, ceiling: VersionVector): number[] | undefined {
    try {
      if (row.seq > (ceiling.get(this.originOf(row.origin)) ?? 0)) return undefined
      return linksOf(row).map(({ document }) => document)
    } catch (thrown) {
      if (thrown instanceof DamageError) return undefined
      throw thrown
    }
  }

  /** Which snapshots a document has. */
  coverOf(document: number): Cover {
    return this.selectCover.get(document)!
  }

  /** The last position that lies beyond `factor` times the budget. */
  private budgetCut(log: LogRow, { maxBytes, maxAgeMs, nowMs }: PruneOptions, factor: number): number {
    const oldest = (nowMs - maxAgeMs * factor) * TICKS_PER_MS
    const spare = log.total - maxBytes * factor
    return Math.max(
      this.lastWhere(log, 'total <= ?', spare),
      // Times of different replicas may cross by their delay; the cut is as exact as that.
      this.lastWhere(log, 'hlc < ?', oldest),
    )
  }

  /** The last position from the floor on at which `condition` holds, which holds for a beginning of the log. */
  private lastWhere({ floor, position }: LogRow, condition: string, value: number): number {
    const holds = this.database
      .prepare<[number, number], number>(`SELECT ${condition} FROM ops WHERE position = ?`)
      .pluck()
    let low = floor
    let high = position
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if (holds.get(value, middle) === 1) low = middle
      else high = middle - 1
    }
    return low
  }

  /** `outlived`: documents whose base, if any, has lost ops above it. */
  private cut(from: number, to: number, outlived: Iterable<number>): void {
    const run = (sql: string, ...values: number[]): unknown => this.database.prepare<number[]>(sql).run(...values)
    run('DELETE FROM ops WHERE position > ? AND position <= ?', from, to)
    for (const document of outlived) run("DELETE FROM snapshots WHERE document = ? AND kind = 'base'", document)
  }

  private named(id: number, position: number): PruneReport['wanted'][number] {
    const { name, generation } = this.database
      .prepare<[number], { name: string; generation: number }>('SELECT name, generation FROM documents WHERE id = ?')
      .get(id)!
    return { document: name, generation, position }
  }
}
