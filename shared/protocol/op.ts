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

/**
 * Whose a Yjs client id is in one document. Of two records that name different users the one with the smaller (hlc,
 * origin, seq) holds; of two clocks in `relayedFrom`, the smaller one.
 */
export interface OwnedId {
  readonly document: string
  readonly generation: number
  readonly client: number
  /** The user id of its owner, as the verified token has it. */
  readonly user: string
  /** From this clock on, structs of the id were brought by somebody else than its owner. */
  readonly relayedFrom?: number
  /** An older id of the same user that is nobody's from now on, because a user owns only so many. */
  readonly evicts?: number
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
  /** Who owns a client id: no edit, so it touches no document. */
  | (OpBase & { readonly kind: 'owned'; readonly owned: OwnedId })

const NO_PARTS: readonly Part[] = []

/** The edits of an op; none where it is no edit. */
export function partsOf(op: Op): readonly Part[] {
  return op.kind === 'data' || op.kind === 're-originated' ? op.parts : NO_PARTS
}
