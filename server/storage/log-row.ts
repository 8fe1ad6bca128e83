/** The one row that says where the log begins and ends. */
import type Database from 'better-sqlite3'
import { checksumOfValues, DamageError, exact } from './sqlite-values.js'

export interface LogRow {
  /** Of the newest op. */
  readonly position: number
  /** Greatest hlc of all ops. */
  readonly hlc: number
  /** Bytes of all records ever written. */
  readonly total: number
  /** Ops up to this position were pruned; `floorTotal` is their part of `total`. */
  readonly floor: number
  readonly floorTotal: number
}

const EMPTY_LOG: LogRow = { position: 0, hlc: 0, total: 0, floor: 0, floorTotal: 0 }

const valuesOf = ({ position, hlc, total, floor, floorTotal }: LogRow): number[] => [
  position,
  hlc,
  total,
  floor,
  floorTotal,
]

/** Reads the row; what it returns throws `DamageError`. */
export function logRowReader(database: Database.Database): () => LogRow {
  const select = database.prepare<[], LogRow & { checksum: number }>(
    'SELECT position, hlc, total, floor, floor_total AS floorTotal, checksum FROM log',
  )
  return () => {
    const row = select.get()
    if (!row) return EMPTY_LOG
    const { checksum, ...log } = row
    if (checksumOfValues(valuesOf(log)) !== checksum) throw new DamageError('checksum of the log row does not match')
    return log
  }
}

/** Returns what writes the row. */
export function logRowWriter(database: Database.Database): (log: LogRow) => void {
  const put = database.prepare<(number | bigint)[]>('INSERT OR REPLACE INTO log VALUES (1, ?, ?, ?, ?, ?, ?)')
  return (log) => {
    const values = valuesOf(log)
    put.run(...values.map(exact), checksumOfValues(values))
  }
}
