/**
 * Which documents are open: loaded on demand, once however many want it, kept while somebody uses them, and for a while
 * after within a budget. A document that was never written is let go of at once, so that names cost nothing.
 */
import { assert } from '../../shared/base/assert.js'
import { CausewayError } from '../../shared/errors/error.js'
import { checkUpdate } from '../../shared/update/check.js'
import { KnownState } from '../../shared/update/known-state.js'
import { STORED_UPDATE_LIMITS } from '../../shared/update/limits.js'
import { parseUpdate } from '../../shared/update/parse.js'
import type { DeliveredUpdate, LoadedDocument, OpenDocument } from '../replica/open-document.js'
import type { Opening, StoredDocument, StoredOwner } from '../storage/stored-document.js'
import type { HostSubscription } from './subscription.js'

/** A document that somebody wants, loaded or about to be. */
export interface Entry {
  readonly name: string
  readonly subscriptions: Set<HostSubscription>
  document: OpenDocument | undefined
  loading: Promise<OpenDocument> | undefined
  /** Requests that need it to stay open. */
  pins: number
  /** What is stored is another document by now: this one is closed as soon as nobody uses it, and then read anew. */
  isSuperseded: boolean
  lastUsedMs: number
}

export interface OpenDocumentsOptions {
  readonly now: () => number
  readonly load: (name: string) => Promise<Opening>
  /** What `load` began came to nothing. */
  readonly onNotLoaded: (name: string) => void
  /** Makes a loaded document known to the replica. */
  readonly onLoaded: (loaded: LoadedDocument) => OpenDocument
  /** Content that two replicas gave to the same ids: which one holds is settled in the log, and it is read anew. */
  readonly settle: (name: string) => Promise<Opening>
  /** First content of a document that was never written. Rejects to refuse the load. */
  readonly seed: (name: string) => Promise<void>
  readonly isQuiet: (document: OpenDocument) => boolean
  readonly onUnload: (document: OpenDocument) => void
  readonly onFailure: (error: unknown) => void
}

/** Bytes of documents kept open without a subscriber; the least recently used go first. */
const OPEN_BYTES = 256 * 1024 * 1024
const OPEN_DOCUMENTS = 10_000
/** How often a document is settled in one load. */
const SETTLE_LIMIT = 8
/** A document nobody uses is closed after this long. */
const IDLE_MS = 60_000

export class OpenDocuments {
  private readonly entries = new Map<string, Entry>()
  private readonly options: OpenDocumentsOptions

  constructor(options: OpenDocumentsOptions) {
    this.options = options
  }

  get size(): number {
    return this.entries.size
  }

  all(): readonly Entry[] {
    return [...this.entries.values()]
  }

  /** Closes whatever nobody uses. */
  closeUnused(): void {
    for (const entry of this.all()) if (isUnused(entry)) this.close(entry)
  }

  get(name: string): Entry | undefined {
    return this.entries.get(name)
  }

  /** The entry of a name, made where there is none. */
  entry(name: string): Entry {
    let entry = this.entries.get(name)
    if (entry === undefined) {
      const lastUsedMs = this.options.now()
      entry = {
        name,
        subscriptions: new Set(),
        document: undefined,
        loading: undefined,
        pins: 0,
        isSuperseded: false,
        lastUsedMs,
      }
      this.entries.set(name, entry)
    }
    return entry
  }

  /** Resolves when the document is loaded and has its first content. Rejects with `document/unavailable` and the like. */
  opened(entry: Entry): Promise<OpenDocument> {
    // While it loads, a document that is there already may still wait for its first content.
    if (entry.loading !== undefined) return entry.loading
    if (entry.isSuperseded) return Promise.reject(new CausewayError('document/busy', { document: entry.name }))
    if (entry.document !== undefined) return Promise.resolve(entry.document)
    entry.loading = this.load(entry).finally(() => {
      entry.loading = undefined
      this.unused(entry)
    })
    return entry.loading
  }

  /** Runs `work` while the documents stay open. */
  async pinned<T>(entries: readonly Entry[], work: () => Promise<T>): Promise<T> {
    for (const entry of entries) entry.pins++
    try {
      return await work()
    } finally {
      for (const entry of entries) {
        entry.pins--
        this.unused(entry)
      }
    }
  }

  /** What is open does not hold: who has it is told, and nobody gets it any more. */
  supersede(name: string, error: CausewayError): void {
    const entry = this.entries.get(name)
    if (entry === undefined) return
    entry.isSuperseded = true
    for (const subscription of [...entry.subscriptions]) subscription.end(error)
    this.unused(entry)
  }

  /** Somebody stopped using it: it goes at once where it holds nothing, else when its time comes. */
  unused(entry: Entry): void {
    entry.lastUsedMs = this.options.now()
    if (isUnused(entry) && (entry.isSuperseded || !entry.document?.exists)) this.close(entry)
  }

  /** Closes what nobody used for long, and the least recently used beyond the budget. */
  tick(nowMs: number): void {
    const unused: Entry[] = []
    let bytes = 0
    for (const entry of this.entries.values()) {
      bytes += entry.document?.bytes ?? 0
      if (!isUnused(entry)) continue
      if (entry.isSuperseded || nowMs - entry.lastUsedMs >= IDLE_MS) this.close(entry)
      else unused.push(entry)
    }
    if (bytes <= OPEN_BYTES && this.entries.size <= OPEN_DOCUMENTS) return
    unused.sort((left, right) => left.lastUsedMs - right.lastUsedMs)
    for (const entry of unused) {
      if (bytes <= OPEN_BYTES && this.entries.size <= OPEN_DOCUMENTS) return
      bytes -= entry.document?.bytes ?? 0
      this.close(entry)
    }
  }

  private async load(entry: Entry): Promise<OpenDocument> {
    const { name } = entry
    try {
      const { stored, owned } = await this.options.load(name)
      const loaded = stored === undefined ? emptyDocument(name, owned) : await this.fromStored(stored, owned)
      entry.document = this.options.onLoaded(loaded)
      if (stored === undefined) await this.options.seed(name)
      return entry.document
    } catch (error) {
      this.options.onFailure(error)
      if (entry.document === undefined) this.options.onNotLoaded(name)
      this.close(entry)
      if (error instanceof CausewayError && error.code !== 'internal/failure') throw error
      throw new CausewayError('document/unavailable', { document: name }, { cause: error })
    }
  }

  private async fromStored(stored: StoredDocument, owned: readonly StoredOwner[]): Promise<LoadedDocument> {
    let { loaded, overlaps } = await readStored(stored, owned)
    // What came while it was settled may overlap again.
    for (let times = 0; overlaps; times++) {
      if (times === SETTLE_LIMIT) throw new CausewayError('document/busy', { document: stored.name })
      const settled = await this.options.settle(stored.name)
      assert(settled.stored, 'a settled document is stored')
      ;({ loaded, overlaps } = await readStored(settled.stored, settled.owned))
    }
    return loaded
  }

  private close(entry: Entry): void {
    if (this.entries.get(entry.name) !== entry) return
    if (entry.document !== undefined) {
      if (!this.options.isQuiet(entry.document)) return
      this.options.onUnload(entry.document)
      entry.document = undefined
    }
    this.entries.delete(entry.name)
  }
}

function isUnused(entry: Entry): boolean {
  return entry.subscriptions.size === 0 && entry.pins === 0 && entry.loading === undefined
}

function emptyDocument(name: string, owned: readonly StoredOwner[]): LoadedDocument {
  const nothing = { known: new KnownState(), snapshot: undefined, tail: [], position: 0, clock: {} }
  return { name, generation: 0, ...nothing, owned }
}

/** Updates parsed before other work gets a turn. */
const PARSE_SLICE = 1_000

async function readStored(
  stored: StoredDocument,
  owned: readonly StoredOwner[],
): Promise<{ readonly loaded: LoadedDocument; readonly overlaps: boolean }> {
  let overlaps = false
  const { name, generation, snapshot, clock } = stored
  const known = snapshot ? KnownState.decode(snapshot.known) : new KnownState()
  const tail: DeliveredUpdate[] = []
  for (const [index, { position, dot, update }] of stored.tail.entries()) {
    if ((index + 1) % PARSE_SLICE === 0) await new Promise((resolve) => setImmediate(resolve))
    const checked = checkUpdate(parseUpdate(update, STORED_UPDATE_LIMITS), known, 'update', STORED_UPDATE_LIMITS)
    // What deletes may say nothing new here: a compaction knows that what lies in a deleted type is deleted with it.
    if (checked.type === 'gap') throw new CausewayError('document/unavailable', { document: name, position })
    overlaps ||= checked.overlaps.length > 0
    known.add(checked)
    // An update that was accepted at two replicas stands twice in the log: open documents hold only what each adds.
    if (checked.type === 'new') tail.push({ position, dot, update: checked.update })
  }
  assert(snapshot !== undefined || stored.tail.length > 0, 'a stored document holds something')
  const { position } = stored
  return { loaded: { name, generation, known, snapshot: snapshot?.update, tail, position, clock, owned }, overlaps }
}
