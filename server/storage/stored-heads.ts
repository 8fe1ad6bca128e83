/** What the origins of a log come to for those who exchange ops with others: heads, openings, and what was pruned. */
import type Database from 'better-sqlite3'
import { dotKey, type OriginId } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { StoredHeads } from '../../shared/protocol/stored-cell.js'
import { firstSeqOf, type Origin, vectorOf } from './origin-table.js'
import { readReoriginated } from './reoriginated-row.js'

/** `origins` by number. Throws `DamageError`. */
export function storedHeads(database: Database.Database, origins: readonly Origin[]): StoredHeads {
  const here = origins.filter(({ seq }) => seq > 0)
  const reoriginated = readReoriginated(database, (number) => origins[number - 1]!.name)
  return {
    vector: vectorOf(here),
    // Copied: a thread is sent the whole buffer that a view belongs to.
    heads: new Map(here.map(({ name, seq, chain }) => [name, { seq, chain: new Uint8Array(chain) }])),
    openings: here.map((origin) => {
      const { name, predecessor } = origin
      return { dot: { origin: name, seq: firstSeqOf(origin) }, ...(predecessor && { predecessor }) }
    }),
    floor: floorOf(database, here),
    reoriginated: new Map(reoriginated.map(({ was, dot }) => [dotKey(was), dot])),
  }
}

/** Everything that is held and no longer in the log, as a vector. */
export function floorOf(database: Database.Database, origins: readonly Origin[]): VersionVector {
  const pruned = prunedOf(database, origins)
  return vectorOf(origins.map((origin) => ({ ...origin, seq: pruned.get(origin.name) ?? 0 })))
}

/**
 * The last op of each origin that is held and no longer in the log. Nothing has to be stored for it: ops go in the order
 * of the log, so those of an origin that are left are its last ones.
 */
export function prunedOf(database: Database.Database, origins: Iterable<Origin>): ReadonlyMap<OriginId, number> {
  const oldest = database.prepare<[number], number | null>('SELECT MIN(seq) FROM ops WHERE origin = ?').pluck()
  const pruned = new Map<OriginId, number>()
  for (const origin of origins) {
    const last = (oldest.get(origin.id) ?? origin.seq + 1) - 1
    if (last >= firstSeqOf(origin)) pruned.set(origin.name, last)
  }
  return pruned
}
