/**
 * Giving a whole state to a peer, and taking one. It is needed where the log no longer reaches back. The donor opens one
 * cut, a read of its database as it stands at one vector, and sends it in chunks; the receiver stores them aside, and
 * joins them to what it has only when the last one is there, at once: document by document it would show effects
 * without causes. A transfer that broke off goes on at the chunk it had reached, while the donor still has the cut.
 *
 * What a chunk holds is for storage; here it is bytes with a number.
 */
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import { flowCost, type PeerMessage } from '../../shared/protocol/peer.js'
import type { Credit, Out } from './op-stream.js'

type Message<Type extends PeerMessage['type']> = Extract<PeerMessage, { type: Type }>

export type DonorEffect =
  | { readonly type: 'send'; readonly message: PeerMessage }
  /** Begin a read of everything at one cut; answered by `cutOpened`. */
  | { readonly type: 'open-cut'; readonly transfer: number }
  /** Answered by `chunkRead`. */
  | { readonly type: 'read-chunk'; readonly transfer: number; readonly index: number }
  | { readonly type: 'close-cut'; readonly transfer: number }

/** A cut keeps old pages of the database alive: without a sign of its receiver for so long it is given up. */
const CUT_KEPT_MS = 60_000

interface OpenCut {
  readonly transfer: number
  cut: VersionVector | undefined
  next: number
  isReading: boolean
  isSent: boolean
  usedAtMs: number
}

/** The giving side of one link; it outlives the connection. */
export class StateDonor {
  private readonly credit: Credit
  private transfers = 0
  private open: OpenCut | undefined
  private isConnected = false

  constructor(credit: Credit) {
    this.credit = credit
  }

  request({ transfer, next }: Message<'state-request'>, nowMs: number, effects: Out<DonorEffect>): void {
    this.isConnected = true
    const { open } = this
    if (open?.cut && open.transfer === transfer) {
      open.next = next
      open.isSent = false
      open.isReading = false
      open.usedAtMs = nowMs
      effects.push({ type: 'send', message: { type: 'state-begin', transfer, cut: open.cut } })
      this.pump(effects)
      return
    }
    this.giveUp(effects)
    const opened = { transfer: ++this.transfers, cut: undefined, next: 0, isReading: false, isSent: false }
    this.open = { ...opened, usedAtMs: nowMs }
    effects.push({ type: 'open-cut', transfer: opened.transfer })
  }

  /** `cut` undefined: it could not be opened. */
  cutOpened(transfer: number, cut: VersionVector | undefined, effects: Out<DonorEffect>): void {
    if (this.open?.transfer !== transfer) {
      // Asked for anew meanwhile.
      if (cut) effects.push({ type: 'close-cut', transfer })
      return
    }
    if (!cut) {
      this.open = undefined
      if (this.isConnected) effects.push({ type: 'send', message: { type: 'state-refused' } })
      return
    }
    this.open.cut = cut
    if (!this.isConnected) return
    effects.push({ type: 'send', message: { type: 'state-begin', transfer, cut } })
    this.pump(effects)
  }

  chunkRead(transfer: number, index: number, bytes: Uint8Array, isLast: boolean, effects: Out<DonorEffect>): void {
    const { open } = this
    if (open?.transfer !== transfer || !open.isReading || open.next !== index || !this.isConnected) return
    open.isReading = false
    open.isSent = isLast
    open.next++
    const message = { type: 'state-chunk', transfer, index, isLast, bytes } as const
    this.credit.amount -= flowCost(message)
    effects.push({ type: 'send', message })
    this.pump(effects)
  }

  /** The receiver returned credit, so it lives. */
  granted(nowMs: number, effects: Out<DonorEffect>): void {
    if (this.open) this.open.usedAtMs = nowMs
    this.pump(effects)
  }

  taken({ transfer }: Message<'state-taken'>, effects: Out<DonorEffect>): void {
    if (this.open?.transfer === transfer) this.giveUp(effects)
  }

  disconnected(): void {
    this.isConnected = false
    if (this.open) this.open.isReading = false
  }

  tick(nowMs: number, effects: Out<DonorEffect>): void {
    if (this.open?.cut && nowMs - this.open.usedAtMs >= CUT_KEPT_MS) this.giveUp(effects)
  }

  private giveUp(effects: Out<DonorEffect>): void {
    if (this.open?.cut) effects.push({ type: 'close-cut', transfer: this.open.transfer })
    this.open = undefined
  }

  private pump(effects: Out<DonorEffect>): void {
    const { open } = this
    if (!open?.cut || open.isReading || open.isSent || !this.isConnected || this.credit.amount <= 0) return
    open.isReading = true
    effects.push({ type: 'read-chunk', transfer: open.transfer, index: open.next })
  }
}

/** Credit that is to be returned, and of which connection it is. */
export interface Receipt {
  readonly connection: number
  readonly cost: number
}

export type ReceiverEffect =
  | { readonly type: 'send'; readonly message: PeerMessage }
  /** Set chunks of a state at `cut` aside from now on. */
  | { readonly type: 'begin-state'; readonly cut: VersionVector }
  /** Answered by `chunkStored`. */
  | { readonly type: 'store-chunk'; readonly index: number; readonly bytes: Uint8Array; readonly receipt: Receipt }
  /** All chunks are stored: join them to what is here, in one step. */
  | { readonly type: 'join-state'; readonly cut: VersionVector }
  /** Drop the chunks: the state will not be completed. */
  | { readonly type: 'discard-state' }
  | { readonly type: 'state-failed' }

interface Taking {
  /** Of the donor's process: another one knows nothing of the transfer. */
  readonly donor: string
  transfer: number
  cut: VersionVector | undefined
  /** The chunk that comes next, and how many are stored. */
  expected: number
  stored: number
  hasLast: boolean
}

/** The taking side of one link; it outlives the connection. */
export class StateReceiver {
  private taking: Taking | undefined

  /** Asks `donor` (its incarnation) for its state. */
  take(donor: string, effects: Out<ReceiverEffect>): void {
    this.abandon(effects)
    this.taking = { donor, transfer: 0, cut: undefined, expected: 0, stored: 0, hasLast: false }
    this.ask(this.taking, effects)
  }

  /** The link is up again. */
  connected(donor: string, effects: Out<ReceiverEffect>): void {
    const { taking } = this
    if (!taking) return
    if (taking.donor !== donor) {
      this.fail(effects)
      return
    }
    taking.expected = taking.stored
    taking.hasLast = false
    this.ask(taking, effects)
  }

  begun({ transfer, cut }: Message<'state-begin'>, effects: Out<ReceiverEffect>): void {
    const { taking } = this
    if (!taking) throw unexpected('state-begin')
    if (taking.transfer === transfer) return
    // The donor has given up the cut of before: what was stored of it fits to no other.
    if (taking.cut) effects.push({ type: 'discard-state' })
    this.taking = { donor: taking.donor, transfer, cut, expected: 0, stored: 0, hasLast: false }
    effects.push({ type: 'begin-state', cut })
  }

  /** False where the chunk is of a transfer that is over, or that the donor does not yet know to have begun anew. */
  chunk(message: Message<'state-chunk'>, receipt: Receipt, effects: Out<ReceiverEffect>): boolean {
    const { taking } = this
    if (taking?.transfer !== message.transfer) return false
    if (!taking.cut || taking.hasLast || message.index !== taking.expected) throw unexpected('state-chunk')
    taking.expected++
    taking.hasLast = message.isLast
    effects.push({ type: 'store-chunk', index: message.index, bytes: message.bytes, receipt })
    return true
  }

  chunkStored(index: number, effects: Out<ReceiverEffect>): void {
    const { taking } = this
    if (!taking?.cut || index !== taking.stored) return
    taking.stored++
    if (!taking.hasLast || taking.stored < taking.expected) return
    this.taking = undefined
    effects.push({ type: 'send', message: { type: 'state-taken', transfer: taking.transfer } })
    effects.push({ type: 'join-state', cut: taking.cut })
  }

  refused(effects: Out<ReceiverEffect>): void {
    if (this.taking) this.fail(effects)
  }

  private ask({ transfer, stored }: Taking, effects: Out<ReceiverEffect>): void {
    effects.push({ type: 'send', message: { type: 'state-request', transfer, next: stored } })
  }

  private fail(effects: Out<ReceiverEffect>): void {
    this.abandon(effects)
    effects.push({ type: 'state-failed' })
  }

  /** Gives up; what was stored is of no use. */
  abandon(effects: Out<ReceiverEffect>): void {
    if (this.taking?.cut) effects.push({ type: 'discard-state' })
    this.taking = undefined
  }
}

function unexpected(message: string): CausewayError {
  return new CausewayError('protocol/bad-message', { reason: `unexpected ${message}` })
}
