/**
 * What a member keeps of its cell, as rows: one a field, and one a member for what members were heard to have on disk,
 * since each of those changes often and by itself.
 */
import type Database from 'better-sqlite3'
import { formatVector, parseVector, VECTOR_ENTRIES_LIMIT } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { Claim, Claims } from '../../shared/protocol/peer.js'
import type { CellChange, StoredCell } from '../../shared/protocol/stored-cell.js'
import { checksumOfValues, DamageError, exact } from './sqlite-values.js'

type Members = NonNullable<StoredCell['members']>

interface CellRow {
  readonly key: string
  readonly value: string
  readonly checksum: number
}

interface ClaimRow {
  readonly member: string
  readonly life: number
  readonly vector: string
  readonly checksum: number
}

/** What is stored; of a disk that was never told of a cell, life and configuration epoch are 0. Throws `DamageError`. */
export function readCell(database: Database.Database): StoredCell {
  const fields = new Map<string, unknown>()
  for (const { key, value, checksum } of database.prepare<[], CellRow>('SELECT * FROM cell').iterate()) {
    if (checksumOfValues([key, value]) !== checksum)
      throw new DamageError(`checksum of the cell's ${key} does not match`)
    fields.set(key, JSON.parse(value))
  }
  const members = fields.get('members') as { present: [string, string][]; removed: string[] } | undefined
  return {
    life: 0,
    configEpoch: 0,
    isRecovering: false,
    hasLost: false,
    ...(Object.fromEntries(fields) as Partial<StoredCell>),
    claims: readClaims(database),
    ...(members && { members: { present: new Map(members.present), removed: new Set(members.removed) } }),
  }
}

function readClaims(database: Database.Database): Claims {
  const claims = new Map<string, Claim>()
  for (const { member, life, vector, checksum } of database.prepare<[], ClaimRow>('SELECT * FROM claims').iterate()) {
    if (checksumOfValues([member, life, vector]) !== checksum) {
      throw new DamageError(`checksum of what ${member} had does not match`)
    }
    claims.set(member, { life, vector: parseVector(vector) })
  }
  return claims
}

/** Returns what stores a change, in the caller's transaction. */
export function cellWriter(database: Database.Database): (change: CellChange) => void {
  const put = database.prepare<[string, string, number]>('INSERT OR REPLACE INTO cell VALUES (?, ?, ?)')
  const remove = database.prepare<[string]>('DELETE FROM cell WHERE key = ?')
  const putClaim = database.prepare<[string, number | bigint, string, number]>(
    'INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)',
  )
  const forgetClaims = database.prepare('DELETE FROM claims')
  return ({ claims, members, forgetsClaims, ...fields }) => {
    if (forgetsClaims) forgetClaims.run()
    for (const [key, value] of Object.entries({ ...fields, ...(members && { members: plain(members) }) })) {
      const text = JSON.stringify(value)
      if (text === undefined) remove.run(key)
      else put.run(key, text, checksumOfValues([key, text]))
    }
    for (const [member, { life, vector }] of claims ?? []) {
      const text = formatVector(vector)
      putClaim.run(member, exact(life), text, checksumOfValues([member, life, text]))
    }
  }
}

/** Before anything is written. Throws `cell/too-many-lineages` for a claim that `readCell` would not read. */
export function checkCell({ claims }: CellChange): void {
  for (const [member, { vector }] of claims ?? []) {
    if (vector.size <= VECTOR_ENTRIES_LIMIT) continue
    throw new CausewayError('cell/too-many-lineages', { member, lineages: vector.size, limit: VECTOR_ENTRIES_LIMIT })
  }
}

function plain({ present, removed }: Members): unknown {
  return { present: [...present], removed: [...removed] }
}
