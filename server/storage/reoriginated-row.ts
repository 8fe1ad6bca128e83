/**
 * Ops that were accepted anew under another dot, by the dot that each had first: a session that waits for that one is
 * satisfied by it. Kept beside the log because the log is pruned, and bounded: who waits does so for hours, not years.
 */
import type Database from 'better-sqlite3'
import type { Dot, OriginId } from '../../shared/clock/dot.js'
import { checksumOfValues, DamageError, exact } from './sqlite-values.js'

/** The newest of so many are kept. */
export const REORIGINATED_LIMIT = 16_384

export interface ReOriginated {
  readonly was: Dot
  readonly dot: Dot
}

interface Row {
  readonly was: number
  readonly wasSeq: number
  readonly origin: number
  readonly seq: number
  readonly checksum: number
}

/** Oldest first. Throws `DamageError`. */
export function readReoriginated(database: Database.Database, originOf: (number: number) => OriginId): ReOriginated[] {
  return database
    .prepare<[], Row>('SELECT was, was_seq AS wasSeq, origin, seq, checksum FROM reoriginated ORDER BY id')
    .all()
    .map(({ was, wasSeq, origin, seq, checksum }) => {
      if (checksumOfValues([was, wasSeq, origin, seq]) !== checksum) {
        throw new DamageError('checksum of a re-originated op does not match')
      }
      return { was: { origin: originOf(was), seq: wasSeq }, dot: { origin: originOf(origin), seq } }
    })
}

/** Returns what records an op, in its transaction. Of two for one first dot the one that was here first stands. */
export function reoriginatedWriter(
  database: Database.Database,
): (record: ReOriginated, intern: (name: OriginId) => number) => void {
  const put = database.prepare<(number | bigint)[]>('INSERT OR IGNORE INTO reoriginated VALUES (NULL, ?, ?, ?, ?, ?)')
  const forget = database.prepare<[number]>(
    'DELETE FROM reoriginated WHERE id <= (SELECT MAX(id) FROM reoriginated) - ?',
  )
  return ({ was, dot }, intern) => {
    const values = [intern(was.origin), was.seq, intern(dot.origin), dot.seq]
    put.run(...values.map(exact), checksumOfValues(values))
    forget.run(REORIGINATED_LIMIT)
  }
}
