/** One connection's hold on one open document: the host's side of the `Subscription` contract. */

import { AssertionError, assert } from '../../shared/base/assert.js'
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import type { Dot } from '../../shared/clock/dot.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { checkUpdate } from '../../shared/update/check.js'
import { parseUpdate } from '../../shared/update/parse.js'
import type {
  Acknowledgement,
  AnnouncementOutcome,
  DeliveredBatch,
  Subscriber,
  Subscription,
} from '../replica/documents.js'
import type { OpenDocument } from '../replica/open-document.js'
import type { Source } from '../replica/replica.js'
import type { Entry } from './open-documents.js'

/** Where answers go: one subscription, or one submitted request. */
export interface Lane {
  /** Where what it offers must be on disk before it is acknowledged. */
  readonly concern: WriteConcern
  /** On disk here, and waits for others; `echo` as in `Acknowledgement`. False: nobody is to be told any more. */
  stored(request: number, echo: Uint8Array | undefined): boolean
  acknowledge(request: number, dot: Dot | undefined, acknowledgement: Acknowledgement): void
  refuse(request: number, error: CausewayError): void
  resync(): void
}

/** Requests of one connection that wait for other replicas: hours of typing while no majority can be reached. */
const WAITING_LIMIT = 50_000
const WAITING_LIMIT_BYTES = 8 * 1024 * 1024

export interface HostSource extends Source {
  readonly lane: Lane
  readonly request: number
}

/** What a subscription asks of the host. */
export interface SubscriptionHost {
  receive(source: HostSource, document: string, update: Uint8Array, kind: 'update' | 'step2'): void
  announce(entry: Entry, client: number, userId: string): AnnouncementOutcome
  diff(entry: Entry, stateVector: Uint8Array): Uint8Array | Promise<Uint8Array>
  release(subscription: HostSubscription): void
  /** An update of a connection was refused; those of requests are counted where they are answered. */
  refused(error: CausewayError): void
  /** A subscriber threw: a mistake of ours that must not reach the others. */
  subscriberFailed(error: unknown): void
}

export class HostSubscription implements Subscription, Lane {
  readonly entry: Entry
  private readonly host: SubscriptionHost
  private readonly subscriber: Subscriber
  private state: 'opening' | 'attached' | 'closed' = 'opening'
  /**
   * Requests that are on disk here and wait for others, with what is echoed then. Its own updates are among it, shown to
   * others already: it sees them when they are acknowledged, for that is what it takes the echo for.
   */
  private readonly waiting = new Map<number, Uint8Array | undefined>()
  private waitingBytes = 0

  constructor(host: SubscriptionHost, entry: Entry, subscriber: Subscriber) {
    this.host = host
    this.entry = entry
    this.subscriber = subscriber
  }

  get document(): string {
    return this.entry.name
  }

  /** How many of its requests wait for other replicas. */
  get waits(): number {
    return this.waiting.size
  }

  get concern(): WriteConcern {
    return this.subscriber.concern ?? 'majority'
  }

  stateVector(): Uint8Array {
    return this.open().stateVector
  }

  question(): Uint8Array {
    return this.open().questionTo(this.subscriber.userId)
  }

  diff(stateVector: Uint8Array): Uint8Array | Promise<Uint8Array> {
    this.open()
    return this.host.diff(this.entry, stateVector)
  }

  addsNothing(step2: Uint8Array): boolean {
    const checked = checkUpdate(parseUpdate(step2), this.open().known, 'step2')
    return checked.type === 'nothing-new' && !checked.leftover
  }

  update(request: number, update: Uint8Array, kind: 'update' | 'step2'): void {
    this.open()
    const { userId } = this.subscriber
    this.host.receive({ lane: this, request, userId }, this.entry.name, update, kind)
  }

  announce(client: number): AnnouncementOutcome {
    this.open()
    const { userId } = this.subscriber
    return userId === undefined ? 'unowned' : this.host.announce(this.entry, client, userId)
  }

  close(): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.host.release(this)
  }

  /** The document is loaded. */
  attach(): void {
    if (this.state !== 'opening') return
    this.state = 'attached'
    this.tell(() => this.subscriber.attached())
  }

  /** The document cannot be served. */
  end(error: CausewayError): void {
    if (this.state === 'closed') return
    this.close()
    this.tell(() => this.subscriber.closed(error))
  }

  /** `own`: the numbers of its own requests among the batch's updates, by index, where they are to be withheld. */
  deliver(batch: DeliveredBatch, own?: ReadonlyMap<number, number>): void {
    if (this.state !== 'attached') return
    const shown = own ? this.withoutOwn(batch, own) : batch
    if (shown.updates.length === 0) return
    try {
      this.subscriber.deliver(shown)
    } catch (error) {
      this.failed(error)
    }
  }

  stored(request: number, echo: Uint8Array | undefined): boolean {
    if (this.state !== 'attached') return false
    this.wait(request, echo ?? this.waiting.get(request))
    this.tell(() => this.subscriber.stored(request))
    // On a new connection the client offers all of it at once, and has one acknowledgement to wait for.
    const isFull = this.waiting.size > WAITING_LIMIT || this.waitingBytes > WAITING_LIMIT_BYTES
    if (isFull) this.end(new CausewayError('document/busy', { document: this.document }))
    return this.state === 'attached'
  }

  acknowledge(request: number, _dot: Dot | undefined, acknowledgement: Acknowledgement): void {
    const withheld = this.waiting.get(request)
    this.waiting.delete(request)
    this.waitingBytes -= withheld?.length ?? 0
    if (this.state !== 'attached') return
    const echo = acknowledgement.echo ?? withheld
    this.tell(() => this.subscriber.acknowledge(request, { ...acknowledgement, echo }))
  }

  refuse(request: number, error: CausewayError): void {
    this.host.refused(error)
    if (this.state === 'attached') this.tell(() => this.subscriber.refuse(request, error))
  }

  resync(): void {
    if (this.state === 'attached') this.tell(() => this.subscriber.resync())
  }

  private withoutOwn(batch: DeliveredBatch, own: ReadonlyMap<number, number>): DeliveredBatch {
    for (const [index, request] of own) this.wait(request, batch.updates[index]!.update)
    return { ...batch, updates: batch.updates.filter((_, index) => !own.has(index)), frames: new Map() }
  }

  private wait(request: number, echo: Uint8Array | undefined): void {
    this.waitingBytes += (echo?.length ?? 0) - (this.waiting.get(request)?.length ?? 0)
    this.waiting.set(request, echo)
  }

  private open(): OpenDocument {
    const { document } = this.entry
    assert(this.state === 'attached' && document !== undefined, 'a subscription is used before it is attached')
    return document
  }

  private tell(call: () => void): void {
    try {
      call()
    } catch (error) {
      this.failed(error)
    }
  }

  private failed(error: unknown): void {
    if (error instanceof AssertionError) throw error // a broken assumption of ours ends the process, here as everywhere
    this.host.subscriberFailed(error)
    this.end(asCausewayError(error))
  }
}
