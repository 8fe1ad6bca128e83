/**
 * Token buckets, one per key (a user, an address). A bucket fills at a steady rate up to its burst; who finds it empty is
 * told when to come back. The number of buckets is bounded: the least recently used goes first, which at worst gives
 * somebody a full bucket again.
 */
import { assert } from '../../shared/base/assert.js'

export interface RateLimit {
  readonly perSecond: number
  readonly burst: number
}

const KEYS_LIMIT = 50_000

interface Bucket {
  tokens: number
  filledAtMs: number
}

export class RateLimiter {
  private readonly limit: RateLimit
  private readonly now: () => number
  private readonly keysLimit: number
  private readonly buckets = new Map<string, Bucket>()

  /** `now` in ms, best monotonic. */
  constructor(limit: RateLimit, now: () => number, keysLimit = KEYS_LIMIT) {
    assert(limit.perSecond > 0 && limit.burst >= 1 && keysLimit >= 1, 'a rate limit must let something pass')
    this.limit = limit
    this.now = now
    this.keysLimit = keysLimit
  }

  /** Takes one token. 0: taken; else the ms after which one will be there, and nothing was taken. */
  take(key: string): number {
    const nowMs = this.now()
    const bucket = this.buckets.get(key) ?? { tokens: this.limit.burst, filledAtMs: nowMs }
    // A clock that is set back takes nothing.
    const passedMs = Math.max(0, nowMs - bucket.filledAtMs)
    const filled = bucket.tokens + (passedMs * this.limit.perSecond) / 1000
    bucket.tokens = Math.min(this.limit.burst, filled)
    bucket.filledAtMs = nowMs
    this.buckets.delete(key) // and set again: the map's order is that of use
    this.buckets.set(key, bucket)
    if (this.buckets.size > this.keysLimit) this.buckets.delete(this.buckets.keys().next().value!)
    if (bucket.tokens < 1) return Math.ceil(((1 - bucket.tokens) * 1000) / this.limit.perSecond)
    bucket.tokens -= 1
    return 0
  }

  get size(): number {
    return this.buckets.size
  }
}
