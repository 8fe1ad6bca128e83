/** The writes of a commit: per op one row and one index entry, per document and per origin that it touched one row. */
import type Database from 'better-sqlite3'
import type { CommitDraft, NewOpRow } from './commit-draft.js'
import { type DocumentState, encodeClock } from './document-row.js'
import { logRowWriter } from './log-row.js'
import { originWriter } from './origin-table.js'
import { ownedRowWriter } from './owned-row.js'
import { reoriginatedWriter } from './reoriginated-row.js'
import { exact } from './sqlite-values.js'

type Values = (number | bigint | string | Uint8Array | null)[]

export class CommitStatements {
  private readonly insertOp: Database.Statement<Values>
  private readonly insertDocument: Database.Statement<Values>
  private readonly updateDocument: Database.Statement<Values>
  readonly putOrigin: ReturnType<typeof originWriter>
  readonly putOwned: ReturnType<typeof ownedRowWriter>
  readonly putReoriginated: ReturnType<typeof reoriginatedWriter>
  readonly putLog: ReturnType<typeof logRowWriter>

  constructor(database: Database.Database) {
    this.insertOp = database.prepare('INSERT INTO ops VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
    this.insertDocument = database.prepare('INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
    this.updateDocument = database.prepare(
      'UPDATE documents SET last = ?, count = ?, digest = ?, clock = ?, bytes = ?, updated = ? WHERE id = ?',
    )
    this.putOrigin = originWriter(database)
    this.putOwned = ownedRowWriter(database)
    this.putReoriginated = reoriginatedWriter(database)
    this.putLog = logRowWriter(database)
  }

  putOp(row: NewOpRow): void {
    const { position, origin, seq, hlc, chain, document, previous, more, checksum, total, record } = row
    const [exactSeq, exactHlc] = [exact(seq), exact(hlc)]
    this.insertOp.run(position, origin, exactSeq, exactHlc, chain, document, previous, more, checksum, total, record)
  }

  /** Writes what a commit changes besides its ops. Returns how many rows that was. */
  putRest({ origins, documents, owned, reoriginated, log }: CommitDraft): number {
    for (const state of documents.values()) this.putDocument(state)
    for (const record of reoriginated) this.putReoriginated(record, origins.intern)
    for (const origin of origins.changed.values()) this.putOrigin(origin, origins.intern)
    for (const record of owned) this.putOwned(record)
    this.putLog(log)
    return documents.size + origins.changed.size + owned.length + reoriginated.length + 1
  }

  putDocument(state: DocumentState): void {
    const { id, name, generation, first, last, count, digest, bytes, updated } = state
    const clock = encodeClock(state.clock)
    if (state.isNew) {
      this.insertDocument.run(id, name, exact(generation), first, last, count, digest, clock, bytes, exact(updated))
    } else this.updateDocument.run(last, count, digest, clock, bytes, exact(updated), id)
  }
}
