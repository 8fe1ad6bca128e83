/**
 * Version vectors: for each origin the highest gap-free seq. One entry per replica lineage, never one per client.
 * Values are immutable from the outside: merging returns a new map.
 */
import { type OriginId, replicaNameOf } from './dot.js'

export type VersionVector = ReadonlyMap<OriginId, number>

export const EMPTY_VECTOR: VersionVector = new Map()

/** Whether every entry of `lower` is reached in `upper`: `lower ≤ upper`. */
export function dominates(upper: VersionVector, lower: VersionVector): boolean {
  for (const [origin, seq] of lower) if ((upper.get(origin) ?? 0) < seq) return false
  return true
}

/** The least vector that dominates both: commutative, associative, idempotent. */
export function mergeVectors(left: VersionVector, right: VersionVector): VersionVector {
  const merged = new Map(left)
  for (const [origin, seq] of right) if ((merged.get(origin) ?? 0) < seq) merged.set(origin, seq)
  return merged
}

/** `a:3 b:1`, sorted by name. */
export function formatVector(vector: VersionVector): string {
  return [...vector]
    .map(([origin, seq]) => `${replicaNameOf(origin)}:${seq}`)
    .sort()
    .join(' ')
}
