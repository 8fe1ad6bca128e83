/**
 * Reading documents back, over any connection. Each read is one transaction, so it shows one moment; nothing is handed
 * out whose checksum does not match.
 */
import type Database from 'better-sqlite3'
import type { OriginId } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import { CausewayError } from '../../shared/errors/error.js'
import { type Op, partsOf } from '../../shared/protocol/op.js'
import { clockRecord, type DocumentRow, SELECT_NEWEST_LIFE, xorInto } from './document-row.js'
import { type LogRow, logRowReader } from './log-row.js'
import { CHAIN_BYTES, linksOf, OP_COLUMNS, type OpRow, readOp } from './op-row.js'
import { originNames } from './origin-table.js'
import { ownedRowsReader } from './owned-row.js'
import { readSnapshot, SNAPSHOT_COLUMNS, type SnapshotRow } from './snapshot-row.js'
import { DamageError } from './sqlite-values.js'
import { asStorageError } from './storage-error.js'
import type {
  DocumentPage,
  ListOptions,
  LoadOptions,
  Opening,
  Snapshot,
  StoredDocument,
  TailUpdate,
} from './stored-document.js'

/** The largest page of a listing. */
const LIST_LIMIT = 1_000

/** What one read may gather: a tail is kept short by snapshots, and this bounds one that was not. */
const LOAD_LIMIT_BYTES = 512 * 1024 * 1024

type LifeOfDocument = Pick<DocumentRow, 'id' | 'name' | 'generation' | 'last'>

/** An op that touches a document, met on the way from its newest to its oldest. */
interface Touch {
  readonly position: number
  readonly op: Op
  readonly chain: Uint8Array
  readonly updates: readonly Uint8Array[]
}

export class LogReader {
  private readonly database: Database.Database
  private readonly originOf: (number: number) => OriginId
  private readonly readLog: () => LogRow
  private readonly selectDocument: Database.Statement<[string], DocumentRow>
  private readonly selectQuarantine: Database.Statement<[number], string>
  private readonly selectPositions: Database.Statement<[number], { kind: 'head' | 'base'; position: number }>
  private readonly selectSnapshot: Database.Statement<[number, string], SnapshotRow>
  private readonly selectOp: Database.Statement<[number], OpRow>
  private readonly readOwned: ReturnType<typeof ownedRowsReader>
  private readonly selectPage: Database.Statement<[string, string, number], DocumentRow>

  constructor(database: Database.Database) {
    this.database = database
    this.originOf = originNames(database)
    this.readLog = logRowReader(database)
    this.selectDocument = database.prepare(SELECT_NEWEST_LIFE)
    this.selectQuarantine = database
      .prepare<[number], string>('SELECT reason FROM quarantine WHERE document = ?')
      .pluck()
    this.selectPositions = database.prepare('SELECT kind, position FROM snapshots WHERE document = ?')
    this.selectSnapshot = database.prepare(`SELECT ${SNAPSHOT_COLUMNS} FROM snapshots WHERE document = ? AND kind = ?`)
    this.selectOp = database.prepare(`SELECT ${OP_COLUMNS} FROM ops WHERE position = ?`)
    this.readOwned = ownedRowsReader(database)
    // Of the columns beside MAX, SQLite shows those of the row that holds it.
    this.selectPage = database.prepare(
      `SELECT name, MAX(generation) AS generation, bytes, clock, updated FROM documents
       WHERE name >= ? AND name > ? GROUP BY name ORDER BY name LIMIT ?`,
    )
  }

  /**
   * The newest life of a document as of now, or with `upTo` as of that position of the log. Throws
   * `document/unavailable` (with `details.damaged` where it must be quarantined), `history/compacted`,
   * `document/too-expensive`.
   */
  load(name: string, options: LoadOptions = {}): StoredDocument | undefined {
    return this.reading(name, () => {
      const row = this.selectDocument.get(name)
      if (!row) return undefined
      const quarantined = this.selectQuarantine.get(row.id)
      if (quarantined !== undefined)
        throw new CausewayError('document/unavailable', { document: name, reason: quarantined })
      return options.upTo === undefined ? this.loadNow(row, options.fromBase) : this.loadThen(row, options.upTo)
    })
  }

  /** One life of a document as of now, by its row. Throws as `load`, quarantined or not. */
  loadLife(row: DocumentRow): StoredDocument {
    return this.reading(row.name, () => this.loadNow(row))
  }

  /** As `load`, of now, with the owned client ids: they may be there before the document is. */
  open(name: string): Opening {
    return this.reading(name, () => {
      const stored = this.load(name)
      const owned = this.readOwned(name, stored?.generation ?? 0)
      return stored === undefined ? { owned } : { stored, owned }
    })
  }

  /** Documents whose name starts with `prefix`, after `cursor`, by the bytes of their names. Throws `request/invalid`. */
  list({ prefix, limit, cursor = '' }: ListOptions): DocumentPage {
    if (!(Number.isInteger(limit) && limit >= 1 && limit <= LIST_LIMIT))
      throw new CausewayError('request/invalid', { limit })
    const rows = this.selectPage.all(prefix, cursor, limit + 1)
    // Names with a common prefix stand together, so the first that lacks it ends the listing.
    const end = rows.findIndex(({ name }) => !name.startsWith(prefix))
    const matching = end < 0 ? rows : rows.slice(0, end)
    const documents = matching.slice(0, limit).map(({ name, generation, bytes, clock, updated }) => ({
      name,
      generation,
      bytes,
      clock: clockRecord(clock),
      updated: updated as HybridTime,
    }))
    return { documents, ...(matching.length > limit && { cursor: documents.at(-1)!.name }) }
  }

  /** What ops above `position` added to a document: how many, the XOR of their chain values, bytes. Throws as `load`. */
  addedSince(document: LifeOfDocument, position: number): { count: number; digest: Uint8Array; bytes: number } {
    return this.reading(document.name, () => {
      const added = { count: 0, digest: new Uint8Array(CHAIN_BYTES), bytes: 0 }
      for (const touch of this.touches(document, position)) {
        added.count++
        xorInto(added.digest, touch.chain)
        for (const update of touch.updates) added.bytes += update.length
      }
      return added
    })
  }

  /** The ops that touch a document, newest first, down to but without those at or below `above`. Throws `DamageError`. */
  private *touches(document: LifeOfDocument, above: number): Generator<Touch> {
    let position = document.last
    while (position > above) {
      const row = this.selectOp.get(position)
      if (!row) throw new DamageError('an op of the document is missing', position)
      const op = readOp(row, this.originOf)
      const link = linksOf(row).find((one) => one.document === document.id)
      const updates = partsOf(op)
        .filter((part) => part.document === document.name && part.generation === document.generation)
        .map(({ update }) => update)
      if (!link || updates.length === 0 || link.previous >= position) {
        throw new DamageError('an op that should touch the document does not', position)
      }
      yield { position, op, chain: row.chain, updates }
      position = link.previous
    }
  }

  private log(): LogRow {
    try {
      return this.readLog()
    } catch (thrown) {
      throw asStorageError(thrown) // No document's fault.
    }
  }

  private loadNow(row: DocumentRow, fromBase = false): StoredDocument {
    const { position, floor } = this.log()
    const head = fromBase ? this.oldestOf(row, floor) : this.selectSnapshot.get(row.id, 'head')
    const snapshot = head && readSnapshot(head)
    const tail: TailUpdate[] = []
    const digest = new Uint8Array(head?.digest ?? new Uint8Array(row.digest.length))
    let count = head?.count ?? 0
    let bytes = 0
    for (const touch of this.touches(row, snapshot?.position ?? 0)) {
      bytes = gather(tail, touch, bytes)
      xorInto(digest, touch.chain)
      count++
    }
    // Catches what no checksum of a row can: an older state of the row that says where the list begins.
    if (count !== row.count || !Buffer.from(digest).equals(row.digest)) {
      throw new DamageError('the ops found are not those that were counted', row.last)
    }
    return assemble(row, snapshot, tail, position)
  }

  /** Where the kept history of a document begins; undefined where that is its first op. */
  private oldestOf(row: DocumentRow, floor: number): SnapshotRow | undefined {
    if (row.first > floor) return undefined
    return this.selectSnapshot.get(row.id, 'base') ?? this.selectSnapshot.get(row.id, 'head')
  }

  private loadThen(row: DocumentRow, upTo: number): StoredDocument | undefined {
    const { position, floor } = this.log()
    if (row.first > upTo) return undefined
    let kind: 'head' | 'base' | undefined
    let start = row.first > floor ? 0 : -1
    for (const candidate of this.selectPositions.all(row.id)) {
      if (candidate.position > upTo || candidate.position <= start) continue
      kind = candidate.kind
      start = candidate.position
    }
    if (start < 0) throw new CausewayError('history/compacted', { document: row.name })
    const snapshot = kind && readSnapshot(this.selectSnapshot.get(row.id, kind)!)
    const tail: TailUpdate[] = []
    let bytes = 0
    for (const touch of this.touches(row, start)) if (touch.position <= upTo) bytes = gather(tail, touch, bytes)
    return assemble(row, snapshot, tail, Math.min(upTo, position))
  }

  /** One read transaction; what is found damaged or unreadable becomes an error of this document alone. */
  private reading<Value>(document: string, read: () => Value): Value {
    try {
      return this.database.transaction(read)()
    } catch (thrown) {
      if (thrown instanceof CausewayError) throw thrown
      const { position } = thrown as { position?: number }
      const found = { document, reason: (thrown as Error).message, ...(position !== undefined && { position }) }
      const isDamaged = thrown instanceof DamageError || asStorageError(thrown).code === 'storage/damaged'
      throw new CausewayError('document/unavailable', isDamaged ? { ...found, damaged: true } : found, {
        cause: thrown,
      })
    }
  }
}

/** Adds the updates of an op to a tail that is still newest first. */
function gather(tail: TailUpdate[], { position, op, updates }: Touch, bytes: number): number {
  let sum = bytes
  for (const update of updates.toReversed()) {
    tail.push({ position, dot: op.dot, hlc: op.hlc, update })
    sum += update.length
  }
  if (sum > LOAD_LIMIT_BYTES) throw new CausewayError('document/too-expensive', { bytes: sum })
  return sum
}

function assemble(
  row: DocumentRow,
  snapshot: Snapshot | undefined,
  tail: TailUpdate[],
  position: number,
): StoredDocument {
  return {
    name: row.name,
    generation: row.generation,
    ...(snapshot && { snapshot }),
    tail: tail.reverse(),
    position,
    clock: clockRecord(row.clock),
    digest: { count: row.count, xor: row.digest },
  }
}
