/**
 * The shell around `Replica`: performs the core's effects with the log and the document workers, and hands what became
 * durable to subscribers. It holds no rule of its own about updates.
 */
import { assert, unreachable } from '../../shared/base/assert.js'
import type { Dot } from '../../shared/clock/dot.js'
import { hybridTimeToMs } from '../../shared/clock/hybrid-clock.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { ErrorCodeName } from '../../shared/errors/codes.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { checkDocumentName } from '../../shared/protocol/document-name.js'
import type { Op } from '../../shared/protocol/op.js'
import { RateLimiter } from '../access/rate-limit.js'
import type { DocumentWorkers } from '../document/pool.js'
import type {
  AnnouncementOutcome,
  DeliveredBatch,
  DocumentBytes,
  DocumentListing,
  Documents,
  Submitted,
  Subscriber,
  Subscription,
} from '../replica/documents.js'
import type { DeliveredUpdate, OpenDocument } from '../replica/open-document.js'
import type { ReceivedPart, Replica, ReplicaEffect, ReplicaInput } from '../replica/replica.js'
import type { Log } from '../storage/log.js'
import { Acknowledgements, type Reach } from './acknowledgements.js'
import { type Committed, Committer } from './committer.js'
import { DeliveredContents } from './delivered-contents.js'
import { Joins } from './joins.js'
import type { Histogram, Metrics } from './metrics.js'
import { type Entry, OpenDocuments } from './open-documents.js'
import { settleContents } from './settle-contents.js'
import { type HostSource, HostSubscription, type Lane, type SubscriptionHost } from './subscription.js'

/** Deadline of an `onLoad` hook. */
const ON_LOAD_MS = 10_000

/** How long a load, and a request that stores something, may wait for the disk. */
const DISK_MS = 30_000

/** Client ids that one user may come to own: each page that opens a document to write in announces one. */
const ANNOUNCEMENTS = { perSecond: 2, burst: 2_000 }

const NOTHING: ReadonlyMap<number, number> = new Map()

/** How often a failed disk is probed for being writable again. */
const PROBE_MS = 500

export interface DocumentHooks {
  /** First content of a document that was never written: a Yjs v1 update, or nothing. */
  readonly onLoad?: (document: string) => Promise<Uint8Array | undefined>
  /** After an update became durable; called in delivery order, never awaited. */
  readonly onChange?: (change: { document: string; dot: Dot; update: Uint8Array }) => void
}

/** How long documents may take to come to rest before a state is joined. */
const REST_MS = 30_000
const REST_POLL_MS = 10

/** The cell that the documents belong to, as its host has it. */
export interface DocumentCell extends Reach {
  /** Everything that is durable here. */
  readonly durable: VersionVector
  /** Why clients may not be served now; absent while they may. */
  readonly refusal: CausewayError | undefined
  /** Ops became durable here, the last of them at `position`; before anybody here is told. */
  committed(ops: readonly Op[], position: number): void
  commitFailed(): void
  writableAgain(): void
  /** Whether somebody waits for other replicas. */
  waiting(isWaiting: boolean): void
}

/** Stable event names of what the log is told. */
export type HostFailure =
  | 'document/compaction-failed'
  | 'document/content-check-failed'
  | 'document/contested'
  | 'document/load-failed'
  | 'document/owners-unknown'
  | 'document/unfit'
  | 'hook/on-change-failed'
  | 'hook/on-load-failed'
  | 'storage/commit-failed'
  | 'transport/subscriber-failed'

export class DocumentHost implements Documents, SubscriptionHost {
  private readonly replica: Replica<HostSource>
  private readonly log: Log
  private readonly workers: DocumentWorkers
  private readonly hooks: DocumentHooks
  private readonly metrics: Metrics
  private readonly onFailure: (event: HostFailure, error: unknown) => void
  private readonly onFatal: (error: CausewayError) => void
  private readonly now: () => number
  private readonly monotonicMs: () => number
  private readonly cell: DocumentCell
  private readonly acknowledgements: Acknowledgements
  private readonly committer: Committer
  private readonly open: OpenDocuments
  private readonly joins: Joins
  private readonly delivered: DeliveredContents
  private readonly announcements: RateLimiter
  /** Of what is under way to the log, something is to be on disk elsewhere too. */
  private isAwaited = false
  private toldWaiting = false
  private isDraining = false
  private isProbing = false
  private probedAtMs = 0

  constructor(options: {
    replica: Replica<HostSource>
    log: Log
    cell: DocumentCell
    workers: DocumentWorkers
    hooks?: DocumentHooks
    metrics: Metrics
    /** Wall clock. */
    now: () => number
    monotonicMs: () => number
    /** Something went wrong that no caller is told of in full. */
    onFailure: (event: HostFailure, error: unknown) => void
    /** The process must end. */
    onFatal: (error: CausewayError) => void
  }) {
    const { replica, log, cell, workers, now, monotonicMs } = options
    this.replica = replica
    this.log = log
    this.cell = cell
    this.acknowledgements = new Acknowledgements(cell)
    this.workers = workers
    this.hooks = options.hooks ?? {}
    this.metrics = options.metrics
    this.onFailure = options.onFailure
    this.onFatal = options.onFatal
    this.now = now
    this.monotonicMs = monotonicMs
    this.announcements = new RateLimiter(ANNOUNCEMENTS, monotonicMs)
    this.open = new OpenDocuments({
      now,
      load: (name) => {
        this.step({ type: 'document-loading', document: name })
        return this.waiting('document-load', () => withDeadline(log.open(name), DISK_MS, 'document/unavailable'))
      },
      onNotLoaded: (name) => this.step({ type: 'document-load-failed', document: name }),
      onLoaded: (loaded) => {
        this.step({ type: 'document-loaded', loaded })
        const document = replica.document(loaded.name)
        assert(document, 'a loaded document is open')
        return document
      },
      settle: async (name) => {
        await settleContents({ log, workers }, name)
        return await log.open(name)
      },
      seed: (name) => this.seed(name),
      isQuiet: (document) => replica.isQuiet(document),
      onUnload: (document) => this.step({ type: 'document-unloaded', document: document.name }),
      onFailure: (error) => this.onFailure('document/load-failed', error),
    })
    this.joins = new Joins({
      now,
      diffInWorker: (whole, stateVector) =>
        this.waiting('diff', () => workers.diff({ snapshot: whole, tail: [] }, stateVector)),
    })
    this.delivered = new DeliveredContents({
      agrees: (state, { update, overlaps }) =>
        this.waiting('content-check', () => workers.agrees(state, update, overlaps, NOTHING)),
      fingerprint: (state) => workers.fingerprint(state),
      settle: (name) => settleContents({ log, workers }, name),
      onDisk: () => this.committer.settled(),
      isOpen: (document) => this.open.get(document.name)?.document === document,
      compared: (document, times) => {
        for (let n = 0; n < times; n++) this.step({ type: 'overlaps-compared', document })
      },
      superseded: (document, error) => this.open.supersede(document.name, error),
      onContested: (error) => this.onFailure('document/contested', error),
      onFailure: (error) => this.workFailed('document/content-check-failed', error),
    })
    this.committer = new Committer({
      log,
      monotonicMs,
      onCommitted: (committed) => this.committed(committed),
      onFailed: (error) => {
        this.onFailure('storage/commit-failed', error)
        this.step({ type: 'commit-failed', error })
        cell.commitFailed()
        this.tellWaiting()
      },
    })
  }

  get isWritable(): boolean {
    return this.replica.isWritable
  }

  stats(): { openDocuments: number; inFlightBytes: number; openBytes: number } {
    let openBytes = 0
    for (const document of this.replica.openDocuments.values()) openBytes += document.bytes
    return { openDocuments: this.replica.openDocuments.size, inFlightBytes: this.replica.inFlightBytes, openBytes }
  }

  // --- Documents ------------------------------------------------------------------------------------------------

  subscribe(name: string, subscriber: Subscriber): Subscription {
    checkDocumentName(name)
    this.refuseUnlessServing()
    const entry = this.open.entry(name)
    const subscription = new HostSubscription(this, entry, subscriber)
    entry.subscriptions.add(subscription)
    this.open.opened(entry).then(
      () => subscription.attach(),
      (error: unknown) => subscription.end(asCausewayError(error)),
    )
    return subscription
  }

  async submit(
    parts: readonly { readonly document: string; readonly update: Uint8Array }[],
    userId?: string,
  ): Promise<Submitted> {
    this.refuseUnlessServing()
    for (const { document } of parts) checkDocumentName(document)
    const names = new Set(parts.map(({ document }) => document))
    if (names.size < parts.length || parts.length === 0) {
      throw new CausewayError('request/invalid', { reason: 'a transaction names each document once' })
    }
    const entries = parts.map(({ document }) => this.open.entry(document))
    return await this.open.pinned(entries, async () => {
      await Promise.all(entries.map((entry) => this.open.opened(entry)))
      const dot = await this.store(
        parts.map((part) => ({ ...part, kind: 'update' as const })),
        userId,
      )
      const clock = this.cell.durable
      return { dot, seen: dot === undefined ? clock : new Map([[dot.origin, dot.seq]]), clock }
    })
  }

  async read(name: string): Promise<DocumentBytes> {
    checkDocumentName(name)
    this.refuseUnlessServing()
    const entry = this.open.entry(name)
    return await this.open.pinned([entry], async () => {
      const document = await this.open.opened(entry)
      if (!document.exists) throw new CausewayError('document/not-found', { document: name })
      return {
        name,
        snapshot: document.snapshot,
        tail: document.tail.map(({ update }) => update),
        stateVector: document.stateVector,
        clock: { ...document.clock },
        seen: this.cell.durable,
      }
    })
  }

  async list(options: { prefix: string; limit: number; cursor?: string }): Promise<DocumentListing> {
    const page = await this.log.list(options)
    const documents = page.documents.map(({ name, bytes, clock, updated }) => {
      return { name, bytes, clock, updatedAt: new Date(hybridTimeToMs(updated)).toISOString() }
    })
    const seen = this.cell.durable
    return page.cursor === undefined ? { documents, seen } : { documents, seen, cursor: page.cursor }
  }

  // --- life -----------------------------------------------------------------------------------------------------

  /** Call a few times a second. */
  tick(): void {
    const nowMs = this.now()
    this.step({ type: 'tick', nowMs })
    this.joins.tick(nowMs)
    this.open.tick(nowMs)
    if (!this.replica.isWritable && !this.isProbing && nowMs - this.probedAtMs >= PROBE_MS) this.probe(nowMs)
  }

  /** Other replicas are known to have more on disk. */
  advanced(): void {
    if (this.acknowledgements.size === 0) return
    this.acknowledgements.advance()
    this.tellWaiting()
  }

  /** Ops of other replicas, in delivery order: they go to the log, and are shown when they are on disk. */
  deliverOps(ops: readonly Op[]): void {
    this.step({ type: 'ops-delivered', ops, nowMs: this.now() })
  }

  /** Clients may not be served any more: they are sent away, with the reason. */
  sendAway(error: CausewayError): void {
    for (const { subscriptions } of this.open.all()) for (const each of [...subscriptions]) each.end(error)
  }

  /**
   * Joins a state into the log. Clients were sent away and none is let in meanwhile. Rejects with `document/busy` where
   * work on documents does not come to its end, and as the log does.
   */
  async joinState(cut: VersionVector): Promise<Awaited<ReturnType<Log['joinState']>>> {
    const giveUpAtMs = this.monotonicMs() + REST_MS
    for (;;) {
      await this.committer.settled()
      this.open.closeUnused()
      if (this.committer.isIdle && this.replica.openDocuments.size === 0 && this.open.size === 0) break
      if (this.monotonicMs() > giveUpAtMs) throw new CausewayError('document/busy')
      await new Promise((resolve) => setTimeout(resolve, REST_POLL_MS))
    }
    const joined = await this.log.joinState(cut)
    this.step({ type: 'state-joined', vector: joined.vector, latestHlc: joined.latestHlc })
    return joined
  }

  private refuseUnlessServing(): void {
    if (this.isDraining) throw new CausewayError('cell/draining')
    const { refusal } = this.cell
    if (refusal) throw refusal
  }

  /** Resolves when nothing accepted so far waits for the disk. */
  settled(): Promise<void> {
    return this.committer.settled()
  }

  /** Takes no new subscription or request; resolves when everything accepted is on disk. */
  async drain(): Promise<void> {
    this.isDraining = true
    await this.committer.settled()
  }

  // --- used by subscriptions ------------------------------------------------------------------------------------

  receive(source: HostSource, document: string, update: Uint8Array, kind: 'update' | 'step2'): void {
    const { refusal } = this.cell
    if (refusal) {
      source.lane.refuse(source.request, refusal)
      return
    }
    this.timed(this.metrics.ingestSeconds.check, () =>
      this.step({ type: 'updates-received', source, parts: [{ document, update, kind }], nowMs: this.now() }),
    )
    if (source.lane.concern !== 'local') this.awaitOthers()
  }

  announce({ document }: Entry, client: number, userId: string): AnnouncementOutcome {
    assert(document, 'an id is announced in an open document')
    const { ownership } = document
    const isKnown = ownership.ownerOf(client) !== undefined
    if (!isKnown && this.announcements.take(userId) === 0) {
      this.step({ type: 'id-announced', document: document.name, client, userId, nowMs: this.now() })
    }
    const owner = ownership.ownerOf(client)
    if (owner === undefined) return 'unowned'
    if (owner.user !== userId) return 'taken'
    return ownership.doubtfulOf(userId).has(client) ? 'relayed' : 'owned'
  }

  diff(entry: Entry, stateVector: Uint8Array): Uint8Array | Promise<Uint8Array> {
    assert(entry.document, 'diff of a document that is not open')
    return this.joins.diff(entry.document, stateVector)
  }

  release(subscription: HostSubscription): void {
    subscription.entry.subscriptions.delete(subscription)
    this.step({ type: 'lane-closed', lane: subscription })
    if (subscription.waits > 0) this.forgetAcknowledgements(subscription)
    this.open.unused(subscription.entry)
  }

  private forgetAcknowledgements(lane: HostSubscription): void {
    this.acknowledgements.forget(lane, lane.waits)
    this.tellWaiting()
  }

  refused(error: CausewayError): void {
    this.metrics.refused(error.code)
  }

  subscriberFailed(error: unknown): void {
    this.onFailure('transport/subscriber-failed', error)
  }

  // --- writing --------------------------------------------------------------------------------------------------

  /** Content that an embedder has for a document never written here. A failing hook refuses the load: nobody is shown an empty document in its place. */
  private async seed(name: string): Promise<void> {
    const { onLoad } = this.hooks
    if (onLoad === undefined) return
    try {
      const update = await withDeadline(onLoad(name), ON_LOAD_MS, 'document/unavailable')
      if (update !== undefined) await this.store([{ document: name, update, kind: 'update' }])
    } catch (error) {
      this.onFailure('hook/on-load-failed', error)
      throw new CausewayError('document/unavailable', { document: name }, { cause: error })
    }
  }

  private store(parts: readonly ReceivedPart[], userId?: string): Promise<Dot | undefined> {
    const stored = new Promise<Dot | undefined>((resolve, reject) => {
      const lane: Lane = {
        concern: 'local',
        stored: () => true,
        acknowledge: (_request, dot) => resolve(dot),
        refuse: (_request, error) => {
          // Nothing can be offered again here, and a full disk may last: such lanes must not gather.
          this.step({ type: 'lane-closed', lane })
          reject(error)
        },
        resync() {},
      }
      this.step({ type: 'updates-received', source: { lane, request: 0, userId }, parts, nowMs: this.now() })
      // Whoever offered it waits by itself once it is stored, for a majority unless it says otherwise.
      this.awaitOthers()
    })
    return withDeadline(stored, DISK_MS, 'storage/slow')
  }

  private committed(committed: Committed): void {
    const { position, ops, waitedMs, tookMs, figures } = committed
    const { ingestSeconds, fsyncSeconds, batchOps } = this.metrics
    ingestSeconds.queue.observe(waitedMs / 1000)
    ingestSeconds.commit.observe(tookMs / 1000)
    fsyncSeconds.observe(figures.transaction.syncMs / 1000)
    batchOps.observe(ops.length)
    this.timed(ingestSeconds.deliver, () => {
      this.cell.committed(ops, position)
      this.step({ type: 'committed', count: ops.length, position, nowMs: this.now() })
    })
    this.tellWaiting()
  }

  private probe(nowMs: number): void {
    this.isProbing = true
    this.probedAtMs = nowMs
    this.log
      .probe()
      .then(
        () => {
          this.step({ type: 'writable-again' })
          this.cell.writableAgain()
        },
        () => {}, // still full: asked again at the next probe
      )
      .finally(() => {
        this.isProbing = false
      })
  }

  // --- figures --------------------------------------------------------------------------------------------------

  private timed(histogram: Histogram, work: () => void): void {
    const startedAtMs = this.monotonicMs()
    work()
    histogram.observe((this.monotonicMs() - startedAtMs) / 1000)
  }

  private async waiting<T>(cause: keyof Metrics['waitSeconds'], work: () => Promise<T>): Promise<T> {
    const startedAtMs = this.monotonicMs()
    try {
      return await work()
    } finally {
      this.metrics.waitSeconds[cause].observe((this.monotonicMs() - startedAtMs) / 1000)
    }
  }

  // --- effects --------------------------------------------------------------------------------------------------

  private step(input: ReplicaInput<HostSource>): void {
    for (const effect of this.replica.step(input)) this.perform(effect)
  }

  private perform(effect: ReplicaEffect<HostSource>): void {
    switch (effect.type) {
      case 'append':
        this.committer.add(effect.op)
        break
      case 'deliver':
        this.deliver(effect.document, effect.updates)
        break
      case 'acknowledge':
        this.acknowledge(effect)
        break
      case 'refuse':
        effect.source.lane.refuse(effect.source.request, effect.error)
        break
      case 'compare-content':
        this.compareContent(effect).catch((error: unknown) => this.onFatal(asCausewayError(error)))
        break
      case 'compact':
        this.compact(effect.document, effect.tailCount).catch((error: unknown) => {
          this.workFailed('document/compaction-failed', error)
          this.step({ type: 'compaction-failed', document: effect.document.name })
        })
        break
      case 'unfit':
        this.onFailure('document/unfit', effect.error)
        break
      case 'overlaps-delivered':
        this.delivered.compare(effect)
        break
      case 'owners-differ':
        this.rereadOwners(effect.document)
        break
      case 'resync':
        for (const lane of effect.lanes) (lane as Lane).resync()
        break
      case 'stop':
        this.onFatal(effect.error)
        break
      default:
        unreachable(effect)
    }
  }

  private acknowledge(effect: Extract<ReplicaEffect<HostSource>, { type: 'acknowledge' }>): void {
    const { source, dot, echo, leftover } = effect
    const { lane, request } = source
    const { acknowledgements } = this
    const { concern } = lane
    const seen = dot === undefined ? this.cell.durable : undefined
    const waits = seen
      ? acknowledgements.waitsForVector(seen, concern)
      : acknowledgements.waitsForSeq(dot!.seq, concern)
    if (!waits) {
      lane.acknowledge(request, dot, { echo, leftover })
      return
    }
    // What is to be echoed is kept, and bounded, by the lane.
    if (!lane.stored(request, echo)) return
    const release = (): void => lane.acknowledge(request, dot, { leftover })
    if (seen) acknowledgements.addVector(seen, concern, lane, release)
    else acknowledgements.addSeq(dot!.seq, concern, lane, release)
    this.tellWaiting()
  }

  /** What was just accepted is to be on disk elsewhere, too. */
  private awaitOthers(): void {
    if (this.cell.size === 1) return
    this.isAwaited = true
    this.tellWaiting()
  }

  /**
   * Somebody waits for other disks already while the op is on its way to this one: peers are told so with the op itself,
   * which goes to them before its acknowledgement begins to wait.
   */
  private tellWaiting(): void {
    this.isAwaited &&= !this.committer.isIdle
    const isWaiting = this.isAwaited || this.acknowledgements.size > 0
    if (isWaiting === this.toldWaiting) return
    this.toldWaiting = isWaiting
    this.cell.waiting(isWaiting)
  }

  /** Which of two owners of an id holds, the log has decided. */
  private rereadOwners(name: string): void {
    const entry = this.open.get(name)
    if (!entry) return
    this.open
      .opened(entry)
      .then(async () => {
        const { owned } = await this.log.open(name)
        entry.document?.ownership.replace(owned)
      })
      .catch((error: unknown) => this.onFailure('document/owners-unknown', error))
  }

  private deliver(document: OpenDocument, updates: readonly DeliveredUpdate<HostSource>[]): void {
    const entry = this.open.get(document.name)
    assert(entry, 'an open document has an entry')
    const batch: DeliveredBatch = { document: document.name, updates, frames: new Map() }
    const own = this.cell.size > 1 ? ownOf(updates) : undefined
    for (const subscription of entry.subscriptions) subscription.deliver(batch, own?.get(subscription))
    const { onChange } = this.hooks
    if (onChange === undefined) return
    for (const { dot, update, source } of updates) {
      // Only where it was accepted: elsewhere it is told there.
      if (source === undefined) continue
      try {
        // An async function passes for one that returns nothing; its rejection must not end the process.
        const result: unknown = onChange({ document: document.name, dot, update })
        if (result instanceof Promise) result.catch((error: unknown) => this.onFailure('hook/on-change-failed', error))
      } catch (error) {
        this.onFailure('hook/on-change-failed', error)
      }
    }
  }

  private async compareContent(effect: Extract<ReplicaEffect<HostSource>, { type: 'compare-content' }>): Promise<void> {
    const { document, lane, check, update, overlaps, doubtfulFrom } = effect
    let verdict: 'agrees' | 'differs' | CausewayError
    try {
      const content = { snapshot: undefined, tail: document.acceptedContent }
      const agrees = await this.waiting('content-check', () =>
        this.workers.agrees(content, update, overlaps, doubtfulFrom),
      )
      verdict = agrees ? 'agrees' : 'differs'
    } catch (error) {
      this.workFailed('document/content-check-failed', error)
      verdict = asCausewayError(error)
    }
    this.step({ type: 'content-compared', document: document.name, lane, check, verdict, nowMs: this.now() })
  }

  /** Work that a stop cuts short has not failed: what it would have made is not there yet, and nothing is lost. */
  private workFailed(event: HostFailure, error: unknown): void {
    const isStop = error instanceof CausewayError && error.code === 'cell/draining'
    if (!isStop) this.onFailure(event, error)
  }

  private async compact(document: OpenDocument, tailCount: number): Promise<void> {
    const { snapshot } = document
    const tail = document.tail.slice(0, tailCount)
    const last = tail.at(-1)
    assert(last, 'a compaction has something to fold in')
    const compacted = await this.workers.compact({ snapshot, tail: tail.map(({ update }) => update) })
    await this.log.saveSnapshot({
      document: document.name,
      generation: document.generation,
      position: last.position,
      update: compacted.update,
      known: compacted.known,
      fingerprint: Buffer.from(compacted.fingerprint, 'hex'),
    })
    this.step({ type: 'compacted', document: document.name, snapshot: compacted.update, tailCount })
  }
}

/** By lane: which of the updates it offered itself, and under which number, if they are to wait for other replicas. */
function ownOf(updates: readonly DeliveredUpdate<HostSource>[]): Map<Lane, Map<number, number>> | undefined {
  let own: Map<Lane, Map<number, number>> | undefined
  for (const [index, { source }] of updates.entries()) {
    if (!source || source.lane.concern === 'local') continue
    own ??= new Map()
    const requests = own.get(source.lane)
    if (requests) requests.set(index, source.request)
    else own.set(source.lane, new Map([[index, source.request]]))
  }
  return own
}

/** Rejects with `code` when `work` has not ended in time; what it still does goes unnoticed. */
async function withDeadline<T>(work: Promise<T>, milliseconds: number, code: ErrorCodeName): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new CausewayError(code, { waitedMs: milliseconds })), milliseconds)
  })
  try {
    return await Promise.race([work, deadline])
  } finally {
    clearTimeout(timer)
  }
}
