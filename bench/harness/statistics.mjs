// Small samples, honestly shown: minimum, median, maximum. Servers are compared pairwise within a round, since the
// machine's noise changes between rounds, and the median of the rounds' ratios is the result.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** `{min, median, max}` of the finite values, or undefined if there is none. */
export function spread(values) {
  const finite = values.filter(Number.isFinite)
  if (finite.length === 0) return undefined
  return { min: Math.min(...finite), median: median(finite), max: Math.max(...finite) }
}
