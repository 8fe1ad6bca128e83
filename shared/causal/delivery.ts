/**
 * Causal delivery: an op is delivered once it is the next of its origin and everything in its deps is delivered (Ladin
 * 1990; DESIGN.md section 2, "Delivery at a peer"). What comes too early is held back.
 *
 * Nothing can wait for ever on an op that exists: whoever sent the blocked op holds its past, so after 200 ms *the
 * sender* is asked for what is missing below it. Deps never name an op that was not delivered and durable where they
 * were written, so waits form no circle.
 *
 * Chains are recomputed here, and a run is verified to its end before any of it is delivered: an op that two replicas
 * know differently, or that changed on the way, is refused together with who sent it, and changes nothing.
 *
 * *Delivered* here means handed to the log, in order: it is shown only once that commit is durable. After a failed
 * commit `rewound` takes the cut back, and what is missing then is fetched again.
 */
import { unreachable } from '../base/assert.js'
import { COORDINATION_NAME, type Dot, type OriginId, replicaNameOf } from '../clock/dot.js'
import type { Lineages, Retirement } from '../clock/lineages.js'
import { EMPTY_VECTOR, hexOf, maxVector, type VersionVector } from '../clock/version-vector.js'
import { CausewayError } from '../errors/error.js'
import type { Op } from '../protocol/op.js'
import { type HeldRun, HoldBack, type HoldBackLimits, lastSeq, type Run } from './hold-back.js'

export interface CausalLimits extends HoldBackLimits {
  /** A head that waits longer is asked for. */
  readonly blockedMs: number
  /** And again after this long. */
  readonly askAgainMs: number
}

export const DEFAULT_CAUSAL_LIMITS: CausalLimits = {
  ops: 200_000,
  bytes: 64 * 1024 * 1024,
  blockedMs: 200,
  askAgainMs: 1_000,
}

/** Where an origin's delivered ops end. */
export interface Head {
  readonly seq: number
  readonly chain: Uint8Array
}

export interface DeliveredOp {
  readonly op: Op
  /** The peer that sent it. */
  readonly from: string
  readonly chain: Uint8Array
}

export type CausalInput =
  /** One message of ops, each origin's in one run. */
  | { readonly type: 'runs-received'; readonly from: string; readonly runs: readonly Run[]; readonly nowMs: number }
  /** An op of this replica is durable. */
  | { readonly type: 'own-committed'; readonly op: Op; readonly chain: Uint8Array }
  /** The coordination store's copy here has reached `applied`. `opening`: its epoch's predecessor, where it has one. */
  | {
      readonly type: 'coordination-applied'
      readonly applied: Dot
      readonly opening?: { readonly dot: Dot; readonly predecessor: Dot | undefined }
      readonly retirements: readonly Retirement[]
    }
  /** State transfer raised the cut. `heads` are those that it changed. */
  | { readonly type: 'joined'; readonly vector: VersionVector; readonly heads: ReadonlyMap<OriginId, Head> }
  /** A commit failed: the cut is back at what is durable. Deliveries go on with the next input, so none should come before writes work again. */
  | { readonly type: 'rewound'; readonly vector: VersionVector; readonly heads: ReadonlyMap<OriginId, Head> }
  | { readonly type: 'peer-lost'; readonly peer: string }
  | { readonly type: 'tick'; readonly nowMs: number }

export type CausalEffect =
  /** Hand these to the log, in this order. */
  | { readonly type: 'deliver'; readonly ops: readonly DeliveredOp[] }
  /** Ask the peer for all that it holds of `upTo` and that is not in `beyond`. */
  | { readonly type: 'request'; readonly from: string; readonly beyond: VersionVector; readonly upTo: VersionVector }
  /** The peer and this replica know different ops under one dot: end the link. */
  | { readonly type: 'refuse-peer'; readonly peer: string; readonly error: CausewayError }
  /** The peer holds ops of a lineage that the cell has ended before them: it has to offer them under new dots. */
  | { readonly type: 'surplus'; readonly peer: string; readonly dot: Dot }

/** An op that waits, and for what. */
export interface BlockedOp {
  readonly dot: Dot
  readonly from: string
  readonly sinceMs: number
  /** Entries of which the last op is not here yet. */
  readonly waitsFor: VersionVector
}

/** The chain value after `op`, where the one before it was `previous` (undefined: the origin's first). 16 bytes. */
export type ChainFunction = (previous: Uint8Array | undefined, op: Op) => Uint8Array

export interface CausalOptions {
  /** Of this process: nobody else may write under it. */
  readonly own: OriginId
  /** Learns every opening that is delivered. */
  readonly lineages: Lineages
  readonly chain: ChainFunction
  /** Durable at start, openings included in `lineages`. */
  readonly vector: VersionVector
  readonly heads: ReadonlyMap<OriginId, Head>
  readonly limits?: Partial<CausalLimits>
}

export class CausalDelivery {
  private readonly own: OriginId
  private readonly lineages: Lineages
  private readonly chain: ChainFunction
  private readonly limits: CausalLimits
  private readonly held: HoldBack
  private heads: Map<OriginId, Head>
  /** Of ops alone, predecessors folded. The coordination entry stands beside it: what it implies must be held in fact. */
  private delivered: Map<OriginId, number>
  /** The same with the coordination entry that may be counted. */
  private reached: Map<OriginId, number>
  private applied: Dot | undefined
  private claimed: Dot | undefined
  /** Ops that arrived and were here already. */
  duplicates = 0

  constructor(options: CausalOptions) {
    this.own = options.own
    this.lineages = options.lineages
    this.chain = options.chain
    this.limits = { ...DEFAULT_CAUSAL_LIMITS, ...options.limits }
    this.held = new HoldBack(this.limits)
    this.heads = new Map(options.heads)
    this.delivered = withoutCoordination(options.vector)
    this.reached = new Map(this.delivered)
  }

  /** What is delivered, folded; a copy. */
  get cut(): VersionVector {
    return new Map(this.lineages.fold(this.reached))
  }

  get figures(): {
    readonly heldOps: number
    readonly heldBytes: number
    readonly dropped: number
    readonly duplicates: number
  } {
    const { held, duplicates } = this
    return { heldOps: held.ops, heldBytes: held.bytes, dropped: held.dropped, duplicates }
  }

  /** The first op that waits of each origin. */
  get blocked(): readonly BlockedOp[] {
    return [...this.held.heads()].map((run) => {
      const { dot } = run.ops[run.next]!
      return { dot, from: run.from, sinceMs: run.sinceMs, waitsFor: this.missingFor(run) }
    })
  }

  step(input: CausalInput): CausalEffect[] {
    const effects: CausalEffect[] = []
    switch (input.type) {
      case 'runs-received':
        for (const run of input.runs) this.receive(run, input.from, input.nowMs, effects)
        this.deliver(effects)
        // Only now: what could be delivered at once needs no room.
        this.held.enforce()
        break
      case 'own-committed':
        this.advance(input.op, input.chain)
        this.deliver(effects)
        break
      case 'coordination-applied':
        if (input.opening) this.lineages.learnOpening(input.opening.dot, input.opening.predecessor)
        for (const retirement of input.retirements) this.lineages.learnRetirement(retirement)
        this.applied = input.applied
        this.deliver(effects)
        break
      case 'joined':
        this.restart(this.lineages.merge(this.delivered, withoutCoordination(input.vector)))
        for (const [origin, head] of input.heads) {
          if (head.seq > (this.heads.get(origin)?.seq ?? 0)) this.heads.set(origin, head)
        }
        this.deliver(effects)
        break
      case 'rewound':
        this.heads = new Map(input.heads)
        // The lineages that it ends may have been among what is gone again.
        this.claimed = undefined
        this.restart(withoutCoordination(input.vector))
        this.held.reuse()
        break
      case 'peer-lost':
        // Nobody is left to be asked for what they wait for; other peers have them too.
        this.held.removeFrom(input.peer)
        break
      case 'tick':
        this.deliver(effects)
        this.ask(input.nowMs, effects)
        break
      default:
        unreachable(input)
    }
    return effects
  }

  private receive(run: Run, from: string, nowMs: number, effects: CausalEffect[]): void {
    const isOwn = run.origin === this.own && lastSeq(run) > (this.delivered.get(this.own) ?? 0)
    if (isOwn || run.ops.some(({ kind }, index) => kind === 'open' && index > 0)) {
      effects.push(refusal(from, run, this.heads.get(run.origin)?.chain))
      return
    }
    const retiredAt = this.lineages.retiredAt(run.origin)
    if (retiredAt !== undefined && lastSeq(run) > retiredAt) {
      effects.push({ type: 'surplus', peer: from, dot: { origin: run.origin, seq: lastSeq(run) } })
      return
    }
    if (this.lineages.includes(this.delivered, { origin: run.origin, seq: lastSeq(run) })) {
      this.duplicates += run.ops.length
      const head = this.heads.get(run.origin)
      if (head?.seq === lastSeq(run) && !sameBytes(head.chain, run.chain)) {
        effects.push(refusal(from, run, head.chain))
      }
      return
    }
    const isNew = this.held.add({
      ...run,
      from,
      sinceMs: nowMs,
      next: 0,
      chains: undefined,
      verifiedFrom: 0,
      askedAtMs: undefined,
    })
    if (!isNew) this.duplicates += run.ops.length
  }

  /** Delivers whatever can be, origin by origin, until a whole round delivers nothing. */
  private deliver(effects: CausalEffect[]): void {
    const ops: DeliveredOp[] = []
    for (let moved = true; moved; ) {
      this.claim()
      moved = false
      for (const origin of this.held.origins()) {
        const before = ops.length
        this.deliverOrigin(origin, ops, effects)
        moved ||= ops.length > before
      }
    }
    if (ops.length > 0) effects.push({ type: 'deliver', ops })
  }

  private deliverOrigin(origin: OriginId, ops: DeliveredOp[], effects: CausalEffect[]): void {
    for (let run = this.held.head(origin); run; run = this.held.head(origin)) {
      this.skipDelivered(run)
      if (run.next < run.ops.length) {
        if (this.opensAgain(run.ops[run.next]!)) {
          this.held.remove(run)
          effects.push(refusal(run.from, run, this.heads.get(origin)?.chain))
          continue
        }
        if (!this.isNext(run.ops[run.next]!)) return
        if (!run.chains && !this.verify(run, effects)) continue
        this.deliverRun(run, ops)
        if (run.next < run.ops.length) return
      }
      this.held.remove(run)
    }
  }

  private deliverRun(run: HeldRun, ops: DeliveredOp[]): void {
    while (run.next < run.ops.length) {
      const op = run.ops[run.next]!
      if (!this.lineages.dominates(this.reached, op.kind === 'open' ? neededBy(op) : op.deps)) return
      const chain = run.chains![run.next - run.verifiedFrom]!
      this.advance(op, chain)
      ops.push({ op, from: run.from, chain })
      run.next++
    }
  }

  /** Another peer may have sent the same ops, in other runs. */
  private skipDelivered(run: HeldRun): void {
    const reached = this.lineages.valueIn(this.delivered, run.origin)
    while (run.next < run.ops.length && run.ops[run.next]!.dot.seq <= reached) {
      this.duplicates++
      run.next++
    }
  }

  /** Whether `op` follows what is delivered of its origin: the first of an origin is its opening. */
  private isNext({ kind, dot }: Op): boolean {
    const reached = this.lineages.valueIn(this.delivered, dot.origin)
    return reached > 0 ? dot.seq === reached + 1 : kind === 'open'
  }

  private opensAgain({ kind, dot }: Op): boolean {
    return kind === 'open' && this.lineages.valueIn(this.delivered, dot.origin) > 0
  }

  /** Recomputes the chain from the op that is next to the end of the run; a run that does not fit goes, with its sender. */
  private verify(run: HeldRun, effects: CausalEffect[]): boolean {
    let chain = this.heads.get(run.origin)?.chain
    const chains = run.ops.slice(run.next).map((op) => {
      chain = this.chain(chain, op)
      return chain
    })
    if (sameBytes(chain!, run.chain)) {
      run.chains = chains
      run.verifiedFrom = run.next
      return true
    }
    this.held.remove(run)
    effects.push(refusal(run.from, run, chain!))
    return false
  }

  private advance(op: Op, chain: Uint8Array): void {
    const { origin, seq } = op.dot
    if (op.kind === 'open') {
      const { predecessor } = op
      this.lineages.learnOpening(op.dot, predecessor)
      if (predecessor && this.delivered.get(predecessor.origin) === predecessor.seq) {
        this.delivered.delete(predecessor.origin)
        this.reached.delete(predecessor.origin)
      }
    }
    this.delivered.set(origin, seq)
    this.reached.set(origin, seq)
    this.heads.set(origin, { seq, chain })
  }

  private claim(): void {
    const { applied } = this
    if (!applied || this.claimed === applied) return
    const claimed = this.lineages.claimable(this.delivered, applied)
    this.claimed = claimed
    this.restart(this.delivered)
  }

  /** Sets the cut of ops anew. */
  private restart(delivered: VersionVector): void {
    const { claimed } = this
    this.delivered = new Map(delivered)
    this.reached = new Map(delivered)
    if (claimed) this.reached.set(claimed.origin, claimed.seq)
  }

  private missingFor(run: HeldRun): VersionVector {
    const op = run.ops[run.next]!
    return this.lineages.missing(this.reached, neededBy(op))
  }

  private ask(nowMs: number, effects: CausalEffect[]): void {
    const { blockedMs, askAgainMs } = this.limits
    const wanted = new Map<string, VersionVector>()
    for (const run of this.held.heads()) {
      const isDue = run.askedAtMs === undefined ? nowMs - run.sinceMs >= blockedMs : nowMs - run.askedAtMs >= askAgainMs
      if (!isDue) continue
      run.askedAtMs = nowMs
      wanted.set(run.from, maxVector(wanted.get(run.from) ?? EMPTY_VECTOR, neededBy(run.ops[run.next]!)))
    }
    for (const [from, upTo] of wanted) effects.push({ type: 'request', from, beyond: this.cut, upTo })
  }
}

/** Everything that has to be delivered before `op`. */
function neededBy(op: Op): VersionVector {
  const { origin, seq } = op.dot
  if (op.kind === 'open') {
    const { predecessor } = op
    return predecessor ? maxVector(op.deps, new Map([[predecessor.origin, predecessor.seq]])) : op.deps
  }
  return seq > 1 ? maxVector(op.deps, new Map([[origin, seq - 1]])) : op.deps
}

function refusal(peer: string, run: Run, ours: Uint8Array | undefined): CausalEffect {
  const details = { origin: run.origin, seq: lastSeq(run), ours: ours ? hexOf(ours) : '', theirs: hexOf(run.chain) }
  return { type: 'refuse-peer', peer, error: new CausewayError('cell/forked', details) }
}

function withoutCoordination(vector: VersionVector): Map<OriginId, number> {
  return new Map([...vector].filter(([origin]) => replicaNameOf(origin) !== COORDINATION_NAME))
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index])
}
