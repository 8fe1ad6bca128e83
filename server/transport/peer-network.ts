/**
 * The links between this replica and its peers: one WebSocket for each pair, dialled by the one whose name is less, both
 * sides proven before the first message (`peer-meeting.ts`). It moves messages and knows nothing of what they mean; what
 * a peer may say at which moment, `PeerLink` decides.
 *
 * A link that breaks, or on which something is said that cannot be understood, ends alone: the host is told, and the
 * dialer tries again after a while. Two replicas of one name are a mistake in somebody's configuration: the one that is
 * linked and answers keeps its place.
 */
import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { AssertionError, assert } from '../../shared/base/assert.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { badMessage } from '../../shared/protocol/frame-reader.js'
import { PEER_LIMITS, type PeerMessage } from '../../shared/protocol/peer.js'
import { PeerDecoder, PeerEncoder } from '../../shared/protocol/peer-codec.js'
import { NONCE_BYTES } from '../../shared/protocol/peer-greeting.js'
import { PeerAcceptor } from './peer-acceptor.js'
import { PeerDialer } from './peer-dialer.js'
import type { Introduction } from './peer-introduction.js'
import { PEER_NETWORK_LIMITS, type PeerNetworkLimits } from './peer-limits.js'
import { Meeting, type Party } from './peer-meeting.js'
import { type PeerLog, type PeerMetrics, Repetitions } from './peer-observer.js'
import type { PeerSocket, PeerSocketUser } from './peer-socket.js'
import { Turn } from './turn.js'

export interface PeerNetworkOptions {
  readonly self: Party
  readonly cellName: string
  /** The cell's. Without one, peers are reached on this machine alone. */
  readonly secret: string | undefined
  /** Addresses of the peers by name, `ws:` or `wss:`, as this replica reaches them; its own is passed over. */
  readonly peers: ReadonlyMap<string, string>
  /** A peer is linked: `send` reaches it. */
  onConnected(peer: string): void
  /**
   * In the order of the peer's `send`s, between `onConnected` and `onDisconnected`. Bytes in it are views of what was
   * received. What it throws ends this link alone, broken assumptions excepted.
   */
  onMessage(peer: string, message: PeerMessage): void
  /** Once for each `onConnected`; never from inside a call of `send`, `close` or `setPeers`. */
  onDisconnected(peer: string): void
  readonly log: PeerLog
  readonly metrics: PeerMetrics
  readonly limits?: Partial<PeerNetworkLimits>
  /** Spreads attempts to connect: from 0 up to, not including, 1. */
  readonly random?: () => number
  /** Monotonic, in ms: the clock whose readings `tick` gets. */
  readonly now?: () => number
}

export class PeerNetwork {
  private readonly options: PeerNetworkOptions
  private readonly limits: PeerNetworkLimits
  private readonly now: () => number
  private readonly turn = new Turn()
  private readonly repetitions = new Repetitions()
  private readonly acceptor: PeerAcceptor
  private readonly dialers = new Map<string, PeerDialer>()
  private readonly links = new Map<string, Link>()
  /** Names that were linked before. */
  private readonly known = new Set<string>()
  private readonly sockets = new Set<PeerSocket>()
  private peers: ReadonlySet<string> = new Set()
  private drained: (() => void)[] | undefined
  /** The host is inside one of our functions: it is told of an end afterwards. */
  private isCalled = false

  constructor(options: PeerNetworkOptions) {
    this.options = options
    this.limits = { ...PEER_NETWORK_LIMITS, ...options.limits }
    this.now = options.now ?? (() => performance.now())
    const { limits, turn, now, isLocalOnly } = this
    this.acceptor = new PeerAcceptor({
      limits,
      turn,
      now,
      isLocalOnly,
      makeMeeting: () => this.meeting(undefined),
      onOpened: (socket) => this.sockets.add(socket),
      onClosed: (socket) => this.socketClosed(socket),
      onMet: (party, introduction) => this.admit(party, introduction),
      onRefused: (error, remoteAddress) => this.meetingRefused(error, { remoteAddress }),
      onUpgradeRefused: (code, remoteAddress) => {
        options.metrics.count('upgrade-refused')
        this.say('info', code, { code, remoteAddress })
      },
    })
    this.setPeers(options.peers)
  }

  /** Names of the peers that are linked now. */
  get linked(): readonly string[] {
    return [...this.links.keys()]
  }

  /** To be called before other endpoints: false where the path is not ours and the socket untouched. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    return this.acceptor.handleUpgrade(request, socket, head)
  }

  /** Other peers, or other addresses: who is none any more loses its link; a link outlives a change of address. */
  setPeers(peers: ReadonlyMap<string, string>): void {
    if (this.drained !== undefined) return
    const own = this.options.self.name
    this.peers = new Set([...peers.keys()].filter((name) => name !== own))
    for (const [name, dialer] of this.dialers) {
      if (this.peers.has(name)) continue
      dialer.stop()
      this.dialers.delete(name)
    }
    for (const name of [...this.links.keys()]) {
      if (!this.peers.has(name)) this.close(name, new CausewayError('cell/foreign', { reason: 'no member any more' }))
    }
    for (const [name, url] of peers) {
      if (name <= own) continue
      const known = this.dialers.get(name)
      if (known !== undefined) {
        known.redirect(url)
        continue
      }
      const dialer = this.dialer(name, url)
      this.dialers.set(name, dialer)
      dialer.dial()
    }
  }

  /**
   * Sends a message to a linked peer; to any other it is dropped, as is something told where much waits already. A link
   * on which far more waits than credit allows is closed.
   */
  send(peer: string, message: PeerMessage): void {
    const link = this.links.get(peer)
    if (link === undefined) return
    const { metrics } = this.options
    if (message.type === 'tell' && link.socket.bufferedBytes > this.limits.tellBacklogBytes) {
      metrics.count('tell-dropped')
      return
    }
    try {
      const bytes = link.encoder.encode(message)
      if (bytes.length > PEER_LIMITS.messageBytes) throw new CausewayError('protocol/too-large')
      link.socket.write(bytes)
      metrics.sent(message.type, bytes.length)
    } catch (thrown) {
      if (thrown instanceof AssertionError) throw thrown
      this.close(peer, asCausewayError(thrown))
      return
    }
    if (link.socket.bufferedBytes <= this.limits.backlogBytes) return
    this.called(() => link.socket.terminate(new CausewayError('protocol/slow-consumer')))
  }

  /** Bytes for a peer that have not left this process; 0 where it is not linked. */
  bufferedBytes(peer: string): number {
    return this.links.get(peer)?.socket.bufferedBytes ?? 0
  }

  /** Ends a link; what was sent before goes out first. */
  close(peer: string, error: CausewayError): void {
    this.called(() => this.links.get(peer)?.socket.close(error))
  }

  /** At least once a second, with a reading of the clock: heartbeats, deadlines. */
  tick(nowMs: number): void {
    this.acceptor.tick(nowMs)
    for (const dialer of this.dialers.values()) dialer.tick(nowMs)
    for (const { socket } of [...this.links.values()]) socket.tick(nowMs)
  }

  /** Takes and makes no more connections and closes all; resolves when they are gone. */
  drain(): Promise<void> {
    this.drained ??= []
    for (const dialer of this.dialers.values()) dialer.stop()
    this.acceptor.stop()
    for (const name of [...this.links.keys()]) this.close(name, new CausewayError('cell/draining'))
    if (this.sockets.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.drained?.push(resolve))
  }

  private get isLocalOnly(): boolean {
    return this.options.secret === undefined
  }

  // --- meeting --------------------------------------------------------------------------------------------------

  private meeting(expected: string | undefined): Meeting {
    const { self, cellName, secret } = this.options
    const nonce = randomBytes(NONCE_BYTES)
    return new Meeting({ self, cellName, secret, nonce, ...(expected === undefined ? {} : { expected }) })
  }

  private dialer(peer: string, url: string): PeerDialer {
    const { limits, turn, now, isLocalOnly } = this
    const { metrics, random = Math.random } = this.options
    return new PeerDialer(url, {
      limits,
      turn,
      isLocalOnly,
      now,
      random,
      makeMeeting: () => this.meeting(peer),
      onOpened: (socket) => this.sockets.add(socket),
      onClosed: (socket) => this.socketClosed(socket),
      onMet: (party, socket) => this.link(party, socket, true),
      onFailed: (error, cause) => {
        if (error !== undefined) this.meetingRefused(error, { peer })
        else {
          metrics.count('dial-failed')
          this.say('info', `dial ${peer}`, { peer, code: 'cell/unreachable' }, cause)
        }
      },
    })
  }

  /** Somebody who knows the secret has dialled. */
  private admit(party: Party, introduction: Introduction): void {
    const { name } = party
    const objection = this.objectionTo(name)
    if (objection !== undefined) {
      introduction.refuse(objection)
      return
    }
    const linked = this.links.get(name)
    if (linked === undefined) {
      this.accept(party, introduction)
      return
    }
    if (linked.incarnation === party.incarnation) {
      // The same process has let go of that link already: nobody else can prove to be it.
      linked.socket.terminate(undefined, 'replaced')
      this.accept(party, introduction)
      return
    }
    linked.socket.probe(this.limits.duplicateMs, (isAlive) => {
      if (!introduction.socket.isOpen) return
      const isTaken = isAlive || (this.links.has(name) && this.links.get(name) !== linked)
      if (isTaken) introduction.refuse(new CausewayError('cell/duplicate-name', { name, linked: linked.incarnation }))
      else {
        linked.socket.terminate(undefined, 'replaced')
        this.accept(party, introduction)
      }
    })
  }

  private objectionTo(name: string): CausewayError | undefined {
    const own = this.options.self.name
    if (this.drained !== undefined) return new CausewayError('cell/draining')
    if (name === own) return new CausewayError('cell/duplicate-name', { name })
    if (!this.peers.has(name)) return new CausewayError('cell/foreign', { name, reason: 'no member' })
    return name > own ? badMessage('dialled by the greater name') : undefined
  }

  private accept(party: Party, introduction: Introduction): void {
    introduction.accept()
    this.acceptor.leave(introduction)
    this.link(party, introduction.socket, false)
  }

  private meetingRefused(error: CausewayError, who: { peer?: string; remoteAddress?: string }): void {
    this.options.metrics.count('meeting-refused')
    const { code, details } = error
    const { name, ...rest } = details
    const peer = who.peer ?? (typeof name === 'string' ? name : undefined)
    const fields = { ...who, peer, code, details: JSON.stringify(rest) }
    this.say('warn', `${code} ${peer ?? who.remoteAddress}`, fields)
  }

  private say(level: 'info' | 'warn', what: string, fields: Record<string, string | undefined>, cause?: unknown): void {
    if (this.repetitions.isDue(what, this.now())) this.options.log[level]('peer/refused', fields, cause)
  }

  // --- links ----------------------------------------------------------------------------------------------------

  private link(party: Party, socket: PeerSocket, isDialled: boolean): void {
    const { name, incarnation } = party
    const { metrics, log } = this.options
    assert(!this.links.has(name), 'one link for each peer')
    socket.trust()
    const link: Link = new Link(socket, incarnation, this.now(), {
      received: (frame) => this.received(name, link, frame),
      ended: (error, lostBy) => this.ended(name, link, error, lostBy),
    })
    socket.user = link.user
    this.links.set(name, link)
    metrics.count('linked')
    if (this.known.has(name)) metrics.count('relinked')
    this.known.add(name)
    metrics.linked(this.links.size)
    log.info('peer/linked', { peer: name, incarnation, remoteAddress: socket.remoteAddress, isDialled })
    this.options.onConnected(name)
  }

  private received(peer: string, link: Link, frame: Buffer): void {
    let message: PeerMessage
    try {
      message = link.decoder.decode(frame)
    } catch (thrown) {
      // Whatever a decoder stumbles over came from outside.
      const error = thrown instanceof CausewayError ? thrown : badMessage('not understood', thrown)
      this.refuse(peer, link, error)
      return
    }
    this.options.metrics.received(message.type, frame.length)
    if (message.type === 'refuse') link.refusal = message
    try {
      this.options.onMessage(peer, message)
    } catch (thrown) {
      if (thrown instanceof AssertionError) throw thrown
      this.refuse(peer, link, asCausewayError(thrown))
    }
  }

  /** Ends a link for what was said on it, and tells the peer. */
  private refuse(peer: string, link: Link, error: CausewayError): void {
    if (this.links.get(peer) !== link) return
    const details = JSON.stringify(error.details).slice(0, PEER_LIMITS.refusalBytes)
    link.socket.write(link.encoder.encode({ type: 'refuse', code: error.code, details }))
    link.socket.close(error)
  }

  private ended(peer: string, link: Link, error: CausewayError | undefined, lostBy: string): void {
    if (this.links.get(peer) !== link) return
    this.links.delete(peer)
    const nowMs = this.now()
    const livedMs = Math.round(nowMs - link.sinceMs)
    this.options.metrics.linked(this.links.size)
    this.tellOfEnd(peer, link, error, { lostBy, livedMs })
    this.dialers.get(peer)?.retry(livedMs >= this.limits.retryResetMs)
    const { onDisconnected } = this.options
    if (this.isCalled) queueMicrotask(() => onDisconnected(peer))
    else onDisconnected(peer)
  }

  private tellOfEnd(
    peer: string,
    { refusal }: Link,
    error: CausewayError | undefined,
    { lostBy, livedMs }: { lostBy: string; livedMs: number },
  ): void {
    const { metrics, log } = this.options
    if (refusal !== undefined) {
      metrics.count('refused-by-peer')
      const { code, details } = refusal
      this.say('warn', `by ${peer} ${code}`, { peer, code, details, by: 'peer' })
    } else if (error !== undefined && error.code !== 'cell/draining') {
      metrics.count('refused')
      const { code, details, cause } = error
      // A cell is born once, and greets again then: nothing is the matter.
      const level = code === 'cell/starting' ? 'info' : 'warn'
      this.say(level, `${peer} ${code}`, { peer, code, details: JSON.stringify(details), by: 'us' }, cause)
    } else {
      metrics.count('lost')
      log.info('peer/lost', { peer, by: error?.code ?? lostBy, livedMs })
    }
  }

  private called(act: () => void): void {
    const before = this.isCalled
    this.isCalled = true
    try {
      act()
    } finally {
      this.isCalled = before
    }
  }

  private socketClosed(socket: PeerSocket): void {
    this.sockets.delete(socket)
    if (this.sockets.size === 0) for (const resolve of this.drained?.splice(0) ?? []) resolve()
  }
}

/** A connection to a peer that has proven who it is. */
class Link {
  readonly socket: PeerSocket
  readonly incarnation: string
  readonly sinceMs: number
  readonly user: PeerSocketUser
  readonly encoder = new PeerEncoder()
  readonly decoder = new PeerDecoder()
  /** The peer's last word. */
  refusal: Extract<PeerMessage, { type: 'refuse' }> | undefined

  constructor(socket: PeerSocket, incarnation: string, sinceMs: number, user: PeerSocketUser) {
    this.socket = socket
    this.incarnation = incarnation
    this.sinceMs = sinceMs
    this.user = user
  }
}
