/** The published y-websocket client, with ears: what came over its socket, frame by frame, beside what it made of it. */
import { WebSocket } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { FrameReader } from '../../shared/protocol/frame-reader.js'
import { decodeYMessage } from '../../shared/protocol/sync.js'

/** Only servers send it. */
const SESSION = 112

export class StockClient {
  readonly doc: Y.Doc
  readonly provider: WebsocketProvider
  /** The newest session token that it was told, since the newest echo. */
  token: string | undefined
  readonly closedWith: number[] = []
  /** Its own edits, oldest first. */
  readonly edits: string[] = []
  /** Those whose echo came. */
  readonly echoed = new Set<string>()
  private readonly editOf = new Map<string, string>()

  constructor(url: string, document: string, params: Record<string, string> = {}, doc = new Y.Doc()) {
    this.doc = doc
    doc.on('update', (update, origin) => {
      if (origin !== this.provider) this.editOf.set(hex(update), this.edits.at(-1)!)
    })
    const hear = (frame: ArrayBuffer): void => this.hear(new Uint8Array(frame))
    const closed = (code: number): void => void this.closedWith.push(code)
    const WebSocketPolyfill = class extends WebSocket {
      constructor(address: string, protocols: string[]) {
        super(address, protocols)
        this.on('message', hear)
        this.on('close', closed)
        this.on('error', () => {})
      }
    } as unknown as typeof globalThis.WebSocket
    this.provider = new WebsocketProvider(`${url}/y`, document, doc, {
      WebSocketPolyfill,
      disableBc: true,
      params,
      maxBackoffTime: 100,
    })
  }

  get text(): string {
    return this.doc.getText('t').toString()
  }

  /** Appends; each text once, so that its echo can be told. */
  type(text: string): void {
    this.edits.push(text)
    this.doc.getText('t').insert(this.doc.getText('t').length, text)
  }

  /** The same person at another replica: everything that is in the document stays. */
  hopTo(url: string): void {
    this.provider.disconnect()
    this.provider.serverUrl = `${url}/y`
    this.provider.connect()
  }

  close(): void {
    // Yjs draws a new id where another client uses the same, and the provider then cannot take leave under the old one.
    this.doc.clientID = this.provider.awareness.clientID
    this.provider.destroy()
  }

  private hear(frame: Uint8Array): void {
    const reader = new FrameReader(frame)
    if (frame[0] === SESSION) {
      reader.varUint()
      this.token = reader.varString(10_000)
      return
    }
    const message = decodeYMessage(reader)
    if (message.type !== 'update') return
    const edit = this.editOf.get(hex(message.update))
    if (edit === undefined) return
    this.echoed.add(edit)
    this.token = undefined
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
