/**
 * A small, obvious y-websocket client with a Y.Doc, that remembers what it sent and what came back. It shows what no
 * provider shows: which updates were echoed, and so promised to be durable.
 */
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { WebSocket } from 'ws'
import * as Y from 'yjs'

export class PlainClient {
  readonly doc = new Y.Doc()
  /** Every update received from the server, step2s included, in order. */
  readonly received: Uint8Array[] = []
  closeCode: number | undefined
  private readonly socket: WebSocket
  private isSynced = false
  private readonly watchers = new Set<() => void>()

  constructor(url: string, doc?: Y.Doc) {
    if (doc) this.doc = doc
    this.socket = new WebSocket(url)
    this.socket.binaryType = 'nodebuffer'
    this.socket.on('open', () => this.send(0, Y.encodeStateVector(this.doc)))
    this.socket.on('message', (data: Buffer) => this.read(data))
    this.socket.on('close', (code) => {
      this.closeCode = code
      this.wake()
    })
    this.socket.on('error', () => {})
    this.doc.on('update', this.onUpdate)
  }

  private readonly onUpdate = (update: Uint8Array, origin: unknown): void => {
    if (origin !== this && this.socket.readyState === WebSocket.OPEN) this.send(2, update)
  }

  private send(kind: number, bytes: Uint8Array): void {
    const encoder = encoding.createEncoder()
    encoding.writeVarUint(encoder, 0)
    encoding.writeVarUint(encoder, kind)
    encoding.writeVarUint8Array(encoder, bytes)
    this.socket.send(encoding.toUint8Array(encoder))
  }

  /** Sends raw bytes: for tests of bad input. */
  sendRaw(bytes: Uint8Array): void {
    this.socket.send(bytes)
  }

  sendUpdate(update: Uint8Array): void {
    this.send(2, update)
  }

  private read(data: Buffer): void {
    const decoder = decoding.createDecoder(data)
    if (decoding.readVarUint(decoder) !== 0) return
    const kind = decoding.readVarUint(decoder)
    const bytes = decoding.readVarUint8Array(decoder)
    if (kind === 0) this.send(1, Y.encodeStateAsUpdate(this.doc, bytes))
    else {
      this.received.push(bytes)
      if (kind === 1) this.isSynced = true
      Y.applyUpdate(this.doc, bytes, this)
    }
    this.wake()
  }

  private wake(): void {
    for (const watcher of [...this.watchers]) watcher()
  }

  /** Resolves when `condition` holds after some message or close. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const watcher = (): void => {
        if (!condition()) return
        this.watchers.delete(watcher)
        resolve()
      }
      this.watchers.add(watcher)
      watcher()
    })
  }

  synced(): Promise<void> {
    return this.until(() => this.isSynced)
  }

  get text(): Y.Text {
    return this.doc.getText('t')
  }

  close(): void {
    this.doc.off('update', this.onUpdate)
    this.socket.terminate()
  }
}
