/** TCP to a replica, byte by byte: heads of requests and WebSocket frames that no client would send. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export class RawSocket {
  private readonly socket: Socket
  private readonly chunks: Buffer[] = []
  isOver = false
  private readonly watchers = new Set<() => void>()

  private constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.socket.on('data', (chunk) => {
      this.chunks.push(chunk)
      this.wake()
    })
    this.socket.on('close', () => {
      this.isOver = true
      this.wake()
    })
    this.socket.on('error', () => {})
  }

  static async to(port: number): Promise<RawSocket> {
    const raw = new RawSocket(port)
    await once(raw.socket, 'connect')
    return raw
  }

  /** A connection that has been upgraded to a WebSocket. */
  static async upgraded(port: number, path: string): Promise<RawSocket> {
    const raw = await RawSocket.to(port)
    raw.write(upgradeHead(port, path))
    await raw.until(() => raw.answer.includes('\r\n\r\n'))
    if (!raw.answer.startsWith('HTTP/1.1 101')) throw new Error(`no upgrade: ${raw.answer}`)
    // What came with the answer to the head is frames already.
    const { bytes } = raw
    raw.chunks.splice(0, raw.chunks.length, bytes.subarray(bytes.indexOf('\r\n\r\n') + 4))
    return raw
  }

  write(bytes: Uint8Array | string): void {
    this.socket.write(bytes)
  }

  end(): void {
    this.socket.end()
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** All bytes received. */
  get bytes(): Buffer {
    return Buffer.concat(this.chunks)
  }

  /** The same as text. */
  get answer(): string {
    return this.bytes.toString('latin1')
  }

  /** Status of an HTTP answer; undefined where there is none. */
  get status(): number | undefined {
    const status = /^HTTP\/1\.1 (\d{3})/.exec(this.answer)?.[1]
    return status === undefined ? undefined : Number(status)
  }

  /** Code of the close frame among the frames received; undefined where there is none. */
  get closeCode(): number | undefined {
    const { bytes } = this
    for (let at = 0; at + 2 <= bytes.length; ) {
      const opcode = bytes[at]! & 0x0f
      let size = bytes[at + 1]! & 0x7f
      let from = at + 2
      if (size === 126) {
        size = bytes.readUInt16BE(from)
        from += 2
      } else if (size === 127) {
        size = bytes.readUInt32BE(from + 4)
        from += 8
      }
      if (opcode === 8) return bytes.readUInt16BE(from)
      at = from + size
    }
    return undefined
  }

  /** Resolves when `condition` holds after some bytes, or the connection is over. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const watcher = (): void => {
        if (!this.isOver && !condition()) return
        this.watchers.delete(watcher)
        resolve()
      }
      this.watchers.add(watcher)
      watcher()
    })
  }

  /** Resolves when the connection is over. */
  over(): Promise<void> {
    return this.until(() => false)
  }

  private wake(): void {
    for (const watcher of [...this.watchers]) watcher()
  }
}

/** The head of an honest upgrade request, with `more` header lines. */
export function upgradeHead(port: number, path: string, more: readonly string[] = []): string {
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ...more,
  ]
  return `${lines.join('\r\n')}\r\n\r\n`
}

export interface FrameOptions {
  /** Default true. */
  readonly fin?: boolean
  /** The three reserved bits: 0x40, 0x20, 0x10. */
  readonly reserved?: number
  /** Default true. */
  readonly masked?: boolean
  /** What the header claims instead of the payload's length. */
  readonly claims?: bigint
}

export const CONTINUATION = 0
export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8
export const PING = 9

/** A WebSocket frame as a client writes it (RFC 6455 section 5.2), or as it must not. */
export function frame(opcode: number, payload: Uint8Array | string, options: FrameOptions = {}): Buffer {
  const { fin = true, reserved = 0, masked = true, claims } = options
  const body = Buffer.from(payload)
  const length = claims ?? BigInt(body.length)
  const head = [(fin ? 0x80 : 0) | reserved | opcode]
  const mask = masked ? 0x80 : 0
  if (length < 126n) head.push(mask | Number(length))
  else if (length < 65536n) head.push(mask | 126, Number(length >> 8n), Number(length & 0xffn))
  else {
    head.push(mask | 127)
    for (let shift = 56n; shift >= 0n; shift -= 8n) head.push(Number((length >> shift) & 0xffn))
  }
  // A mask of zeros is one too.
  return Buffer.concat([Buffer.from(head), Buffer.alloc(masked ? 4 : 0), body])
}
