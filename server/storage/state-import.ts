/**
 * Joining a peer's whole state to what is here. The state stands at one cut; ops of this log that the cut does not hold
 * (our surplus, of whatever origin) are kept as ops. What comes out is what a replica would hold that had delivered the
 * cut first, and then the surplus in our order:
 *
 *     before   ops ─ pruned ─┬─ a:1 b:1 a:2 b:2 ──▶               the cut: a:1 b:7
 *     after    state at J ───┴─ a:2 ──▶                           b:1 and b:2 are in the state
 *
 * The state takes a position J of its own, above all that were; the surplus moves above it. All of it happens in the
 * caller's transaction, so a crash leaves what was before, and the chunks as garbage.
 *
 * Refused is what would lose something: a cut below what was pruned here (no ops are left to put on top), a state that
 * does not stand at the cut, and one with other ops under our dots.
 */
import type Database from 'better-sqlite3'
import { COORDINATION_NAME, type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import { formatVector, sameVector, type VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import { CommitDraft } from './commit-draft.js'
import type { CommitStatements } from './commit-statements.js'
import { DocumentCache, DocumentState, decodeClock, keyOf } from './document-row.js'
import type { LogRow } from './log-row.js'
import { CHAIN_START, OP_COLUMNS, type OpRow, readOp } from './op-row.js'
import { type Origin, vectorOf } from './origin-table.js'
import { snapshotRowOf, snapshotWriter } from './snapshot-row.js'
import { DamageError } from './sqlite-values.js'
import { refuse, StateDecoder, type StateHead, type StateOrigin } from './state-format.js'
import { prunedOf } from './stored-heads.js'

/** Ops of the old log that are looked at in one go. */
const PAGE_ROWS = 1_000

/** What is here. */
export interface Present {
  readonly log: LogRow
  /** By number. */
  readonly origins: ReadonlyMap<OriginId, Origin>
}

export interface Joined {
  readonly origins: ReadonlyMap<OriginId, Origin>
  /** What stands on top of the state: its ops and all that they changed. */
  readonly draft: CommitDraft
}

interface KeptDocument {
  readonly name: string
  readonly generation: number
  readonly count: number
  readonly digest: Uint8Array
}

type Scanned = [position: number, origin: number, seq: number]

/**
 * Joins the state of `chunks`, in a transaction that the caller has begun and ends. Throws `request/invalid`,
 * `cell/forked`, `document/unavailable` (an op that has to be kept is damaged): then it has to be rolled back, and the
 * log is as it was.
 */
export function joinState(
  database: Database.Database,
  statements: CommitStatements,
  present: Present,
  own: OriginId,
  chunks: Iterable<Uint8Array>,
  cut: VersionVector,
): Joined {
  return new StateJoin(database, statements, present, own).join(new StateDecoder(chunks), cut)
}

class StateJoin {
  private readonly database: Database.Database
  private readonly statements: CommitStatements
  private readonly present: Present
  private readonly own: OriginId
  /** The position of the state itself. */
  private readonly position: number

  constructor(database: Database.Database, statements: CommitStatements, present: Present, own: OriginId) {
    this.database = database
    this.statements = statements
    this.present = present
    this.own = own
    this.position = present.log.position + 1
  }

  join(state: StateDecoder, cut: VersionVector): Joined {
    const head = state.head()
    const heads = [...readTimes(head.origins, () => state.origin())]
    const inState = new Map(heads.map((origin) => [origin.name, origin]))
    this.checkCut(heads, inState, cut)
    const origins = this.originsOf(heads, inState)
    const draft = new CommitDraft(this.committed(head, origins), this.own)
    this.clear()
    for (const { name } of heads) this.statements.putOrigin(origins.get(name)!, draft.origins.intern)
    for (const row of readTimes(head.owned, () => state.owned())) this.statements.putOwned(row)
    for (const one of readTimes(head.reoriginated, () => state.reoriginated())) {
      this.statements.putReoriginated(one, draft.origins.intern)
    }
    const kept = this.replaceDocuments(head, state, draft)
    state.end()
    this.moveSurplus(inState, draft)
    this.checkKept(kept, draft)
    this.checkHeads(draft)
    this.statements.putRest(draft)
    return { origins, draft }
  }

  /** Everything that was pruned here must be in the state, which must stand at the cut. */
  private checkCut(
    heads: readonly StateOrigin[],
    inState: ReadonlyMap<OriginId, StateOrigin>,
    cut: VersionVector,
  ): void {
    const ofOps = new Map([...cut].filter(([origin]) => replicaNameOf(origin) !== COORDINATION_NAME))
    if (!sameVector(vectorOf(heads), ofOps)) refuse(`it does not stand at ${formatVector(ofOps)}`)
    for (const [origin, seq] of prunedOf(this.database, this.present.origins.values())) {
      if (seq > (inState.get(origin)?.seq ?? 0)) refuse(`${origin}:${seq} is pruned here and not in it`)
    }
    for (const { name, seq, chain } of this.present.origins.values()) {
      const theirs = inState.get(name)
      if (theirs?.seq === seq && !same(theirs.chain, chain)) throw forked(name, seq)
    }
  }

  /** The origins as the state alone has them, under our numbers. */
  private originsOf(
    heads: readonly StateOrigin[],
    inState: ReadonlyMap<OriginId, StateOrigin>,
  ): ReadonlyMap<OriginId, Origin> {
    const origins = new Map<OriginId, Origin>()
    for (const { id, name, own } of this.present.origins.values()) {
      origins.set(name, this.originOf(id, name, own, inState.get(name)))
    }
    for (const origin of heads) {
      if (origins.has(origin.name)) continue
      origins.set(origin.name, this.originOf(origins.size + 1, origin.name, origin.name === this.own, origin))
    }
    return origins
  }

  private originOf(id: number, name: OriginId, own: boolean, head: StateOrigin | undefined): Origin {
    if (!head) return { id, name, own, seq: 0, position: 0, chain: CHAIN_START }
    const { seq, chain, predecessor } = head
    return { id, name, own, seq, position: this.position, chain, ...(predecessor && { predecessor }) }
  }

  private committed(
    head: StateHead,
    origins: ReadonlyMap<OriginId, Origin>,
  ): ConstructorParameters<typeof CommitDraft>[0] {
    const { log } = this.present
    const documents = new DocumentCache(this.database)
    const { position } = this
    return {
      log: { ...log, position, hlc: Math.max(log.hlc, head.hlc), floor: position, floorTotal: log.total },
      origins,
      lastDocument: this.database.prepare<[], number>('SELECT COALESCE(MAX(id), 0) FROM documents').pluck().get()!,
      document: (name, generation) => documents.get(name, generation),
    }
  }

  /** What the state and the surplus make anew. */
  private clear(): void {
    for (const table of ['snapshots', 'quarantine', 'owned']) this.database.exec(`DELETE FROM ${table}`)
  }

  /** Returns the documents that the state does not have. */
  private replaceDocuments(head: StateHead, state: StateDecoder, draft: CommitDraft): readonly KeptDocument[] {
    const lastBefore = draft.lastDocument
    const documents = new DocumentCache(this.database)
    const remove = this.database.prepare<[number]>('DELETE FROM documents WHERE id = ?')
    const insertSnapshot = snapshotWriter(this.database)
    const { position } = this
    for (let left = head.documents; left > 0; left--) {
      const { name, generation, count, digest, clock, updated, fingerprint, known, update } = state.document()
      const before = documents.get(name, generation)
      if (before && before.id > lastBefore) refuse(`it has the document ${name} twice`)
      if (before) remove.run(before.id)
      const id = ++draft.lastDocument
      // When it was touched first is no longer known: before all that is kept.
      const row = { id, name, generation, first: 1, last: position, count, digest, bytes: update.length, updated }
      this.statements.putDocument(new DocumentState(row, decodeClock(clock), true))
      insertSnapshot(snapshotRowOf({ position, update, known, fingerprint }, id, 'head', count, digest))
    }
    const kept = this.database
      .prepare<[number], KeptDocument>('SELECT name, generation, count, digest FROM documents WHERE id <= ?')
      .all(lastBefore)
    this.database.prepare<[number]>('DELETE FROM documents WHERE id <= ?').run(lastBefore)
    return kept
  }

  /** Takes the old log away page by page, and adds what the state does not hold behind it. */
  private moveSurplus(inState: ReadonlyMap<OriginId, StateOrigin>, draft: CommitDraft): void {
    const names = new Map([...this.present.origins.values()].map(({ id, name }) => [id, name]))
    const selectPage = this.database
      .prepare<[number], Scanned>(
        `SELECT position, origin, seq FROM ops WHERE position < ? ORDER BY position LIMIT ${PAGE_ROWS}`,
      )
      .raw()
    const selectOp = this.database.prepare<[number], OpRow>(`SELECT ${OP_COLUMNS} FROM ops WHERE position = ?`)
    const removeTo = this.database.prepare<[number]>('DELETE FROM ops WHERE position <= ?')
    for (;;) {
      const page = selectPage.all(this.position)
      if (page.length === 0) return
      const surplus = page
        .filter(([, origin, seq]) => seq > (inState.get(names.get(origin)!)?.seq ?? 0))
        .map(([position]) => selectOp.get(position)!)
      removeTo.run(page.at(-1)![0])
      for (const row of surplus) this.move(row, draft, names)
    }
  }

  private move(row: OpRow, draft: CommitDraft, names: ReadonlyMap<number, OriginId>): void {
    const moved = draft.add(readKept(row, (number) => names.get(number)!))
    // Computed from where the state ends: one that holds other ops leads to another value.
    if (!same(moved.chain, row.chain)) throw forked(names.get(row.origin)!, row.seq)
    this.statements.putOp(moved)
  }

  /** A document that the state does not have must be the surplus' alone. */
  private checkKept(kept: readonly KeptDocument[], draft: CommitDraft): void {
    for (const { name, generation, count, digest } of kept) {
      const now = draft.documents.get(keyOf(name, generation))
      if (now?.count !== count || !same(now.digest, digest)) refuse(`it lacks the document ${name}`)
    }
  }

  /** No head was lowered. */
  private checkHeads({ origins }: CommitDraft): void {
    for (const { name, seq } of this.present.origins.values()) {
      const now = origins.headOf(name)
      if (now < seq) refuse(`${name}:${seq} is neither in it nor in the log`)
    }
  }
}

function* readTimes<Value>(count: number, read: () => Value): Generator<Value> {
  for (let left = count; left > 0; left--) yield read()
}

function readKept(row: OpRow, originOf: (number: number) => OriginId): ReturnType<typeof readOp> {
  try {
    return readOp(row, originOf)
  } catch (thrown) {
    if (!(thrown instanceof DamageError)) throw thrown
    // Without it the join would lose it; it waits for repair.
    const details = { position: row.position, reason: thrown.message }
    throw new CausewayError('document/unavailable', details, { cause: thrown })
  }
}

function forked(origin: OriginId, seq: number): CausewayError {
  return new CausewayError('cell/forked', { origin, seq })
}

function same(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.from(left).equals(right)
}
