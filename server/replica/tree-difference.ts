/**
 * Comparing two trees of digests (shared/protocol/convergence.ts) with little said: the asker sends its groups, is told
 * the buckets of those that differ, and finds the differing buckets among them.
 */
import { TREE } from '../../shared/protocol/convergence.js'

const { groups, bucketsPerGroup, hashBytes } = TREE

/** The groups over `hashes` (of all buckets): each the XOR of its buckets. */
export function groupsOf(hashes: Uint8Array): Uint8Array {
  const result = new Uint8Array(groups * hashBytes)
  const groupBytes = bucketsPerGroup * hashBytes
  for (let at = 0; at < hashes.length; at++) {
    result[Math.floor(at / groupBytes) * hashBytes + (at % hashBytes)]! ^= hashes[at]!
  }
  return result
}

/** The buckets of the groups in which `hashes` differs from `asked`, the groups of somebody else. */
export function differingGroups(hashes: Uint8Array, asked: Uint8Array): Map<number, Uint8Array> {
  const own = groupsOf(hashes)
  const result = new Map<number, Uint8Array>()
  for (let group = 0; group < groups; group++) {
    if (isSame(own, asked, group * hashBytes, group * hashBytes)) continue
    const start = group * bucketsPerGroup * hashBytes
    result.set(group, hashes.subarray(start, start + bucketsPerGroup * hashBytes))
  }
  return result
}

/** The buckets in which `hashes` differs from what was told of those groups. */
export function differingBuckets(hashes: Uint8Array, told: ReadonlyMap<number, Uint8Array>): number[] {
  const result: number[] = []
  for (const [group, buckets] of told) {
    for (let index = 0; index < bucketsPerGroup; index++) {
      const bucket = group * bucketsPerGroup + index
      if (!isSame(hashes, buckets, bucket * hashBytes, index * hashBytes)) result.push(bucket)
    }
  }
  return result
}

function isSame(left: Uint8Array, right: Uint8Array, leftAt: number, rightAt: number): boolean {
  for (let index = 0; index < hashBytes; index++) if (left[leftAt + index] !== right[rightAt + index]) return false
  return true
}
