/**
 * One replica's decisions: which updates become ops, in which order they become visible, and who is told what. A pure
 * state machine; the host performs the effects, in their order.
 *
 * The rule it keeps is *persist before show*: an update is checked against the accepted state, becomes an op in flight,
 * and only `committed` turns it into something that is delivered or acknowledged (DESIGN.md section 2, "Ingest"). When
 * a commit fails, every op behind it fails with it, and all that was counted for them (accepted states, next seq, hlc)
 * goes back to the last commit: no failed dot left the process, so its number is used again.
 */
import { assert, unreachable } from '../../shared/base/assert.js'
import type { Dot, OriginId } from '../../shared/clock/dot.js'
import { HybridClock, type HybridTime } from '../../shared/clock/hybrid-clock.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import { spaceOf } from '../../shared/protocol/document-name.js'
import { type Op, type OwnedId, type Part, partsOf } from '../../shared/protocol/op.js'
import { type Checked, type ClockRange, checkUpdate } from '../../shared/update/check.js'
import { STORED_UPDATE_LIMITS } from '../../shared/update/limits.js'
import { parseUpdate } from '../../shared/update/parse.js'
import { countNewDocument, type DocumentQuotas, hourly } from '../access/document-quota.js'
import { RateLimiter } from '../access/rate-limit.js'
import type { DeliveredUpdate, LoadedDocument, NewUpdate } from './open-document.js'
import { OpenDocument } from './open-document.js'

/** Who asked. Handed back untouched. Requests of one lane are judged in the order they came. */
export interface Source {
  readonly lane: object
  /** The verified user; absent where it is nobody in particular. */
  readonly userId?: string | undefined
}

export interface ReplicaLimits {
  /** Stored bytes of one document beyond which it takes no new structs; deletes still pass. */
  readonly documentBytes: number
  /** Clients whose structs one document takes: each counts in every state vector, and in every edit of its readers. */
  readonly documentClients: number
  /** Root types of one document, and the UTF-16 units of their names together. */
  readonly documentRoots: number
  readonly documentRootNames: number
  /** Bytes of updates in flight to the disk, all documents, and requests that wait for them: small ones cost more than their bytes. */
  readonly inFlightBytes: number
  readonly inFlightRequests: number
  /** Updates of one lane that wait behind a content check, and their bytes. */
  readonly waitingPerLane: number
  readonly waitingBytesPerLane: number
  /** Bytes of updates under a content check and behind one, all documents; a single update may be larger. */
  readonly checkingBytes: number
  /** Updates after a snapshot that make a compaction due even if they are few bytes. */
  readonly tailUpdates: number
  /** Bytes after a snapshot that make a compaction due, if they also exceed the snapshot's own size. */
  readonly tailBytes: number
  /** A changed document is compacted after this long without an edit, if `idleTailUpdates` have gathered. */
  readonly idleCompactionMs: number
  readonly idleTailUpdates: number
}

export const DEFAULT_REPLICA_LIMITS: ReplicaLimits = {
  documentBytes: 64 * 1024 * 1024,
  documentClients: 200_000,
  documentRoots: 10_000,
  documentRootNames: 1024 * 1024,
  inFlightBytes: 64 * 1024 * 1024,
  inFlightRequests: 200_000,
  waitingPerLane: 10_000,
  waitingBytesPerLane: 32 * 1024 * 1024,
  checkingBytes: 256 * 1024 * 1024,
  tailUpdates: 40_000,
  tailBytes: 768 * 1024,
  idleCompactionMs: 2_000,
  idleTailUpdates: 64,
}

export type ReplicaInput<S extends Source> =
  /** Before it is read from the log: what peers bring meanwhile is added when it is there. */
  | { readonly type: 'document-loading'; readonly document: string }
  | { readonly type: 'document-load-failed'; readonly document: string }
  | { readonly type: 'document-loaded'; readonly loaded: LoadedDocument }
  /** Only for a document without ops in flight. */
  | { readonly type: 'document-unloaded'; readonly document: string }
  | {
      readonly type: 'updates-received'
      readonly source: S
      /** Several parts, of different documents, become one op: all or none. Documents are loaded. */
      readonly parts: readonly ReceivedPart[]
      readonly nowMs: number
    }
  /** Ops of other replicas, in delivery order: everything that they depend on is here or comes before them. */
  | { readonly type: 'ops-delivered'; readonly ops: readonly Op[]; readonly nowMs: number }
  /** The log was joined with another state. Nothing is in flight, and no document is loaded. */
  | { readonly type: 'state-joined'; readonly vector: VersionVector; readonly latestHlc: HybridTime }
  /** A user announced a client id as their own. */
  | {
      readonly type: 'id-announced'
      readonly document: string
      readonly client: number
      readonly userId: string
      readonly nowMs: number
    }
  /** The verdict on a `compare-content` effect; of no interest any more where a commit failed meanwhile. */
  | {
      readonly type: 'content-compared'
      readonly document: string
      readonly lane: object
      readonly check: number
      /** An error: it could not be compared. */
      readonly verdict: 'agrees' | 'differs' | CausewayError
      readonly nowMs: number
    }
  /** What became of an `overlaps-delivered` effect: what is here holds. (Where it does not, the document is closed.) */
  | { readonly type: 'overlaps-compared'; readonly document: OpenDocument }
  /** The oldest `count` appended ops are on disk, the last of them at `position` and those before it just before. */
  | { readonly type: 'committed'; readonly count: number; readonly position: number; readonly nowMs: number }
  /** Nothing in flight reached the disk, or, for an indefinite error, nobody knows. */
  | { readonly type: 'commit-failed'; readonly error: CausewayError }
  /** Nobody listens there any more. */
  | { readonly type: 'lane-closed'; readonly lane: object }
  /** A probe of the disk succeeded after a failed commit. */
  | { readonly type: 'writable-again' }
  /** The snapshot that a `compact` effect asked for is on disk. */
  | { readonly type: 'compacted'; readonly document: string; readonly snapshot: Uint8Array; readonly tailCount: number }
  | { readonly type: 'compaction-failed'; readonly document: string }
  | { readonly type: 'tick'; readonly nowMs: number }

export interface ReceivedPart {
  readonly document: string
  readonly update: Uint8Array
  readonly kind: 'update' | 'step2'
}

export type ReplicaEffect<S extends Source> =
  /** Write the op to the log; answered by `committed` or `commit-failed`. */
  | { readonly type: 'append'; readonly op: Op }
  /** Several of one commit are in delivery order over all documents. */
  | { readonly type: 'deliver'; readonly document: OpenDocument; readonly updates: readonly DeliveredUpdate<S>[] }
  /** Content of another replica's op overlaps what is here: whether both agree is for a worker to see. Answered by `overlaps-compared`. */
  | {
      readonly type: 'overlaps-delivered'
      readonly document: OpenDocument
      readonly dot: Dot
      readonly update: Uint8Array
      readonly overlaps: readonly ClockRange[]
    }
  /** Another replica's op does not fit into the document: it is not the one that the cell has, and must be looked at. */
  | { readonly type: 'unfit'; readonly document: string; readonly dot: Dot; readonly error: CausewayError }
  /** Two replicas recorded different owners of an id: which holds, the log knows. */
  | { readonly type: 'owners-differ'; readonly document: string }
  /** `dot` is absent where nothing had to be stored. */
  | {
      readonly type: 'acknowledge'
      readonly source: S
      readonly dot?: Dot | undefined
      readonly echo?: Uint8Array | undefined
      readonly leftover: boolean
    }
  | { readonly type: 'refuse'; readonly source: S; readonly error: CausewayError }
  /** Compare content of known structs in a worker; answered by `content-compared` with the same document, lane and check. */
  | {
      readonly type: 'compare-content'
      readonly document: OpenDocument
      readonly lane: object
      readonly check: number
      readonly update: Uint8Array
      readonly overlaps: readonly ClockRange[]
      /** Ids of the sender's user under which others have written from these clocks on: see `contentAgrees`. */
      readonly doubtfulFrom: ReadonlyMap<number, number>
    }
  /** Fold the snapshot and the first `tailCount` updates after it into a new snapshot. */
  | { readonly type: 'compact'; readonly document: OpenDocument; readonly tailCount: number }
  /** Writes work again: ask these sources for what was refused meanwhile. */
  | { readonly type: 'resync'; readonly lanes: readonly object[] }
  /** The disk can no longer be trusted: the process must end. */
  | { readonly type: 'stop'; readonly error: CausewayError }

interface InFlightPart {
  /** Absent where it is not loaded: then the log alone gets it. */
  document: OpenDocument | undefined
  /** Absent where it adds nothing to the document, or is not to be shown in it. */
  added: NewUpdate | undefined
  readonly part: Part
}

interface InFlightOp<S> {
  readonly op: Op
  readonly isOwn: boolean
  readonly parts: readonly InFlightPart[]
  /** The document whose ownership an own op changes. */
  readonly owned?: OpenDocument
  readonly bytes: number
  /** Answered when this op is durable: its own source first, then those whose update added nothing. */
  readonly waiting: {
    readonly source: S
    readonly own: boolean
    readonly echo: Uint8Array | undefined
    readonly leftover: boolean
  }[]
}

/** What became durable in a document while it was being read from the log. */
interface Meanwhile {
  readonly position: number
  readonly dot: Dot
  readonly part: Part
}

/** Requests of one lane that wait for the content check of their first one. */
interface Checking<S extends Source> {
  readonly check: number
  readonly document: string
  readonly queue: { readonly source: S; readonly parts: readonly ReceivedPart[] }[]
  bytes: number
  /** Known ranges of the first request, by document: those whose content was compared, and those that are being. */
  readonly asked: Compared
}

/** Known ranges of a request whose content agrees, by document. */
type Compared = ReadonlyMap<string, readonly ClockRange[]>

type Verdict =
  | {
      readonly type: 'fits'
      readonly added: NewUpdate
      readonly changed: boolean
      readonly leftover: boolean
      /** What extends client ids of others. */
      readonly relayed: readonly ClockRange[]
    }
  | { readonly type: 'nothing-new'; readonly leftover: boolean }
  | { readonly type: 'compare'; readonly overlaps: readonly ClockRange[] }
  | { readonly type: 'refused'; readonly error: CausewayError }

export interface ReplicaOptions {
  readonly origin: OriginId
  /** What this disk held before: newest origin and its last durable seq. */
  readonly predecessor: Dot | undefined
  /** Durable vector at start, the predecessor included. */
  readonly vector: VersionVector
  readonly latestHlc: HybridTime
  readonly limits?: Partial<ReplicaLimits>
  /** New documents per hour of one user, and of one space. */
  readonly newDocuments?: { readonly perUser: number; readonly perSpace: number }
  /** Why this process may not begin to write under its origin: asked until it has. */
  readonly refusalToOpen?: () => CausewayError | undefined
  /** Whether a document takes no structs that extend somebody else's client id. */
  readonly deniesRelay?: (document: string) => boolean
}

/** Thresholds are doubled so often at most. */
const BACKOFF_LIMIT = 16

export class Replica<S extends Source> {
  readonly origin: OriginId
  readonly limits: ReplicaLimits
  private readonly deniesRelay: (document: string) => boolean
  private readonly askWhetherToOpen: () => CausewayError | undefined
  private readonly quotas: DocumentQuotas | undefined
  /** Of the input under way. */
  private nowMs = 0
  private readonly predecessor: Dot | undefined
  private readonly clock: HybridClock
  /** Durable, and accepted (what is in flight included), without this disk's own lineage. */
  private others: VersionVector
  private acceptedOthers: VersionVector
  private durableSeq: number
  private nextSeq: number
  private durableHlc: HybridTime
  private readonly documents = new Map<string, OpenDocument>()
  private inFlight: InFlightOp<S>[] = []
  /** Of the first op in flight: ops are numbered in the order in which they are appended. */
  private firstTicket = 1
  /** By name, of documents that are being read. */
  private readonly meanwhile = new Map<string, Meanwhile[]>()
  /** Bytes of updates accepted and not yet durable. */
  inFlightBytes = 0
  private inFlightRequests = 0
  private readonly checking = new Map<object, Checking<S>>()
  /** Parts of requests that wait for a check, or behind one. */
  private readonly waitingParts = new Map<OpenDocument, number>()
  private lastCheck = 0
  private checkingBytes = 0
  /** Changed documents that a tick may compact. */
  private readonly changed = new Set<OpenDocument>()
  private writeProblem: CausewayError | undefined
  /** Lanes to which `writable-again` is told. */
  private readonly refusedLanes = new Set<object>()

  constructor(options: ReplicaOptions) {
    this.origin = options.origin
    this.predecessor = options.predecessor
    this.limits = { ...DEFAULT_REPLICA_LIMITS, ...options.limits }
    this.deniesRelay = options.deniesRelay ?? (() => false)
    this.askWhetherToOpen = options.refusalToOpen ?? (() => undefined)
    const now = (): number => this.nowMs
    this.quotas = options.newDocuments && {
      perUser: new RateLimiter(hourly(options.newDocuments.perUser), now),
      perSpace: new RateLimiter(hourly(options.newDocuments.perSpace), now),
    }
    this.clock = new HybridClock(options.latestHlc)
    this.durableHlc = options.latestHlc
    const others = new Map(options.vector)
    if (options.predecessor !== undefined) others.delete(options.predecessor.origin)
    this.others = others
    this.acceptedOthers = others
    this.durableSeq = options.predecessor?.seq ?? 0
    this.nextSeq = this.durableSeq + 1
  }

  /** Durable vector: one entry a lineage. The predecessor's entry is implied once an op of this incarnation is durable. */
  get vector(): VersionVector {
    const vector = new Map(this.others)
    if (this.hasOpened) vector.set(this.origin, this.durableSeq)
    else this.addPredecessor(vector)
    return vector
  }

  /** Peers may know more of it than this disk held. */
  private addPredecessor(vector: Map<OriginId, number>): void {
    if (this.predecessor === undefined) return
    const { origin, seq } = this.predecessor
    vector.set(origin, Math.max(seq, vector.get(origin) ?? 0))
  }

  get isWritable(): boolean {
    return this.writeProblem === undefined
  }

  get openDocuments(): ReadonlyMap<string, OpenDocument> {
    return this.documents
  }

  document(name: string): OpenDocument | undefined {
    return this.documents.get(name)
  }

  /** Whether nothing of this document is in flight, under a check, or being compacted. */
  isQuiet(document: OpenDocument): boolean {
    const { ownership } = document
    return !document.hasInFlight && !ownership.hasInFlight && !document.compacting && !this.waitingParts.has(document)
  }

  step(input: ReplicaInput<S>): ReplicaEffect<S>[] {
    const effects: ReplicaEffect<S>[] = []
    switch (input.type) {
      case 'document-loading':
        assert(!this.documents.has(input.document), `loading an open document: ${input.document}`)
        this.meanwhile.set(input.document, [])
        break
      case 'document-load-failed':
        this.meanwhile.delete(input.document)
        break
      case 'document-loaded':
        this.load(input.loaded, effects)
        break
      case 'document-unloaded': {
        const document = this.loaded(input.document)
        assert(this.isQuiet(document), `unloading a busy document: ${input.document}`)
        this.changed.delete(document)
        this.documents.delete(input.document)
        break
      }
      case 'updates-received':
        this.receive(input.source, input.parts, input.nowMs, effects)
        break
      case 'ops-delivered':
        for (const op of input.ops) this.take(op, effects)
        break
      case 'state-joined':
        this.join(input.vector, input.latestHlc)
        break
      case 'id-announced':
        this.announce(input, effects)
        break
      case 'content-compared':
        this.resume(input, effects)
        break
      case 'overlaps-compared':
        input.document.comparing--
        if (this.documents.get(input.document.name) !== input.document) break
        this.changed.add(input.document)
        this.compactIfDue(input.document, effects)
        break
      case 'committed':
        this.commit(input.count, input.position, input.nowMs, effects)
        break
      case 'commit-failed':
        this.fail(input.error, effects)
        break
      case 'lane-closed':
        this.refusedLanes.delete(input.lane)
        break
      case 'writable-again': {
        this.writeProblem = undefined
        const lanes = [...this.refusedLanes]
        this.refusedLanes.clear()
        effects.push({ type: 'resync', lanes })
        break
      }
      case 'compacted': {
        const document = this.loaded(input.document)
        document.replaceSnapshot(input.snapshot, input.tailCount)
        document.compacting = false
        document.compactionBackoff = 0
        break
      }
      case 'compaction-failed': {
        // Not tried again before the tail has doubled: a document that cannot be compacted must not eat a worker.
        const document = this.loaded(input.document)
        document.compacting = false
        document.compactionBackoff = Math.min(document.compactionBackoff + 1, BACKOFF_LIMIT)
        break
      }
      case 'tick':
        this.tick(input.nowMs, effects)
        break
      default:
        unreachable(input)
    }
    return effects
  }

  private loaded(name: string): OpenDocument {
    const document = this.documents.get(name)
    assert(document, `document is not loaded: ${name}`)
    return document
  }

  private get hasOpened(): boolean {
    return this.durableSeq > (this.predecessor?.seq ?? 0)
  }

  // --- ingest ---------------------------------------------------------------------------------------------------

  private receive(source: S, parts: readonly ReceivedPart[], nowMs: number, effects: ReplicaEffect<S>[]): void {
    const waiting = this.checking.get(source.lane)
    if (waiting) this.wait(waiting, source, parts, effects)
    else this.judge(source, parts, undefined, nowMs, effects)
  }

  /** Queues a request behind the check that its lane waits for. */
  private wait(waiting: Checking<S>, source: S, parts: readonly ReceivedPart[], effects: ReplicaEffect<S>[]): void {
    const { waitingPerLane, waitingBytesPerLane, checkingBytes } = this.limits
    const bytes = bytesOf(parts)
    const isFull =
      waiting.queue.length >= waitingPerLane ||
      waiting.bytes + bytes > waitingBytesPerLane ||
      this.checkingBytes + bytes > checkingBytes
    if (isFull) {
      const { document } = waiting
      effects.push({ type: 'refuse', source, error: new CausewayError('document/busy', { document }) })
      return
    }
    this.countWaiting(parts, 1)
    waiting.queue.push({ source, parts })
    waiting.bytes += bytes
    this.checkingBytes += bytes
  }

  private countWaiting(parts: readonly ReceivedPart[], by: 1 | -1): void {
    for (const part of parts) {
      const document = this.loaded(part.document)
      const count = (this.waitingParts.get(document) ?? 0) + by
      if (count > 0) this.waitingParts.set(document, count)
      else this.waitingParts.delete(document)
    }
  }

  /** Decides about one request. `equal`: what of it was already compared. */
  private judge(
    source: S,
    parts: readonly ReceivedPart[],
    equal: Compared | undefined,
    nowMs: number,
    effects: ReplicaEffect<S>[],
  ): void {
    if (this.writeProblem !== undefined) {
      this.refusedLanes.add(source.lane)
      effects.push({ type: 'refuse', source, error: this.writeProblem })
      return
    }
    const refusal = this.refusalToOpen
    if (refusal) {
      effects.push({ type: 'refuse', source, error: refusal })
      return
    }
    const fitting: { readonly document: OpenDocument; readonly verdict: Extract<Verdict, { type: 'fits' }> }[] = []
    let newestKnown = 0
    let leftover = false
    let changed = false
    for (const part of parts) {
      const document = this.loaded(part.document)
      const verdict = this.check(document, part, source, equal)
      if (verdict.type === 'refused') {
        effects.push({ type: 'refuse', source, error: verdict.error })
        return
      }
      if (verdict.type === 'compare') {
        this.compare(document, source, parts, part, verdict.overlaps, equal, effects)
        return
      }
      leftover ||= verdict.leftover
      if (verdict.type === 'fits') {
        fitting.push({ document, verdict })
        changed ||= verdict.changed
      } else {
        changed = true
        if (document.hasInFlight) newestKnown = Math.max(newestKnown, document.acceptedTicket)
      }
    }
    if ((fitting.length > 0 || newestKnown > 0) && this.inFlightRequests >= this.limits.inFlightRequests) {
      effects.push({ type: 'refuse', source, error: new CausewayError('document/busy') })
      return
    }
    for (const { document } of fitting) {
      const error = this.refusalOfNew(document, source, nowMs)
      if (error === undefined) continue
      effects.push({ type: 'refuse', source, error })
      return
    }
    const first = parts[0]
    const echo = changed && parts.length === 1 ? first?.update : undefined
    if (fitting.length > 0) this.accept(source, fitting, echo, leftover, nowMs, effects)
    else if (newestKnown > 0) {
      // Nothing new, but part of what it repeats is still on its way to the disk: true only when that is durable.
      const op = this.inFlight[newestKnown - this.firstTicket]
      assert(op, `op ${newestKnown} is not in flight`)
      op.waiting.push({ source, own: false, echo, leftover })
      this.inFlightRequests++
    } else effects.push({ type: 'acknowledge', source, dot: undefined, echo, leftover })
  }

  private check(document: OpenDocument, part: ReceivedPart, source: S, equal: Compared | undefined): Verdict {
    let result: Checked
    try {
      result = checkUpdate(parseUpdate(part.update), document.accepted, part.kind)
    } catch (error) {
      if (!(error instanceof CausewayError)) throw error
      return { type: 'refused', error: withDocument(error, document.name) }
    }
    if (result.type === 'gap') {
      const { name, stateVectorText: stateVector } = document
      return { type: 'refused', error: new CausewayError('document/gap', { document: name, stateVector }) }
    }
    const relayed = result.type === 'new' ? foreignOf(document, result, source) : NO_RANGES
    if (relayed.length > 0 && document.deniesRelay) {
      const details = { document: document.name, client: relayed[0]![0] }
      return { type: 'refused', error: new CausewayError('document/foreign-client', details) }
    }
    const doubtful = document.ownership.doubtfulOf(source.userId)
    if (doubtful.size > 0 && hidesRelayed(result, doubtful)) {
      const stateVector = document.questionTextTo(source.userId)
      const details = { document: document.name, stateVector, relayed: true }
      return { type: 'refused', error: new CausewayError('document/gap', details) }
    }
    if (result.overlaps.length > 0 && !covers(equal?.get(document.name), result.overlaps)) {
      return { type: 'compare', overlaps: result.overlaps }
    }
    if (doubtful.size > 0) confirm(document, result.overlaps, doubtful)
    if (result.type === 'nothing-new') return { type: 'nothing-new', leftover: result.leftover }
    if (result.clocks.length > 0 && document.acceptedBytes + result.update.length > this.limits.documentBytes) {
      const details = { document: document.name, limitBytes: this.limits.documentBytes }
      return { type: 'refused', error: new CausewayError('document/too-large', details) }
    }
    if (this.hasTooManyClients(document, result)) {
      const details = { document: document.name, limitClients: this.limits.documentClients }
      return { type: 'refused', error: new CausewayError('document/too-large', details) }
    }
    if (this.hasTooManyRoots(document, result)) {
      const details = { document: document.name, limitRoots: this.limits.documentRoots }
      return { type: 'refused', error: new CausewayError('document/too-large', details) }
    }
    if (this.inFlightBytes + result.update.length > this.limits.inFlightBytes) {
      return { type: 'refused', error: new CausewayError('document/busy', { document: document.name }) }
    }
    const changed = result.update !== part.update
    return { type: 'fits', added: changed ? result : own(result), changed, leftover: result.leftover, relayed }
  }

  /** Where the first write of a document exceeds a quota. Counts the document. */
  private refusalOfNew(document: OpenDocument, { userId }: S, nowMs: number): CausewayError | undefined {
    if (this.quotas === undefined || document.exists || document.hasInFlight) return undefined
    this.nowMs = nowMs
    const retryAfterMs = countNewDocument(this.quotas, spaceOf(document.name), userId)
    if (retryAfterMs === 0) return undefined
    return new CausewayError('document/too-many-new', { document: document.name, retryAfterMs })
  }

  /** Those that are there may go on. */
  private hasTooManyClients(document: OpenDocument, { clocks }: NewUpdate): boolean {
    const limit = this.limits.documentClients
    if (document.clientsAtMost + clocks.length <= limit) return false
    const added = clocks.filter(([, from]) => from === 0).length
    return added > 0 && document.countClients() + added > limit
  }

  /** Those that are there may go on. */
  private hasTooManyRoots({ accepted }: OpenDocument, { roots }: NewUpdate): boolean {
    if (roots.length === 0) return false
    const { documentRoots, documentRootNames } = this.limits
    const known = accepted.roots
    const added = roots.filter((name) => !known.has(name))
    if (added.length === 0) return false
    const length = added.reduce((sum, name) => sum + name.length, known.length)
    return known.size + added.length > documentRoots || length > documentRootNames
  }

  private accept(
    source: S,
    fitting: readonly { readonly document: OpenDocument; readonly verdict: Extract<Verdict, { type: 'fits' }> }[],
    echo: Uint8Array | undefined,
    leftover: boolean,
    nowMs: number,
    effects: ReplicaEffect<S>[],
  ): void {
    this.openOnce(nowMs, effects)
    for (const { document, verdict } of fitting) {
      for (const range of verdict.relayed) this.noteRelayed(document, range, nowMs, effects)
    }
    const dot: Dot = { origin: this.origin, seq: this.nextSeq++ }
    const hlc = this.clock.next(nowMs)
    const parts: Part[] = []
    let bytes = 0
    for (const { document, verdict } of fitting) {
      document.accept(this.nextTicket, verdict.added)
      parts.push({ document: document.name, generation: document.generation, update: verdict.added.update })
      bytes += verdict.added.update.length
    }
    this.inFlightBytes += bytes
    this.inFlightRequests++
    const op: Op = { kind: 'data', dot, deps: this.acceptedOthers, hlc, parts }
    const inFlightParts = fitting.map(({ document, verdict }, index) => {
      return { document, added: verdict.added, part: parts[index]! }
    })
    const waiting = [{ source, own: true, echo, leftover }]
    this.inFlight.push({ op, isOwn: true, parts: inFlightParts, bytes, waiting })
    effects.push({ type: 'append', op })
  }

  private get nextTicket(): number {
    return this.firstTicket + this.inFlight.length
  }

  /** Its first op is durable, or on its way to be. */
  private get isOpening(): boolean {
    return this.hasOpened || this.nextSeq > this.durableSeq + 1
  }

  private get refusalToOpen(): CausewayError | undefined {
    return this.isOpening ? undefined : this.askWhetherToOpen()
  }

  /** The first op of an incarnation names what this disk held before, so that vectors can fold the old entry away. */
  private openOnce(nowMs: number, effects: ReplicaEffect<S>[]): void {
    if (this.isOpening) return
    const dot: Dot = { origin: this.origin, seq: this.nextSeq++ }
    const hlc = this.clock.next(nowMs)
    const predecessor = this.predecessor === undefined ? {} : { predecessor: this.predecessor }
    const deps = new Map(this.acceptedOthers)
    this.addPredecessor(deps)
    const op: Op = { kind: 'open', dot, deps, hlc, ...predecessor }
    this.inFlight.push({ op, isOwn: true, parts: [], bytes: 0, waiting: [] })
    effects.push({ type: 'append', op })
  }

  // --- ops of others --------------------------------------------------------------------------------------------

  /** An op of another replica goes to the log whatever is loaded here; what is loaded gets its parts. */
  private take(op: Op, effects: ReplicaEffect<S>[]): void {
    this.clock.observe(op.hlc)
    const others = new Map(this.acceptedOthers)
    advance(others, op)
    this.acceptedOthers = others
    const parts = partsOf(op).map((part): InFlightPart => {
      return { document: undefined, added: undefined, part }
    })
    for (const each of parts) this.attach(each, op.dot, this.nextTicket, effects)
    this.inFlight.push({ op, isOwn: false, parts, bytes: 0, waiting: [] })
    effects.push({ type: 'append', op })
  }

  /** Puts a part that is in flight into its document, where that is loaded. */
  private attach(inFlight: InFlightPart, dot: Dot, ticket: number, effects: ReplicaEffect<S>[]): void {
    const { part } = inFlight
    const document = this.documents.get(part.document)
    if (document === undefined) return
    inFlight.document = document
    inFlight.added = this.fit(document, document.accepted, dot, part, effects)
    if (inFlight.added) document.accept(ticket, inFlight.added)
  }

  /** What a part of an op that is here for good adds to `known`. */
  private fit(
    document: OpenDocument,
    known: OpenDocument['accepted'],
    dot: Dot,
    part: Part,
    effects: ReplicaEffect<S>[],
  ): NewUpdate | undefined {
    // Of a life that has ended: it changes no document.
    if (part.generation !== document.generation) return undefined
    let checked: Checked
    try {
      checked = checkUpdate(parseUpdate(part.update, STORED_UPDATE_LIMITS), known, 'update', STORED_UPDATE_LIMITS)
    } catch (thrown) {
      if (!(thrown instanceof CausewayError)) throw thrown
      effects.push({ type: 'unfit', document: document.name, dot, error: thrown })
      return undefined
    }
    if (checked.type === 'gap') {
      const error = new CausewayError('document/gap', { document: document.name })
      effects.push({ type: 'unfit', document: document.name, dot, error })
      return undefined
    }
    if (checked.overlaps.length > 0) {
      const { overlaps } = checked
      document.comparing++
      effects.push({ type: 'overlaps-delivered', document, dot, update: part.update, overlaps })
    }
    return checked.type === 'new' ? own(checked) : undefined
  }

  private load(loaded: LoadedDocument, effects: ReplicaEffect<S>[]): void {
    const { name } = loaded
    assert(!this.documents.has(name), `document loaded twice: ${name}`)
    const document = new OpenDocument(loaded, this.deniesRelay(name))
    this.documents.set(name, document)
    for (const { position, dot, part } of this.meanwhile.get(name) ?? []) {
      if (position <= loaded.position) continue
      const added = this.fit(document, document.known, dot, part, effects)
      if (!added) continue
      document.accept(0, added)
      document.commit(dot, position, added, document.changedAtMs)
      document.settle()
    }
    this.meanwhile.delete(name)
    for (const [index, { op, parts }] of this.inFlight.entries()) {
      for (const each of parts)
        if (each.part.document === name) this.attach(each, op.dot, this.firstTicket + index, effects)
    }
  }

  private join(vector: VersionVector, latestHlc: HybridTime): void {
    assert(this.inFlight.length === 0 && this.documents.size === 0, 'a state is joined to what is at rest')
    const others = new Map(vector)
    others.delete(this.origin)
    if (!this.hasOpened && this.predecessor !== undefined) {
      const { origin, seq } = this.predecessor
      if ((others.get(origin) ?? 0) <= seq) others.delete(origin)
    }
    this.others = others
    this.acceptedOthers = others
    this.clock.observe(latestHlc)
    this.durableHlc = this.clock.latest
  }

  // --- client ids -----------------------------------------------------------------------------------------------

  private announce(
    { document: name, client, userId, nowMs }: Extract<ReplicaInput<S>, { type: 'id-announced' }>,
    effects: ReplicaEffect<S>[],
  ): void {
    // Told again with each renewal of its presence: what cannot be written now need not be kept.
    if (this.writeProblem !== undefined || this.refusalToOpen) return
    const document = this.loaded(name)
    const announcement = document.ownership.announce(client, userId)
    if (announcement.type !== 'owned') return
    this.openOnce(nowMs, effects)
    const { evicts } = announcement
    this.record(document, { client, user: userId, ...(evicts === undefined ? {} : { evicts }) }, nowMs, effects)
  }

  private noteRelayed(
    document: OpenDocument,
    [client, from]: ClockRange,
    nowMs: number,
    effects: ReplicaEffect<S>[],
  ): void {
    const { ownership } = document
    if (!ownership.relay(client, from)) return
    this.record(document, { client, user: ownership.ownerOf(client)!.user, relayedFrom: from }, nowMs, effects)
  }

  private record(
    document: OpenDocument,
    owned: Omit<OwnedId, 'document' | 'generation'>,
    nowMs: number,
    effects: ReplicaEffect<S>[],
  ): void {
    const dot: Dot = { origin: this.origin, seq: this.nextSeq++ }
    const hlc = this.clock.next(nowMs)
    const { name, generation } = document
    const op: Op = {
      kind: 'owned',
      dot,
      deps: this.acceptedOthers,
      hlc,
      owned: { document: name, generation, ...owned },
    }
    this.inFlight.push({ op, isOwn: true, parts: [], owned: document, bytes: 0, waiting: [] })
    effects.push({ type: 'append', op })
  }

  // --- content checks -------------------------------------------------------------------------------------------

  private compare(
    document: OpenDocument,
    source: S,
    parts: readonly ReceivedPart[],
    part: ReceivedPart,
    overlaps: readonly ClockRange[],
    equal: Compared | undefined,
    effects: ReplicaEffect<S>[],
  ): void {
    const bytes = bytesOf(parts)
    if (this.checkingBytes > 0 && this.checkingBytes + bytes > this.limits.checkingBytes) {
      const error = new CausewayError('document/busy', { document: document.name })
      effects.push({ type: 'refuse', source, error })
      return
    }
    const check = ++this.lastCheck
    const asked = new Map([...(equal ?? []), [document.name, overlaps]])
    this.checking.set(source.lane, { check, document: document.name, queue: [{ source, parts }], bytes, asked })
    this.checkingBytes += bytes
    this.countWaiting(parts, 1)
    // A copy: it may have changed when the worker gets it.
    const doubtfulFrom = new Map(document.ownership.doubtfulOf(source.userId))
    effects.push({
      type: 'compare-content',
      document,
      lane: source.lane,
      check,
      update: part.update,
      overlaps,
      doubtfulFrom,
    })
  }

  private resume(
    { document: name, lane, check, verdict, nowMs }: Extract<ReplicaInput<S>, { type: 'content-compared' }>,
    effects: ReplicaEffect<S>[],
  ): void {
    // A failed commit ended the check: the lane may have a newer one.
    const waiting = this.checking.get(lane)
    if (waiting?.check !== check) return
    const [head, ...behind] = waiting.queue
    assert(head, 'a lane under check has a first request')
    this.checking.delete(lane)
    this.checkingBytes -= waiting.bytes
    for (const { parts } of waiting.queue) this.countWaiting(parts, -1)
    if (verdict === 'agrees') this.judge(head.source, head.parts, waiting.asked, nowMs, effects)
    else {
      const error =
        verdict === 'differs'
          ? new CausewayError('document/equivocation', { document: name })
          : withDocument(verdict, name)
      effects.push({ type: 'refuse', source: head.source, error })
    }
    // What came behind it on the same lane, up to the next one that needs a check of its own.
    for (const next of behind) this.receive(next.source, next.parts, nowMs, effects)
  }

  // --- commits --------------------------------------------------------------------------------------------------

  private commit(durable: number, position: number, nowMs: number, effects: ReplicaEffect<S>[]): void {
    // In delivery order over all documents, since a client may hold several: only neighbours are put together.
    const runs: { readonly document: OpenDocument; readonly updates: DeliveredUpdate<S>[] }[] = []
    const answers: ReplicaEffect<S>[] = []
    assert(durable <= this.inFlight.length, 'more is durable than was appended')
    const first = position - durable + 1
    let others: Map<OriginId, number> | undefined
    for (let index = 0; index < durable; index++) {
      const { op, isOwn, parts, owned, bytes, waiting } = this.inFlight[index]!
      if (isOwn) this.durableSeq = op.dot.seq
      else {
        others ??= new Map(this.others)
        advance(others, op)
      }
      if (op.hlc > this.durableHlc) this.durableHlc = op.hlc
      this.inFlightBytes -= bytes
      this.inFlightRequests -= waiting.length
      if (owned) owned.ownership.settle()
      else if (op.kind === 'owned') this.learnOwner(op, effects)
      for (const { document, added, part } of parts) {
        this.meanwhile.get(part.document)?.push({ position: first + index, dot: op.dot, part })
        if (!document || !added) continue
        const source = waiting[0]?.own ? waiting[0].source : undefined
        const update = document.commit(op.dot, first + index, added, nowMs)
        const last = runs.at(-1)
        const shown = source === undefined ? update : { ...update, source }
        if (last?.document === document) last.updates.push(shown)
        else runs.push({ document, updates: [shown] })
      }
      for (const { source, own, echo, leftover } of waiting) {
        answers.push({ type: 'acknowledge', source, dot: own ? op.dot : undefined, echo, leftover })
      }
    }
    if (others) this.others = others
    this.firstTicket += durable
    this.inFlight = durable === this.inFlight.length ? [] : this.inFlight.slice(durable)
    for (const { document, updates } of runs) effects.push({ type: 'deliver', document, updates })
    for (const document of new Set(runs.map((run) => run.document))) {
      document.settle()
      this.changed.add(document)
      this.compactIfDue(document, effects)
    }
    for (const answer of answers) effects.push(answer)
  }

  /** Another replica recorded an owner. */
  private learnOwner({ owned }: Extract<Op, { kind: 'owned' }>, effects: ReplicaEffect<S>[]): void {
    const document = this.documents.get(owned.document)
    if (document === undefined || document.generation !== owned.generation) {
      // Being read: whether before or after this op, nobody can tell by what comes.
      if (this.meanwhile.has(owned.document)) effects.push({ type: 'owners-differ', document: owned.document })
      return
    }
    if (!document.ownership.learn(owned)) effects.push({ type: 'owners-differ', document: owned.document })
  }

  private fail(error: CausewayError, effects: ReplicaEffect<S>[]): void {
    const failed = this.inFlight
    this.firstTicket += failed.length
    this.inFlight = []
    this.acceptedOthers = this.others
    this.inFlightBytes = 0
    this.inFlightRequests = 0
    this.nextSeq = this.durableSeq + 1
    this.clock.reset(this.durableHlc)
    this.writeProblem = error
    for (const op of failed) {
      for (const { document } of op.parts) document?.rollBack()
      op.owned?.ownership.rollBack()
      for (const { source } of op.waiting) {
        this.refusedLanes.add(source.lane)
        effects.push({ type: 'refuse', source, error })
      }
    }
    // What waits for a content check was compared with content that may be gone.
    for (const { queue } of this.checking.values()) {
      for (const { source } of queue) {
        this.refusedLanes.add(source.lane)
        effects.push({ type: 'refuse', source, error })
      }
    }
    this.checking.clear()
    this.waitingParts.clear()
    this.checkingBytes = 0
    const isOver = error.info.outcome === 'indefinite' || error.info.retry === 'never'
    if (isOver) effects.push({ type: 'stop', error })
  }

  // --- compaction -----------------------------------------------------------------------------------------------

  private tick(nowMs: number, effects: ReplicaEffect<S>[]): void {
    for (const document of this.changed) {
      if (nowMs - document.changedAtMs < this.limits.idleCompactionMs) continue
      this.changed.delete(document)
      if (document.tail.length >= this.limits.idleTailUpdates * 2 ** document.compactionBackoff) {
        this.compact(document, effects)
      }
    }
  }

  private compactIfDue(document: OpenDocument, effects: ReplicaEffect<S>[]): void {
    const factor = 2 ** document.compactionBackoff
    const { tailUpdates, tailBytes } = this.limits
    const isDue =
      document.tail.length >= tailUpdates * factor ||
      (document.tailBytes >= tailBytes * factor && document.tailBytes >= document.snapshotBytes * factor)
    if (isDue) this.compact(document, effects)
  }

  private compact(document: OpenDocument, effects: ReplicaEffect<S>[]): void {
    if (document.compacting || document.comparing > 0) return
    document.compacting = true
    effects.push({ type: 'compact', document, tailCount: document.tail.length })
  }
}

const NO_RANGES: readonly ClockRange[] = []

/** `vector` with this op, without the entry that its opening implies. */
function advance(vector: Map<OriginId, number>, op: Op): void {
  if (op.kind === 'open' && op.predecessor && vector.get(op.predecessor.origin) === op.predecessor.seq) {
    vector.delete(op.predecessor.origin)
  }
  vector.set(op.dot.origin, op.dot.seq)
}

/** Of what is new, the structs under ids that somebody else than the source's user owns. */
function foreignOf({ ownership }: OpenDocument, { clocks }: NewUpdate, { userId }: Source): readonly ClockRange[] {
  if (ownership.size === 0) return NO_RANGES
  for (const [client] of clocks) {
    if (ownership.isForeign(client, userId)) return clocks.filter(([id]) => ownership.isForeign(id, userId))
  }
  return NO_RANGES
}

/**
 * An owner who goes on where others have written under its id must show what it stands on, or an edit on top of what it
 * never wrote would pass for its own. Asked from there, it sends both.
 */
function hidesRelayed(result: Exclude<Checked, { type: 'gap' }>, doubtful: ReadonlyMap<number, number>): boolean {
  if (result.type !== 'new') return false
  return result.clocks.some(([client, from]) => {
    const since = doubtful.get(client)
    return since !== undefined && !showsAll(result.overlaps, client, since, from)
  })
}

/** The content of `overlaps` agrees: where that is all that others wrote under an id, it is the owner's. */
function confirm(document: OpenDocument, overlaps: readonly ClockRange[], doubtful: ReadonlyMap<number, number>): void {
  for (const [client, since] of [...doubtful]) {
    if (showsAll(overlaps, client, since, document.accepted.clocks.get(client))) document.ownership.confirm(client)
  }
}

/** Overlaps of one client follow each other; they may lie apart where the sender lacks a range. */
function showsAll(overlaps: readonly ClockRange[], client: number, from: number, to: number): boolean {
  let seen = from
  for (const [id, start, end] of overlaps) if (id === client && start <= seen) seen = Math.max(seen, end)
  return seen >= to
}

/** The update's bytes may be a view of a socket's receive buffer, which must not be kept alive for a few bytes. */
function own(added: NewUpdate): NewUpdate {
  const { update } = added
  return update.byteLength === update.buffer.byteLength ? added : { ...added, update: update.slice() }
}

function bytesOf(parts: readonly ReceivedPart[]): number {
  return parts.reduce((sum, { update }) => sum + update.length, 0)
}

function covers(compared: readonly ClockRange[] | undefined, overlaps: readonly ClockRange[]): boolean {
  if (compared === undefined) return false
  return overlaps.every(([client, from, to]) =>
    compared.some(([otherClient, otherFrom, otherTo]) => otherClient === client && otherFrom <= from && to <= otherTo),
  )
}

function withDocument(error: CausewayError, document: string): CausewayError {
  return new CausewayError(error.code, { ...error.details, document }, { message: error.message, cause: error })
}
