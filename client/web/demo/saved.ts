/**
 * When may a page say "saved"? On `/y` the server sends every Update frame back to its sender, unchanged, once the
 * update is on disk as far as was asked for; also one that it knew already. So an edit is saved when the bytes that
 * carried it have come back, and not a moment earlier:
 *
 *     edit ──▶ Update ──▶ server ──▶ disk ──▶ the same Update ──▶ saved
 *
 * Bytes and not clocks, because an update that only deletes moves no clock. What was typed without a connection leaves
 * in the SyncStep2 that answers the server's SyncStep1, and a SyncStep2 is promised nothing. Therefore, behind each
 * SyncStep2, whatever is unconfirmed is offered once more as one Update, and the echo of that one counts.
 *
 * One looseness: of two people who delete the very same characters at once, each may take the other's Update for the
 * own echo, as the bytes are equal. Those deletions are then on disk at this replica, perhaps not yet at a majority.
 */
import { createDecoder, readVarUint, readVarUint8Array } from 'lib0/decoding'
import { createEncoder, toUint8Array, writeVarUint, writeVarUint8Array } from 'lib0/encoding'
import { mergeUpdates } from 'yjs'

/** `changes` counts local transactions (about one per keystroke) that no echo has confirmed. */
export type SavedState =
  | { readonly type: 'saved' }
  /** The connection is open, and changes are on their way. */
  | { readonly type: 'saving'; readonly changes: number }
  /** No connection: the changes, if any, are in the memory of this tab only. */
  | { readonly type: 'offline'; readonly changes: number }

/** One unconfirmed update; `changes` is above 1 where several were merged while offline. */
interface Unconfirmed {
  readonly update: Uint8Array
  readonly changes: number
}

/** An Update that repeats several unconfirmed ones. */
interface Offer {
  readonly update: Uint8Array
  readonly covers: readonly Unconfirmed[]
}

/** Beyond this many separate updates an offline page merges them into one: some ten bytes a keystroke remain. */
const OFFLINE_UPDATES_LIMIT = 256

const MESSAGE_SYNC = 0
const SYNC_STEP_2 = 1
const SYNC_UPDATE = 2

/** Knows which local edits of one document are unconfirmed. Pure: frames in, frames and states out. */
export class SavedTracker {
  private readonly onChange: (state: SavedState) => void
  private connected = false
  private unconfirmed: Unconfirmed[] = []
  private offers: Offer[] = []

  /** `onChange` hears each new state; the first one is offline with no changes. */
  constructor(onChange: (state: SavedState) => void = () => {}) {
    this.onChange = onChange
  }

  get state(): SavedState {
    const changes = this.unconfirmed.reduce((sum, entry) => sum + entry.changes, 0)
    if (!this.connected) return { type: 'offline', changes }
    return changes === 0 ? { type: 'saved' } : { type: 'saving', changes }
  }

  /** A local edit was made; call it before the update's frame is handed to `sent`. */
  edited(update: Uint8Array): void {
    this.unconfirmed.push({ update, changes: 1 })
    if (!this.connected && this.unconfirmed.length > OFFLINE_UPDATES_LIMIT) this.mergeUnconfirmed()
    this.onChange(this.state)
  }

  opened(): void {
    this.connected = true
    this.onChange(this.state)
  }

  /** The connection is gone: no echo of what was sent on it can arrive any more. */
  closed(): void {
    this.connected = false
    this.offers = []
    this.mergeUnconfirmed()
    this.onChange(this.state)
  }

  /** A frame went out. A frame that is returned must be sent right behind it. */
  sent(frame: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
    if (syncBody(frame, SYNC_STEP_2) === undefined || this.unconfirmed.length === 0) return undefined
    const covers = [...this.unconfirmed]
    const update = mergeUpdates(covers.map((entry) => entry.update))
    this.offers.push({ update, covers })
    return updateFrame(update)
  }

  /** A frame came in; only Update frames matter. */
  received(frame: Uint8Array): void {
    const update = syncBody(frame, SYNC_UPDATE)
    if (update === undefined || this.unconfirmed.length === 0) return
    const offer = this.offers.find((candidate) => sameBytes(candidate.update, update))
    const single = this.unconfirmed.find((entry) => sameBytes(entry.update, update))
    if (!offer && !single) return // somebody else's edit, or an echo that an offer has overtaken
    const confirmed = new Set([...(offer?.covers ?? []), ...(single ? [single] : [])])
    this.unconfirmed = this.unconfirmed.filter((entry) => !confirmed.has(entry))
    this.offers = this.offers.filter((candidate) => candidate.covers.some((entry) => this.unconfirmed.includes(entry)))
    this.onChange(this.state)
  }

  private mergeUnconfirmed(): void {
    if (this.unconfirmed.length < 2) return
    const update = mergeUpdates(this.unconfirmed.map((entry) => entry.update))
    this.unconfirmed = [{ update, changes: this.unconfirmed.reduce((sum, entry) => sum + entry.changes, 0) }]
  }
}

/**
 * A WebSocket class that shows a tracker what passes, for the `WebSocketPolyfill` option of the stock provider. A
 * socket counts only while it is the newest: the provider may open the next one before the last has said goodbye.
 */
export function trackedWebSocket(tracker: SavedTracker): typeof WebSocket {
  let newest: WebSocket | undefined
  return class TrackedWebSocket extends WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols)
      newest = this
      this.addEventListener('open', () => {
        if (newest === this) tracker.opened()
      })
      this.addEventListener('message', (event) => {
        if (newest === this && event.data instanceof ArrayBuffer) tracker.received(new Uint8Array(event.data))
      })
      this.addEventListener('close', () => this.over())
    }

    override send(data: Parameters<WebSocket['send']>[0]): void {
      super.send(data)
      const again = data instanceof Uint8Array ? tracker.sent(data) : undefined
      if (again) super.send(again)
    }

    override close(code?: number, reason?: string): void {
      this.over()
      super.close(code, reason)
    }

    private over(): void {
      if (newest !== this) return
      newest = undefined
      tracker.closed()
    }
  }
}

/** The frame of one Update: type Sync, kind Update, the bytes. */
export function updateFrame(update: Uint8Array): Uint8Array<ArrayBuffer> {
  const encoder = createEncoder()
  writeVarUint(encoder, MESSAGE_SYNC)
  writeVarUint(encoder, SYNC_UPDATE)
  writeVarUint8Array(encoder, update)
  return toUint8Array(encoder)
}

/** The bytes inside a Sync frame of this kind; `undefined` for any other frame, a truncated one included. */
function syncBody(frame: Uint8Array, kind: number): Uint8Array | undefined {
  try {
    const decoder = createDecoder(frame)
    if (readVarUint(decoder) !== MESSAGE_SYNC || readVarUint(decoder) !== kind) return undefined
    return readVarUint8Array(decoder)
  } catch {
    return undefined
  }
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index])
}
