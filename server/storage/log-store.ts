/**
 * The durable op log of a replica, synchronous: it runs in the log worker, and in tests wherever they like.
 *
 * A commit is one transaction with `synchronous=FULL`. What it changes in memory (heads, document rows, the next
 * position) is prepared on copies that take effect only after SQLite has reported the commit durable: a failed one
 * leaves memory where the disk is. A failure that says "certainly not stored" leaves the store in use; after any other
 * nobody knows what a restart will find, so the store refuses everything until then.
 */
import { randomBytes } from 'node:crypto'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type Database from 'better-sqlite3'
import { assert } from '../../shared/base/assert.js'
import { makeOrigin, type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import { decodeOpBatch } from '../../shared/protocol/op-codec.js'
import type { CellChange, StoredHeads } from '../../shared/protocol/stored-cell.js'
import { cellWriter, checkCell, readCell } from './cell-rows.js'
import { CommitDraft, type Committed } from './commit-draft.js'
import { CommitStatements } from './commit-statements.js'
import { type DataDirectory, lockDataDirectory } from './data-directory.js'
import { DocumentCache, type DocumentState, SELECT_NEWEST_LIFE, xorInto } from './document-row.js'
import type { LogOptions, PruneOptions, PruneReport, Recovered } from './log.js'
import { LogReader } from './log-reader.js'
import { type LogRow, logRowReader } from './log-row.js'
import { type Origin, readOrigins, unfold } from './origin-table.js'
import { Pruner } from './prune.js'
import { CHECKPOINT_PAGES, DATABASE_FILE, openDatabase } from './schema.js'
import { SNAPSHOT_LIMIT_BYTES, type SnapshotRow, snapshotRowOf, snapshotWriter } from './snapshot-row.js'
import { joinState } from './state-import.js'
import { StateStaging } from './state-staging.js'
import { asStorageError, isRecoverable, isRefusal } from './storage-error.js'
import type {
  DocumentPage,
  ListOptions,
  LoadOptions,
  Opening,
  SnapshotToSave,
  StoredDocument,
} from './stored-document.js'
import { floorOf, storedHeads } from './stored-heads.js'
import { checkHeads, checkStructure, nameDocuments, OpVerifier, START_OPS } from './verification.js'
import { Witness } from './witness.js'

export interface LogStoreOptions extends LogOptions {
  /** For tests: stands around each COMMIT and may throw what SQLite throws, before or after it. */
  readonly aroundCommit?: (commit: () => void) => void
}

/** What a commit did. */
export interface CommitResult {
  /** Position of the first op. */
  readonly position: number
  /** Ops per batch. */
  readonly counts: readonly number[]
  readonly rows: number
  readonly durationMs: number
  readonly syncMs: number
}

/** What stands after a state was joined. */
export type JoinedHeads = StoredHeads & { readonly position: number; readonly latestHlc: HybridTime }

export interface StoreFigures {
  readonly position: number
  readonly walBytes: number
  readonly databaseBytes: number
  readonly logBytes: number
  readonly quarantined: readonly string[]
}

const WITNESS_FILE = 'witness'

/** Asking how long the write-ahead log is costs as much as a small commit. */
const CHECK_PAGES = 128
const PAGE_BYTES = 4096

/** Room for some hundred small ops: less would let writes resume only to fail again. */
const PROBE_BYTES = 128 * 1024

export class LogStore {
  readonly recovered: Recovered
  private readonly directory: DataDirectory
  private readonly database: Database.Database
  private readonly path: string
  private readonly own: OriginId
  private readonly aroundCommit: (commit: () => void) => void
  private readonly witness: Witness
  private readonly statements: CommitStatements
  private readonly reader: LogReader
  private readonly pruner: Pruner
  private readonly staging: StateStaging
  private readonly putCell: ReturnType<typeof cellWriter>
  private documents: DocumentCache
  private readonly insertSnapshot: ReturnType<typeof snapshotWriter>
  private readonly begin: Database.Statement
  private readonly commitWork: Database.Statement
  private readonly walFrames: Database.Statement<[], { log: number; checkpointed: number }>
  private origins: Map<OriginId, Origin>
  private log: LogRow
  private lastDocument: number
  private failure: CausewayError | undefined
  /** Pages written at most since the write-ahead log's length was looked at. */
  private uncheckedPages = 0

  /**
   * Locks the directory, opens and verifies the database. Throws `storage/in-use`, `storage/read-only`,
   * `storage/full`, `storage/damaged`, `storage/too-new`, `storage/failed`, `config/invalid`.
   */
  static open(options: LogStoreOptions): LogStore {
    const directory = lockDataDirectory(options.directory)
    let database: Database.Database | undefined
    try {
      database = openDatabase(join(directory.path, DATABASE_FILE))
      return new LogStore(options, directory, database)
    } catch (thrown) {
      database?.close()
      directory.release()
      throw asStorageError(thrown, { directory: directory.path })
    }
  }

  private constructor(options: LogStoreOptions, directory: DataDirectory, database: Database.Database) {
    this.directory = directory
    this.database = database
    this.path = join(directory.path, DATABASE_FILE)
    this.own = makeOrigin(options.replicaName, options.incarnation)
    this.aroundCommit = options.aroundCommit ?? ((commit) => commit())

    checkStructure(database, this.path)
    const origins = readOrigins(database)
    this.log = logRowReader(database)()
    checkHeads(database, this.path, origins, this.log)
    checkLineage(origins, this.own, directory.path)
    this.origins = new Map(origins.map((origin) => [origin.name, origin]))
    this.lastDocument = database.prepare('SELECT COALESCE(MAX(id), 0) FROM documents').pluck().get() as number

    this.statements = new CommitStatements(database)
    this.reader = new LogReader(database)
    this.pruner = new Pruner(database)
    this.documents = new DocumentCache(database)
    this.insertSnapshot = snapshotWriter(database)
    this.staging = new StateStaging(database)
    this.putCell = cellWriter(database)
    this.begin = database.prepare('BEGIN IMMEDIATE')
    this.commitWork = database.prepare('COMMIT')
    this.walFrames = database.prepare('PRAGMA wal_checkpoint(NOOP)')
    if (!this.staging.isEmpty) this.discardState()
    const verified = this.verifyNewest()
    this.witness = new Witness(join(directory.path, WITNESS_FILE), birthOf(database))
    this.recovered = this.recover(verified)
  }

  /**
   * Stores batches (`encodeOpBatch`) in one transaction, all or nothing. Throws `protocol/bad-message`; `storage/full`,
   * `storage/read-only`, `storage/busy` (nothing was stored, memory stands where the disk does, a later commit may
   * succeed); `storage/failed`, `storage/damaged` (for ever).
   */
  commit(batches: readonly Uint8Array[]): CommitResult {
    const start = performance.now()
    this.refuseAfterFailure()
    const decoded = batches.map(decodeOpBatch)
    const draft = new CommitDraft(this.committed, this.own)
    const { value: rows, syncMs } = this.transact(() => {
      for (const ops of decoded) for (const op of ops) this.statements.putOp(draft.add(op))
      return draft.log.position - this.log.position + this.statements.putRest(draft)
    })
    const position = this.log.position + 1
    this.adopt(draft)
    const counts = decoded.map((ops) => ops.length)
    this.uncheckedPages += pagesOf(rows, batches)
    return { position, counts, rows, durationMs: performance.now() - start, syncMs }
  }

  /** As `LogReader.load`; a document that is found damaged is quarantined. */
  load(document: string, options: LoadOptions = {}): StoredDocument | undefined {
    this.refuseAfterFailure({ read: true })
    return this.quarantining(document, () => this.reader.load(document, options))
  }

  /** As `load`, with the owned client ids. */
  open(document: string): Opening {
    this.refuseAfterFailure({ read: true })
    return this.quarantining(document, () => this.reader.open(document))
  }

  list(options: ListOptions): DocumentPage {
    this.refuseAfterFailure({ read: true })
    return this.reader.list(options)
  }

  /**
   * Keeps a snapshot, atomically. A base at or above the head is kept as the head, which it then is. One that covers
   * every op of a quarantined document heals it. Throws `document/not-found`, `request/invalid` (older than what is
   * kept, or not a position of this log), `document/too-large`, and as `commit`.
   */
  saveSnapshot(snapshot: SnapshotToSave): void {
    this.refuseAfterFailure()
    const { document: name, generation, position, update } = snapshot
    if (update.length > SNAPSHOT_LIMIT_BYTES) throw new CausewayError('document/too-large', { bytes: update.length })
    const state = this.documents.get(name, generation)
    if (!state) throw new CausewayError('document/not-found', { document: name, generation })
    const { floor } = this.log
    const present = this.pruner.coverOf(state.id)
    const kind = snapshot.kind === 'base' && position < present.head ? 'base' : 'head'
    const oldest = kind === 'head' ? Math.max(present.head, 1) : Math.max(present.base, floor, 1)
    if (!Number.isSafeInteger(position) || position < oldest || position > this.log.position) {
      throw new CausewayError('request/invalid', { document: name, kind, position, oldest, newest: this.log.position })
    }
    const draft = state.copy()
    const row =
      kind === 'head' ? this.headRow(snapshot, draft) : snapshotRowOf(snapshot, state.id, kind, 0, new Uint8Array(16))
    this.transact(() => {
      // Its ops below the floor are gone: without the present head nothing would be left to begin its history with.
      const isOnlyBase = present.base === 0 && state.first <= floor && present.head > 0 && present.head < position
      if (kind === 'head' && isOnlyBase) this.run("UPDATE snapshots SET kind = 'base' WHERE document = ?", state.id)
      this.run('DELETE FROM snapshots WHERE document = ? AND kind = ?', state.id, kind)
      this.insertSnapshot(row)
      this.statements.putDocument(draft)
      if (position >= state.last) this.run('DELETE FROM quarantine WHERE document = ?', state.id)
    })
    this.documents.adopt([draft])
    this.uncheckedPages += update.length / PAGE_BYTES
  }

  /** Takes a document out of service; its ops go on being stored. Best effort: whoever reads it finds the damage again. */
  quarantine(document: string, reason: string): void {
    if (this.failure) return
    this.unlessRecoverable(() =>
      this.transact(() => {
        const newest = this.database.prepare<[string], { id: number }>(SELECT_NEWEST_LIFE).get(document)
        if (newest) this.run('INSERT OR REPLACE INTO quarantine VALUES (?, ?)', newest.id, reason)
      }),
    )
  }

  /** Prunes one slice of the log (see prune.ts); `more` says whether to go on. Throws as `commit`. */
  prune(options: PruneOptions): PruneReport {
    this.refuseAfterFailure()
    const { value } = this.transact(() => {
      const pruned = this.pruner.prune(this.log, options, unfold(options.ceiling, this.origins))
      this.statements.putLog(pruned.log)
      return pruned
    })
    this.log = value.log
    const here = [...this.origins.values()].filter(({ seq }) => seq > 0)
    return { ...value.report, floorVector: floorOf(this.database, here) }
  }

  /** See `Log.saveCell`. Throws as `commit`. */
  saveCell(change: CellChange): void {
    this.refuseAfterFailure()
    checkCell(change)
    this.transact(() => this.putCell(change))
  }

  /** Forgets the chunks that were set aside. Throws as `commit`. */
  discardState(): void {
    this.refuseAfterFailure()
    this.transact(() => this.staging.clear())
  }

  /** Sets a chunk aside. Throws `request/invalid`, and as `commit`. */
  storeChunk(index: number, bytes: Uint8Array): void {
    this.refuseAfterFailure()
    this.transact(() => this.staging.store(index, bytes))
    this.uncheckedPages += bytes.length / PAGE_BYTES
  }

  /** See `Log.joinState`. Throws as that rejects, and as `commit`. */
  joinState(cut: VersionVector): JoinedHeads {
    this.refuseAfterFailure()
    const { value: joined } = this.transact(() => {
      const { database, statements, staging, log, origins } = this
      const joined = joinState(database, statements, { log, origins }, this.own, staging.chunks(), cut)
      staging.clear()
      return joined
    })
    this.origins = new Map(joined.origins)
    this.documents = new DocumentCache(this.database)
    this.adopt(joined.draft)
    this.uncheckedPages = Number.POSITIVE_INFINITY
    return { ...this.heads(), position: this.log.position, latestHlc: this.log.hlc as HybridTime }
  }

  /**
   * Copies the write-ahead log into the database once it has grown to `CHECKPOINT_PAGES`: to be called between commits,
   * when nobody waits. Throws `storage/failed`, `storage/damaged`.
   */
  checkpointWhenDue(): void {
    if (this.failure || this.uncheckedPages < CHECK_PAGES) return
    this.uncheckedPages = 0
    this.unlessRecoverable(() => {
      const { log, checkpointed } = this.walFrames.get()!
      if (log - checkpointed >= CHECKPOINT_PAGES) this.database.pragma('wal_checkpoint(PASSIVE)')
    })
  }

  /** One durable commit of `PROBE_BYTES` that leaves nothing behind but the room it needed. Throws as `commit`. */
  probe(): void {
    this.refuseAfterFailure()
    this.transact(() => this.run("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?))", PROBE_BYTES))
    this.transact(() => this.run("DELETE FROM meta WHERE key = 'probe'"))
  }

  figures(): StoreFigures {
    const { position, total, floorTotal } = this.log
    return {
      position,
      walBytes: statSync(`${this.path}-wal`, { throwIfNoEntry: false })?.size ?? 0,
      databaseBytes: statSync(this.path).size,
      logBytes: total - floorTotal,
      quarantined: this.quarantined(),
    }
  }

  /** Checkpoints, truncates the write-ahead log and gives the directory free. */
  close(): void {
    if (!this.database.open) return
    try {
      if (!this.failure) this.unlessRecoverable(() => this.database.pragma('wal_checkpoint(TRUNCATE)'))
    } finally {
      this.witness.close()
      this.database.close()
      this.directory.release()
    }
  }

  private get committed(): Committed {
    return {
      log: this.log,
      origins: this.origins,
      lastDocument: this.lastDocument,
      document: (name, generation) => this.documents.get(name, generation),
    }
  }

  private adopt({ log, origins, documents, lastDocument }: CommitDraft): void {
    this.log = log
    this.lastDocument = lastDocument
    this.documents.adopt(documents.values())
    for (const [name, origin] of origins.changed) this.origins.set(name, origin)
    this.witness.note(log.position)
  }

  /** One transaction. Whatever it throws was not stored, or the store has failed. */
  private transact<Value>(work: () => Value): { value: Value; syncMs: number } {
    return this.guard(() => {
      this.begin.run()
      const value = work()
      const start = performance.now()
      this.aroundCommit(() => this.commitWork.run())
      return { value, syncMs: performance.now() - start }
    })
  }

  private guard<Value>(work: () => Value): Value {
    try {
      return work()
    } catch (thrown) {
      const error = this.rollBack(asStorageError(thrown, { directory: this.directory.path }))
      if (!isRecoverable(error) && !isRefusal(error)) this.failure = error
      throw error
    }
  }

  /** For what may as well be done later. */
  private unlessRecoverable(work: () => unknown): void {
    try {
      this.guard(work)
    } catch (thrown) {
      if (!isRecoverable(asStorageError(thrown))) throw thrown
    }
  }

  private quarantining<Value>(document: string, read: () => Value): Value {
    try {
      return read()
    } catch (thrown) {
      const error = asStorageError(thrown)
      if (error.details['damaged']) this.quarantine(document, String(error.details['reason']))
      throw error
    }
  }

  private rollBack(error: CausewayError): CausewayError {
    try {
      if (this.database.inTransaction) this.database.exec('ROLLBACK')
      return error
    } catch (thrown) {
      return asStorageError(thrown, { directory: this.directory.path })
    }
  }

  private refuseAfterFailure({ read = false } = {}): void {
    // A damaged database may still show what is whole; one that failed would show what may not be there.
    if (this.failure && !(read && this.failure.code === 'storage/damaged')) throw this.failure
  }

  /** The row of a new head; `draft` gets its size. */
  private headRow(snapshot: SnapshotToSave, draft: DocumentState): SnapshotRow {
    const added = this.quarantining(draft.name, () => this.reader.addedSince(draft, snapshot.position))
    const digest = new Uint8Array(draft.digest)
    xorInto(digest, added.digest)
    draft.bytes = snapshot.update.length + added.bytes
    return snapshotRowOf(snapshot, draft.id, 'head', draft.count - added.count, digest)
  }

  private run(sql: string, ...values: (number | string | Uint8Array)[]): void {
    this.database.prepare<(number | string | Uint8Array)[]>(sql).run(...values)
  }

  private quarantined(): string[] {
    return this.database
      .prepare<[], string>('SELECT DISTINCT name FROM quarantine JOIN documents ON id = document ORDER BY name')
      .pluck()
      .all()
  }

  /** Only a document that cannot be loaded is quarantined: damage below its snapshot, or in what names it, does it no harm. */
  private verifyNewest(): Pick<Recovered, 'verifiedOps' | 'damaged'> {
    const from = Math.max(0, this.log.position - START_OPS)
    const { verified, damaged } = new OpVerifier(this.database).verify(from, START_OPS)
    const named = nameDocuments(this.database, damaged)
    for (const { document } of named) {
      try {
        if (document !== undefined) this.load(document)
      } catch (thrown) {
        if (asStorageError(thrown).code !== 'document/unavailable') throw thrown
      }
    }
    return { verifiedOps: verified, damaged: named }
  }

  private heads(): StoredHeads {
    return storedHeads(
      this.database,
      [...this.origins.values()].sort((left, right) => left.id - right.id),
    )
  }

  private recover(verified: Pick<Recovered, 'verifiedOps' | 'damaged'>): Recovered {
    const origins = [...this.origins.values()]
    const predecessor = origins.findLast(({ own, seq }) => own && seq > 0)
    const { position, hlc } = this.log
    const { remembered } = this.witness
    return {
      ...(predecessor && { predecessor: { origin: predecessor.name, seq: predecessor.seq } }),
      ...this.heads(),
      cell: readCell(this.database),
      latestHlc: hlc as HybridTime,
      position,
      documents: this.database.prepare('SELECT COUNT(DISTINCT name) FROM documents').pluck().get() as number,
      quarantined: this.quarantined(),
      ...verified,
      ...(remembered > position && { rolledBack: { from: remembered, to: position } }),
    }
  }
}

/** Pages that a commit changes at most: one for each row, and what the ops fill, twice for good measure. */
function pagesOf(rows: number, batches: readonly Uint8Array[]): number {
  return rows + (2 * batches.reduce((sum, { length }) => sum + length, 0)) / PAGE_BYTES
}

/** That the disk belongs to this replica, and that this incarnation is new on it. */
function checkLineage(origins: readonly Origin[], own: OriginId, directory: string): void {
  assert(!origins.some(({ name }) => name === own), 'an incarnation is drawn anew at every start')
  const other = origins.find((origin) => origin.own && replicaNameOf(origin.name) !== replicaNameOf(own))
  if (!other) return
  const [belongsTo, replica] = [replicaNameOf(other.name), replicaNameOf(own)]
  throw new CausewayError(
    'config/invalid',
    { directory, belongsTo, replica },
    { message: `The data directory ${directory} belongs to replica ${belongsTo}, not to ${replica}.` },
  )
}

/** 16 bytes that tell this database from any other, drawn when it was made. */
function birthOf(database: Database.Database): Uint8Array {
  const select = database.prepare<[], Buffer>("SELECT value FROM meta WHERE key = 'birth'").pluck()
  if (select.get() === undefined) {
    database.prepare("INSERT INTO meta VALUES ('birth', ?)").run(randomBytes(16))
    database.pragma('wal_checkpoint(TRUNCATE)')
  }
  return select.get()!
}
