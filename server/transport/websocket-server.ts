/**
 * The stock endpoints as one object for the host: it hands in upgrade requests and ticks, and everything else happens
 * here. Callers are judged after the upgrade (a page cannot see why one is refused), except for what should cost us
 * nothing: too many connections, a replica that shuts down. Which pages may connect, the host has judged before.
 */
import { randomInt } from 'node:crypto'
import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import type { ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { Freshness, PeerTalk } from '../replica/cell.js'
import type { Documents } from '../replica/documents.js'
import { Audiences } from './audience.js'
import { type Caller, Connection, type ConnectionHost } from './connection.js'
import { HocuspocusHandler } from './hocuspocus.js'
import { TRANSPORT_LIMITS, type TransportLimits } from './limits.js'
import { NO_LOG, NO_METRICS, type TransportLog, type TransportMetrics } from './observer.js'
import { PeerAudiences } from './peer-audiences.js'
import { StockToken } from './stock-token.js'
import { Turn } from './turn.js'
import { chooseProtocol, parseUpgradeTarget, tokenOfProtocols, type UpgradeTarget } from './upgrade-target.js'
import { YHandler } from './y-websocket.js'

/** What a caller shows, and where it comes from. */
export interface Credentials {
  /** Absent where none was shown. */
  readonly token?: string
  readonly endpoint: 'y' | 'hocuspocus'
  readonly document: string
  /** The page's origin; absent where the caller is no browser. */
  readonly origin?: string
  readonly remoteAddress: string
}

export interface WebSocketTransportOptions {
  readonly documents: Documents
  /**
   * Judges a caller, once for `/y` and for each token on `/hocuspocus`. Rejects with `access/unauthenticated`,
   * `access/expired`; anything that may heal closes the connection with a code that clients retry.
   */
  authenticate(credentials: Credentials): Promise<Caller>
  /** What is known of other replicas, and the sessions of clients that hop between them. */
  readonly freshness?: Freshness
  /** Relays presence and stateless messages to other replicas; absent where there are none. */
  readonly talk?: PeerTalk
  readonly limits?: Partial<TransportLimits>
  readonly log?: TransportLog
  readonly metrics?: TransportMetrics
  /** Wall clock in ms, against which tokens end. */
  readonly now?: () => number
  /** Monotonic clock in ms for everything else, the one whose readings `tick` gets. */
  readonly monotonicNow?: () => number
}

interface WebSocketTransportStats {
  readonly connections: number
  /** Documents with at least one client here. */
  readonly documents: number
}

export interface WebSocketTransport {
  /** Takes an upgrade request, or returns false where the path is none of ours and the socket untouched. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean
  /** To be called about every second, at most five apart: keep-alive, expiry, what a rate held back. */
  tick(nowMs: number): void
  stats(): WebSocketTransportStats
  /** Ends what callers do here for whom `applies` holds: a token was revoked. */
  revoke(applies: (caller: Caller) => boolean, error?: CausewayError): void
  /** Takes no more connections and closes all with 1012; resolves when they are gone. */
  drain(): Promise<void>
  /** Drops whatever is left. */
  close(): void
}

export function createWebSocketServer(options: WebSocketTransportOptions): WebSocketTransport {
  return new StockTransport(options)
}

class StockTransport implements WebSocketTransport, ConnectionHost {
  readonly limits: TransportLimits
  readonly turn = new Turn()
  readonly clock: { nowMs: number }
  readonly log: TransportLog
  readonly metrics: TransportMetrics
  private readonly options: WebSocketTransportOptions
  private readonly monotonicNow: () => number
  private readonly now: () => number
  private readonly audiences: Audiences
  private readonly server: WebSocketServer
  private readonly connections = new Set<Connection>()
  private readonly perAddress = new Map<string, number>()
  private drained: (() => void)[] | undefined

  constructor(options: WebSocketTransportOptions) {
    this.options = options
    this.limits = { ...TRANSPORT_LIMITS, ...options.limits }
    this.log = options.log ?? NO_LOG
    this.metrics = options.metrics ?? NO_METRICS
    this.now = options.now ?? Date.now
    this.monotonicNow = options.monotonicNow ?? (() => performance.now())
    this.clock = { nowMs: this.monotonicNow() }
    const { metrics, log, turn, now } = this
    const { nowMs } = this.clock
    const { talk } = options
    const salt = randomInt(SALT_RANGE) / SALT_RANGE
    const peers = talk && new PeerAudiences({ talk, now, salt, nowMs, metrics, log })
    this.audiences = new Audiences({ limits: this.limits.presence, turn, metrics, peers })
    this.server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      // Our frames are written past ws; with compression it could hold one of its own back.
      perMessageDeflate: false,
      maxPayload: this.limits.messageBytes,
      maxFragments: this.limits.messageFragments,
      maxBufferedChunks: this.limits.messageChunks,
      handleProtocols: chooseProtocol,
      // Not in the published types yet.
      ...{ closeTimeout: this.limits.closeMs },
    })
  }

  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const target = parseUpgradeTarget(request.url)
    if (target === undefined) return false
    socket.on('error', ignore)
    const remoteAddress = request.socket.remoteAddress ?? ''
    const refusal = this.refusal(remoteAddress)
    if (refusal !== undefined) {
      this.metrics.count('upgrade-refused')
      this.log.info({ event: 'upgrade-refused', code: refusal, remoteAddress }, 'an upgrade was refused')
      refuseUpgrade(socket, refusal)
      return true
    }
    const protocols = request.headers['sec-websocket-protocol']
    const token = target.parameters.get('token') || tokenOfProtocols(protocols)
    const { origin } = request.headers
    try {
      this.server.handleUpgrade(request, socket as Socket, head, (ws) => {
        this.open(socket as Socket, ws, target, token, remoteAddress, origin)
      })
    } catch (error) {
      this.log.error({ event: 'upgrade-failed', error }, 'an upgrade failed')
      socket.destroy()
    }
    return true
  }

  tick(nowMs: number): void {
    this.clock.nowMs = nowMs
    for (const connection of this.connections) connection.tick()
    this.audiences.tick(nowMs)
    this.boundUnfinished()
  }

  /** Who sends half of a large message and waits could hold as much on each of its connections. */
  private boundUnfinished(): void {
    let bytes = 0
    for (const connection of this.connections) bytes += connection.unfinishedBytes
    if (bytes <= this.limits.unfinishedBytes) return
    const largestFirst = [...this.connections].sort((left, right) => right.unfinishedBytes - left.unfinishedBytes)
    for (const connection of largestFirst) {
      if (bytes <= this.limits.unfinishedBytes) return
      bytes -= connection.unfinishedBytes
      connection.close(new CausewayError('access/too-many-requests'))
    }
  }

  stats(): WebSocketTransportStats {
    return { connections: this.connections.size, documents: this.audiences.size }
  }

  revoke(applies: (caller: Caller) => boolean, error = new CausewayError('access/unauthenticated')): void {
    for (const { handler } of this.connections) handler.revoke(applies, error)
  }

  drain(): Promise<void> {
    this.drained ??= []
    const error = new CausewayError('cell/draining')
    for (const connection of this.connections) connection.close(error)
    if (this.connections.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.drained?.push(resolve))
  }

  close(): void {
    this.drained ??= []
    for (const connection of this.connections) connection.terminate()
    this.server.close()
  }

  connectionClosed(connection: Connection): void {
    if (!this.connections.delete(connection)) return
    this.metrics.count('connection-closed')
    const left = (this.perAddress.get(connection.remoteAddress) ?? 1) - 1
    if (left > 0) this.perAddress.set(connection.remoteAddress, left)
    else this.perAddress.delete(connection.remoteAddress)
    if (this.connections.size === 0) for (const resolve of this.drained?.splice(0) ?? []) resolve()
  }

  private refusal(remoteAddress: string): ErrorCodeName | undefined {
    const { limits } = this
    if (this.drained !== undefined) return 'cell/draining'
    const fromHere = this.perAddress.get(remoteAddress) ?? 0
    const isFull = this.connections.size >= limits.connections || fromHere >= limits.connectionsPerAddress
    return isFull ? 'access/too-many-connections' : undefined
  }

  private open(
    socket: Socket,
    ws: WebSocket,
    { endpoint, document, parameters }: UpgradeTarget,
    token: string | undefined,
    remoteAddress: string,
    origin: string | undefined,
  ): void {
    this.clock.nowMs = this.monotonicNow()
    const connection = new Connection(this, socket, ws, remoteAddress)
    this.connections.add(connection)
    this.perAddress.set(remoteAddress, (this.perAddress.get(remoteAddress) ?? 0) + 1)
    this.metrics.count('connection-opened')
    const { audiences, now } = this
    const { documents, freshness } = this.options
    const concern = concernOf(parameters.get('w'))
    const session = parameters.get('session') ?? undefined
    const facts = { endpoint, remoteAddress, ...(origin === undefined ? {} : { origin }) }
    const authenticate = async (document: string, token: string | undefined): Promise<Caller> =>
      this.options.authenticate({ ...facts, document, ...(token ? { token } : {}) })
    if (endpoint === 'y') {
      const caller = authenticate(document, token)
      const stockToken = session !== undefined && freshness ? new StockToken(freshness, session) : undefined
      const options = { connection, documents, audiences, document, caller, now, concern, freshness }
      connection.handler = new YHandler({ ...options, token: stockToken })
    } else {
      const options = { connection, documents, audiences, authenticate, now, concern, freshness, session }
      connection.handler = new HocuspocusHandler(options)
    }
  }
}

const ignore = (): void => {}
const SALT_RANGE = 2 ** 32

/** What a stock client may say; anything else means what is usual, since unknown parameters are ignored here. */
function concernOf(text: string | null): WriteConcern | undefined {
  if (text === 'local' || text === 'majority' || text === 'all') return text
  return text !== null && /^[1-7]$/.test(text) ? Number(text) : undefined
}

/** Answers an upgrade request that nobody takes, and ends its socket. */
export function refuseUpgrade(socket: Duplex, code: ErrorCodeName): void {
  const { http, says } = new CausewayError(code).info
  const headers = ['Connection: close', 'Content-Type: text/plain', `Content-Length: ${Buffer.byteLength(says)}`]
  socket.on('error', ignore)
  socket.once('finish', () => socket.destroy())
  socket.end([`HTTP/1.1 ${http} ${STATUS_CODES[http] ?? ''}`, ...headers, '', says].join('\r\n'))
}
