/**
 * One replica's part in its cell, as one pure state machine: it puts together how the cell is born, who may serve, what
 * is delivered and when, whom to ask for what is missing, how far ops are on disk elsewhere, and one link per peer. The
 * host performs the effects and reports what came of them; the simulator drives the same class.
 *
 *   a peer's ops ──▶ causal delivery ──deliver──▶ replica and log ──committed──▶ shown, counted, told to peers
 *
 * Nothing is told to a peer before it is durable here: links see ops only in `committed`.
 */
import { assert, unreachable } from '../../shared/base/assert.js'
import {
  CausalDelivery,
  type CausalEffect,
  type CausalLimits,
  type ChainFunction,
  type Head,
} from '../../shared/causal/delivery.js'
import { heldByCount, MajorityCut, majorityOf, type WriteConcern } from '../../shared/causal/majority-cut.js'
import type { CellIdentity } from '../../shared/clock/cell.js'
import { type Dot, dotKey, formatDot, makeOrigin, type OriginId } from '../../shared/clock/dot.js'
import type { Lineages } from '../../shared/clock/lineages.js'
import { EMPTY_VECTOR, sameVector, type VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { Op } from '../../shared/protocol/op.js'
import type { LoggedOp } from '../../shared/protocol/op-log.js'
import type { Claim, Hello, Standing } from '../../shared/protocol/peer.js'
import type { CellChange, StoredCell, StoredHeads } from '../../shared/protocol/stored-cell.js'
import type { ReplicaView } from '../../shared/session/check.js'
import { Birth, type BirthEffect, ignoredNames } from './birth.js'
import { CatchUp, type CatchUpEffect, type CatchUpLimits } from './catch-up.js'
import type { CellStatus, HeldBack, MemberStatus, Progress } from './cell.js'
import { LagTracker } from './lag.js'
import type { CommittedOp, MemberEffect, MemberInput } from './member-messages.js'
import {
  type LinkEffect,
  type LinkInput,
  type LinkLimits,
  type OwnFacts,
  PeerLink,
  type Relation,
} from './peer-link.js'
import { Recovery, type RecoveryEffect, type RecoveryState } from './recovery.js'
import type { Receipt } from './state-transfer.js'
import { isLost, type MemberReport } from './surplus.js'

export interface MemberLimits {
  readonly causal?: Partial<CausalLimits>
  readonly link?: Partial<LinkLimits>
  readonly catchUp?: Partial<CatchUpLimits>
}

export interface MemberOptions {
  readonly self: string
  /** 16 hex digits, of this process. */
  readonly incarnation: string
  readonly cellName: string
  /** Members by configuration with the addresses at which this replica reaches them, itself included. */
  readonly listed: ReadonlyMap<string, string>
  /** This member begins the cell alone, or adds the listed ones to one that it is alone in. */
  readonly isNewCell: boolean
  /** Random: used where this member draws the cell's identity. */
  readonly drawn: CellIdentity
  readonly stored: StoredCell
  readonly heads: StoredHeads
  readonly position: number
  /** The log was longer once. */
  readonly isRolledBack: boolean
  readonly lineages: Lineages
  readonly chain: ChainFunction
  readonly limits?: MemberLimits
  /** How long a start waits for a peer, who may know that this disk is old, before it serves by itself. */
  readonly serveAloneAfterMs?: number
}

interface Peer {
  readonly link: PeerLink
  connection: number
  isConnected: boolean
  isOpen: boolean
  relation: Relation
  /** Of its process, last heard. */
  origin: OriginId | undefined
  vector: VersionVector
  standing: Standing
  /** The newest probe that it answered on this connection. */
  answered: number
}

const SERVE_ALONE_AFTER_MS = 5_000

const STUCK: RecoveryState = 'stuck: majority lost'
const STUCK_MS = 2_000

/** Claims that changed are written down this often: a start that lost the newest ones hears them again from others. */
const CLAIMS_MS = 250
/** Dots that sessions wait for and nobody may hold: what was asked about each is forgotten beyond so many. */
const QUESTIONS = 256
const ALARMS = 64

export class Member {
  readonly self: string
  readonly origin: OriginId
  readonly lineages: Lineages
  private readonly options: MemberOptions
  private readonly birth: Birth
  private readonly causal: CausalDelivery
  private readonly catchUp: CatchUp
  private readonly cut: MajorityCut
  private readonly lag: LagTracker
  private readonly peers = new Map<string, Peer>()
  private recovery: Recovery | undefined
  private nowMs = 0
  private startedAtMs = 0
  /** Since when a majority is lacking or down, and who lacks something. */
  private stuckSinceMs: number | undefined
  private lacking = ''
  private hasBeenTold = false
  private durable: VersionVector
  private readonly heads: Map<OriginId, Head>
  private floor: VersionVector
  private position: number
  private life: number
  private configEpoch: number
  private members: NonNullable<StoredCell['members']>
  private readonly reoriginated: Map<string, Dot>
  /** Remote ops handed over, and those of them that were committed or dropped. */
  private handedOver = 0
  private settledOps = 0
  private readonly receipts: { readonly peer: string; readonly receipt: Receipt; readonly after: number }[] = []
  /** Writes fail: nothing is handed over. */
  private isPaused = false
  /** A state is being joined: nothing is handed over, and nobody is served. */
  private isJoining = false
  private readonly saves = new Map<number, (effects: MemberEffect[]) => void>()
  private lastSave = 0
  private readonly unsavedClaims = new Map<string, Claim>()
  private claimsSavedAtMs = 0
  private isSavingClaims = false
  private isUrgent = false
  private wasServing = false
  private toldDurable: VersionVector = EMPTY_VECTOR
  private toldCut: VersionVector = EMPTY_VECTOR
  /** A member was heard to have more on disk. */
  private hasHeard = false
  /** The probe that was on its way when a dot was first asked about. */
  private readonly questions = new Map<string, number>()
  private lastProbe = 0
  private wantsProbe = false
  /** Another epoch of the cell is on its way to the disk. */
  private isEntering = false
  private readonly alarmed = new Map<string, { readonly details: string; readonly sinceMs: number }>()

  /** Throws `config/invalid` where the configuration names members that the cell never had. */
  constructor(options: MemberOptions) {
    const { self, lineages, stored, heads } = options
    this.options = options
    this.self = self
    this.lineages = lineages
    this.origin = makeOrigin(self, options.incarnation)
    this.lag = new LagTracker(lineages)
    for (const { dot, predecessor } of heads.openings) lineages.learnOpening(dot, predecessor)
    this.durable = heads.vector
    this.heads = new Map(heads.heads)
    this.floor = heads.floor
    this.position = options.position
    this.life = stored.life
    this.configEpoch = stored.configEpoch
    this.reoriginated = new Map(heads.reoriginated)
    const present = presentMembers(options)
    this.members = { present, removed: stored.members?.removed ?? new Set() }
    this.birth = new Birth({ self, listed: new Set(present.keys()), drawn: options.drawn, stored: stored.birth })
    this.causal = new CausalDelivery({
      own: this.origin,
      lineages,
      chain: options.chain,
      vector: heads.vector,
      heads: heads.heads,
      ...(options.limits?.causal && { limits: options.limits.causal }),
    })
    this.catchUp = new CatchUp({ lineages, ...(options.limits?.catchUp && { limits: options.limits.catchUp }) })
    this.cut = new MajorityCut(lineages)
    this.cut.setActive(new Set(present.keys()))
    for (const name of present.keys()) if (name !== self) this.addPeer(name)
  }

  /** The other members, with the addresses at which this replica reaches them. */
  get peerAddresses(): ReadonlyMap<string, string> {
    return new Map([...this.members.present].filter(([name]) => name !== this.self))
  }

  /** Members that count in majorities. */
  get size(): number {
    return this.peers.size + 1
  }

  /** What is on disk here, and so all that is shown. */
  get durableVector(): VersionVector {
    return this.durable
  }

  /** U. */
  get majorityDurable(): VersionVector {
    // A member alone is the majority.
    return this.isAlone ? (this.recovery ? this.durable : EMPTY_VECTOR) : this.cut.cut
  }

  get identity(): CellIdentity | undefined {
    return this.birth.identity
  }

  /** Whether clients may be served and their edits accepted. */
  get isServing(): boolean {
    return this.recovery?.mayServe === true && !this.isJoining && this.hasMet
  }

  /**
   * Whether somebody has told what this member once claimed, or nobody does in time. A disk that is an old copy looks whole
   * by itself, and strangers without a token would be shown what is long over.
   */
  private get hasMet(): boolean {
    const { serveAloneAfterMs = SERVE_ALONE_AFTER_MS } = this.options
    return this.hasBeenTold || this.isAlone || this.nowMs - this.startedAtMs >= serveAloneAfterMs
  }

  /**
   * Whether what this member has on disk counts in `fresh` reads: as with the vectors that others tell, only `active` ones
   * do. One that has just started may serve and not yet know what it lacks.
   */
  get countsInQuorums(): boolean {
    return this.isServing && this.recovery?.standing === 'active'
  }

  get state(): RecoveryState | 'starting' {
    if (!this.recovery) return 'starting'
    const { state, mayServe } = this.recovery
    if (state === STUCK && this.isStuckForLong) return STUCK
    if (!mayServe) return 'recovering'
    return this.hasMet ? 'ready' : 'starting'
  }

  /** Members that start meet one after the other: for a moment the others seem to be down. */
  private get isStuckForLong(): boolean {
    return this.stuckSinceMs !== undefined && this.nowMs - this.stuckSinceMs >= STUCK_MS
  }

  /** Whether a majority of the members is whole and reachable, this one included. */
  get hasQuorum(): boolean {
    let whole = this.recovery?.mayServe ? 1 : 0
    for (const { isOpen, relation, standing } of this.peers.values()) {
      if (isOpen && relation === 'same' && (standing === 'active' || standing === 'unconfirmed')) whole++
    }
    return whole >= majorityOf(this.size)
  }

  /** What sessions are checked against. Only for a member that belongs to a cell. */
  get view(): ReplicaView {
    const { identity, lineages, durable, majorityDurable } = this
    assert(identity, 'a view of no cell')
    return {
      ...identity,
      configEpoch: this.configEpoch,
      lineages,
      durable,
      majorityDurable,
      isLost: (dot) => this.isLost(dot),
      isReoriginated: (dot) => this.isReoriginated(dot),
    }
  }

  /** How far everything in `seen`, which is durable here, has come. */
  progressOf(seen: VersionVector): Progress {
    const replicas = this.cut.held.filter((vector) => this.lineages.dominates(vector, seen)).length
    const isMajority = this.lineages.dominates(this.majorityDurable, seen)
    return {
      acknowledged: replicas >= this.size ? 'all' : isMajority ? 'majority' : 'local',
      replicas: Math.max(1, replicas, isMajority ? majorityOf(this.size) : 0),
    }
  }

  isReached(seen: VersionVector, concern: WriteConcern): boolean {
    switch (concern) {
      case 'local':
        return true
      case 'majority':
        return this.lineages.dominates(this.majorityDurable, seen)
      default:
        return this.progressOf(seen).replicas >= (concern === 'all' ? this.size : concern)
    }
  }

  /** The highest own seq that has reached the concern: acknowledgements of own ops go by it. */
  reachedSeq(concern: WriteConcern): number {
    const { lineages, origin } = this
    if (concern === 'local') return lineages.valueIn(this.durable, origin)
    if (concern === 'majority') return lineages.valueIn(this.majorityDurable, origin)
    const needed = concern === 'all' ? this.size : concern
    const seqs = this.cut.held.map((vector) => lineages.valueIn(vector, origin))
    return seqs.sort((left, right) => right - left)[needed - 1] ?? 0
  }

  /** The largest of what linked peers are known to have on disk: for who should see at least that. */
  get peersDurable(): VersionVector {
    let most = this.durable
    for (const { isOpen, relation, vector } of this.peers.values()) {
      if (isOpen && relation === 'same') most = this.lineages.merge(most, vector)
    }
    return most
  }

  /**
   * No op above this may go from the log: what a majority holds that is known to lack nothing. Members that have only just
   * started, or lost something, may be short of what they acknowledged before; were logs cut by them, those who still
   * have that could find no log, and no state, that goes together with theirs. Nor anything that a linked peer lacks,
   * unless it lags by more than `maxLagMs`: then it takes the whole state.
   */
  pruneCeiling(maxLagMs: number): VersionVector {
    if (this.isAlone) return this.majorityDurable
    const whole: VersionVector[] = this.countsInQuorums ? [this.durable] : []
    // One that says it is whole may be seen not to be: it does not count in U then.
    const cuts: VersionVector[] = [this.majorityDurable]
    const known = this.peersDurable
    for (const { isOpen, relation, standing, vector } of this.peers.values()) {
      if (!isOpen || relation !== 'same') continue
      if (standing === 'active') whole.push(vector)
      if (this.lag.of(vector, known, this.nowMs).ms <= maxLagMs) cuts.push(vector)
    }
    cuts.push(heldByCount(whole, majorityOf(this.size), this.lineages))
    return heldByCount(cuts, cuts.length, this.lineages)
  }

  /** The number for the next `probe`. */
  get nextProbe(): number {
    return this.lastProbe + 1
  }

  /** Of what is held back. */
  get figures(): CausalDelivery['figures'] {
    return this.causal.figures
  }

  status(): Omit<CellStatus, 'state'> & { readonly state: RecoveryState | 'starting' } {
    const { identity } = this
    const known = this.peersDurable
    const urls = this.options.listed
    const members: MemberStatus[] = [...this.peers].map(([name, { isOpen, relation, standing, vector }]) => {
      const { ops, ms } = this.lag.of(vector, known, this.nowMs)
      const reachable = isOpen && relation === 'same'
      const url = urls.get(name)
      return { name, ...(url && { url }), state: stateOf(standing), reachable, durable: vector, lagOps: ops, lagMs: ms }
    })
    const own = this.lag.of(this.durable, known, this.nowMs)
    const ownUrl = urls.get(this.self)
    members.push({
      name: this.self,
      ...(ownUrl && { url: ownUrl }),
      state: stateOf(this.recovery?.standing ?? 'empty'),
      reachable: true,
      durable: this.durable,
      lagOps: own.ops,
      lagMs: own.ms,
    })
    members.sort((left, right) => (left.name < right.name ? -1 : 1))
    return {
      name: this.options.cellName,
      ...(identity && { id: identity.cell }),
      epoch: identity?.epoch.ordinal ?? 0,
      configEpoch: this.configEpoch,
      self: this.self,
      state: this.state,
      members,
      majorityDurable: this.majorityDurable,
      heldBack: this.heldBack(),
      alarms: [...this.alarmed].map(([alarm, { details, sinceMs }]) => ({ alarm, details, sinceMs })),
    }
  }

  /** Ops that wait here for their causes, the first of each origin. */
  heldBack(): readonly HeldBack[] {
    return this.causal.blocked.map(({ dot, sinceMs, waitsFor }) => {
      return { replica: this.self, dot, waitsFor, waitedMs: Math.max(0, Math.round(this.nowMs - sinceMs)) }
    })
  }

  step(input: MemberInput): MemberEffect[] {
    const effects: MemberEffect[] = []
    if ('nowMs' in input) this.nowMs = input.nowMs
    this.take(input, effects)
    this.tell(effects)
    return effects
  }

  private take(input: MemberInput, effects: MemberEffect[]): void {
    switch (input.type) {
      case 'start':
        this.startedAtMs = this.nowMs
        this.start(effects)
        break
      case 'connected': {
        const peer = this.peers.get(input.peer)
        if (!peer) break
        peer.isConnected = true
        peer.connection++
        const { position, nowMs } = this
        this.link(input.peer, { type: 'connected', facts: this.factsFor(input.peer), position, nowMs }, effects)
        break
      }
      case 'received':
        this.link(input.peer, { type: 'received', message: input.message, nowMs: this.nowMs }, effects)
        break
      case 'disconnected':
        this.disconnect(input.peer, effects)
        break
      case 'committed':
        this.committed(input.ops, input.position, effects)
        break
      case 'commit-failed':
        this.isPaused = true
        this.rewind(effects)
        break
      case 'writable-again':
        this.isPaused = false
        this.perform(this.causalTick(), effects)
        break
      case 'pruned':
        this.floor = input.floor
        this.advanceCatchUp(effects)
        break
      case 'chains-read':
        if (this.peers.get(input.peer)?.connection === input.connection) {
          this.link(input.peer, { type: 'chains-read', chains: input.chains }, effects)
        }
        break
      case 'log-read':
        this.link(input.peer, { type: 'log-read', answer: input.answer }, effects)
        break
      case 'cut-opened': {
        const { peer, transfer, cut } = input
        this.link(peer, { type: 'cut-opened', transfer, cut }, effects)
        break
      }
      case 'chunk-read': {
        const { peer, transfer, index, bytes, isLast } = input
        this.link(peer, { type: 'chunk-read', transfer, index, bytes, isLast }, effects)
        break
      }
      case 'chunk-stored': {
        const { peer, index, receipt } = input
        this.perform(this.catchUp.step({ type: 'arrived', peer, nowMs: this.nowMs }), effects)
        this.link(peer, { type: 'chunk-stored', index, receipt }, effects)
        break
      }
      case 'state-joined':
        this.joined(input.heads, input.position, effects)
        break
      case 'state-join-failed':
        this.isJoining = false
        this.rewind(effects)
        this.perform(this.catchUp.step({ type: 'state-ended', isJoined: false, nowMs: this.nowMs }), effects)
        break
      case 'cell-stored': {
        const then = this.saves.get(input.save)
        this.saves.delete(input.save)
        then?.(effects)
        break
      }
      case 'urgency-changed':
        if (this.isUrgent === input.isUrgent) break
        this.isUrgent = input.isUrgent
        for (const name of this.peers.keys()) this.link(name, input, effects)
        break
      case 'probe':
        this.probe(input.probe, effects)
        break
      case 'talk':
        this.link(input.peer, input.message, effects)
        break
      case 'force-recover':
        this.forceRecover(input.epoch, effects)
        break
      case 'remove-member':
        this.removeMember(input.name, effects)
        break
      case 'tick':
        this.tick(effects)
        break
      default:
        unreachable(input)
    }
  }

  // --- birth ----------------------------------------------------------------------------------------------------

  private start(effects: MemberEffect[]): void {
    const { stored, isNewCell } = this.options
    this.perform(this.catchUp.step({ type: 'members-changed', names: new Set(this.peers.keys()) }), effects)
    this.advanceCatchUp(effects)
    if (stored.birth?.isBorn) {
      const { members } = this
      const isGrowing = members.present.size > (stored.members?.present.size ?? members.present.size)
      if (isGrowing) {
        this.save({ members }, effects, (then) => this.begin(this.diskFound(), then))
      } else this.begin(stored.isRecovering ? 'empty' : this.diskFound(), effects)
    } else this.performBirth(isNewCell ? this.birth.beginAlone() : this.birth.start(), effects)
  }

  private diskFound(): 'whole' | 'rolled-back' {
    return this.options.isRolledBack ? 'rolled-back' : 'whole'
  }

  private performBirth(births: readonly BirthEffect[], effects: MemberEffect[]): void {
    for (const effect of births) {
      switch (effect.type) {
        case 'store': {
          const { members } = this
          this.save({ birth: effect.birth, members }, effects, (then) =>
            this.performBirth(this.birth.step({ type: 'stored' }), then),
          )
          break
        }
        case 'offer': {
          const { peer, identity, isBorn } = effect
          this.link(peer, { type: 'offer-birth', message: { type: 'birth', identity, isBorn } }, effects)
          break
        }
        case 'born':
          if (effect.how === 'joined') {
            this.save({ isRecovering: true }, effects, (then) => this.begin('empty', then))
          } else this.begin(this.diskFound(), effects, true)
          // Those that were greeted before knew of no cell here.
          for (const [name, peer] of this.peers) if (peer.isConnected) this.reconnect(name, effects)
          break
        case 'refuse':
          this.alarm('foreign-cell', `${effect.peer} ${JSON.stringify(effect.error.details)}`, effects)
          effects.push({ type: 'close', peer: effect.peer, error: effect.error })
          break
        default:
          unreachable(effect)
      }
    }
  }

  /** This member belongs to a cell from now on. */
  private begin(disk: 'whole' | 'rolled-back' | 'empty', effects: MemberEffect[], isNewborn = false): void {
    const { self, lineages, durable, life } = this
    const active = new Set([self, ...this.peers.keys()])
    const { claims, hasLost } = this.options.stored
    this.recovery = new Recovery({ self, active, lineages, durable, disk, life, claims, hasLost, isNewborn })
    this.performRecovery(this.recovery.start(), effects)
  }

  private reconnect(name: string, effects: MemberEffect[]): void {
    effects.push({ type: 'close', peer: name })
    this.disconnect(name, effects)
  }

  // --- links ----------------------------------------------------------------------------------------------------

  private addPeer(name: string): void {
    const { self, lineages, options } = this
    const link = new PeerLink({
      peer: name,
      ownName: self,
      lineages,
      ...(options.limits?.link && { limits: options.limits.link }),
    })
    this.peers.set(name, {
      link,
      connection: 0,
      isConnected: false,
      isOpen: false,
      relation: 'unborn',
      origin: undefined,
      vector: EMPTY_VECTOR,
      standing: 'empty',
      answered: 0,
    })
  }

  private factsFor(peer: string): OwnFacts {
    const { identity, life, self, options, recovery } = this
    const claims = recovery?.remembered ?? options.stored.claims
    const durable = this.lineages.spellOut(this.durable, claims.get(peer)?.vector ?? EMPTY_VECTOR)
    const heads = []
    for (const origin of durable.keys()) {
      const head = this.heads.get(origin)
      if (head) heads.push({ origin, ...head })
    }
    return {
      ...(identity && { identity }),
      configEpoch: this.configEpoch,
      name: self,
      incarnation: options.incarnation,
      standing: recovery?.standing ?? 'empty',
      life,
      durable,
      heads,
      claims,
    }
  }

  private link(name: string, input: LinkInput, effects: MemberEffect[]): void {
    const peer = this.peers.get(name)
    if (peer) this.performLink(name, peer, peer.link.step(input), effects)
  }

  private performLink(name: string, peer: Peer, linked: readonly LinkEffect[], effects: MemberEffect[]): void {
    for (const effect of linked) {
      switch (effect.type) {
        case 'send':
          effects.push({ type: 'send', peer: name, message: effect.message })
          break
        case 'read-chains':
          effects.push({ type: 'read-chains', peer: name, connection: peer.connection, dots: effect.dots })
          break
        case 'read-log':
          effects.push({ type: 'read-log', peer: name, read: effect.read, range: effect.range })
          break
        case 'open-cut':
        case 'read-chunk':
        case 'close-cut':
          effects.push({ ...effect, peer: name })
          break
        case 'begin-state':
          effects.push({ type: 'begin-state' })
          break
        case 'discard-state':
          effects.push({ type: 'discard-state' })
          break
        case 'store-chunk':
          effects.push({ ...effect, peer: name })
          break
        case 'join-state':
          this.isJoining = true
          effects.push(effect)
          break
        case 'state-failed':
          this.perform(this.catchUp.step({ type: 'state-ended', isJoined: false, nowMs: this.nowMs }), effects)
          break
        case 'opened':
          this.opened(name, peer, effect.peer, effect.relation, effects)
          break
        case 'heard':
          this.heard(name, peer, effect, effects)
          break
        case 'runs':
          this.takeRuns(name, effect, effects)
          break
        case 'pulled': {
          const { pull, outcome } = effect
          this.perform(this.catchUp.step({ type: 'pulled', peer: name, pull, outcome, nowMs: this.nowMs }), effects)
          break
        }
        case 'birth': {
          const { identity, isBorn } = effect.message
          this.performBirth(this.birth.step({ type: 'offered', peer: name, identity, isBorn }), effects)
          break
        }
        case 'told':
        case 'asked':
        case 'answered':
          effects.push({ type: 'talked', peer: name, talk: effect })
          break
        case 'refused':
          // Told where the connection ends, which follows.
          break
        case 'close':
          if (effect.error.code === 'cell/forked' || effect.error.code === 'cell/foreign') {
            this.alarm(effect.error.code.replace('/', '-'), `${name} ${JSON.stringify(effect.error.details)}`, effects)
          }
          effects.push({ type: 'close', peer: name, error: effect.error })
          this.disconnect(name, effects)
          break
        default:
          unreachable(effect)
      }
    }
  }

  private opened(name: string, peer: Peer, hello: Hello, relation: Relation, effects: MemberEffect[]): void {
    peer.isOpen = true
    peer.relation = relation
    peer.answered = 0
    peer.origin = makeOrigin(name, hello.incarnation)
    const own = hello.claims.get(this.self)
    const knowsUs = (own !== undefined && own.vector.size > 0) || [...hello.durable.keys()].some(isOf(this.self))
    const isBorn = hello.standing !== 'empty'
    const { identity } = hello
    this.performBirth(this.birth.step({ type: 'met', peer: name, identity, isBorn, knowsUs }), effects)
    if (relation === 'newer' && identity && isBorn && this.birth.isBorn) this.follow(identity, effects)
    // Closed again by what was just decided.
    if (!peer.isOpen || relation !== 'same') return
    const { durable, standing, life, claims } = hello
    if (this.isUrgent) this.link(name, { type: 'urgency-changed', isUrgent: true }, effects)
    this.heard(name, peer, { vector: durable, standing, life, claims, probe: 0 }, effects)
    const { nowMs } = this
    this.perform(this.catchUp.step({ type: 'link-opened', peer: name, vector: durable, nowMs }), effects)
    effects.push({ type: 'linked', peer: name })
  }

  private heard(
    name: string,
    peer: Peer,
    told: Pick<Extract<LinkEffect, { type: 'heard' }>, 'vector' | 'standing' | 'life' | 'claims' | 'probe'>,
    effects: MemberEffect[],
  ): void {
    if (peer.relation !== 'same') return
    this.hasBeenTold = true
    const { vector, standing, life, claims, probe } = told
    this.hasHeard ||= !sameVector(peer.vector, vector)
    peer.vector = vector
    peer.standing = standing
    peer.answered = Math.max(peer.answered, probe)
    for (const [origin, seq] of vector) this.lag.saw(origin, seq, this.nowMs)
    if (this.recovery) {
      this.performRecovery(this.recovery.step({ type: 'heard', peer: name, vector, standing, life, claims }), effects)
    }
    this.perform(this.catchUp.step({ type: 'heard', peer: name, vector }), effects)
    if (probe > 0) effects.push({ type: 'vector-told', peer: name, probe, vector, standing })
  }

  private disconnect(name: string, effects: MemberEffect[]): void {
    const peer = this.peers.get(name)
    if (!peer?.isConnected) return
    const wasLinked = peer.isOpen && peer.relation === 'same'
    peer.isConnected = false
    peer.isOpen = false
    this.performLink(name, peer, peer.link.step({ type: 'disconnected' }), effects)
    this.performBirth(this.birth.step({ type: 'lost', peer: name }), effects)
    if (!wasLinked) return
    if (this.recovery) this.performRecovery(this.recovery.step({ type: 'lost', peer: name }), effects)
    if (this.mayDeliver) this.perform(this.causal.step({ type: 'peer-lost', peer: name }), effects)
    this.perform(this.catchUp.step({ type: 'link-closed', peer: name, nowMs: this.nowMs }), effects)
    effects.push({ type: 'unlinked', peer: name })
  }

  // --- ops ------------------------------------------------------------------------------------------------------

  private get isAlone(): boolean {
    return this.peers.size === 0
  }

  private get mayDeliver(): boolean {
    return !this.isPaused && !this.isJoining
  }

  private takeRuns(
    from: string,
    { runs, receipt }: Extract<LinkEffect, { type: 'runs' }>,
    effects: MemberEffect[],
  ): void {
    const { nowMs } = this
    this.perform(this.catchUp.step({ type: 'arrived', peer: from, nowMs }), effects)
    const before = this.handedOver
    // Dropped otherwise: it is seen to be missing afterwards, and fetched.
    if (this.mayDeliver) this.perform(this.causal.step({ type: 'runs-received', from, runs, nowMs }), effects)
    if (this.handedOver > before) this.receipts.push({ peer: from, receipt, after: this.handedOver })
    // What is held back has a bound of its own.
    else this.link(from, { type: 'settled', receipt }, effects)
  }

  private committed(ops: readonly CommittedOp[], position: number, effects: MemberEffect[]): void {
    const last = ops.at(-1)
    assert(last, 'a commit of no ops')
    this.position = position
    if (this.isAlone) {
      this.committedAlone(ops)
    } else {
      const first = position - ops.length + 1
      const logged = ops.map((committed, index) => this.note(committed, first + index, effects))
      for (const name of this.peers.keys()) {
        this.link(name, { type: 'committed', ops: logged, position, durable: this.durable }, effects)
      }
      this.settleReceipts(effects)
      this.advanceCatchUp(effects)
    }
    if (this.recovery) this.performRecovery(this.recovery.step({ type: 'durable', vector: this.durable }), effects)
  }

  /** Nobody asks for chain values, and nothing can come between own ops. */
  private committedAlone(ops: readonly CommittedOp[]): void {
    const durable = new Map(this.durable)
    for (const { op } of ops) {
      if (op.kind === 'open') this.learnOwnOpening(op, durable)
      if (op.kind === 're-originated') this.noteReoriginated(op)
    }
    const { dot } = ops.at(-1)!.op
    durable.set(dot.origin, dot.seq)
    this.durable = durable
  }

  private learnOwnOpening(op: Extract<Op, { kind: 'open' }>, durable: Map<OriginId, number>): void {
    this.lineages.learnOpening(op.dot, op.predecessor)
    if (op.predecessor && durable.get(op.predecessor.origin) === op.predecessor.seq) {
      durable.delete(op.predecessor.origin)
    }
  }

  private note({ op, from, chain }: CommittedOp, position: number, effects: MemberEffect[]): LoggedOp {
    const { origin, seq } = op.dot
    const isOwn = from === undefined
    const value = chain ?? this.options.chain(this.heads.get(origin)?.chain, op)
    if (isOwn) this.perform(this.causal.step({ type: 'own-committed', op, chain: value }), effects)
    else this.settledOps++
    const durable = new Map(this.durable)
    if (op.kind === 'open') this.learnOwnOpening(op, durable)
    durable.set(origin, seq)
    this.durable = durable
    this.heads.set(origin, { seq, chain: value })
    this.lag.saw(origin, seq, this.nowMs)
    if (op.kind === 're-originated') this.noteReoriginated(op)
    return { op, chain: value, position, ...(from !== undefined && { from }) }
  }

  private noteReoriginated({ dot, was }: Extract<Op, { kind: 're-originated' }>): void {
    this.reoriginated.set(dotKey(was), dot)
    if (this.reoriginated.size > REORIGINATED_KEPT) {
      this.reoriginated.delete(this.reoriginated.keys().next().value!)
    }
  }

  private settleReceipts(effects: MemberEffect[]): void {
    while (this.receipts.length > 0 && this.receipts[0]!.after <= this.settledOps) {
      const { peer, receipt } = this.receipts.shift()!
      this.link(peer, { type: 'settled', receipt }, effects)
    }
  }

  /** What was handed over and not committed is gone: it is fetched again. */
  private rewind(effects: MemberEffect[]): void {
    this.settledOps = this.handedOver
    this.perform(this.causal.step({ type: 'rewound', vector: this.durable, heads: this.heads }), effects)
    this.settleReceipts(effects)
    this.advanceCatchUp(effects)
  }

  private perform(done: readonly (CausalEffect | CatchUpEffect)[], effects: MemberEffect[]): void {
    for (const effect of done) {
      switch (effect.type) {
        case 'deliver':
          // Handed over again afterwards: the cut goes back to what is durable then.
          if (this.isJoining) break
          this.handedOver += effect.ops.length
          effects.push(effect)
          break
        case 'request': {
          const { from, beyond, upTo } = effect
          this.perform(this.catchUp.step({ type: 'blocked', peer: from, beyond, upTo }), effects)
          break
        }
        case 'refuse-peer':
          this.alarm('cell-forked', `${effect.peer} ${JSON.stringify(effect.error.details)}`, effects)
          effects.push({ type: 'close', peer: effect.peer, error: effect.error })
          this.disconnect(effect.peer, effects)
          break
        case 'surplus':
          this.alarm('surplus', `${effect.peer} holds ${formatDot(effect.dot)}`, effects)
          break
        case 'pull': {
          const { peer, pull, beyond, upTo } = effect
          this.link(peer, { type: 'pull', pull, beyond, ...(upTo && { upTo }) }, effects)
          break
        }
        case 'relay':
          this.link(effect.peer, { type: 'relay', names: effect.names }, effects)
          break
        case 'take-state':
          this.link(effect.peer, { type: 'take-state' }, effects)
          break
        case 'abandon-state':
          this.link(effect.peer, { type: 'abandon-state' }, effects)
          break
        default:
          unreachable(effect)
      }
    }
  }

  private causalTick(): readonly CausalEffect[] {
    return this.mayDeliver ? this.causal.step({ type: 'tick', nowMs: this.nowMs }) : []
  }

  private advanceCatchUp(effects: MemberEffect[]): void {
    const { floor, nowMs } = this
    this.perform(this.catchUp.step({ type: 'advanced', cut: this.causal.cut, floor, nowMs }), effects)
  }

  // --- state transfer -------------------------------------------------------------------------------------------

  private joined(stored: StoredHeads, position: number, effects: MemberEffect[]): void {
    this.isJoining = false
    for (const { dot, predecessor } of stored.openings) this.lineages.learnOpening(dot, predecessor)
    this.durable = stored.vector
    this.heads.clear()
    for (const [origin, head] of stored.heads) this.heads.set(origin, head)
    for (const [was, dot] of stored.reoriginated) this.reoriginated.set(was, dot)
    this.floor = stored.floor
    this.position = position
    for (const [origin, seq] of stored.vector) this.lag.saw(origin, seq, this.nowMs)
    this.perform(this.causal.step({ type: 'rewound', vector: stored.vector, heads: this.heads }), effects)
    for (const name of this.peers.keys()) {
      this.link(name, { type: 'committed', ops: [], position, durable: this.durable }, effects)
    }
    this.advanceCatchUp(effects)
    this.perform(this.catchUp.step({ type: 'state-ended', isJoined: true, nowMs: this.nowMs }), effects)
    if (this.recovery) this.performRecovery(this.recovery.step({ type: 'durable', vector: this.durable }), effects)
  }

  // --- recovery -------------------------------------------------------------------------------------------------

  private performRecovery(done: readonly RecoveryEffect[], effects: MemberEffect[]): void {
    for (const effect of done) {
      switch (effect.type) {
        case 'remember':
          for (const [name, claim] of effect.claims) this.unsavedClaims.set(name, claim)
          for (const name of this.peers.keys()) {
            this.link(name, { type: 'claims-changed', claims: effect.claims }, effects)
          }
          break
        case 'standing': {
          const { standing, life } = effect
          this.life = life
          const hasLost = standing === 'lacking'
          const isRecovering = standing === 'recovering' || hasLost
          const claims = new Map(this.unsavedClaims)
          this.unsavedClaims.clear()
          this.save({ life, isRecovering, hasLost, claims }, effects, (then) => {
            for (const name of this.peers.keys()) this.link(name, { type: 'standing-changed', standing, life }, then)
          })
          break
        }
        case 'counts':
          this.cut.report(effect.name, effect.vector)
          break
        case 'state':
          this.stuckSinceMs = effect.state === STUCK ? this.nowMs : undefined
          if (effect.state !== STUCK) this.alarmed.delete('majority-lost')
          break
        case 'alarm':
          if (effect.alarm === 'majority-lost') this.lacking = effect.details
          else this.alarm(effect.alarm, effect.details, effects)
          break
        default:
          unreachable(effect)
      }
    }
  }

  private save(change: CellChange, effects: MemberEffect[], then: (effects: MemberEffect[]) => void): void {
    const save = ++this.lastSave
    this.saves.set(save, then)
    effects.push({ type: 'store-cell', save, change })
  }

  private alarm(alarm: string, details: string, effects: MemberEffect[]): void {
    if (this.alarmed.get(alarm)?.details === details || this.alarmed.size >= ALARMS) return
    this.alarmed.set(alarm, { details, sinceMs: Math.round(this.nowMs) })
    effects.push({ type: 'alarm', alarm, details })
  }

  // --- by command -----------------------------------------------------------------------------------------------

  /** Why loss cannot be accepted here now; undefined where it can. */
  get refusalToForce(): CausewayError | undefined {
    if (!this.recovery) return new CausewayError('cell/starting')
    const { state } = this.recovery
    if (state === 'ready') return new CausewayError('cell/nothing-to-recover')
    return undefined
  }

  /**
   * Goes on with what is here. Where no whole member is linked, the cell begins a new epoch with this one: tokens are
   * reset, clients offer again what they have, and whoever comes back from an older epoch follows.
   */
  private forceRecover(epoch: string, effects: MemberEffect[]): void {
    const { identity } = this
    if (this.refusalToForce || !identity) return
    if (this.hasWholePeer) {
      this.save({ forgetsClaims: true }, effects, (then) =>
        this.performRecovery(this.recovery!.step({ type: 'forced' }), then),
      )
      return
    }
    const next: CellIdentity = { cell: identity.cell, epoch: { ordinal: identity.epoch.ordinal + 1, id: epoch } }
    this.enter(next, 'forced', effects)
  }

  private get hasWholePeer(): boolean {
    return [...this.peers.values()].some(({ isOpen, relation, standing }) => {
      return isOpen && relation === 'same' && (standing === 'active' || standing === 'unconfirmed')
    })
  }

  /** The cell went on in a newer epoch: its state is joined as any other, and what only this member has is told to it. */
  private follow(identity: CellIdentity, effects: MemberEffect[]): void {
    this.alarm('cell-went-on', `epoch ${identity.epoch.ordinal}`, effects)
    this.enter(identity, 'epoch-changed', effects)
  }

  private enter(identity: CellIdentity, how: 'forced' | 'epoch-changed', effects: MemberEffect[]): void {
    if (this.isEntering) return
    this.isEntering = true
    this.unsavedClaims.clear()
    this.save({ birth: { identity, isBorn: true }, hasLost: false, forgetsClaims: true }, effects, (then) => {
      this.isEntering = false
      this.birth.moveTo(identity)
      this.performRecovery(this.recovery!.step({ type: how }), then)
      for (const [name, peer] of this.peers) if (peer.isConnected) this.reconnect(name, then)
    })
  }

  /** Why a member cannot be taken out now; undefined where it can. */
  refusalToRemove(name: string): CausewayError | undefined {
    if (!this.recovery) return new CausewayError('cell/starting')
    if (name === this.self || !this.peers.has(name)) return new CausewayError('request/not-found', { member: name })
    const rest = [...this.peers].filter(([other]) => other !== name)
    const vectors = rest.flatMap(([, { isOpen, relation, standing, vector }]) => {
      return isOpen && relation === 'same' && (standing === 'active' || standing === 'unconfirmed') ? [vector] : []
    })
    if (this.recovery.mayServe) vectors.push(this.durable)
    const needed = majorityOf(rest.length + 1)
    // What was told to be on a majority has to be on a majority of those who stay.
    const isKept = this.lineages.dominates(heldByCount(vectors, needed, this.lineages), this.majorityDurable)
    if (vectors.length >= needed && isKept) return undefined
    return new CausewayError('cell/quorum-at-risk', { member: name, whole: vectors.length, needed })
  }

  private removeMember(name: string, effects: MemberEffect[]): void {
    if (this.refusalToRemove(name)) return
    const present = new Map(this.members.present)
    present.delete(name)
    this.members = { present, removed: new Set([...this.members.removed, name]) }
    this.configEpoch++
    const { members, configEpoch } = this
    this.save({ members, configEpoch }, effects, (then) => {
      this.disconnect(name, then)
      this.peers.delete(name)
      const active = new Set(present.keys())
      then.push({ type: 'removed', peer: name })
      this.perform(this.catchUp.step({ type: 'members-changed', names: new Set(this.peers.keys()) }), then)
      this.performRecovery(this.recovery!.step({ type: 'members-changed', active }), then)
      this.cut.setActive(active)
      this.hasHeard = true
    })
  }

  // --- time -----------------------------------------------------------------------------------------------------

  private tick(effects: MemberEffect[]): void {
    this.perform(this.causalTick(), effects)
    for (const name of this.peers.keys()) this.link(name, { type: 'tick', nowMs: this.nowMs }, effects)
    if (!this.isAlone) {
      this.advanceCatchUp(effects)
      if (this.mayDeliver) this.perform(this.catchUp.step({ type: 'tick', nowMs: this.nowMs }), effects)
    }
    if (this.isStuckForLong) this.alarm('majority-lost', this.lacking, effects)
    if (this.wantsProbe) {
      this.wantsProbe = false
      this.probe(this.nextProbe, effects)
    }
    this.saveClaims(effects)
  }

  private probe(probe: number, effects: MemberEffect[]): void {
    this.lastProbe = Math.max(this.lastProbe, probe)
    for (const name of this.peers.keys()) this.link(name, { type: 'probe', probe }, effects)
  }

  private saveClaims(effects: MemberEffect[]): void {
    if (this.unsavedClaims.size === 0 || this.isSavingClaims || this.isPaused) return
    if (this.nowMs - this.claimsSavedAtMs < CLAIMS_MS) return
    this.claimsSavedAtMs = this.nowMs
    this.isSavingClaims = true
    const claims = new Map(this.unsavedClaims)
    this.unsavedClaims.clear()
    this.save({ claims }, effects, () => {
      this.isSavingClaims = false
    })
  }

  /** Says once what has moved by an input. */
  private tell(effects: MemberEffect[]): void {
    const { isServing, durable, majorityDurable } = this
    if (isServing !== this.wasServing) {
      this.wasServing = isServing
      effects.push({ type: 'serving', isServing })
    }
    const isUnmoved = sameVector(durable, this.toldDurable) && sameVector(majorityDurable, this.toldCut)
    if (isUnmoved && !this.hasHeard) return
    this.hasHeard = false
    this.toldDurable = durable
    this.toldCut = majorityDurable
    effects.push({ type: 'advanced' })
  }

  // --- what is lost ---------------------------------------------------------------------------------------------

  private isReoriginated(dot: Dot): boolean {
    const now = this.reoriginated.get(dotKey(dot))
    return now !== undefined && this.lineages.includes(this.durable, now)
  }

  /** Only what members told after the question came up may say that nobody holds an op. */
  private isLost(dot: Dot): boolean {
    const key = dotKey(dot)
    const asked = this.questions.get(key)
    if (asked === undefined) {
      if (this.questions.size >= QUESTIONS) this.questions.clear()
      this.questions.set(key, this.lastProbe + 1)
      this.wantsProbe = true
      return false
    }
    const reports: (MemberReport | undefined)[] = [{ name: this.self, durable: this.durable, origin: this.origin }]
    for (const [name, { isOpen, relation, origin, vector, answered }] of this.peers) {
      const isKnown = isOpen && relation === 'same' && origin !== undefined && answered >= asked
      reports.push(isKnown ? { name, durable: vector, origin } : undefined)
    }
    if (reports.includes(undefined)) this.wantsProbe = true
    return isLost(dot, reports, this.lineages)
  }
}

/** Re-originated ops of which the first dot is remembered here. */
const REORIGINATED_KEPT = 100_000

/** For people. */
function stateOf(standing: Standing): MemberStatus['state'] {
  if (standing === 'unconfirmed') return 'active'
  return standing === 'empty' || standing === 'lacking' ? 'recovering' : standing
}

function isOf(name: string): (origin: OriginId) => boolean {
  return (origin) => origin.startsWith(`${name}.`)
}

/** The members of this start: what is stored wins over what is configured. */
function presentMembers({ self, listed, stored, isNewCell }: MemberOptions): ReadonlyMap<string, string> {
  if (!stored.members) return listed
  const { present, removed } = stored.members
  const isGrowing = isNewCell && present.size === 1 && present.has(self)
  if (isGrowing) return new Map([...listed].filter(([name]) => !removed.has(name)))
  ignoredNames(new Set(listed.keys()), { present: new Set(present.keys()), removed })
  return new Map([...present].map(([name, url]) => [name, listed.get(name) ?? url]))
}
