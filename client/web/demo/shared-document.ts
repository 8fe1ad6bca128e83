/**
 * One shared document of the page, over the stock provider: its content, the presence of others in it, whether the
 * connection stands, and whether what was written here is saved.
 */
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { type SavedState, SavedTracker, trackedWebSocket } from './saved.js'

export type Connection =
  /** The first attempt is under way. */
  | { readonly type: 'connecting' }
  | { readonly type: 'connected' }
  /** Lost a moment ago; the provider tries again by itself. */
  | { readonly type: 'reconnecting' }
  /** Attempts have failed for a while; they go on. */
  | { readonly type: 'offline' }
  /** The server said no for good; only a reload tries again. */
  | { readonly type: 'refused'; readonly reason: string }

const OFFLINE_AFTER_MS = 4_000

export class SharedDocument {
  readonly name: string
  readonly ydoc = new Y.Doc()
  readonly awareness: WebsocketProvider['awareness']
  saved: SavedState = { type: 'offline', changes: 0 }
  connection: Connection = { type: 'connecting' }
  /** Whether the server's content has arrived at least once. */
  isLoaded = false

  private readonly provider: WebsocketProvider
  private readonly changed: () => void
  private patience: ReturnType<typeof setTimeout> | undefined

  /** `changed` is called after every change of `saved`, `connection` or `isLoaded`; not for content or presence. */
  constructor(serverUrl: string, name: string, changed: () => void) {
    this.name = name
    this.changed = changed
    const tracker = new SavedTracker((state) => {
      this.saved = state
      this.changed()
    })
    // Before the provider's own listener: the tracker must know an edit before its frame goes out.
    let provider: WebsocketProvider | undefined
    this.ydoc.on('update', (update: Uint8Array, origin: unknown) => {
      if (origin !== provider) tracker.edited(update)
    })
    provider = new WebsocketProvider(serverUrl, name, this.ydoc, {
      WebSocketPolyfill: trackedWebSocket(tracker),
      // What tabs tell each other directly reaches the server from one of them only: "saved" would be half the truth.
      disableBc: true,
    })
    this.provider = provider
    this.awareness = provider.awareness
    this.awareness.setLocalState(null)
    provider.on('status', ({ status }) => {
      if (status === 'connected') this.setConnection({ type: 'connected' })
      if (status === 'disconnected') this.setConnection({ type: 'reconnecting' })
    })
    provider.on('sync', (synced) => {
      if (!synced || this.isLoaded) return
      this.isLoaded = true
      this.changed()
    })
    provider.on('closed', ({ code, reason }) =>
      this.setConnection({ type: 'refused', reason: reason || `code ${code}` }),
    )
    this.waitPatiently()
  }

  /** Whether closing the page now would lose something. */
  get hasUnsaved(): boolean {
    return this.saved.type !== 'saved' && this.saved.changes > 0
  }

  destroy(): void {
    clearTimeout(this.patience)
    this.provider.destroy()
    this.ydoc.destroy()
  }

  private setConnection(connection: Connection): void {
    this.connection = connection
    clearTimeout(this.patience)
    if (connection.type === 'reconnecting') this.waitPatiently()
    this.changed()
  }

  private waitPatiently(): void {
    this.patience = setTimeout(() => this.setConnection({ type: 'offline' }), OFFLINE_AFTER_MS)
  }
}
