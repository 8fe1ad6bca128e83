/**
 * A whole state as it stands at one cut, for a peer that the log no longer reaches. It is one read transaction on a
 * connection of its own, so commits that happen meanwhile neither enter it nor wait for it; until it is closed, the
 * write-ahead log can only grow. Chunks are made as they are asked for: kept is only where each of them begins.
 */
import type Database from 'better-sqlite3'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import { type DocumentRow, SELECT_NEXT_LIFE } from './document-row.js'
import { foldTail } from './fold-tail.js'
import { LogReader } from './log-reader.js'
import { logRowReader } from './log-row.js'
import { type Origin, readOrigins, vectorOf } from './origin-table.js'
import { nextOwnedReader, type OwnedKey } from './owned-row.js'
import { type ReOriginated, readReoriginated } from './reoriginated-row.js'
import { openReadOnly } from './schema.js'
import { ChunkWriter, type StateContent } from './state-format.js'
import { asStorageError } from './storage-error.js'
import type { StoredDocument } from './stored-document.js'

/** A chunk ends with the first thing that takes it beyond this. */
const CHUNK_BYTES = 1024 * 1024
/** Documents in one chunk: each costs some 50 µs, however small, and others wait meanwhile. */
const CHUNK_DOCUMENTS = 500

/** How a document's snapshot and tail become one update. */
export type Fold = (document: StoredDocument) => StateContent

/** Where a chunk begins: `after` is the last one that stands before it. */
type Place =
  | { readonly type: 'origins'; readonly after: number }
  | { readonly type: 'owned'; readonly after: OwnedKey }
  | { readonly type: 'reoriginated'; readonly after: number }
  /** `offset`: bytes of the next one that stand before it. */
  | { readonly type: 'documents'; readonly after: number; readonly offset: number }

const BEFORE_OWNED: OwnedKey = { document: '', generation: 0, client: 0 }

export interface StateChunk {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly isLast: boolean
}

export class StateExport {
  readonly cut: VersionVector
  /** Of the log at the cut. */
  readonly position: number
  private readonly database: Database.Database
  private readonly fold: Fold
  private readonly reader: LogReader
  private readonly hlc: number
  /** Those that have an op here. */
  private readonly origins: readonly Origin[]
  private readonly reoriginated: readonly ReOriginated[]
  private readonly nextOwned: ReturnType<typeof nextOwnedReader>
  private readonly selectLife: Database.Statement<[number], DocumentRow>
  /** By index. */
  private readonly places: Place[] = [{ type: 'origins', after: 0 }]
  /** The document that goes on in the next chunk. */
  private current: { readonly id: number; readonly content: StateContent } | undefined

  /** Throws `document/unavailable` where a document is damaged, and what opening a database throws. */
  static open(path: string, fold: Fold = foldTail): StateExport {
    const database = openReadOnly(path)
    try {
      return new StateExport(database, fold)
    } catch (thrown) {
      database.close()
      throw asStorageError(thrown)
    }
  }

  private constructor(database: Database.Database, fold: Fold) {
    this.database = database
    this.fold = fold
    database.exec('BEGIN')
    const log = logRowReader(database)() // A transaction begins with its first read.
    const quarantined = database
      .prepare<[], string>('SELECT name FROM quarantine JOIN documents ON id = document LIMIT 1')
      .pluck()
      .get()
    if (quarantined !== undefined) throw new CausewayError('document/unavailable', { document: quarantined })
    const origins = readOrigins(database)
    this.hlc = log.hlc
    this.position = log.position
    this.origins = origins.filter(({ seq }) => seq > 0)
    this.cut = vectorOf(this.origins)
    this.reoriginated = readReoriginated(database, (number) => origins[number - 1]!.name)
    this.reader = new LogReader(database)
    this.nextOwned = nextOwnedReader(database)
    this.selectLife = database.prepare(SELECT_NEXT_LIFE)
  }

  /** Throws `request/invalid` for one that was not reached yet, `document/unavailable` for a document that it finds damaged, `storage/damaged`, `storage/failed`. */
  chunk(index: number): StateChunk {
    const place = this.places[index]
    if (!place) throw new CausewayError('request/invalid', { chunk: index, reached: this.places.length })
    try {
      const chunk = new ChunkWriter()
      if (index === 0) this.writeHead(chunk)
      const next = this.fill(chunk, place)
      if (next) this.places[index + 1] = next
      return { bytes: chunk.finish(), isLast: next === undefined }
    } catch (thrown) {
      throw asStorageError(thrown)
    }
  }

  close(): void {
    this.database.close()
  }

  private writeHead(chunk: ChunkWriter): void {
    const count = (table: string): number =>
      this.database.prepare<[], number>(`SELECT COUNT(*) FROM ${table}`).pluck().get()!
    chunk.head({
      hlc: this.hlc,
      origins: this.origins.length,
      owned: count('owned'),
      reoriginated: this.reoriginated.length,
      documents: count('documents'),
    })
  }

  /** Writes on from a place. Returns where the next chunk begins; undefined at the end. */
  private fill(chunk: ChunkWriter, begin: Place): Place | undefined {
    let place: Place | undefined = begin
    let documents = 0
    while (place) {
      if (chunk.size >= CHUNK_BYTES || documents >= CHUNK_DOCUMENTS) return place
      if (place.type === 'documents') documents++
      place = this.write(chunk, place)
    }
    return undefined
  }

  /** Writes the next thing. */
  private write(chunk: ChunkWriter, place: Place): Place | undefined {
    switch (place.type) {
      case 'origins': {
        const origin = this.origins[place.after]
        if (!origin) return { type: 'owned', after: BEFORE_OWNED }
        chunk.origin(origin)
        return { type: 'origins', after: place.after + 1 }
      }
      case 'owned': {
        const row = this.nextOwned(place.after)
        if (!row) return { type: 'reoriginated', after: 0 }
        chunk.owned(row)
        return { type: 'owned', after: row }
      }
      case 'reoriginated': {
        const record = this.reoriginated[place.after]
        if (!record) return { type: 'documents', after: 0, offset: 0 }
        chunk.reoriginated(record)
        return { type: 'reoriginated', after: place.after + 1 }
      }
      default:
        return this.writeDocument(chunk, place.after, place.offset)
    }
  }

  private writeDocument(chunk: ChunkWriter, after: number, offset: number): Place | undefined {
    const row = this.selectLife.get(after)
    if (!row) return undefined
    const content = this.contentOf(row, chunk, offset)
    const size = content.known.length + content.update.length
    let end = offset
    while (end < size && chunk.size < CHUNK_BYTES) end = chunk.piece(content, end, CHUNK_BYTES - chunk.size)
    this.current = end < size ? { id: row.id, content } : undefined
    return end < size ? { type: 'documents', after, offset: end } : { type: 'documents', after: row.id, offset: 0 }
  }

  private contentOf(row: DocumentRow, chunk: ChunkWriter, offset: number): StateContent {
    if (offset > 0 && this.current?.id === row.id) return this.current.content
    const stored = this.reader.loadLife(row)
    const content = this.folded(stored)
    if (offset === 0) {
      const fingerprint = stored.tail.length === 0 ? stored.snapshot?.fingerprint : undefined
      chunk.life({ ...row, fingerprint: fingerprint ?? new Uint8Array() }, content)
    }
    return content
  }

  private folded(stored: StoredDocument): StateContent {
    try {
      return this.fold(stored)
    } catch (thrown) {
      const reason = (thrown as Error).message
      throw new CausewayError('document/unavailable', { document: stored.name, reason }, { cause: thrown })
    }
  }
}
