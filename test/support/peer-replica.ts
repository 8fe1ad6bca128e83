/** A replica as far as its peers can tell: a network of links behind a port, and what happened on it. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { PeerNetwork, type PeerNetworkOptions } from '../../server/transport/peer-network.js'
import type { PeerMessage } from '../../shared/protocol/peer.js'

export const SECRET = 'a secret that all members of a cell know'

export class PeerReplica {
  readonly name: string
  readonly incarnation = randomBytes(8).toString('hex')
  /** `+b` linked, `-b` lost, in their order. */
  readonly changes: string[] = []
  readonly received: { peer: string; message: PeerMessage }[] = []
  readonly lines: Record<string, unknown>[] = []
  readonly counts: Record<string, number> = {}
  /** Called with every message; what it throws goes to the network. */
  onMessage: (peer: string, message: PeerMessage) => void = () => {}
  onConnected: (peer: string) => void = () => {}
  network!: PeerNetwork
  readonly server: Server
  private timer: NodeJS.Timeout | undefined

  private constructor(name: string, server: Server) {
    this.name = name
    this.server = server
  }

  /** Listens. `start` makes the network: addresses of others are known by then. */
  static async listening(name: string): Promise<PeerReplica> {
    const server = createServer((_, response) => response.writeHead(404).end())
    const replica = new PeerReplica(name, server)
    server.on('upgrade', (request, socket, head) => {
      if (!replica.network.handleUpgrade(request, socket, head)) socket.destroy()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return replica
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`
  }

  /** Ticks by itself unless the clock is given. */
  start(peers: Readonly<Record<string, string>>, options: Partial<PeerNetworkOptions> = {}): this {
    const log = (level: string) => (event: string, fields: object) => {
      this.lines.push({ level, event, ...fields })
    }
    const count = (what: string): void => {
      this.counts[what] = (this.counts[what] ?? 0) + 1
    }
    this.network = new PeerNetwork({
      self: { name: this.name, incarnation: this.incarnation },
      cellName: 'cell',
      secret: SECRET,
      peers: new Map(Object.entries(peers)),
      onConnected: (peer) => {
        this.changes.push(`+${peer}`)
        this.onConnected(peer)
      },
      onMessage: (peer, message) => {
        this.received.push({ peer, message })
        this.onMessage(peer, message)
      },
      onDisconnected: (peer) => this.changes.push(`-${peer}`),
      log: { info: log('info'), warn: log('warn') },
      metrics: {
        linked: () => {},
        count,
        sent: (type) => count(`sent ${type}`),
        received: (type) => count(`got ${type}`),
      },
      ...options,
    })
    if (options.now === undefined) this.timer = setInterval(() => this.network.tick(performance.now()), 20)
    return this
  }

  get isLinked(): boolean {
    return this.network.linked.length > 0
  }

  /** Codes of refusals so far. */
  get refusals(): unknown[] {
    return this.lines.filter(({ event }) => event === 'peer/refused').map(({ code }) => code)
  }

  async stop(): Promise<void> {
    clearInterval(this.timer)
    await this.network?.drain()
    this.server.closeAllConnections()
    this.server.close()
  }
}

/** Forwards connections to a port until it is told otherwise. */
export class FaultyProxy {
  private readonly pairs = new Set<readonly [Socket, Socket]>()
  private isFrozen = false
  private readonly server: ReturnType<typeof createTcpServer>

  private constructor(target: number) {
    this.server = createTcpServer((socket) => {
      const other = connect(target, '127.0.0.1')
      const pair = [socket, other] as const
      this.pairs.add(pair)
      for (const [from, to] of [pair, [other, socket] as const]) {
        from.on('data', (bytes) => {
          if (!this.isFrozen) to.write(bytes)
        })
        from.on('error', () => {})
        from.on('close', () => {
          // A connection that is half open does not say that its other half has gone.
          if (!this.isFrozen) to.destroy()
          this.pairs.delete(pair)
        })
      }
    })
  }

  static async to(target: number): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(target)
    proxy.server.listen(0, '127.0.0.1')
    await once(proxy.server, 'listening')
    return proxy
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  /** What is sent from now on goes nowhere, and neither side is told. */
  freeze(): void {
    this.isFrozen = true
  }

  thaw(): void {
    this.isFrozen = false
  }

  /** Breaks all connections. */
  cut(): void {
    for (const pair of this.pairs) for (const socket of pair) socket.destroy()
  }

  close(): void {
    this.cut()
    this.server.close()
  }
}
