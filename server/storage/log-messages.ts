/** What the main thread and the two log threads say to each other. */
import type { Dot, OriginId } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError, type ErrorDetails } from '../../shared/errors/error.js'
import type { LogRange } from '../../shared/protocol/op-log.js'
import type { CellChange } from '../../shared/protocol/stored-cell.js'
import type { LeafRange } from './digest-reader.js'
import type { LogOptions, PruneOptions, Recovered } from './log.js'
import type {
  ListOptions,
  LoadOptions,
  Snapshot,
  SnapshotToSave,
  StoredDocument,
  StoredOwner,
} from './stored-document.js'

/** The first message to either: a thread may start before anybody knows what it will open. */
export interface OpenLog {
  readonly type: 'open'
  readonly options: LogOptions
}

/** Answered by a `PackedOpening`; its `owned` is that of `open`. */
export type ReadDocument =
  | { readonly type: 'load'; readonly id: number; readonly document: string; readonly options: LoadOptions }
  | { readonly type: 'open'; readonly id: number; readonly document: string }

/** In the order in which they are sent, after `OpenLog`. */
export type ToWriter =
  /** `epoch` rises with every failure: what was sent before the main thread knew of it fails, too. */
  | { readonly type: 'commit'; readonly epoch: number; readonly batch: Uint8Array }
  | { readonly type: 'quarantine'; readonly document: string; readonly reason: string }
  /** While the reader is not up. */
  | ReadDocument
  | { readonly type: 'save-snapshot'; readonly id: number; readonly snapshot: SnapshotToSave }
  | { readonly type: 'prune'; readonly id: number; readonly options: PruneOptions }
  | { readonly type: 'save-cell'; readonly id: number; readonly change: CellChange }
  /** Drops what was set aside, before another state or for good. */
  | { readonly type: 'discard-state'; readonly id: number }
  | { readonly type: 'store-chunk'; readonly id: number; readonly index: number; readonly bytes: Uint8Array }
  | { readonly type: 'join-state'; readonly id: number; readonly cut: VersionVector }
  | { readonly type: 'figures'; readonly id: number }
  | { readonly type: 'probe'; readonly id: number }
  | { readonly type: 'close'; readonly id: number }

export type ToReader =
  | ReadDocument
  | { readonly type: 'list'; readonly id: number; readonly options: ListOptions }
  | { readonly type: 'read-ops'; readonly id: number; readonly range: LogRange }
  | { readonly type: 'read-chains'; readonly id: number; readonly dots: readonly Dot[] }
  /** Answered by a `CutOpened`. */
  | { readonly type: 'open-cut'; readonly id: number }
  | { readonly type: 'read-chunk'; readonly id: number; readonly cut: number; readonly index: number }
  | { readonly type: 'close-cut'; readonly cut: number }
  | { readonly type: 'scrub'; readonly id: number }
  | { readonly type: 'digest-tree'; readonly id: number; readonly prefix: string }
  | { readonly type: 'digest-leaves'; readonly id: number; readonly range: LeafRange }
  | { readonly type: 'digests'; readonly id: number; readonly names: readonly string[] }
  | { readonly type: 'backup'; readonly id: number; readonly path: string }
  | { readonly type: 'close'; readonly id: number }

/** The number of a cut that is open in the reader, and where it stands. */
export interface CutOpened {
  readonly cut: number
  readonly vector: VersionVector
  readonly position: number
}

/** Messages that were sent together: each costs a wake-up of the other side. */
export interface Together<Message> {
  readonly type: 'together'
  readonly messages: readonly Message[]
}

/** Answers a message by its `id`. */
export type Answer =
  | { readonly type: 'answered'; readonly id: number; readonly value: unknown }
  | { readonly type: 'failed'; readonly id: number; readonly error: ErrorMessage }

export type FromWriter =
  | Answer
  | { readonly type: 'opened'; readonly recovered: Recovered }
  | { readonly type: 'refused'; readonly error: ErrorMessage }
  /** The oldest `counts.length` commits are durable; their ops follow each other from `position` on. */
  | {
      readonly type: 'committed'
      readonly position: number
      readonly counts: readonly number[]
      readonly bytes: readonly number[]
      readonly rows: number
      readonly durationMs: number
      readonly syncMs: number
    }
  | { readonly type: 'commit-failed'; readonly error: ErrorMessage }

export type FromReader =
  | Answer
  /** It answers at once from now on. */
  | { readonly type: 'up' }
  | { readonly type: 'damaged'; readonly document: string; readonly reason: string }

/** An error between threads, which carry only plain objects. */
export interface ErrorMessage {
  readonly code: ErrorCodeName
  readonly message: string
  readonly details: ErrorDetails
}

export function toErrorMessage({ code, message, details, cause }: CausewayError): ErrorMessage {
  const reason = cause instanceof Error ? { cause: `${cause.name}: ${cause.message}` } : {}
  return { code, message, details: { ...details, ...reason } }
}

export function fromErrorMessage({ code, message, details }: ErrorMessage): CausewayError {
  return new CausewayError(code, details, { message })
}

/** A loaded document as few large pieces: threads hand over buffers at no cost, but copy objects one by one. */
export interface PackedDocument extends Omit<StoredDocument, 'snapshot' | 'tail'> {
  readonly snapshot: Snapshot | undefined
  readonly origins: readonly OriginId[]
  /** Five numbers per update of the tail: position, index in `origins`, seq, hlc, size. */
  readonly numbers: Float64Array<ArrayBuffer>
  readonly updates: Uint8Array<ArrayBuffer>
}

/** As `Opening`, between threads. */
export interface PackedOpening {
  readonly stored: PackedDocument | undefined
  readonly owned: readonly StoredOwner[]
}

const NUMBERS = 5

export function packDocument({ snapshot, tail, ...rest }: StoredDocument): PackedDocument {
  const origins = new Map<OriginId, number>()
  const numbers = new Float64Array(NUMBERS * tail.length)
  const updates = new Uint8Array(tail.reduce((sum, { update }) => sum + update.length, 0))
  let end = 0
  for (const [index, { position, dot, hlc, update }] of tail.entries()) {
    const origin = origins.get(dot.origin) ?? origins.size
    origins.set(dot.origin, origin)
    numbers.set([position, origin, dot.seq, hlc, update.length], NUMBERS * index)
    updates.set(update, end)
    end += update.length
  }
  return {
    ...rest,
    snapshot: snapshot && { ...snapshot, update: owned(snapshot.update) },
    origins: [...origins.keys()],
    numbers,
    updates,
  }
}

/** Below this, copying a buffer costs less than handing it over. */
const HANDED_OVER_BYTES = 4 * 1024

/** The buffers that change hands with a packed document. */
export function buffersOf({ snapshot, numbers, updates }: PackedDocument): ArrayBuffer[] {
  const snapshotBuffer = snapshot ? [snapshot.update.buffer as ArrayBuffer] : []
  return [numbers.buffer, updates.buffer, ...snapshotBuffer].filter((buffer) => buffer.byteLength >= HANDED_OVER_BYTES)
}

export function unpackDocument({ snapshot, origins, numbers, updates, ...rest }: PackedDocument): StoredDocument {
  const tail = []
  let start = 0
  for (let at = 0; at < numbers.length; at += NUMBERS) {
    const dot: Dot = { origin: origins[numbers[at + 1]!]!, seq: numbers[at + 2]! }
    const hlc = numbers[at + 3] as HybridTime
    const end = start + numbers[at + 4]!
    tail.push({ position: numbers[at]!, dot, hlc, update: updates.subarray(start, end) })
    start = end
  }
  return { ...rest, ...(snapshot && { snapshot }), tail }
}

/** Bytes with a buffer of their own: what SQLite's binding returns, or a caller hands in, may be part of a larger one. */
export function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer, byteLength } = bytes
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) return new Uint8Array(buffer)
  return new Uint8Array(bytes)
}
