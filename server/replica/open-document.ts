/**
 * One open document as its replica knows it, without integrating it: what is durable, what is accepted but still in
 * flight to the disk, and the bytes that make it up (a snapshot and the updates after it).
 *
 * Two states (DESIGN.md section 2, "Ingest"): *accepted* decides whether an update fits; *durable* is all that is ever
 * shown. Accepted is durable plus an overlay that lives only while ops are in flight, so a failed commit is undone by
 * dropping the overlay.
 */
import { assert } from '../../shared/base/assert.js'
import type { Dot } from '../../shared/clock/dot.js'
import { replicaNameOf } from '../../shared/clock/dot.js'
import type { Checked, Known } from '../../shared/update/check.js'
import type { DeleteRange } from '../../shared/update/delete-set.js'
import type { KnownState } from '../../shared/update/known-state.js'
import { type Owner, Ownership } from '../access/ownership.js'
import { AcceptedState } from './accepted-state.js'

/** What a check found to be new. */
export type NewUpdate = Extract<Checked, { type: 'new' }>

/** One durable update, the op that brought it, and its place in this replica's delivery order. */
export interface DeliveredUpdate<S = never> {
  readonly position: number
  readonly dot: Dot
  readonly update: Uint8Array
  /** Who offered it here. */
  readonly source?: S
}

/** What loading a document from storage gives. */
export interface LoadedDocument {
  readonly name: string
  readonly generation: number
  readonly known: KnownState
  /** A canonical update that stands for everything before `tail`. */
  readonly snapshot: Uint8Array | undefined
  readonly tail: readonly DeliveredUpdate[]
  /** Of the log as it was read: every op up to it is in here, none after it. */
  readonly position: number
  /** Highest seq per replica name that touched the document: for people. */
  readonly clock: Readonly<Record<string, number>>
  /** Whose its client ids are, oldest first. */
  readonly owned: readonly (Owner & { readonly client: number })[]
}

export class OpenDocument {
  readonly name: string
  readonly generation: number
  /** Durable. */
  readonly known: KnownState
  readonly clock: Record<string, number>
  readonly ownership: Ownership
  /** Whether structs that extend somebody else's client id are refused here. */
  readonly deniesRelay: boolean
  snapshot: Uint8Array | undefined
  /** Durable updates after the snapshot, in delivery order. */
  tail: DeliveredUpdate[]
  tailBytes: number
  /** Number of the newest op in flight that touches the document, as its replica counts them. */
  acceptedTicket = 0
  /** Wall milliseconds of the newest durable change. */
  changedAtMs = 0
  compacting = false
  /** Ops of others under comparison: what is here may not hold, and must not become the snapshot meanwhile. */
  comparing = 0
  /** Thresholds are doubled this many times: a compaction that failed is not tried again at once. */
  compactionBackoff = 0
  /** Updates in flight, in order, and the state with them; absent where there are none. */
  private inFlight: Uint8Array[] = []
  private inFlightBytes = 0
  private overlay: AcceptedState | undefined
  /** Deletes that became durable in the commit under way. */
  private committedDeletes: DeleteRange[] = []
  /** Kept until the next commit: a document that many sessions wrote has a long one, and asking for it costs a byte. */
  private encodedClocks: Uint8Array | undefined
  private encodedClocksText: string | undefined

  constructor(loaded: LoadedDocument, deniesRelay: boolean) {
    this.name = loaded.name
    this.generation = loaded.generation
    this.known = loaded.known
    this.clock = { ...loaded.clock }
    this.ownership = new Ownership(loaded.owned)
    this.deniesRelay = deniesRelay
    this.snapshot = loaded.snapshot
    this.tail = [...loaded.tail]
    this.tailBytes = this.tail.reduce((sum, { update }) => sum + update.length, 0)
  }

  /** State for checks: durable and in flight. */
  get accepted(): Known {
    return this.overlay ?? this.known
  }

  get hasInFlight(): boolean {
    return this.inFlight.length > 0
  }

  /** Whether anything was ever written to it. */
  get exists(): boolean {
    return this.known.clocks.size > 0 || this.tail.length > 0 || this.snapshot !== undefined
  }

  get snapshotBytes(): number {
    return this.snapshot?.length ?? 0
  }

  get bytes(): number {
    return this.snapshotBytes + this.tailBytes
  }

  /** Clients with structs in the accepted state: at most so many, or, where that has to be known, exactly. */
  get clientsAtMost(): number {
    return this.known.clocks.size + (this.overlay?.added.clocks.size ?? 0)
  }

  countClients(): number {
    const { clocks } = this.known
    let count = clocks.size
    for (const [client] of this.overlay?.added.clocks.entries() ?? []) if (clocks.get(client) === 0) count++
    return count
  }

  /** The durable state vector in Yjs's encoding; not to be changed. */
  get stateVector(): Uint8Array {
    this.encodedClocks ??= this.known.clocks.encode()
    return this.encodedClocks
  }

  /** The same as base64url without padding, as error details carry bytes. */
  get stateVectorText(): string {
    this.encodedClocksText ??= toBase64Url(this.stateVector)
    return this.encodedClocksText
  }

  /** What to ask a client of this user with: from where others have written under the user's ids, all is wanted again. */
  questionTo(user: string | undefined): Uint8Array {
    const doubtful = this.ownership.doubtfulOf(user)
    return doubtful.size === 0 ? this.stateVector : this.known.clocks.loweredTo(doubtful).encode()
  }

  /** The same as text, see `stateVectorText`. */
  questionTextTo(user: string | undefined): string {
    return toBase64Url(this.questionTo(user))
  }

  /** As `bytes`, with what is in flight. */
  get acceptedBytes(): number {
    return this.bytes + this.inFlightBytes
  }

  /** Everything accepted, in order, as updates: what content is compared with. */
  get acceptedContent(): readonly Uint8Array[] {
    return [
      ...(this.snapshot === undefined ? [] : [this.snapshot]),
      ...this.tail.map(({ update }) => update),
      ...this.inFlight,
    ]
  }

  /** Takes a checked update into the accepted state, as part of the op with this number. */
  accept(ticket: number, added: NewUpdate): void {
    this.acceptedTicket = ticket
    this.overlay ??= new AcceptedState(this.known)
    this.overlay.added.add(added)
    this.inFlight.push(added.update)
    this.inFlightBytes += added.update.length
  }

  /** The oldest op in flight is on disk: its update becomes durable. `settle` comes behind the last op of a commit. */
  commit(dot: Dot, position: number, added: NewUpdate, nowMs: number): DeliveredUpdate {
    assert(this.hasInFlight, 'commit without an op in flight')
    const { clocks, places, roots, deletes } = added
    for (const [client, , to] of clocks) this.known.clocks.advance(client, to)
    this.known.places.addAll(places)
    this.known.roots.addAll(roots)
    for (const range of deletes) this.committedDeletes.push(range)
    if (clocks.length > 0) {
      this.encodedClocks = undefined
      this.encodedClocksText = undefined
    }
    const delivered = { position, dot, update: added.update }
    this.tail.push(delivered)
    this.tailBytes += added.update.length
    this.clock[replicaNameOf(dot.origin)] = dot.seq
    this.changedAtMs = nowMs
    this.inFlight.shift()
    this.inFlightBytes -= added.update.length
    if (!this.hasInFlight) this.overlay = undefined
    return delivered
  }

  /** All deletes of a commit at once: one by one, each would move all that a large set holds. */
  settle(): void {
    if (this.committedDeletes.length === 0) return
    this.known.deleted.addAll(this.committedDeletes)
    this.committedDeletes = []
  }

  /** A commit failed: nothing in flight will become durable. */
  rollBack(): void {
    this.inFlight = []
    this.inFlightBytes = 0
    this.overlay = undefined
  }

  /** A snapshot of the first `tailCount` updates after the old one is on disk and takes their place. */
  replaceSnapshot(snapshot: Uint8Array, tailCount: number): void {
    const replaced = this.tail.splice(0, tailCount)
    for (const { update } of replaced) this.tailBytes -= update.length
    this.snapshot = snapshot
  }
}

function toBase64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')
}
