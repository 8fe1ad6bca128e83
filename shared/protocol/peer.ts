/**
 * What replicas say to each other, over one WebSocket per pair, once they know whom they speak to (`peer-greeting.ts`):
 *
 *   both     hello, then checks (cell, versions, chain heads), then ready; nothing else before both are ready
 *   either   ops (its own as they become durable), durable, relay, pull → ops*, pulled
 *            probe → durable, state-request → state-begin, state-chunk*, credit, refuse (the last word)
 *            tell, ask → answer: for other parts of a replica, which share the connection
 *
 * Ops and chunks cost their receiver memory until they are on its disk: the sender spends credit on them
 * (`flowCost`) and gets it back when they are settled. Everything else is small and rare, and costs none.
 */
import type { CellIdentity } from '../clock/cell.js'
import type { OriginId } from '../clock/dot.js'
import type { VersionVector } from '../clock/version-vector.js'
import { type Op, partsOf } from './op.js'

/** 1: the first one. */
export const PEER_VERSIONS = { oldest: 1, newest: 1 } as const

/** What a decoder accepts at most. */
export const PEER_LIMITS = {
  messageBytes: 64 * 1024 * 1024,
  heads: 256,
  claims: 32,
  relayNames: 16,
  chunkBytes: 4 * 1024 * 1024,
  refusalBytes: 4 * 1024,
  tellBytes: 256 * 1024,
  askBytes: 64 * 1024,
  answerBytes: 4 * 1024 * 1024,
  /** Questions of one side that are not answered yet; more are answered with `access/too-many-requests`. */
  asks: 16,
  /** Origins that one direction of a link knows by number; it begins anew beyond that. */
  origins: 1_024,
} as const

/**
 * How a replica stands in its cell: `empty` has no state yet; `recovering` lacks something that it once claimed;
 * `lacking` is recovering and knows that it lost something that it had claimed: it is no new member.
 * `unconfirmed` has started and not met enough others to know that it lacks nothing: it serves, and counts in no quorum
 * of `fresh` reads.
 */
export const STANDINGS = ['empty', 'recovering', 'active', 'retiring', 'unconfirmed', 'lacking'] as const
export type Standing = (typeof STANDINGS)[number]

/** What a member was once heard to have on disk. `life` rises when it goes on without what died. */
export interface Claim {
  readonly life: number
  readonly vector: VersionVector
}

/** Claims by member name. */
export type Claims = ReadonlyMap<string, Claim>

/** The last op of an origin that is held, and the chain value after it. */
export interface ChainHead {
  readonly origin: OriginId
  readonly seq: number
  readonly chain: Uint8Array
}

/** First message of both sides. */
export interface Hello {
  readonly type: 'hello'
  readonly oldest: number
  readonly newest: number
  /** Absent where the replica belongs to no cell yet. */
  readonly identity?: CellIdentity
  readonly configEpoch: number
  readonly name: string
  /** 16 hex digits. */
  readonly incarnation: string
  readonly standing: Standing
  readonly life: number
  readonly durable: VersionVector
  /** One for each entry of `durable` that is not the coordination store's. */
  readonly heads: readonly ChainHead[]
  /** What the sender remembers of every member, the receiver included. */
  readonly claims: Claims
  /** Credit that the receiver may spend from the start. */
  readonly window: number
}

export type PeerMessage =
  | Hello
  /** The sender found nothing against the link. */
  | { readonly type: 'ready' }
  /**
   * Ops in the order of the sender's log; each origin's are consecutive. Own ones as they become durable, relayed ones
   * where they were asked for (`pull` 0), or in answer to that pull. `urgent`: somebody waits for a majority, so the
   * receiver tells its durable vector as soon as it holds them.
   */
  | {
      readonly type: 'ops'
      readonly pull: number
      readonly urgent: boolean
      readonly ops: readonly Op[]
      /** The chain value after the last op of each origin in `ops`. */
      readonly chains: ReadonlyMap<OriginId, Uint8Array>
    }
  /** Credit given back. */
  | { readonly type: 'credit'; readonly amount: number }
  /** Asks for all that the receiver holds beyond `beyond`, as far as `upTo` (absent: all); answered by `ops`, then `pulled`. */
  | { readonly type: 'pull'; readonly pull: number; readonly beyond: VersionVector; readonly upTo?: VersionVector }
  /** Ends the answer. `pruned`: the log begins above `beyond`, state transfer is needed. `busy`: ask later. */
  | { readonly type: 'pulled'; readonly pull: number; readonly outcome: 'complete' | 'pruned' | 'busy' }
  /** What the sender has on disk, and how it stands; `probe`: answers that probe (0: none). `claims`: those that changed. */
  | {
      readonly type: 'durable'
      readonly probe: number
      readonly standing: Standing
      readonly life: number
      readonly vector: VersionVector
      readonly claims: Claims
    }
  /** Asks for `durable` at once. */
  | { readonly type: 'probe'; readonly probe: number }
  /** From now on, send the ops of these replicas too: the sender has no link to them. */
  | { readonly type: 'relay'; readonly names: readonly string[] }
  /** Asks for the whole state at one cut, from chunk `next` of a transfer that broke off, or anew (`transfer` 0). */
  | { readonly type: 'state-request'; readonly transfer: number; readonly next: number }
  /** The cut that the chunks of this transfer are, together. */
  | { readonly type: 'state-begin'; readonly transfer: number; readonly cut: VersionVector }
  | {
      readonly type: 'state-chunk'
      readonly transfer: number
      readonly index: number
      readonly isLast: boolean
      readonly bytes: Uint8Array
    }
  /** The receiver has stored the last chunk: the donor may forget the cut. */
  | { readonly type: 'state-taken'; readonly transfer: number }
  /** The donor cannot give state now. */
  | { readonly type: 'state-refused' }
  /** The birth id of a new cell is on the sender's disk; `isBorn`: it knows that it is on every listed one. */
  | { readonly type: 'birth'; readonly identity: CellIdentity; readonly isBorn: boolean }
  /** Best effort, about a document: presence, or a stateless message. Costs no credit; the sender drops it where its socket is busy. */
  | {
      readonly type: 'tell'
      readonly topic: 'presence' | 'stateless'
      readonly document: string
      readonly payload: Uint8Array
    }
  /** A small question outside the exchange of ops; answered by `answer` with the same number. */
  | {
      readonly type: 'ask'
      readonly ask: number
      readonly subject: 'convergence' | 'status'
      readonly question: Uint8Array
    }
  /** `code`: the question could not be answered. */
  | { readonly type: 'answer'; readonly ask: number; readonly code?: string; readonly answer: Uint8Array }
  /** The link ends. `reason` is an error code, `details` JSON for people. */
  | { readonly type: 'refuse'; readonly code: string; readonly details: string }

/** What a message costs of the receiver's credit: the same on both sides, whatever its encoding. */
export function flowCost(message: PeerMessage): number {
  if (message.type === 'state-chunk') return message.bytes.length + MESSAGE_COST
  if (message.type !== 'ops') return 0
  return message.ops.reduce((cost, op) => cost + opCost(op), MESSAGE_COST)
}

/** What one op adds to the cost of a message. */
export function opCost(op: Op): number {
  return partsOf(op).reduce((cost, { update }) => cost + update.length + PART_COST, OP_COST)
}

const MESSAGE_COST = 64
const OP_COST = 256
const PART_COST = 128
