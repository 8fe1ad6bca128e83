/** Time for tests: it stands still, and moves when it is told to; what is due is called in its order on the way. */
import type { WaitTimers } from '../../server/host/waits.js'

export class ManualClock implements WaitTimers {
  private nowMs = 0
  private due: { readonly atMs: number; readonly run: () => void }[] = []

  now(): number {
    return this.nowMs
  }

  after(milliseconds: number, run: () => void): () => void {
    const timer = { atMs: this.nowMs + milliseconds, run }
    this.due.push(timer)
    return () => {
      this.due = this.due.filter((other) => other !== timer)
    }
  }

  advance(milliseconds: number): void {
    const untilMs = this.nowMs + milliseconds
    for (;;) {
      const [next] = this.due.filter(({ atMs }) => atMs <= untilMs).sort((left, right) => left.atMs - right.atMs)
      if (!next) break
      this.due = this.due.filter((other) => other !== next)
      this.nowMs = Math.max(this.nowMs, next.atMs)
      next.run()
    }
    this.nowMs = untilMs
  }

  /** How many calls are due some time. */
  get pending(): number {
    return this.due.length
  }
}
