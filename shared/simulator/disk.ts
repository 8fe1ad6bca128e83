/**
 * A virtual disk: a journal of records in the order they were written. A write is in the operating system's memory at
 * once, where it survives the death of the process but not a power cut, and on the platter after a sync. One write is
 * atomic, as a transaction is; a power cut keeps some of the unsynced writes, the earlier ones first.
 *
 * A sync that fails loses everything unsynced, as file systems drop pages that they could not write. The trouble a disk
 * can be in (full, failing, slow) is set from outside; so is its fate (lost, an old copy put back, another one's volume).
 */
import type { Agenda, Due } from './agenda.js'
import type { Choices } from './choices.js'

export type DiskTrouble = 'full' | 'failing'

interface PendingSync {
  /** Writes that it makes durable, counted from the disk's first. */
  readonly writes: number
  readonly due: Due
  readonly done: (trouble: DiskTrouble | undefined) => void
}

export class Disk<Stored> {
  /** While set, syncs end with it. */
  trouble: DiskTrouble | undefined
  /** Least and most milliseconds of one sync. */
  syncLatencyMs: readonly [least: number, most: number]

  private readonly agenda: Agenda
  private readonly choices: Choices
  private durable: Stored[] = []
  private durableWrites = 0
  private unsynced: (readonly Stored[])[] = []
  private pending: PendingSync[] = []

  constructor(agenda: Agenda, choices: Choices, syncLatencyMs: readonly [number, number]) {
    this.agenda = agenda
    this.choices = choices
    this.syncLatencyMs = syncLatencyMs
  }

  /** What a process that starts now can read. */
  read(): readonly Stored[] {
    return [...this.durable, ...this.unsynced.flat()]
  }

  /** What is on the platter now: a backup taken from below. */
  copy(): readonly Stored[] {
    return [...this.durable]
  }

  /** Puts `records` in the place of everything: an old backup, another one's volume, or nothing. */
  replace(records: readonly Stored[]): void {
    this.dropUnsynced(0)
    this.durable = [...records]
  }

  write(records: readonly Stored[]): void {
    this.unsynced.push(records)
  }

  /** Makes durable what is written by now; `done` is called with the trouble, if it failed. */
  sync(done: (trouble: DiskTrouble | undefined) => void): void {
    const earliestMs = this.pending.at(-1)?.due.atMs ?? 0
    const atMs = Math.max(earliestMs, this.agenda.nowMs + this.choices.between(...this.syncLatencyMs))
    const pending: PendingSync = {
      writes: this.durableWrites + this.unsynced.length,
      due: this.agenda.at(atMs, () => this.finish(pending)),
      done,
    }
    this.pending.push(pending)
  }

  /** The power is cut: of the unsynced writes the first few survive, how many is a choice. */
  cutPower(): void {
    this.dropUnsynced(this.choices.between(0, this.unsynced.length))
  }

  /** Syncs of one instant end in the order in which they began, whichever the agenda names first. */
  private finish(pending: PendingSync): void {
    const { trouble } = this
    const count = trouble === undefined ? this.pending.indexOf(pending) + 1 : this.pending.length
    const ended = this.pending.splice(0, count)
    for (const { due } of ended) this.agenda.cancel(due)
    if (trouble === undefined) this.settle(pending.writes - this.durableWrites)
    else this.dropUnsynced(0)
    for (const { done } of ended) done(trouble)
  }

  private settle(writes: number): void {
    for (const records of this.unsynced.splice(0, writes)) this.durable.push(...records)
    this.durableWrites += writes
  }

  private dropUnsynced(kept: number): void {
    this.settle(kept)
    this.unsynced = []
    for (const { due } of this.pending) this.agenda.cancel(due)
    this.pending = []
  }
}
