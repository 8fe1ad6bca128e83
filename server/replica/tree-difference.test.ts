import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TREE } from '../../shared/protocol/convergence.js'
import { differingBuckets, differingGroups, groupsOf } from './tree-difference.js'

const change = fc.record({
  bucket: fc.nat(TREE.buckets - 1),
  byte: fc.nat(TREE.hashBytes - 1),
  by: fc.integer({ min: 1, max: 255 }),
})

test('exactly the buckets in which two trees differ are found, and only their groups are told', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 5 }), fc.array(change, { maxLength: 3 }), (common, differences) => {
      const own = new Uint8Array(TREE.buckets * TREE.hashBytes)
      for (const { bucket, byte, by } of common) own[bucket * TREE.hashBytes + byte]! ^= by
      const theirs = own.slice()
      // One byte a bucket, each another: no two changes of a group cancel each other.
      const changed = new Map(differences.map((each, index) => [each.bucket, { ...each, byte: index }]))
      for (const { bucket, byte, by } of changed.values()) theirs[bucket * TREE.hashBytes + byte]! ^= by
      const told = differingGroups(theirs, groupsOf(own))
      expect(differingBuckets(own, told).sort()).toEqual([...changed.keys()].sort())
      expect([...told.keys()].sort()).toEqual(
        [...new Set([...changed.keys()].map((bucket) => Math.floor(bucket / TREE.bucketsPerGroup)))].sort(),
      )
    }),
    { numRuns: 50 },
  )
})
