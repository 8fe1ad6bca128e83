/**
 * The log of a replica, as `server/storage/log.ts` declares it, over a simulated disk: a journal of records, and what
 * they come to. A start reads the journal; while the process lives, a record counts when its sync has ended.
 *
 * State for a peer travels as an image by reference, in chunks that only name it: what a chunk's bytes mean is for
 * storage alone.
 */

import { compact } from '../../../server/document/compact.js'
import type { LoggedOp, LogRange } from '../../../server/replica/op-stream.js'
import type { LoadedDocument } from '../../../server/replica/open-document.js'
import type { LogSlice } from '../../../server/storage/log.js'
import type { Head } from '../../../shared/causal/delivery.js'
import { type Dot, type OriginId, replicaNameOf } from '../../../shared/clock/dot.js'
import type { HybridTime } from '../../../shared/clock/hybrid-clock.js'
import { Lineages } from '../../../shared/clock/lineages.js'
import { hexOf, type VersionVector } from '../../../shared/clock/version-vector.js'
import { type Op, partsOf } from '../../../shared/protocol/op.js'
import { opCost } from '../../../shared/protocol/peer.js'
import type { CellChange, StoredCell, StoredHeads, StoredOpening } from '../../../shared/protocol/stored-cell.js'
import { checkUpdate } from '../../../shared/update/check.js'
import { KnownState } from '../../../shared/update/known-state.js'
import { parseUpdate } from '../../../shared/update/parse.js'

/** What becomes of the ops that a joined state does not hold: they are kept, which is right; lost; or lost in documents. */
export type Surplus = 'kept' | 'dropped' | 'kept in the log alone'

export type JournalRecord =
  /** A process of this origin runs on the disk from here on. */
  | { readonly type: 'begun'; readonly origin: OriginId }
  | { readonly type: 'op'; readonly op: Op; readonly chain: Uint8Array }
  | { readonly type: 'joined'; readonly image: StateImage; readonly surplus: Surplus }
  | {
      readonly type: 'snapshot'
      readonly document: string
      readonly position: number
      readonly update: Uint8Array
      readonly known: Uint8Array
    }
  | { readonly type: 'pruned'; readonly position: number }
  | { readonly type: 'cell'; readonly change: CellChange }

interface ImageOrigin {
  readonly seq: number
  readonly chain: Uint8Array
  readonly first: number
  readonly predecessor: Dot | undefined
}

/** Of the ops that touched a document: how many, and the first eight bytes of their chain values, XORed. */
interface Digest {
  readonly count: number
  readonly high: number
  readonly low: number
}

/** A whole state at one cut. */
export interface StateImage {
  readonly cut: VersionVector
  readonly origins: ReadonlyMap<OriginId, ImageOrigin>
  readonly documents: ReadonlyMap<
    string,
    {
      readonly update: Uint8Array
      readonly known: Uint8Array
      readonly clock: Readonly<Record<string, number>>
      readonly digest: Digest
    }
  >
  readonly reoriginated: ReadonlyMap<string, Dot>
  readonly latestHlc: HybridTime
}

interface StoredDocument {
  snapshot: { readonly position: number; readonly update: Uint8Array; readonly known: Uint8Array } | undefined
  tail: { readonly position: number; readonly dot: Dot; readonly update: Uint8Array }[]
  clock: Record<string, number>
  digest: Digest
}

const NO_DIGEST: Digest = { count: 0, high: 0, low: 0 }
const EMPTY_CELL: StoredCell = { life: 0, configEpoch: 0, claims: new Map(), isRecovering: false, hasLost: false }

export class LogModel {
  readonly lineages = new Lineages()
  cell: StoredCell = EMPTY_CELL
  position = 0
  latestHlc = 0 as HybridTime
  private readonly name: string
  /** Under which this disk wrote, oldest first. */
  private readonly own = new Set<OriginId>()
  private rows: LoggedOp[] = []
  private floorPosition = 0
  private heads = new Map<OriginId, Head>()
  private openings = new Map<OriginId, StoredOpening>()
  private pruned = new Map<OriginId, number>()
  private documents = new Map<string, StoredDocument>()
  private reoriginated = new Map<string, Dot>()

  constructor(name: string) {
    this.name = name
  }

  apply(record: JournalRecord): void {
    switch (record.type) {
      case 'begun':
        this.own.add(record.origin)
        break
      case 'op':
        this.append(record.op, record.chain)
        break
      case 'joined':
        this.join(record.image, record.surplus)
        break
      case 'snapshot': {
        const { document: name, position, update, known } = record
        const document = this.documents.get(name)
        if (!document) break
        document.snapshot = { position, update, known }
        document.tail = document.tail.filter((one) => one.position > position)
        break
      }
      case 'pruned':
        this.prune(record.position)
        break
      case 'cell': {
        const { claims, rejoin: _, forgetsClaims, ...rest } = record.change
        const known = forgetsClaims ? [] : this.cell.claims
        this.cell = { ...this.cell, ...rest, claims: new Map([...known, ...(claims ?? [])]) }
      }
    }
  }

  /** Everything held, folded. */
  get vector(): VersionVector {
    return this.lineages.fold(new Map([...this.heads].map(([origin, { seq }]) => [origin, seq])))
  }

  /** The newest origin that this disk wrote under, with what is held of it. */
  get predecessor(): Dot | undefined {
    const origin = [...this.own].findLast((one) => this.heads.has(one))
    return origin && { origin, seq: this.heads.get(origin)!.seq }
  }

  get stored(): StoredHeads {
    return {
      vector: this.vector,
      heads: new Map(this.heads),
      openings: [...this.openings.values()],
      floor: this.lineages.fold(new Map(this.pruned)),
      reoriginated: new Map(this.reoriginated),
    }
  }

  get floor(): VersionVector {
    return this.lineages.fold(new Map(this.pruned))
  }

  headOf(origin: OriginId): Head | undefined {
    return this.heads.get(origin)
  }

  get documentNames(): Iterable<string> {
    return this.documents.keys()
  }

  digestOf(name: string): string {
    const { count, high, low } = this.documents.get(name)?.digest ?? NO_DIGEST
    return `${count}/${high}/${low}`
  }

  /** Snapshot and tail of a document. */
  updatesOf(name: string): readonly Uint8Array[] {
    const document = this.documents.get(name)
    if (!document) return []
    const tail = document.tail.map(({ update }) => update)
    return document.snapshot ? [document.snapshot.update, ...tail] : tail
  }

  load(name: string): LoadedDocument {
    const document = this.documents.get(name)
    const { position } = this
    if (!document) {
      const nothing = { known: new KnownState(), snapshot: undefined, tail: [], clock: {}, owned: [] }
      return { name, generation: 0, position, ...nothing }
    }
    const { snapshot, tail, clock } = document
    const known = snapshot ? KnownState.decode(snapshot.known) : new KnownState()
    // As `open-documents.ts` does.
    const added: LoadedDocument['tail'][number][] = []
    for (const { position, dot, update } of tail) {
      const checked = checkUpdate(parseUpdate(update), known, 'update')
      if (checked.type === 'gap') throw new Error(`${this.name}: a gap in ${name} as stored`)
      known.add(checked)
      if (checked.type === 'new') added.push({ position, dot, update: checked.update })
    }
    return {
      name,
      generation: 0,
      known,
      snapshot: snapshot?.update,
      tail: added,
      position,
      clock: { ...clock },
      owned: [],
    }
  }

  readChains(dots: readonly Dot[]): readonly (Uint8Array | undefined)[] {
    return dots.map(({ origin, seq }) => {
      const head = this.heads.get(origin)
      if (head?.seq === seq) return head.chain
      return this.rows.find(({ op }) => op.dot.origin === origin && op.dot.seq === seq)?.chain
    })
  }

  readOps({ after, beyond, upTo, names, limitCost }: LogRange): LogSlice {
    const [held, limit] = [this.lineages.unfold(beyond), upTo && this.lineages.unfold(upTo)]
    const last = (origin: OriginId): number => (limit ? (limit.get(origin) ?? 0) : Number.MAX_SAFE_INTEGER)
    const isNamed = (origin: OriginId): boolean => !names || names.has(replicaNameOf(origin))
    if (after < this.floorPosition) {
      for (const [origin, seq] of this.pruned) {
        const above = held.get(origin) ?? 0
        if (isNamed(origin) && seq > above && last(origin) > above) {
          return { ops: [], position: after, atEnd: false, isPruned: true }
        }
      }
    }
    const ops: LoggedOp[] = []
    let position = after
    let cost = 0
    for (const row of this.rows) {
      if (row.position <= after) continue
      const { origin, seq } = row.op.dot
      if (isNamed(origin) && seq > (held.get(origin) ?? 0) && seq <= last(origin)) {
        cost += opCost(row.op)
        if (ops.length > 0 && cost > limitCost) return { ops, position, atEnd: false, isPruned: false }
        ops.push(row)
      }
      position = row.position
    }
    return { ops, position: Math.max(after, this.position), atEnd: true, isPruned: false }
  }

  /** The position below which the log may begin, keeping so many ops and all that are not under `ceiling`. */
  prunableTo(keep: number, ceiling: VersionVector | undefined): number {
    const end = this.position - keep
    let position = this.floorPosition
    for (const row of this.rows) {
      if (row.position > end || (ceiling && !this.lineages.includes(ceiling, row.op.dot))) break
      position = row.position
    }
    return position
  }

  get floorAt(): number {
    return this.floorPosition
  }

  /** Dots of the ops up to `position`. */
  dotsTo(position: number): readonly Dot[] {
    return this.rows.filter((row) => row.position <= position).map(({ op }) => op.dot)
  }

  export(): StateImage {
    const origins = new Map<OriginId, ImageOrigin>()
    for (const [origin, { seq, chain }] of this.heads) {
      const opening = this.openings.get(origin)!
      origins.set(origin, { seq, chain, first: opening.dot.seq, predecessor: opening.predecessor })
    }
    const documents = new Map(
      [...this.documents].map(([name, { snapshot, tail, clock, digest }]) => {
        const { update, known } = compact({ snapshot: snapshot?.update, tail: tail.map((one) => one.update) })
        return [name, { update, known, clock: { ...clock }, digest }] as const
      }),
    )
    const { vector: cut, latestHlc } = this
    return { cut, origins, documents, reoriginated: new Map(this.reoriginated), latestHlc }
  }

  /** Why a state cannot be joined; undefined where it can. */
  refusalOf(image: StateImage): string | undefined {
    for (const [origin, seq] of this.pruned) {
      if (seq > (image.origins.get(origin)?.seq ?? 0)) return `${origin}:${seq} is pruned here and not in it`
    }
    for (const [origin, { seq, chain }] of this.heads) {
      const theirs = image.origins.get(origin)
      if (theirs?.seq === seq && hexOf(theirs.chain) !== hexOf(chain)) return `forked at ${origin}:${seq}`
    }
    return undefined
  }

  private append(op: Op, chain: Uint8Array): void {
    const { origin, seq } = op.dot
    this.position++
    this.rows.push({ op, chain, position: this.position })
    this.heads.set(origin, { seq, chain })
    if (op.hlc > this.latestHlc) this.latestHlc = op.hlc
    if (op.kind === 'open') this.open(op.dot, op.predecessor)
    if (op.kind === 're-originated') this.reoriginated.set(`${op.was.origin}:${op.was.seq}`, op.dot)
    for (const { document: name, update } of partsOf(op)) {
      const document = this.document(name)
      document.tail.push({ position: this.position, dot: op.dot, update })
      document.clock[replicaNameOf(origin)] = seq
      document.digest = withChain(document.digest, chain)
    }
  }

  private open(dot: Dot, predecessor: Dot | undefined): void {
    this.openings.set(dot.origin, { dot, ...(predecessor && { predecessor }) })
    this.lineages.learnOpening(dot, predecessor)
  }

  private document(name: string): StoredDocument {
    let document = this.documents.get(name)
    if (!document) {
      document = { snapshot: undefined, tail: [], clock: {}, digest: NO_DIGEST }
      this.documents.set(name, document)
    }
    return document
  }

  private prune(position: number): void {
    while (this.rows.length > 0 && this.rows[0]!.position <= position) {
      const { dot } = this.rows.shift()!.op
      this.pruned.set(dot.origin, dot.seq)
    }
    this.floorPosition = Math.max(this.floorPosition, position)
  }

  /** The state takes a position of its own, above all that were; what it does not hold moves above it. */
  private join(image: StateImage, surplus: Surplus): void {
    const rows =
      surplus === 'dropped'
        ? []
        : this.rows.filter(({ op }) => op.dot.seq > (image.origins.get(op.dot.origin)?.seq ?? 0))
    this.position++
    this.floorPosition = this.position
    this.rows = []
    this.heads = new Map()
    this.openings = new Map()
    this.pruned = new Map()
    for (const [origin, { seq, chain, first, predecessor }] of image.origins) {
      this.heads.set(origin, { seq, chain })
      this.pruned.set(origin, seq)
      this.open({ origin, seq: first }, predecessor)
    }
    this.documents = new Map(
      [...image.documents].map(([name, { update, known, clock, digest }]) => {
        const snapshot = { position: this.position, update, known }
        return [name, { snapshot, tail: [], clock: { ...clock }, digest }]
      }),
    )
    this.reoriginated = new Map([...this.reoriginated, ...image.reoriginated])
    if (image.latestHlc > this.latestHlc) this.latestHlc = image.latestHlc
    const { documents } = this
    if (surplus !== 'kept') this.documents = new Map()
    for (const { op, chain } of rows) this.append(op, chain)
    this.documents = documents
  }
}

function withChain({ count, high, low }: Digest, chain: Uint8Array): Digest {
  const word = (at: number): number =>
    (chain[at]! << 24) | (chain[at + 1]! << 16) | (chain[at + 2]! << 8) | chain[at + 3]!
  return { count: count + 1, high: high ^ word(0), low: low ^ word(4) }
}
