/** What the two log threads do with the messages they get. The worker file around it only connects ports. */
import { join } from 'node:path'
import type Database from 'better-sqlite3'
import { unreachable } from '../../shared/base/assert.js'
import { asCausewayError, type CausewayError } from '../../shared/errors/error.js'
import { backUp } from './backup.js'
import type { LogOptions, ScrubReport } from './log.js'
import {
  type Answer,
  buffersOf,
  type FromReader,
  type FromWriter,
  type PackedDocument,
  packDocument,
  type ToReader,
  type ToWriter,
  toErrorMessage,
} from './log-messages.js'
import { LogReader } from './log-reader.js'
import type { LogStore } from './log-store.js'
import { DATABASE_FILE, openReadOnly } from './schema.js'
import { Scrubber } from './verification.js'

/** What one transaction merges at most: all of it waits for the slowest. */
const GROUP_BATCHES = 1_024
const GROUP_BYTES = 8 * 1024 * 1024

/** One call of the scrub: some 5 ms. */
const SCRUB_OPS = 1_000
const SCRUB_BYTES = 4 * 1024 * 1024

type Commit = Extract<ToWriter, { type: 'commit' }>

/** The writer thread: commits first in, first out; what arrived while one ran is the next. */
export class WriterService {
  private readonly store: LogStore
  private readonly post: (message: FromWriter) => void
  private readonly next: () => ToWriter | undefined
  private readonly onClosed: () => void
  /** Commits of this epoch and those before fail: the main thread knows, or is about to. */
  private failedEpoch = -1

  /** `next` takes what waits at the port, without waiting for more. */
  constructor(
    store: LogStore,
    post: (message: FromWriter) => void,
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
    else answer(message.id, this.post, () => this.answerTo(message))
    if (message.type === 'close') this.onClosed()
  }

  private answerTo(message: Exclude<ToWriter, Commit | { type: 'quarantine' }>): unknown {
    switch (message.type) {
      case 'save-snapshot':
        return this.store.saveSnapshot(message.snapshot)
      case 'prune':
        return this.store.prune(message.options)
      case 'figures':
        return this.store.figures()
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
  private readonly post: (message: FromReader, transfer?: ArrayBuffer[]) => void
  private readonly onClosed: () => void
  private readonly stop = new AbortController()
  private opened: { database: Database.Database; reader: LogReader; scrubber: Scrubber } | undefined

  constructor(
    options: LogOptions,
    post: (message: FromReader, transfer?: ArrayBuffer[]) => void,
    onClosed: () => void,
  ) {
    this.path = join(options.directory, DATABASE_FILE)
    this.post = post
    this.onClosed = onClosed
  }

  handle(message: ToReader): void {
    switch (message.type) {
      case 'load':
        this.read(message, () => {
          const stored = this.open().reader.load(message.document, message.options)
          const packed = stored && packDocument(stored)
          return [packed, packed]
        })
        break
      case 'open':
        this.read(message, () => {
          const { stored, owned } = this.open().reader.open(message.document)
          const packed = stored && packDocument(stored)
          return [{ stored: packed, owned }, packed]
        })
        break
      case 'list':
        answer(message.id, this.post, () => this.open().reader.list(message.options))
        break
      case 'scrub':
        answer(message.id, this.post, () => this.scrub())
        break
      case 'backup':
        this.backUp(message)
        break
      case 'close':
        this.stop.abort()
        answer(message.id, this.post, () => void this.opened?.database.close())
        this.onClosed()
        break
      default:
        unreachable(message)
    }
  }

  private backUp({ id, path }: Extract<ToReader, { type: 'backup' }>): void {
    backUp(this.path, path, this.stop.signal).then(
      () => this.post({ type: 'answered', id, value: undefined }),
      (thrown) => this.post({ type: 'failed', id, error: toErrorMessage(asCausewayError(thrown)) }),
    )
  }

  /** Answers with what `work` gives: a value, and the document in it whose buffers change hands. */
  private read(
    { id, document }: { readonly id: number; readonly document: string },
    work: () => readonly [value: unknown, packed: PackedDocument | undefined],
  ): void {
    try {
      const [value, packed] = work()
      this.post({ type: 'answered', id, value }, packed && buffersOf(packed))
    } catch (thrown) {
      const error = asCausewayError(thrown)
      this.reportDamage(document, error)
      this.post({ type: 'failed', id, error: toErrorMessage(error) })
    }
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

  /** At the first read: the writer has made the database by then. */
  private open(): { database: Database.Database; reader: LogReader; scrubber: Scrubber } {
    if (!this.opened) {
      const database = openReadOnly(this.path)
      this.opened = { database, reader: new LogReader(database), scrubber: new Scrubber(database) }
    }
    return this.opened
  }
}

function answer(id: number, post: (message: Answer) => void, work: () => unknown): void {
  try {
    post({ type: 'answered', id, value: work() })
  } catch (thrown) {
    post({ type: 'failed', id, error: toErrorMessage(asCausewayError(thrown)) })
  }
}
