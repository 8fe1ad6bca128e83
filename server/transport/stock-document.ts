/**
 * One stock client in one document, whichever of the two protocols it speaks: behind the address, their messages are the
 * same. What differs, the protocol does: how an edit is acknowledged, and how the document ends.
 */
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { encodeYMessage, STEP2_PREFIX, UPDATE_PREFIX } from '../../shared/protocol/sync.js'
import { StateVector } from '../../shared/update/state-vector.js'
import type { Freshness } from '../replica/cell.js'
import type {
  Acknowledgement,
  AnnouncementOutcome,
  DeliveredBatch,
  Documents,
  Subscriber,
  Subscription,
} from '../replica/documents.js'
import type { Audience, AudienceMember, Audiences, WireForm } from './audience.js'
import type { Asker, Caller, Connection } from './connection.js'
import { type StockEffect, StockSession } from './stock-session.js'
import { frameHead, frameMessage, frameUpdates } from './websocket-frame.js'

/** A protocol's part. */
export interface StockProtocol {
  /** The document is loaded; messages may be handed to it from now on. */
  opened(): void
  acknowledged(times: number): void
  refused(times: number, error: CausewayError): void
  /** An update changed nothing, and its sender learns so. */
  echo(update: Uint8Array): void
  /** Something of the document was sent that the client had not seen. */
  shown(): void
  /** The document is not served any more. */
  lost(error: CausewayError): void
}

export interface StockDocumentOptions {
  readonly connection: Connection
  readonly protocol: StockProtocol
  readonly documents: Documents
  readonly audiences: Audiences
  readonly document: string
  readonly form: WireForm
  readonly caller: Caller
  /** Questions to the session before this one at the same address, see `StockSession`. */
  readonly strays: number
  /** Where its updates must be on disk before they are acknowledged; absent: a majority. */
  readonly concern?: WriteConcern | undefined
  /** What is known of other replicas; absent where there is no cell to ask. */
  readonly freshness?: Freshness | undefined
}

const QUERY_INTERVAL_MS = 1000
/** A client that shows more than this replica has may have it from another one, which is waited for a little. */
const CATCH_UP_MS = 300
const COPY_BELOW_BYTES = 16 * 1024
/** Step1s that may wait for the reader: an honest one is asked when it opens, and again when it has answered. */
const QUESTIONS_LIMIT = 8
const NO_PREFIX = new Uint8Array()

/** The form of `/y`: one for all its clients. */
export const Y_FORM: WireForm = { key: 'y', prefix: NO_PREFIX, hasStateless: false }

export class StockDocument implements Subscriber, AudienceMember, Asker {
  readonly document: string
  readonly form: WireForm
  readonly concern: WriteConcern | undefined
  private readonly freshness: Freshness | undefined
  presenceOwner = 0
  private ofCaller: Caller
  private mayWrite: boolean
  private readonly connection: Connection
  private readonly protocol: StockProtocol
  private readonly audiences: Audiences
  private readonly session: StockSession
  private readonly updatePrefix: Uint8Array
  private subscription: Subscription | undefined
  private audience: Audience | undefined
  /** Requests that are on disk here and wait for other replicas: no load, and no fault of the disk. */
  private readonly storedRequests = new Set<number>()
  private storedTo = 0
  /** Requests in flight that a tick was the first to see: all whose number is below `before`, and not below the one before it. */
  private readonly arrivals: { readonly before: number; readonly seenAtMs: number }[] = []
  /** Its step1s ask again for what others wrote under its user's ids. */
  private asksForRelayed = false
  /** What became of its client's id, last. */
  private announced: AnnouncementOutcome | undefined
  private queriedAtMs = Number.NEGATIVE_INFINITY
  private isAttached = false
  private isOver = false
  /** The state vector of a step1 that waits for its answer; a later one takes the place of an earlier. */
  private asked: Uint8Array | undefined
  /** The step1 that waits has had one of ours in return. */
  private wasAskedBack = false
  /** Step1s of ours that wait until the reader has room for them. */
  private questions = 0
  /** What is large and costs a few bytes to ask for waits its turn, as an answer to a step1 does. */
  private readonly questioner: Asker = { answer: () => this.sendStep1() }
  private readonly presenter: Asker = { answer: () => this.sendPresent() }

  constructor(options: StockDocumentOptions) {
    this.connection = options.connection
    this.protocol = options.protocol
    this.audiences = options.audiences
    this.document = options.document
    this.form = options.form
    this.concern = options.concern
    this.freshness = options.freshness
    this.ofCaller = options.caller
    this.mayWrite = options.caller.can(options.document, 'write')
    this.session = new StockSession(options.strays)
    this.updatePrefix =
      options.form.prefix.length === 0 ? UPDATE_PREFIX : Buffer.concat([options.form.prefix, UPDATE_PREFIX])
  }

  /** Opens the document. Throws `document/bad-name`, `cell/draining`. */
  open(documents: Documents): void {
    this.subscription = documents.subscribe(this.document, this)
    // It may have been attached, or closed, inside the call.
    if (this.isOver) this.subscription.close()
    else if (this.isAttached) this.begin()
  }

  /** Messages may be handed to it. */
  get isOpen(): boolean {
    return this.audience !== undefined && !this.isOver
  }

  /** The client leaves the document; nothing is told to it any more. Returns the questions that it may still answer. */
  end(): number {
    if (this.isOver) return 0
    this.isOver = true
    this.subscription?.close()
    if (this.audience !== undefined) this.audiences.leave(this.audience, this)
    for (const asker of [this, this.questioner, this.presenter]) this.connection.forget(asker)
    this.connection.requestsEnd(this.session.inFlight - this.storedRequests.size)
    return this.session.unansweredQuestions
  }

  /** Others have written under the client's id: what it has there itself decides whether that is its own. */
  private askForRelayed(): void {
    this.asksForRelayed = true
    this.perform(this.session.asksAgain())
  }

  get userId(): string | undefined {
    return this.ofCaller.userId
  }

  get caller(): Caller {
    return this.ofCaller
  }

  /** A fresh token was shown. */
  set caller(caller: Caller) {
    this.ofCaller = caller
    this.mayWrite = caller.can(this.document, 'write')
  }

  // --- from the client

  /** A step1: answered by a step2, and by a step1 of ours where the protocol wants one in return. */
  step1(stateVector: Uint8Array, inReturn: boolean): void {
    const isWaiting = this.asked !== undefined
    if (!isWaiting) this.wasAskedBack = false
    if (inReturn && !this.wasAskedBack) {
      this.wasAskedBack = true
      this.openQuestion()
    }
    this.asked = stateVector
    if (!isWaiting) this.connection.ask(this)
  }

  /** An update or a step2. */
  edit(kind: 'update' | 'step2', update: Uint8Array): void {
    const request = this.session.received(kind)
    this.connection.requestBegins()
    if (this.mayWrite) {
      this.subscription!.update(request, update, kind)
      return
    }
    try {
      // A reader's step2 tells what it holds; that it holds nothing new is no refusal.
      if (kind === 'step2' && this.subscription?.addsNothing(update)) this.acknowledge(request, { leftover: false })
      else this.refuse(request, new CausewayError('access/forbidden', { document: this.document, right: 'write' }))
    } catch (thrown) {
      this.refuse(request, asCausewayError(thrown))
    }
  }

  /** Throws `protocol/bad-message`. */
  awareness(update: Uint8Array): void {
    const { ofCaller, connection } = this
    const refused = this.audience!.receive(this, ofCaller, update, connection.nowMs)
    if (refused > 0) connection.metrics.count('presence-refused', refused)
    this.announce()
  }

  /** Whoever may write here owns the client id that they write under. */
  private announce(): void {
    if (this.userId === undefined || !this.mayWrite) return
    const client = this.audience!.ownIdOf(this)
    if (client === undefined) return
    const outcome = this.subscription!.announce(client)
    if (outcome === this.announced) return
    const isFirst = this.announced === undefined
    this.announced = outcome
    if (outcome === 'relayed') {
      // Only when it comes: what others write while it is here meets its own edits.
      if (isFirst) this.askForRelayed()
    } else if (outcome !== 'owned') this.connection.metrics.count(outcome === 'taken' ? 'id-taken' : 'id-unowned')
  }

  showPresent(): void {
    this.connection.ask(this.presenter)
  }

  /** The client asks who is present; not too often, since the answer may be long. */
  query(): void {
    const { nowMs } = this.connection
    if (nowMs - this.queriedAtMs < QUERY_INTERVAL_MS) return
    this.queriedAtMs = nowMs
    this.showPresent()
  }

  /** Tells the document's other clients, where the caller may write: who may not must not move those who may. */
  tell(payload: string): void {
    if (this.mayWrite) this.audience!.tell(this, payload)
  }

  /** Sends our state vector when a connection opens, to be answered by a step2 that the client counts. */
  openQuestion(): void {
    if (this.session.opened()) this.ask()
  }

  /**
   * Ends the connection where an update has waited too long. It may or may not be stored then, and a new connection finds
   * out: both sides say what they have.
   */
  tick(): void {
    if (!this.connection.isOpen) return
    const { firstInFlight, inFlight } = this.session
    const { nowMs, limits, metrics } = this.connection
    const next = firstInFlight + inFlight
    const waitsFrom = Math.max(firstInFlight, this.storedTo + 1)
    // When requests came is known to a tick, and only of those that are still there at one.
    if (next > (this.arrivals.at(-1)?.before ?? waitsFrom)) this.arrivals.push({ before: next, seenAtMs: nowMs })
    while (this.arrivals.length > 0 && this.arrivals[0]!.before <= waitsFrom) this.arrivals.shift()
    const waitedMs = nowMs - (this.arrivals[0]?.seenAtMs ?? nowMs)
    if (waitedMs < limits.outcomeMs) return
    metrics.count('update-late')
    this.connection.failed(new CausewayError('storage/slow', { document: this.document, waitedMs }))
  }

  // --- from the document

  attached(): void {
    if (this.isOver || this.isAttached) return
    this.isAttached = true
    if (this.subscription !== undefined) this.begin()
  }

  deliver(batch: DeliveredBatch): void {
    if (this.isOver) return
    const { key } = this.form
    let frames = key === undefined ? undefined : batch.frames.get(key)
    if (frames === undefined) {
      frames = frameUpdates(this.updatePrefix, batch.updates)
      if (key !== undefined) batch.frames.set(key, frames)
    }
    this.connection.send(frames)
    this.protocol.shown()
  }

  stored(request: number): void {
    if (this.isOver) return
    this.storedTo = Math.max(this.storedTo, request)
    this.storedRequests.add(request)
    this.connection.requestsEnd(1)
  }

  acknowledge(request: number, acknowledgement: Acknowledgement): void {
    if (this.isOver) return
    const { firstInFlight } = this.session
    this.settle(firstInFlight, this.session.acknowledged(request, acknowledgement))
  }

  refuse(request: number, error: CausewayError): void {
    if (this.isOver) return
    this.connection.metrics.count('update-refused')
    if (error.details['relayed'] === true) this.asksForRelayed = true
    const { firstInFlight } = this.session
    this.settle(firstInFlight, this.session.refused(request, error))
  }

  resync(): void {
    if (this.isOpen) this.perform(this.session.resync())
  }

  closed(error: CausewayError): void {
    if (this.isOver) return
    this.protocol.lost(error)
  }

  // --- to the client

  send(frames: Uint8Array): void {
    this.connection.send(frames)
  }

  /** Answers the step1 that waits; called by the connection when it is time. */
  answer(): void {
    const stateVector = this.asked
    if (this.isOver || stateVector === undefined) return
    this.asked = undefined
    const { connection } = this
    let diff: Uint8Array | Promise<Uint8Array>
    try {
      diff = this.caughtUpDiff(stateVector, CATCH_UP_MS)
    } catch (thrown) {
      connection.failed(thrown)
      return
    }
    if (diff instanceof Uint8Array) {
      connection.answer(this.step2(diff))
      this.protocol.shown()
      return
    }
    const slot = connection.hold()
    diff.then(
      (update) => {
        connection.fill(slot, this.isOver ? [] : this.step2(update))
        this.protocol.shown()
      },
      (thrown) => {
        connection.fill(slot, [])
        if (!this.isOver) connection.failed(thrown)
      },
    )
  }

  /** The diff, once what the client shows is here, nobody is known to have more, or the time is over. */
  private caughtUpDiff(stateVector: Uint8Array, withinMs: number): Uint8Array | Promise<Uint8Array> {
    const caughtUp = withinMs > 0 && this.isBehind(stateVector) ? this.freshness?.caughtUp(withinMs) : undefined
    // What peers were known to have may be less than what the client saw there: then more is waited for.
    return caughtUp !== undefined
      ? caughtUp.then((leftMs) => this.caughtUpDiff(stateVector, leftMs))
      : this.diff(stateVector)
  }

  /** Nothing where the client has left meanwhile. */
  private diff(stateVector: Uint8Array): Uint8Array | Promise<Uint8Array> {
    return this.isOver ? NO_PREFIX : this.subscription!.diff(stateVector)
  }

  /** Whether the client shows more of the document than is here. */
  private isBehind(stateVector: Uint8Array): boolean {
    if (this.isOver || this.freshness === undefined || stateVector.length > COPY_BELOW_BYTES) return false
    const ours = StateVector.decode(this.subscription!.stateVector())
    for (const [client, clock] of StateVector.decode(stateVector).entries()) if (clock > ours.get(client)) return true
    return false
  }

  private begin(): void {
    this.audience = this.audiences.of(this.document)
    this.presenceOwner = this.audience.nextOwner()
    this.audience.join(this)
    this.protocol.opened()
  }

  /** An outcome that waits behind an earlier request still takes room, so only what has passed counts as ended. */
  private settle(first: number, effects: readonly StockEffect[]): void {
    let ended = this.session.firstInFlight - first
    for (let request = first; this.storedRequests.size > 0 && request < this.session.firstInFlight; request++) {
      if (this.storedRequests.delete(request)) ended--
    }
    this.connection.requestsEnd(ended)
    this.perform(effects)
  }

  private perform(effects: readonly StockEffect[]): void {
    for (const effect of effects) {
      switch (effect.type) {
        case 'acknowledge':
          this.protocol.acknowledged(effect.times)
          break
        case 'refuse':
          this.protocol.refused(effect.times, effect.error)
          break
        case 'echo':
          this.protocol.echo(effect.update)
          break
        case 'ask':
          this.ask()
          break
        case 'lose':
          this.protocol.lost(effect.error)
          break
        case 'close':
          this.connection.failed(effect.error)
          break
      }
    }
  }

  private ask(): void {
    if (this.questions >= QUESTIONS_LIMIT) return
    if (++this.questions === 1) this.connection.ask(this.questioner)
  }

  private sendStep1(): void {
    if (this.isOver) return
    const subscription = this.subscription!
    const stateVector = this.asksForRelayed ? subscription.question() : subscription.stateVector()
    this.connection.answer([frameMessage(this.form.prefix, encodeYMessage({ type: 'step1', stateVector }))])
    if (--this.questions > 0) this.connection.ask(this.questioner)
  }

  private sendPresent(): void {
    const frame = this.isOver ? undefined : this.audience!.presentFrame(this)
    if (frame !== undefined) this.connection.answer([frame])
  }

  private step2(update: Uint8Array): readonly Uint8Array[] {
    const prefix = this.form.prefix.length === 0 ? STEP2_PREFIX : Buffer.concat([this.form.prefix, STEP2_PREFIX])
    if (update.length < COPY_BELOW_BYTES) return [frameUpdates(prefix, [{ update }])]
    return [frameHead(prefix, update.length), update]
  }
}
