/**
 * Dials one peer, again and again until it is linked, and again when its link is lost. After each attempt it waits
 * longer, and a random part less, so that replicas that lost each other at one moment do not come back at one moment.
 */
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { CausewayError } from '../../shared/errors/error.js'
import { PEER_LIMITS } from '../../shared/protocol/peer.js'
import { isLoopbackHost } from '../access/address.js'
import { Introduction } from './peer-introduction.js'
import type { PeerNetworkLimits } from './peer-limits.js'
import type { Meeting, Party } from './peer-meeting.js'
import { PeerSocket } from './peer-socket.js'
import type { Turn } from './turn.js'

export const PEER_PATH = '/peer'

export interface DialerOptions {
  readonly limits: PeerNetworkLimits
  readonly turn: Turn
  /** Without a cell secret only this machine is dialled. */
  readonly isLocalOnly: boolean
  readonly now: () => number
  /** From 0 up to, not including, 1. */
  readonly random: () => number
  readonly makeMeeting: () => Meeting
  readonly onOpened: (socket: PeerSocket) => void
  readonly onClosed: (socket: PeerSocket) => void
  /** Proven on both sides. The dialer rests until `retry`. */
  readonly onMet: (party: Party, socket: PeerSocket) => void
  /** An attempt has failed and another one follows: `error` where somebody refused, `cause` where nobody was reached. */
  readonly onFailed: (error: CausewayError | undefined, cause: unknown) => void
}

export class PeerDialer {
  private readonly options: DialerOptions
  private url: string
  private attempts = 0
  private timer: NodeJS.Timeout | undefined
  private calling: { readonly ws: WebSocket; readonly deadlineMs: number } | undefined
  private introduction: Introduction | undefined
  private isStopped = false

  constructor(url: string, options: DialerOptions) {
    this.url = url
    this.options = options
  }

  /** Another address: for the next attempt. */
  redirect(url: string): void {
    this.url = url
  }

  /** After the wait that is due. `isFresh`: the last link was a good one. */
  retry(isFresh: boolean): void {
    if (isFresh) this.attempts = 0
    if (this.isStopped || this.timer !== undefined) return
    const { limits, random } = this.options
    this.timer = setTimeout(() => this.dial(), retryDelayMs(this.attempts, random(), limits))
    this.attempts++
  }

  dial(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    if (this.isStopped) return
    const { limits, isLocalOnly, now } = this.options
    const target = peerAddress(this.url)
    if (target === undefined || (isLocalOnly && !isLoopbackHost(target.hostname))) {
      const reason = target === undefined ? 'no address' : 'not on this machine, and the cell has no secret'
      this.failed(new CausewayError('config/invalid', { option: 'peers', reason }), undefined)
      return
    }
    const ws = new WebSocket(target, {
      perMessageDeflate: false,
      maxPayload: PEER_LIMITS.messageBytes,
      followRedirects: false,
      // Not in the published types yet.
      ...{ closeTimeout: limits.closeMs },
    })
    this.calling = { ws, deadlineMs: now() + limits.connectMs }
    let socket: Socket | undefined
    const missed = (cause: unknown): void => {
      if (this.calling?.ws !== ws) return
      this.calling = undefined
      this.failed(undefined, cause)
    }
    ws.on('error', missed)
    ws.once('close', (code) => missed(new Error(`closed with ${code}`)))
    ws.once('upgrade', (response) => {
      socket = response.socket
    })
    ws.once('open', () => {
      this.calling = undefined
      if (this.isStopped || socket === undefined) ws.terminate()
      else this.opened(ws, socket)
    })
  }

  tick(nowMs: number): void {
    if (this.calling !== undefined && nowMs >= this.calling.deadlineMs) this.calling.ws.terminate()
    this.introduction?.tick(nowMs)
  }

  stop(): void {
    this.isStopped = true
    clearTimeout(this.timer)
    this.timer = undefined
    this.calling?.ws.terminate()
    this.introduction?.socket.terminate(undefined)
  }

  private opened(ws: WebSocket, raw: Socket): void {
    const { limits, turn, now, isLocalOnly, makeMeeting, onOpened, onClosed, onMet } = this.options
    const nowMs = now()
    const socket: PeerSocket = new PeerSocket({
      ws,
      socket: raw,
      turn,
      limits,
      nowMs,
      firstByte: raw.bytesRead,
      onClosed: () => onClosed(socket),
    })
    onOpened(socket)
    const introduction = new Introduction(socket, makeMeeting(), nowMs + limits.meetingMs, {
      met: (party) => {
        this.introduction = undefined
        onMet(party, socket)
      },
      failed: (error) => {
        this.introduction = undefined
        this.failed(error, undefined)
      },
    })
    this.introduction = introduction
    // A name may have led elsewhere.
    if (isLocalOnly && !isLoopbackHost(socket.remoteAddress)) {
      introduction.refuse(new CausewayError('access/unauthenticated', { reason: 'not on this machine' }))
    } else introduction.begin()
  }

  private failed(error: CausewayError | undefined, cause: unknown): void {
    if (this.isStopped) return
    this.options.onFailed(error, cause)
    this.retry(false)
  }
}

/** The wait after `attempts` that failed; `random` from 0 up to, not including, 1. */
export function retryDelayMs(attempts: number, random: number, limits: PeerNetworkLimits): number {
  return Math.min(limits.retryLeastMs * 2 ** attempts, limits.retryMostMs) * (1 - random / 2)
}

/** Where a replica is dialled: its address as configured, with our path. Undefined where `url` is none. */
export function peerAddress(url: string): URL | undefined {
  if (!URL.canParse(url)) return undefined
  const target = new URL(url)
  if (target.protocol !== 'ws:' && target.protocol !== 'wss:') return undefined
  if (!target.pathname.endsWith(PEER_PATH)) target.pathname = `${target.pathname.replace(/\/$/, '')}${PEER_PATH}`
  target.hash = ''
  return target
}
