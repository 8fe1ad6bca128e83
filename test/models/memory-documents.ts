/**
 * `Documents` as plainly as possible: one Y.Doc for what is accepted and one for what is durable, in memory. A commit
 * makes everything accepted before it durable; it comes by itself at the end of a turn, or when the test says so. Slow,
 * and right by inspection.
 */
import * as Y from 'yjs'
import type {
  Acknowledgement,
  DeliveredBatch,
  DocumentBytes,
  DocumentListing,
  Documents,
  Submitted,
  Subscriber,
  Subscription,
} from '../../server/replica/documents.js'
import { makeOrigin } from '../../shared/clock/dot.js'
import { EMPTY_VECTOR } from '../../shared/clock/version-vector.js'
import type { ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError } from '../../shared/errors/error.js'

const ORIGIN = makeOrigin('model', '0123456789abcdef')

export interface MemoryDocumentsOptions {
  /** Commits at the end of each turn; without it only `commit` does. */
  readonly autoCommit?: boolean
  /** Attaches inside `subscribe`, at the end of the turn, or when `load` is called. */
  readonly loading?: 'at once' | 'later' | 'by hand'
  /** Diffs are computed at once, at the end of the turn, or when `computeDiffs` is called. */
  readonly diffs?: 'at once' | 'later' | 'by hand'
  /** Takes updates unseen, for tests that are about many of them. */
  readonly trusting?: boolean
}

interface Pending {
  readonly update: Uint8Array | undefined
  done(): void
}

interface Kept {
  readonly name: string
  readonly accepted: Y.Doc
  readonly durable: Y.Doc
  readonly subscribers: Set<Subscriber>
  /** Users by the client ids that they announced. */
  readonly owners: Map<number, string>
  pending: Pending[]
}

export class MemoryDocuments implements Documents {
  /** While set, every update is refused with it. */
  refuseWith: ErrorCodeName | undefined
  private readonly options: Required<MemoryDocumentsOptions>
  private readonly kept = new Map<string, Kept>()
  private readonly loads: (() => void)[] = []
  private readonly computations: ((code?: ErrorCodeName) => void)[] = []
  private seq = 0
  private isCommitScheduled = false

  constructor({
    autoCommit = true,
    loading = 'later',
    diffs = 'at once',
    trusting = false,
  }: MemoryDocumentsOptions = {}) {
    this.options = { autoCommit, loading, diffs, trusting }
  }

  subscribe(name: string, subscriber: Subscriber): Subscription {
    if (name === '' || name.length > 512 || /\p{Cc}|^\/|\/\/|\/$/u.test(name)) {
      throw new CausewayError('document/bad-name')
    }
    const kept = this.keep(name)
    let isOpen = true
    this.when(this.options.loading, this.loads, () => {
      if (!isOpen) return
      kept.subscribers.add(subscriber)
      subscriber.attached()
    })
    return {
      document: name,
      stateVector: () => Y.encodeStateVector(kept.durable),
      question: () => Y.encodeStateVector(kept.durable),
      diff: (stateVector) => {
        const diff = diffOf(kept.durable, stateVector)
        if (this.options.diffs === 'at once') return diff
        return new Promise((resolve, reject) => {
          this.when(this.options.diffs, this.computations, (code) => {
            if (code === undefined) resolve(diff)
            else reject(new CausewayError(code))
          })
        })
      },
      update: (request, update, kind) => {
        if (isOpen) this.offer(kept, subscriber, request, update, kind)
      },
      addsNothing: (update) => {
        const verdict = judge(kept, update)
        return typeof verdict !== 'string' && verdict.news === undefined && !verdict.leftover
      },
      announce: (client) => {
        const { userId } = subscriber
        if (userId === undefined) return 'unowned'
        const owner = kept.owners.get(client) ?? userId
        kept.owners.set(client, owner)
        return owner === userId ? 'owned' : 'taken'
      },
      close: () => {
        isOpen = false
        kept.subscribers.delete(subscriber)
      },
    }
  }

  /** Makes durable what has been accepted, and tells everybody. */
  commit(): void {
    for (const kept of this.kept.values()) {
      const { pending, durable, subscribers } = kept
      kept.pending = []
      const updates = pending.flatMap(({ update }) => (update ? [{ dot: this.nextDot(), update }] : []))
      for (const { update } of updates) Y.applyUpdate(durable, update)
      const batch: DeliveredBatch = { document: kept.name, updates, frames: new Map() }
      if (updates.length > 0) for (const subscriber of [...subscribers]) subscriber.deliver(batch)
      for (const { done } of pending) done()
    }
  }

  load(): void {
    for (const load of this.loads.splice(0)) load()
  }

  computeDiffs(): void {
    for (const compute of this.computations.splice(0)) compute()
  }

  failDiffs(code: ErrorCodeName): void {
    for (const compute of this.computations.splice(0)) compute(code)
  }

  /** Writes work again. */
  resync(): void {
    this.refuseWith = undefined
    for (const { subscribers } of this.kept.values()) for (const subscriber of [...subscribers]) subscriber.resync()
  }

  /** Ends every subscription of a document. */
  closeDocument(name: string, code: ErrorCodeName): void {
    for (const subscriber of [...this.keep(name).subscribers]) subscriber.closed(new CausewayError(code))
  }

  /** The durable document; not to be changed. */
  durable(name: string): Y.Doc {
    return this.keep(name).durable
  }

  ownerOf(name: string, client: number): string | undefined {
    return this.keep(name).owners.get(client)
  }

  subscriberCount(name: string): number {
    return this.keep(name).subscribers.size
  }

  /** An edit from elsewhere, accepted. */
  edit(name: string, change: (doc: Y.Doc) => void): void {
    const { accepted } = this.keep(name)
    const doc = copyOf(accepted)
    const before = Y.encodeStateVector(accepted)
    change(doc)
    this.accept(this.keep(name), Y.encodeStateAsUpdate(doc, before), () => {})
  }

  async submit(parts: readonly { readonly document: string; readonly update: Uint8Array }[]): Promise<Submitted> {
    for (const { document, update } of parts) this.accept(this.keep(document), update, () => {})
    this.commit()
    return { dot: undefined, seen: EMPTY_VECTOR, clock: EMPTY_VECTOR }
  }

  async read(name: string): Promise<DocumentBytes> {
    const { durable } = this.keep(name)
    const stateVector = Y.encodeStateVector(durable)
    return { name, snapshot: Y.encodeStateAsUpdate(durable), tail: [], stateVector, clock: {}, seen: EMPTY_VECTOR }
  }

  async list(): Promise<DocumentListing> {
    return { documents: [], seen: EMPTY_VECTOR }
  }

  private offer(
    kept: Kept,
    subscriber: Subscriber,
    request: number,
    update: Uint8Array,
    kind: 'update' | 'step2',
  ): void {
    const refuse = (code: ErrorCodeName): void => subscriber.refuse(request, new CausewayError(code))
    const verdict = this.refuseWith ?? (this.options.trusting ? { news: update, leftover: false } : judge(kept, update))
    if (typeof verdict === 'string') {
      refuse(verdict)
      return
    }
    if (verdict.leftover && kind === 'update') {
      refuse('document/gap')
      return
    }
    const { news, leftover } = verdict
    const acknowledgement: Acknowledgement = { leftover, ...(news === update ? {} : { echo: update }) }
    this.accept(kept, news, () => subscriber.acknowledge(request, acknowledgement))
  }

  private accept(kept: Kept, update: Uint8Array | undefined, done: () => void): void {
    if (update) Y.applyUpdate(kept.accepted, update)
    kept.pending.push({ update: update?.slice(), done })
    if (!this.options.autoCommit || this.isCommitScheduled) return
    this.isCommitScheduled = true
    setImmediate(() => {
      this.isCommitScheduled = false
      this.commit()
    })
  }

  private when<Run extends () => void>(when: 'at once' | 'later' | 'by hand', list: Run[], run: Run): void {
    if (when === 'at once') run()
    else if (when === 'later') setImmediate(() => run())
    else list.push(run)
  }

  private keep(name: string): Kept {
    let kept = this.kept.get(name)
    if (kept === undefined) {
      kept = {
        name,
        accepted: new Y.Doc(),
        durable: new Y.Doc(),
        subscribers: new Set(),
        owners: new Map(),
        pending: [],
      }
      this.kept.set(name, kept)
    }
    return kept
  }

  private nextDot() {
    return { origin: ORIGIN, seq: ++this.seq }
  }
}

/** What an update brings that is new, and whether something in it cannot be connected. */
function judge(
  { accepted }: Kept,
  update: Uint8Array,
): ErrorCodeName | { readonly news: Uint8Array | undefined; readonly leftover: boolean } {
  const trial = copyOf(accepted)
  try {
    Y.decodeUpdate(update)
    Y.applyUpdate(trial, update)
  } catch {
    return 'document/bad-update'
  }
  const leftover = trial.store.pendingStructs !== null || trial.store.pendingDs !== null
  trial.store.pendingStructs = null
  trial.store.pendingDs = null
  if (equal(Y.encodeStateAsUpdate(trial), Y.encodeStateAsUpdate(accepted))) return { news: undefined, leftover }
  return { news: leftover ? Y.encodeStateAsUpdate(trial, Y.encodeStateVector(accepted)) : update, leftover }
}

function copyOf(doc: Y.Doc): Y.Doc {
  const copy = new Y.Doc()
  Y.applyUpdate(copy, Y.encodeStateAsUpdate(doc))
  return copy
}

function diffOf(doc: Y.Doc, stateVector: Uint8Array): Uint8Array {
  try {
    return Y.encodeStateAsUpdate(doc, stateVector)
  } catch (cause) {
    throw new CausewayError('protocol/bad-message', { reason: 'state vector' }, { cause })
  }
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0
}
