/**
 * `/hocuspocus`: the protocol of Hocuspocus providers 3.x and 4.x, many documents on one socket. Each address is a
 * session of its own, judged by its own token, answered under the very address, and its frames are handled strictly in
 * order: what arrives while a token is judged or a document loads waits behind it.
 *
 *   waiting ── token ──▶ judging ── accepted ──▶ loading ── loaded ──▶ open ── detached ──▶ waiting
 *                          ▲ │ refused: told so, the socket stays       │ expired, revoked
 *                    token │ ▼                                          │
 *                         refused ◀────────────────────────────────────┘
 *
 * A provider does not come back to a document that the server closes while the socket stays. So whatever may heal closes
 * the socket.
 */

import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import {
  decodeHocuspocusMessage,
  encodeAddress,
  encodeHocuspocusMessage,
  type HocuspocusMessage,
  openEnvelope,
  PING_MESSAGE,
  parseAddress,
  type SentHocuspocusMessage as Sent,
} from '../../shared/protocol/hocuspocus.js'
import type { Freshness } from '../replica/cell.js'
import type { Documents } from '../replica/documents.js'
import type { Audiences, WireForm } from './audience.js'
import { type Caller, type Connection, isExpired, type ProtocolHandler } from './connection.js'
import { StockDocument, type StockProtocol } from './stock-document.js'
import { StockToken } from './stock-token.js'
import { TokenBucket } from './token-bucket.js'
import { frameMessage } from './websocket-frame.js'

type Token = Extract<HocuspocusMessage, { type: 'token' }>

const NO_PREFIX = new Uint8Array()
const PING = frameMessage(NO_PREFIX, PING_MESSAGE)
/** Awareness of nobody: the sign of life for providers that know no ping. */
const NOBODY: Sent = { type: 'awareness', update: Uint8Array.of(0) }
/** A token may carry a session token behind it. */
const SESSION_SUFFIX = ';session='
const REFRESH_BEFORE_MS = 60_000
const REFRESH_BEFORE_SHARE = 1 / 5
/** Addresses whose earlier session may still be answered; the oldest is forgotten first. */
const STRAYS_LIMIT = 1000

export interface HocuspocusOptions {
  readonly connection: Connection
  readonly documents: Documents
  readonly audiences: Audiences
  /** Judges the caller of one document. */
  authenticate(document: string, token: string): Promise<Caller>
  /** Wall clock in ms, against which a caller's right ends. */
  now(): number
  readonly concern?: WriteConcern | undefined
  readonly freshness?: Freshness | undefined
  /** The socket's clients opted in to session tokens, and showed this one. */
  readonly session?: string | undefined
}

export class HocuspocusHandler implements ProtocolHandler {
  readonly options: HocuspocusOptions
  private readonly addresses = new Map<string, Session>()
  private readonly strays = new Map<string, number>()
  private queuedMessages = 0
  private queuedBytes = 0
  private wasAuthenticated = false
  private understandsPing = false
  private lastAddress: string | undefined
  private readonly authentications: TokenBucket
  private readonly statelessBytes: TokenBucket

  constructor(options: HocuspocusOptions) {
    this.options = options
    const { limits, nowMs } = options.connection
    this.authentications = new TokenBucket(limits.authentications, nowMs)
    this.statelessBytes = new TokenBucket(limits.statelessBytes, nowMs)
  }

  get connection(): Connection {
    return this.options.connection
  }

  receive(frame: Buffer): void {
    const envelope = openEnvelope(frame)
    if (envelope.type !== 'addressed') return
    const { address, body } = envelope
    this.lastAddress = address
    const bytes = body.remaining
    let message: HocuspocusMessage
    try {
      message = decodeHocuspocusMessage(body)
    } catch (thrown) {
      this.addresses.get(address)?.closedByServer(asCausewayError(thrown))
      throw thrown
    }
    const session = this.addresses.get(address) ?? this.begin(address)
    session?.receive(message, bytes)
  }

  tick(nowMs: number): void {
    const { connection } = this
    if (!this.wasAuthenticated && nowMs - connection.openedAtMs >= connection.limits.authenticationMs) {
      connection.close(new CausewayError('protocol/timeout'))
      return
    }
    const now = this.options.now()
    for (const session of this.addresses.values()) session.tick(now)
  }

  keepAliveFrame(): Buffer | undefined {
    if (this.understandsPing) return PING
    return this.lastAddress === undefined ? undefined : hocuspocusFrame(this.lastAddress, NOBODY)
  }

  revoke(applies: (caller: Caller) => boolean, error: CausewayError): void {
    for (const session of this.addresses.values()) session.revoke(applies, error)
  }

  ended(): void {
    for (const session of this.addresses.values()) session.ended()
    this.addresses.clear()
  }

  // --- for its sessions

  authenticated(): void {
    this.wasAuthenticated = true
  }

  sawVersion(): void {
    this.understandsPing = true
  }

  /** Whether one more token may be judged; if not, the socket is closed. */
  mayAuthenticate(): boolean {
    const { connection } = this
    return this.within(this.authentications.spend(connection.limits.authentications, 1, connection.nowMs))
  }

  /** Whether others may be told so much; if not, the socket is closed. */
  mayTell(bytes: number): boolean {
    const { connection } = this
    return this.within(this.statelessBytes.spend(connection.limits.statelessBytes, bytes, connection.nowMs))
  }

  private within(isWithin: boolean): boolean {
    if (!isWithin) this.connection.close(new CausewayError('access/too-many-requests'))
    return isWithin
  }

  /** A message was queued. Where nothing is on its way that would empty the queue, its bound closes the socket. */
  queued(bytes: number, isMoving: boolean): void {
    this.queuedMessages++
    this.queuedBytes += bytes
    if (!this.isQueueLong) return
    if (isMoving) this.connection.queueIsLong()
    else this.connection.close(new CausewayError('access/too-many-requests'))
  }

  unqueued(bytes: number): void {
    this.queuedMessages--
    this.queuedBytes -= bytes
    if (!this.isQueueLong) this.connection.queueIsShort()
  }

  private get isQueueLong(): boolean {
    const { queuedMessages, queuedBytes } = this.connection.limits
    return this.queuedMessages > queuedMessages || this.queuedBytes > queuedBytes
  }

  forget(session: Session): void {
    if (this.addresses.get(session.address) === session) this.addresses.delete(session.address)
  }

  /** The questions to an earlier session of an address that its next one may see answered. */
  keepStrays(address: string, strays: number): void {
    this.strays.delete(address)
    if (strays === 0) return
    this.strays.set(address, strays)
    for (const oldest of this.strays.keys()) {
      if (this.strays.size <= STRAYS_LIMIT) break
      this.strays.delete(oldest)
    }
  }

  takeStrays(address: string): number {
    const strays = this.strays.get(address) ?? 0
    this.strays.delete(address)
    return strays
  }

  private begin(address: string): Session | undefined {
    const { connection } = this
    const { documentsPerConnection, unauthenticatedDocuments } = connection.limits
    let authenticated = 0
    for (const session of this.addresses.values()) if (session.isAuthenticated) authenticated++
    if (authenticated >= documentsPerConnection || this.addresses.size - authenticated >= unauthenticatedDocuments) {
      connection.close(new CausewayError('access/too-many-requests'))
      return undefined
    }
    const session = new Session(this, address)
    this.addresses.set(address, session)
    return session
  }
}

interface Queued {
  readonly message: HocuspocusMessage
  readonly bytes: number
}

/** One address of a socket. */
class Session implements StockProtocol {
  readonly address: string
  private readonly handler: HocuspocusHandler
  private state: 'waiting' | 'judging' | 'loading' | 'open' | 'refused' = 'waiting'
  private queue: Queued[] = []
  private document: StockDocument | undefined
  /** Of a client that opted in to session tokens. */
  private token: StockToken | undefined
  private isOver = false
  /** Sent for every edit of its own. */
  private appliedFrame: Buffer | undefined
  private wasRefused = false
  /** When to ask for a fresh token; never before there is one that ends, and once for each. */
  private refreshAtMs = Number.POSITIVE_INFINITY

  constructor(handler: HocuspocusHandler, address: string) {
    this.handler = handler
    this.address = address
  }

  get isAuthenticated(): boolean {
    return this.document !== undefined
  }

  receive(message: HocuspocusMessage, bytes: number): void {
    if (this.state === 'open' && this.queue.length === 0) {
      this.handle(message)
      return
    }
    // What is sent under a refused token goes with it; the step1 that follows a fresh one brings it all again.
    if (this.state === 'refused' && message.type !== 'token') return
    this.queue.push({ message, bytes })
    this.handler.queued(bytes, this.state !== 'waiting')
    this.drain()
  }

  tick(nowMs: number): void {
    const { document } = this
    document?.tick()
    const { nowMs: monotonicMs } = this.handler.connection
    if (this.state === 'open' && this.token?.isDue(monotonicMs)) this.tellToken()
    // A token under judgement decides, even if it takes a moment longer than the old one lasts.
    if (document === undefined || this.state === 'judging') return
    if (isExpired(document.caller, nowMs)) this.denied(new CausewayError('access/expired'))
    else if (nowMs >= this.refreshAtMs) {
      this.refreshAtMs = Number.POSITIVE_INFINITY
      this.say({ type: 'token-request' })
    }
  }

  revoke(applies: (caller: Caller) => boolean, error: CausewayError): void {
    if (this.document !== undefined && applies(this.document.caller)) this.denied(error)
  }

  /** The socket is gone. */
  ended(): void {
    this.isOver = true
    this.queue = []
    this.document?.end()
  }

  /** Ends the session for good, or because its client breaks the protocol; a provider does not come back by itself. */
  closedByServer(error: CausewayError): void {
    if (this.document === undefined) return
    this.refuse()
    this.say({ type: 'close', reason: error.message })
  }

  // --- messages, in order

  private drain(): void {
    while (this.queue.length > 0 && !this.isOver) {
      if (this.state === 'open') this.handle(this.shift(0))
      else if (this.state === 'waiting' || this.state === 'refused') {
        const at = this.queue.findIndex(({ message }) => message.type === 'token')
        if (at < 0) return
        this.handle(this.shift(at))
      } else return
    }
  }

  private shift(at: number): HocuspocusMessage {
    const [{ message, bytes }] = this.queue.splice(at, 1) as [Queued]
    this.handler.unqueued(bytes)
    return message
  }

  private handle(message: HocuspocusMessage): void {
    if (message.type === 'token') {
      this.judge(message)
      return
    }
    const document = this.document!
    switch (message.type) {
      case 'step1':
        document.step1(message.stateVector, true)
        break
      case 'step2':
      case 'update':
        document.edit(message.type, message.update)
        break
      case 'sync-reply':
        if (message.sync.type === 'step1') document.step1(message.sync.stateVector, false)
        else document.edit(message.sync.type, message.sync.update)
        break
      case 'awareness':
        this.presence(document, message.update)
        break
      case 'query-awareness':
        document.query()
        break
      case 'stateless':
        if (this.handler.mayTell(message.payload.length)) document.tell(message.payload)
        break
      case 'broadcast-stateless':
        this.closedByServer(new CausewayError('protocol/bad-message'))
        this.handler.connection.strike(new CausewayError('protocol/bad-message', { reason: 'between servers only' }))
        break
      case 'close':
        this.detached()
        break
      default:
        // What only servers send, or a later version of the protocol.
        break
    }
  }

  private presence(document: StockDocument, update: Uint8Array): void {
    try {
      document.awareness(update)
    } catch (thrown) {
      this.handler.connection.failed(thrown)
    }
  }

  private detached(): void {
    this.leave()
    this.state = 'waiting'
    if (this.queue.length === 0) this.handler.forget(this)
    // Frames that wait behind it are handled by the loop that called us.
  }

  private leave(): void {
    const { document } = this
    if (document === undefined) return
    this.document = undefined
    this.refreshAtMs = Number.POSITIVE_INFINITY
    this.handler.keepStrays(this.address, document.end())
  }

  // --- tokens

  private judge({ token, version }: Token): void {
    if (!this.handler.mayAuthenticate()) return
    if (version !== undefined) this.handler.sawVersion()
    this.state = 'judging'
    const end = token.indexOf(SESSION_SUFFIX)
    const { session: ofSocket, freshness } = this.handler.options
    const session = end < 0 ? ofSocket : token.slice(end + SESSION_SUFFIX.length)
    if (session !== undefined && freshness && this.document === undefined) {
      this.token = new StockToken(freshness, session)
    }
    const { document } = parseAddress(this.address)
    this.handler.options.authenticate(document, end < 0 ? token : token.slice(0, end)).then(
      (caller) => this.judged(() => this.accepted(caller, document)),
      (thrown) => this.judged(() => this.denied(asCausewayError(thrown))),
    )
  }

  private judged(act: () => void): void {
    if (this.isOver || this.state !== 'judging') return
    try {
      act()
      this.drain()
    } catch (thrown) {
      this.handler.connection.failed(thrown)
    }
  }

  private accepted(caller: Caller, name: string): void {
    const nowMs = this.handler.options.now()
    if (isExpired(caller, nowMs)) {
      this.denied(new CausewayError('access/expired'))
      return
    }
    if (!caller.can(name, 'read')) {
      this.denied(new CausewayError('access/forbidden', { document: name, right: 'read' }))
      return
    }
    const { expiresAtMs } = caller
    if (expiresAtMs !== undefined) {
      const lifeMs = expiresAtMs - nowMs
      this.refreshAtMs = expiresAtMs - Math.min(REFRESH_BEFORE_MS, lifeMs * REFRESH_BEFORE_SHARE)
    }
    this.handler.authenticated()
    this.say({ type: 'authenticated', scope: caller.can(name, 'write') ? 'read-write' : 'readonly' })
    if (this.document !== undefined) {
      this.document.caller = caller
      this.state = 'open'
      return
    }
    this.open(caller, name)
  }

  private open(caller: Caller, name: string): void {
    const { connection, documents, audiences, concern, freshness } = this.handler.options
    const { isSession } = parseAddress(this.address)
    const key = isSession ? undefined : `h:${this.address}`
    const form: WireForm = { key, prefix: encodeAddress(this.address), hasStateless: true }
    const strays = this.handler.takeStrays(this.address)
    const document = new StockDocument({
      connection,
      protocol: this,
      documents,
      audiences,
      document: name,
      form,
      caller,
      strays,
      concern,
      freshness,
    })
    this.document = document
    this.state = 'loading'
    try {
      document.open(documents)
    } catch (thrown) {
      this.denied(asCausewayError(thrown))
    }
  }

  /** Refused: told so where that is final or a fresh token may help, else the socket closes. */
  private denied(error: CausewayError): void {
    const { connection } = this.handler
    if (error.info.retry !== 'never' && error.code !== 'access/expired') {
      connection.failed(error)
      return
    }
    connection.metrics.count('authentication-refused')
    this.refuse()
    this.say({ type: 'denied', reason: error.message })
  }

  private refuse(): void {
    this.leave()
    this.state = 'refused'
    this.wasRefused = true
    while (this.queue.length > 0 && this.queue[0]!.message.type !== 'token') this.shift(0)
  }

  // --- from the document

  opened(): void {
    const document = this.document!
    document.showPresent()
    // A provider that was refused may show a fresh token and no step1; what it sent meanwhile was dropped.
    if (this.wasRefused && !this.queue.some(({ message }) => message.type === 'step1')) document.resync()
    this.wasRefused = false
    if (this.token === undefined) this.begin()
    else {
      this.token.admit().then(
        () => {
          if (!this.isOver && this.document === document) this.begin()
        },
        (thrown) => this.handler.connection.failed(thrown),
      )
    }
  }

  /** Messages are handled from now on. */
  private begin(): void {
    this.state = 'open'
    try {
      this.drain()
    } catch (thrown) {
      this.handler.connection.failed(thrown)
    }
  }

  acknowledged(times: number): void {
    this.appliedFrame ??= hocuspocusFrame(this.address, { type: 'sync-status', applied: true })
    for (let n = 0; n < times; n++) this.handler.connection.send(this.appliedFrame)
    if (this.token !== undefined) this.tellToken()
  }

  shown(): void {
    this.token?.shown()
  }

  private tellToken(): void {
    const token = this.token!.next(this.handler.connection.nowMs)
    this.say({ type: 'stateless', payload: JSON.stringify({ type: 'causeway/session', token }) })
  }

  refused(times: number): void {
    for (let n = 0; n < times; n++) this.say({ type: 'sync-status', applied: false })
  }

  echo(): void {}

  lost(error: CausewayError): void {
    if (error.info.retry === 'never') this.closedByServer(error)
    else this.handler.connection.failed(error)
  }

  private say(message: Sent): void {
    this.handler.connection.send(hocuspocusFrame(this.address, message))
  }
}

function hocuspocusFrame(address: string, message: Sent): Buffer {
  return frameMessage(NO_PREFIX, encodeHocuspocusMessage(address, message))
}
