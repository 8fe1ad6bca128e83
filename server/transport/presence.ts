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
 * Ids at other replicas stand beside those here; their replica stamped their states, and they are shown as they were
 * told. An id has one place in the cell. Where two replicas show it (a client hopped, and its old connection is not yet
 * known to be dead; somebody met a replica that had not heard of it), both decide alike from what they tell each other:
 * of one person's the newer clock stays, of two persons' the first. The other place lets go of it, so that the end of an
 * old connection ends nothing that a new one shows. A person's place steps over what a stranger has shown, and over an
 * end told elsewhere; never over the same person's states, which the tabs of one browser hand round among replicas.
 *
 * Clocks that fell behind heal in the same way: who is told a state that its own clients cannot see any more, because
 * they were told of a later end, answers up to which clock (`passed`), and the id's place steps over that.
 *
 * No socket, no clock: time is an input, and what is to be sent is taken at the end of a turn.
 */

import { asCausewayError } from '../../shared/errors/error.js'
import type { AwarenessEntry, AwarenessState, ReceivedAwareness } from '../../shared/protocol/awareness.js'
import { decodeAwareness, encodeAwareness, parseAwarenessState } from '../../shared/protocol/awareness.js'
import type { ClientClock, ToldPresence } from '../../shared/protocol/peer-presence.js'
import { type Rate, TokenBucket } from './token-bucket.js'

export interface PresenceLimits {
  /** Ids of one connection: a browser's tabs show each other's. */
  readonly idsPerConnection: number
  /** Ids here, and as many again at all other replicas. */
  readonly idsPerDocument: number
  /** All states of a document together, and as much again from all other replicas: whoever joins gets them at once. */
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

interface Local {
  owner: PresenceOwner
  clock: number
  json: string
  renewedMs: number
  /** When peers were first told of it. */
  since: number | undefined
}

interface Told {
  /** The name of the replica that shows it. */
  owner: string
  clock: number
  json: string
  renewedMs: number
  since: number
  user: string | undefined
  /** The stamp of the last message that told it. */
  toldAt: number
}

type Presentation = Local | Told

/** Room for what one peer tells, in all documents together. */
export interface ToldRoom {
  /** Takes room, or gives it back (less than 0); false, and nothing is taken, where there is not enough. */
  take(peer: string, bytes: number): boolean
}

const NO_LIMIT: ToldRoom = { take: () => true }

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
  /** Ids here of which peers have not heard the last word; the clock is that of the end, where it has ended. */
  private readonly untold: Map<number, number> | undefined
  private readonly passed = new Map<string, ClientClock[]>()
  private readonly room: ToldRoom
  private encodedStates: Uint8Array | undefined
  private newestOwner: PresenceOwner
  private bytes = 0
  private toldIds = 0
  private toldBytes = 0

  /**
   * `newestOwner`: the last number given out before anybody showed presence. `room`: what peers tell may take; absent
   * where there are none.
   */
  constructor(limits: PresenceLimits = PRESENCE_LIMITS, newestOwner: PresenceOwner = 0, room?: ToldRoom) {
    this.limits = limits
    this.newestOwner = newestOwner
    this.room = room ?? NO_LIMIT
    this.untold = room === undefined ? undefined : new Map()
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
    return this.changed.size + this.nudges.size + this.passed.size + (this.untold?.size ?? 0) === 0
  }

  // --- between replicas

  /** Takes what a peer tells of its clients. Returns how many entries were refused because of a limit. */
  hear(peer: string, stamp: number, entries: readonly ToldPresence[], nowMs: number): number {
    let refused = 0
    for (const entry of entries) {
      const { json } = entry
      if (json === null) this.hearEnd(peer, entry, entry.letGo === true)
      else if (!this.hearState(peer, stamp, { ...entry, json }, nowMs)) refused++
    }
    return refused
  }

  /** Ends what a peer told before `stamp`, but for the ids in `except`; at their own clocks, a later word is news. */
  forget(peer: string, stamp = Number.POSITIVE_INFINITY, except: ReadonlySet<number> = NOBODY): void {
    for (const [id, known] of this.present) {
      if (!isLocal(known) && known.owner === peer && known.toldAt < stamp && !except.has(id)) this.end(id, known.clock)
    }
  }

  /** Clients elsewhere know these ids at these clocks: what is shown here is shown above them. */
  hearPassed(clocks: readonly ClientClock[]): void {
    for (const { clientId, clock } of clocks) this.stepOver(clientId, clock)
  }

  /** What peers are to be told since the last call; `stamp` is that of the message. */
  takeTellings(stamp: number): ToldPresence[] {
    if (this.untold === undefined || this.untold.size === 0) return []
    const entries = [...this.untold].map(([clientId, clock]): ToldPresence => {
      const known = this.present.get(clientId)
      if (known !== undefined && isLocal(known)) return this.tellingOf(clientId, known, stamp)
      return { clientId, clock, json: null, since: 0, ...(known === undefined ? {} : { letGo: true }) }
    })
    this.untold.clear()
    return entries
  }

  /** Everybody here, for a peer that asks. */
  tellings(stamp: number): ToldPresence[] {
    const entries: ToldPresence[] = []
    for (const [id, known] of this.present) if (isLocal(known)) entries.push(this.tellingOf(id, known, stamp))
    return entries
  }

  /** For each peer, what its clients have to step over to be seen here. */
  takePassed(): ReadonlyMap<string, readonly ClientClock[]> {
    if (this.passed.size === 0) return NOTHING_PASSED
    const clocks = new Map(this.passed)
    this.passed.clear()
    return clocks
  }

  /** Gives back the room of what peers told: the document has no clients here any more. */
  release(): void {
    for (const known of this.present.values()) if (!isLocal(known)) this.room.take(known.owner, -roomOf(known.json))
  }

  private hearEnd(peer: string, { clientId: id, clock }: ToldPresence, wasLetGo: boolean): void {
    const known = this.present.get(id)
    if (known === undefined) {
      const gone = this.gone.get(id)
      // Nobody here was shown it, so nobody can be sending it back: who comes with it is it.
      if (gone === undefined || gone.clock < clock) this.remember(id, clock, gone?.owner ?? 0)
    } else if (known.owner === peer) {
      // Of a clock before, it was overtaken on its way.
      if (clock >= known.clock) this.end(id, clock)
    } else if (!wasLetGo) this.stepOver(id, clock)
  }

  /** False where a limit forbids it. */
  private hearState(peer: string, stamp: number, entry: ToldPresence & { json: string }, nowMs: number): boolean {
    const { clientId: id, clock, json, since, user } = entry
    const known = this.present.get(id)
    if (known === undefined) {
      const gone = this.gone.get(id)
      if (gone !== undefined && clock <= gone.clock) {
        this.notePassed(peer, id, gone.clock)
        return true
      }
    } else if (!isLocal(known) && known.owner === peer) {
      known.toldAt = Math.max(known.toldAt, stamp)
      if (clock <= known.clock) return true
    } else if (!this.takesPlace(entry, known)) {
      if (isLocal(known)) this.insist(id, known, entry)
      return true
    }
    if (!this.hasRoom(peer, known, json)) return false
    if (known !== undefined) {
      if (known.owner !== peer && this.hides(known, entry)) this.notePassed(peer, id, known.clock)
      if (isLocal(known)) this.untold?.set(id, known.clock)
      this.drop(id, known)
    }
    this.gone.delete(id)
    this.toldIds++
    this.toldBytes += json.length
    this.present.set(id, { owner: peer, clock, json, renewedMs: nowMs, since, user, toldAt: stamp })
    this.note(id)
    return true
  }

  /** Whether an id moves to the peer that tells it. The peer, told of what is known here, decides the opposite. */
  private takesPlace(told: ToldPresence, known: Presentation): boolean {
    if (this.isOfSamePerson(told, known) && told.clock !== known.clock) return told.clock > known.clock
    // What peers have not heard of yet came last.
    return told.since <= (known.since ?? Number.POSITIVE_INFINITY)
  }

  /** Answers a peer that has not heard of ours, or not yet. */
  private insist(id: number, known: Local, told: ToldPresence): void {
    if (told.clock < known.clock) this.untold?.set(id, known.clock)
    else if (told.clock > known.clock || told.json !== known.json) {
      if (!this.isOfSamePerson(told, known)) this.stepOver(id, told.clock)
    }
  }

  /** Whether clients that were shown a stranger's `known` do not see what is told. */
  private hides(known: Presentation, told: ToldPresence): boolean {
    if (this.isOfSamePerson(told, known) || told.clock > known.clock) return false
    return told.clock < known.clock || told.json !== known.json
  }

  private isOfSamePerson(told: ToldPresence, known: Presentation): boolean {
    return told.user !== undefined && told.user === this.userOf(known)
  }

  /** Takes the peer's room for a state; what it had taken for the one before is given back later. */
  private hasRoom(peer: string, known: Presentation | undefined, json: string): boolean {
    const old = known !== undefined && !isLocal(known) ? known : undefined
    if (old === undefined && this.toldIds >= this.limits.idsPerDocument) return false
    if (this.toldBytes + json.length - (old?.json.length ?? 0) > this.limits.bytesPerDocument) return false
    return this.room.take(peer, roomOf(json))
  }

  /** Shows an id of ours under a clock that counts for whoever was told `clock`. */
  private stepOver(id: number, clock: number): void {
    const known = this.present.get(id)
    if (known === undefined || !isLocal(known) || known.clock > clock) return
    known.clock = clock + 1
    this.nudge(known.owner, { clientId: id, clock: known.clock, json: null })
    this.note(id)
    this.untold?.set(id, known.clock)
  }

  private notePassed(peer: string, clientId: number, clock: number): void {
    const clocks = this.passed.get(peer)
    // Of what exceeds the bound, a renewal is met in the same way.
    if (clocks && clocks.length < this.limits.idsPerDocument) clocks.push({ clientId, clock })
    else if (!clocks) this.passed.set(peer, [{ clientId, clock }])
  }

  private tellingOf(clientId: number, known: Local, stamp: number): ToldPresence {
    known.since ??= stamp
    const user = this.userOf(known)
    const { clock, json, since } = known
    return { clientId, clock, json, since, ...(user === undefined ? {} : { user }) }
  }

  private userOf(known: Presentation): string | undefined {
    return isLocal(known) ? this.holders.get(known.owner)!.stamp.userId : known.user
  }

  // --- of connections

  private isHeardFrom(owner: PresenceOwner, stamp: PresenceStamp, entry: ReceivedAwareness): boolean {
    const known = this.present.get(entry.clientId)
    if (known === undefined) return !isGone(entry.json)
    if (known.owner === owner) return true
    // The same person on a new connection, while the old one, here or elsewhere, is not yet known to be dead.
    const userId = this.userOf(known)
    return userId !== undefined && userId === stamp.userId && entry.clock > known.clock && !isGone(entry.json)
  }

  /** Shows or ends an id; false where a limit forbids it. */
  private take(owner: PresenceOwner, holder: Holder, entry: ReceivedAwareness, nowMs: number): boolean {
    const { clientId: id, clock: received } = entry
    const known = this.present.get(id)
    const json = this.stampedState(holder.stamp, entry)
    if (json === TOO_LARGE) return false
    if (json === null) {
      if (known !== undefined && isLocal(known)) this.end(id, Math.max(known.clock, received))
      return true
    }
    const gone = this.gone.get(id)
    const knownClock = known?.clock ?? gone?.clock
    if (received > Math.max(knownClock ?? 0, HONEST_CLOCK_LIMIT) + CLOCK_STEP_LIMIT) return false
    if (known?.owner !== owner) {
      if (holder.ids.size >= this.limits.idsPerConnection) return false
      const isNew = known === undefined || !isLocal(known)
      if (isNew && this.present.size - this.toldIds >= this.limits.idsPerDocument) return false
    }
    const bytes = this.bytes + json.length - (known !== undefined && isLocal(known) ? known.json.length : 0)
    if (bytes > this.limits.bytesPerDocument) return false
    if (gone !== undefined && received <= gone.clock && owner <= gone.owner) return true
    if (known !== undefined && received === known.clock && json === known.json) return true
    let clock = received
    if (knownClock !== undefined && received <= knownClock) {
      clock = knownClock + 1
      this.nudge(owner, { clientId: id, clock, json: null })
    }
    if (known !== undefined && !isLocal(known)) this.drop(id, known)
    else if (known !== undefined && known.owner !== owner) this.holders.get(known.owner)?.ids.delete(id)
    const since = known !== undefined && isLocal(known) ? known.since : undefined
    holder.ids.add(id)
    holder.ownId ??= id
    holder.deferred?.delete(id)
    this.gone.delete(id)
    this.bytes = bytes
    this.present.set(id, { owner, clock, json, renewedMs: nowMs, since })
    this.note(id)
    this.untold?.set(id, clock)
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
    this.drop(id, known)
    if (isLocal(known)) this.untold?.set(id, clock)
    this.remember(id, clock, this.newestOwner)
    this.note(id)
  }

  /** Takes an id from whoever holds it. */
  private drop(id: number, known: Presentation): void {
    this.present.delete(id)
    if (isLocal(known)) {
      const holder = this.holders.get(known.owner)
      holder?.ids.delete(id)
      holder?.deferred?.delete(id)
      this.bytes -= known.json.length
    } else {
      this.room.take(known.owner, -roomOf(known.json))
      this.toldIds--
      this.toldBytes -= known.json.length
    }
  }

  private remember(id: number, clock: number, owner: PresenceOwner): void {
    this.gone.delete(id)
    this.gone.set(id, { clock, owner })
    if (this.gone.size > this.limits.idsPerDocument) {
      for (const oldest of this.gone.keys()) {
        if (!this.changed.has(oldest)) {
          this.gone.delete(oldest)
          break
        }
      }
    }
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
const NOBODY: ReadonlySet<number> = new Set()
const NOTHING_PASSED: ReadonlyMap<string, readonly ClientClock[]> = new Map()
/** What an id costs beside its state. */
const TOLD_COST_BYTES = 256

function isLocal(known: Presentation): known is Local {
  return typeof known.owner === 'number'
}

/** A state told by a peer, in memory. */
function roomOf(json: string): number {
  return TOLD_COST_BYTES + 2 * json.length
}
const COST_UNIT_BYTES = 1024

/** A change goes to everybody in the document, so a large state costs as much as many small ones. */
function costOf({ json }: ReceivedAwareness): number {
  return 1 + Math.floor(json.length / COST_UNIT_BYTES)
}

const NULL = [0x6e, 0x75, 0x6c, 0x6c]

function isGone(json: Uint8Array): boolean {
  return json.length === NULL.length && NULL.every((byte, n) => json[n] === byte)
}
