/** A rate: so many at once, so many per second in the long run. Time comes from the caller. */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

export class TokenBucket {
  private tokens: number
  private filledAtMs: number

  constructor(rate: Rate, nowMs: number) {
    this.tokens = rate.burst
    this.filledAtMs = nowMs
  }

  /** Whether there is anything left. */
  hasAny(rate: Rate, nowMs: number): boolean {
    this.fill(rate, nowMs)
    return this.tokens > 0
  }

  /** Takes `amount`, down into debt; false where nothing was left before. */
  spend(rate: Rate, amount: number, nowMs: number): boolean {
    const had = this.hasAny(rate, nowMs)
    if (had) this.tokens -= amount
    return had
  }

  private fill(rate: Rate, nowMs: number): void {
    if (nowMs <= this.filledAtMs) return
    this.tokens = Math.min(rate.burst, this.tokens + ((nowMs - this.filledAtMs) * rate.perSecond) / 1000)
    this.filledAtMs = nowMs
  }
}
