/**
 * The main thread's side of the durable op log. Commits go, in order, to a writer thread that merges what waits into
 * one transaction (natural group commit); reads go to a reader thread with a connection of its own, so that neither
 * waits for the other's disk. The reader starts with the first read; until it is up, the writer answers loads as well:
 * so the first clients after a start wait for one thread, not for two.
 *
 * A read may see a commit before the writer's word of it has arrived here. It is held back until then: nothing is shown
 * before its `onDone`.
 */
import path from 'node:path'
import type { Worker } from 'node:worker_threads'
import { assert, unreachable } from '../../shared/base/assert.js'
import type { Dot } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { LogRange } from '../../shared/protocol/op-log.js'
import type { CellChange } from '../../shared/protocol/stored-cell.js'
import type { LeafPage, LeafRange, StoredDigest } from './digest-reader.js'
import type { DigestTree } from './digest-tree.js'
import type {
  Backlog,
  CommitFigures,
  Log,
  LogOptions,
  LogSlice,
  LogStats,
  OpenedCut,
  PruneOptions,
  PruneReport,
  Recovered,
  ScrubReport,
} from './log.js'
import {
  type Answer,
  type CutOpened,
  type FromReader,
  type FromWriter,
  fromErrorMessage,
  owned,
  type PackedOpening,
  type ReadDocument,
  type ToReader,
  type ToWriter,
  unpackDocument,
} from './log-messages.js'
import type { JoinedHeads, StoreFigures } from './log-store.js'
import { LogThread } from './log-thread.js'
import { type PackedChains, type PackedSlice, unpackSlice } from './packed-slice.js'
import { isRecoverable } from './storage-error.js'
import type {
  DocumentPage,
  ListOptions,
  LoadOptions,
  Opening,
  SnapshotToSave,
  StoredDocument,
} from './stored-document.js'

/** What may wait for the disk; a single batch may be larger. */
export const BACKLOG_BATCHES = 4_096
const BACKLOG_BYTES = 64 * 1024 * 1024
/** Loads that the writer answers at a time before the reader is up. */
const EARLY_LOADS = 64
/** How long after the first load the reader starts. */
const READER_DELAY_MS = 10
/** Reads, and writes besides commits, that may wait. */
const WAITING_READS = 16_384
const WAITING_WRITES = 256

type Committed = Extract<FromWriter, { type: 'committed' }>
type OnDone = (error?: CausewayError, figures?: CommitFigures) => void

type WriterThread = LogThread<ToWriter, FromWriter>
type ReaderThread = LogThread<ToReader, FromReader>

/**
 * Opens the log of a data directory in its own threads; `started` is one for the writer, started ahead. Rejects with
 * `storage/in-use`, `storage/read-only`, `storage/full`, `storage/damaged`, `storage/too-new`, `storage/failed`,
 * `config/invalid`.
 */
export function openLog(options: LogOptions, started?: Worker): Promise<Log> {
  return new Promise((resolve, reject) => {
    const absolute = { ...options, directory: path.resolve(options.directory) }
    const log: LogClient = new LogClient(absolute, new LogThread('writer', started), (error) => {
      if (error) {
        void log.close().catch(() => {}) // The refusal says it all.
        reject(error)
      } else resolve(log)
    })
  })
}

class LogClient implements Log {
  private readonly options: LogOptions
  private readonly writer: WriterThread
  private reader: ReaderThread | undefined
  private readerStart: ReturnType<typeof setTimeout> | undefined
  private isReaderUp = false
  private found: Recovered | undefined
  /** Called once: with an error where the log could not be opened. */
  private readonly onOpened: (error?: CausewayError) => void
  /** Last durable position that was told. */
  private position = 0
  /** Commits that are not answered yet, oldest first. */
  private pending: { readonly onDone: OnDone; readonly bytes: number }[] = []
  private pendingBytes = 0
  private epoch = 0
  private isTellingFailure = false
  private failure: CausewayError | undefined
  private closing: Promise<void> | undefined
  /** Reads that saw a commit whose `onDone` is still to come. */
  private early: {
    readonly position: number
    readonly resolve: () => void
    readonly reject: (error: Error) => void
  }[] = []

  constructor(options: LogOptions, writer: WriterThread, onOpened: (error?: CausewayError) => void) {
    this.options = options
    this.writer = writer
    this.onOpened = onOpened
    writer.open(
      options,
      (message) => this.hear(message),
      (error) => this.fail(error),
    )
  }

  get recovered(): Recovered {
    assert(this.found, 'the log is open')
    return this.found
  }

  get backlog(): Backlog {
    return { batches: this.pending.length, bytes: this.pendingBytes }
  }

  commit(batch: Uint8Array, onDone: OnDone): void {
    assert(!this.isTellingFailure, 'onDone must not commit while it is told a failure')
    this.refuseWhenOver()
    const bytes = batch.length
    const isFull = this.pending.length >= BACKLOG_BATCHES || this.pendingBytes + bytes > BACKLOG_BYTES
    if (isFull && this.pending.length > 0) {
      throw new CausewayError('storage/busy', { ...this.backlog })
    }
    const mine = owned(batch)
    this.pending.push({ onDone, bytes })
    this.pendingBytes += bytes
    this.writer.post({ type: 'commit', epoch: this.epoch, batch: mine }, [mine.buffer])
  }

  async load(document: string, options: LoadOptions = {}): Promise<StoredDocument | undefined> {
    const { stored } = await this.readDocument((id) => ({ type: 'load', id, document, options }))
    return stored
  }

  open(document: string): Promise<Opening> {
    return this.readDocument((id) => ({ type: 'open', id, document }))
  }

  list(options: ListOptions): Promise<DocumentPage> {
    return this.read((id) => ({ type: 'list', id, options }))
  }

  scrub(): Promise<ScrubReport> {
    return this.read((id) => ({ type: 'scrub', id }))
  }

  digestTree(prefix: string): Promise<DigestTree> {
    return this.read((id) => ({ type: 'digest-tree', id, prefix }))
  }

  digestLeaves(range: LeafRange): Promise<LeafPage> {
    return this.read((id) => ({ type: 'digest-leaves', id, range }))
  }

  digestsOf(names: readonly string[]): Promise<readonly (StoredDigest | undefined)[]> {
    return this.read((id) => ({ type: 'digests', id, names }))
  }

  backup(path: string): Promise<void> {
    return this.read((id) => ({ type: 'backup', id, path }))
  }

  saveSnapshot(snapshot: SnapshotToSave): Promise<void> {
    // A thread is sent the whole buffer that a view belongs to.
    const [update, known, fingerprint] = [owned(snapshot.update), owned(snapshot.known), owned(snapshot.fingerprint)]
    const whole = { ...snapshot, update, known, fingerprint }
    return this.write((id) => ({ type: 'save-snapshot', id, snapshot: whole }))
  }

  probe(): Promise<void> {
    return this.write((id) => ({ type: 'probe', id }))
  }

  async prune(options: PruneOptions): Promise<PruneReport> {
    let deletedOps = 0
    for (;;) {
      // Slice by slice: commits get in between.
      const slice: PruneReport = await this.write((id) => ({ type: 'prune', id, options }))
      deletedOps += slice.deletedOps
      if (!slice.more) return { ...slice, deletedOps }
    }
  }

  saveCell(change: CellChange): Promise<void> {
    return this.write((id) => ({ type: 'save-cell', id, change }))
  }

  async readOps(range: LogRange): Promise<LogSlice> {
    const packed: PackedSlice = await this.read((id) => ({ type: 'read-ops', id, range }))
    await this.reached(packed.position)
    return unpackSlice(packed)
  }

  async readChains(dots: readonly Dot[]): Promise<readonly (Uint8Array | undefined)[]> {
    const { chains, position }: PackedChains = await this.read((id) => ({ type: 'read-chains', id, dots }))
    await this.reached(position)
    return chains
  }

  async openCut(): Promise<OpenedCut> {
    const reader = this.readyReader()
    const { cut, vector, position }: CutOpened = await reader.call((id) => ({ type: 'open-cut', id }))
    let isClosed = false
    const close = (): void => {
      // A reader that died took its cuts with it.
      if (!isClosed && this.reader === reader) reader.post({ type: 'close-cut', cut })
      isClosed = true
    }
    const chunk = async (index: number): ReturnType<OpenedCut['chunk']> => {
      this.refuseWhenOver()
      if (this.reader !== reader) throw new CausewayError('document/unavailable', { reason: 'the cut is gone' })
      return await reader.call((id) => ({ type: 'read-chunk', id, cut, index }))
    }
    try {
      await this.reached(position)
    } catch (error) {
      close()
      throw error
    }
    return { cut: vector, chunk, close }
  }

  beginState(): Promise<void> {
    return this.discardState()
  }

  storeChunk(index: number, bytes: Uint8Array): Promise<void> {
    return this.write((id) => ({ type: 'store-chunk', id, index, bytes: owned(bytes) }))
  }

  discardState(): Promise<void> {
    return this.write((id) => ({ type: 'discard-state', id }))
  }

  async joinState(cut: VersionVector): Promise<JoinedHeads> {
    assert(this.pending.length === 0, 'no commit is under way while a state is joined')
    const joined: JoinedHeads = await this.write((id) => ({ type: 'join-state', id, cut }))
    this.tellPosition(joined.position)
    return joined
  }

  async stats(): Promise<LogStats> {
    const figures: StoreFigures = await this.write((id) => ({ type: 'figures', id }))
    return { ...figures, backlog: this.backlog }
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown()
    return this.closing
  }

  private async shutDown(): Promise<void> {
    const { reader } = this
    this.cancelReaderStart()
    this.reader = undefined
    this.isReaderUp = false
    // The reader first: it would keep the last checkpoint from truncating the write-ahead log.
    await reader?.close((id) => ({ type: 'close', id }))
    if (this.failure || !this.found) await this.writer.end()
    else await this.writer.close((id) => ({ type: 'close', id }))
  }

  private hear(message: Exclude<FromWriter, Answer>): void {
    switch (message.type) {
      case 'opened':
        this.found = message.recovered
        this.position = message.recovered.position
        this.onOpened()
        break
      case 'refused':
        this.onOpened(fromErrorMessage(message.error))
        break
      case 'committed':
        this.tellCommitted(message)
        break
      case 'commit-failed':
        this.fail(fromErrorMessage(message.error))
        break
      default:
        unreachable(message)
    }
  }

  private tellCommitted({ position, counts, bytes, rows, durationMs, syncMs }: Committed): void {
    const sum = (numbers: readonly number[]): number => numbers.reduce((left, right) => left + right, 0)
    const ops = sum(counts)
    const transaction = { batches: counts.length, ops, rows, bytes: sum(bytes), durationMs, syncMs }
    const done = this.pending.splice(0, counts.length)
    this.pendingBytes -= transaction.bytes
    let first = position
    for (const [index, { onDone }] of done.entries()) {
      onDone(undefined, { position: first, ops: counts[index]!, bytes: bytes[index]!, transaction })
      first += counts[index]!
    }
    this.tellPosition(position + ops - 1)
  }

  /** Lets go the reads that waited for it. */
  private tellPosition(position: number): void {
    this.position = position
    const ready = this.early.filter((read) => read.position <= this.position)
    if (ready.length > 0) this.early = this.early.filter((read) => !ready.includes(read))
    for (const { resolve } of ready) resolve()
  }

  /** Everything that is on its way was built on what failed: it fails, too. */
  private tellFailure(error: CausewayError): void {
    const failed = this.pending
    this.pending = []
    this.pendingBytes = 0
    this.epoch++
    this.isTellingFailure = true
    try {
      for (const { onDone } of failed) onDone(error)
    } finally {
      this.isTellingFailure = false
    }
  }

  /** For ever, unless a later commit may succeed. */
  private fail(error: CausewayError): void {
    const isFinal = !isRecoverable(error)
    if (isFinal) this.failure ??= error
    if (!this.found) this.onOpened(error)
    this.tellFailure(error)
    if (isFinal) for (const { reject } of this.early.splice(0)) reject(error)
  }

  private refuseWhenOver(): void {
    if (this.failure) throw this.failure
    if (this.closing !== undefined) throw new CausewayError('cell/draining')
  }

  private async write<Value>(ask: (id: number) => ToWriter): Promise<Value> {
    this.refuseWhenOver()
    if (this.writer.waiting >= WAITING_WRITES) throw new CausewayError('storage/busy', { writes: this.writer.waiting })
    return await this.writer.call(ask)
  }

  private async readDocument(ask: (id: number) => ReadDocument): Promise<Opening> {
    const { stored, owned } = await this.readPacked(ask)
    if (!stored) return { owned }
    await this.reached(stored.position)
    return { stored: unpackDocument(stored), owned }
  }

  private readPacked(ask: (id: number) => ReadDocument): Promise<PackedOpening> {
    if (this.isReaderUp || this.writer.waiting >= EARLY_LOADS) return this.readTogether(ask)
    const packed = this.write<PackedOpening>(ask)
    // A little later: starting a thread holds this one up, and the first to come is waiting.
    if (this.reader === undefined) this.readerStart ??= setTimeout(() => this.startDelayedReader(), READER_DELAY_MS)
    return packed
  }

  private async read<Value>(ask: (id: number) => ToReader): Promise<Value> {
    return await this.readyReader().call(ask)
  }

  private async readTogether<Value>(ask: (id: number) => ToReader): Promise<Value> {
    return await this.readyReader().callTogether(ask)
  }

  private startDelayedReader(): void {
    this.readerStart = undefined
    this.reader ??= this.startReader()
  }

  private cancelReaderStart(): void {
    clearTimeout(this.readerStart)
    this.readerStart = undefined
  }

  private readyReader(): ReaderThread {
    this.refuseWhenOver()
    this.cancelReaderStart()
    this.reader ??= this.startReader()
    if (this.reader.waiting >= WAITING_READS) throw new CausewayError('storage/busy', { reads: this.reader.waiting })
    return this.reader
  }

  /** Resolves once every commit up to `position` has been told. */
  private async reached(position: number): Promise<void> {
    if (position <= this.position) return
    await new Promise<void>((resolve, reject) => {
      if (this.failure) reject(this.failure)
      else this.early.push({ position, resolve, reject })
    })
  }

  /** One that dies fails the reads that wait for it; the next read starts another. */
  private startReader(): ReaderThread {
    const reader: ReaderThread = new LogThread('reader')
    const onMessage = (message: Exclude<FromReader, Answer>): void => {
      if (message.type === 'up') this.isReaderUp = this.reader === reader
      else if (!this.failure) {
        this.writer.post({ type: 'quarantine', document: message.document, reason: message.reason })
      }
    }
    reader.open(this.options, onMessage, () => {
      this.reader = undefined
      this.isReaderUp = false
    })
    return reader
  }
}
