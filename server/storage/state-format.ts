/**
 * A whole state in chunks, as one replica's storage writes it for another's. The counts at the beginning say what
 * follows, each in its order; a document's bytes may go on through several chunks, everything else lies in one.
 *
 *   state     = hlc, counts, origin*, owned*, re-originated*, document*
 *   document  = life, size of known, size of the update, (known ‖ update) in pieces
 *   chunk     = version, what of the state fits, CRC
 */
import { crc32 } from 'node:zlib'
import * as decoding from 'lib0/decoding'
import { type Dot, isOrigin, type OriginId } from '../../shared/clock/dot.js'
import { CausewayError } from '../../shared/errors/error.js'
import { isDocumentName } from '../../shared/protocol/document-name.js'
import { OpWriter } from '../../shared/protocol/op-writer.js'
import { CHAIN_BYTES } from './op-row.js'
import type { OwnedRow } from './owned-row.js'
import type { ReOriginated } from './reoriginated-row.js'
import { SNAPSHOT_LIMIT_BYTES } from './snapshot-row.js'

/** 1: the first form. */
const FORMAT_VERSION = 1
const CHECKSUM_BYTES = 4

/** How many of each follow. */
export interface StateHead {
  /** Greatest of all ops. */
  readonly hlc: number
  readonly origins: number
  readonly owned: number
  readonly reoriginated: number
  readonly documents: number
}

/** Where an origin's ops end. */
export interface StateOrigin {
  readonly name: OriginId
  readonly seq: number
  readonly chain: Uint8Array
  readonly predecessor?: Dot
}

/** One life of a document, without its bytes. */
export interface StateLife {
  readonly name: string
  readonly generation: number
  readonly count: number
  readonly digest: Uint8Array
  /** As `encodeClock` writes it. */
  readonly clock: Uint8Array
  readonly updated: number
  /** Empty where it is not known. */
  readonly fingerprint: Uint8Array
}

export interface StateContent {
  readonly known: Uint8Array
  readonly update: Uint8Array
}

export class ChunkWriter {
  private readonly out = new OpWriter()

  constructor() {
    this.out.byte(FORMAT_VERSION)
  }

  /** Bytes so far. */
  get size(): number {
    return this.out.view().length
  }

  head({ hlc, origins, owned, reoriginated, documents }: StateHead): void {
    for (const value of [hlc, origins, owned, reoriginated, documents]) this.out.varUint(value)
  }

  origin({ name, seq, chain, predecessor }: StateOrigin): void {
    this.dot({ origin: name, seq })
    this.out.raw(chain)
    this.out.byte(predecessor ? 1 : 0)
    if (predecessor) this.dot(predecessor)
  }

  owned({ document, generation, client, user, hlc, origin, seq, relayedFrom }: OwnedRow): void {
    this.out.text(document)
    this.out.varUint(generation)
    this.out.varUint(client)
    this.out.text(user)
    this.out.varUint(hlc)
    this.dot({ origin, seq })
    this.out.byte(relayedFrom === undefined ? 0 : 1)
    if (relayedFrom !== undefined) this.out.varUint(relayedFrom)
  }

  reoriginated({ was, dot }: ReOriginated): void {
    this.dot(was)
    this.dot(dot)
  }

  life({ name, generation, count, digest, clock, updated, fingerprint }: StateLife, content: StateContent): void {
    this.out.text(name)
    this.out.varUint(generation)
    this.out.varUint(count)
    this.out.raw(digest)
    this.out.varBytes(clock)
    this.out.varUint(updated)
    this.out.varBytes(fingerprint)
    this.out.varUint(content.known.length)
    this.out.varUint(content.update.length)
  }

  /** Bytes of a document's content from `offset` on, at most `room`. Returns the offset behind them. */
  piece({ known, update }: StateContent, offset: number, room: number): number {
    const whole = offset < known.length ? known : update
    const start = offset < known.length ? offset : offset - known.length
    const piece = whole.subarray(start, start + room)
    this.out.varBytes(piece)
    return offset + piece.length
  }

  finish(): Uint8Array<ArrayBuffer> {
    const body = this.out.view()
    const bytes = new Uint8Array(body.length + CHECKSUM_BYTES)
    bytes.set(body)
    new DataView(bytes.buffer).setUint32(body.length, crc32(body))
    return bytes
  }

  private dot({ origin, seq }: Dot): void {
    this.out.text(origin)
    this.out.varUint(seq)
  }
}

/** Reads a state back, from its chunks in order. Every method throws `request/invalid` where they hold something else. */
export class StateDecoder {
  private readonly chunks: Iterator<Uint8Array>
  private decoder: decoding.Decoder = decoding.createDecoder(new Uint8Array())

  constructor(chunks: Iterable<Uint8Array>) {
    this.chunks = chunks[Symbol.iterator]()
  }

  head(): StateHead {
    return this.item((from) => {
      const [hlc, origins, owned, reoriginated, documents] = Array.from({ length: 5 }, () => integer(from))
      return { hlc: hlc!, origins: origins!, owned: owned!, reoriginated: reoriginated!, documents: documents! }
    })
  }

  origin(): StateOrigin {
    return this.item((from) => {
      const { origin: name, seq } = dot(from)
      const chain = decoding.readUint8Array(from, CHAIN_BYTES)
      return { name, seq, chain, ...(flag(from) && { predecessor: dot(from) }) }
    })
  }

  owned(): OwnedRow {
    return this.item((from) => {
      const document = decoding.readVarString(from)
      const generation = integer(from)
      const client = integer(from)
      const user = decoding.readVarString(from)
      const hlc = integer(from)
      const row = { document, generation, client, user, hlc, ...dot(from) }
      return flag(from) ? { ...row, relayedFrom: integer(from) } : row
    })
  }

  reoriginated(): ReOriginated {
    return this.item((from) => ({ was: dot(from), dot: dot(from) }))
  }

  document(): StateLife & StateContent {
    const { sizes, ...life } = this.item((from) => ({
      name: decoding.readVarString(from),
      generation: integer(from),
      count: integer(from),
      digest: decoding.readUint8Array(from, CHAIN_BYTES),
      clock: decoding.readVarUint8Array(from),
      updated: integer(from),
      fingerprint: decoding.readVarUint8Array(from),
      sizes: [integer(from), integer(from)] as const,
    }))
    if (!isDocumentName(life.name)) refuse('no document name')
    return { ...life, known: this.content(sizes[0]), update: this.content(sizes[1]) }
  }

  /** That nothing is left. */
  end(): void {
    if (decoding.hasContent(this.decoder) || !this.chunks.next().done) refuse('bytes behind the end')
  }

  private content(size: number): Uint8Array {
    if (size > SNAPSHOT_LIMIT_BYTES) refuse('a document is too large')
    const bytes = new Uint8Array(size)
    for (let at = 0; at < size; ) {
      const piece = this.item((from) => decoding.readVarUint8Array(from))
      if (piece.length < 1 || piece.length > size - at) refuse('a piece does not fit')
      bytes.set(piece, at)
      at += piece.length
    }
    return bytes
  }

  private item<Value>(read: (from: decoding.Decoder) => Value): Value {
    while (!decoding.hasContent(this.decoder)) this.decoder = this.nextChunk()
    try {
      return read(this.decoder)
    } catch (thrown) {
      if (thrown instanceof CausewayError) throw thrown
      return refuse('ends too early', thrown) // What lib0 throws, also where bytes are no UTF-8.
    }
  }

  private nextChunk(): decoding.Decoder {
    const { done, value: chunk } = this.chunks.next()
    if (done) return refuse('a chunk is missing')
    const size = chunk.length - CHECKSUM_BYTES
    if (size < 1) return refuse('a chunk is cut off')
    const body = chunk.subarray(0, size)
    const checksum = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength).getUint32(size)
    if (crc32(body) !== checksum) return refuse('checksum of a chunk does not match')
    if (body[0] !== FORMAT_VERSION) return refuse('a chunk of another format')
    return decoding.createDecoder(body.subarray(1))
  }
}

function integer(from: decoding.Decoder): number {
  const value = decoding.readVarUint(from)
  if (!Number.isSafeInteger(value)) refuse('integer out of range')
  return value
}

function dot(from: decoding.Decoder): Dot {
  const origin = decoding.readVarString(from)
  const seq = integer(from)
  if (!isOrigin(origin) || seq < 1) return refuse('no dot')
  return { origin, seq }
}

function flag(from: decoding.Decoder): boolean {
  const value = decoding.readUint8(from)
  if (value !== 0 && value !== 1) refuse('no flag')
  return value === 1
}

/** Throws what says that a state cannot be taken. */
export function refuse(reason: string, cause?: unknown): never {
  throw new CausewayError('request/invalid', { parameter: 'state', reason }, { cause })
}
