/**
 * A commit while it is being made. It writes the ops as it meets them, and gathers on copies what changes once per
 * commit (origins, documents, the end of the log), so that a commit that fails leaves no trace in memory.
 */
import { type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import { type Op, type OwnedId, partsOf } from '../../shared/protocol/op.js'
import { encodeOpRecord } from '../../shared/protocol/op-codec.js'
import { advancedClock, DocumentState, keyOf, xorInto } from './document-row.js'
import type { LogRow } from './log-row.js'
import { checksumOf, type Link, linkColumns, type OpRow } from './op-row.js'
import { type Origin, OriginDrafts } from './origin-table.js'
import type { OwnedRow } from './owned-row.js'
import type { ReOriginated } from './reoriginated-row.js'

/** What is durable, as a commit reads it. */
export interface Committed {
  readonly log: LogRow
  readonly origins: ReadonlyMap<OriginId, Origin>
  readonly lastDocument: number
  /** The committed state of one life of a document. */
  document(name: string, generation: number): DocumentState | undefined
}

export interface NewOpRow extends OpRow {
  readonly total: number
}

const NO_LINKS: readonly Link[] = []

export class CommitDraft {
  private readonly committed: Committed
  readonly origins: OriginDrafts
  readonly documents = new Map<string, DocumentState>()
  /** In the order in which they were recorded. */
  readonly owned: (OwnedId & OwnedRow)[] = []
  readonly reoriginated: ReOriginated[] = []
  lastDocument: number
  private position: number
  private hlc: number
  private total: number

  /** `own`: this process's origin. */
  constructor(committed: Committed, own: OriginId) {
    this.committed = committed
    this.origins = new OriginDrafts(committed.origins, own)
    this.lastDocument = committed.lastDocument
    this.position = committed.log.position
    this.hlc = committed.log.hlc
    this.total = committed.log.total
  }

  /** The end of the log with what was added. */
  get log(): LogRow {
    const { position, hlc, total } = this
    return { ...this.committed.log, position, hlc, total }
  }

  /** Adds the next op of the log and returns its row, whose `chain` changes with the next op of that origin. */
  add(op: Op): NewOpRow {
    const position = ++this.position
    const { id: origin, chain } = this.origins.advance(op, position)
    const record = encodeOpRecord(op, this.origins.intern)
    const { document, previous, more } = linkColumns(this.touch(op, position, chain))
    const { hlc } = op
    if (op.kind === 'owned') this.owned.push({ ...op.owned, hlc, origin: op.dot.origin, seq: op.dot.seq })
    else if (op.kind === 're-originated') this.reoriginated.push({ was: op.was, dot: op.dot })
    if (hlc > this.hlc) this.hlc = hlc
    this.total += record.length
    const { total } = this
    const checksum = checksumOf(position, document, previous, more, chain, record)
    return { position, origin, seq: op.dot.seq, hlc, chain, document, previous, more, checksum, total, record }
  }

  /** Counts an op in every document that it touches, and links it to the op before it there. */
  private touch(op: Op, position: number, chain: Uint8Array): readonly Link[] {
    const parts = partsOf(op)
    if (parts.length === 0) return NO_LINKS
    const links: Link[] = []
    for (const { document, generation, update } of parts) {
      const state = this.draft(document, generation, position)
      state.bytes += update.length
      // A second part of this op for the same document.
      if (state.last === position) continue
      links.push({ document: state.id, previous: state.last })
      state.last = position
      state.count++
      xorInto(state.digest, chain)
      state.clock = advancedClock(state.clock, replicaNameOf(op.dot.origin), op.dot.seq)
      if (state.updated < op.hlc) state.updated = op.hlc
    }
    return links
  }

  private draft(name: string, generation: number, position: number): DocumentState {
    const key = keyOf(name, generation)
    let draft = this.documents.get(key)
    if (draft) return draft
    const committed = this.committed.document(name, generation)
    draft = committed?.copy() ?? DocumentState.born(++this.lastDocument, name, generation, position)
    this.documents.set(key, draft)
    return draft
  }
}
