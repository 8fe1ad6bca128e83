/** A WebSocket client that says what it likes, honest or not, and keeps what it hears. */
import { type ClientOptions, WebSocket } from 'ws'
import { FrameReader } from '../../shared/protocol/frame-reader.js'
import {
  decodeHocuspocusMessage,
  encodeHocuspocusMessage,
  type HocuspocusMessage,
  openEnvelope,
} from '../../shared/protocol/hocuspocus.js'
import { decodeYMessage, encodeYMessage, type YMessage } from '../../shared/protocol/sync.js'

type Said<Message> = Exclude<Message, { type: 'unknown' }>

export class Stranger {
  readonly socket: WebSocket
  /** Every message received, as bytes, in order. */
  readonly heard: Buffer[] = []
  closed: { readonly close: number; readonly code: string | undefined } | undefined
  private readonly watchers = new Set<() => void>()
  /** Messages decoded so far, by the one protocol or the other. */
  private readonly read: YMessage[] = []
  private readonly byAddress = new Map<string, HocuspocusMessage[]>()
  private sorted = 0

  private constructor(url: string, protocols: readonly string[], options: ClientOptions) {
    this.socket = new WebSocket(url, [...protocols], options)
    this.socket.on('message', (data: Buffer) => {
      this.heard.push(data)
      this.wake()
    })
    this.socket.on('close', (close, reason) => {
      // The code stands at the head of the reason.
      this.closed = { close, code: /^[a-z]+\/[a-z-]+/.exec(reason.toString())?.[0] }
      this.wake()
    })
    this.socket.on('error', () => {})
  }

  /** Resolves when the upgrade has been answered, one way or the other. */
  static async at(url: string, options: ClientOptions = {}, protocols: readonly string[] = []): Promise<Stranger> {
    const stranger = new Stranger(url, protocols, options)
    await new Promise<void>((resolve) => {
      stranger.socket.on('open', resolve)
      stranger.socket.on('close', () => resolve())
    })
    return stranger
  }

  /** Messages as `/y` has them. */
  get y(): readonly YMessage[] {
    while (this.read.length < this.heard.length) {
      this.read.push(decodeYMessage(new FrameReader(this.heard[this.read.length]!)))
    }
    return this.read
  }

  /** Messages under one address, as `/hocuspocus` has them. */
  under(address: string): readonly HocuspocusMessage[] {
    for (; this.sorted < this.heard.length; this.sorted++) {
      const envelope = openEnvelope(this.heard[this.sorted]!)
      if (envelope.type !== 'addressed') continue
      const messages = this.byAddress.get(envelope.address)
      const message = decodeHocuspocusMessage(envelope.body)
      if (messages === undefined) this.byAddress.set(envelope.address, [message])
      else messages.push(message)
    }
    return this.byAddress.get(address) ?? []
  }

  /** What SyncStatus said under an address, in order. */
  statuses(address: string): readonly boolean[] {
    return this.under(address).flatMap((message) => (message.type === 'sync-status' ? [message.applied] : []))
  }

  sayY(...messages: readonly Said<YMessage>[]): this {
    for (const message of messages) this.socket.send(encodeYMessage(message))
    return this
  }

  say(address: string, ...messages: readonly Said<HocuspocusMessage>[]): this {
    for (const message of messages) this.socket.send(encodeHocuspocusMessage(address, message))
    return this
  }

  sayBytes(bytes: Uint8Array): this {
    this.socket.send(bytes)
    return this
  }

  /** Resolves when `condition` holds after some message, or the connection is over. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const watcher = (): void => {
        if (this.closed === undefined && !condition()) return
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

  leave(): void {
    this.socket.terminate()
  }

  private wake(): void {
    for (const watcher of [...this.watchers]) watcher()
  }
}
