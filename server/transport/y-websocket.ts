/**
 * `/y/<document>`: the protocol of stock `y-websocket` clients, one document a socket. When the document is loaded we
 * send a step1 and whoever is present, without being asked: only the answer to it brings up what the client edited while
 * offline. A client is acknowledged by the echo of its own update, after it is stored; it cannot be told of a refusal.
 *
 * A page sees the code of a close, never the status of a refused upgrade, and would try again for ever. So callers are
 * judged after the upgrade, and a final refusal is a message and a close code that the client takes as final.
 */

import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { FrameReader } from '../../shared/protocol/frame-reader.js'
import { decodeYMessage, encodeYMessage, UPDATE_PREFIX } from '../../shared/protocol/sync.js'
import type { Freshness } from '../replica/cell.js'
import type { Documents } from '../replica/documents.js'
import type { Audiences } from './audience.js'
import { type Caller, type Connection, isExpired, type ProtocolHandler } from './connection.js'
import { StockDocument, type StockProtocol, Y_FORM } from './stock-document.js'
import type { StockToken } from './stock-token.js'
import { frameMessage, frameUpdates } from './websocket-frame.js'

const NO_PREFIX = new Uint8Array()
/** Awareness of nobody: clients take it as a sign of life, and change nothing. */
const KEEP_ALIVE_FRAME = frameMessage(NO_PREFIX, encodeYMessage({ type: 'awareness', update: Uint8Array.of(0) }))

export interface YOptions {
  readonly connection: Connection
  readonly documents: Documents
  readonly audiences: Audiences
  readonly document: string
  /** Judges the caller, once. */
  readonly caller: Promise<Caller>
  /** Wall clock in ms, against which a caller's right ends. */
  now(): number
  readonly concern?: WriteConcern | undefined
  readonly freshness?: Freshness | undefined
  /** Of a client that opted in to session tokens. */
  readonly token?: StockToken | undefined
}

export class YHandler implements ProtocolHandler, StockProtocol {
  private readonly connection: Connection
  private readonly now: () => number
  private readonly token: StockToken | undefined
  private document: StockDocument | undefined
  private isOpen = false
  /** What arrives before the document is loaded. */
  private queue: Buffer[] = []
  private queuedBytes = 0

  constructor(options: YOptions) {
    const { connection, caller, now, token } = options
    this.connection = connection
    this.now = now
    this.token = token
    caller.then(
      (accepted) => this.accepted(accepted, options),
      (thrown) => this.denied(asCausewayError(thrown)),
    )
  }

  receive(frame: Buffer): void {
    if (this.isOpen) {
      this.handle(frame)
      return
    }
    const { queuedBytes, queuedMessages } = this.connection.limits
    this.queue.push(frame)
    this.queuedBytes += frame.length
    if (this.queue.length > queuedMessages || this.queuedBytes > queuedBytes) this.connection.queueIsLong()
  }

  tick(nowMs: number): void {
    const { document, connection } = this
    if (document === undefined) {
      const waitedMs = nowMs - connection.openedAtMs
      if (waitedMs >= connection.limits.authenticationMs) connection.close(new CausewayError('protocol/timeout'))
    } else if (isExpired(document.caller, this.now())) connection.close(new CausewayError('access/expired'))
    else document.tick()
    if (this.isOpen && this.token?.isDue(nowMs)) this.tellToken()
  }

  keepAliveFrame(): Buffer {
    return KEEP_ALIVE_FRAME
  }

  revoke(applies: (caller: Caller) => boolean, error: CausewayError): void {
    if (this.document !== undefined && applies(this.document.caller)) this.lost(error)
  }

  ended(): void {
    this.queue = []
    this.document?.end()
  }

  private accepted(caller: Caller, { document: name, documents, audiences, concern, freshness }: YOptions): void {
    const { connection } = this
    if (!connection.isOpen) return
    if (isExpired(caller, this.now())) {
      connection.close(new CausewayError('access/expired'))
      return
    }
    if (!caller.can(name, 'read')) {
      this.denied(new CausewayError('access/forbidden', { document: name, right: 'read' }))
      return
    }
    const options = {
      connection,
      protocol: this,
      documents,
      audiences,
      document: name,
      form: Y_FORM,
      caller,
      strays: 0,
      concern,
      freshness,
    }
    this.document = new StockDocument(options)
    try {
      this.document.open(documents)
    } catch (thrown) {
      this.lost(asCausewayError(thrown))
    }
  }

  private denied(error: CausewayError): void {
    this.connection.metrics.count('authentication-refused')
    this.lost(error)
  }

  opened(): void {
    const document = this.document!
    document.openQuestion()
    document.showPresent()
    if (this.token === undefined) this.begin()
    else {
      this.token.admit().then(
        () => this.begin(),
        (thrown) => this.connection.failed(thrown),
      )
    }
  }

  /** Messages are handled from now on. */
  private begin(): void {
    if (!this.connection.isOpen) return
    this.isOpen = true
    const { queue } = this
    this.queue = []
    this.connection.queueIsShort()
    for (const frame of queue) {
      if (!this.connection.isOpen) return
      try {
        this.handle(frame)
      } catch (thrown) {
        this.connection.failed(thrown)
      }
    }
  }

  private handle(frame: Buffer): void {
    const document = this.document!
    const message = decodeYMessage(new FrameReader(frame))
    switch (message.type) {
      case 'step1':
        document.step1(message.stateVector, false)
        break
      case 'step2':
      case 'update':
        document.edit(message.type, message.update)
        break
      case 'awareness':
        document.awareness(message.update)
        break
      case 'query-awareness':
        document.query()
        break
      case 'denied':
      case 'session':
      case 'unknown':
        break
    }
  }

  acknowledged(): void {
    if (this.token !== undefined) this.tellToken()
  }

  shown(): void {
    this.token?.shown()
  }

  private tellToken(): void {
    const token = this.token!.next(this.connection.nowMs)
    this.connection.send(frameMessage(NO_PREFIX, encodeYMessage({ type: 'session', token })))
  }

  refused(_times: number, error: CausewayError): void {
    // A reader is not told, as the protocol has it: its edits stay its own.
    if (error.code === 'access/forbidden') return
    if (error.code === 'document/bad-update') this.connection.strike(error)
    else this.lost(error)
  }

  echo(update: Uint8Array): void {
    this.connection.send(frameUpdates(UPDATE_PREFIX, [{ update }]))
  }

  lost(error: CausewayError): void {
    if (error.info.retry === 'never') {
      this.connection.send(frameMessage(NO_PREFIX, encodeYMessage({ type: 'denied', reason: error.message })))
      this.connection.close(error)
    } else this.connection.failed(error)
  }
}
