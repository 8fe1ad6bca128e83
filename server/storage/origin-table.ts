/**
 * The origins that a file knows, by the numbers that its records use, each with its head. An origin that only deps or
 * `was` have named has seq 0: no op of it is here.
 */
import type Database from 'better-sqlite3'
import { assert } from '../../shared/base/assert.js'
import type { Dot, OriginId } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { Op } from '../../shared/protocol/op.js'
import { CHAIN_START, computeChain } from './op-row.js'
import { checksumOfValues, DamageError, exact, type SqliteValue } from './sqlite-values.js'

export interface Origin {
  readonly id: number
  readonly name: OriginId
  /** An incarnation of this disk. */
  readonly own: boolean
  readonly seq: number
  readonly position: number
  readonly chain: Uint8Array
  readonly predecessor?: Dot
}

interface OriginRow {
  readonly id: number
  readonly name: OriginId
  readonly own: number
  readonly seq: number
  readonly position: number
  readonly chain: Uint8Array
  readonly predecessor: number | null
  readonly predecessor_seq: number | null
  readonly checksum: number
}

const valuesOf = (row: Omit<OriginRow, 'checksum'>): SqliteValue[] => {
  const { id, name, own, seq, position, chain, predecessor, predecessor_seq: predecessorSeq } = row
  return [id, name, own, seq, position, chain, predecessor, predecessorSeq]
}

/** By number. Throws `DamageError`. */
export function readOrigins(database: Database.Database): Origin[] {
  const rows = database.prepare<[], OriginRow>('SELECT * FROM origins ORDER BY id').all()
  for (const [index, row] of rows.entries()) {
    if (row.id !== index + 1) throw new DamageError('an origin is missing')
    if (checksumOfValues(valuesOf(row)) !== row.checksum) throw new DamageError('checksum of an origin does not match')
  }
  return rows.map(({ id, name, own, seq, position, chain, predecessor, predecessor_seq: predecessorSeq }) => ({
    id,
    name,
    own: own === 1,
    seq,
    position,
    chain,
    ...(predecessor !== null && { predecessor: { origin: rows[predecessor - 1]!.name, seq: predecessorSeq! } }),
  }))
}

/** Returns what writes the row of an origin. */
export function originWriter(
  database: Database.Database,
): (origin: Origin, intern: (name: OriginId) => number) => void {
  const put = database.prepare<(number | bigint | string | Uint8Array | null)[]>(
    'INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
  )
  return ({ id, name, own, seq, position, chain, predecessor }, intern) => {
    const before = predecessor
      ? { predecessor: intern(predecessor.origin), predecessor_seq: predecessor.seq }
      : NO_PREDECESSOR
    const values = valuesOf({ id, name, own: own ? 1 : 0, seq, position, chain, ...before })
    put.run(...values.map((value) => (typeof value === 'number' ? exact(value) : value)), checksumOfValues(values))
  }
}

const NO_PREDECESSOR = { predecessor: null, predecessor_seq: null }

/** For a reader: names by number, looked up in the file when a new number is met. Throws `DamageError` on one that is not there. */
export function originNames(database: Database.Database): (number: number) => OriginId {
  const select = database.prepare<[number], OriginId>('SELECT name FROM origins WHERE id = ?').pluck()
  const names = new Map<number, OriginId>()
  return (number) => {
    let name = names.get(number)
    if (name === undefined) {
      name = select.get(number)
      if (name === undefined) throw new DamageError(`no origin has the number ${number}`)
      names.set(number, name)
    }
    return name
  }
}

/** Seq of an origin's first op. */
export function firstSeqOf({ predecessor }: Pick<Origin, 'predecessor'>): number {
  return (predecessor?.seq ?? 0) + 1
}

/** The heads as a vector. An entry that a successor's `open` names is implied by that successor and left out. */
export function vectorOf(origins: Iterable<Pick<Origin, 'name' | 'seq' | 'predecessor'>>): VersionVector {
  const vector = new Map<OriginId, number>()
  const all = [...origins].filter(({ seq }) => seq > 0)
  for (const { name, seq } of all) vector.set(name, seq)
  for (const { predecessor } of all) {
    // Above what the successor names (the disk was rolled back) the entry says more than is implied: it stays.
    if (predecessor && vector.get(predecessor.origin) === predecessor.seq) vector.delete(predecessor.origin)
  }
  return vector
}

/** `vector` with the entries that it implies: each origin's line of predecessors, as far as their `open` ops name them. */
export function unfold(
  vector: VersionVector,
  origins: ReadonlyMap<OriginId, Pick<Origin, 'predecessor'>>,
): VersionVector {
  const unfolded = new Map(vector)
  for (const name of vector.keys()) {
    const line = new Set<OriginId>()
    for (let origin = origins.get(name); origin?.predecessor; origin = origins.get(origin.predecessor.origin)) {
      const { origin: before, seq } = origin.predecessor
      if (line.has(before)) break
      line.add(before)
      unfolded.set(before, Math.max(unfolded.get(before) ?? 0, seq))
    }
  }
  return unfolded
}

/** An origin in a commit's hands: a copy. */
interface OriginDraft {
  readonly id: number
  readonly name: OriginId
  readonly own: boolean
  seq: number
  position: number
  readonly chain: Uint8Array
  predecessor?: Dot
}

/** A writer's view of the origins during one commit: what it changes is seen by others only once it is durable. */
export class OriginDrafts {
  private readonly committed: ReadonlyMap<OriginId, Origin>
  private readonly own: OriginId
  /** Origins that the commit changed or added. */
  readonly changed = new Map<OriginId, OriginDraft>()
  private next: number

  constructor(committed: ReadonlyMap<OriginId, Origin>, own: OriginId) {
    this.committed = committed
    this.own = own
    this.next = committed.size + 1
  }

  /** The number of an origin; a new one gets the next. */
  readonly intern = (name: OriginId): number =>
    (this.changed.get(name) ?? this.committed.get(name) ?? this.draft(name)).id

  /** Last seq of an origin; 0 where no op of it is here. */
  headOf(name: OriginId): number {
    return (this.changed.get(name) ?? this.committed.get(name))?.seq ?? 0
  }

  /**
   * Moves the head of the op's origin to it. Ops arrive in the order of their origins, without gaps, and the first one
   * of an origin is its `open`: causal delivery upstream guarantees it, so anything else is our own mistake.
   */
  advance(op: Op, position: number): OriginDraft {
    const head = this.changed.get(op.dot.origin) ?? this.draft(op.dot.origin)
    if (head.seq > 0) assert(op.kind !== 'open' && op.dot.seq === head.seq + 1, `op ${op.dot.seq} after ${head.seq}`)
    else assert(op.kind === 'open', 'the first op of an origin opens it')
    computeChain(head.chain, op, head.chain)
    head.seq = op.dot.seq
    head.position = position
    if (op.kind === 'open' && op.predecessor) head.predecessor = op.predecessor
    return head
  }

  private draft(name: OriginId): OriginDraft {
    const known = this.committed.get(name)
    const draft = known
      ? { ...known, chain: new Uint8Array(known.chain) }
      : { id: this.next++, name, own: name === this.own, seq: 0, position: 0, chain: new Uint8Array(CHAIN_START) }
    this.changed.set(name, draft)
    return draft
  }
}
