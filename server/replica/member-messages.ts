/** What a member of a cell is told, and what it wants done: the inputs and effects of `Member`. */
import type { DeliveredOp } from '../../shared/causal/delivery.js'
import type { Dot } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { CausewayError } from '../../shared/errors/error.js'
import type { Op } from '../../shared/protocol/op.js'
import type { LogRange } from '../../shared/protocol/op-log.js'
import type { PeerMessage, Standing } from '../../shared/protocol/peer.js'
import type { CellChange, StoredHeads } from '../../shared/protocol/stored-cell.js'
import type { LogAnswer } from './op-stream.js'
import type { Answered, Asked, TalkMessage, Told } from './peer-link.js'
import type { Receipt } from './state-transfer.js'

/** An op that became durable here: a peer's with the chain value that was verified, or an own one. */
export type CommittedOp = { readonly op: Op } & Partial<Pick<DeliveredOp, 'from' | 'chain'>>

export type MemberInput =
  | { readonly type: 'start'; readonly nowMs: number }
  /** A connection with this peer is up, and both have proved who they are. */
  | { readonly type: 'connected'; readonly peer: string; readonly nowMs: number }
  | { readonly type: 'received'; readonly peer: string; readonly message: PeerMessage; readonly nowMs: number }
  | { readonly type: 'disconnected'; readonly peer: string; readonly nowMs: number }
  /** In the order of the log, without gaps; the last one is at `position`. */
  | {
      readonly type: 'committed'
      readonly ops: readonly CommittedOp[]
      readonly position: number
      readonly nowMs: number
    }
  /** Nothing handed over and not committed will be. */
  | { readonly type: 'commit-failed' }
  | { readonly type: 'writable-again'; readonly nowMs: number }
  /** The log begins here now. */
  | { readonly type: 'pruned'; readonly floor: VersionVector; readonly nowMs: number }
  | {
      readonly type: 'chains-read'
      readonly peer: string
      readonly connection: number
      readonly chains: readonly (Uint8Array | undefined)[]
    }
  | { readonly type: 'log-read'; readonly peer: string; readonly answer: LogAnswer; readonly nowMs: number }
  | {
      readonly type: 'cut-opened'
      readonly peer: string
      readonly transfer: number
      readonly cut: VersionVector | undefined
    }
  | {
      readonly type: 'chunk-read'
      readonly peer: string
      readonly transfer: number
      readonly index: number
      readonly bytes: Uint8Array
      readonly isLast: boolean
    }
  | {
      readonly type: 'chunk-stored'
      readonly peer: string
      readonly index: number
      readonly receipt: Receipt
      readonly nowMs: number
    }
  | { readonly type: 'state-joined'; readonly heads: StoredHeads; readonly position: number; readonly nowMs: number }
  | { readonly type: 'state-join-failed'; readonly nowMs: number }
  /** Answers `store-cell`. */
  | { readonly type: 'cell-stored'; readonly save: number; readonly nowMs: number }
  /** Somebody here waits for others to have something on disk, or nobody does any more. */
  | { readonly type: 'urgency-changed'; readonly isUrgent: boolean }
  /** Ask all linked peers for what they have on disk now; answered by `vector-told`. */
  | { readonly type: 'probe'; readonly probe: number }
  | {
      readonly type: 'talk'
      readonly peer: string
      readonly message: TalkMessage
    }
  /**
   * An operator accepts that what died is lost (`refusalToForce` said nothing against it). `epoch`: 16 random hex digits,
   * for a new epoch of the cell, where one is needed.
   */
  | { readonly type: 'force-recover'; readonly epoch: string; readonly nowMs: number }
  /** An operator takes a dead member out (`refusalToRemove` said nothing against it); on every replica. */
  | { readonly type: 'remove-member'; readonly name: string; readonly nowMs: number }
  | { readonly type: 'tick'; readonly nowMs: number }

export type MemberEffect =
  | { readonly type: 'send'; readonly peer: string; readonly message: PeerMessage }
  /** End the connection; it is tried again. `error` where somebody should be told. */
  | { readonly type: 'close'; readonly peer: string; readonly error?: CausewayError }
  | { readonly type: 'linked' | 'unlinked'; readonly peer: string }
  | { readonly type: 'talked'; readonly peer: string; readonly talk: Told | Asked | Answered }
  /** Hand these to the replica and the log, in this order. */
  | { readonly type: 'deliver'; readonly ops: readonly DeliveredOp[] }
  | { readonly type: 'read-chains'; readonly peer: string; readonly connection: number; readonly dots: readonly Dot[] }
  | { readonly type: 'read-log'; readonly peer: string; readonly read: number; readonly range: LogRange }
  | { readonly type: 'open-cut'; readonly peer: string; readonly transfer: number }
  | { readonly type: 'read-chunk'; readonly peer: string; readonly transfer: number; readonly index: number }
  | { readonly type: 'close-cut'; readonly peer: string; readonly transfer: number }
  | { readonly type: 'begin-state' | 'discard-state' }
  | {
      readonly type: 'store-chunk'
      readonly peer: string
      readonly index: number
      readonly bytes: Uint8Array
      readonly receipt: Receipt
    }
  /** When nothing is under way to the log: join what was set aside. Answered by `state-joined` or `state-join-failed`. */
  | { readonly type: 'join-state'; readonly cut: VersionVector }
  | { readonly type: 'store-cell'; readonly save: number; readonly change: CellChange }
  /** What is durable here, under U, or at some member has grown, or who may serve has changed. */
  | { readonly type: 'advanced' }
  /** It is no member any more: its link ends for good. */
  | { readonly type: 'removed'; readonly peer: string }
  /** May serve, and accept, from now on, or not any more. */
  | { readonly type: 'serving'; readonly isServing: boolean }
  | { readonly type: 'alarm'; readonly alarm: string; readonly details: string }
  | {
      readonly type: 'vector-told'
      readonly peer: string
      readonly probe: number
      readonly vector: VersionVector
      readonly standing: Standing
    }
