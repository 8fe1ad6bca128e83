/** What a member keeps of its cell and of its log's beginning and end, as its cores and its storage both know it. */
import type { Head } from '../causal/delivery.js'
import type { RejoinPhase, StoredBirth } from '../clock/cell.js'
import type { Dot, OriginId } from '../clock/dot.js'
import type { VersionVector } from '../clock/version-vector.js'
import type { Claims } from './peer.js'

/** The first op of an origin: from then on its vectors imply what it names. */
export interface StoredOpening {
  readonly dot: Dot
  readonly predecessor?: Dot
}

/** What a member keeps of its cell, beside the ops. */
export interface StoredCell {
  readonly birth?: StoredBirth
  /** Of this member: rises when it goes on without what died. */
  readonly life: number
  readonly configEpoch: number
  /** What members were heard to have on disk, ever. */
  readonly claims: Claims
  /** Members by name with the address at which peers reach them, and names that were removed; absent before the birth. */
  readonly members?: { readonly present: ReadonlyMap<string, string>; readonly removed: ReadonlySet<string> }
  /** It lacked something that it once claimed, or has joined with an empty disk, and was not whole again since. */
  readonly isRecovering: boolean
  /** And it knows that there was something: it is no new member. */
  readonly hasLost: boolean
  readonly rejoin?: RejoinPhase
}

/** What to replace of it; `rejoin` undefined: it is over. */
export type CellChange = Partial<Omit<StoredCell, 'rejoin'>> & {
  readonly rejoin?: RejoinPhase | undefined
  /** What members were heard to have before binds nobody any more; `claims` of the same change are kept. */
  readonly forgetsClaims?: true
}

/** Of the ops in the log: where each origin ends, how origins follow each other, and where the log begins. */
export interface StoredHeads {
  /** Contiguous heads per origin, without the entries that `open` ops imply. */
  readonly vector: VersionVector
  /** Of each origin ever seen that has an op here. */
  readonly heads: ReadonlyMap<OriginId, Head>
  readonly openings: readonly StoredOpening[]
  /** Ops that are held and are no longer in the log: what is in this vector cannot be read as ops for certain. */
  readonly floor: VersionVector
  /** Ops that were accepted anew, by the dot that each had first (`dotKey`): the dot under which it is held now. At most `REORIGINATED_LIMIT`, the newest. */
  readonly reoriginated: ReadonlyMap<string, Dot>
}
