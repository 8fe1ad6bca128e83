/** Vectors of the reference cell: plain and unfolded, one entry per life that accepted anything. */
import type { OriginId } from '../../../shared/clock/dot.js'
import type { VersionVector } from '../../../shared/clock/version-vector.js'

export function covers(upper: VersionVector, lower: VersionVector): boolean {
  for (const [origin, seq] of lower) if ((upper.get(origin) ?? 0) < seq) return false
  return true
}

export function merge(one: VersionVector, other: VersionVector): VersionVector {
  if (covers(one, other)) return one
  const both = new Map(one)
  for (const [origin, seq] of other) if (seq > (both.get(origin) ?? 0)) both.set(origin, seq)
  return both
}

export function raise(vector: VersionVector, origin: OriginId, seq: number): VersionVector {
  return new Map(vector).set(origin, Math.max(seq, vector.get(origin) ?? 0))
}

export function isSame(one: VersionVector, other: VersionVector): boolean {
  return covers(one, other) && covers(other, one)
}
