/** What storage hands out and takes of one document: bytes at positions, whose meaning it does not know. */
import type { Dot } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'

/**
 * The state of a document at a position, computed elsewhere from what `load` gave. `position` is that `load`'s: the
 * snapshot holds every op of the document up to it, and none after it.
 */
export interface Snapshot {
  readonly position: number
  /** A Yjs v1 update with the whole state. */
  readonly update: Uint8Array
  /** What checks of later updates need to know of the state: kept beside it so that a load need not read it all. */
  readonly known: Uint8Array
  /** Empty where it was not computed: a state that came from a peer with updates on top. */
  readonly fingerprint: Uint8Array
}

/** A snapshot to keep, of one life of a document. */
export interface SnapshotToSave extends Snapshot {
  readonly document: string
  readonly generation: number
  /**
   * `head` (default): what `load` starts from. `base`: where the history begins, from what `load` gave with `upTo`; it
   * replaces an older base, and with it the history below, so it is for the positions that `prune` wants.
   */
  readonly kind?: 'head' | 'base'
}

/** One update of a document above its snapshot, in delivery order. */
export interface TailUpdate {
  /** Place of its op in this replica's delivery order. */
  readonly position: number
  readonly dot: Dot
  readonly hlc: HybridTime
  readonly update: Uint8Array
}

/** A document as of one moment: apply `snapshot`, then `tail` in order. The bytes belong to the caller. */
export interface StoredDocument {
  readonly name: string
  readonly generation: number
  readonly snapshot?: Snapshot
  readonly tail: readonly TailUpdate[]
  /** Last position of the whole log at that moment: every op up to it is in here, none after it. */
  readonly position: number
  /** Highest seq per replica name that touched the document. */
  readonly clock: Readonly<Record<string, number>>
  /** How many ops touched this life of the document, and the XOR of their chain values (16 bytes). */
  readonly digest: { readonly count: number; readonly xor: Uint8Array }
}

/** A Yjs client id with its owner, as `OwnedId` has it. */
export interface StoredOwner {
  readonly client: number
  readonly user: string
  readonly relayedFrom?: number
}

/** What opening a document for use needs. */
export interface Opening {
  /** Absent where no op has touched it. */
  readonly stored?: StoredDocument
  /** Oldest first. */
  readonly owned: readonly StoredOwner[]
}

export interface LoadOptions {
  /** As of this position of the log, from the kept history, instead of now. `clock` and `digest` are still today's. */
  readonly upTo?: number
  /** With the history that is kept: from the base snapshot, or from the first op, where the log reaches there. */
  readonly fromBase?: boolean
}

/** One row of a listing. */
export interface ListedDocument {
  readonly name: string
  readonly generation: number
  /** Snapshot and tail together. */
  readonly bytes: number
  readonly clock: Readonly<Record<string, number>>
  /** hlc of the last op that touched it. */
  readonly updated: HybridTime
}

export interface DocumentPage {
  /** Sorted by the bytes of the names. */
  readonly documents: readonly ListedDocument[]
  /** Where the next page begins; absent on the last one. */
  readonly cursor?: string
}

export interface ListOptions {
  readonly prefix: string
  /** 1 to `LIST_LIMIT`. */
  readonly limit: number
  readonly cursor?: string
}
