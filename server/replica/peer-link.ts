/**
 * One replica's side of its link to one peer: who the other is, whether the two hold the same history, and then the
 * exchange of ops, durable vectors and state. A pure state machine that lives as long as the process; connections come
 * and go as inputs.
 *
 *   closed → greeting (hello sent) → checking (the peer's chain heads against ours) → waiting (for its `ready`) → open
 *
 * Ops travel in three ways, none of which sends anything back to where it came from: an origin pushes its own; a peer
 * without a link to some origin asks for a relay of its ops; and who finds itself behind pulls. Nothing here depends on
 * a message arriving: whatever is lost is seen again in the durable vectors and pulled.
 */
import { assert, unreachable } from '../../shared/base/assert.js'
import type { Run } from '../../shared/causal/hold-back.js'
import { compareCells, formatCell } from '../../shared/clock/cell.js'
import { COORDINATION_NAME, type Dot, type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import type { Lineages } from '../../shared/clock/lineages.js'
import { EMPTY_VECTOR, hexOf, sameVector, type VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { LoggedOp } from '../../shared/protocol/op-log.js'
import {
  type ChainHead,
  type Claims,
  flowCost,
  type Hello,
  opCost,
  PEER_LIMITS,
  PEER_VERSIONS,
  type PeerMessage,
  type Standing,
} from '../../shared/protocol/peer.js'
import { type Credit, type LogAnswer, OpStream, type StreamEffect } from './op-stream.js'
import { type DonorEffect, type Receipt, type ReceiverEffect, StateDonor, StateReceiver } from './state-transfer.js'

/** What a hello says of this replica at the moment of connecting. */
export type OwnFacts = Omit<Hello, 'type' | 'oldest' | 'newest' | 'window'>

/** How the peer's cell stands to ours; `unborn` where one side belongs to none yet. */
export type Relation = 'same' | 'older' | 'newer' | 'unborn'

/** What is said outside the exchange of ops; it costs no credit. */
export type TalkMessage = Extract<PeerMessage, { type: 'tell' | 'ask' | 'answer' }>

export type LinkInput =
  /** `position`: end of the log. */
  | { readonly type: 'connected'; readonly facts: OwnFacts; readonly position: number; readonly nowMs: number }
  | { readonly type: 'received'; readonly message: PeerMessage; readonly nowMs: number }
  | { readonly type: 'disconnected' }
  /** In the order of `read-chains`; undefined where the log no longer holds the op. */
  | { readonly type: 'chains-read'; readonly chains: readonly (Uint8Array | undefined)[] }
  /** Ops became durable, in the order of the log. */
  | {
      readonly type: 'committed'
      readonly ops: readonly LoggedOp[]
      readonly position: number
      readonly durable: VersionVector
    }
  | { readonly type: 'log-read'; readonly answer: LogAnswer }
  /** What a `runs` effect had brought is settled: durable, or dropped. */
  | { readonly type: 'settled'; readonly receipt: Receipt }
  /** Somebody here waits for a majority, or nobody does any more. */
  | { readonly type: 'urgency-changed'; readonly isUrgent: boolean }
  | { readonly type: 'standing-changed'; readonly standing: Standing; readonly life: number }
  | { readonly type: 'claims-changed'; readonly claims: Claims }
  /** Ask the peer. */
  | { readonly type: 'pull'; readonly pull: number; readonly beyond: VersionVector; readonly upTo?: VersionVector }
  | { readonly type: 'probe'; readonly probe: number }
  | { readonly type: 'relay'; readonly names: readonly string[] }
  | { readonly type: 'take-state' }
  | { readonly type: 'abandon-state' }
  | { readonly type: 'offer-birth'; readonly message: Extract<PeerMessage, { type: 'birth' }> }
  /** What other parts of the replica say, as it goes out. Dropped where the link is not open. */
  | TalkMessage
  | { readonly type: 'cut-opened'; readonly transfer: number; readonly cut: VersionVector | undefined }
  | {
      readonly type: 'chunk-read'
      readonly transfer: number
      readonly index: number
      readonly bytes: Uint8Array
      readonly isLast: boolean
    }
  | { readonly type: 'chunk-stored'; readonly index: number; readonly receipt: Receipt }
  | { readonly type: 'tick'; readonly nowMs: number }

/** The peer tells something about a document. */
export type Told = As<'told', 'tell'>
/** The peer asks; answered by the input `answer` with the same number, while the connection lasts. */
export type Asked = As<'asked', 'ask'>
/** The peer answers what it was asked on this connection. */
export type Answered = As<'answered', 'answer'>
type As<Type extends string, From extends TalkMessage['type']> = { readonly type: Type } & Omit<
  Extract<TalkMessage, { type: From }>,
  'type'
>

export type LinkEffect =
  | StreamEffect
  | DonorEffect
  | ReceiverEffect
  /** Look up the chain values after these ops in our log; answered by `chains-read`. */
  | { readonly type: 'read-chains'; readonly dots: readonly Dot[] }
  /** Both sides have checked. */
  | { readonly type: 'opened'; readonly peer: Hello; readonly relation: Relation }
  /** What the peer has on disk, and how it stands. `probe`: the one that it answers, or 0. */
  | {
      readonly type: 'heard'
      readonly vector: VersionVector
      readonly standing: Standing
      readonly life: number
      readonly claims: Claims
      readonly probe: number
    }
  /** Ops for causal delivery; answered by `settled` with the receipt. */
  | { readonly type: 'runs'; readonly runs: readonly Run[]; readonly receipt: Receipt }
  | { readonly type: 'pulled'; readonly pull: number; readonly outcome: 'complete' | 'pruned' | 'busy' }
  | { readonly type: 'birth'; readonly message: Extract<PeerMessage, { type: 'birth' }> }
  | Told
  | Asked
  | Answered
  /** The peer ends the link and says why. */
  | { readonly type: 'refused'; readonly code: string; readonly details: string }
  /** End the connection; `error` where it is to be told to an operator. */
  | { readonly type: 'close'; readonly error: CausewayError }

export interface LinkLimits {
  /** Cost of ops and chunks from the peer that may be unsettled here. */
  readonly window: number
  readonly messageCost: number
  readonly messageOps: number
  readonly pulls: number
  /** A durable vector that changed is told after this long, if nobody waits for it. */
  readonly gossipMs: number
  readonly greetingMs: number
}

export const DEFAULT_LINK_LIMITS: LinkLimits = {
  window: 8 * 1024 * 1024,
  messageCost: 512 * 1024,
  messageOps: 4_096,
  pulls: 4,
  gossipMs: 100,
  greetingMs: 10_000,
}

type Phase = 'closed' | 'greeting' | 'checking' | 'waiting' | 'open'

export class PeerLink {
  readonly peer: string
  private readonly ownName: string
  private readonly lineages: Lineages
  private readonly limits: LinkLimits
  private readonly credit: Credit = { amount: 0 }
  private readonly stream: OpStream
  private readonly donor: StateDonor
  private readonly receiver = new StateReceiver()
  private phase: Phase = 'closed'
  private facts: OwnFacts | undefined
  private hello: Hello | undefined
  private relation: Relation = 'unborn'
  private isPeerReady = false
  private connectedAtMs = 0
  private connections = 0
  private position = 0
  private asked: readonly ChainHead[] = []
  private durable: VersionVector = EMPTY_VECTOR
  private toldDurable: VersionVector = EMPTY_VECTOR
  /** What the peer was last heard to hold. */
  private heard: VersionVector = EMPTY_VECTOR
  private toldAtMs = 0
  private standing: Standing = 'empty'
  private life = 0
  private untoldClaims: Claims = new Map()
  private isUrgent = false
  /** The peer waits for a majority of what it sent. */
  private isPeerUrgent = false
  private unsettled = 0
  private unreturned = 0
  /** Numbers of questions without an answer: the peer's, and ours. */
  private readonly theirAsks = new Set<number>()
  private readonly ourAsks = new Set<number>()

  constructor(options: {
    peer: string
    ownName: string
    lineages: Lineages
    limits?: Partial<LinkLimits>
  }) {
    assert(options.peer !== options.ownName, 'a replica has no link to itself')
    this.peer = options.peer
    this.ownName = options.ownName
    this.lineages = options.lineages
    this.limits = { ...DEFAULT_LINK_LIMITS, ...options.limits }
    const { peer, ownName, lineages, credit, limits } = this
    this.stream = new OpStream({ peer, ownName, lineages, credit, limits })
    this.donor = new StateDonor(credit)
  }

  get isOpen(): boolean {
    return this.phase === 'open'
  }

  step(input: LinkInput): LinkEffect[] {
    const effects: LinkEffect[] = []
    try {
      this.take(input, effects)
      return effects
    } catch (thrown) {
      // A message that no honest peer sends at this moment: it ends this link alone.
      if (!(thrown instanceof CausewayError)) throw thrown
      const kept = effects.filter(({ type }) => type !== 'send')
      this.refuse(thrown, kept)
      return kept
    }
  }

  private take(input: LinkInput, effects: LinkEffect[]): void {
    switch (input.type) {
      case 'connected':
        this.connect(input, effects)
        break
      case 'received':
        if (this.phase !== 'closed') this.receive(input.message, input.nowMs, effects)
        break
      case 'disconnected':
        this.disconnect()
        break
      case 'chains-read':
        this.compareChains(input.chains, effects)
        break
      case 'committed':
        this.commit(input, effects)
        break
      case 'log-read':
        this.stream.logRead(input.answer, effects)
        break
      case 'settled':
        this.settle(input.receipt, effects)
        break
      case 'urgency-changed':
        this.isUrgent = input.isUrgent
        this.stream.isUrgent = input.isUrgent
        break
      case 'standing-changed':
        this.standing = input.standing
        this.life = input.life
        if (this.isOpen) this.tellDurable(0, effects)
        break
      case 'claims-changed':
        this.untoldClaims = new Map([...this.untoldClaims, ...input.claims])
        break
      case 'pull': {
        const { pull, upTo } = input
        // The peer must not take for missing what openings imply that it has not seen: its log may begin above that.
        const beyond = this.lineages.spellOut(input.beyond, this.heard)
        this.sendIfOpen({ type: 'pull', pull, beyond, ...(upTo && { upTo }) }, effects)
        break
      }
      case 'probe':
        this.sendIfOpen({ type: 'probe', probe: input.probe }, effects)
        break
      case 'relay':
        this.sendIfOpen({ type: 'relay', names: input.names }, effects)
        break
      case 'take-state':
        if (this.isOpen && this.hello) this.receiver.take(this.hello.incarnation, effects)
        break
      case 'abandon-state':
        this.receiver.abandon(effects)
        break
      case 'offer-birth':
        this.sendIfOpen(input.message, effects)
        break
      case 'tell':
        this.sendIfOpen(input, effects)
        break
      case 'ask':
        if (this.isOpen) this.ourAsks.add(input.ask)
        this.sendIfOpen(input, effects)
        break
      case 'answer':
        // Of a connection that has ended: the same number may mean another question now, or none.
        if (this.theirAsks.delete(input.ask)) this.sendIfOpen(input, effects)
        break
      case 'cut-opened':
        this.donor.cutOpened(input.transfer, input.cut, effects)
        break
      case 'chunk-read':
        this.donor.chunkRead(input.transfer, input.index, input.bytes, input.isLast, effects)
        break
      case 'chunk-stored':
        this.settle(input.receipt, effects)
        this.receiver.chunkStored(input.index, effects)
        break
      case 'tick':
        this.tick(input.nowMs, effects)
        break
      default:
        unreachable(input)
    }
  }

  // --- handshake ------------------------------------------------------------------------------------------------

  private connect(input: Extract<LinkInput, { type: 'connected' }>, effects: LinkEffect[]): void {
    this.disconnect()
    const { facts, position, nowMs } = input
    this.connections++
    this.phase = 'greeting'
    this.facts = facts
    this.position = position
    this.durable = facts.durable
    this.toldDurable = facts.durable
    this.standing = facts.standing
    this.life = facts.life
    this.untoldClaims = new Map()
    this.connectedAtMs = nowMs
    this.toldAtMs = nowMs
    effects.push({ type: 'send', message: { type: 'hello', ...PEER_VERSIONS, ...facts, window: this.limits.window } })
  }

  private disconnect(): void {
    this.phase = 'closed'
    this.hello = undefined
    this.isPeerReady = false
    this.isPeerUrgent = false
    this.asked = []
    this.unsettled = 0
    this.unreturned = 0
    this.theirAsks.clear()
    this.ourAsks.clear()
    this.credit.amount = 0
    this.stream.close()
    this.donor.disconnected()
  }

  private greet(hello: Hello, effects: LinkEffect[]): void {
    if (this.phase !== 'greeting') throw unexpected('hello')
    const { facts } = this
    assert(facts, 'greeted before connecting')
    if (hello.newest < PEER_VERSIONS.oldest || hello.oldest > PEER_VERSIONS.newest) {
      const [older, ours, theirs] = [
        hello.newest < PEER_VERSIONS.oldest ? hello.name : facts.name,
        PEER_VERSIONS,
        hello,
      ]
      throw new CausewayError('protocol/version-unsupported', {
        older,
        ours: `${ours.oldest}-${ours.newest}`,
        theirs: `${theirs.oldest}-${theirs.newest}`,
      })
    }
    if (hello.name !== this.peer) throw new CausewayError('cell/foreign', { expected: this.peer, name: hello.name })
    this.relation = this.relationTo(hello, facts)
    this.hello = hello
    this.heard = hello.durable
    this.credit.amount = hello.window
    this.phase = 'checking'
    // Each side compares what it holds itself: where the peer is ahead, the peer looks.
    this.asked = hello.heads.filter(({ origin, seq }) => {
      return replicaNameOf(origin) !== COORDINATION_NAME && this.lineages.includes(facts.durable, { origin, seq })
    })
    if (this.asked.length === 0) this.compareChains([], effects)
    else effects.push({ type: 'read-chains', dots: this.asked.map(({ origin, seq }) => ({ origin, seq })) })
  }

  private relationTo(hello: Hello, facts: OwnFacts): Relation {
    if (!hello.identity || !facts.identity) return 'unborn'
    const relation = compareCells(facts.identity, hello.identity)
    if (relation !== 'foreign') return relation
    const [ours, theirs] = [formatCell(facts.identity), formatCell(hello.identity)]
    throw new CausewayError('cell/foreign', { ours, theirs })
  }

  private compareChains(chains: readonly (Uint8Array | undefined)[], effects: LinkEffect[]): void {
    if (this.phase !== 'checking' || chains.length !== this.asked.length) return
    for (const [index, { origin, seq, chain }] of this.asked.entries()) {
      const ours = chains[index]
      // Below the log's start there is nothing to compare with.
      if (!ours || hexOf(ours) === hexOf(chain)) continue
      throw new CausewayError('cell/forked', { origin, seq, ours: hexOf(ours), theirs: hexOf(chain) })
    }
    this.phase = 'waiting'
    effects.push({ type: 'send', message: { type: 'ready' } })
    this.openIfReady(effects)
  }

  private openIfReady(effects: LinkEffect[]): void {
    const { hello } = this
    if (this.phase !== 'waiting' || !this.isPeerReady || !hello) return
    this.phase = 'open'
    if (this.relation === 'same') this.stream.open(hello.durable, this.position)
    effects.push({ type: 'opened', peer: hello, relation: this.relation })
    this.receiver.connected(hello.incarnation, effects)
    // What became durable while the two were greeting, and what the peer cannot know to be implied.
    const isClear = sameVector(this.lineages.spellOut(this.durable, this.heard), this.toldDurable)
    if (!isClear) this.tellDurable(0, effects)
  }

  // --- messages -------------------------------------------------------------------------------------------------

  private receive(message: PeerMessage, nowMs: number, effects: LinkEffect[]): void {
    switch (message.type) {
      case 'hello':
        this.greet(message, effects)
        return
      case 'ready':
        if (this.isPeerReady || this.phase === 'greeting') throw unexpected('ready')
        this.isPeerReady = true
        this.openIfReady(effects)
        return
      case 'refuse':
        effects.push({ type: 'refused', code: message.code, details: message.details })
        return
      default:
        // The peer is open once it has our `ready`, and its own came before anything else.
        if (!this.isOpen) throw unexpected(message.type)
        this.converse(message, nowMs, effects)
    }
  }

  private converse(
    message: Exclude<PeerMessage, { type: 'hello' | 'ready' | 'refuse' }>,
    nowMs: number,
    effects: LinkEffect[],
  ): void {
    switch (message.type) {
      case 'ops':
        this.receiveOps(message, effects)
        break
      case 'credit':
        this.credit.amount += message.amount
        if (this.credit.amount > (this.hello?.window ?? 0)) throw unexpected('credit')
        this.stream.granted(effects)
        this.donor.granted(nowMs, effects)
        break
      case 'pull':
        this.stream.pull(message.pull, message.beyond, message.upTo, effects)
        break
      case 'pulled':
        effects.push({ type: 'pulled', pull: message.pull, outcome: message.outcome })
        break
      case 'durable': {
        const { vector, standing, life, claims, probe } = message
        this.heard = vector
        this.stream.heard(vector)
        effects.push({ type: 'heard', vector, standing, life, claims, probe })
        break
      }
      case 'probe':
        this.tellDurable(message.probe, effects)
        break
      case 'relay':
        this.stream.relay(message.names)
        break
      case 'state-request':
        this.donor.request(message, nowMs, effects)
        break
      case 'state-taken':
        this.donor.taken(message, effects)
        break
      case 'state-begin':
        this.receiver.begun(message, effects)
        break
      case 'state-chunk':
        this.receiveChunk(message, effects)
        break
      case 'state-refused':
        this.receiver.refused(effects)
        break
      case 'birth':
        effects.push({ type: 'birth', message })
        break
      case 'tell':
        effects.push({ ...message, type: 'told' })
        break
      case 'ask':
        this.receiveAsk(message, effects)
        break
      case 'answer':
        if (!this.ourAsks.delete(message.ask)) throw unexpected('answer')
        effects.push({ ...message, type: 'answered' })
        break
      default:
        unreachable(message)
    }
  }

  private receiveAsk(message: Extract<PeerMessage, { type: 'ask' }>, effects: LinkEffect[]): void {
    const { ask } = message
    if (this.theirAsks.has(ask)) throw unexpected('ask')
    if (this.theirAsks.size >= PEER_LIMITS.asks) {
      const code = 'access/too-many-requests'
      effects.push({ type: 'send', message: { type: 'answer', ask, code, answer: new Uint8Array(0) } })
      return
    }
    this.theirAsks.add(ask)
    effects.push({ ...message, type: 'asked' })
  }

  private receiveOps(message: Extract<PeerMessage, { type: 'ops' }>, effects: LinkEffect[]): void {
    // From another life of the cell: what it holds and we lack has to come under new dots.
    if (this.relation !== 'same') throw unexpected('ops')
    const receipt = this.receipt(flowCost(message))
    if (message.urgent) this.isPeerUrgent = true
    effects.push({ type: 'runs', runs: runsOf(message), receipt })
  }

  private receiveChunk(message: Extract<PeerMessage, { type: 'state-chunk' }>, effects: LinkEffect[]): void {
    const receipt = this.receipt(flowCost(message))
    const isWanted = this.receiver.chunk(message, receipt, effects)
    if (!isWanted) this.settle(receipt, effects)
  }

  private receipt(cost: number): Receipt {
    // A message is sent while any credit is left, so one may lie above the window.
    if (this.unsettled >= this.limits.window) throw new CausewayError('protocol/bad-message', { reason: 'over credit' })
    this.unsettled += cost
    return { connection: this.connections, cost }
  }

  private settle({ connection, cost }: Receipt, effects: LinkEffect[]): void {
    // Of one that has ended: its credit ended with it.
    if (connection !== this.connections) return
    this.unsettled -= cost
    this.unreturned += cost
    if (this.unreturned >= this.limits.window / 4) this.returnCredit(effects)
  }

  private returnCredit(effects: LinkEffect[]): void {
    this.sendIfOpen({ type: 'credit', amount: this.unreturned }, effects)
    this.unreturned = 0
  }

  // --- durable vectors ------------------------------------------------------------------------------------------

  private commit(input: Extract<LinkInput, { type: 'committed' }>, effects: LinkEffect[]): void {
    this.durable = input.durable
    this.position = input.position
    this.stream.committed(input.ops, input.position, effects)
    if (this.isOpen && (this.isUrgent || this.isPeerUrgent)) {
      this.isPeerUrgent = false
      this.tellDurable(0, effects)
    }
  }

  private tellDurable(probe: number, effects: LinkEffect[]): void {
    const { standing, life, durable, untoldClaims: claims } = this
    const vector = this.lineages.spellOut(durable, this.heard)
    effects.push({ type: 'send', message: { type: 'durable', probe, standing, life, vector, claims } })
    this.toldDurable = durable
    this.untoldClaims = new Map()
  }

  private tick(nowMs: number, effects: LinkEffect[]): void {
    this.donor.tick(nowMs, effects)
    if (this.phase === 'closed') return
    if (!this.isOpen) {
      if (nowMs - this.connectedAtMs >= this.limits.greetingMs) throw new CausewayError('protocol/timeout')
      return
    }
    if (this.unreturned > 0) this.returnCredit(effects)
    if (nowMs - this.toldAtMs < this.limits.gossipMs) return
    this.toldAtMs = nowMs
    if (this.untoldClaims.size > 0 || !sameVector(this.durable, this.toldDurable)) this.tellDurable(0, effects)
  }

  private sendIfOpen(message: PeerMessage, effects: LinkEffect[]): void {
    if (this.isOpen) effects.push({ type: 'send', message })
  }

  private refuse(error: CausewayError, effects: LinkEffect[]): void {
    const details = JSON.stringify(error.details).slice(0, PEER_LIMITS.refusalBytes)
    effects.push({ type: 'send', message: { type: 'refuse', code: error.code, details } })
    effects.push({ type: 'close', error })
    this.disconnect()
  }
}

/** Each origin's ops of a message. */
function runsOf({ ops, chains }: Extract<PeerMessage, { type: 'ops' }>): Run[] {
  const byOrigin = new Map<OriginId, { ops: (typeof ops)[number][]; bytes: number }>()
  for (const op of ops) {
    const known = byOrigin.get(op.dot.origin)
    if (known) known.ops.push(op)
    const run = known ?? { ops: [op], bytes: 0 }
    run.bytes += opCost(op)
    byOrigin.set(op.dot.origin, run)
  }
  return [...byOrigin].map(([origin, run]) => {
    const chain = chains.get(origin)
    assert(chain, 'decoded ops have their chain values')
    return { origin, chain, ...run }
  })
}

function unexpected(message: string): CausewayError {
  return new CausewayError('protocol/bad-message', { reason: `unexpected ${message}` })
}
