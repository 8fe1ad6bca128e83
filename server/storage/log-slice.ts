/**
 * Reading the log as ops, for peers that lack some of them. A slice is bounded twice: by what its ops cost on a link,
 * and by the rows that are looked at for it. Where the first and the last op that is asked for lie, an index tells: who
 * missed the last minute does not wait for a walk through a week.
 *
 *     a:5 b:3 a:6 b:4 c:1 a:7 b:5      beyond a:5 b:4, up to a:7
 *             └── looked at ──┘
 */
import type Database from 'better-sqlite3'
import { type Dot, type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { LogRange } from '../../shared/protocol/op-log.js'
import { opCost, PEER_LIMITS } from '../../shared/protocol/peer.js'
import { logRowReader } from './log-row.js'
import { OP_COLUMNS, type OpRow, readOp } from './op-row.js'
import { firstSeqOf, originNames, unfold } from './origin-table.js'
import { type PackedChains, type PackedSlice, packSlice, type SlicedOp } from './packed-slice.js'
import { DamageError, exact } from './sqlite-values.js'

/** Rows that one call looks at: some 10 ms. */
const SCANNED_ROWS = 20_000
/** Rows that are looked at in one go. */
const PAGE_ROWS = 512

interface OriginRow {
  readonly id: number
  readonly name: OriginId
  /** 0: no op of it is here yet. */
  readonly seq: number
  readonly predecessor: OriginId | null
  readonly predecessorSeq: number | null
}

/** An origin whose first op is here: what stands here never changes again. */
interface Opened {
  readonly id: number
  readonly name: OriginId
  readonly predecessor?: Dot
}

/** What a range asks for of one origin: seqs above `above`, up to `upTo`. */
interface Wanted {
  readonly above: number
  readonly upTo: number
}

interface Bounds {
  readonly wanted: ReadonlyMap<number, Wanted>
  /** Everything that is asked for and here lies above `start` and at or below `end`. */
  readonly start: number
  readonly end: number
  readonly isPruned: boolean
}

type Scanned = [position: number, origin: number, seq: number]

export class SliceReader {
  private readonly database: Database.Database
  private readonly readLog: ReturnType<typeof logRowReader>
  private readonly originOf: (number: number) => OriginId
  private readonly opened = new Map<OriginId, Opened>()
  /** Known by name only. */
  private readonly unopened = new Set<number>()
  private lastOrigin = 0
  private readonly selectOrigins: Database.Statement<[number], OriginRow>
  private readonly selectOrigin: Database.Statement<[number], OriginRow>
  private readonly selectHead: Database.Statement<[string], { id: number; seq: number; chain: Uint8Array }>
  private readonly selectFirst: Database.Statement<[number, number | bigint], { position: number; seq: number }>
  private readonly selectLast: Database.Statement<[number, number | bigint], number>
  private readonly selectPage: Database.Statement<[number, number, number], Scanned>
  private readonly selectOp: Database.Statement<[number], OpRow>
  private readonly selectChain: Database.Statement<[number, number | bigint], { position: number; chain: Uint8Array }>

  constructor(database: Database.Database) {
    this.database = database
    this.readLog = logRowReader(database)
    this.originOf = originNames(database)
    const origins = `SELECT one.id, one.name, one.seq, before.name AS predecessor, one.predecessor_seq AS predecessorSeq
      FROM origins AS one LEFT JOIN origins AS before ON before.id = one.predecessor WHERE one.id`
    this.selectOrigins = database.prepare(`${origins} > ? ORDER BY one.id`)
    this.selectOrigin = database.prepare(`${origins} = ?`)
    this.selectHead = database.prepare('SELECT id, seq, chain FROM origins WHERE name = ?')
    this.selectFirst = database.prepare(
      'SELECT position, seq FROM ops WHERE origin = ? AND seq > ? ORDER BY seq LIMIT 1',
    )
    this.selectLast = database
      .prepare<[number, number | bigint], number>(
        'SELECT position FROM ops WHERE origin = ? AND seq <= ? ORDER BY seq DESC LIMIT 1',
      )
      .pluck()
    this.selectPage = database
      .prepare<[number, number, number], Scanned>(
        'SELECT position, origin, seq FROM ops WHERE position > ? AND position <= ? ORDER BY position LIMIT ?',
      )
      .raw()
    this.selectOp = database.prepare(`SELECT ${OP_COLUMNS} FROM ops WHERE position = ?`)
    this.selectChain = database.prepare('SELECT position, chain FROM ops WHERE origin = ? AND seq = ?')
  }

  /** The next slice of `range`, as of one moment. Throws what SQLite throws. */
  read(range: LogRange): PackedSlice {
    return this.database.transaction(() => {
      const log = this.readLog()
      const bounds = this.boundsOf(range, log.floor)
      if (bounds.isPruned) return packSlice([], new Map(), { position: range.after, atEnd: false, isPruned: true })
      return this.scan(range, bounds, log.position)
    })()
  }

  /** See `Log.readChains`. Throws `request/invalid`. */
  readChains(dots: readonly Dot[]): PackedChains {
    if (dots.length > PEER_LIMITS.heads) throw new CausewayError('request/invalid', { dots: dots.length })
    return this.database.transaction(() => {
      let position = 0
      const chains = dots.map(({ origin, seq }) => {
        const head = this.selectHead.get(origin)
        if (!head) return undefined
        const found = this.selectChain.get(head.id, exact(seq))
        if (found && found.position > position) position = found.position
        const chain = found?.chain ?? (head.seq === seq ? head.chain : undefined)
        return chain && new Uint8Array(chain)
      })
      return { position, chains }
    })()
  }

  private scan({ after, limitCost }: LogRange, { wanted, start, end }: Bounds, logEnd: number): PackedSlice {
    const ops: SlicedOp[] = []
    const origins = new Map<number, OriginId>()
    const originOf = (number: number): OriginId => {
      const name = this.originOf(number)
      origins.set(number, name)
      return name
    }
    const slice = (position: number, isPruned = false): PackedSlice =>
      packSlice(ops, origins, { position, atEnd: position >= logEnd, isPruned })
    let position = Math.max(after, start)
    let cost = 0
    for (let rows = 0; rows < SCANNED_ROWS; rows += PAGE_ROWS) {
      const page = this.selectPage.all(position, end, PAGE_ROWS)
      for (const [at, origin, seq] of page) {
        const range = wanted.get(origin)
        if (range && seq > range.above && seq <= range.upTo) {
          const row = this.selectOp.get(at)!
          const read = this.costOf(row, originOf)
          if (read === undefined) return ops.length > 0 ? slice(position) : slice(after, true)
          if (ops.length > 0 && cost + read > limitCost) return slice(position)
          cost += read
          ops.push(row)
        }
        position = at
      }
      if (page.length < PAGE_ROWS) return slice(Math.max(after, logEnd))
    }
    return slice(position)
  }

  /** Undefined for an op that is damaged: who needs it has to take the whole state, as if it were pruned. */
  private costOf(row: OpRow, originOf: (number: number) => OriginId): number | undefined {
    try {
      return opCost(readOp(row, originOf))
    } catch (thrown) {
      if (thrown instanceof DamageError) return undefined
      throw thrown
    }
  }

  private boundsOf({ after, beyond, upTo, names }: LogRange, floor: number): Bounds {
    this.refresh()
    const [held, limit] = [unfold(beyond, this.opened), upTo && unfold(upTo, this.opened)]
    const wanted = new Map<number, Wanted>()
    let start = Number.POSITIVE_INFINITY
    let end = 0
    let isPruned = false
    for (const origin of this.opened.values()) {
      const { id, name } = origin
      if (names && !names.has(replicaNameOf(name))) continue
      const above = Math.max(held.get(name) ?? 0, firstSeqOf(origin) - 1)
      const last = limit ? (limit.get(name) ?? 0) : Number.MAX_SAFE_INTEGER
      if (last <= above) continue
      const first = this.selectFirst.get(id, exact(above))
      // What was pruned stood at or below the floor.
      if (after < floor) isPruned ||= first ? first.seq > above + 1 : this.selectOrigin.get(id)!.seq > above
      if (!first || first.seq > last) continue
      wanted.set(id, { above, upTo: last })
      start = Math.min(start, first.position - 1)
      end = Math.max(end, this.selectLast.get(id, exact(last))!)
    }
    return { wanted, start: Math.min(start, end), end, isPruned }
  }

  /** Takes note of origins that are new, and of those that have their first op now. */
  private refresh(): void {
    for (const id of this.unopened) this.note(this.selectOrigin.get(id)!)
    for (const row of this.selectOrigins.all(this.lastOrigin)) {
      this.lastOrigin = row.id
      this.note(row)
    }
  }

  private note({ id, name, seq, predecessor, predecessorSeq }: OriginRow): void {
    if (seq === 0) {
      this.unopened.add(id)
      return
    }
    this.unopened.delete(id)
    const before = predecessor === null ? {} : { predecessor: { origin: predecessor, seq: predecessorSeq! } }
    this.opened.set(name, { id, name, ...before })
  }
}
