/** What the network of peers tells of itself; both are the host's. Names of events are stable. */
import type { PeerMessage } from '../../shared/protocol/peer.js'

export const PEER_EVENTS = [
  /** A peer was linked, and among these again. */
  'linked',
  'relinked',
  /** A link ended: by a lost connection, by our refusal, by the peer's. */
  'lost',
  'refused',
  'refused-by-peer',
  /** A peer could not be reached. */
  'dial-failed',
  /** Whoever connected, or was dialled, was not let in. */
  'meeting-refused',
  'upgrade-refused',
  /** Something told was dropped because its link was busy. */
  'tell-dropped',
] as const

export type PeerEvent = (typeof PEER_EVENTS)[number]

export interface PeerMetrics {
  /** Peers that are linked now. */
  linked(count: number): void
  count(event: PeerEvent): void
  sent(type: PeerMessage['type'], bytes: number): void
  received(type: PeerMessage['type'], bytes: number): void
}

type Fields = Readonly<Record<string, string | number | boolean | undefined>>

export interface PeerLog {
  info(event: 'peer/linked' | 'peer/lost' | 'peer/refused', fields: Fields, error?: unknown): void
  warn(event: 'peer/lost' | 'peer/refused', fields: Fields, error?: unknown): void
}

/** Who cannot link tries again and again: the same refusal is a line once in this time. */
const REPEATED_MS = 60_000
const REMEMBERED = 256

/** Says once in a while what would otherwise be said with every attempt. */
export class Repetitions {
  private readonly saidAtMs = new Map<string, number>()

  /** Whether `what` is to be said now. */
  isDue(what: string, nowMs: number): boolean {
    const before = this.saidAtMs.get(what)
    if (before !== undefined && nowMs - before < REPEATED_MS) return false
    if (this.saidAtMs.size >= REMEMBERED) this.saidAtMs.clear()
    this.saidAtMs.set(what, nowMs)
    return true
  }
}
