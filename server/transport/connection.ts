/**
 * One socket of a stock client: what goes out, how fast it comes in, and when it ends. A protocol handler sits on top.
 *
 *   send ─▶ held, while an answer before it is still computed ─▶ pending, until the turn ends ─▶ one write ─▶ kernel
 *
 * Everything leaves in the order in which it was sent, one FIFO for all documents of the socket, so that what is
 * delivered while a step2 is computed stands behind it. Nothing is dropped from it: a reader that does not keep up is
 * closed with 1013, and resumes by diff. An answer to a step1 may be large and is no fault of the reader, so it does not
 * count; but the next one is only computed when little waits before it.
 *
 * We write frames to the raw socket; `ws` reads, answers pings and does the closing handshake. It writes whole frames
 * and holds nothing back without compression, so ours never fall inside one of its own.
 *
 * There are thousands of idle connections: none has a timer of its own, one tick serves all.
 */
import type { Socket } from 'node:net'
import type { RawData, WebSocket } from 'ws'
import { AssertionError } from '../../shared/base/assert.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import type { Identity } from '../access/identity.js'
import type { TransportLimits } from './limits.js'
import type { TransportLog, TransportMetrics } from './observer.js'
import { TokenBucket } from './token-bucket.js'
import type { Turn, TurnEnd } from './turn.js'
import { PING_FRAME } from './websocket-frame.js'

/** What the transport needs to know of who calls. */
export type Caller = Pick<Identity, 'userId' | 'name' | 'tokenId' | 'expiresAtMs' | 'can'>

/** Whether a caller must have shown a fresh token by now; `nowMs` is wall time. */
export function isExpired(caller: Caller, nowMs: number): boolean {
  return caller.expiresAtMs !== undefined && caller.expiresAtMs <= nowMs
}

/** A protocol, as a connection drives it. What `receive` throws as `protocol/bad-message` is a strike. */
export interface ProtocolHandler {
  receive(frame: Buffer): void
  tick(nowMs: number): void
  /** A data frame that changes nothing at the client; absent before there is anybody to send it to. */
  keepAliveFrame(): Buffer | undefined
  /** Ends what callers do here for whom `applies` holds. */
  revoke(applies: (caller: Caller) => boolean, error: CausewayError): void
  /** The connection is over; called once. */
  ended(): void
}

/** Somebody whose step1 waits for its answer. */
export interface Asker {
  answer(): void
}

/** What all connections share. */
export interface ConnectionHost {
  readonly limits: TransportLimits
  readonly turn: Turn
  /** Monotonic, read once a tick: exact enough for everything here. */
  readonly clock: { nowMs: number }
  readonly log: TransportLog
  readonly metrics: TransportMetrics
  connectionClosed(connection: Connection): void
}

/** A place in the FIFO whose frames are not known yet. */
export interface Slot {
  frames: readonly Uint8Array[] | undefined
}

const CONCATENATE_BELOW_BYTES = 16 * 1024
const REASON_LIMIT_BYTES = 123
const OPEN = 1

/** Why a connection is not being read. */
const TURN_IS_FULL = 1
const RATE_IS_SPENT = 2
const QUEUE_IS_FULL = 4
const REQUESTS_ARE_MANY = 8

export class Connection implements TurnEnd {
  readonly remoteAddress: string
  readonly openedAtMs: number
  handler!: ProtocolHandler
  private readonly host: ConnectionHost
  private readonly socket: Socket
  private readonly ws: WebSocket
  private isEnded = false
  private isInTurn = false
  private isAwaitingDrain = false

  private held: (Uint8Array | Slot)[] = []
  private heldBytes = 0
  private pending: Uint8Array | Uint8Array[] | undefined
  private pendingBytes = 0
  private askers: Set<Asker> | undefined
  private slots = 0
  /** Bytes of answers that may still wait for the reader. */
  private allowance = 0

  private readonly messageBucket: TokenBucket
  private readonly byteBucket: TokenBucket
  private readonly answerBucket: TokenBucket
  private messagesThisTurn = 0
  private pingsThisTick = 0
  private requests = 0
  private strikes = 0
  private unread = 0

  private heardAtMs: number
  private sentAtMs: number
  private pingedAtMs: number
  private writtenMark = 0
  /** Bytes read when the last whole message had come. */
  private readMark: number

  constructor(host: ConnectionHost, socket: Socket, ws: WebSocket, remoteAddress: string) {
    const { nowMs } = host.clock
    this.host = host
    this.socket = socket
    this.ws = ws
    this.remoteAddress = remoteAddress
    this.messageBucket = new TokenBucket(host.limits.messages, nowMs)
    this.byteBucket = new TokenBucket(host.limits.bytes, nowMs)
    this.answerBucket = new TokenBucket(host.limits.answerBytes, nowMs)
    this.openedAtMs = this.heardAtMs = this.sentAtMs = this.pingedAtMs = nowMs
    this.readMark = socket.bytesRead
    ws.on('message', (data, isBinary) => this.received(data, isBinary))
    ws.on('ping', () => this.pinged())
    ws.on('pong', () => this.heard())
    // Without a listener an illegal frame would end the process; ws itself answers it with the right close code.
    ws.on('error', () => this.metrics.count('bad-message'))
    ws.on('close', () => this.closed())
  }

  get isOpen(): boolean {
    return !this.isEnded
  }

  /** What was read of a message that has not ended, control frames counted along. */
  get unfinishedBytes(): number {
    return this.socket.bytesRead - this.readMark
  }

  get limits(): TransportLimits {
    return this.host.limits
  }

  get metrics(): TransportMetrics {
    return this.host.metrics
  }

  get nowMs(): number {
    return this.host.clock.nowMs
  }

  // --- out

  /** Sends whole WebSocket frames, in order. The bytes may be shared by many connections and are not changed. */
  send(frames: Uint8Array): void {
    if (this.isEnded) return
    if (this.held.length === 0) {
      this.put(frames)
      return
    }
    this.held.push(frames)
    this.heldBytes += frames.length
    if (this.heldBytes > this.limits.backlogBytes) this.close(new CausewayError('document/busy'))
  }

  /** Has a step1 answered: now, or when less waits before the answer. */
  ask(asker: Asker): void {
    if (this.isEnded) return
    if (this.canAnswer()) {
      asker.answer()
      return
    }
    this.askers ??= new Set()
    this.askers.add(asker)
    this.awaitDrain()
  }

  /** The asker does not want an answer any more. */
  forget(asker: Asker): void {
    this.askers?.delete(asker)
  }

  /** Sends an answer to a step1: frames that the reader asked for, so that their size is not held against it. */
  answer(frames: readonly Uint8Array[]): void {
    this.fill(this.hold(), frames)
  }

  /** Keeps the place of an answer that is being computed; `fill` it, whatever happens. */
  hold(): Slot {
    const slot: Slot = { frames: undefined }
    this.held.push(slot)
    this.slots++
    return slot
  }

  fill(slot: Slot, frames: readonly Uint8Array[]): void {
    if (this.isEnded) return
    slot.frames = frames
    this.slots--
    let bytes = 0
    for (const frame of frames) bytes += frame.length
    if (this.slots === 0 && this.backlogBytes <= this.limits.answerBacklogBytes) this.allowance = 0
    this.allowance += bytes
    this.answerBucket.spend(this.limits.answerBytes, bytes, this.nowMs)
    let passed = 0
    for (const next of this.held) {
      if (next instanceof Uint8Array) {
        this.heldBytes -= next.length
        this.put(next)
      } else if (next.frames === undefined) break
      else for (const frame of next.frames) this.put(frame)
      passed++
    }
    this.held.splice(0, passed)
    this.serveAskers()
  }

  /** One write for the turn. */
  endOfTurn(): void {
    this.isInTurn = false
    this.messagesThisTurn = 0
    if (this.unread & TURN_IS_FULL) this.read(TURN_IS_FULL)
    const { pending, socket } = this
    if (pending === undefined || this.isEnded) return
    const bytes = this.pendingBytes
    this.pending = undefined
    this.pendingBytes = 0
    if (this.ws.readyState !== OPEN) return
    // What waits from earlier turns tells a slow reader; what this turn adds, a fast one has had no chance to read.
    if (socket.writableLength > this.limits.backlogBytes + this.allowance) {
      this.metrics.count('slow-consumer')
      this.close(new CausewayError('protocol/slow-consumer'))
      return
    }
    if (pending instanceof Uint8Array) socket.write(pending)
    else if (bytes <= CONCATENATE_BELOW_BYTES) socket.write(Buffer.concat(pending, bytes))
    else {
      socket.cork()
      for (const frames of pending) socket.write(frames)
      socket.uncork()
    }
    this.sentAtMs = this.nowMs
  }

  private put(frames: Uint8Array): void {
    this.joinTurn()
    if (this.pending === undefined) this.pending = frames
    else if (this.pending instanceof Uint8Array) this.pending = [this.pending, frames]
    else this.pending.push(frames)
    this.pendingBytes += frames.length
  }

  private joinTurn(): void {
    if (this.isInTurn) return
    this.isInTurn = true
    this.host.turn.atLast(this)
  }

  private get backlogBytes(): number {
    return this.heldBytes + this.pendingBytes + this.socket.writableLength
  }

  private canAnswer(): boolean {
    const { answerBacklogBytes, answersInFlight, answerBytes } = this.limits
    if (this.slots >= answersInFlight || this.backlogBytes > answerBacklogBytes) return false
    return this.answerBucket.hasAny(answerBytes, this.nowMs)
  }

  private serveAskers(): void {
    if (this.askers === undefined) return
    for (const asker of this.askers) {
      if (!this.canAnswer()) return
      this.askers.delete(asker)
      asker.answer()
    }
  }

  /** A tick, or the end of another answer, serves them as well. */
  private awaitDrain(): void {
    if (this.isAwaitingDrain || this.askers === undefined || this.askers.size === 0) return
    this.isAwaitingDrain = true
    this.socket.once('drain', () => {
      this.isAwaitingDrain = false
      this.serveAskers()
      this.awaitDrain()
    })
  }

  // --- in

  private received(data: RawData, isBinary: boolean): void {
    if (this.isEnded) return
    const frame = data as Buffer
    this.readMark = this.socket.bytesRead
    this.heardAtMs = this.nowMs
    this.meter(frame.length)
    if (!isBinary) {
      this.close(new CausewayError('protocol/not-binary'))
      return
    }
    try {
      this.handler.receive(frame)
    } catch (thrown) {
      this.failed(thrown)
    }
  }

  /** A mistake of the client ends in a strike, one of ours closes this connection alone; a broken assumption goes on. */
  failed(thrown: unknown): void {
    if (thrown instanceof AssertionError) throw thrown
    const error = asCausewayError(thrown)
    if (error.code === 'protocol/bad-message') {
      this.strike(error)
      return
    }
    if (error.code === 'internal/failure') {
      this.host.log.error({ event: 'connection-failed', error: error.cause ?? error }, 'a connection failed')
    }
    this.close(error)
  }

  /** Counts what cannot be decoded (or is no update); the last one of several closes the connection. */
  strike(error: CausewayError): void {
    this.metrics.count('bad-message')
    if (++this.strikes >= this.limits.strikes) this.close(error)
  }

  /** An update was handed on and has no outcome yet. */
  requestBegins(): void {
    if (++this.requests > this.limits.requestsInFlight) this.stopReading(REQUESTS_ARE_MANY)
  }

  requestsEnd(count: number): void {
    this.requests -= count
    if (this.requests * 2 < this.limits.requestsInFlight) this.read(REQUESTS_ARE_MANY)
  }

  /** The handler queues more than it wants to, until `queueIsShort`. */
  queueIsLong(): void {
    this.stopReading(QUEUE_IS_FULL)
  }

  queueIsShort(): void {
    this.read(QUEUE_IS_FULL)
  }

  private meter(bytes: number): void {
    const { limits, nowMs } = this
    const { messages, messagesPerTurn } = limits
    if (++this.messagesThisTurn === messagesPerTurn) this.stopReading(TURN_IS_FULL)
    this.joinTurn()
    const hasMessages = this.messageBucket.spend(messages, 1, nowMs)
    const hasBytes = this.byteBucket.spend(limits.bytes, bytes, nowMs)
    if (hasMessages && hasBytes) return
    if (!(this.unread & RATE_IS_SPENT)) this.metrics.count('throttled')
    this.stopReading(RATE_IS_SPENT)
  }

  private stopReading(reason: number): void {
    if (this.isEnded) return
    if (this.unread === 0) this.ws.pause()
    this.unread |= reason
  }

  private read(reason: number): void {
    if (!(this.unread & reason)) return
    this.unread &= ~reason
    if (this.unread === 0) this.ws.resume()
  }

  // --- time

  tick(): void {
    const { limits, nowMs } = this
    this.pingsThisTick = 0
    if (this.unread & RATE_IS_SPENT) {
      const hasMessages = this.messageBucket.hasAny(limits.messages, nowMs)
      if (hasMessages && this.byteBucket.hasAny(limits.bytes, nowMs)) this.read(RATE_IS_SPENT)
    }
    this.noticeProgress()
    if (nowMs - this.heardAtMs >= 2 * limits.pingIntervalMs) {
      this.metrics.count('dead-peer')
      this.terminate()
      return
    }
    // Pings and keep-alives carry nothing that has an order, so they do not wait behind an answer.
    if (nowMs - this.pingedAtMs >= limits.pingIntervalMs) {
      this.pingedAtMs = nowMs
      this.put(PING_FRAME)
    }
    if (nowMs - this.sentAtMs >= limits.keepAliveMs) {
      const frame = this.handler.keepAliveFrame()
      if (frame !== undefined) this.put(frame)
    }
    this.serveAskers()
    this.handler.tick(nowMs)
  }

  /** A peer that we read slowly, or that takes a large answer slowly, is not dead; one that waits for us too long is. */
  private noticeProgress(): void {
    if (this.unread & (RATE_IS_SPENT | TURN_IS_FULL)) this.heardAtMs = this.nowMs
    const waiting = this.socket.writableLength
    if (waiting === 0) return
    const written = this.socket.bytesWritten - waiting
    if (written > this.writtenMark) this.heardAtMs = this.nowMs
    this.writtenMark = written
  }

  private heard(): void {
    this.heardAtMs = this.nowMs
  }

  private pinged(): void {
    this.heard()
    if (++this.pingsThisTick > this.limits.pings) this.close(new CausewayError('access/too-many-requests'))
  }

  // --- the end

  /** Closes with the code of `error`; what has been sent before goes out first. */
  close(error: CausewayError): void {
    if (this.isEnded) return
    if (error.code !== 'protocol/slow-consumer') this.endOfTurn()
    if (this.isEnded) return
    this.end()
    const { code, info } = error
    if (code !== 'cell/draining') {
      this.host.log.info({ event: 'connection-refused', code, remoteAddress: this.remoteAddress }, info.says)
    }
    this.ws.close(info.close, cutToBytes(`${code}: ${info.says}`, REASON_LIMIT_BYTES))
  }

  /** Drops the socket without a word. */
  terminate(): void {
    this.end()
    this.ws.terminate()
  }

  private end(): void {
    if (this.isEnded) return
    this.isEnded = true
    this.pending = undefined
    this.pendingBytes = 0
    this.held = []
    this.heldBytes = 0
    this.askers = undefined
    // The answer to a close can only be seen by reading.
    if (this.unread !== 0) this.ws.resume()
    this.unread = 0
    this.handler.ended()
  }

  private closed(): void {
    this.end()
    this.host.connectionClosed(this)
  }
}

function cutToBytes(text: string, limitBytes: number): string {
  const bytes = Buffer.from(text)
  if (bytes.length <= limitBytes) return text
  let end = limitBytes
  // Not inside a character.
  while (((bytes[end] as number) & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end)
}
