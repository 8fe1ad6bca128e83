/**
 * Takes connections of replicas that dial us. Whoever connects is a stranger: few at a time, few from one address, a few
 * bytes, and a deadline. No browser gets in, whatever page it shows: a page of a stranger must not reach the replicas of
 * the machine that it is looked at on.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import type { ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError } from '../../shared/errors/error.js'
import { PEER_LIMITS } from '../../shared/protocol/peer.js'
import { addressKey, isLoopbackHost } from '../access/address.js'
import { PEER_PATH } from './peer-dialer.js'
import { Introduction } from './peer-introduction.js'
import type { PeerNetworkLimits } from './peer-limits.js'
import type { Meeting, Party } from './peer-meeting.js'
import { PeerSocket } from './peer-socket.js'
import type { Turn } from './turn.js'
import { refuseUpgrade } from './websocket-server.js'

export interface AcceptorOptions {
  readonly limits: PeerNetworkLimits
  readonly turn: Turn
  /** Without a cell secret only this machine is let in. */
  readonly isLocalOnly: boolean
  readonly now: () => number
  readonly makeMeeting: () => Meeting
  readonly onOpened: (socket: PeerSocket) => void
  readonly onClosed: (socket: PeerSocket) => void
  /** The other end has proven who it is, and waits for `accept` or `refuse`. It counts as a stranger until `leave`. */
  readonly onMet: (party: Party, introduction: Introduction) => void
  readonly onRefused: (error: CausewayError, remoteAddress: string) => void
  readonly onUpgradeRefused: (code: ErrorCodeName, remoteAddress: string) => void
}

/** What proxies put into the requests that they pass on: behind one, an address of this machine says nothing. */
const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via']

export class PeerAcceptor {
  private readonly options: AcceptorOptions
  private readonly server: WebSocketServer
  private readonly strangers = new Map<Introduction, string>()
  private isStopped = false

  constructor(options: AcceptorOptions) {
    this.options = options
    this.server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: PEER_LIMITS.messageBytes,
      // Not in the published types yet.
      ...{ closeTimeout: options.limits.closeMs },
    })
  }

  /** Takes an upgrade request, or returns false where the path is not ours and the socket untouched. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    if (request.url?.split('?', 1)[0] !== PEER_PATH) return false
    const remoteAddress = request.socket.remoteAddress ?? ''
    const refusal = this.refusal(request)
    if (refusal !== undefined) {
      this.options.onUpgradeRefused(refusal, remoteAddress)
      refuseUpgrade(socket, refusal)
      return true
    }
    socket.on('error', () => {})
    const raw = socket as Socket
    const firstByte = raw.bytesRead - head.length
    this.server.handleUpgrade(request, raw, head, (ws) => {
      const { limits, turn, now, makeMeeting, onOpened, onClosed, onMet, onRefused } = this.options
      const nowMs = now()
      const opened: PeerSocket = new PeerSocket({
        ws,
        socket: raw,
        turn,
        limits,
        nowMs,
        firstByte,
        onClosed: () => onClosed(opened),
      })
      onOpened(opened)
      const introduction: Introduction = new Introduction(opened, makeMeeting(), nowMs + limits.meetingMs, {
        met: onMet,
        failed: (error) => {
          this.strangers.delete(introduction)
          if (error !== undefined) onRefused(error, remoteAddress)
        },
      })
      this.strangers.set(introduction, addressKey(remoteAddress))
    })
    return true
  }

  /** It is a stranger no more. */
  leave(introduction: Introduction): void {
    this.strangers.delete(introduction)
  }

  tick(nowMs: number): void {
    for (const introduction of [...this.strangers.keys()]) introduction.tick(nowMs)
  }

  stop(): void {
    this.isStopped = true
    for (const introduction of [...this.strangers.keys()]) introduction.refuse(new CausewayError('cell/draining'))
  }

  private refusal({ headers, socket }: IncomingMessage): ErrorCodeName | undefined {
    const { limits, isLocalOnly } = this.options
    if (headers.origin !== undefined) return 'access/origin'
    const remoteAddress = socket.remoteAddress ?? ''
    const isLocal = isLoopbackHost(remoteAddress) && isLoopbackHost(socket.localAddress ?? '')
    if (isLocalOnly && (!isLocal || FORWARDED.some((name) => headers[name] !== undefined))) {
      return 'access/unauthenticated'
    }
    if (this.isStopped) return 'cell/draining'
    const key = addressKey(remoteAddress)
    let fromHere = 0
    for (const address of this.strangers.values()) if (address === key) fromHere++
    const isFull = this.strangers.size >= limits.strangers || fromHere >= limits.strangersPerAddress
    return isFull ? 'access/too-many-connections' : undefined
  }
}
