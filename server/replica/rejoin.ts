/**
 * How a member comes back to a cell that went on without it: it was retired while cut off, or the cell was recovered by
 * force and has a newer epoch. Its log may hold ops that the cell does not know, and those are somebody's acknowledged
 * edits. It keeps them aside, takes the cell's state in place of its own, and accepts them anew as its own ops.
 *
 *   saved      the surplus is aside, on disk; only now may the old state go
 *   replaced   the cell's state is on disk in its place
 *   (none)     every op of the surplus was accepted anew, up to the last; only now may what is aside go
 *
 * Each phase is on disk before the next step, so a crash at any point goes on where it was. An op may be accepted twice
 * by that, which changes nothing: its bytes are known by then.
 */
import { unreachable } from '../../shared/base/assert.js'
import { type CellIdentity, compareCells, type RejoinPhase } from '../../shared/clock/cell.js'

export type { RejoinPhase }

export type RejoinInput =
  /** A member of a newer life of the cell is linked: it can give its state. */
  | { readonly type: 'met'; readonly peer: string; readonly identity: CellIdentity }
  | { readonly type: 'lost'; readonly peer: string }
  /** What the last `save-surplus`, `replace-state` or `accept-surplus` did is on disk, together with this phase. */
  | { readonly type: 'stored'; readonly phase: RejoinPhase; readonly isLast: boolean }
  /** The state could not be had; `retry` comes after a while, or somebody else is met. */
  | { readonly type: 'state-failed' }
  | { readonly type: 'retry' }

export type RejoinEffect =
  /** Put every op of the log aside that `surplusOf` finds, and store the phase in the same commit. */
  | { readonly type: 'save-surplus'; readonly phase: RejoinPhase }
  /** Take the whole state of the peer and put it in the place of ours: in the commit that does so, store the phase. */
  | { readonly type: 'replace-state'; readonly peer: string; readonly phase: RejoinPhase }
  /** Accept a few ops of the surplus anew, from this one on, those that the state does not hold; store how far. */
  | { readonly type: 'accept-surplus'; readonly from: number }
  /** What is aside may go, and the phase with it. */
  | { readonly type: 'finished' }

export class Rejoin {
  private phase: RejoinPhase | undefined
  private readonly donors = new Map<string, CellIdentity>()
  private own: CellIdentity
  private isBusy = false

  constructor(options: { own: CellIdentity; stored: RejoinPhase | undefined }) {
    this.own = options.own
    this.phase = options.stored
  }

  /** Nothing is served meanwhile: neither the old state, which is no longer the cell's, nor the new one before it is whole. */
  get isUnderWay(): boolean {
    return this.phase !== undefined || this.isBusy
  }

  /** What a start goes on with. */
  start(): RejoinEffect[] {
    const effects: RejoinEffect[] = []
    this.goOn(effects)
    return effects
  }

  step(input: RejoinInput): RejoinEffect[] {
    const effects: RejoinEffect[] = []
    switch (input.type) {
      case 'met':
        this.donors.set(input.peer, input.identity)
        break
      case 'lost':
        this.donors.delete(input.peer)
        break
      case 'stored':
        this.isBusy = false
        this.phase = input.phase
        if (input.phase.phase === 'replaced') this.own = input.phase.identity
        if (input.phase.phase === 'replaced' && input.isLast) {
          this.phase = undefined
          effects.push({ type: 'finished' })
          return effects
        }
        break
      case 'state-failed':
        this.isBusy = false
        return effects
      case 'retry':
        break
      default:
        unreachable(input)
    }
    this.goOn(effects)
    return effects
  }

  private goOn(effects: RejoinEffect[]): void {
    if (this.isBusy) return
    const { phase } = this
    if (phase?.phase === 'replaced') {
      this.isBusy = true
      effects.push({ type: 'accept-surplus', from: phase.accepted })
      return
    }
    const donor = this.newest()
    if (!donor) return
    const [peer, identity] = donor
    this.isBusy = true
    // The cell may have been recovered once more since the surplus was saved: the newest life is rejoined.
    if (phase) effects.push({ type: 'replace-state', peer, phase: { phase: 'replaced', identity, accepted: 0 } })
    else effects.push({ type: 'save-surplus', phase: { phase: 'saved', identity, accepted: 0 } })
  }

  /** The reachable member of the newest life, if that is newer than ours; by name among equals. */
  private newest(): readonly [string, CellIdentity] | undefined {
    let newest: readonly [string, CellIdentity] | undefined
    for (const [peer, identity] of [...this.donors].sort(([left], [right]) => (left < right ? -1 : 1))) {
      if (compareCells(newest?.[1] ?? this.own, identity) === 'newer') newest = [peer, identity]
    }
    return newest
  }
}
