/** What the programs of the production cell say to one another, and what its disks hold. Values are never changed. */
import type { Dot } from '../../../shared/clock/dot.js'
import { formatVector, type VersionVector } from '../../../shared/clock/version-vector.js'
import type { PeerMessage } from '../../../shared/protocol/peer.js'
import type { Contents, Level, WriteId } from '../history.js'
import type { JournalRecord } from './log-model.js'

/** A write as its client offers it, again and again until a majority has it. */
export interface OfferedWrite {
  readonly id: WriteId
  readonly call: number
  /** Yjs updates. */
  readonly parts: readonly { readonly document: string; readonly update: Uint8Array }[]
}

/** What every answer tells of the session; `debt` is what the answer lacks, and had to admit. */
export interface Seen {
  readonly token: string
  readonly debt: VersionVector
  /** What the answer stands on. */
  readonly clock: VersionVector
}

export type RefusalCode = 'behind' | 'gap' | 'late' | 'reset' | 'unavailable' | 'not-serving'

export type Message =
  | { readonly type: 'peer'; readonly message: PeerMessage }
  // From clients
  /** First on each connection. `acceptsDebt`: nobody within reach had what the session has seen, for long. */
  | { readonly type: 'session'; readonly token: string | undefined; readonly acceptsDebt: boolean }
  | { readonly type: 'offer'; readonly write: OfferedWrite }
  | {
      readonly type: 'read'
      readonly call: number
      readonly documents: readonly string[]
      readonly level: Level
      readonly waitMs: number
      /** What the client holds of each, as Yjs encodes it. */
      readonly stateVectors: ReadonlyMap<string, Uint8Array>
    }
  // To clients
  | { readonly type: 'written' | 'saved'; readonly id: WriteId; readonly seen: Seen }
  | {
      readonly type: 'answer'
      readonly call: number
      readonly contents: Contents
      /** What the client lacks of any document. */
      readonly updates: ReadonlyMap<string, Uint8Array>
      readonly seen: Seen
    }
  /** Something that the session has seen is gone; nothing that was offered is taken before it begins anew. */
  | { readonly type: 'owing'; readonly seen: Seen }
  | { readonly type: 'refuse'; readonly call: number; readonly code: RefusalCode }

export type Stored = JournalRecord | { readonly type: 'client'; readonly state: unknown }

export function describeMessage(message: Message): string {
  switch (message.type) {
    case 'peer':
      return describePeer(message.message)
    case 'session':
      return message.acceptsDebt ? 'session, accepts debt' : 'session'
    case 'offer':
      return `offer w${message.write.id}`
    case 'written':
    case 'saved':
      return `${message.type} w${message.id}`
    case 'read':
      return `read ${message.call} ${message.level} ${message.documents.join()}`
    case 'answer':
      return `answer ${message.call} at ${short(message.seen.clock)}`
    case 'owing':
      return `owing ${short(message.seen.debt)}`
    case 'refuse':
      return `refuse ${message.call} ${message.code}`
  }
}

function describePeer(message: PeerMessage): string {
  switch (message.type) {
    case 'hello':
      return `hello ${message.standing} life ${message.life} ${short(message.durable)}`
    case 'durable':
      return `durable ${message.standing} life ${message.life} ${short(message.vector)}`
    case 'ops':
      return `ops ${message.pull || 'pushed'} ${message.ops.map(({ dot }) => shortDot(dot)).join(' ')}`
    case 'pull':
      return `pull ${message.pull} beyond ${short(message.beyond)}${message.upTo ? ` up to ${short(message.upTo)}` : ''}`
    case 'pulled':
      return `pulled ${message.pull} ${message.outcome}`
    case 'state-begin':
      return `state-begin ${short(message.cut)}`
    case 'refuse':
      return `refuse ${message.code} ${message.details}`
    case 'birth':
      return `birth ${message.identity.cell.slice(0, 4)} ${message.isBorn ? 'born' : 'stored'}`
    default:
      return message.type
  }
}

export const shortDot = ({ origin, seq }: Dot): string => `${origin.slice(0, origin.indexOf('.') + 3)}:${seq}`
export const short = (vector: VersionVector): string => formatVector(vector).replace(/(\.\w\w)\w+/g, '$1')
