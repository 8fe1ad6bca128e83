/**
 * Is what is stored still what was stored? SQLite's own check knows the shape of its pages, not their content: a
 * flipped bit inside a record or a lost end of the log are "ok" to it. So three things are checked beyond it: the
 * checksum of each op, the chain from op to op of an origin, and that the newest op of each origin is the one that the
 * origin's row names.
 *
 * A start checks the pages of a small database whole, of a large one only the small tables (some 1 µs per document), and the newest
 * `START_OPS` ops; the scrub goes round the rest in slices, snapshots included. Snapshots are checked when loaded, too.
 */
import { statSync } from 'node:fs'
import type Database from 'better-sqlite3'
import type { OriginId } from '../../shared/clock/dot.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { NamedDamage, ScrubReport } from './log.js'
import type { LogRow } from './log-row.js'
import { CHAIN_BYTES, CHAIN_START, computeChain, linksOf, OP_COLUMNS, type OpRow, readOp } from './op-row.js'
import { type Origin, originNames } from './origin-table.js'
import { readSnapshot, SNAPSHOT_COLUMNS, type SnapshotRow } from './snapshot-row.js'
import { DamageError } from './sqlite-values.js'

/** Damage, and the documents that it reaches where that can be told. */
export interface Damage {
  readonly documents: readonly number[]
  readonly position: number
  readonly reason: string
}

/** Checked whole at every start up to this size (some 10 ms per 16 MiB). */
const WHOLE_CHECK_BYTES = 64 * 1024 * 1024
/** Newest ops that a start checks, some 25 µs each while the code is new. No op is ever handed out unchecked. */
export const START_OPS = 512
const REPORTED_FINDINGS = 10

/** SQLite's structural check. Throws `storage/damaged`, naming what was found: writing into broken trees would spread it. */
export function checkStructure(database: Database.Database, path: string): void {
  const isSmall = statSync(path).size <= WHOLE_CHECK_BYTES
  checkPages(database, path, isSmall ? ['quick_check', ...SMALL_TABLES] : SMALL_TABLES)
}

/** With their indexes: a document whose name is damaged there would seem never to have been written. */
const SMALL_TABLES = ['integrity_check(origins)', 'integrity_check(documents)']

/** Runs checks of SQLite's. Throws `storage/damaged`. */
export function checkPages(database: Database.Database, path: string, checks: readonly string[]): void {
  for (const check of checks) {
    const findings = database.prepare(`PRAGMA ${check}`).pluck().all()
    if (findings.length === 1 && findings[0] === 'ok') continue
    throw new CausewayError('storage/damaged', { path, findings: findings.slice(0, REPORTED_FINDINGS) })
  }
}

/** That the log ends where its rows say. Throws `storage/damaged`. */
export function checkHeads(database: Database.Database, path: string, origins: readonly Origin[], log: LogRow): void {
  const findings: string[] = []
  const end = database.prepare('SELECT COALESCE(MAX(position), ?) FROM ops').pluck().get(log.floor) as number
  if (end !== log.position) findings.push(`the log ends at ${end}, not ${log.position}`)
  const select = database.prepare<[number], { position: number; seq: number; chain: Buffer }>(
    'SELECT position, seq, chain FROM ops WHERE origin = ? ORDER BY seq DESC LIMIT 1',
  )
  for (const { id, name, seq, position, chain } of origins) {
    const newest = select.get(id)
    const isThere = newest
      ? newest.position === position && newest.seq === seq && newest.chain.equals(chain)
      : position <= log.floor
    if (!isThere) findings.push(`the newest op of ${name} is not the one at ${position}`)
  }
  if (findings.length > 0)
    throw new CausewayError('storage/damaged', { path, findings: findings.slice(0, REPORTED_FINDINGS) })
}

/** Checks ops in delivery order: checksums, and each one's chain value against the op before it of the same origin. */
export class OpVerifier {
  private readonly originOf: (number: number) => OriginId
  private readonly selectRows: Database.Statement<[number, number], OpRow>
  private readonly selectPrevious: Database.Statement<[number, number], Buffer>
  /** By origin: what the next op of it is chained to. `undefined`: not known, because the op before is pruned or damaged. */
  private readonly previous = new Map<number, { readonly seq: number; readonly chain: Uint8Array | undefined }>()
  private readonly computed = Buffer.alloc(CHAIN_BYTES)

  constructor(database: Database.Database) {
    this.originOf = originNames(database)
    this.selectRows = database.prepare(`SELECT ${OP_COLUMNS} FROM ops WHERE position > ? ORDER BY position LIMIT ?`)
    this.selectPrevious = database
      .prepare<[number, number], Buffer>('SELECT chain FROM ops WHERE origin = ? AND seq = ?')
      .pluck()
  }

  /** Checks up to `limit` ops above `position`. `last` is the position of the last one, `undefined` where there was none. */
  verify(position: number, limit: number): { verified: number; last: number | undefined; damaged: Damage[] } {
    const damaged: Damage[] = []
    let verified = 0
    let last: number | undefined
    for (const row of this.selectRows.iterate(position, limit)) {
      try {
        if (last !== undefined && row.position !== last + 1) throw new DamageError(`ops after ${last} are missing`)
        this.verifyRow(row)
      } catch (thrown) {
        if (!(thrown instanceof DamageError)) throw thrown
        damaged.push({ position: row.position, reason: thrown.message, documents: documentsOf(row) })
        this.previous.set(row.origin, { seq: row.seq, chain: undefined })
      }
      last = row.position
      verified++
    }
    return { verified, last, damaged }
  }

  private verifyRow(row: OpRow): void {
    const op = readOp(row, this.originOf)
    const before = op.kind === 'open' ? CHAIN_START : this.chainBefore(row)
    if (before) {
      computeChain(before, op, this.computed)
      if (!this.computed.equals(row.chain)) throw new DamageError('the chain of an origin is broken')
    }
    this.previous.set(row.origin, { seq: row.seq, chain: row.chain })
  }

  private chainBefore({ origin, seq }: OpRow): Uint8Array | undefined {
    const previous = this.previous.get(origin)
    return previous?.seq === seq - 1 ? previous.chain : this.selectPrevious.get(origin, seq - 1)
  }
}

/** Goes round everything that is stored, a slice per call: first the ops, then the snapshots. */
export class Scrubber {
  private readonly database: Database.Database
  private readonly ops: OpVerifier
  private readonly selectSnapshot: Database.Statement<[number], SnapshotRow & { id: number }>
  private readonly selectName: Database.Statement<[number], string>
  private position = 0
  private snapshot = 0
  private isAtSnapshots = false

  constructor(database: Database.Database) {
    this.database = database
    this.ops = new OpVerifier(database)
    this.selectSnapshot = database.prepare(
      `SELECT id, ${SNAPSHOT_COLUMNS} FROM snapshots WHERE id > ? ORDER BY id LIMIT 1`,
    )
    this.selectName = database.prepare<[number], string>('SELECT name FROM documents WHERE id = ?').pluck()
  }

  /** Verifies up to `limit` ops, or snapshots of about `limitBytes`. */
  next(limit: number, limitBytes: number): ScrubReport {
    return this.isAtSnapshots ? this.nextSnapshots(limitBytes) : this.nextOps(limit)
  }

  private nextOps(limit: number): ScrubReport {
    const { verified, last, damaged } = this.ops.verify(this.position, limit)
    if (verified < limit) {
      this.position = 0
      this.isAtSnapshots = true
    } else this.position = last!
    return {
      verifiedOps: verified,
      verifiedSnapshots: 0,
      finishedRound: false,
      damaged: nameDocuments(this.database, damaged),
    }
  }

  private nextSnapshots(limitBytes: number): ScrubReport {
    const damaged: NamedDamage[] = []
    let verified = 0
    for (let bytes = 0; bytes < limitBytes; verified++) {
      const row = this.selectSnapshot.get(this.snapshot)
      if (!row) {
        this.snapshot = 0
        this.isAtSnapshots = false
        break
      }
      this.snapshot = row.id
      bytes += row.content.length + row.known.length
      const reason = damageOf(row)
      if (reason === undefined) continue
      const document = this.selectName.get(row.document)
      damaged.push({ position: row.position, reason, ...(document !== undefined && { document }) })
    }
    return { verifiedOps: 0, verifiedSnapshots: verified, finishedRound: !this.isAtSnapshots, damaged }
  }
}

/** Damage by the names of the documents that it may concern: read from what is damaged, so they are a hint. */
export function nameDocuments(database: Database.Database, damaged: readonly Damage[]): NamedDamage[] {
  const select = database.prepare<[number], string>('SELECT name FROM documents WHERE id = ?').pluck()
  return damaged.flatMap(({ documents, position, reason }) => {
    const names = documents.map((id) => select.get(id)).filter((name) => name !== undefined)
    return names.length === 0 ? [{ position, reason }] : names.map((document) => ({ document, position, reason }))
  })
}

function damageOf(row: SnapshotRow): string | undefined {
  try {
    readSnapshot(row)
    return undefined
  } catch (thrown) {
    if (thrown instanceof DamageError) return thrown.message
    throw thrown
  }
}

/** The documents of a damaged op, where its links can still be read. */
function documentsOf(row: OpRow): number[] {
  try {
    return linksOf(row).map(({ document }) => document)
  } catch {
    return []
  }
}
