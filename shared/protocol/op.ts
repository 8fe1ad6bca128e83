/**
 * The op: what a replica accepts, keeps and forwards. Format version 1, free to change until a cell of several
 * replicas freezes it.
 */
import type { Dot } from '../clock/dot.js'
import type { HybridTime } from '../clock/hybrid-clock.js'
import type { VersionVector } from '../clock/version-vector.js'

/** One document's share of an op. `update` is a checked Yjs v1 update. */
export interface Part {
  readonly document: string
  readonly generation: number
  readonly update: Uint8Array
}

interface OpBase {
  readonly dot: Dot
  /** The acceptor's durable vector at acceptance, without the op's own origin, whose entry is `seq - 1`. */
  readonly deps: VersionVector
  /** Greater than the hlc of every op in `deps`. */
  readonly hlc: HybridTime
}

export type Op =
  /** An edit of one or several documents, atomic over its parts. */
  | (OpBase & { readonly kind: 'data'; readonly parts: readonly Part[] })
  /** First op of an incarnation: names the origin that this disk held before and its last durable seq (absent on an empty disk). */
  | (OpBase & { readonly kind: 'open'; readonly predecessor?: Dot })
  /** An op found to be missing from the cell, accepted anew under a fresh dot; `was` is its first one. */
  | (OpBase & { readonly kind: 're-originated'; readonly was: Dot; readonly parts: readonly Part[] })
