/** A document's state at a position, as a row with a checksum over everything it holds. */
import { createHash } from 'node:crypto'
import type Database from 'better-sqlite3'
import { DamageError } from './sqlite-values.js'
import type { Snapshot } from './stored-document.js'

export interface SnapshotRow {
  readonly document: number
  readonly kind: 'head' | 'base'
  readonly position: number
  /** How many ops had touched the document, and the XOR of their chain values; 0 and zeros for a base. */
  readonly count: number
  readonly digest: Uint8Array
  readonly checksum: Uint8Array
  readonly known: Uint8Array
  readonly fingerprint: Uint8Array
  readonly content: Uint8Array
}

/** Half of what SQLite takes as one value. */
export const SNAPSHOT_LIMIT_BYTES = 500_000_000

export const SNAPSHOT_COLUMNS = 'document, kind, position, count, digest, checksum, known, fingerprint, content'

/** SHA-256 over all columns but the kind (a head becomes a base as it is), cut to 16 bytes. */
export function snapshotChecksum(row: Omit<SnapshotRow, 'kind' | 'checksum'>): Uint8Array {
  const blobs = [row.digest, row.known, row.fingerprint, row.content]
  const sizes = [row.document, row.position, row.count, ...blobs.map((blob) => blob.length)]
  const hash = createHash('sha256').update(Float64Array.from(sizes))
  for (const blob of blobs) hash.update(blob)
  return hash.digest().subarray(0, 16)
}

/** The snapshot of a row whose checksum matches. Throws `DamageError`. */
export function readSnapshot(row: SnapshotRow): Snapshot {
  if (!Buffer.from(snapshotChecksum(row)).equals(row.checksum)) {
    throw new DamageError('checksum of a snapshot does not match', row.position)
  }
  return {
    position: row.position,
    update: row.content,
    known: row.known,
    fingerprint: row.fingerprint,
  }
}

/** `count` and `digest` are the document's at the snapshot's position; 0 and zeros for a base. */
export function snapshotRowOf(
  snapshot: Snapshot,
  document: number,
  kind: 'head' | 'base',
  count: number,
  digest: Uint8Array,
): SnapshotRow {
  const { position, known, fingerprint, update: content } = snapshot
  const row = { document, kind, position, count, digest, known, fingerprint, content }
  return { ...row, checksum: snapshotChecksum(row) }
}

/** Returns what inserts a row. */
export function snapshotWriter(database: Database.Database): (row: SnapshotRow) => void {
  const insert = database.prepare<(number | string | Uint8Array)[]>(
    'INSERT INTO snapshots VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  )
  return ({ document, kind, position, count, digest, checksum, known, fingerprint, content }) => {
    insert.run(document, kind, position, count, digest, checksum, known, fingerprint, content)
  }
}
