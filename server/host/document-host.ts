/**
 * The shell around `Replica`: loads and unloads documents, performs the core's effects with the log and the document
 * workers, and hands what became durable to subscribers. It holds no rule of its own about updates.
 */
import { assert, unreachable } from '../../shared/base/assert.js'
import type { Dot } from '../../shared/clock/dot.js'
import { hybridTimeToMs } from '../../shared/clock/hybrid-clock.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { checkDocumentName } from '../../shared/protocol/document-name.js'
import { checkUpdate } from '../../shared/update/check.js'
import { DeleteSet } from '../../shared/update/delete-set.js'
import { diffUpdate } from '../../shared/update/diff.js'
import { joinIndexed } from '../../shared/update/join.js'
import { parseUpdate } from '../../shared/update/parse.js'
import { StateVector } from '../../shared/update/state-vector.js'
import { indexUpdate, type UpdateIndex } from '../../shared/update/update-index.js'
import type { DocumentWorkers } from '../document/pool.js'
import type {
  Acknowledgement,
  DeliveredBatch,
  DocumentBytes,
  DocumentListing,
  Documents,
  Submitted,
  Subscriber,
  Subscription,
} from '../replica/documents.js'
import type { LoadedDocument, OpenDocument } from '../replica/open-document.js'
import type { ReceivedPart, Replica, ReplicaEffect, ReplicaInput, Source } from '../replica/replica.js'
import type { Log } from '../storage/log-client.js'
import type { StoredDocument } from '../storage/stored-document.js'
import { Committer } from './committer.js'
import type { Metrics } from './metrics.js'

/** Where answers go: one subscription, or one submitted request. */
interface Lane {
  acknowledge(request: number, dot: Dot | undefined, acknowledgement: Acknowledgement): void
  refuse(request: number, error: CausewayError): void
  resync(): void
}

interface HostSource extends Source {
  readonly lane: Lane
  readonly request: number
}

interface Entry {
  readonly name: string
  readonly subscriptions: Set<HostSubscription>
  document: OpenDocument | undefined
  loading: Promise<OpenDocument> | undefined
  /** Requests that need it to stay open. */
  pins: number
  lastUsedMs: number
  joined: Joined | undefined
}

/** Snapshot and tail as one update, kept for a moment for those who join next. */
interface Joined {
  readonly snapshot: Uint8Array | undefined
  readonly tailLength: number
  readonly index: UpdateIndex
  readonly usedAtMs: number
}

export interface DocumentHostLimits {
  /** Bytes of documents kept open without a subscriber; the least recently used go first. */
  readonly openBytes: number
  readonly openDocuments: number
  /** A document nobody uses is closed after this long. */
  readonly idleMs: number
  /** Diffs of more bytes than this are computed in a worker. */
  readonly inlineDiffBytes: number
  /** State vectors of more bytes than this are read in a worker: what each entry costs, the sender decides. */
  readonly inlineStateVectorBytes: number
  /** Deadline of an `onLoad` hook. */
  readonly onLoadMs: number
}

const DEFAULT_LIMITS: DocumentHostLimits = {
  openBytes: 256 * 1024 * 1024,
  openDocuments: 10_000,
  idleMs: 60_000,
  inlineDiffBytes: 64 * 1024,
  inlineStateVectorBytes: 64 * 1024,
  onLoadMs: 10_000,
}

export interface DocumentHooks {
  /** First content of a document that was never written: a Yjs v1 update, or nothing. */
  readonly onLoad?: (document: string) => Promise<Uint8Array | undefined>
  /** After an update became durable; called in delivery order, never awaited. */
  readonly onChange?: (change: { document: string; dot: Dot; update: Uint8Array }) => void
}

/** An update that holds nothing. */
const NOTHING = indexUpdate(Uint8Array.of(0, 0))

/** Updates after a join that are looked at one by one; beyond, a new join is cheaper. */
const PIECES_LIMIT = 256

/** How long the bytes of a join are kept for the next one. */
const KEEP_JOINED_MS = 2_000

/** How often a failed disk is probed for being writable again. */
const PROBE_MS = 500

/** Stable event names of what the log is told. */
export type HostFailure =
  | 'document/compaction-failed'
  | 'document/content-check-failed'
  | 'document/load-failed'
  | 'hook/on-change-failed'
  | 'hook/on-load-failed'
  | 'storage/commit-failed'
  | 'transport/subscriber-failed'

export class DocumentHost implements Documents {
  private readonly replica: Replica<HostSource>
  private readonly log: Log
  private readonly workers: DocumentWorkers
  private readonly limits: DocumentHostLimits
  private readonly hooks: DocumentHooks
  private readonly metrics: Metrics
  private readonly onFailure: (event: HostFailure, error: unknown) => void
  private readonly now: () => number
  private readonly onFatal: (error: CausewayError) => void
  private readonly committer: Committer
  private readonly entries = new Map<string, Entry>()
  private readonly joinedEntries = new Set<Entry>()
  private isDraining = false
  private probing = false
  private probedAtMs = 0

  constructor(options: {
    replica: Replica<HostSource>
    log: Log
    workers: DocumentWorkers
    now: () => number
    monotonicMs: () => number
    hooks?: DocumentHooks
    limits?: Partial<DocumentHostLimits>
    metrics: Metrics
    /** Something went wrong that no caller is told of in full. */
    onFailure: (event: HostFailure, error: unknown) => void
    onFatal: (error: CausewayError) => void
  }) {
    this.replica = options.replica
    this.log = options.log
    this.workers = options.workers
    this.now = options.now
    this.hooks = options.hooks ?? {}
    this.limits = { ...DEFAULT_LIMITS, ...options.limits }
    this.metrics = options.metrics
    this.onFailure = options.onFailure
    this.onFatal = options.onFatal
    this.committer = new Committer({
      log: options.log,
      monotonicMs: options.monotonicMs,
      onCommitted: (committed) => {
        const { seq, position, ops, tookMs } = committed
        this.metrics.batchOps.observe(ops)
        this.metrics.commitSeconds.observe(tookMs / 1000)
        this.step({ type: 'committed', seq, position, nowMs: this.now() })
      },
      onFailed: (error) => {
        this.onFailure('storage/commit-failed', error)
        this.step({ type: 'commit-failed', error })
      },
    })
  }

  get vector(): VersionVector {
    return this.replica.vector
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
    if (this.isDraining) throw new CausewayError('cell/draining')
    const entry = this.entry(name)
    const subscription = new HostSubscription(this, entry, subscriber)
    entry.subscriptions.add(subscription)
    this.opened(entry).then(
      () => subscription.attach(),
      (error: unknown) => subscription.end(asCausewayError(error)),
    )
    return subscription
  }

  async submit(parts: readonly { readonly document: string; readonly update: Uint8Array }[]): Promise<Submitted> {
    if (this.isDraining) throw new CausewayError('cell/draining')
    const entries = parts.map(({ document }) => {
      checkDocumentName(document)
      return this.entry(document)
    })
    assert(new Set(entries).size === entries.length, 'a transaction names each document once')
    return await this.pinned(entries, async () => {
      await Promise.all(entries.map((entry) => this.opened(entry)))
      const dot = await this.store(parts.map((part) => ({ ...part, kind: 'update' as const })))
      return { dot, acknowledged: 'majority', replicas: 1, clock: this.replica.vector }
    })
  }

  async read(name: string): Promise<DocumentBytes> {
    checkDocumentName(name)
    const entry = this.entry(name)
    return await this.pinned([entry], async () => {
      const document = await this.opened(entry)
      if (!document.exists) throw new CausewayError('document/not-found', { document: name })
      return {
        name,
        snapshot: document.snapshot,
        tail: document.tail.map(({ update }) => update),
        stateVector: document.stateVector,
        clock: { ...document.clock },
      }
    })
  }

  async list(options: { prefix: string; limit: number; cursor?: string }): Promise<DocumentListing> {
    const page = await this.log.list(options)
    const documents = page.documents.map(({ name, bytes, clock, updated }) => {
      return { name, bytes, clock, updatedAt: new Date(hybridTimeToMs(updated)).toISOString() }
    })
    return page.cursor === undefined ? { documents } : { documents, cursor: page.cursor }
  }

  // --- life -----------------------------------------------------------------------------------------------------

  /** Call a few times a second. */
  tick(): void {
    const nowMs = this.now()
    this.step({ type: 'tick', nowMs })
    this.dropJoined(nowMs)
    this.closeIdle(nowMs)
    if (!this.replica.isWritable && !this.probing && nowMs - this.probedAtMs >= PROBE_MS) {
      this.probing = true
      this.probedAtMs = nowMs
      this.log.probe().then(
        () => {
          this.probing = false
          this.step({ type: 'writable-again' })
        },
        () => {
          this.probing = false
        },
      )
    }
  }

  /** Resolves when nothing accepted so far waits for the disk. */
  settled(): Promise<void> {
    return this.committer.drained()
  }

  /** Takes no new subscription or request; resolves when everything accepted is on disk. */
  async drain(): Promise<void> {
    this.isDraining = true
    await this.committer.drained()
  }

  // --- used by subscriptions ------------------------------------------------------------------------------------

  receive(source: HostSource, part: ReceivedPart): void {
    this.step({ type: 'updates-received', source, parts: [part], nowMs: this.now() })
  }

  release(subscription: HostSubscription): void {
    const { entry } = subscription
    entry.subscriptions.delete(subscription)
    entry.lastUsedMs = this.now()
    if (entry.subscriptions.size === 0 && entry.document !== undefined && !entry.document.exists) this.closeEntry(entry)
  }

  /** The durable document beyond `stateVector`: at once where that is cheap, else from a worker. */
  diff(entry: Entry, encodedStateVector: Uint8Array): Uint8Array | Promise<Uint8Array> {
    const document = entry.document
    assert(document, 'diff of a document that is not open')
    if (encodedStateVector.length > this.limits.inlineStateVectorBytes) {
      return this.workers.diff({ snapshot: this.join(entry, document).bytes, tail: [] }, encodedStateVector)
    }
    const stateVector = StateVector.decode(encodedStateVector)
    if (document.tail.length === 0 && document.snapshot !== undefined && stateVector.size === 0)
      return document.snapshot
    if (stateVector.size === 0) return this.join(entry, document).bytes
    return this.diffOfPieces(entry, document, stateVector) ?? this.diffOfJoin(entry, document, stateVector)
  }

  /**
   * What is wanted of each piece, joined: without a join of the pieces, which copies the document, for who asks for
   * little after each edit of others. Absent where much is wanted or nothing was joined before.
   */
  private diffOfPieces(entry: Entry, document: OpenDocument, stateVector: StateVector): Uint8Array | undefined {
    const { joined } = entry
    if (joined === undefined || joined.snapshot !== document.snapshot) return undefined
    const added = document.tail.slice(joined.tailLength)
    if (added.length === 0 || added.length > PIECES_LIMIT) return undefined
    const pieces = [joined.index, ...added.map(({ update }) => indexUpdate(update))]
    let wantedBytes = 0
    for (const { blocks } of pieces) {
      for (const { client, clockEnd, from, to } of blocks) {
        if (stateVector.get(client) < clockEnd) wantedBytes += to - from
      }
    }
    if (wantedBytes > this.limits.inlineDiffBytes) return undefined
    entry.joined = { ...joined, usedAtMs: this.now() }
    return joinIndexed(pieces.map((piece) => indexUpdate(diffUpdate(piece, stateVector)))).bytes
  }

  private diffOfJoin(entry: Entry, document: OpenDocument, stateVector: StateVector): Uint8Array | Promise<Uint8Array> {
    const joined = this.join(entry, document)
    // Blocks that are wanted or known whole are copied or left out; only those cut inside are read struct by struct.
    const bytesToRead = joined.blocks.reduce((sum, { client, clock, clockEnd, from, to }) => {
      const known = stateVector.get(client)
      return known > clock && known < clockEnd ? sum + to - from : sum
    }, 0)
    if (bytesToRead <= this.limits.inlineDiffBytes) return diffUpdate(joined, stateVector)
    return this.workers.diff({ snapshot: joined.bytes, tail: [] }, stateVector.encode())
  }

  /** The whole durable document as one update; a join after further edits only adds them. */
  private join(entry: Entry, document: OpenDocument): UpdateIndex {
    const { snapshot, tail } = document
    const known = entry.joined?.snapshot === snapshot ? entry.joined : undefined
    let index = known?.index
    if (index === undefined || known?.tailLength !== tail.length) {
      const updates = tail.slice(known?.tailLength ?? 0).map(({ update }) => indexUpdate(update))
      const base = index ?? (snapshot === undefined ? undefined : indexUpdate(snapshot))
      if (base !== undefined) updates.unshift(base)
      index = updates.length === 0 ? NOTHING : joinIndexed(updates)
    }
    entry.joined = { snapshot, tailLength: tail.length, index, usedAtMs: this.now() }
    this.joinedEntries.add(entry)
    return index
  }

  private dropJoined(nowMs: number): void {
    for (const entry of this.joinedEntries) {
      if (entry.joined !== undefined && nowMs - entry.joined.usedAtMs < KEEP_JOINED_MS) continue
      entry.joined = undefined
      this.joinedEntries.delete(entry)
    }
  }

  // --- opening and closing --------------------------------------------------------------------------------------

  private entry(name: string): Entry {
    let entry = this.entries.get(name)
    if (entry === undefined) {
      entry = {
        name,
        subscriptions: new Set(),
        document: undefined,
        loading: undefined,
        pins: 0,
        lastUsedMs: this.now(),
        joined: undefined,
      }
      this.entries.set(name, entry)
    }
    return entry
  }

  private async pinned<T>(entries: readonly Entry[], work: () => Promise<T>): Promise<T> {
    for (const entry of entries) entry.pins++
    try {
      return await work()
    } finally {
      for (const entry of entries) {
        entry.pins--
        entry.lastUsedMs = this.now()
        if (this.isUnused(entry) && (entry.document === undefined || !entry.document.exists)) this.closeEntry(entry)
      }
    }
  }

  private opened(entry: Entry): Promise<OpenDocument> {
    // While it loads, a document that is there already may still wait for its first content.
    if (entry.loading === undefined && entry.document !== undefined) return Promise.resolve(entry.document)
    entry.loading ??= this.load(entry).finally(() => {
      entry.loading = undefined
    })
    return entry.loading
  }

  private async load(entry: Entry): Promise<OpenDocument> {
    let stored: StoredDocument | undefined
    try {
      stored = await this.log.load(entry.name)
    } catch (error) {
      this.onFailure('document/load-failed', error)
      this.forget(entry)
      throw error instanceof CausewayError
        ? error
        : new CausewayError('document/unavailable', { document: entry.name }, { cause: error })
    }
    const loaded = stored === undefined ? emptyDocument(entry.name) : await fromStored(stored)
    this.step({ type: 'document-loaded', loaded })
    const document = this.replica.document(entry.name)
    assert(document, 'a loaded document is open')
    entry.document = document
    if (stored === undefined && this.hooks.onLoad !== undefined) await this.seed(entry, this.hooks.onLoad)
    return document
  }

  /** Content that an embedder has for a document never written here. A failing hook refuses the load: nobody is shown an empty document in its place. */
  private async seed(entry: Entry, onLoad: NonNullable<DocumentHooks['onLoad']>): Promise<void> {
    try {
      const update = await withDeadline(onLoad(entry.name), this.limits.onLoadMs)
      if (update !== undefined) await this.store([{ document: entry.name, update, kind: 'update' }])
    } catch (error) {
      this.onFailure('hook/on-load-failed', error)
      this.forget(entry)
      throw new CausewayError('document/unavailable', { document: entry.name }, { cause: error })
    }
  }

  private store(parts: readonly ReceivedPart[]): Promise<Dot | undefined> {
    return new Promise((resolve, reject) => {
      const lane: Lane = {
        acknowledge: (_request, dot) => resolve(dot),
        refuse: (_request, error) => reject(error),
        resync() {},
      }
      this.step({ type: 'updates-received', source: { lane, request: 0 }, parts, nowMs: this.now() })
    })
  }

  private isUnused(entry: Entry): boolean {
    return entry.subscriptions.size === 0 && entry.pins === 0 && entry.loading === undefined
  }

  private closeEntry(entry: Entry): void {
    if (this.isUnused(entry)) this.forget(entry)
  }

  private forget(entry: Entry): void {
    if (this.entries.get(entry.name) !== entry) return
    if (entry.document !== undefined) {
      if (!this.replica.isQuiet(entry.document)) return
      this.step({ type: 'document-unloaded', document: entry.name })
      entry.document = undefined
    }
    this.entries.delete(entry.name)
  }

  private closeIdle(nowMs: number): void {
    const unused: Entry[] = []
    let bytes = 0
    for (const entry of this.entries.values()) {
      bytes += entry.document?.bytes ?? 0
      if (!this.isUnused(entry)) continue
      if (nowMs - entry.lastUsedMs >= this.limits.idleMs) this.closeEntry(entry)
      else unused.push(entry)
    }
    if (bytes <= this.limits.openBytes && this.entries.size <= this.limits.openDocuments) return
    unused.sort((left, right) => left.lastUsedMs - right.lastUsedMs)
    for (const entry of unused) {
      if (bytes <= this.limits.openBytes && this.entries.size <= this.limits.openDocuments) return
      bytes -= entry.document?.bytes ?? 0
      this.closeEntry(entry)
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
      case 'acknowledge': {
        const { source, dot, echo, leftover } = effect
        source.lane.acknowledge(source.request, dot, echo === undefined ? { leftover } : { echo, leftover })
        break
      }
      case 'refuse':
        this.metrics.refused(effect.error.code)
        effect.source.lane.refuse(effect.source.request, effect.error)
        break
      case 'compare-content':
        this.compareContent(effect).catch((error: unknown) => this.onFatal(asCausewayError(error)))
        break
      case 'compact':
        this.compact(effect.document, effect.tailCount).catch((error: unknown) => {
          this.onFailure('document/compaction-failed', error)
          this.step({ type: 'compaction-failed', document: effect.document.name })
        })
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

  private deliver(document: OpenDocument, updates: DeliveredBatch['updates']): void {
    const entry = this.entries.get(document.name)
    assert(entry, 'an open document has an entry')
    const batch: DeliveredBatch = { document: document.name, updates, frames: new Map() }
    for (const subscription of entry.subscriptions) subscription.deliver(batch)
    const { onChange } = this.hooks
    if (onChange === undefined) return
    for (const { dot, update } of updates) {
      try {
        onChange({ document: document.name, dot, update })
      } catch (error) {
        this.onFailure('hook/on-change-failed', error)
      }
    }
  }

  private async compareContent(effect: Extract<ReplicaEffect<HostSource>, { type: 'compare-content' }>): Promise<void> {
    const { document, lane, update, overlaps } = effect
    let verdict: Extract<ReplicaInput<HostSource>, { type: 'content-compared' }>['verdict']
    try {
      const state = { snapshot: undefined, tail: document.acceptedContent }
      verdict = (await this.workers.agrees(state, update, overlaps)) ? 'agrees' : 'differs'
    } catch (error) {
      this.onFailure('document/content-check-failed', error)
      verdict = asCausewayError(error)
    }
    this.step({ type: 'content-compared', document: document.name, lane, verdict, nowMs: this.now() })
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
      stateVector: compacted.stateVector,
      deleteSet: compacted.deleteSet,
      fingerprint: Buffer.from(compacted.fingerprint, 'hex'),
    })
    this.step({ type: 'compacted', document: document.name, snapshot: compacted.update, tailCount })
  }

  /** Reports a subscriber that threw: a mistake of ours that must not reach the others. */
  subscriberFailed(error: unknown): void {
    this.onFailure('transport/subscriber-failed', error)
  }
}

class HostSubscription implements Subscription, Lane {
  readonly entry: Entry
  private readonly host: DocumentHost
  private readonly subscriber: Subscriber
  private state: 'opening' | 'attached' | 'closed' = 'opening'

  constructor(host: DocumentHost, entry: Entry, subscriber: Subscriber) {
    this.host = host
    this.entry = entry
    this.subscriber = subscriber
  }

  get document(): string {
    return this.entry.name
  }

  stateVector(): Uint8Array {
    return this.open().stateVector
  }

  diff(stateVector: Uint8Array): Uint8Array | Promise<Uint8Array> {
    this.open()
    return this.host.diff(this.entry, stateVector)
  }

  update(request: number, update: Uint8Array, kind: 'update' | 'step2'): void {
    this.open()
    this.host.receive({ lane: this, request }, { document: this.entry.name, update, kind })
  }

  close(): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.host.release(this)
  }

  attach(): void {
    if (this.state !== 'opening') return
    this.state = 'attached'
    this.tell(() => this.subscriber.attached())
  }

  end(error: CausewayError): void {
    if (this.state === 'closed') return
    this.close()
    this.tell(() => this.subscriber.closed(error))
  }

  deliver(batch: DeliveredBatch): void {
    if (this.state !== 'attached') return
    try {
      this.subscriber.deliver(batch)
    } catch (error) {
      this.host.subscriberFailed(error)
      this.end(asCausewayError(error))
    }
  }

  acknowledge(request: number, _dot: Dot | undefined, acknowledgement: Acknowledgement): void {
    if (this.state === 'attached') this.tell(() => this.subscriber.acknowledge(request, acknowledgement))
  }

  refuse(request: number, error: CausewayError): void {
    if (this.state === 'attached') this.tell(() => this.subscriber.refuse(request, error))
  }

  resync(): void {
    if (this.state === 'attached') this.tell(() => this.subscriber.resync())
  }

  private open(): OpenDocument {
    assert(
      this.state === 'attached' && this.entry.document !== undefined,
      'a subscription is used before it is attached',
    )
    return this.entry.document
  }

  private tell(call: () => void): void {
    try {
      call()
    } catch (error) {
      this.host.subscriberFailed(error)
      this.end(asCausewayError(error))
    }
  }
}

function emptyDocument(name: string): LoadedDocument {
  return {
    name,
    generation: 0,
    clocks: new StateVector(),
    deleted: new DeleteSet(),
    snapshot: undefined,
    tail: [],
    clock: {},
  }
}

/** Updates parsed before other work gets a turn. */
const PARSE_SLICE = 1_000

async function fromStored(stored: StoredDocument): Promise<LoadedDocument> {
  const { snapshot } = stored
  const clocks = snapshot ? StateVector.decode(snapshot.stateVector) : new StateVector()
  const deleted = snapshot ? DeleteSet.decode(snapshot.deleteSet) : new DeleteSet()
  let count = 0
  for (const { update } of stored.tail) {
    if (++count % PARSE_SLICE === 0) await new Promise((resolve) => setImmediate(resolve))
    const checked = checkUpdate(parseUpdate(update), { clocks, deleted }, 'update')
    if (checked.type !== 'new')
      throw new CausewayError('storage/damaged', { document: stored.name, reason: checked.type })
    for (const [client, , to] of checked.clocks) clocks.advance(client, to)
    deleted.addAll(checked.deletes)
  }
  return {
    name: stored.name,
    generation: stored.generation,
    clocks,
    deleted,
    snapshot: snapshot?.update,
    tail: stored.tail.map(({ position, dot, update }) => ({ position, dot, update })),
    clock: stored.clock,
  }
}

async function withDeadline<T>(work: Promise<T>, milliseconds: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new CausewayError('document/busy', {}, { message: `no answer in ${milliseconds} ms` })),
      milliseconds,
    )
  })
  try {
    return await Promise.race([work, deadline])
  } finally {
    clearTimeout(timer)
  }
}
