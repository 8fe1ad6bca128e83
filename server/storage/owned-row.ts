/**
 * Owned client ids as rows: what the `owned` ops of the log come to, kept beside it because the log is pruned. A row is
 * written in the transaction of its op.
 *
 * Several ops may speak of one id. The user of the one with the smallest (hlc, origin, seq) is its owner, and the
 * smallest `relayedFrom` stands, so rows come to the same whatever order the ops arrive in; all but evictions, which
 * take effect as they come.
 */
import type Database from 'better-sqlite3'
import type { OriginId } from '../../shared/clock/dot.js'
import type { OwnedId } from '../../shared/protocol/op.js'
import { checksumOfValues, DamageError, exact, type SqliteValue } from './sqlite-values.js'
import type { StoredOwner } from './stored-document.js'

/** One id of one document. `hlc`, `origin` and `seq` are those of the op that made its user the owner. */
export interface OwnedRow extends Omit<OwnedId, 'evicts'> {
  readonly hlc: number
  readonly origin: OriginId
  readonly seq: number
}

interface StoredRow extends Omit<OwnedRow, 'relayedFrom'> {
  readonly relayedFrom: number | null
  readonly checksum: number
}

const COLUMNS = 'document, generation, client, user, hlc, origin, seq, relayed_from AS relayedFrom, checksum'

/** Which of two records of one id names its owner. */
function isBefore(left: OwnedRow, right: OwnedRow): boolean {
  if (left.hlc !== right.hlc) return left.hlc < right.hlc
  if (left.origin !== right.origin) return left.origin < right.origin
  return left.seq < right.seq
}

/** What two records of one id come to. */
export function joinOwned(left: OwnedRow, right: OwnedRow): OwnedRow {
  const { relayedFrom: _, ...first } = isBefore(right, left) ? right : left
  const relayed = [left.relayedFrom, right.relayedFrom].filter((clock) => clock !== undefined)
  return relayed.length === 0 ? first : { ...first, relayedFrom: Math.min(...relayed) }
}

const valuesOf = ({ document, generation, client, user, hlc, origin, seq, relayedFrom }: OwnedRow): SqliteValue[] => [
  document,
  generation,
  client,
  user,
  hlc,
  origin,
  seq,
  relayedFrom ?? null,
]

/** The record of a row. Throws `DamageError`. */
function readRow({ checksum, relayedFrom, ...rest }: StoredRow): OwnedRow {
  const row = relayedFrom === null ? rest : { ...rest, relayedFrom }
  if (checksumOfValues(valuesOf(row)) !== checksum)
    throw new DamageError('checksum of an owned client id does not match')
  return row
}

/** As `readRow`; undefined for a damaged row, whose place the next record takes: a commit must not fail by it for ever. */
function readWhole(stored: StoredRow | undefined): OwnedRow | undefined {
  try {
    return stored && readRow(stored)
  } catch (thrown) {
    if (thrown instanceof DamageError) return undefined
    throw thrown
  }
}

/** Returns what records an `owned` op, in its transaction. */
export function ownedRowWriter(database: Database.Database): (record: OwnedId & OwnedRow) => void {
  const select = database.prepare<(number | bigint | string)[], StoredRow>(
    `SELECT ${COLUMNS} FROM owned WHERE document = ? AND generation = ? AND client = ?`,
  )
  const put = database.prepare<(number | bigint | string | null)[]>(
    'INSERT OR REPLACE INTO owned VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
  )
  const evict = database.prepare<(number | bigint | string)[]>(
    'DELETE FROM owned WHERE document = ? AND generation = ? AND client = ? AND user = ?',
  )
  return ({ evicts, ...record }) => {
    const { document, generation, client, user } = record
    const known = readWhole(select.get(document, exact(generation), exact(client)))
    const row = known === undefined ? record : joinOwned(known, record)
    const values = valuesOf(row)
    put.run(
      ...values.map((value) => (typeof value === 'number' ? exact(value) : (value as string | null))),
      checksumOfValues(values),
    )
    if (evicts !== undefined) evict.run(document, exact(generation), exact(evicts), user)
  }
}

/** Where a walk over all records stands. */
export type OwnedKey = Pick<OwnedRow, 'document' | 'generation' | 'client'>

/** Returns what reads the record after a key, in one fixed order. What it returns throws `DamageError`. */
export function nextOwnedReader(database: Database.Database): (after: OwnedKey) => OwnedRow | undefined {
  const select = database.prepare<(number | bigint | string)[], StoredRow>(
    `SELECT ${COLUMNS} FROM owned WHERE (document, generation, client) > (?, ?, ?)
     ORDER BY document, generation, client LIMIT 1`,
  )
  return ({ document, generation, client }) => {
    const stored = select.get(document, exact(generation), exact(client))
    return stored && readRow(stored)
  }
}

/** Returns what reads the owned ids of one life of a document, oldest first. What it returns throws `DamageError`. */
export function ownedRowsReader(
  database: Database.Database,
): (document: string, generation: number) => readonly StoredOwner[] {
  const select = database.prepare<(number | bigint | string)[], StoredRow>(
    `SELECT ${COLUMNS} FROM owned WHERE document = ? AND generation = ? ORDER BY hlc, origin, seq`,
  )
  return (document, generation) =>
    select.all(document, exact(generation)).map((stored) => {
      const { client, user, relayedFrom } = readRow(stored)
      return relayedFrom === undefined ? { client, user } : { client, user, relayedFrom }
    })
}
