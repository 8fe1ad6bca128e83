/**
 * What runs on a node of the world, and the machine it runs on. A program takes inputs one by one and works the machine
 * in between; it is the thin shell around cores, as a host is in the real world. Each operation of the machine is a
 * point at which the process can die: the operation then does not return.
 */
import type { Random } from '../base/random.js'
import type { DiskTrouble } from './disk.js'

/** One connection, the same number at both ends, never used twice. */
export type ConnectionId = number & { readonly __brand: 'ConnectionId' }
export type SyncId = number & { readonly __brand: 'SyncId' }

export type Input<Message> =
  /** A peer has connected; it may be sent to at once. */
  | { readonly type: 'accepted'; readonly connection: ConnectionId; readonly peer: string }
  /** Answers `open`; otherwise `closed` does. */
  | { readonly type: 'opened'; readonly connection: ConnectionId; readonly peer: string }
  | { readonly type: 'received'; readonly connection: ConnectionId; readonly peer: string; readonly message: Message }
  /** The last input of a connection. What was sent may have arrived or not. */
  | { readonly type: 'closed'; readonly connection: ConnectionId; readonly peer: string }
  | { readonly type: 'posted'; readonly peer: string; readonly message: Message }
  | { readonly type: 'timer'; readonly timer: string }
  | { readonly type: 'synced'; readonly sync: SyncId }
  /** What was unsynced is lost. */
  | { readonly type: 'sync-failed'; readonly sync: SyncId; readonly trouble: DiskTrouble }

export interface Program<Message> {
  step(input: Input<Message>): void
}

/** `Message` travels by reference and `Stored` is kept by reference: neither is changed once handed over. */
export interface Machine<Message, Stored> {
  readonly name: string
  /** Random numbers of this process start: no other start has the same. */
  readonly entropy: Random
  /** Milliseconds since the epoch as this node's clock has them: wrong, and not monotonic. */
  wallMs(): number
  monotonicMs(): number
  /** One input `timer` after `delayMs`. A timer of the same name that still runs is replaced. */
  setTimer(timer: string, delayMs: number): void
  clearTimer(timer: string): void
  /** Connects; data may be sent at once and is lost if nobody accepts. */
  open(peer: string): ConnectionId
  /** In order and once, as long as the connection lasts. Without effect on one that is closed. */
  send(connection: ConnectionId, message: Message): void
  /** What was sent still arrives; nothing is received any more, not even `closed`. */
  close(connection: ConnectionId): void
  /** Without a connection: may be lost, doubled, overtaken. */
  post(peer: string, message: Message): void
  /** What the disk holds. */
  read(): readonly Stored[]
  /** All of `records` or none, after everything written before. */
  write(records: readonly Stored[]): void
  /** One input `synced` once all that is written by now survives a power cut, or `sync-failed`. */
  sync(): SyncId
  /** A line for the trace. */
  note(text: () => string): void
}
