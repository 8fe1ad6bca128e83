/**
 * What HTTP, transports and operators see of the cell that this replica is a member of: sessions and what they may be
 * answered, how far a write has come, and how the members stand to each other. A cell of one member has all of it.
 */

import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import type { Dot, OriginId } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { SessionToken } from '../../shared/session/token.js'
import type { RecoveryState } from './recovery.js'

/** What a request wants to be sure of before it is answered. `r`: members that a `fresh` read asks, this one included. */
export type Wish =
  | { readonly type: 'write' }
  | { readonly type: 'read'; readonly level: 'eventual' | 'session' | 'majority' }
  | { readonly type: 'read'; readonly level: 'fresh'; readonly r?: number | undefined }

export interface Sessions {
  /** The token of a request; undefined begins a session. Throws `session/reset` (its bearer gets `fresh()`). */
  decode(text: string | undefined): SessionToken | undefined
  encode(token: SessionToken): string
  /** A token that has seen nothing. */
  fresh(): SessionToken
  /**
   * Resolves when a request of this session may be answered here, with the debt that the answer has to admit (empty:
   * none). Rejects with `session/reset`, with `session/replica-behind` or `read/not-majority-durable` when `timeoutMs`
   * have passed, `request/invalid` (an impossible `r`), `access/too-many-requests` (too many wait already), and with the
   * reason of `signal` once that is aborted.
   */
  admit(token: SessionToken | undefined, wish: Wish, timeoutMs: number, signal?: AbortSignal): Promise<VersionVector>
  /** Resolves when `seen` is on disk at a majority: what answers at level `majority` and `fresh` wait for. Rejects with `read/not-majority-durable`. */
  release(seen: VersionVector, timeoutMs: number, signal?: AbortSignal): Promise<void>
  /** The token after an answer that has shown or written `seen`, with the debt that `admit` gave. */
  next(token: SessionToken | undefined, seen: VersionVector, debt: VersionVector): SessionToken
}

/** How far a write has come. */
export interface Progress {
  readonly acknowledged: 'local' | 'majority' | 'all'
  /** How many members are known to have it on disk, this one included. */
  readonly replicas: number
}

export interface MemberStatus {
  readonly name: string
  /** Where peers reach it; absent where only the member itself knows. */
  readonly url?: string
  readonly state: 'active' | 'recovering' | 'retiring'
  readonly reachable: boolean
  /** What it was last heard to have on disk. */
  readonly durable: VersionVector
  /** How many ops of all members it lacks, and how old the oldest of them is; 0 where it lacks none. */
  readonly lagOps: number
  readonly lagMs: number
}

/** The first op of an origin that waits at a replica for its causes. */
export interface HeldBack {
  readonly replica: string
  readonly dot: Dot
  /** Entries of which the last op is not there yet. */
  readonly waitsFor: VersionVector
  readonly waitedMs: number
}

export interface CellStatus {
  /** The cell's name by configuration, and its birth id in hex; absent before it is born. */
  readonly name: string
  readonly id?: string
  readonly epoch: number
  readonly configEpoch: number
  readonly self: string
  readonly state: RecoveryState | 'starting' | 'draining'
  /** By name, this one included. */
  readonly members: readonly MemberStatus[]
  readonly majorityDurable: VersionVector
  /** The newest origin of each member, as far as it is known: what people read by the replica's name. */
  readonly current?: ReadonlySet<OriginId>
  readonly heldBack: readonly HeldBack[]
  /** Stable names with details for people. */
  readonly alarms: readonly { readonly alarm: string; readonly details: string; readonly sinceMs: number }[]
}

export interface Cell {
  readonly sessions: Sessions
  /** Members that count in majorities. */
  readonly size: number
  /** Whether a majority of them is reachable and whole, this one included. */
  readonly hasQuorum: boolean
  status(): CellStatus
  /** An operator accepts that what died is lost. Throws `cell/nothing-to-recover`, `cell/starting`. */
  forceRecover(): void
  /** Takes a dead member out, at this replica alone. Throws `cell/quorum-at-risk`, `request/not-found`. */
  removeMember(name: string): void
  /**
   * Resolves when `seen`, which is durable here, has reached the concern, or when `timeoutMs` have passed: with how far
   * it has come then. Rejects only with the reason of `signal`, once that is aborted.
   */
  reached(seen: VersionVector, concern: WriteConcern, timeoutMs: number, signal?: AbortSignal): Promise<Progress>
}

/** What connections of stock clients ask of the cell. */
export interface Freshness {
  readonly sessions: Sessions
  /** Everything that is shown here. */
  readonly durable: VersionVector
  /**
   * Absent where no linked peer is known to have more than this replica; else resolves when all that they have now is
   * here, or after `timeoutMs`: with what is left of that.
   */
  caughtUp(timeoutMs: number): Promise<number> | undefined
}

/** Questions to peers and remarks for them, outside the exchange of ops: small, rare, and nothing depends on them. */
export interface PeerTalk {
  /** Names of the peers that are linked now. */
  readonly linked: readonly string[]
  /** Tells every linked peer, or one, something about a document, best effort: dropped where a link is busy. */
  tell(topic: Topic, document: string, payload: Uint8Array, to?: string): void
  onTold(topic: Topic, listener: (from: string, document: string, payload: Uint8Array) => void): void
  /** Asks one peer; rejects with `cell/unreachable` when it is not linked or does not answer in time. */
  ask(peer: string, subject: Subject, question: Uint8Array, timeoutMs: number): Promise<Uint8Array>
  /** Answers what peers ask about `subject`; what it throws is told as an error. One listener a subject. */
  onAsked(subject: Subject, listener: (from: string, question: Uint8Array) => Promise<Uint8Array>): void
  onLinked(listener: (peer: string) => void): void
  onUnlinked(listener: (peer: string) => void): void
}

/** What is told. */
export type Topic = 'presence' | 'stateless'
/** What is asked about. */
export type Subject = 'convergence' | 'status'
