/**
 * The tree of op digests over a set of documents (its shape and its hashes: shared/protocol/convergence.ts), as two
 * arrays. A leaf goes in and out by XOR, so a change of one document costs one bucket.
 */
import { hash } from 'node:crypto'
import { TREE } from '../../shared/protocol/convergence.js'

/** What a replica says of the documents under a prefix as a whole. */
export interface DigestTree {
  readonly documents: number
  /** `TREE.buckets` hashes of `TREE.hashBytes`. */
  readonly hashes: Uint8Array
  /** Documents per bucket. */
  readonly counts: Uint32Array
}

export interface DigestRow {
  readonly name: string
  readonly generation: number
  readonly count: number
  readonly digest: Uint8Array
}

const LEAF_INPUT_BYTES = 32 + 8 + 8 + TREE.hashBytes

export class GrowingTree implements DigestTree {
  documents = 0
  readonly hashes = new Uint8Array(TREE.buckets * TREE.hashBytes)
  readonly counts = new Uint32Array(TREE.buckets)
  private readonly input = Buffer.alloc(LEAF_INPUT_BYTES)

  /** Writes the leaf to `leaf` (`TREE.hashBytes`) and returns its bucket. */
  hashLeaf({ name, generation, count, digest }: DigestRow, leaf: Uint8Array): number {
    const { input } = this
    input.write(hash('sha256', name, 'binary'), 0, 'binary')
    input.writeDoubleBE(generation, 32)
    input.writeDoubleBE(count, 40)
    input.set(digest, 48)
    const whole = hash('sha256', input, 'binary')
    for (let index = 0; index < TREE.hashBytes; index++) leaf[index] = whole.charCodeAt(index)
    return (input[0]! << 4) | (input[1]! >> 4)
  }

  add(bucket: number, leaf: Uint8Array): void {
    this.documents++
    this.counts[bucket]! += 1
    this.turn(bucket, leaf)
  }

  remove(bucket: number, leaf: Uint8Array): void {
    this.documents--
    this.counts[bucket]! -= 1
    this.turn(bucket, leaf)
  }

  private turn(bucket: number, leaf: Uint8Array): void {
    const start = bucket * TREE.hashBytes
    for (let index = 0; index < TREE.hashBytes; index++) this.hashes[start + index]! ^= leaf[index]!
  }
}
