/**
 * TCP from here to another port of this machine, over a wire that a test can cut and delay, each direction by itself. A cut
 * wire is like the real one: nobody is told. Bytes, ends and resets wait in front of it, as does the opening of a connection,
 * and all of it arrives, in order, when the wire is whole again, unless a side has given up meanwhile.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

const host = '127.0.0.1'
/** What may wait in front of a wire; then its source is read no further, and TCP slows the sender down. */
const WAITING_LIMIT_BYTES = 256 * 1024

/** One direction of all connections through a proxy. */
export class Wire {
  private cut = false
  private readonly pipes = new Set<Pipe>()
  /** Milliseconds that everything takes to arrive, from its sending on. */
  delayMs = 0

  get isCut(): boolean {
    return this.cut
  }

  set isCut(cut: boolean) {
    this.cut = cut
    for (const pipe of this.pipes) pipe.pump()
  }

  add(pipe: Pipe): void {
    this.pipes.add(pipe)
  }

  remove(pipe: Pipe): void {
    this.pipes.delete(pipe)
  }
}

export class TcpProxy {
  /** From who connects to the target. */
  readonly forth = new Wire()
  readonly back = new Wire()
  /** Connections that were made to us, ever. */
  accepted = 0
  private readonly server: Server
  private readonly sockets = new Set<Socket>()

  private constructor(targetPort: number) {
    // Ends of one direction are passed on as such.
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
      this.accepted++
      this.keep(near)
      const forth = new Pipe(this.forth, near)
      forth.open(() => {
        const far = connect({ host, port: targetPort, allowHalfOpen: true, noDelay: true })
        this.keep(far)
        new Pipe(this.back, far).open(() => near)
        return far
      })
    })
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort)
    proxy.server.listen(0, host)
    await once(proxy.server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  /** Ends every connection at both sides at once, cut or not. */
  reset(): void {
    for (const socket of this.sockets) socket.resetAndDestroy()
  }

  async close(): Promise<void> {
    const closed = once(this.server, 'close')
    this.server.close()
    for (const socket of this.sockets) socket.destroy()
    await closed
  }

  private keep(socket: Socket): void {
    this.sockets.add(socket)
    socket.once('close', () => this.sockets.delete(socket))
  }
}

type Item =
  | { readonly type: 'open'; readonly sink: () => Socket }
  | { readonly type: 'bytes'; readonly bytes: Buffer }
  | { readonly type: 'end' }
  | { readonly type: 'reset' }

/** One direction of one connection. */
class Pipe {
  private readonly wire: Wire
  private readonly source: Socket
  private sink: Socket | undefined
  private readonly waiting: { readonly item: Item; readonly dueMs: number }[] = []
  private waitingBytes = 0
  private timer: NodeJS.Timeout | undefined

  constructor(wire: Wire, source: Socket) {
    this.wire = wire
    this.source = source
    wire.add(this)
    let isWhole = true
    source.on('data', (bytes: Buffer) => this.send({ type: 'bytes', bytes }))
    source.on('end', () => this.send({ type: 'end' }))
    source.on('error', () => {
      isWhole = false
    })
    source.on('close', () => {
      if (!isWhole || !source.readableEnded) this.send({ type: 'reset' })
    })
  }

  /** `sink` is called when the opening arrives. */
  open(sink: () => Socket): void {
    this.send({ type: 'open', sink })
  }

  pump(): void {
    clearTimeout(this.timer)
    while (!this.wire.isCut && !this.sink?.writableNeedDrain) {
      const next = this.waiting[0]
      if (next === undefined) break
      const waitMs = next.dueMs - performance.now()
      if (waitMs > 0) {
        this.timer = setTimeout(() => this.pump(), waitMs)
        break
      }
      this.waiting.shift()
      this.arrive(next.item)
    }
    if (this.waitingBytes > WAITING_LIMIT_BYTES) this.source.pause()
    else this.source.resume()
  }

  private send(item: Item): void {
    this.waiting.push({ item, dueMs: performance.now() + this.wire.delayMs })
    if (item.type === 'bytes') this.waitingBytes += item.bytes.length
    this.pump()
  }

  private arrive(item: Item): void {
    if (item.type === 'open') {
      this.sink = item.sink()
      this.sink.on('drain', () => this.pump())
      this.sink.on('error', () => {})
      return
    }
    if (item.type === 'bytes') {
      this.waitingBytes -= item.bytes.length
      if (this.sink?.writable) this.sink.write(item.bytes)
      return
    }
    if (item.type === 'end') this.sink?.end()
    else this.sink?.resetAndDestroy()
    this.wire.remove(this)
  }
}
