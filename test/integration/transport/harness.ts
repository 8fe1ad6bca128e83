/** The stock endpoints on a real port, over documents in memory; raw clients that speak frames. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setImmediate as immediate } from 'node:timers/promises'
import { vi } from 'vitest'
import { WebSocket } from 'ws'
import type { PeerTalk } from '../../../server/replica/cell.js'
import type { Caller } from '../../../server/transport/connection.js'
import type { TransportLimits } from '../../../server/transport/limits.js'
import type { TransportEvent } from '../../../server/transport/observer.js'
import {
  type Credentials,
  createWebSocketServer,
  refuseUpgrade,
  type WebSocketTransport,
} from '../../../server/transport/websocket-server.js'
import { FrameReader } from '../../../shared/protocol/frame-reader.js'
import {
  decodeHocuspocusMessage,
  encodeHocuspocusMessage,
  type HocuspocusMessage,
  openEnvelope,
} from '../../../shared/protocol/hocuspocus.js'
import { decodeYMessage, encodeYMessage, type YMessage } from '../../../shared/protocol/sync.js'
import { MemoryDocuments } from '../../models/memory-documents.js'

export const ANYBODY: Caller = { can: () => true }

export interface Server {
  readonly port: number
  /** `ws://127.0.0.1:<port>` */
  readonly url: string
  readonly documents: MemoryDocuments
  readonly transport: WebSocketTransport
  readonly counts: Partial<Record<TransportEvent, number>>
  readonly logged: unknown[]
  /** Moves both clocks on, a second at a time. */
  pass(seconds: number): Promise<void>
  stop(): Promise<void>
}

export interface ServerOptions {
  documents?: MemoryDocuments
  authenticate?: (credentials: Credentials) => Promise<Caller>
  limits?: Partial<TransportLimits>
  talk?: PeerTalk
}

const running: Server[] = []
const closers: (() => void)[] = []

/** Time stands still unless `pass` moves it. */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  const documents = options.documents ?? new MemoryDocuments()
  const counts: Server['counts'] = {}
  const logged: unknown[] = []
  const log = (...line: unknown[]): void => void logged.push(line)
  let timeMs = 1_000_000
  const transport = createWebSocketServer({
    documents,
    authenticate: options.authenticate ?? (async () => ANYBODY),
    ...(options.talk === undefined ? {} : { talk: options.talk }),
    // Time moves faster here than any peer can answer a ping; tests of dead peers set their own. A peer of bare bytes
    // answers no close either.
    limits: { pingIntervalMs: 3_600_000, closeMs: 100, ...options.limits },
    log: { info: log, warn: log, error: log },
    metrics: {
      count: (event, by = 1) => {
        counts[event] = (counts[event] ?? 0) + by
      },
    },
    now: () => timeMs,
    monotonicNow: () => timeMs,
  })
  const http = createServer((_, response) => response.writeHead(404).end())
  http.on('upgrade', (request, socket, head) => {
    if (!transport.handleUpgrade(request, socket, head)) refuseUpgrade(socket, 'request/not-found')
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  const { port } = http.address() as AddressInfo
  const server: Server = {
    port,
    url: `ws://127.0.0.1:${port}`,
    documents,
    transport,
    counts,
    logged,
    async pass(seconds) {
      for (let second = 0; second < seconds; second++) {
        timeMs += 1000
        transport.tick(timeMs)
        await immediate()
      }
    },
    async stop() {
      transport.close()
      http.close()
      http.closeAllConnections()
      await once(http, 'close')
    },
  }
  running.push(server)
  return server
}

/** For `afterEach`: clients first, so that they do not reconnect to a server that is going. */
export async function stopEverything(): Promise<void> {
  for (const close of closers.splice(0).reverse()) close()
  for (const server of running.splice(0)) await server.stop()
}

/** Has something destroyed at the end of the test. */
export function atEnd(close: () => void): void {
  closers.push(close)
}

/** Waits until `check` no longer throws. */
export function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: 20_000, interval: 5 })
}

/** A client that speaks messages and no Yjs. */
class RawClient<Message> {
  readonly ws: WebSocket
  readonly received: Message[] = []
  readonly frames: Buffer[] = []
  pings = 0
  closedWith: { code: number; reason: string } | undefined
  readonly opened: Promise<void>
  private readonly encode: (message: never) => Uint8Array

  constructor(ws: WebSocket, encode: (message: never) => Uint8Array, decode: (frame: Buffer) => Message) {
    this.ws = ws
    this.encode = encode
    this.opened = new Promise((resolve, reject) => {
      ws.once('open', resolve)
      ws.once('error', reject)
    })
    this.opened.catch(() => {})
    ws.on('error', () => {})
    ws.on('message', (data: Buffer) => {
      this.frames.push(data)
      this.received.push(decode(data))
    })
    ws.on('ping', () => this.pings++)
    ws.on('close', (code, reason) => {
      this.closedWith = { code, reason: reason.toString() }
    })
    atEnd(() => ws.terminate())
  }

  say(...messages: Message[]): void {
    for (const message of messages) this.ws.send(this.encode(message as never))
  }

  /** Waits for the first message that fits, takes it and what came before it, and returns it. */
  async next<Kind extends Message>(fits: (message: Message) => message is Kind): Promise<Kind>
  async next(fits: (message: Message) => boolean): Promise<Message>
  async next(fits: (message: Message) => boolean): Promise<Message> {
    return eventually(() => {
      const at = this.received.findIndex(fits)
      if (at < 0) throw new Error(`not yet; so far ${JSON.stringify(this.received)}`)
      return this.received.splice(0, at + 1)[at] as Message
    })
  }

  async closed(): Promise<{ code: number; reason: string }> {
    return eventually(() => {
      if (this.closedWith === undefined) throw new Error('still open')
      return this.closedWith
    })
  }

  /** When the server has handled everything sent so far, or has closed the connection. */
  async settled(): Promise<void> {
    if (this.ws.readyState === WebSocket.OPEN) {
      const done = new AbortController()
      const answered = once(this.ws, 'pong', { signal: done.signal })
      const closed = once(this.ws, 'close', { signal: done.signal })
      this.ws.ping()
      await Promise.race([answered, closed])
      done.abort()
      await Promise.allSettled([answered, closed])
    }
    await immediate()
  }
}

export type YClient = RawClient<YMessage>
export type Addressed = HocuspocusMessage & { address?: string }
export type HocuspocusClient = RawClient<Addressed>

export async function openY(
  server: Server,
  path: string,
  options: { protocols?: string[]; origin?: string } = {},
): Promise<YClient> {
  const ws = new WebSocket(`${server.url}/y/${path}`, options.protocols ?? [], {
    perMessageDeflate: false,
    ...(options.origin === undefined ? {} : { origin: options.origin }),
  })
  const client: YClient = new RawClient(ws, encodeYMessage, (frame) => decodeYMessage(new FrameReader(frame)))
  await client.opened
  return client
}

const DOCUMENT = 'doc'

/** Messages without an address go to `doc`. */
export async function openHocuspocus(server: Server, query = ''): Promise<HocuspocusClient> {
  const ws = new WebSocket(`${server.url}/hocuspocus${query}`, { perMessageDeflate: false })
  const encode = ({ address = DOCUMENT, ...message }: Addressed): Uint8Array =>
    encodeHocuspocusMessage(address, message as Exclude<HocuspocusMessage, { type: 'unknown' }>)
  const client: HocuspocusClient = new RawClient(ws, encode, (frame): Addressed => {
    const envelope = openEnvelope(frame)
    if (envelope.type !== 'addressed') return { type: 'unknown', number: frame[0] as number }
    const message = decodeHocuspocusMessage(envelope.body)
    return envelope.address === DOCUMENT ? message : { ...message, address: envelope.address }
  })
  await client.opened
  return client
}

/** A socket with a WebSocket handshake behind it, for bytes that no library writes. */
export async function openTcp(server: Server, path: string): Promise<Socket> {
  const socket = connect(server.port, '127.0.0.1')
  socket.on('error', () => {})
  atEnd(() => socket.destroy())
  socket.write(
    `GET ${path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  )
  await once(socket, 'readable')
  return socket
}
