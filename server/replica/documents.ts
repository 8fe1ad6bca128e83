/**
 * What transports, HTTP and embedders see of a replica's documents. They hand in bytes and get told, in order, what is
 * durable; nothing that is not on disk ever passes through here.
 */
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import type { Dot } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { CausewayError } from '../../shared/errors/error.js'

/** Updates of one document that one commit made durable, in delivery order; shared by all its subscribers. */
export interface DeliveredBatch {
  readonly document: string
  readonly updates: readonly { readonly dot: Dot; readonly update: Uint8Array }[]
  /** Frames already built for this batch, by wire form, so that each is built once and written to every socket. */
  readonly frames: Map<string, Buffer>
}

/** An update reached its write concern. */
export interface Acknowledgement {
  /** The received bytes, where what was delivered differs from them (nothing new, or trimmed): for an echo to the sender. */
  readonly echo?: Uint8Array | undefined
  /** A step2 held structs that the document cannot connect yet; they were left out. */
  readonly leftover: boolean
}

/**
 * What became of an id that a client announced as its own. `owned`: it is its user's. `relayed`: the same, and others have
 * written under it: the client should be asked, with `question`, what it holds there. `taken`: it is somebody else's, and
 * stays so. `unowned`: there was no room, or no time; to be announced again with the next sign of presence.
 */
export type AnnouncementOutcome = 'owned' | 'relayed' | 'taken' | 'unowned'

/** One connection's interest in one document. Called in delivery order; `deliver` precedes the acknowledgements of the same commit. */
export interface Subscriber {
  /** The verified user, at any moment; absent where access is open, or a token names nobody. */
  readonly userId?: string | undefined
  /** Where its updates must be on disk before they are acknowledged; a majority where it is absent. */
  readonly concern?: WriteConcern | undefined
  /** The document is loaded: `stateVector`, `diff` and `update` of the subscription may be used from now on. */
  attached(): void
  deliver(batch: DeliveredBatch): void
  /** The request is on disk here, and what follows is a wait for other replicas, however long it may be. */
  stored(request: number): void
  acknowledge(request: number, acknowledgement: Acknowledgement): void
  /**
   * Nothing of this request was stored (or, for an `indefinite` code, nobody knows). `document/gap` carries
   * `details.stateVector` (base64url), and `details.relayed` where it is to be asked for with `question`.
   */
  refuse(request: number, error: CausewayError): void
  /** Writes work again after a failure: a step1 should be sent, so that the client offers what was refused. */
  resync(): void
  /** The document could not be loaded or must not be served any more. The subscription is over. */
  closed(error: CausewayError): void
}

export interface Subscription {
  readonly document: string
  /** Durable state vector, encoded as Yjs does. */
  stateVector(): Uint8Array
  /** The same, lowered to where others have begun to write under ids of the subscriber's user: asks for it all again. */
  question(): Uint8Array
  /**
   * A Yjs v1 update with what the durable document holds beyond `stateVector` (Yjs encoding; throws
   * `protocol/bad-message`), its whole delete set included. A promise where a worker must compute it: what is delivered
   * meanwhile is not part of it, so the caller keeps its frames behind the answer.
   */
  diff(stateVector: Uint8Array): Uint8Array | Promise<Uint8Array>
  /** Whether the durable document holds all of a step2 already: for readers, whose step2s are not stored. Throws `document/bad-update`. */
  addsNothing(step2: Uint8Array): boolean
  /** Offers an update; answered by exactly one `acknowledge` or `refuse` with the same number. `request` rises per subscription. */
  update(request: number, update: Uint8Array, kind: 'update' | 'step2'): void
  /** The client's own Yjs id, as it told others: its user owns it from now on, unless somebody owned it before. */
  announce(client: number): AnnouncementOutcome
  close(): void
}

/** Where a document stands, durable, for readers outside the hot path: apply `snapshot`, then `tail` in order. */
export interface DocumentBytes {
  readonly name: string
  readonly snapshot: Uint8Array | undefined
  readonly tail: readonly Uint8Array[]
  readonly stateVector: Uint8Array
  /** Highest seq per replica name that touched this document: for people. */
  readonly clock: Readonly<Record<string, number>>
  /** Everything that this replica showed at that moment: what whoever reads this has seen. */
  readonly seen: VersionVector
}

/** What is on disk here; how far it has come elsewhere, `Cell.reached` tells. */
export interface Submitted {
  readonly dot: Dot | undefined
  /** What the writer has seen by this: the op, or, where nothing was new, all that the replica showed. */
  readonly seen: VersionVector
  /** Everything that this replica showed then. */
  readonly clock: VersionVector
}

export interface DocumentListing {
  readonly documents: readonly {
    readonly name: string
    readonly bytes: number
    readonly clock: Readonly<Record<string, number>>
    readonly updatedAt: string
  }[]
  readonly cursor?: string
  /** Everything that this replica showed when the page had been read. */
  readonly seen: VersionVector
}

export interface Documents {
  /** Opens a document for a connection; it is loaded on demand. Throws `document/bad-name`, `cell/draining`. */
  subscribe(document: string, subscriber: Subscriber): Subscription
  /**
   * Stores parts atomically as one op and resolves when it is durable. Rejects with `document/gap` and
   * `document/bad-update` (`details.document`, `details.reason`, `details.stateVector`), `document/equivocation`,
   * `document/foreign-client`, `document/too-many-new`, `storage/full`. All parts or none. `userId` is the verified user who asks, if any.
   */
  submit(
    parts: readonly { readonly document: string; readonly update: Uint8Array }[],
    userId?: string,
  ): Promise<Submitted>
  /** The durable document. Rejects with `document/not-found`, `document/unavailable`. */
  read(document: string): Promise<DocumentBytes>
  /** Documents whose name starts with `prefix`, by name, after `cursor`. */
  list(options: { prefix: string; limit: number; cursor?: string }): Promise<DocumentListing>
}
