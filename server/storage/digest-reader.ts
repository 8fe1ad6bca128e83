/**
 * Which ops touched which document, for comparing replicas: the digests in the `documents` table, and the tree over
 * them. A table of a hundred thousand rows takes half a second to hash, so it is read once, in slices between
 * which others read, and from then on only the documents are read again that the log says were touched. What a slice
 * shows is one moment, the whole is not: between two slices documents change, and those the log names afterwards.
 *
 * Only the newest life of a name counts: it is what people see.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type Database from 'better-sqlite3'
import { CausewayError } from '../../shared/errors/error.js'
import { CONVERGENCE_LIMITS, type DocumentView, type Leaf, TREE } from '../../shared/protocol/convergence.js'
import { type DigestRow, type DigestTree, GrowingTree } from './digest-tree.js'
import { clockRecord } from './document-row.js'
import { logRowReader } from './log-row.js'
import { type LinkColumns, linksOf } from './op-row.js'

export interface LeafRange {
  readonly prefix: string
  readonly buckets: ReadonlySet<number>
  /** Of the page before; 0 asks for the first. */
  readonly cursor: number
}

export interface LeafPage {
  /** At most `CONVERGENCE_LIMITS.leaves`. */
  readonly leaves: readonly Leaf[]
  /** Where the next page begins; 0 on the last one. */
  readonly cursor: number
}

/** A document's digest and clock, as `load` would give them now. */
export type StoredDigest = Omit<DocumentView, 'fingerprint'>

/** Rows that are hashed, or read, without a pause: some 3 ms. */
const SLICE_ROWS = 500
/** The tree is made anew after so long, whatever the log says: rows may be replaced without an op. */
const KEEP_MS = 10 * 60_000
const NO_BUCKET = 0xffff
const FIRST_SLOTS = 1_024

const NEWEST =
  'NOT EXISTS (SELECT 1 FROM documents AS later WHERE later.name = d.name AND later.generation > d.generation)'
const LEAF_COLUMNS = 'd.id, d.name, d.generation, d.count, d.digest'

interface IdRow extends DigestRow {
  readonly id: number
}

/** Leaves by the id of their row, so that a changed one can be taken out of the tree: 18 bytes a document. */
class Slots {
  private leaves = new Uint8Array(FIRST_SLOTS * TREE.hashBytes)
  private buckets = new Uint16Array(FIRST_SLOTS).fill(NO_BUCKET)

  get size(): number {
    return this.buckets.length
  }

  bucketOf(id: number): number {
    return this.buckets[id] ?? NO_BUCKET
  }

  leafOf(id: number): Uint8Array {
    return this.leaves.subarray(id * TREE.hashBytes, (id + 1) * TREE.hashBytes)
  }

  setBucket(id: number, bucket: number): void {
    this.buckets[id] = bucket
  }

  reserve(id: number): void {
    if (id < this.size) return
    const size = Math.max(2 * this.size, id + 1)
    const leaves = new Uint8Array(size * TREE.hashBytes)
    leaves.set(this.leaves)
    const buckets = new Uint16Array(size).fill(NO_BUCKET)
    buckets.set(this.buckets)
    this.leaves = leaves
    this.buckets = buckets
  }
}

interface KnownTree {
  readonly tree: GrowingTree
  readonly slots: Slots
  readonly madeAtMs: number
  /** Ops up to here are in it. */
  position: number
}

export class DigestReader {
  private readonly readLog: ReturnType<typeof logRowReader>
  private readonly selectNext: Database.Statement<[number, number], IdRow>
  private readonly selectInRange: Database.Statement<[string, string, number], DigestRow>
  private readonly selectById: Database.Statement<[number], IdRow>
  private readonly selectEarlier: Database.Statement<[string, number], number>
  private readonly selectTouched: Database.Statement<[number, number], LinkColumns & { readonly position: number }>
  private readonly selectByName: Database.Statement<[string], DigestRow & { readonly clock: Uint8Array }>
  private readonly now: () => number
  private known: KnownTree | undefined
  /** One job at a time: each would otherwise hash the same rows. */
  private last: Promise<unknown> = Promise.resolve()

  /** `now`: milliseconds of a clock that only rises. */
  constructor(database: Database.Database, now: () => number = () => performance.now()) {
    this.now = now
    this.readLog = logRowReader(database)
    this.selectNext = database.prepare(
      `SELECT ${LEAF_COLUMNS} FROM documents AS d WHERE d.id > ? AND ${NEWEST} ORDER BY d.id LIMIT ?`,
    )
    this.selectInRange = database.prepare(
      `SELECT ${LEAF_COLUMNS} FROM documents AS d WHERE d.name >= ? AND d.name > ? AND ${NEWEST} ORDER BY d.name LIMIT ?`,
    )
    this.selectById = database.prepare(`SELECT ${LEAF_COLUMNS} FROM documents AS d WHERE d.id = ? AND ${NEWEST}`)
    this.selectEarlier = database
      .prepare<[string, number], number>('SELECT id FROM documents WHERE name = ? AND generation < ?')
      .pluck()
    this.selectTouched = database.prepare(
      'SELECT position, document, previous, more FROM ops WHERE position > ? ORDER BY position LIMIT ?',
    )
    this.selectByName = database.prepare(
      `SELECT ${LEAF_COLUMNS}, d.clock FROM documents AS d WHERE d.name = ? ORDER BY d.generation DESC LIMIT 1`,
    )
  }

  /** The tree over the documents whose name starts with `prefix`. */
  tree(prefix: string): Promise<DigestTree> {
    return this.inTurn(() => (prefix === '' ? this.wholeTree() : this.treeOf(prefix)))
  }

  /** The documents of some buckets. A page is what they are now, so a document may be on none while it is replaced. */
  leaves({ prefix, buckets, cursor }: LeafRange): Promise<LeafPage> {
    return this.inTurn(async () => {
      const { slots } = await this.current()
      const wanted = new Uint8Array(NO_BUCKET + 1) // Asked for every document there is: faster than a set.
      for (const bucket of buckets) wanted[bucket] = 1
      const leaves: Leaf[] = []
      let looked = 0
      for (let id = cursor + 1; id < slots.size; id++) {
        if (wanted[slots.bucketOf(id)] === 0) continue
        const row = this.selectById.get(id)
        if (row?.name.startsWith(prefix)) {
          leaves.push({ name: row.name, generation: row.generation, count: row.count, xor: hex(row.digest) })
        }
        if (leaves.length === CONVERGENCE_LIMITS.leaves) return { leaves, cursor: id }
        if (++looked % SLICE_ROWS === 0) await nextTurn()
      }
      return { leaves, cursor: 0 }
    })
  }

  /** Of each of at most `CONVERGENCE_LIMITS.names` names; undefined where there is no such document. */
  digests(names: readonly string[]): (StoredDigest | undefined)[] {
    if (names.length > CONVERGENCE_LIMITS.names) throw new CausewayError('request/invalid', { names: names.length })
    return names.map((name) => {
      const row = this.selectByName.get(name)
      if (row === undefined) return undefined
      const { generation, count, digest, clock } = row
      return { generation, count, xor: hex(digest), clock: clockRecord(clock) }
    })
  }

  private inTurn<Value>(job: () => Promise<Value>): Promise<Value> {
    const done = this.last.then(job, job)
    this.last = done.catch(() => {})
    return done
  }

  private async wholeTree(): Promise<DigestTree> {
    const { tree } = await this.current()
    return { documents: tree.documents, hashes: tree.hashes.slice(), counts: tree.counts.slice() }
  }

  private async treeOf(prefix: string): Promise<DigestTree> {
    const tree = new GrowingTree()
    const leaf = new Uint8Array(TREE.hashBytes)
    for (let after = ''; ; await nextTurn()) {
      const rows = this.selectInRange.all(prefix, after, SLICE_ROWS)
      for (const row of rows) {
        if (!row.name.startsWith(prefix)) return tree
        tree.add(tree.hashLeaf(row, leaf), leaf)
      }
      if (rows.length < SLICE_ROWS) return tree
      after = rows.at(-1)!.name
    }
  }

  /** The tree with every op that is in the log now. */
  private async current(): Promise<KnownTree> {
    const { known } = this
    this.known = undefined // Half of a change that fails is no tree.
    const made = known && this.isUsable(known) ? known : await this.make()
    await this.catchUp(made)
    this.known = made
    return made
  }

  private isUsable({ madeAtMs, position }: KnownTree): boolean {
    if (this.now() - madeAtMs >= KEEP_MS) return false
    const log = this.readLog()
    return log.floor <= position && position <= log.position
  }

  private async make(): Promise<KnownTree> {
    // The position first: what is written while the table is read is read once more then.
    const { position } = this.readLog()
    const made = { tree: new GrowingTree(), slots: new Slots(), madeAtMs: this.now(), position }
    for (let after = 0; ; await nextTurn()) {
      const rows = this.selectNext.all(after, SLICE_ROWS)
      for (const row of rows) put(made, row)
      if (rows.length < SLICE_ROWS) return made
      after = rows.at(-1)!.id
    }
  }

  private async catchUp(known: KnownTree): Promise<void> {
    for (;;) {
      const rows = this.selectTouched.all(known.position, SLICE_ROWS)
      const touched = new Set(rows.flatMap((row) => linksOf(row).map(({ document }) => document)))
      for (const id of touched) this.renew(known, id)
      known.position = rows.at(-1)?.position ?? known.position
      if (rows.length < SLICE_ROWS) return
      await nextTurn()
    }
  }

  private renew(known: KnownTree, id: number): void {
    takeOut(known, id)
    const row = this.selectById.get(id)
    if (row === undefined) return
    put(known, row)
    if (row.generation === 0) return
    for (const earlier of this.selectEarlier.all(row.name, row.generation)) takeOut(known, earlier)
  }
}

function put({ tree, slots }: KnownTree, row: IdRow): void {
  slots.reserve(row.id)
  const leaf = slots.leafOf(row.id)
  const bucket = tree.hashLeaf(row, leaf)
  slots.setBucket(row.id, bucket)
  tree.add(bucket, leaf)
}

function takeOut({ tree, slots }: KnownTree, id: number): void {
  const bucket = slots.bucketOf(id)
  if (bucket === NO_BUCKET) return
  tree.remove(bucket, slots.leafOf(id))
  slots.setBucket(id, NO_BUCKET)
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
