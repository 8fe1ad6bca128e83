/**
 * What a joining client is sent: the durable document beyond its state vector, by bytes. The joined bytes of a document
 * are kept for a moment, since clients tend to come in crowds, and a join after further edits only adds those.
 */
import { diffUpdate } from '../../shared/update/diff.js'
import { joinIndexed } from '../../shared/update/join.js'
import { StateVector } from '../../shared/update/state-vector.js'
import { indexUpdate, type UpdateIndex } from '../../shared/update/update-index.js'
import type { OpenDocument } from '../replica/open-document.js'

/** A document as one update, as of a tail length. */
interface Joined {
  readonly snapshot: Uint8Array | undefined
  readonly tailLength: number
  readonly index: UpdateIndex
  readonly usedAtMs: number
}

/** An update that holds nothing. */
const NOTHING = indexUpdate(Uint8Array.of(0, 0))

/** How long joined bytes are kept for the next one. */
const KEEP_MS = 2_000

/** Bytes of structs that the main thread reads through for one diff. */
const READ_LIMIT_BYTES = 64 * 1024

/** State vectors of more bytes are read in a worker: what each entry costs, the sender decides. */
const STATE_VECTOR_LIMIT_BYTES = 64 * 1024

/** Updates after a join that are looked at one by one; beyond, a new join is cheaper. */
const PIECES_LIMIT = 256

export class Joins {
  private readonly joined = new Map<OpenDocument, Joined>()
  private readonly now: () => number
  private readonly diffInWorker: (whole: Uint8Array, stateVector: Uint8Array) => Promise<Uint8Array>

  constructor(options: {
    now: () => number
    diffInWorker: (whole: Uint8Array, stateVector: Uint8Array) => Promise<Uint8Array>
  }) {
    this.now = options.now
    this.diffInWorker = options.diffInWorker
  }

  /** At once where that is cheap, else from a worker. Throws `protocol/bad-message` for what is no state vector. */
  diff(document: OpenDocument, encodedStateVector: Uint8Array): Uint8Array | Promise<Uint8Array> {
    if (encodedStateVector.length > STATE_VECTOR_LIMIT_BYTES) {
      return this.diffInWorker(this.join(document).bytes, encodedStateVector)
    }
    const stateVector = StateVector.decode(encodedStateVector)
    const wantsAll = stateVector.size === 0
    if (wantsAll && document.tail.length === 0 && document.snapshot !== undefined) return document.snapshot
    if (wantsAll) return this.join(document).bytes
    return this.diffOfPieces(document, stateVector) ?? this.diffOfJoin(document, stateVector)
  }

  /**
   * What is wanted of each piece, joined: without a join of the pieces, which copies the document, for who asks for
   * little after each edit of others. Absent where much is wanted or nothing was joined before.
   */
  private diffOfPieces(document: OpenDocument, stateVector: StateVector): Uint8Array | undefined {
    const last = this.joined.get(document)
    if (last === undefined || last.snapshot !== document.snapshot) return undefined
    const added = document.tail.slice(last.tailLength)
    if (added.length === 0 || added.length > PIECES_LIMIT) return undefined
    const pieces = [last.index, ...added.map(({ update }) => indexUpdate(update))]
    let wantedBytes = 0
    for (const { blocks } of pieces) {
      for (const { client, clockEnd, from, to } of blocks) {
        if (stateVector.get(client) < clockEnd) wantedBytes += to - from
      }
    }
    if (wantedBytes > READ_LIMIT_BYTES) return undefined
    this.joined.set(document, { ...last, usedAtMs: this.now() })
    return joinIndexed(pieces.map((piece) => indexUpdate(diffUpdate(piece, stateVector)))).bytes
  }

  private diffOfJoin(document: OpenDocument, stateVector: StateVector): Uint8Array | Promise<Uint8Array> {
    const index = this.join(document)
    // Blocks that are wanted or known whole are copied or left out; only those cut inside are read struct by struct.
    const bytesToRead = index.blocks.reduce((sum, { client, clock, clockEnd, from, to }) => {
      const known = stateVector.get(client)
      return known > clock && known < clockEnd ? sum + to - from : sum
    }, 0)
    if (bytesToRead <= READ_LIMIT_BYTES) return diffUpdate(index, stateVector)
    return this.diffInWorker(index.bytes, stateVector.encode())
  }

  /** Lets go of what nobody used for a while. */
  tick(nowMs: number): void {
    for (const [document, { usedAtMs }] of this.joined) {
      if (nowMs - usedAtMs >= KEEP_MS) this.joined.delete(document)
    }
  }

  private join(document: OpenDocument): UpdateIndex {
    const { snapshot, tail } = document
    const last = this.joined.get(document)
    const known = last?.snapshot === snapshot ? last : undefined
    const added = tail.slice(known?.tailLength ?? 0).map(({ update }) => indexUpdate(update))
    const base = known?.index ?? (snapshot === undefined ? undefined : indexUpdate(snapshot))
    const updates = base === undefined ? added : [base, ...added]
    const index = updates.length === 0 ? NOTHING : joinIndexed(updates)
    this.joined.set(document, { snapshot, tailLength: tail.length, index, usedAtMs: this.now() })
    return index
  }
}
