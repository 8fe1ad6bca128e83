/** How many requests of one caller wait for other replicas, so that nobody takes all the places that there are. */

const WAITING_PER_CALLER_LIMIT = 1_000

export class WaitingCallers {
  private readonly limit: number
  private readonly waiting = new Map<string, number>()

  constructor(limit = WAITING_PER_CALLER_LIMIT) {
    this.limit = limit
  }

  /** Counts one more until the result is called, once; undefined, and not counted, beyond the limit. */
  enter(caller: string): (() => void) | undefined {
    const before = this.waiting.get(caller) ?? 0
    if (before >= this.limit) return undefined
    this.waiting.set(caller, before + 1)
    return () => {
      const left = this.waiting.get(caller)! - 1
      if (left > 0) this.waiting.set(caller, left)
      else this.waiting.delete(caller)
    }
  }
}
