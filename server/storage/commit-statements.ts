/** The writes of a commit: per op one row and one index entry, per document and per origin that it touched one row. */
import type Database from 'better-sqlite3'
import type { CommitDraft, NewOpRow } from './commit-draft.js'
import { type DocumentState, encodeClock } from './document-row.js'

type Values = (number | bigint | string | Uint8Array | null)[]

export class CommitStatements {
  private readonly insertOp: Database.Statement<Values>
  private readonly insertDocument: Database.Statement<Values>
  private readonly updateDocument: Database.Statement<Values>
  private readonly putOrigin: Database.Statement<Values>
  private readonly updateLog: Database.Statement<Values>

  constructor(database: Database.Database) {
    this.insertOp = database.prepare('INSERT INTO ops VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
    this.insertDocument = database.prepare('INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
    this.updateDocument = database.prepare(
      'UPDATE documents SET last = ?, count = ?, digest = ?, clock = ?, bytes = ?, updated = ? WHERE id = ?',
    )
    this.putOrigin = database.prepare(
      `INSERT INTO origins VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET seq = excluded.seq,
       position = excluded.position, chain = excluded.chain, predecessor = excluded.predecessor,
       predecessor_seq = excluded.predecessor_seq`,
    )
    this.updateLog = database.prepare('UPDATE log SET position = ?, hlc = ?, total = ?')
  }

  putOp(row: NewOpRow): void {
    const { position, origin, seq, hlc, chain, document, previous, more, checksum, total, record } = row
    const [exactSeq, exactHlc] = [exact(seq), exact(hlc)]
    this.insertOp.run(position, origin, exactSeq, exactHlc, chain, document, previous, more, checksum, total, record)
  }

  /** Writes what a commit changes besides its ops. Returns how many rows that was. */
  putRest({ origins, documents, head }: CommitDraft): number {
    for (const state of documents.values()) this.putDocument(state)
    for (const { id, name, own, seq, position, chain, predecessor } of origins.changed.values()) {
      const before = predecessor ? origins.intern(predecessor.origin) : null
      const beforeSeq = predecessor ? exact(predecessor.seq) : null
      this.putOrigin.run(id, name, own ? 1 : 0, exact(seq), position, chain, before, beforeSeq)
    }
    this.updateLog.run(head.position, exact(head.hlc), head.total)
    return documents.size + origins.changed.size + 1
  }

  putDocument(state: DocumentState): void {
    const { id, name, generation, first, last, count, digest, bytes, updated } = state
    const clock = encodeClock(state.clock)
    if (state.isNew) {
      this.insertDocument.run(id, name, exact(generation), first, last, count, digest, clock, bytes, exact(updated))
    } else this.updateDocument.run(last, count, digest, clock, bytes, exact(updated), id)
  }
}

const EXACT_BELOW = 2 ** 51

/** SQLite takes a number that is no 32-bit integer as REAL, and turns it back into INTEGER only below 2^51. */
function exact(value: number): number | bigint {
  return value < EXACT_BELOW ? value : BigInt(value)
}
