/**
 * Virtual time: what is due and when, in whole milliseconds since the world began. Nothing waits; time jumps to the next
 * thing due. Things due at the same instant have no order of their own: which comes first is a choice. This is where
 * exploring finds its interleavings, and where sampling hits races.
 */
import { assert } from '../base/assert.js'
import type { Choices } from './choices.js'

export interface Due {
  readonly atMs: number
  readonly sequence: number
  readonly run: () => void
  cancelled: boolean
}

export class Agenda {
  private readonly choices: Choices
  /** A binary heap by time, then by sequence. */
  private readonly heap: Due[] = []
  private sequence = 0
  private now = 0

  constructor(choices: Choices) {
    this.choices = choices
  }

  get nowMs(): number {
    return this.now
  }

  /** Plans `run` at `atMs`, or now if that has passed. */
  at(atMs: number, run: () => void): Due {
    assert(Number.isFinite(atMs), 'nothing is due at an infinite time')
    const due: Due = { atMs: Math.max(this.now, Math.ceil(atMs)), sequence: this.sequence++, run, cancelled: false }
    this.push(due)
    return due
  }

  cancel(due: Due): void {
    due.cancelled = true
  }

  /** Runs the next thing due at or before `untilMs`. False: there is none, and it is `untilMs` now. */
  step(untilMs: number): boolean {
    const next = this.takeNext(untilMs)
    if (!next) {
      if (Number.isFinite(untilMs)) this.now = Math.max(this.now, untilMs)
      return false
    }
    this.now = next.atMs
    next.run()
    return true
  }

  private takeNext(untilMs: number): Due | undefined {
    const first = this.popUntil(untilMs)
    if (!first) return undefined
    const tied = [first]
    for (let other = this.popUntil(first.atMs); other; other = this.popUntil(first.atMs)) tied.push(other)
    const chosen = this.choices.among(tied.length)
    for (const [at, due] of tied.entries()) if (at !== chosen) this.push(due)
    return tied[chosen]
  }

  private popUntil(untilMs: number): Due | undefined {
    for (let top = this.heap[0]; top && top.atMs <= untilMs; top = this.heap[0]) {
      this.dropTop()
      if (!top.cancelled) return top
    }
    return undefined
  }

  private push(due: Due): void {
    const heap = this.heap
    let at = heap.length
    heap.push(due)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(due, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = due
  }

  private dropTop(): void {
    const heap = this.heap
    const last = heap.pop()!
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
  }
}

function isBefore(one: Due, other: Due): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.sequence < other.sequence)
}
