// Latencies in buckets of a tenth of a millisecond: exact enough for a p99, and a record costs one increment.

const bucketsPerMs = 10
const limitMs = 30_000

export class Histogram {
  #buckets = new Uint32Array(limitMs * bucketsPerMs + 1)
  count = 0

  record(ms) {
    const bucket = ms < 0 ? 0 : ms >= limitMs ? limitMs * bucketsPerMs : (ms * bucketsPerMs) | 0
    this.#buckets[bucket]++
    this.count++
  }

  /** The smallest latency in ms that `share` (0 to 1) of all records do not exceed; NaN without records. */
  percentile(share) {
    if (this.count === 0) return Number.NaN
    const rank = Math.max(1, Math.ceil(this.count * share))
    let seen = 0
    for (let bucket = 0; bucket < this.#buckets.length; bucket++) {
      seen += this.#buckets[bucket]
      if (seen >= rank) return (bucket + 1) / bucketsPerMs
    }
    return limitMs
  }
}
