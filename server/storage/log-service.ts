/** What the two log threads do with the messages they get. The worker file around it only connects ports. */
import { join } from 'node:path'
import type Database from 'better-sqlite3'
import { unreachable } from '../../shared/base/assert.js'
import { asCausewayError, type CausewayError } from '../../shared/errors/error.js'
import { backUp } from './backup.js'
import { DigestReader } from './digest-reader.js'
import type { LogOptions, ScrubReport } from './log.js'
import {
  type Answer,
  buffersOf,
  type FromReader,
  type FromWriter,
  type PackedOpening,
  packDocument,
  type ReadDocument,
  type Together,
  type ToReader,
  type ToWriter,
  toErrorMessage,
} from './log-messages.js'
import { LogReader } from './log-reader.js'
import { SliceReader } from './log-slice.js'
import type { LogStore } from './log-store.js'
import { OpenCuts } from './open-cuts.js'
import { DATABASE_FILE, openReadOnly } from './schema.js'
import { asStorageError } from './storage-error.js'
import { Scrubber } from './verification.js'

/** What one transaction merges at most: all of it waits for the slowest. */
const GROUP_BATCHES = 1_024
const GROUP_BYTES = 8 * 1024 * 1024

/** One call of the scrub: some 5 ms. */
const SCRUB_OPS = 1_000
const SCRUB_BYTES = 4 * 1024 * 1024

/** Small answers that are sent as one message. */
const ANSWERS_TOGETHER = 32

/** A reader's connection, and what reads over it. */
interface OpenedReader {
  readonly database: Database.Database
  readonly reader: LogReader
  readonly slices: SliceReader
  readonly scrubber: Scrubber
  readonly digests: DigestReader
}

type Commit = Extract<ToWriter, { type: 'commit' }>

/** The writer thread: commits first in, first out; what arrived while one ran is the next. */
export class WriterService {
  private readonly store: LogStore
  private readonly post: (message: FromWriter, transfer?: ArrayBuffer[]) => void
  private readonly next: () => ToWriter | undefined
  private readonly onClosed: () => void
  /** Commits of this epoch and those before fail: the main thread knows, or is about to. */
  private failedEpoch = -1

  /** `next` takes what waits at the port, without waiting for more. */
  constructor(
    store: LogStore,
    post: (message: FromWriter, transfer?: ArrayBuffer[]) => void,
    next: () => ToWriter | undefined,
    onClosed: () => void,
  ) {
    this.store = store
    this.post = post
    this.next = next
    this.onClosed = onClosed
    post({ type: 'opened', recovered: store.recovered })
  }

  handle(first: ToWriter): void {
    let message: ToWriter | undefined = first
    while (message) message = message.type === 'commit' ? this.commit(message) : this.serve(message)
  }

  /** Commits a batch with those that wait behind it. Returns the message that ended the group. */
  private commit(first: Commit): ToWriter | undefined {
    const batches = [first.batch]
    let bytes = first.batch.length
    let following: ToWriter | undefined
    while (batches.length < GROUP_BATCHES && bytes < GROUP_BYTES) {
      following = this.next()
      if (following?.type !== 'commit' || following.epoch !== first.epoch) break
      batches.push(following.batch)
      bytes += following.batch.length
      following = undefined
    }
    if (first.epoch > this.failedEpoch) this.commitGroup(batches, first.epoch)
    return following
  }

  private commitGroup(batches: readonly Uint8Array[], epoch: number): void {
    try {
      const result = this.store.commit(batches)
      this.post({ type: 'committed', ...result, bytes: batches.map(({ length }) => length) })
    } catch (thrown) {
      this.failedEpoch = epoch
      this.post({ type: 'commit-failed', error: toErrorMessage(asCausewayError(thrown)) })
      return
    }
    // After the answer, so that nobody waits for it.
    this.store.checkpointWhenDue()
  }

  private serve(message: Exclude<ToWriter, Commit>): undefined {
    if (message.type === 'quarantine') this.store.quarantine(message.document, message.reason)
    else if (message.type === 'load' || message.type === 'open') answerRead(message, this.post, this.store)
    else answer(message.id, this.post, () => this.answerTo(message))
    if (message.type === 'close') this.onClosed()
    else if (message.type === 'store-chunk' || message.type === 'join-state') this.store.checkpointWhenDue()
  }

  private answerTo(message: Exclude<ToWriter, Commit | ReadDocument | { type: 'quarantine' }>): unknown {
    switch (message.type) {
      case 'save-snapshot':
        return this.store.saveSnapshot(message.snapshot)
      case 'prune':
        return this.store.prune(message.options)
      case 'figures':
        return this.store.figures()
      case 'save-cell':
        return this.store.saveCell(message.change)
      case 'discard-state':
        return this.store.discardState()
      case 'store-chunk':
        return this.store.storeChunk(message.index, message.bytes)
      case 'join-state':
        return this.store.joinState(message.cut)
      case 'probe':
        return this.store.probe()
      case 'close':
        return this.store.close()
      default:
        return unreachable(message)
    }
  }
}

/** The reader thread: a connection of its own, so that a read waits for no disk but its own. */
export class ReaderService {
  private readonly path: string
  private readonly send: (message: FromReader | Together<FromReader>, transfer?: ArrayBuffer[]) => void
  private readonly onClosed: () => void
  private readonly stop = new AbortController()
  /** Answers that are sent together. */
  private gathered: { readonly messages: FromReader[]; readonly transfer: ArrayBuffer[] } | undefined
  private opened: OpenedReader | undefined
  private readonly cuts: OpenCuts

  constructor(
    options: LogOptions,
    send: (message: FromReader | Together<FromReader>, transfer?: ArrayBuffer[]) => void,
    onClosed: () => void,
  ) {
    this.path = join(options.directory, DATABASE_FILE)
    this.cuts = new OpenCuts(this.path)
    this.send = send
    this.onClosed = onClosed
    this.warmUp()
    this.post({ type: 'up' })
  }

  handle(message: ToReader | Together<ToReader>): void {
    switch (message.type) {
      case 'together':
        this.gathered = { messages: [], transfer: [] }
        for (const each of message.messages) this.handle(each)
        this.sendGathered()
        this.gathered = undefined
        break
      case 'load':
      case 'open':
        this.read(message)
        break
      case 'list':
        answer(message.id, this.post, () => this.open().reader.list(message.options))
        break
      case 'read-ops':
        this.readOps(message)
        break
      case 'read-chains':
        answer(message.id, this.post, () => this.open().slices.readChains(message.dots))
        break
      case 'open-cut':
        answer(message.id, this.post, () => this.cuts.open())
        break
      case 'read-chunk':
        this.readChunk(message)
        break
      case 'close-cut':
        this.cuts.close(message.cut)
        break
      case 'scrub':
        answer(message.id, this.post, () => this.scrub())
        break
      case 'digest-tree':
        void this.answerLater(message.id, () => this.open().digests.tree(message.prefix))
        break
      case 'digest-leaves':
        void this.answerLater(message.id, () => this.open().digests.leaves(message.range))
        break
      case 'digests':
        answer(message.id, this.post, () => this.open().digests.digests(message.names))
        break
      case 'backup':
        void this.answerLater(message.id, () => backUp(this.path, message.path, this.stop.signal))
        break
      case 'close':
        this.stop.abort()
        this.cuts.closeAll()
        answer(message.id, this.post, () => void this.opened?.database.close())
        this.onClosed()
        break
      default:
        unreachable(message)
    }
  }

  private readonly post = (message: FromReader, transfer: ArrayBuffer[] = []): void => {
    if (this.gathered === undefined) {
      this.send(message, transfer)
      return
    }
    this.gathered.messages.push(message)
    this.gathered.transfer.push(...transfer)
    // Who waits for a small document need not wait for many large ones.
    if (transfer.length > 0 || this.gathered.messages.length >= ANSWERS_TOGETHER) this.sendGathered()
  }

  private sendGathered(): void {
    if (this.gathered === undefined || this.gathered.messages.length === 0) return
    const { messages, transfer } = this.gathered
    this.gathered = { messages: [], transfer: [] }
    this.send({ type: 'together', messages }, transfer)
  }

  /** For what takes several turns. */
  private async answerLater(id: number, work: () => Promise<unknown>): Promise<void> {
    try {
      this.post({ type: 'answered', id, value: await work() })
    } catch (thrown) {
      this.post({ type: 'failed', id, error: toErrorMessage(asCausewayError(thrown)) })
    }
  }

  private read(message: ReadDocument): void {
    answerRead(message, this.post, this.open().reader, (thrown) => {
      this.reportDamage(message.document, asCausewayError(thrown))
    })
  }

  private readOps({ id, range }: Extract<ToReader, { type: 'read-ops' }>): void {
    answerBuffers(id, this.post, () => {
      const value = this.open().slices.read(range)
      return { value, buffers: [value.numbers.buffer, value.chains.buffer, value.records.buffer] }
    })
  }

  private readChunk({ id, cut, index }: Extract<ToReader, { type: 'read-chunk' }>): void {
    const onFailed = (thrown: unknown): void => {
      const error = asCausewayError(thrown)
      this.reportDamage(String(error.details['document']), error)
    }
    answerBuffers(
      id,
      this.post,
      () => {
        const value = this.cuts.chunk(cut, index)
        return { value, buffers: [value.bytes.buffer] }
      },
      onFailed,
    )
  }

  private scrub(): ScrubReport {
    const { reader, scrubber } = this.open()
    const report = scrubber.next(SCRUB_OPS, SCRUB_BYTES)
    for (const { document } of report.damaged) {
      try {
        if (document !== undefined) reader.load(document)
      } catch (thrown) {
        this.reportDamage(document!, asCausewayError(thrown))
      }
    }
    return report
  }

  private reportDamage(document: string, { details }: CausewayError): void {
    if (details['damaged']) this.post({ type: 'damaged', document, reason: String(details['reason']) })
  }

  /** A database that cannot be opened is told to those who read. */
  private warmUp(): void {
    try {
      this.open()
    } catch {}
  }

  private open(): OpenedReader {
    if (!this.opened) {
      const database = openReadOnly(this.path)
      this.opened = {
        database,
        reader: new LogReader(database),
        slices: new SliceReader(database),
        scrubber: new Scrubber(database),
        digests: new DigestReader(database),
      }
    }
    return this.opened
  }
}

function answerRead(
  message: ReadDocument,
  post: (message: Answer, transfer?: ArrayBuffer[]) => void,
  from: Pick<LogReader, 'load' | 'open'>,
  onFailed: (thrown: unknown) => void = () => {},
): void {
  const { id, document } = message
  try {
    const { stored, owned } =
      message.type === 'open' ? from.open(document) : { stored: from.load(document, message.options), owned: [] }
    const packed = stored && packDocument(stored)
    const value: PackedOpening = { stored: packed, owned }
    post({ type: 'answered', id, value }, packed && buffersOf(packed))
  } catch (thrown) {
    onFailed(thrown)
    post({ type: 'failed', id, error: toErrorMessage(asCausewayError(thrown)) })
  }
}

/** An answer whose large pieces change hands. */
function answerBuffers(
  id: number,
  post: (message: Answer, transfer?: ArrayBuffer[]) => void,
  work: () => { readonly value: unknown; readonly buffers: ArrayBuffer[] },
  onFailed: (thrown: unknown) => void = () => {},
): void {
  try {
    const { value, buffers } = work()
    post({ type: 'answered', id, value }, buffers)
  } catch (thrown) {
    onFailed(thrown)
    post({ type: 'failed', id, error: toErrorMessage(asStorageError(thrown)) })
  }
}

function answer(id: number, post: (message: Answer) => void, work: () => unknown): void {
  try {
    post({ type: 'answered', id, value: work() })
  } catch (thrown) {
    post({ type: 'failed', id, error: toErrorMessage(asCausewayError(thrown)) })
  }
}
