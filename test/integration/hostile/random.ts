/** Numbers that look random and are the same in each run (xorshift, Marsaglia 2003). */
export interface Random {
  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number
}

export function seededRandom(seed: number): Random {
  let state = (seed + 1) * 0x9e3779b1
  return {
    below(limit) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      return (state >>> 0) % limit
    },
  }
}
