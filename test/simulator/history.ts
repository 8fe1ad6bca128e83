/**
 * What happened in a run, as clients and replicas saw it: the input of every checker. One list in the order of real time
 * (virtual time in the simulator), whatever system produced it.
 *
 * The workload makes histories easy to judge: each write has an id of its own and adds it to a grow-only set in each
 * document it touches, so a read returns exactly the writes that were visible. Some writes also set last-writer-wins
 * registers, to their id.
 *
 * Replicas report what they do before they do it (`send`) or once it is done (`durable`, `deliver`); a report is never
 * what the replica believes about others.
 */
import type { Dot, OriginId } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'

export type WriteId = number
/** `eventual` promises nothing to sessions; the others are those of DESIGN.md section 2. */
export type Level = 'eventual' | 'session' | 'majority' | 'fresh'
export type Concern = 'local' | 'majority'

export type Request =
  | {
      readonly type: 'write'
      readonly id: WriteId
      readonly documents: readonly string[]
      /** Registers set to `id`, by name: `document#key`, of documents that it touches. */
      readonly registers: readonly string[]
      /** What `ok` means. */
      readonly concern: Concern
    }
  | { readonly type: 'read'; readonly documents: readonly string[]; readonly level: Level }
  /** Takes a unique key for the session. */
  | { readonly type: 'claim'; readonly key: string }
  | { readonly type: 'read-claim'; readonly key: string }

/** What a read of some documents returned. */
export interface Contents {
  /** Ids of the writes that are visible, by document, in no order. */
  readonly writes: ReadonlyMap<string, readonly WriteId[]>
  /** Registers of these documents that were ever set. */
  readonly registers: ReadonlyMap<string, WriteId>
}

export type Response =
  | { readonly type: 'written' }
  | { readonly type: 'read'; readonly contents: Contents }
  /** `deps` is the past of the claim: whoever reads the claim also reads what preceded it. None where nobody owns it. */
  | { readonly type: 'claim'; readonly owner: string | undefined; readonly deps: VersionVector | undefined }

/** By a session. `call` is unique over the history. */
export type ClientEvent =
  | { readonly type: 'invoke'; readonly call: number; readonly request: Request; readonly deadlineMs?: number }
  | {
      readonly type: 'ok'
      readonly call: number
      readonly response: Response
      /** The cut that the answer stands on, and the session's token when the request was sent and after the answer. */
      readonly cut: VersionVector
      readonly sent: VersionVector
      readonly token: VersionVector
    }
  /** Certainly without effect. */
  | { readonly type: 'refused'; readonly call: number; readonly code: string }
  /** Nobody will ever know. */
  | { readonly type: 'unknown'; readonly call: number }
  /** The client was told that a majority has the write on disk. */
  | { readonly type: 'saved'; readonly id: WriteId }
  /** The guarantees begin anew here, and the client was told so. */
  /** `remade`: unsaved writes that were made a second time, without what they stood on; they may be there twice. */
  | {
      readonly type: 'marked'
      readonly mark: 'degraded' | 'session-reset'
      readonly remade?: readonly WriteId[]
    }
  /** Never comes back, nor does what only it had. */
  | { readonly type: 'gone' }
  /** At the end, of a client that lives. */
  | { readonly type: 'client-settled'; readonly outbox: number }

/** By a replica. */
export type ServerEvent =
  | { readonly type: 'start'; readonly origin: OriginId; readonly clock: VersionVector }
  | {
      readonly type: 'accept'
      readonly dot: Dot
      /** Of an `open` record: the last dot of the life before; absent on an empty disk. Other ops have none. */
      readonly opens?: { readonly predecessor: Dot | undefined }
      readonly deps: VersionVector
      /** Hash over the origin's earlier ops and this one. */
      readonly chain: string
      /** None for an `open` record. */
      readonly id?: WriteId
      readonly documents: readonly string[]
    }
  /** An op of another is handed to the log: it takes effect before what is accepted after it. */
  | { readonly type: 'taken'; readonly dot: Dot }
  /** What was taken and did not take effect never will. */
  | { readonly type: 'rewound' }
  /** The commit of an op failed before anybody heard of it: its dot may be used again. */
  | { readonly type: 'withdraw'; readonly dot: Dot }
  /** What is on this disk, once it is. */
  | { readonly type: 'durable'; readonly clock: VersionVector }
  /** An op takes effect here, its own included. */
  | { readonly type: 'deliver'; readonly dot: Dot; readonly chain: string }
  | { readonly type: 'send'; readonly to: string; readonly dot: Dot }
  | { readonly type: 'serve'; readonly contents: Contents; readonly clock: VersionVector }
  | { readonly type: 'acknowledge'; readonly id: WriteId; readonly concern: Concern; readonly clock: VersionVector }
  /** State transfer has taken effect: the clock after it, and all writes held. */
  | { readonly type: 'install'; readonly clock: VersionVector; readonly held: readonly WriteId[] }
  | { readonly type: 'truncate'; readonly origin: OriginId; readonly seq: number }
  /** Asks `peer` for an origin's ops from `from` on. */
  | { readonly type: 'need'; readonly peer: string; readonly origin: OriginId; readonly from: number }
  | { readonly type: 'majority-cut'; readonly cut: VersionVector }
  | { readonly type: 'members'; readonly members: readonly string[] }
  /** A coordination entry takes effect here; `entry` is its hash. `coord` entries of vectors count these. */
  | { readonly type: 'coordinate'; readonly origin: OriginId; readonly index: number; readonly entry: string }
  /** A proposal is let through to the coordination log. */
  | { readonly type: 'propose'; readonly key: string; readonly deps: VersionVector }
  /** After a delivery a document has parts that wait for others. */
  | { readonly type: 'pending'; readonly document: string; readonly structs: number; readonly deletes: number }
  /** `digest` stands for the ops, `fingerprint` for the content they make. */
  | { readonly type: 'fingerprint'; readonly document: string; readonly digest: string; readonly fingerprint: string }
  /** At the end: ops and requests that wait, and all writes held. */
  | {
      readonly type: 'replica-settled'
      readonly clock: VersionVector
      readonly waiting: number
      readonly held: readonly WriteId[]
    }

/** By the world. */
export type WorldEvent =
  | { readonly type: 'crash' }
  | { readonly type: 'disk'; readonly fault: 'lost' | 'restored' | 'cloned' }
  /** A replica whose disk was replaced has what the others know again. */
  | { readonly type: 'recovered' }
  /** From here on nothing fails any more. */
  | { readonly type: 'healed' }

/** `by` is a session, a replica, or the node that a fault hits. */
export type HistoryEvent = { readonly atMs: number; readonly by: string } & (ClientEvent | ServerEvent | WorldEvent)

export interface History {
  readonly members: readonly string[]
  readonly events: readonly HistoryEvent[]
}

/** The coordination log is one more origin of vectors, of this name; its incarnation is the epoch. */
export const COORDINATION = 'coord'

/** The document of the register `document#key`. */
export function documentOfRegister(register: string): string {
  return register.slice(0, register.lastIndexOf('#'))
}
