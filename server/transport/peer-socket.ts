/**
 * One WebSocket between two replicas, from its first byte to its last: bounds, heartbeat, writes of a turn in one go,
 * and exactly one end. Until `trust` its other end is a stranger who may send a few bytes in all.
 *
 * Silence is counted in ticks, each worth no more than a ping's interval: a replica that stood still for a while itself
 * does not take its peers for dead.
 */
import type { Socket } from 'node:net'
import type { RawData, WebSocket } from 'ws'
import { CausewayError } from '../../shared/errors/error.js'
import { GREETING_LIMIT_BYTES } from '../../shared/protocol/peer-greeting.js'
import type { PeerNetworkLimits } from './peer-limits.js'
import type { Turn, TurnEnd } from './turn.js'

/** Who drives a socket. */
export interface PeerSocketUser {
  received(frame: Buffer): void
  /** The socket is of no use any more; called once. `error`: what was wrong with it, absent where it was only lost. */
  ended(error: CausewayError | undefined, lostBy: string): void
}

/** A frame has a header of at most 14 bytes, and a stranger sends few of them. */
const STRANGER_BYTES = GREETING_LIMIT_BYTES + 64
const OPEN = 1

export class PeerSocket implements TurnEnd {
  readonly remoteAddress: string
  user!: PeerSocketUser
  private readonly ws: WebSocket
  private readonly socket: Socket
  private readonly turn: Turn
  private readonly limits: PeerNetworkLimits
  private readonly firstByte: number
  private readonly probes = new Map<string, (isAlive: boolean) => void>()
  private probeNumber = 0
  private isTrusted = false
  private isEnded = false
  private isCorked = false
  private readMark: number
  private silentMs = 0
  private tickedAtMs: number
  private pingedAtMs: number

  /** `firstByte`: how much of what the socket has read came before the frames. `onClosed`: nothing is left of it. */
  constructor(options: {
    ws: WebSocket
    socket: Socket
    turn: Turn
    limits: PeerNetworkLimits
    nowMs: number
    firstByte: number
    onClosed: () => void
  }) {
    const { ws, socket, turn, limits, nowMs } = options
    this.ws = ws
    this.socket = socket
    this.turn = turn
    this.limits = limits
    this.firstByte = options.firstByte
    this.remoteAddress = socket.remoteAddress ?? ''
    this.readMark = socket.bytesRead
    this.tickedAtMs = this.pingedAtMs = nowMs
    socket.setNoDelay(true)
    socket.on('data', this.boundStranger)
    ws.on('message', (data, isBinary) => this.received(data, isBinary))
    ws.on('pong', (data) => this.answered(data.toString('latin1')))
    // Only for what came is there an error; a connection that breaks closes without one. `ws` has told the other side.
    ws.on('error', (error: NodeJS.ErrnoException) => this.end(readError(error)))
    ws.on('close', (code) => {
      this.end(undefined, `close ${code}`)
      options.onClosed()
    })
  }

  get isOpen(): boolean {
    return !this.isEnded
  }

  /** Bytes that have not left this process. */
  get bufferedBytes(): number {
    return this.ws.bufferedAmount
  }

  /** The other end has proven who it is: from now on it may send what peers send. */
  trust(): void {
    this.isTrusted = true
    this.socket.off('data', this.boundStranger)
  }

  /** Sends one frame; what a turn brings leaves in one write. */
  write(frame: Uint8Array): void {
    if (this.isEnded || this.ws.readyState !== OPEN) return
    if (!this.isCorked) {
      this.isCorked = true
      this.socket.cork()
      this.turn.atLast(this)
    }
    this.ws.send(frame, { binary: true })
  }

  endOfTurn(): void {
    if (!this.isCorked) return
    this.isCorked = false
    this.socket.uncork()
  }

  /** At least once a second. */
  tick(nowMs: number): void {
    const { limits, socket } = this
    const elapsedMs = Math.min(nowMs - this.tickedAtMs, limits.pingMs)
    this.tickedAtMs = nowMs
    this.silentMs = socket.bytesRead === this.readMark ? this.silentMs + elapsedMs : 0
    this.readMark = socket.bytesRead
    if (this.silentMs >= limits.silenceMs) {
      this.terminate(undefined, 'silence')
      return
    }
    if (nowMs - this.pingedAtMs < limits.pingMs || this.ws.readyState !== OPEN) return
    this.pingedAtMs = nowMs
    this.ws.ping()
  }

  /** Asks whether the other end is there: `done` is called once, with whether it answered within `withinMs`. */
  probe(withinMs: number, done: (isAlive: boolean) => void): void {
    if (this.isEnded || this.ws.readyState !== OPEN) {
      done(false)
      return
    }
    const key = `probe ${++this.probeNumber}`
    const timer = setTimeout(() => settle(false), withinMs)
    const settle = (isAlive: boolean): void => {
      clearTimeout(timer)
      if (this.probes.delete(key)) done(isAlive)
    }
    this.probes.set(key, settle)
    this.ws.ping(key)
  }

  /** Ends with the close code of `error`; what was sent before goes out first, if the other end takes it in time. */
  close(error: CausewayError): void {
    if (this.isEnded) return
    this.endOfTurn()
    if (this.ws.readyState === OPEN) this.ws.close(error.info.close, error.code)
    this.end(error)
  }

  /** Ends without a word. */
  terminate(error: CausewayError | undefined, lostBy = 'terminated'): void {
    this.end(error, lostBy)
    this.ws.terminate()
  }

  private received(data: RawData, isBinary: boolean): void {
    if (this.isEnded) return
    const frame = data as Buffer
    if (!isBinary) this.close(new CausewayError('protocol/not-binary'))
    else if (!this.isTrusted && frame.length > GREETING_LIMIT_BYTES) this.close(new CausewayError('protocol/too-large'))
    else this.user.received(frame)
  }

  /** Also what is only half a message takes memory, so it is the bytes that count. */
  private readonly boundStranger = (): void => {
    if (this.isTrusted || this.socket.bytesRead - this.firstByte <= STRANGER_BYTES) return
    this.terminate(new CausewayError('protocol/too-large'))
  }

  private answered(key: string): void {
    this.probes.get(key)?.(true)
  }

  private settleProbes(): void {
    for (const settle of [...this.probes.values()]) settle(false)
  }

  private end(error: CausewayError | undefined, lostBy = 'error'): void {
    if (this.isEnded) return
    this.isEnded = true
    this.socket.off('data', this.boundStranger)
    this.user.ended(error, lostBy)
    // Afterwards: who asked may put another socket into the place of this one.
    if (this.probes.size > 0) queueMicrotask(() => this.settleProbes())
  }
}

function readError(error: NodeJS.ErrnoException): CausewayError | undefined {
  if (error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') return new CausewayError('protocol/too-large')
  return error.code?.startsWith('WS_ERR_')
    ? new CausewayError('protocol/bad-message', { reason: error.code })
    : undefined
}
