/**
 * What one peer is sent of this replica's log. Three reasons to send an op, one order, one credit:
 *
 *   push    own ops as they become durable, and those of replicas that the peer asked to have relayed
 *   pull    what the peer asked for: everything beyond its vector, or the causes of one blocked op
 *
 * A push goes straight from the commit to the link while it keeps up. When credit runs out it stops, and goes on from
 * the log at the place it had reached; so nothing is ever queued here, and the log is the only buffer. Ops that came
 * from the peer, or that it is known to hold, are never sent back.
 */
import { assert } from '../../shared/base/assert.js'
import { type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import type { Lineages } from '../../shared/clock/lineages.js'
import { EMPTY_VECTOR, type VersionVector } from '../../shared/clock/version-vector.js'
import type { LoggedOp, LogRange } from '../../shared/protocol/op-log.js'
import { flowCost, opCost, type PeerMessage } from '../../shared/protocol/peer.js'

export type { LoggedOp, LogRange }

/** Where a part of a core puts its effects, among those of the others. */
export interface Out<Effect> {
  push(effect: Effect): unknown
}

export type StreamEffect =
  | { readonly type: 'send'; readonly message: PeerMessage }
  /** Answered by `logRead` with the same number. */
  | { readonly type: 'read-log'; readonly read: number; readonly range: LogRange }

export interface LogAnswer {
  readonly read: number
  readonly ops: readonly LoggedOp[]
  /** Everything up to here was looked at. */
  readonly position: number
  /** That is the end of the log as it was then. */
  readonly atEnd: boolean
  /** An op of the range is no longer in the log. */
  readonly isPruned: boolean
}

export interface StreamLimits {
  /** Cost of one message, unless a single op costs more. */
  readonly messageCost: number
  readonly messageOps: number
  /** Pulls that are answered at a time. */
  readonly pulls: number
}

/** Shared by everything that spends on one link. */
export interface Credit {
  amount: number
}

interface Job {
  /** 0: a push. */
  readonly pull: number
  readonly beyond: VersionVector | undefined
  readonly upTo: VersionVector | undefined
  after: number
}

export class OpStream {
  private readonly peer: string
  private readonly ownName: string
  private readonly lineages: Lineages
  private readonly credit: Credit
  private readonly limits: StreamLimits
  /** What the peer was heard to hold. */
  private known: VersionVector = EMPTY_VECTOR
  private names: ReadonlySet<string>
  /** End of the log. */
  private position = 0
  /** Ops to be pushed up to this position were, or need not be. */
  private pushedTo = 0
  /** Pushing straight from commits. */
  private isLive = false
  private jobs: Job[] = []
  private reading: Job | undefined
  private reads = 0
  private isOpen = false
  /** Whether somebody here waits for a majority: the peer should tell at once what it holds. */
  isUrgent = false

  constructor(options: { peer: string; ownName: string; lineages: Lineages; credit: Credit; limits: StreamLimits }) {
    this.peer = options.peer
    this.ownName = options.ownName
    this.lineages = options.lineages
    this.credit = options.credit
    this.limits = options.limits
    this.names = new Set([options.ownName])
  }

  /** The link is up: what becomes durable after `position` is pushed; what was before it, the peer pulls. */
  open(known: VersionVector, position: number): void {
    this.isOpen = true
    this.isLive = true
    this.known = known
    this.position = position
    this.pushedTo = position
  }

  close(): void {
    this.isOpen = false
    this.isLive = false
    this.jobs = []
    this.reading = undefined
    this.names = new Set([this.ownName])
  }

  /** The peer was heard to hold `vector`. */
  heard(vector: VersionVector): void {
    this.known = vector
  }

  /** `ops` became durable, the last at `position`. */
  committed(ops: readonly LoggedOp[], position: number, effects: Out<StreamEffect>): void {
    this.position = position
    if (!this.isOpen) return
    if (this.isLive) {
      const sentTo = this.send(
        0,
        ops.filter((logged) => this.isPushed(logged)),
        effects,
      )
      this.pushedTo = sentTo ?? position
      this.isLive = sentTo === undefined
    }
    this.pump(effects)
  }

  /** From now on the peer wants the ops of `names`, too; those of before it pulls. */
  relay(names: readonly string[]): void {
    this.names = new Set([this.ownName, ...names.filter((name) => name !== this.peer)])
  }

  /** The peer asks for what it lacks. */
  pull(pull: number, beyond: VersionVector, upTo: VersionVector | undefined, effects: Out<StreamEffect>): void {
    const isBusy = this.jobs.filter((job) => job.pull > 0).length >= this.limits.pulls
    if (isBusy || this.jobs.some((job) => job.pull === pull)) {
      effects.push({ type: 'send', message: { type: 'pulled', pull, outcome: 'busy' } })
      return
    }
    // The answer reaches the end of the log, so a push beside it would only double it.
    if (!upTo) {
      this.isLive = false
      this.jobs = this.jobs.filter((job) => job.pull > 0)
    }
    this.jobs.push({ pull, beyond, upTo, after: 0 })
    this.pump(effects)
  }

  /** Credit came back. */
  granted(effects: Out<StreamEffect>): void {
    this.pump(effects)
  }

  logRead(answer: LogAnswer, effects: Out<StreamEffect>): void {
    const job = this.reading
    // Of a link that has ended since, or of a push that a pull to the end took over.
    if (answer.read !== this.reads || !job) return
    this.reading = undefined
    if (this.jobs[0] === job) this.advance(job, answer, effects)
    this.pump(effects)
  }

  private advance(job: Job, answer: LogAnswer, effects: Out<StreamEffect>): void {
    this.jobs.shift()
    if (answer.isPruned) {
      // A push that cannot go on from the log ends: the peer pulls, is told the same, and takes the whole state.
      if (job.pull > 0) effects.push({ type: 'send', message: { type: 'pulled', pull: job.pull, outcome: 'pruned' } })
      else this.reachEnd(this.position)
      return
    }
    const sentTo = this.send(job.pull, answer.ops, effects)
    job.after = sentTo ?? answer.position
    const isDone = sentTo === undefined && answer.atEnd && (job.upTo !== undefined || job.after >= this.position)
    if (!isDone) {
      // Behind the others: a long answer does not hold up a short one.
      this.jobs.push(job)
      return
    }
    if (job.pull > 0) effects.push({ type: 'send', message: { type: 'pulled', pull: job.pull, outcome: 'complete' } })
    if (!job.upTo) this.reachEnd(job.after)
  }

  private reachEnd(position: number): void {
    this.pushedTo = position
    this.isLive = true
  }

  /** Reads on for the job whose turn it is. One read at a time, and none that could not be sent. */
  private pump(effects: Out<StreamEffect>): void {
    if (!this.isOpen || this.reading || this.credit.amount <= 0) return
    const isPulledToEnd = this.jobs.some(({ upTo }) => upTo === undefined)
    if (!this.isLive && !isPulledToEnd) {
      this.jobs.push({ pull: 0, beyond: undefined, upTo: undefined, after: this.pushedTo })
    }
    const [job] = this.jobs
    if (!job) return
    this.reading = job
    const range: LogRange = {
      after: job.after,
      beyond: job.beyond ?? this.known,
      ...(job.upTo && { upTo: job.upTo }),
      ...(job.pull === 0 && { names: this.names }),
      limitCost: this.limits.messageCost,
    }
    effects.push({ type: 'read-log', read: ++this.reads, range })
  }

  private isPushed({ op, from }: LoggedOp): boolean {
    const { dot } = op
    return from !== this.peer && this.names.has(replicaNameOf(dot.origin)) && !this.lineages.includes(this.known, dot)
  }

  /** Sends ops while there is credit; the position of the last one sent, where some had to stay. */
  private send(pull: number, ops: readonly LoggedOp[], effects: Out<StreamEffect>): number | undefined {
    const rest = [...ops]
    let sentTo = (rest[0]?.position ?? 1) - 1
    while (rest.length > 0) {
      if (this.credit.amount <= 0) return sentTo
      const batch = rest.splice(0, this.batchLength(rest))
      sentTo = batch.at(-1)!.position
      const chains = new Map<OriginId, Uint8Array>(batch.map(({ op, chain }) => [op.dot.origin, chain]))
      const message = { type: 'ops', pull, urgent: this.isUrgent, ops: batch.map(({ op }) => op), chains } as const
      this.credit.amount -= flowCost(message)
      effects.push({ type: 'send', message })
    }
    return undefined
  }

  /** How many of `ops` one message takes: each origin's must be consecutive in it. */
  private batchLength(ops: readonly LoggedOp[]): number {
    const last = new Map<OriginId, number>()
    let cost = 0
    for (const [index, { op }] of ops.entries()) {
      cost += opCost(op)
      const before = last.get(op.dot.origin)
      const follows = before === undefined || (op.dot.seq === before + 1 && op.kind !== 'open')
      const isFull = cost > this.limits.messageCost || index >= this.limits.messageOps
      if (index > 0 && (isFull || !follows)) return index
      last.set(op.dot.origin, op.dot.seq)
    }
    assert(ops.length > 0, 'a message of no ops')
    return ops.length
  }
}
