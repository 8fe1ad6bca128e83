/** What the programs of the reference cell say to one another, and what its disks hold. Values are never changed. */
import type { Dot, OriginId } from '../../../shared/clock/dot.js'
import type { HybridTime } from '../../../shared/clock/hybrid-clock.js'
import type { VersionVector } from '../../../shared/clock/version-vector.js'
import type { Level, Response, WriteId } from '../history.js'

/** A write as its client offers it, again and again until a majority has it. */
export interface OfferedWrite {
  readonly id: WriteId
  readonly call: number
  readonly author: string
  /** By document: the author's how-manieth write to it, from 1. As the clock of a Yjs client, it shows gaps. */
  readonly places: ReadonlyMap<string, number>
  readonly registers: readonly string[]
  /** Greater than the stamps of all writes its author had seen. */
  readonly stamp: HybridTime
}

export interface Op {
  readonly dot: Dot
  readonly opens?: { readonly predecessor: Dot | undefined }
  readonly write?: OfferedWrite
  readonly deps: VersionVector
  readonly chain: string
  readonly hlc: HybridTime
}

/** An entry of the coordination log: the first one of a key decides who owns it. */
export interface Entry {
  readonly index: number
  readonly key: string
  readonly owner: string
  readonly call: number
  readonly deps: VersionVector
}

/** All that a replica has, at one cut. */
export interface Bundle {
  readonly clock: VersionVector
  readonly ops: readonly Op[]
  readonly entries: readonly Entry[]
}

export type Message =
  // Between replicas
  | {
      readonly type: 'hello'
      readonly origin: OriginId
      readonly clock: VersionVector
      /** All that its sender ever heard the receiver had on disk. */
      readonly remembered: VersionVector
    }
  | { readonly type: 'ops'; readonly ops: readonly Op[] }
  | { readonly type: 'need'; readonly origin: OriginId; readonly from: number }
  | { readonly type: 'bundle'; readonly bundle: Bundle }
  /** Posted: what its sender has on disk. */
  | { readonly type: 'gossip'; readonly origin: OriginId; readonly clock: VersionVector }
  | { readonly type: 'ask-clock'; readonly query: string }
  /** No clock: the sender counts in no quorum yet. */
  | { readonly type: 'tell-clock'; readonly query: string; readonly clock: VersionVector | undefined }
  // From clients
  | { readonly type: 'offer'; readonly write: OfferedWrite; readonly token: VersionVector }
  | {
      readonly type: 'read'
      readonly call: number
      readonly documents: readonly string[]
      readonly level: Level
      readonly token: VersionVector
      readonly waitMs: number
    }
  | {
      readonly type: 'claim'
      readonly call: number
      readonly key: string
      readonly owner: string
      /** Only tells who owns the key. */
      readonly isRead: boolean
      readonly token: VersionVector
      readonly waitMs: number
    }
  // To clients
  | {
      readonly type: 'written' | 'saved'
      readonly id: WriteId
      readonly clock: VersionVector
      readonly stamp: HybridTime
    }
  | {
      readonly type: 'answer'
      readonly call: number
      readonly response: Response
      readonly clock: VersionVector
      /** Of a claim: what whoever reads it has to see from now on. */
      readonly past: VersionVector
      readonly stamp: HybridTime
    }
  | { readonly type: 'refuse'; readonly call: number; readonly code: 'behind' | 'gap' | 'late' }
  // With the coordination service, posted
  | { readonly type: 'propose'; readonly entry: Omit<Entry, 'index'> }
  | { readonly type: 'ask-entries'; readonly from: number }
  | { readonly type: 'entries'; readonly entries: readonly Entry[] }

/** A replica's journal, and a client's. */
export type Stored =
  | { readonly type: 'op'; readonly op: Op }
  | { readonly type: 'bundle'; readonly bundle: Bundle }
  | { readonly type: 'entries'; readonly entries: readonly Entry[] }
  | { readonly type: 'truncated'; readonly origin: OriginId; readonly below: number }
  | { readonly type: 'origin'; readonly origin: OriginId }
  | { readonly type: 'client'; readonly state: unknown }

export function describeMessage(message: Message): string {
  switch (message.type) {
    case 'hello':
    case 'gossip':
      return `${message.type} ${formatClock(message.clock)}`
    case 'ops':
      return `ops ${message.ops.map(({ dot }) => formatShort(dot)).join(' ')}`
    case 'need':
      return `need ${formatShort({ origin: message.origin, seq: message.from })}`
    case 'bundle':
      return `bundle ${formatClock(message.bundle.clock)}`
    case 'offer':
      return `offer w${message.write.id}`
    case 'written':
    case 'saved':
      return `${message.type} w${message.id}`
    case 'read':
    case 'claim':
    case 'answer':
      return `${message.type} ${message.call}`
    case 'refuse':
      return `refuse ${message.call} ${message.code}`
    default:
      return message.type
  }
}

const formatShort = ({ origin, seq }: Dot): string => `${origin.slice(0, origin.indexOf('.') + 3)}:${seq}`
const formatClock = (clock: VersionVector): string =>
  [...clock].map(([origin, seq]) => formatShort({ origin, seq })).join(' ')
