/**
 * Whom to ask for what this replica lacks. Live edits come by themselves, pushed by their origin; this core watches the
 * vectors that peers tell, and steps in where something does not come:
 *
 *   - a peer that was just met holds more: pull everything from one peer, in the order of its log, and from that one
 *     alone, however many hold it
 *   - an entry that some peer holds has not moved here for a while: the same
 *   - a blocked op's causes: from its sender, unless a pull is under way that brings them anyway
 *   - no link to some member: one peer is asked to relay its ops
 *   - the log of the asked one begins too high: take its whole state, if it holds all that our own log no longer does
 *
 * That makes everything else droppable: a lost message, a full hold-back, a failed commit are all seen here again.
 */
import { unreachable } from '../../shared/base/assert.js'
import { type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import type { Lineages } from '../../shared/clock/lineages.js'
import { EMPTY_VECTOR, type VersionVector } from '../../shared/clock/version-vector.js'

export type CatchUpInput =
  /** Other members of the cell. */
  | { readonly type: 'members-changed'; readonly names: ReadonlySet<string> }
  | { readonly type: 'link-opened'; readonly peer: string; readonly vector: VersionVector; readonly nowMs: number }
  | { readonly type: 'link-closed'; readonly peer: string; readonly nowMs: number }
  | { readonly type: 'heard'; readonly peer: string; readonly vector: VersionVector }
  /** What is delivered here, and below which the log here begins. */
  | { readonly type: 'advanced'; readonly cut: VersionVector; readonly floor: VersionVector; readonly nowMs: number }
  /** Ops of the peer arrived. */
  | { readonly type: 'arrived'; readonly peer: string; readonly nowMs: number }
  | { readonly type: 'blocked'; readonly peer: string; readonly beyond: VersionVector; readonly upTo: VersionVector }
  | {
      readonly type: 'pulled'
      readonly peer: string
      readonly pull: number
      readonly outcome: 'complete' | 'pruned' | 'busy'
      readonly nowMs: number
    }
  | { readonly type: 'state-ended'; readonly isJoined: boolean; readonly nowMs: number }
  | { readonly type: 'tick'; readonly nowMs: number }

export type CatchUpEffect =
  | {
      readonly type: 'pull'
      readonly peer: string
      readonly pull: number
      readonly beyond: VersionVector
      readonly upTo?: VersionVector
    }
  /** From now on, exactly these. */
  | { readonly type: 'relay'; readonly peer: string; readonly names: readonly string[] }
  /** Answered by `state-ended`, unless it is abandoned before. */
  | { readonly type: 'take-state'; readonly peer: string }
  | { readonly type: 'abandon-state'; readonly peer: string }

export interface CatchUpLimits {
  /** An entry that a peer holds may lag so long before it is asked for. */
  readonly stalledMs: number
  /** A pull that brings nothing for so long is given up, and another peer asked. */
  readonly silentMs: number
  /** So does a state, whose donor may come back and go on. */
  readonly abandonMs: number
}

export const DEFAULT_CATCH_UP_LIMITS: CatchUpLimits = { stalledMs: 300, silentMs: 3_000, abandonMs: 30_000 }

interface Peer {
  vector: VersionVector
  /** Just met: what it holds more is asked for at once. */
  isNew: boolean
  /** Not asked again before this. */
  notBeforeMs: number
  /** A pull of some blocked op's causes. */
  asking: number | undefined
  relays: readonly string[]
}

export class CatchUp {
  private readonly lineages: Lineages
  private readonly limits: CatchUpLimits
  private members: ReadonlySet<string> = new Set()
  private readonly peers = new Map<string, Peer>()
  private cut: VersionVector = EMPTY_VECTOR
  private floor: VersionVector = EMPTY_VECTOR
  /** Since when an entry that some peer holds more of stands where it is. */
  private readonly standingSince = new Map<OriginId, { readonly seq: number; readonly sinceMs: number }>()
  private pulls = 0
  private pulling: { readonly peer: string; readonly pull: number; heardAtMs: number } | undefined
  private takingFrom: { readonly peer: string; heardAtMs: number } | undefined

  constructor(options: { lineages: Lineages; limits?: Partial<CatchUpLimits> }) {
    this.lineages = options.lineages
    this.limits = { ...DEFAULT_CATCH_UP_LIMITS, ...options.limits }
  }

  step(input: CatchUpInput): CatchUpEffect[] {
    const effects: CatchUpEffect[] = []
    switch (input.type) {
      case 'members-changed':
        this.members = input.names
        this.chooseRelays(effects)
        break
      case 'link-opened': {
        const { peer, vector, nowMs } = input
        this.peers.set(peer, { vector, isNew: true, notBeforeMs: 0, asking: undefined, relays: [] })
        this.chooseRelays(effects)
        this.pullIfBehind(nowMs, effects)
        break
      }
      case 'link-closed':
        this.forget(input.peer)
        this.chooseRelays(effects)
        this.pullIfBehind(input.nowMs, effects)
        break
      case 'heard': {
        const peer = this.peers.get(input.peer)
        if (peer) peer.vector = input.vector
        break
      }
      case 'advanced':
        this.cut = input.cut
        this.floor = input.floor
        break
      case 'arrived':
        for (const asked of [this.pulling, this.takingFrom]) {
          if (asked?.peer === input.peer) asked.heardAtMs = input.nowMs
        }
        break
      case 'blocked':
        this.unblock(input.peer, input.beyond, input.upTo, effects)
        break
      case 'pulled':
        this.endPull(input, effects)
        break
      case 'state-ended':
        // A state that could not be had from one is asked for again after a while, maybe of another.
        if (!input.isJoined) this.postpone(this.takingFrom?.peer, input.nowMs)
        this.takingFrom = undefined
        this.pullIfBehind(input.nowMs, effects)
        break
      case 'tick':
        this.chooseRelays(effects)
        this.pullIfBehind(input.nowMs, effects)
        break
      default:
        unreachable(input)
    }
    return effects
  }

  private pullIfBehind(nowMs: number, effects: CatchUpEffect[]): void {
    this.noteStanding(nowMs)
    const { pulling, takingFrom } = this
    if (takingFrom) {
      if (nowMs - takingFrom.heardAtMs < this.limits.abandonMs) return
      this.takingFrom = undefined
      this.postpone(takingFrom.peer, nowMs)
      effects.push({ type: 'abandon-state', peer: takingFrom.peer })
    }
    if (pulling) {
      if (nowMs - pulling.heardAtMs < this.limits.silentMs) return
      this.postpone(pulling.peer, nowMs)
      this.pulling = undefined
    }
    let best: { readonly name: string; readonly lead: number } | undefined
    for (const [name, peer] of this.peers) {
      if (peer.notBeforeMs > nowMs || !this.isBehind(peer, nowMs)) continue
      const lead = this.leadOf(peer)
      if (!best || lead > best.lead || (lead === best.lead && name < best.name)) best = { name, lead }
    }
    if (!best) return
    this.peers.get(best.name)!.isNew = false
    this.pulling = { peer: best.name, pull: ++this.pulls, heardAtMs: nowMs }
    effects.push({ type: 'pull', peer: best.name, pull: this.pulls, beyond: this.cut })
  }

  /** Follows the entries that peers are ahead in. */
  private noteStanding(nowMs: number): void {
    const ahead = new Set<OriginId>()
    for (const { vector } of this.peers.values()) {
      for (const origin of this.lineages.missing(this.cut, vector).keys()) ahead.add(origin)
    }
    for (const origin of this.standingSince.keys()) if (!ahead.has(origin)) this.standingSince.delete(origin)
    for (const origin of ahead) {
      const seq = this.lineages.valueIn(this.cut, origin)
      if (this.standingSince.get(origin)?.seq !== seq) this.standingSince.set(origin, { seq, sinceMs: nowMs })
    }
  }

  private isBehind(peer: Peer, nowMs: number): boolean {
    const missing = this.lineages.missing(this.cut, peer.vector)
    if (peer.isNew) {
      peer.isNew = missing.size > 0
      return peer.isNew
    }
    return [...missing.keys()].some((origin) => {
      const since = this.standingSince.get(origin)
      return since !== undefined && nowMs - since.sinceMs >= this.limits.stalledMs
    })
  }

  /** How many ops the peer holds beyond us. */
  private leadOf({ vector }: Peer): number {
    let lead = 0
    for (const [origin, seq] of this.lineages.missing(this.cut, vector)) {
      lead += seq - this.lineages.valueIn(this.cut, origin)
    }
    return lead
  }

  private endPull(input: Extract<CatchUpInput, { type: 'pulled' }>, effects: CatchUpEffect[]): void {
    const { pull, outcome, nowMs } = input
    const peer = this.peers.get(input.peer)
    if (peer?.asking === pull) {
      peer.asking = undefined
      // Its log does not reach back to the causes of what it sent: neither will it for the rest.
      if (outcome === 'pruned' && !this.pulling) this.takeState(input.peer, nowMs, effects)
      return
    }
    if (this.pulling?.peer !== input.peer || this.pulling.pull !== pull) return
    this.pulling = undefined
    switch (outcome) {
      case 'complete':
        break
      case 'busy':
        this.postpone(input.peer, nowMs)
        break
      case 'pruned':
        this.takeState(input.peer, nowMs, effects)
        return
      default:
        unreachable(outcome)
    }
    this.pullIfBehind(nowMs, effects)
  }

  /**
   * What our own log no longer holds as ops, the donor must have in its state: only then is everything that we hold
   * beyond it still there as ops, and the join complete. Another peer may be asked meanwhile; logs begin below U, so
   * one of each majority has it.
   */
  private takeState(name: string, nowMs: number, effects: CatchUpEffect[]): void {
    const peer = this.peers.get(name)
    if (!peer || this.takingFrom) return
    if (!this.lineages.dominates(peer.vector, this.floor)) {
      this.postpone(name, nowMs)
      return
    }
    this.takingFrom = { peer: name, heardAtMs: nowMs }
    effects.push({ type: 'take-state', peer: name })
  }

  private unblock(name: string, beyond: VersionVector, upTo: VersionVector, effects: CatchUpEffect[]): void {
    const peer = this.peers.get(name)
    if (!peer || peer.asking !== undefined || this.pulling || this.takingFrom) return
    peer.asking = ++this.pulls
    effects.push({ type: 'pull', peer: name, pull: this.pulls, beyond, upTo })
  }

  /** For each member without a link: the peer that holds most of it, as long as that one stays. */
  private chooseRelays(effects: CatchUpEffect[]): void {
    const wanted = new Map<string, string[]>()
    for (const member of [...this.members].sort()) {
      if (this.peers.has(member)) continue
      const relay = [...this.peers].find(([, { relays }]) => relays.includes(member))?.[0] ?? this.bestRelay(member)
      if (relay !== undefined) wanted.set(relay, [...(wanted.get(relay) ?? []), member])
    }
    for (const [name, peer] of this.peers) {
      const names = wanted.get(name) ?? []
      if (names.join() === peer.relays.join()) continue
      peer.relays = names
      effects.push({ type: 'relay', peer: name, names })
    }
  }

  private bestRelay(member: string): string | undefined {
    const held = ({ vector }: Peer): number =>
      [...vector].reduce((most, [origin, seq]) => (replicaNameOf(origin) === member ? Math.max(most, seq) : most), 0)
    const [best] = [...this.peers].sort(([leftName, left], [rightName, right]) => {
      return held(right) - held(left) || (leftName < rightName ? -1 : 1)
    })
    return best?.[0]
  }

  private forget(name: string): void {
    this.peers.delete(name)
    if (this.pulling?.peer === name) this.pulling = undefined
  }

  private postpone(name: string | undefined, nowMs: number): void {
    const peer = name === undefined ? undefined : this.peers.get(name)
    if (peer) peer.notBeforeMs = nowMs + this.limits.silentMs
  }
}
