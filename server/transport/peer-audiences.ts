/**
 * The clients of a document at other replicas: whom we tell of ours, and what they tell of theirs. Best effort, as all
 * presence is: every message may be lost or late, a renewal repeats it after 15 s, and 30 s of silence end whatever
 * nobody renews.
 *
 * Only a peer that has clients in a document too is told about it. The first client here makes us ask every peer, until
 * it answers; a peer that never did is told in doubt. Whoever is told in vain says so, and is told no more until it asks.
 *
 * A peer whose link has ended may have died or only lost it. What it told stands for `lostMs`: longer than a link takes
 * to come back, so that nobody's cursor flickers; shorter than the silence that ends a state anyway, and about as long
 * as clients take to come back through another replica.
 *
 * Nothing is queued here: what a busy link does not take is dropped.
 */
import { decodeUtf8, encodeUtf8 } from 'lib0/string'
import { asCausewayError } from '../../shared/errors/error.js'
import { PEER_LIMITS } from '../../shared/protocol/peer.js'
import {
  type ClientClock,
  decodeTelling,
  encodeChanges,
  encodeTelling,
  type PresenceTelling,
  TellingClock,
  type ToldPresence,
} from '../../shared/protocol/peer-presence.js'
import type { PeerTalk, Topic } from '../replica/cell.js'
import type { TransportLog, TransportMetrics } from './observer.js'
import type { ToldRoom } from './presence.js'

export interface PeerAudienceLimits {
  /** How long ids of a peer stand when its link has ended. */
  readonly lostMs: number
  /** Memory for the states that one peer tells, all documents together. */
  readonly bytesPerPeer: number
  /** Questions in one tick: a link that comes up has all documents to ask about. */
  readonly asksPerTick: number
  /** How long an answer may take before the question is repeated, at first and at last. */
  readonly askAgainMs: number
  readonly askAgainLongestMs: number
}

export const PEER_AUDIENCE_LIMITS: PeerAudienceLimits = {
  lostMs: 5_000,
  bytesPerPeer: 64 * 1024 * 1024,
  asksPerTick: 1000,
  askAgainMs: 2_000,
  askAgainLongestMs: 30_000,
}

/** The clients of one document here. */
export interface LocalAudience {
  readonly document: string
  /** Everybody here. */
  tellings(stamp: number): readonly ToldPresence[]
  /** What has changed here since the last call. */
  takeTellings(stamp: number): readonly ToldPresence[]
  hear(peer: string, stamp: number, entries: readonly ToldPresence[], nowMs: number): void
  /** Ends what a peer told before `stamp`, but for `except`; all of it where neither is given. */
  forget(peer: string, stamp?: number, except?: ReadonlySet<number>): void
  hearPassed(clocks: readonly ClientClock[]): void
  hearStateless(payload: string): void
}

export interface PeerAudiencesOptions {
  readonly talk: PeerTalk
  /** Wall clock in ms; orders messages, and those who show an id at two replicas. */
  now(): number
  /** A random number below 1. */
  readonly salt: number
  /** The monotonic clock whose later readings `tick` gets. */
  readonly nowMs: number
  readonly metrics: TransportMetrics
  readonly log: TransportLog
  readonly limits?: PeerAudienceLimits
}

/** What is known of a peer in one document. */
interface Standing {
  /** Undefined until it has said so. */
  hasClients: boolean | undefined
  /** Of the last message that said so. */
  stamp: number
  isAnswered: boolean
  asks: number
  askAtMs: number
}

interface Place {
  readonly audience: LocalAudience
  readonly peers: Map<string, Standing>
}

export class PeerAudiences {
  /** What the documents' presence takes for what peers tell. */
  readonly room: ToldRoom
  private readonly talk: PeerTalk
  private readonly limits: PeerAudienceLimits
  private readonly stamps: TellingClock
  private readonly metrics: TransportMetrics
  private readonly log: TransportLog
  private readonly places = new Map<string, Place>()
  /** Those with a peer that has not answered. */
  private readonly asking = new Set<Place>()
  /** When the link to a peer ended, whose ids still stand. */
  private readonly lost = new Map<string, number>()
  private readonly bytes = new Map<string, number>()
  private nowMs: number

  constructor({ talk, now, salt, nowMs, metrics, log, limits = PEER_AUDIENCE_LIMITS }: PeerAudiencesOptions) {
    this.talk = talk
    this.limits = limits
    this.stamps = new TellingClock(now, salt)
    this.nowMs = nowMs
    this.metrics = metrics
    this.log = log
    this.room = { take: (peer, bytes) => this.takeRoom(peer, bytes) }
    talk.onTold('presence', (from, document, payload) => this.heard(from, document, payload))
    talk.onTold('stateless', (from, document, payload) => this.heardStateless(from, document, payload))
    talk.onLinked((peer) => this.linked(peer))
    talk.onUnlinked((peer) => this.unlinked(peer))
  }

  /** The first client has come to a document here. */
  opened(audience: LocalAudience): void {
    const place: Place = { audience, peers: new Map() }
    this.places.set(audience.document, place)
    this.ask(place, this.talk.linked, Number.POSITIVE_INFINITY)
  }

  /** The last one has left; what it leaves behind has been told. */
  closed(audience: LocalAudience): void {
    const place = this.placeOf(audience)
    if (place === undefined) return
    const { document } = audience
    this.places.delete(document)
    this.asking.delete(place)
    const absent = encodeTelling({ type: 'absent', stamp: this.stamps.next() })
    for (const peer of this.listeners(place)) this.send('presence', document, absent, peer)
  }

  /** Tells what has changed here. */
  tellChanges(audience: LocalAudience): void {
    const stamp = this.stamps.next()
    // Taken even where nobody listens: nothing is kept for later.
    const entries = audience.takeTellings(stamp)
    const place = this.placeOf(audience)
    if (place === undefined || entries.length === 0) return
    const peers = this.listeners(place)
    if (peers.length === 0) return
    for (const message of encodeChanges(stamp, entries)) {
      for (const peer of peers) this.send('presence', audience.document, message, peer)
    }
  }

  tellPassed(audience: LocalAudience, passed: ReadonlyMap<string, readonly ClientClock[]>): void {
    for (const [peer, clocks] of passed) {
      this.send('presence', audience.document, encodeTelling({ type: 'passed', clocks }), peer)
    }
  }

  /** Tells an application's message, once, to those who have clients for it. */
  tellStateless(audience: LocalAudience, payload: string): void {
    const place = this.placeOf(audience)
    const peers = place === undefined ? [] : this.listeners(place)
    if (peers.length === 0) return
    const bytes = encodeUtf8(payload)
    for (const peer of peers) this.send('stateless', audience.document, bytes, peer)
  }

  tick(nowMs: number): void {
    this.nowMs = nowMs
    for (const [peer, sinceMs] of this.lost) {
      if (nowMs - sinceMs < this.limits.lostMs) continue
      this.lost.delete(peer)
      for (const { audience } of this.places.values()) audience.forget(peer)
    }
    this.askDue()
  }

  // --- from peers

  private heard(from: string, document: string, payload: Uint8Array): void {
    let telling: PresenceTelling
    try {
      telling = decodeTelling(payload)
    } catch (thrown) {
      this.refused(from, asCausewayError(thrown))
      return
    }
    const place = this.places.get(document)
    if (place === undefined) {
      if (telling.type === 'ask' || telling.type === 'changes') this.tellAbsent(from, document)
    } else this.take(place, from, telling)
  }

  private take(place: Place, from: string, telling: PresenceTelling): void {
    const { audience } = place
    switch (telling.type) {
      case 'ask':
        this.learn(place, from, telling.stamp, true)
        this.answer(audience, from)
        break
      case 'roll':
        this.learn(place, from, telling.stamp, true).isAnswered = true
        audience.forget(from, telling.stamp, telling.clientIds)
        break
      case 'absent':
        this.learn(place, from, telling.stamp, false).isAnswered = true
        audience.forget(from, telling.stamp)
        break
      case 'changes':
        this.learn(place, from, telling.stamp, true)
        audience.hear(from, telling.stamp, telling.entries, this.nowMs)
        break
      case 'passed':
        audience.hearPassed(telling.clocks)
        break
    }
  }

  private heardStateless(from: string, document: string, payload: Uint8Array): void {
    let text: string
    try {
      text = decodeUtf8(payload)
    } catch (thrown) {
      this.refused(from, thrown)
      return
    }
    const place = this.places.get(document)
    if (place === undefined) this.tellAbsent(from, document)
    else place.audience.hearStateless(text)
  }

  /** What a late message says of its sender was said anew since. */
  private learn(place: Place, peer: string, stamp: number, hasClients: boolean): Standing {
    const standing = this.standingOf(place, peer)
    if (stamp > standing.stamp) {
      standing.stamp = stamp
      standing.hasClients = hasClients
    }
    return standing
  }

  private answer(audience: LocalAudience, to: string): void {
    const stamp = this.stamps.next()
    const entries = audience.tellings(stamp)
    for (const message of encodeChanges(stamp, entries)) this.send('presence', audience.document, message, to)
    const clientIds = new Set(entries.map(({ clientId }) => clientId))
    this.send('presence', audience.document, encodeTelling({ type: 'roll', stamp, clientIds }), to)
  }

  private tellAbsent(to: string, document: string): void {
    this.send('presence', document, encodeTelling({ type: 'absent', stamp: this.stamps.next() }), to)
  }

  // --- links

  private linked(peer: string): void {
    this.lost.delete(peer)
    for (const place of this.places.values()) {
      place.peers.delete(peer)
      this.asking.add(place)
    }
    this.askDue()
  }

  private unlinked(peer: string): void {
    this.lost.set(peer, this.nowMs)
    for (const place of this.places.values()) place.peers.delete(peer)
  }

  private askDue(): void {
    const { linked } = this.talk
    let left = this.limits.asksPerTick
    for (const place of this.asking) left = this.ask(place, linked, left)
  }

  /** Asks those who have not answered for long enough; returns how many more may be asked. */
  private ask(place: Place, linked: readonly string[], atMost: number): number {
    const { askAgainMs, askAgainLongestMs } = this.limits
    let left = atMost
    let isWaiting = false
    for (const peer of linked) {
      const standing = this.standingOf(place, peer)
      if (standing.isAnswered) continue
      isWaiting = true
      if (left <= 0 || this.nowMs < standing.askAtMs) continue
      left--
      standing.askAtMs = this.nowMs + Math.min(askAgainLongestMs, askAgainMs * 2 ** standing.asks++)
      this.send('presence', place.audience.document, encodeTelling({ type: 'ask', stamp: this.stamps.next() }), peer)
    }
    if (isWaiting) this.asking.add(place)
    else this.asking.delete(place)
    return left
  }

  // --- helpers

  private placeOf(audience: LocalAudience): Place | undefined {
    const place = this.places.get(audience.document)
    return place?.audience === audience ? place : undefined
  }

  private standingOf(place: Place, peer: string): Standing {
    let standing = place.peers.get(peer)
    if (standing === undefined) {
      standing = { hasClients: undefined, stamp: 0, isAnswered: false, asks: 0, askAtMs: Number.NEGATIVE_INFINITY }
      place.peers.set(peer, standing)
    }
    return standing
  }

  private listeners(place: Place): string[] {
    return this.talk.linked.filter((peer) => place.peers.get(peer)?.hasClients !== false)
  }

  private send(topic: Topic, document: string, payload: Uint8Array, to: string): void {
    if (payload.length <= PEER_LIMITS.tellBytes) this.talk.tell(topic, document, payload, to)
    else this.metrics.count('telling-too-large')
  }

  private refused(from: string, error: unknown): void {
    this.metrics.count('telling-refused')
    this.log.warn({ event: 'telling-refused', peer: from, error }, 'a peer told what cannot be read')
  }

  private takeRoom(peer: string, bytes: number): boolean {
    const taken = (this.bytes.get(peer) ?? 0) + bytes
    if (bytes > 0 && taken > this.limits.bytesPerPeer) return false
    if (taken > 0) this.bytes.set(peer, taken)
    else this.bytes.delete(peer)
    return true
  }
}
