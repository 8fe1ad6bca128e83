/**
 * Who is present in one document: best effort, never durable, impossible to forge. A client id belongs to the connection
 * that first showed it with a state, until that connection closes; others' words about it are dropped, which is the
 * common case, since stock clients send back whatever they receive. States are encoded anew, with the identity of the
 * token in them.
 *
 * Clocks decide who believes what: a client applies an entry with a larger clock, or an equal one that says "gone". A
 * client that returns with the clock it left with would stay invisible, because everybody has heard that it is gone at a
 * later one. Its state is then shown under a clock that counts, and the client itself is nudged: told that it is gone at
 * that very clock, it steps over it, as the protocol has it. (Sending it the new clock with its own state instead would
 * overwrite what it has changed meanwhile; keeping its clocks shifted would go round for ever between two tabs of one
 * browser, which tell each other what they hear.) Only a connection younger than the end of an id can bring it back so:
 * from an older one it may be what we once told it, sent back late.
 *
 * No socket, no clock: time is an input, and what is to be sent is taken at the end of a turn.
 */

import { asCausewayError } from '../../shared/errors/error.js'
import type { AwarenessEntry, AwarenessState, ReceivedAwareness } from '../../shared/protocol/awareness.js'
import { decodeAwareness, encodeAwareness, parseAwarenessState } from '../../shared/protocol/awareness.js'
import { type Rate, TokenBucket } from './token-bucket.js'

export interface PresenceLimits {
  /** Ids of one connection: a browser's tabs show each other's. */
  readonly idsPerConnection: number
  readonly idsPerDocument: number
  /** All states of a document together: whoever joins gets them at once. */
  readonly bytesPerDocument: number
  readonly stateBytes: number
  readonly stateDepth: number
  /** Changes that one connection may show, a KiB each; of what exceeds it the latest is shown by a later `tick`. */
  readonly changes: Rate
  /** How long a state stands without a renewal; clients renew every 15 s. */
  readonly silenceMs: number
}

export const PRESENCE_LIMITS: PresenceLimits = {
  idsPerConnection: 64,
  idsPerDocument: 8192,
  bytesPerDocument: 2 * 1024 * 1024,
  stateBytes: 16 * 1024,
  stateDepth: 8,
  changes: { perSecond: 60, burst: 120 },
  silenceMs: 30_000,
}

/** One connection in one document; never used twice. */
export type PresenceOwner = number

/** What the verified token says of a person. */
export interface PresenceStamp {
  readonly userId?: string
  readonly name?: string
}

interface Holder {
  stamp: PresenceStamp
  readonly ids: Set<number>
  /** The first id that it showed. */
  ownId: number | undefined
  readonly bucket: TokenBucket
  /** What exceeded the rate, the latest of each id. */
  deferred: Map<number, ReceivedAwareness> | undefined
}

interface Presentation {
  owner: PresenceOwner
  clock: number
  json: string
  renewedMs: number
}

/** A clock that nobody reaches by counting; beyond it a claim is refused, lest it cost the id's next owner its clocks. */
const HONEST_CLOCK_LIMIT = 2 ** 31
const CLOCK_STEP_LIMIT = 2 ** 20

export class Presence {
  private readonly limits: PresenceLimits
  private readonly holders = new Map<PresenceOwner, Holder>()
  private readonly present = new Map<number, Presentation>()
  /** At which clock an id was said to be gone, and the newest owner then; oldest first. */
  private readonly gone = new Map<number, { readonly clock: number; readonly owner: PresenceOwner }>()
  private readonly changed = new Set<number>()
  private readonly nudges = new Map<PresenceOwner, AwarenessEntry[]>()
  private readonly deferring = new Set<PresenceOwner>()
  private encodedStates: Uint8Array | undefined
  private newestOwner: PresenceOwner
  private bytes = 0

  /** `newestOwner`: the last number given out before anybody showed presence. */
  constructor(limits: PresenceLimits = PRESENCE_LIMITS, newestOwner: PresenceOwner = 0) {
    this.limits = limits
    this.newestOwner = newestOwner
  }

  /** A connection comes to the document. */
  join(): PresenceOwner {
    return ++this.newestOwner
  }

  /**
   * Takes an awareness update from a connection. Returns how many entries were refused because of a limit; those of
   * others are dropped without a word. Throws `protocol/bad-message`, entries before the bad one taken.
   */
  receive(owner: PresenceOwner, stamp: PresenceStamp, update: Uint8Array, nowMs: number): number {
    const { idsPerDocument } = this.limits
    let refused = 0
    for (const entry of decodeAwareness(update, idsPerDocument)) {
      if (!this.isHeardFrom(owner, stamp, entry)) continue
      const holder = this.holderOf(owner, stamp, nowMs)
      if (!isGone(entry.json) && !holder.bucket.spend(this.limits.changes, costOf(entry), nowMs)) {
        if (!this.defer(owner, holder, entry)) refused++
      } else if (!this.take(owner, holder, entry, nowMs)) refused++
    }
    return refused
  }

  /**
   * The id that the connection announced as its own: the first one that it showed. A client says who it is before it
   * hears of anybody, and what it says of others later is what it heard.
   */
  ownIdOf(owner: PresenceOwner): number | undefined {
    return this.holders.get(owner)?.ownId
  }

  /** The connection has left the document: everyone it showed is gone. */
  leave(owner: PresenceOwner): void {
    const holder = this.holders.get(owner)
    if (holder === undefined) return
    for (const id of holder.ids) this.end(id, this.present.get(id)!.clock + 1)
    this.holders.delete(owner)
    this.deferring.delete(owner)
    this.nudges.delete(owner)
  }

  /** Shows what the rate held back, and ends states that nobody has renewed. */
  tick(nowMs: number): void {
    for (const owner of this.deferring) this.showDeferred(owner, nowMs)
    for (const [id, { clock, renewedMs }] of this.present) {
      // At the same clock: a renewal that comes late is then news to everybody.
      if (nowMs - renewedMs >= this.limits.silenceMs) this.end(id, clock)
    }
  }

  /** Every state as one awareness update, for a client that joins; absent where nobody is present. */
  states(): Uint8Array | undefined {
    if (this.present.size === 0) return undefined
    this.encodedStates ??= encodeAwareness([...this.present.keys()].map((id) => this.entryOf(id)))
    return this.encodedStates
  }

  /** What has changed since the last call, as one awareness update for everybody, whoever caused it included. */
  takeChanges(): Uint8Array | undefined {
    if (this.changed.size === 0) return undefined
    const update = encodeAwareness([...this.changed].map((id) => this.entryOf(id)))
    this.changed.clear()
    return update
  }

  /** Awareness updates for single connections; each is to be sent before the changes of the same turn. */
  takeNudges(): ReadonlyMap<PresenceOwner, Uint8Array> {
    if (this.nudges.size === 0) return NO_NUDGES
    const updates = new Map([...this.nudges].map(([owner, entries]) => [owner, encodeAwareness(entries)]))
    this.nudges.clear()
    return updates
  }

  /** Nothing is left to send. */
  get isAtRest(): boolean {
    return this.changed.size === 0 && this.nudges.size === 0
  }

  private isHeardFrom(owner: PresenceOwner, stamp: PresenceStamp, entry: ReceivedAwareness): boolean {
    const known = this.present.get(entry.clientId)
    if (known === undefined) return !isGone(entry.json)
    if (known.owner === owner) return true
    // The same person on a new connection, while the old one is not yet known to be dead.
    const { userId } = this.holders.get(known.owner)!.stamp
    return userId !== undefined && userId === stamp.userId && entry.clock > known.clock && !isGone(entry.json)
  }

  /** Shows or ends an id; false where a limit forbids it. */
  private take(owner: PresenceOwner, holder: Holder, entry: ReceivedAwareness, nowMs: number): boolean {
    const { clientId: id, clock: received } = entry
    const known = this.present.get(id)
    const json = this.stampedState(holder.stamp, entry)
    if (json === TOO_LARGE) return false
    if (json === null) {
      if (known !== undefined) this.end(id, Math.max(known.clock, received))
      return true
    }
    const gone = this.gone.get(id)
    const knownClock = known?.clock ?? gone?.clock
    if (received > Math.max(knownClock ?? 0, HONEST_CLOCK_LIMIT) + CLOCK_STEP_LIMIT) return false
    if (known?.owner !== owner) {
      if (holder.ids.size >= this.limits.idsPerConnection) return false
      if (known === undefined && this.present.size >= this.limits.idsPerDocument) return false
    }
    const bytes = this.bytes + json.length - (known?.json.length ?? 0)
    if (bytes > this.limits.bytesPerDocument) return false
    if (gone !== undefined && received <= gone.clock && owner <= gone.owner) return true
    if (known !== undefined && received === known.clock && json === known.json) return true
    let clock = received
    if (knownClock !== undefined && received <= knownClock) {
      clock = knownClock + 1
      this.nudge(owner, { clientId: id, clock, json: null })
    }
    if (known !== undefined && known.owner !== owner) this.holders.get(known.owner)?.ids.delete(id)
    holder.ids.add(id)
    holder.ownId ??= id
    holder.deferred?.delete(id)
    this.gone.delete(id)
    this.bytes = bytes
    this.present.set(id, { owner, clock, json, renewedMs: nowMs })
    this.note(id)
    return true
  }

  private stampedState(stamp: PresenceStamp, entry: ReceivedAwareness): string | null | typeof TOO_LARGE {
    let state: AwarenessState | null
    try {
      state = parseAwarenessState(entry.json, this.limits)
    } catch (error) {
      if (asCausewayError(error).code === 'protocol/too-large') return TOO_LARGE
      throw error
    }
    if (state === null) return null
    const { userId, name } = stamp
    if (userId === undefined && name === undefined) return JSON.stringify(state)
    const claimed = state['user']
    const user = {
      ...(typeof claimed === 'object' && !Array.isArray(claimed) ? claimed : {}),
      ...(userId === undefined ? {} : { id: userId }),
      ...(name === undefined ? {} : { name }),
    }
    return JSON.stringify({ ...state, user })
  }

  private defer(owner: PresenceOwner, holder: Holder, entry: ReceivedAwareness): boolean {
    if (entry.json.length > this.limits.stateBytes) return false
    holder.deferred ??= new Map()
    if (!holder.deferred.has(entry.clientId) && holder.deferred.size >= this.limits.idsPerConnection) return false
    // A copy: the frame's buffer may be much larger.
    holder.deferred.set(entry.clientId, { ...entry, json: entry.json.slice() })
    this.deferring.add(owner)
    return true
  }

  private showDeferred(owner: PresenceOwner, nowMs: number): void {
    const holder = this.holders.get(owner)
    for (const [id, entry] of holder?.deferred ?? []) {
      if (holder === undefined || !holder.bucket.spend(this.limits.changes, costOf(entry), nowMs)) return
      holder.deferred?.delete(id)
      if (!this.isHeardFrom(owner, holder.stamp, entry)) continue
      try {
        this.take(owner, holder, entry, nowMs)
      } catch {
        // Not JSON: too late to tell the sender, and nothing was changed.
      }
    }
    this.deferring.delete(owner)
  }

  private end(id: number, clock: number): void {
    const known = this.present.get(id)!
    const holder = this.holders.get(known.owner)
    holder?.ids.delete(id)
    holder?.deferred?.delete(id)
    this.present.delete(id)
    this.bytes -= known.json.length
    this.gone.delete(id)
    this.gone.set(id, { clock, owner: this.newestOwner })
    if (this.gone.size > this.limits.idsPerDocument) {
      for (const oldest of this.gone.keys()) {
        if (!this.changed.has(oldest)) {
          this.gone.delete(oldest)
          break
        }
      }
    }
    this.note(id)
  }

  private nudge(owner: PresenceOwner, entry: AwarenessEntry): void {
    const entries = this.nudges.get(owner)
    if (entries) entries.push(entry)
    else this.nudges.set(owner, [entry])
  }

  private note(id: number): void {
    this.changed.add(id)
    this.encodedStates = undefined
  }

  private entryOf(clientId: number): AwarenessEntry {
    const known = this.present.get(clientId)
    if (known === undefined) return { clientId, clock: this.gone.get(clientId)?.clock ?? 0, json: null }
    return { clientId, clock: known.clock, json: known.json }
  }

  private holderOf(owner: PresenceOwner, stamp: PresenceStamp, nowMs: number): Holder {
    let holder = this.holders.get(owner)
    if (holder === undefined) {
      const bucket = new TokenBucket(this.limits.changes, nowMs)
      holder = { stamp, ids: new Set(), ownId: undefined, bucket, deferred: undefined }
      this.holders.set(owner, holder)
    }
    holder.stamp = stamp
    return holder
  }
}

const TOO_LARGE = Symbol('too large')
const NO_NUDGES: ReadonlyMap<PresenceOwner, Uint8Array> = new Map()
const COST_UNIT_BYTES = 1024

/** A change goes to everybody in the document, so a large state costs as much as many small ones. */
function costOf({ json }: ReceivedAwareness): number {
  return 1 + Math.floor(json.length / COST_UNIT_BYTES)
}

const NULL = [0x6e, 0x75, 0x6c, 0x6c]

function isGone(json: Uint8Array): boolean {
  return json.length === NULL.length && NULL.every((byte, n) => json[n] === byte)
}
