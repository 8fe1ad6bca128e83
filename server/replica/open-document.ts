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
import type { Checked } from '../../shared/update/check.js'
import { type DeletedReader, type DeleteRange, DeleteSet } from '../../shared/update/delete-set.js'
import type { ClockReader, StateVector } from '../../shared/update/state-vector.js'

/** What a check found to be new. */
export type NewUpdate = Extract<Checked, { type: 'new' }>

/** One durable update, the op that brought it, and its place in this replica's delivery order. */
export interface DeliveredUpdate {
  readonly position: number
  readonly dot: Dot
  readonly update: Uint8Array
}

/** What loading a document from storage gives. */
export interface LoadedDocument {
  readonly name: string
  readonly generation: number
  readonly clocks: StateVector
  readonly deleted: DeleteSet
  /** A canonical update that stands for everything before `tail`. */
  readonly snapshot: Uint8Array | undefined
  readonly tail: readonly DeliveredUpdate[]
  /** Highest seq per replica name that touched the document: for people. */
  readonly clock: Readonly<Record<string, number>>
}

export class OpenDocument {
  readonly name: string
  readonly generation: number
  /** Durable. */
  readonly clocks: StateVector
  readonly deleted: DeleteSet
  readonly clock: Record<string, number>
  snapshot: Uint8Array | undefined
  /** Durable updates after the snapshot, in delivery order. */
  tail: DeliveredUpdate[]
  tailBytes: number
  /** Seq of the newest durable op that touched the document in this process, and of the newest accepted one. */
  newestSeq = 0
  acceptedSeq = 0
  /** Wall milliseconds of the newest durable change. */
  changedAtMs = 0
  compacting = false
  /** Thresholds are doubled this many times: a compaction that failed is not tried again at once. */
  compactionBackoff = 0
  /** Ops in flight; while it is 0 the overlay is empty. */
  private inFlight = 0
  private readonly acceptedClocks = new Map<number, number>()
  private acceptedDeletes = new DeleteSet()
  private acceptedUpdates: Uint8Array[] = []
  /** Deletes that became durable in the commit under way. */
  private committedDeletes: DeleteRange[] = []
  /** Kept until the next commit: a document that many sessions wrote has a long one, and asking for it costs a byte. */
  private encodedClocks: Uint8Array | undefined
  private encodedClocksText: string | undefined

  constructor(loaded: LoadedDocument) {
    this.name = loaded.name
    this.generation = loaded.generation
    this.clocks = loaded.clocks
    this.deleted = loaded.deleted
    this.clock = { ...loaded.clock }
    this.snapshot = loaded.snapshot
    this.tail = [...loaded.tail]
    this.tailBytes = this.tail.reduce((sum, { update }) => sum + update.length, 0)
  }

  /** State for checks: durable and in flight. */
  readonly accepted: { readonly clocks: ClockReader; readonly deleted: DeletedReader } = {
    clocks: { get: (client) => this.acceptedClocks.get(client) ?? this.clocks.get(client) },
    deleted: {
      uncovered: (client, clock, length) =>
        this.inFlight === 0
          ? this.deleted.uncovered(client, clock, length)
          : this.deleted
              .uncovered(client, clock, length)
              .flatMap(([from, count]) => this.acceptedDeletes.uncovered(client, from, count)),
    },
  }

  get hasInFlight(): boolean {
    return this.inFlight > 0
  }

  /** Whether anything was ever written to it. */
  get exists(): boolean {
    return this.clocks.size > 0 || this.tail.length > 0 || this.snapshot !== undefined
  }

  get snapshotBytes(): number {
    return this.snapshot?.length ?? 0
  }

  get bytes(): number {
    return this.snapshotBytes + this.tailBytes
  }

  /** The durable state vector in Yjs's encoding; not to be changed. */
  get stateVector(): Uint8Array {
    this.encodedClocks ??= this.clocks.encode()
    return this.encodedClocks
  }

  /** The same as base64url without padding, as error details carry bytes. */
  get stateVectorText(): string {
    this.encodedClocksText ??= toBase64Url(this.stateVector)
    return this.encodedClocksText
  }

  /** Everything accepted, in order, as updates: what content is compared with. */
  get acceptedContent(): readonly Uint8Array[] {
    return [
      ...(this.snapshot === undefined ? [] : [this.snapshot]),
      ...this.tail.map(({ update }) => update),
      ...this.acceptedUpdates,
    ]
  }

  /** Takes a checked update into the accepted state, as part of the op with `seq`. */
  accept(seq: number, added: NewUpdate): void {
    this.inFlight++
    this.acceptedSeq = seq
    for (const [client, , to] of added.clocks) this.acceptedClocks.set(client, to)
    if (added.deletes.length > 0) this.acceptedDeletes.addAll(added.deletes)
    this.acceptedUpdates.push(added.update)
  }

  /** The oldest op in flight is on disk: its update becomes durable. `settle` comes behind the last op of a commit. */
  commit(dot: Dot, position: number, added: NewUpdate, nowMs: number): DeliveredUpdate {
    assert(this.inFlight > 0, 'commit without an op in flight')
    for (const [client, , to] of added.clocks) this.clocks.advance(client, to)
    if (added.clocks.length > 0) {
      this.encodedClocks = undefined
      this.encodedClocksText = undefined
    }
    for (const range of added.deletes) this.committedDeletes.push(range)
    const delivered = { position, dot, update: added.update }
    this.tail.push(delivered)
    this.tailBytes += added.update.length
    this.newestSeq = dot.seq
    this.clock[replicaNameOf(dot.origin)] = dot.seq
    this.changedAtMs = nowMs
    this.inFlight--
    if (this.inFlight === 0) this.dropOverlay()
    else this.acceptedUpdates.shift()
    return delivered
  }

  /** All deletes of a commit at once: one by one, each would move all that a large set holds. */
  settle(): void {
    if (this.committedDeletes.length === 0) return
    this.deleted.addAll(this.committedDeletes)
    this.committedDeletes = []
  }

  /** A commit failed: nothing in flight will become durable. */
  rollBack(): void {
    this.inFlight = 0
    this.acceptedSeq = this.newestSeq
    this.dropOverlay()
  }

  /** A snapshot of the first `tailCount` updates after the old one is on disk and takes their place. */
  replaceSnapshot(snapshot: Uint8Array, tailCount: number): void {
    const replaced = this.tail.splice(0, tailCount)
    for (const { update } of replaced) this.tailBytes -= update.length
    this.snapshot = snapshot
  }

  private dropOverlay(): void {
    this.acceptedClocks.clear()
    this.acceptedDeletes = new DeleteSet()
    this.acceptedUpdates = []
  }
}

function toBase64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')
}
