/**
 * A replica of the production cell: a thin shell around the very classes that a real process runs (`Member`, `Replica`,
 * `Acknowledgements`, the checks of sessions), as `cell-host.ts` and `document-host.ts` are. It performs their effects on
 * a simulated machine, and reports what happens; it holds no rule of its own.
 */
import * as Y from 'yjs'
import { agrees } from '../../../server/document/agrees.js'
import { compact } from '../../../server/document/compact.js'
import { fingerprintOf } from '../../../server/document/fingerprint.js'
import { Acknowledgements } from '../../../server/host/acknowledgements.js'
import { Member } from '../../../server/replica/member.js'
import type { MemberEffect, MemberInput } from '../../../server/replica/member-messages.js'
import type { OpenDocument } from '../../../server/replica/open-document.js'
import { Replica, type ReplicaEffect, type ReplicaInput } from '../../../server/replica/replica.js'
import { chainAfter } from '../../../server/storage/op-row.js'
import { assert, unreachable } from '../../../shared/base/assert.js'
import type { DeliveredOp } from '../../../shared/causal/delivery.js'
import type { CellId } from '../../../shared/clock/cell.js'
import { incarnationOf, makeOrigin, type OriginId, replicaNameOf } from '../../../shared/clock/dot.js'
import { EMPTY_VECTOR, hexOf, sameVector, type VersionVector } from '../../../shared/clock/version-vector.js'
import { CausewayError } from '../../../shared/errors/error.js'
import { type Op, partsOf } from '../../../shared/protocol/op.js'
import type { PeerMessage } from '../../../shared/protocol/peer.js'
import type { CellChange } from '../../../shared/protocol/stored-cell.js'
import {
  checkRelease,
  checkSession,
  freshQuorum,
  freshTarget,
  nextToken,
  type SessionRequest,
} from '../../../shared/session/check.js'
import { decodeToken, encodeToken, type SessionToken } from '../../../shared/session/token.js'
import type { ConnectionId, Input, Machine, SyncId } from '../../../shared/simulator/program.js'
import type { ReplicaProgram, ReplicaSetup } from '../cell-under-test.js'
import type { Concern, Contents, ServerEvent, WriteId } from '../history.js'
import { type JournalRecord, LogModel, type StateImage, type Surplus } from './log-model.js'
import type { Message, OfferedWrite, RefusalCode, Seen, Stored } from './messages.js'
import { type Mutant, mutateMember, mutateReplica } from './mutants.js'
import { SESSION_KEYS } from './session-keys.js'

const TICK_MS = 50
const BOOT_MS = 300
const PROBE_MS = 500
const MOST_WAIT_MS = 1_000
const PRUNE_EVERY_TICKS = 20
const PRINT_EVERY_TICKS = 60
/** A linked peer that lags by more pins no log. */
const PINNED_LAG_MS = 2_000
const LOG_LENGTH = 20
const BATCHES_AT_LOG = 3
const CUTS = 2
/** How often the log cannot be read, and a state neither given nor joined. */
const READ_FAILURE_CHANCE = 0.01
const STATE_FAILURE_CHANCE = 0.1
/** How often a process runs with next to no room, so that credit runs out and what is held back is dropped. */
const TIGHT_CHANCE = 0.3
const TIGHT_LIMITS = {
  causal: { ops: 12, bytes: 10_000 },
  link: { window: 4_000, messageCost: 1_500, messageOps: 3, pulls: 1 },
}
/** How often a tick closes a document that rests. */
const CLOSE_CHANCE = 0.005

/** States that travel, by the number that their chunks bear: of one run. */
export type Images = Map<number, StateImage>

interface Peer {
  readonly name: string
  connection: ConnectionId | undefined
  isOpen: boolean
}

/** One client's connection. */
interface Lane {
  readonly name: string
  readonly connection: ConnectionId
  isGreeted: boolean
  token: SessionToken | undefined
  acceptsDebt: boolean
  /** In the order in which they came; the first one may wait for its token. */
  readonly offers: { readonly write: OfferedWrite; readonly sinceMs: number }[]
  /** At the core, without an answer. */
  readonly judged: Set<WriteId>
}

interface Source {
  readonly lane: Lane
  readonly write: OfferedWrite
  readonly debt: VersionVector
}

interface Parked {
  readonly lane: Lane
  readonly request: Extract<Message, { type: 'read' }>
  readonly token: SessionToken | undefined
  /** Of fresh reads: the probe, and what members told. */
  readonly probe: number
  readonly own: VersionVector | undefined
  readonly told: Map<string, VersionVector>
  captured: Captured | undefined
}

interface Captured {
  readonly contents: Contents
  readonly updates: ReadonlyMap<string, Uint8Array>
  readonly clock: VersionVector
  readonly debt: VersionVector
}

interface Batch {
  readonly ops: readonly { readonly op: Op; readonly chain: Uint8Array }[]
}

/** What was written and is not on disk yet. */
interface Writing {
  readonly records: readonly JournalRecord[]
  readonly done: () => void
  readonly failed: () => void
}

export class ProductionReplica implements ReplicaProgram<Message> {
  private readonly machine: Machine<Message, Stored>
  private readonly boot: () => Life
  private life: Life

  constructor(machine: Machine<Message, Stored>, setup: ReplicaSetup, images: Images, mutant: Mutant | undefined) {
    let tasks = 0
    this.machine = machine
    this.boot = () => new Life(machine, setup, images, mutant, () => ++tasks)
    this.life = this.boot()
  }

  /** An I/O error ends the process; a while later another one begins. */
  step(input: Input<Message>): void {
    if (!this.life.isOver) {
      this.life.step(input)
      if (!this.life.isOver) return
      this.life.hangUp()
      this.machine.setTimer('boot', BOOT_MS)
    } else if (input.type === 'timer' && input.timer === 'boot') this.life = this.boot()
    else if (input.type === 'accepted') this.machine.close(input.connection)
  }

  settled(): Extract<ServerEvent, { type: 'replica-settled' }> {
    return this.life.settled()
  }
}

class Life {
  isOver = false
  private readonly machine: Machine<Message, Stored>
  private readonly report: ReplicaSetup['report']
  private readonly images: Images
  private readonly mutant: Mutant | undefined
  private readonly nextTask: () => number
  private readonly origin: OriginId
  private readonly log: LogModel
  private readonly member: Member
  private readonly replica: Replica<Source>
  private readonly acknowledgements: Acknowledgements
  private isStarted = false
  private readonly writing = new Map<SyncId, Writing>()
  private readonly tasks = new Map<string, () => void>()
  private ticks = 0

  private readonly peers = new Map<string, Peer>()
  private readonly lanes = new Map<ConnectionId, Lane>()
  private readonly inputs: MemberInput[] = []
  /** Handed over to the replica and not committed, by op. */
  private readonly delivered = new Map<Op, DeliveredOp>()
  private readonly views = new Map<string, Y.Doc>()
  private readonly loading = new Set<string>()

  private pending: { readonly op: Op; readonly chain: Uint8Array }[] = []
  private readonly atLog: Batch[] = []
  private acceptedChain: Uint8Array | undefined
  private readonly committing = new Map<number, Op>()
  private probedAtMs = 0
  private isProbing = false
  private unsavedCell: { readonly save: number; readonly change: CellChange }[] = []

  private readonly storing: (() => void)[] = []
  private aside: { image: StateImage | undefined; chunks: number } | undefined
  private joining: VersionVector | undefined
  private isJoinWritten = false
  private readonly cuts = new Map<
    string,
    { readonly image: StateImage; readonly number: number; readonly chunks: number }
  >()

  private readonly parked = new Map<string, Parked>()
  private isStirred = false
  private isUrgent = false
  private isWhole = false
  private toldCut: VersionVector = EMPTY_VECTOR

  constructor(
    machine: Machine<Message, Stored>,
    { members, report }: ReplicaSetup,
    images: Images,
    mutant: Mutant | undefined,
    nextTask: () => number,
  ) {
    this.machine = machine
    this.report = report
    this.images = images
    this.mutant = mutant
    this.nextTask = nextTask
    const { name, entropy } = machine
    this.log = new LogModel(name)
    for (const record of ownRecords(machine.read(), name)) this.log.apply(record)
    const { log } = this
    const { vector, latestHlc, lineages } = log
    const kept = mutant === 'reuse-incarnation' ? log.predecessor?.origin : undefined
    this.origin = kept ?? makeOrigin(name, entropy.hex(16))
    const { origin } = this
    this.acceptedChain = log.headOf(origin)?.chain
    const above = mutant === 'opens-above-its-disk' ? 2 : 0
    const predecessor = log.predecessor && { ...log.predecessor, seq: log.predecessor.seq + above }
    this.replica = new Replica<Source>({
      origin,
      predecessor,
      vector,
      latestHlc,
      limits: { tailUpdates: 64, idleTailUpdates: 32 },
    })
    this.member = new Member({
      self: name,
      incarnation: incarnationOf(origin),
      cellName: 'simulated',
      listed: new Map(members.map((member) => [member, `ws://${member}`])),
      isNewCell: false,
      drawn: { cell: entropy.hex(32) as CellId, epoch: { ordinal: 1, id: entropy.hex(16) } },
      stored: log.cell,
      heads: log.stored,
      position: log.position,
      isRolledBack: false,
      lineages,
      chain: chainAfter,
      limits: entropy.chance(TIGHT_CHANCE) ? TIGHT_LIMITS : {},
      // What a member may show before it has met others is what the checkers are to see.
      serveAloneAfterMs: 0,
    })
    if (mutant) {
      mutateMember(this.member, mutant)
      mutateReplica(this.replica, mutant)
    }
    this.acknowledgements = new Acknowledgements(this.member)
    for (const member of members) {
      if (member !== name) this.peers.set(member, { name: member, connection: undefined, isOpen: false })
    }
    // What a killed process had written may not be on the platter: nothing of it is shown before it is.
    this.write(
      [{ type: 'begun', origin }],
      () => this.start(vector),
      () => this.end(),
    )
  }

  step(input: Input<Message>): void {
    switch (input.type) {
      case 'accepted':
      case 'opened':
        this.greet(input.connection, input.peer)
        break
      case 'received':
        this.receive(input.connection, input.peer, input.message)
        break
      case 'closed':
        this.lose(input.connection, input.peer)
        break
      case 'posted':
        break
      case 'timer':
        if (input.timer === 'tick') this.tick()
        else if (input.timer.startsWith('park ')) this.giveUp(input.timer)
        else {
          const task = this.tasks.get(input.timer)
          this.tasks.delete(input.timer)
          task?.()
        }
        break
      case 'synced': {
        const written = this.writing.get(input.sync)
        this.writing.delete(input.sync)
        if (!written) break
        for (const record of written.records) this.log.apply(record)
        written.done()
        break
      }
      case 'sync-failed':
        this.syncFailed(input.sync, input.trouble === 'failing')
        break
      default:
        unreachable(input)
    }
    if (!this.isOver && this.isStarted) this.settle()
  }

  /** What is left to do after an input. */
  private settle(): void {
    while (this.isStirred) {
      this.isStirred = false
      for (const key of [...this.parked.keys()]) this.advance(key)
      for (const lane of [...this.lanes.values()]) this.takeOffers(lane)
    }
    this.tryJoin()
    this.commitPending()
    if (!this.isWhole && this.member.countsInQuorums) {
      this.isWhole = true
      this.report({ type: 'recovered' })
    }
    const isUrgent = this.acknowledgements.size > 0 || this.parked.size > 0 || this.isOffering
    if (isUrgent !== this.isUrgent) {
      this.isUrgent = isUrgent
      this.stepMember({ type: 'urgency-changed', isUrgent })
    }
  }

  hangUp(): void {
    for (const { connection } of this.peers.values()) if (connection !== undefined) this.machine.close(connection)
    for (const connection of this.lanes.keys()) this.machine.close(connection)
    for (const key of this.parked.keys()) this.machine.clearTimer(key)
  }

  settled(): Extract<ServerEvent, { type: 'replica-settled' }> {
    const { figures } = this.member
    const waits = [
      figures.heldOps,
      this.pending.length,
      this.atLog.length,
      this.parked.size,
      this.acknowledgements.size,
    ]
    for (const { offers, judged } of this.lanes.values()) waits.push(offers.length, judged.size)
    const waiting = waits.reduce((sum, count) => sum + count, this.joining ? 1 : 0)
    const isReady = this.isStarted && this.member.isServing
    return {
      type: 'replica-settled',
      clock: this.member.durableVector,
      waiting: waiting + (isReady ? 0 : 1),
      held: this.held(),
    }
  }

  private get isOffering(): boolean {
    return [...this.lanes.values()].some(({ offers }) => offers.length > 0)
  }

  private get nowMs(): number {
    return this.machine.wallMs()
  }

  private start(vector: VersionVector): void {
    this.isStarted = true
    this.report({ type: 'start', origin: this.origin, clock: vector })
    this.stepMember({ type: 'start', nowMs: this.machine.monotonicMs() })
    this.connect()
    this.machine.setTimer('tick', TICK_MS)
  }

  private end(): void {
    this.isOver = true
  }

  private later(leastMs: number, mostMs: number, task: () => void): void {
    const name = `task ${this.nextTask()}`
    this.tasks.set(name, task)
    this.machine.setTimer(name, this.machine.entropy.between(leastMs, mostMs))
  }

  // --- disk -----------------------------------------------------------------------------------------------------

  private write(records: readonly JournalRecord[], done: () => void, failed: () => void): void {
    this.machine.write(records)
    if (this.mutant === 'skip-fsync' && records.some(({ type }) => type === 'op')) {
      this.storing.push(() => {
        for (const record of records) this.log.apply(record)
        done()
      })
      this.later(0, 0, () => this.storing.shift()!())
      return
    }
    this.writing.set(this.machine.sync(), { records, done, failed })
  }

  /** Everything unsynced is lost, whatever it was. */
  private syncFailed(sync: SyncId, isIndefinite: boolean): void {
    if (!this.writing.has(sync)) return
    if (isIndefinite) {
      this.end()
      return
    }
    const lost = [...this.writing.values()]
    this.writing.clear()
    for (const { failed } of lost) failed()
    if (this.isOver || (this.atLog.length === 0 && this.pending.length === 0)) return
    this.commitFailed()
  }

  private commitPending(): void {
    if (this.pending.length === 0 || !this.replica.isWritable) return
    const mayPile = this.atLog.length < BATCHES_AT_LOG && this.machine.entropy.chance(0.2)
    if (this.atLog.length > 0 && !mayPile) return
    const batch: Batch = { ops: this.pending }
    this.pending = []
    this.atLog.push(batch)
    const records = batch.ops.map(({ op, chain }) => ({ type: 'op', op, chain }) as const)
    this.write(
      records,
      () => this.committed(batch),
      () => {},
    )
  }

  private committed(batch: Batch): void {
    assert(this.atLog.shift() === batch, 'batches are committed in their order')
    const { position } = this.log
    const ops = batch.ops.map(({ op }) => op)
    const known = ops.map((op) => this.delivered.get(op) ?? { op })
    for (const op of ops) {
      this.delivered.delete(op)
      if (op.dot.origin === this.origin) this.committing.set(op.dot.seq, op)
    }
    this.stepMember({ type: 'committed', ops: known, position, nowMs: this.machine.monotonicMs() }, () => {
      this.report({ type: 'durable', clock: this.member.durableVector })
      for (const { op, chain } of batch.ops) this.report({ type: 'deliver', dot: op.dot, chain: hexOf(chain) })
    })
    this.stepReplica({ type: 'committed', count: ops.length, position, nowMs: this.nowMs })
    this.committing.clear()
    this.isStirred = true
  }

  private commitFailed(): void {
    const failed = [...this.atLog.flatMap(({ ops }) => ops), ...this.pending]
    this.atLog.length = 0
    this.pending = []
    for (const { op } of failed.reverse()) {
      if (op.dot.origin === this.origin) this.report({ type: 'withdraw', dot: op.dot })
    }
    this.report({ type: 'rewound' })
    this.acceptedChain = this.log.headOf(this.origin)?.chain
    this.delivered.clear()
    this.stepReplica({ type: 'commit-failed', error: new CausewayError('storage/full') })
    this.stepMember({ type: 'commit-failed' })
  }

  private probeDisk(): void {
    const nowMs = this.machine.monotonicMs()
    const isNeeded = !this.replica.isWritable || this.unsavedCell.length > 0
    if (!isNeeded || this.isProbing || nowMs - this.probedAtMs < PROBE_MS) return
    this.isProbing = true
    this.probedAtMs = nowMs
    this.write(
      [],
      () => {
        this.isProbing = false
        if (!this.replica.isWritable) {
          this.stepReplica({ type: 'writable-again' })
          this.stepMember({ type: 'writable-again', nowMs: this.machine.monotonicMs() })
        }
        for (const { save, change } of this.unsavedCell.splice(0)) this.saveCell(save, change)
      },
      () => {
        this.isProbing = false
      },
    )
  }

  private saveCell(save: number, change: CellChange): void {
    this.write(
      [{ type: 'cell', change }],
      () => this.stepMember({ type: 'cell-stored', save, nowMs: this.machine.monotonicMs() }),
      () => this.unsavedCell.push({ save, change }),
    )
  }

  private prune(): void {
    const ceiling = this.mutant === 'prune-above-cut' ? undefined : this.member.pruneCeiling(PINNED_LAG_MS)
    const position = this.log.prunableTo(LOG_LENGTH, ceiling)
    if (position <= this.log.floorAt) return
    const last = new Map<OriginId, number>()
    for (const { origin, seq } of this.log.dotsTo(position)) last.set(origin, seq)
    this.write(
      [{ type: 'pruned', position }],
      () => {
        for (const [origin, seq] of last) this.report({ type: 'truncate', origin, seq })
        this.stepMember({ type: 'pruned', floor: this.log.floor, nowMs: this.machine.monotonicMs() })
      },
      () => {},
    )
  }

  // --- member ---------------------------------------------------------------------------------------------------

  /** One after the other: what an effect leads to comes after all effects of the same input. */
  private stepMember(input: MemberInput, before?: () => void): void {
    this.inputs.push(input)
    if (this.inputs.length > 1) {
      assert(!before, 'a commit is told from outside')
      return
    }
    let told = before
    while (this.inputs.length > 0) {
      const effects = this.member.step(this.inputs[0]!)
      told?.()
      told = undefined
      for (const effect of effects) this.performMember(effect)
      this.inputs.shift()
    }
  }

  private performMember(effect: MemberEffect): void {
    switch (effect.type) {
      case 'send':
        this.sendPeer(effect.peer, effect.message)
        break
      case 'close': {
        const { error } = effect
        if (error) this.machine.note(() => `closes ${effect.peer}: ${error.code} ${JSON.stringify(error.details)}`)
        this.closePeer(effect.peer)
        break
      }
      case 'alarm':
        this.machine.note(() => JSON.stringify(effect))
        break
      case 'linked':
      case 'unlinked':
      case 'talked':
        break
      case 'deliver':
        for (const delivered of effect.ops) {
          this.delivered.set(delivered.op, delivered)
          this.report({ type: 'taken', dot: delivered.op.dot })
        }
        this.stepReplica({ type: 'ops-delivered', ops: effect.ops.map(({ op }) => op), nowMs: this.nowMs })
        break
      case 'read-chains': {
        const { peer, connection, dots } = effect
        this.readLog(
          peer,
          () => this.log.readChains(dots),
          (chains) => ({ type: 'chains-read', peer, connection, chains }),
        )
        break
      }
      case 'read-log': {
        const { peer, read, range } = effect
        this.readLog(
          peer,
          () => this.log.readOps(range),
          (slice) => ({ type: 'log-read', peer, answer: { read, ...slice }, nowMs: this.machine.monotonicMs() }),
        )
        break
      }
      case 'open-cut':
        this.openCut(effect.peer, effect.transfer)
        break
      case 'read-chunk':
        this.readChunk(effect.peer, effect.transfer, effect.index)
        break
      case 'close-cut':
        this.cuts.delete(`${effect.peer} ${effect.transfer}`)
        break
      case 'begin-state':
        this.aside = { image: undefined, chunks: 0 }
        break
      case 'discard-state':
        this.aside = undefined
        break
      case 'store-chunk': {
        const { peer, index, bytes, receipt } = effect
        // In order: the log does one after the other.
        this.storing.push(() => {
          const { image, isFirst } = readChunk(bytes, this.images)
          if (this.aside && (isFirst || this.aside.image === image) && this.aside.chunks === index) {
            this.aside.image = image
            this.aside.chunks++
          }
          this.stepMember({ type: 'chunk-stored', peer, index, receipt, nowMs: this.machine.monotonicMs() })
        })
        this.later(1, 5, () => this.storing.shift()!())
        break
      }
      case 'join-state':
        this.joining = effect.cut
        break
      case 'store-cell':
        this.saveCell(effect.save, effect.change)
        break
      case 'advanced':
        this.acknowledgements.advance()
        this.tellCut()
        this.isStirred = true
        break
      case 'serving':
        this.machine.note(() => (effect.isServing ? 'serves' : 'serves no more'))
        if (effect.isServing) break
        this.isWhole = false
        for (const lane of [...this.lanes.values()]) this.sendAway(lane, 0, 'not-serving')
        break
      case 'removed':
        break
      case 'vector-told':
        for (const { probe, told } of this.parked.values()) {
          if (effect.probe >= probe && effect.standing === 'active') told.set(effect.peer, effect.vector)
        }
        this.isStirred = true
        break
      default:
        unreachable(effect)
    }
  }

  private tellCut(): void {
    const cut = this.member.majorityDurable
    if (sameVector(cut, this.toldCut)) return
    this.toldCut = cut
    this.report({ type: 'majority-cut', cut })
  }

  /** A reader sees the log as it is when it is asked, or later. */
  private readLog<Value>(peer: string, read: () => Value, input: (value: Value) => MemberInput): void {
    const { entropy } = this.machine
    const early = entropy.chance(0.5) ? { value: read() } : undefined
    const hasFailed = entropy.chance(READ_FAILURE_CHANCE)
    this.later(0, 3, () => {
      // Where a read fails, the link is begun anew.
      if (hasFailed) this.closePeer(peer)
      else this.stepMember(input(early ? early.value : read()))
    })
  }

  private openCut(peer: string, transfer: number): void {
    this.later(1, 5, () => {
      if (this.cuts.size >= CUTS || this.machine.entropy.chance(STATE_FAILURE_CHANCE)) {
        this.stepMember({ type: 'cut-opened', peer, transfer, cut: undefined })
        return
      }
      const image = this.log.export()
      const number = this.machine.entropy.between(1, 2 ** 32 - 1)
      this.images.set(number, image)
      this.cuts.set(`${peer} ${transfer}`, { image, number, chunks: this.machine.entropy.between(1, 4) })
      this.stepMember({ type: 'cut-opened', peer, transfer, cut: image.cut })
    })
  }

  private readChunk(peer: string, transfer: number, index: number): void {
    const cut = this.cuts.get(`${peer} ${transfer}`)
    if (!cut) return
    this.later(1, 5, () => {
      const isLast = index === cut.chunks - 1
      const bytes = writeChunk(cut.number, index)
      this.stepMember({ type: 'chunk-read', peer, transfer, index, bytes, isLast })
    })
  }

  private tryJoin(): void {
    const cut = this.joining
    if (!cut || this.isJoinWritten || this.atLog.length > 0 || this.pending.length > 0 || this.loading.size > 0) return
    for (const name of [...this.views.keys()]) this.close(name)
    if (this.views.size > 0) return
    this.isJoinWritten = true
    const image = this.aside?.image
    const refusal = image && sameVector(image.cut, cut) ? this.log.refusalOf(image) : 'no state at the cut'
    const over = (): void => {
      this.joining = undefined
      this.isJoinWritten = false
      this.aside = undefined
    }
    const failed = (): void => {
      over()
      this.stepMember({ type: 'state-join-failed', nowMs: this.machine.monotonicMs() })
    }
    const hasFailed = this.machine.entropy.chance(STATE_FAILURE_CHANCE)
    if (!image || refusal !== undefined || hasFailed) {
      this.machine.note(() => `cannot join: ${refusal}`)
      failed()
      return
    }
    const done = (): void => {
      over()
      const { stored: heads, position, latestHlc } = this.log
      this.stepReplica({ type: 'state-joined', vector: heads.vector, latestHlc })
      this.acceptedChain = this.log.headOf(this.origin)?.chain
      this.stepMember({ type: 'state-joined', heads, position, nowMs: this.machine.monotonicMs() }, () => {
        this.report({ type: 'durable', clock: this.member.durableVector })
        this.report({ type: 'install', clock: this.member.durableVector, held: this.held() })
      })
      this.isStirred = true
    }
    this.write([{ type: 'joined', image, surplus: surplusBy(this.mutant) }], done, failed)
  }

  // --- connections ----------------------------------------------------------------------------------------------

  private connect(): void {
    for (const peer of this.peers.values()) {
      if (peer.connection === undefined && this.machine.name < peer.name) {
        peer.connection = this.machine.open(peer.name)
      }
    }
  }

  private greet(connection: ConnectionId, name: string): void {
    if (!this.isStarted) {
      this.machine.close(connection)
      return
    }
    const peer = this.peers.get(name)
    if (!peer) {
      const lane: Lane = {
        name,
        connection,
        isGreeted: false,
        token: undefined,
        acceptsDebt: false,
        offers: [],
        judged: new Set(),
      }
      this.lanes.set(connection, lane)
      if (!this.member.isServing) this.sendAway(lane, 0, 'not-serving')
      return
    }
    if (peer.connection !== undefined && peer.connection !== connection) this.closePeer(name)
    peer.connection = connection
    peer.isOpen = true
    this.stepMember({ type: 'connected', peer: name, nowMs: this.machine.monotonicMs() })
  }

  private closePeer(name: string): void {
    const peer = this.peers.get(name)!
    if (peer.connection !== undefined) this.machine.close(peer.connection)
    peer.connection = undefined
    peer.isOpen = false
    this.stepMember({ type: 'disconnected', peer: name, nowMs: this.machine.monotonicMs() })
  }

  private lose(connection: ConnectionId, name: string): void {
    const lane = this.lanes.get(connection)
    if (lane) this.dropLane(lane)
    const peer = this.peers.get(name)
    if (peer?.connection !== connection) return
    peer.connection = undefined
    peer.isOpen = false
    this.stepMember({ type: 'disconnected', peer: name, nowMs: this.machine.monotonicMs() })
  }

  private dropLane(lane: Lane): void {
    this.lanes.delete(lane.connection)
    lane.offers.length = 0
    for (const [key, parked] of this.parked) if (parked.lane === lane) this.unpark(key)
    this.stepReplica({ type: 'lane-closed', lane })
  }

  /** What is refused ends the connection: what was offered after it must not be taken either. */
  private sendAway(lane: Lane, call: number, code: RefusalCode): void {
    if (!this.lanes.has(lane.connection)) return
    this.machine.send(lane.connection, { type: 'refuse', call, code })
    this.machine.close(lane.connection)
    this.dropLane(lane)
  }

  private receive(connection: ConnectionId, from: string, message: Message): void {
    const peer = this.peers.get(from)
    if (peer) {
      if (peer.connection === connection && peer.isOpen && message.type === 'peer') {
        const nowMs = this.machine.monotonicMs()
        this.stepMember({ type: 'received', peer: from, message: message.message, nowMs })
      }
      return
    }
    const lane = this.lanes.get(connection)
    if (!lane) return
    switch (message.type) {
      case 'session':
        this.greetClient(lane, message.token, message.acceptsDebt)
        break
      case 'offer':
        lane.offers.push({ write: message.write, sinceMs: this.machine.monotonicMs() })
        this.isStirred = true
        break
      case 'read':
        this.park(lane, message)
        break
      default:
        assert(false, `a client sends ${message.type}`)
    }
  }

  private greetClient(lane: Lane, token: string | undefined, acceptsDebt: boolean): void {
    try {
      lane.token = token === undefined ? undefined : decodeToken(token, SESSION_KEYS)
    } catch {
      this.sendAway(lane, 0, 'reset')
      return
    }
    lane.isGreeted = true
    lane.acceptsDebt = acceptsDebt
  }

  private sendPeer(name: string, message: PeerMessage): void {
    const peer = this.peers.get(name)!
    if (!peer.isOpen || peer.connection === undefined) return
    if (message.type === 'ops') for (const { dot } of message.ops) this.report({ type: 'send', to: name, dot })
    if (message.type === 'pull') this.reportNeed(name, message.beyond, message.upTo)
    this.machine.send(peer.connection, { type: 'peer', message })
  }

  /** What is asked for: as far as it is known to be there. */
  private reportNeed(peer: string, beyond: VersionVector, upTo: VersionVector | undefined): void {
    const { lineages } = this.member
    const known = upTo ?? this.member.status().members.find(({ name }) => name === peer)?.durable ?? EMPTY_VECTOR
    for (const origin of lineages.missing(beyond, known).keys()) {
      this.report({ type: 'need', peer, origin, from: lineages.valueIn(beyond, origin) + 1 })
    }
  }

  // --- writes ---------------------------------------------------------------------------------------------------

  private takeOffers(lane: Lane): void {
    const lateSinceMs = this.machine.monotonicMs() - MOST_WAIT_MS
    for (let next = lane.offers[0]; next; next = lane.offers[0]) {
      if (!this.member.isServing) {
        this.sendAway(lane, next.write.call, 'not-serving')
        return
      }
      const { write, sinceMs } = next
      const decision = checkSession(this.tokenOf(lane), { type: 'write' }, this.member.view, lane.acceptsDebt)
      if (decision.type === 'refuse') {
        this.sendAway(lane, write.call, decision.error.code === 'session/reset' ? 'reset' : 'behind')
        return
      }
      if (decision.type === 'wait') {
        if (sinceMs < lateSinceMs) this.sendAway(lane, write.call, 'behind')
        return
      }
      if (isBeyond(decision.debt, lane.token?.debt ?? EMPTY_VECTOR)) {
        // What the write stands on may be gone: its client has to know before it is judged.
        lane.token = this.nextToken(lane, EMPTY_VECTOR, decision.debt)
        const seen: Seen = { token: this.encode(lane), debt: decision.debt, clock: EMPTY_VECTOR }
        this.machine.send(lane.connection, { type: 'owing', seen })
        this.machine.close(lane.connection)
        this.dropLane(lane)
        return
      }
      if (!this.areOpen(write.parts.map(({ document }) => document))) return
      lane.offers.shift()
      lane.judged.add(write.id)
      const source: Source = { lane, write, debt: decision.debt }
      const parts = write.parts.map(({ document, update }) => ({ document, update, kind: 'update' as const }))
      this.stepReplica({ type: 'updates-received', source, parts, nowMs: this.nowMs })
    }
  }

  private tokenOf(lane: Lane): SessionToken | undefined {
    return this.mutant === 'writes-ignore-token' ? undefined : lane.token
  }

  // --- replica --------------------------------------------------------------------------------------------------

  private stepReplica(input: ReplicaInput<Source>): void {
    for (const effect of this.replica.step(input)) this.performReplica(effect)
  }

  private performReplica(effect: ReplicaEffect<Source>): void {
    switch (effect.type) {
      case 'append':
        this.append(effect.op)
        break
      case 'deliver':
        this.show(effect.document, effect.updates)
        break
      case 'acknowledge':
        this.acknowledge(effect)
        break
      case 'refuse': {
        const { lane, write } = effect.source
        const { code, details } = effect.error
        this.machine.note(() => `refuses w${write.id}: ${code} ${JSON.stringify(details)}`)
        this.sendAway(lane, write.call, code === 'document/gap' ? 'gap' : 'unavailable')
        break
      }
      case 'compare-content': {
        const { document, lane, check, update, overlaps, doubtfulFrom } = effect
        const state = { snapshot: undefined, tail: document.acceptedContent }
        this.later(1, 10, () => {
          const verdict = agrees(state, update, overlaps, doubtfulFrom) ? 'agrees' : 'differs'
          this.stepReplica({
            type: 'content-compared',
            document: document.name,
            lane,
            check,
            verdict,
            nowMs: this.nowMs,
          })
        })
        break
      }
      case 'compact':
        this.compact(effect.document, effect.tailCount)
        break
      case 'unfit':
        this.machine.note(() => `unfit ${effect.document} ${effect.error.code} ${JSON.stringify(effect.error.details)}`)
        this.report({ type: 'pending', document: effect.document, structs: 1, deletes: 0 })
        break
      case 'overlaps-delivered': {
        const { document } = effect
        this.later(1, 10, () => this.stepReplica({ type: 'overlaps-compared', document }))
        break
      }
      case 'owners-differ':
        assert(false, 'nobody owns an id here')
        break
      case 'resync':
        break
      case 'stop':
        this.end()
        break
      default:
        unreachable(effect)
    }
  }

  private append(op: Op): void {
    const { dot, deps } = op
    if (dot.origin !== this.origin) {
      this.pending.push({ op, chain: this.delivered.get(op)!.chain })
      return
    }
    const chain = chainAfter(this.acceptedChain, op)
    this.acceptedChain = chain
    this.pending.push({ op, chain })
    if (this.mutant === 'push-before-commit') {
      const chains = new Map([[dot.origin, chain]])
      for (const name of this.peers.keys())
        this.sendPeer(name, { type: 'ops', pull: 0, urgent: false, ops: [op], chains })
    }
    const source = this.replica['inFlight']
      .find((one: { op: Op }) => one.op === op)
      ?.waiting.find(({ own }: { own: boolean }) => own)?.source
    this.report({
      type: 'accept',
      dot,
      ...(op.kind === 'open' && { opens: { predecessor: op.predecessor } }),
      deps,
      chain: hexOf(chain),
      ...(source && { id: source.write.id }),
      documents: partsOf(op).map(({ document }) => document),
    })
  }

  private acknowledge({ source, dot }: Extract<ReplicaEffect<Source>, { type: 'acknowledge' }>): void {
    const { lane, write, debt } = source
    lane.judged.delete(write.id)
    const seen = dot ? new Map([[dot.origin, dot.seq]]) : this.member.durableVector
    const op = dot && this.committing.get(dot.seq)
    const clock = op ? new Map(op.deps).set(op.dot.origin, op.dot.seq) : seen
    const tell = (concern: Concern): void => {
      if (!this.lanes.has(lane.connection)) return
      this.report({ type: 'acknowledge', id: write.id, concern, clock })
      lane.token = this.mutant === 'token-forgets-writes' ? lane.token : this.nextToken(lane, seen, debt)
      const told = { token: this.encode(lane), debt, clock }
      this.machine.send(lane.connection, { type: concern === 'local' ? 'written' : 'saved', id: write.id, seen: told })
    }
    tell('local')
    const saved = (): void => tell('majority')
    const concern = this.mutant === 'majority-at-local' ? 'local' : 'majority'
    if (dot) {
      if (this.acknowledgements.waitsForSeq(dot.seq, concern)) {
        this.acknowledgements.addSeq(dot.seq, concern, lane, saved)
      } else saved()
    } else if (this.acknowledgements.waitsForVector(seen, concern)) {
      this.acknowledgements.addVector(seen, concern, lane, saved)
    } else saved()
  }

  private nextToken(lane: Lane, seen: VersionVector, debt: VersionVector): SessionToken {
    return nextToken(lane.token, this.member.view, seen, debt)
  }

  private encode(lane: Lane): string {
    return encodeToken(lane.token ?? nextToken(undefined, this.member.view, EMPTY_VECTOR, EMPTY_VECTOR), SESSION_KEYS)
  }

  // --- documents ------------------------------------------------------------------------------------------------

  /** Whether all of them are open; those that are not are opened. */
  private areOpen(names: readonly string[]): boolean {
    let isOpen = true
    for (const name of names) {
      if (this.views.has(name)) continue
      isOpen = false
      if (!this.loading.has(name)) this.open(name)
    }
    return isOpen
  }

  private open(name: string): void {
    this.loading.add(name)
    this.stepReplica({ type: 'document-loading', document: name })
    const loaded = this.log.load(name)
    this.later(0, 6, () => {
      this.loading.delete(name)
      const view = new Y.Doc()
      this.views.set(name, view)
      this.stepReplica({ type: 'document-loaded', loaded })
      const { snapshot, tail } = this.replica.document(name)!
      if (snapshot) Y.applyUpdate(view, snapshot)
      for (const { update } of tail) Y.applyUpdate(view, update)
      this.checkPending(name, view)
      this.isStirred = true
    })
  }

  private close(name: string): void {
    if (!this.replica.isQuiet(this.replica.document(name)!)) return
    this.stepReplica({ type: 'document-unloaded', document: name })
    this.views.get(name)!.destroy()
    this.views.delete(name)
  }

  private show({ name }: OpenDocument, updates: readonly { readonly update: Uint8Array }[]): void {
    const view = this.views.get(name)!
    for (const { update } of updates) Y.applyUpdate(view, update)
    this.checkPending(name, view)
  }

  private stateVectorOf(name: string): Buffer {
    return Buffer.from(this.replica.document(name)!.stateVector)
  }

  private checkPending(document: string, { store }: Y.Doc): void {
    const structs = store.pendingStructs ? 1 : 0
    const deletes = store.pendingDs ? 1 : 0
    if (structs + deletes > 0) this.report({ type: 'pending', document, structs, deletes })
  }

  private compact(document: OpenDocument, tailCount: number): void {
    const { name, snapshot } = document
    const tail = document.tail.slice(0, tailCount)
    const { position } = tail.at(-1)!
    this.later(1, 20, () => {
      const { update, known } = compact({ snapshot, tail: tail.map((one) => one.update) })
      this.write(
        [{ type: 'snapshot', document: name, position, update, known }],
        () => this.stepReplica({ type: 'compacted', document: name, snapshot: update, tailCount }),
        () => this.stepReplica({ type: 'compaction-failed', document: name }),
      )
    })
  }

  private held(): readonly WriteId[] {
    const held = new Set<WriteId>()
    for (const name of this.log.documentNames) {
      for (const id of idsOf(this.views.get(name) ?? docOf(this.log.updatesOf(name)))) held.add(id)
    }
    return [...held]
  }

  private printDocuments(): void {
    if (this.atLog.length > 0) return
    for (const document of this.log.documentNames) {
      const view = this.views.get(document) ?? docOf(this.log.updatesOf(document))
      const fingerprint = fingerprintOf(view)
      this.report({ type: 'fingerprint', document, digest: this.log.digestOf(document), fingerprint })
    }
  }

  // --- reads ----------------------------------------------------------------------------------------------------

  private park(lane: Lane, request: Parked['request']): void {
    const key = `park ${lane.connection} ${request.call}`
    const { level, waitMs } = request
    const probe = level === 'fresh' ? this.member.nextProbe : 0
    const { token } = lane
    const own = this.member.countsInQuorums ? this.member.durableVector : undefined
    this.parked.set(key, { lane, request, token, probe, own, told: new Map(), captured: undefined })
    this.machine.setTimer(key, Math.min(waitMs, MOST_WAIT_MS))
    if (level === 'fresh') this.stepMember({ type: 'probe', probe })
    this.isStirred = true
  }

  private unpark(key: string): void {
    this.parked.delete(key)
    this.machine.clearTimer(key)
  }

  private giveUp(key: string): void {
    const parked = this.parked.get(key)
    if (!parked) return
    const { lane, request } = parked
    this.unpark(key)
    const isBehind = this.decisionOf(parked).type !== 'ready' && request.level !== 'fresh' && !parked.captured
    this.machine.send(lane.connection, { type: 'refuse', call: request.call, code: isBehind ? 'behind' : 'late' })
  }

  private decisionOf({ token, request, probe, own, told, lane }: Parked): ReturnType<typeof checkSession> {
    const { level } = request
    const { lineages, size } = this.member
    const quorum = freshQuorum(size, undefined)
    assert(typeof quorum === 'number', 'the default quorum is one')
    const answers = [...(own ? [own] : []), ...told.values()]
    const target = this.mutant === 'fresh-alone' ? EMPTY_VECTOR : freshTarget(answers, quorum, lineages)
    const asked: SessionRequest = level === 'fresh' ? { type: 'read', level, target } : { type: 'read', level }
    assert(level === 'fresh' || probe === 0, 'only fresh reads ask')
    const checked = this.mutant === 'reads-ignore-token' ? undefined : token
    return checkSession(checked, asked, this.member.view, lane.acceptsDebt)
  }

  private advance(key: string): void {
    const parked = this.parked.get(key)
    if (!parked) return
    const { lane, request } = parked
    if (!this.member.isServing) {
      this.sendAway(lane, request.call, 'not-serving')
      return
    }
    if (!parked.captured) {
      const decision = this.decisionOf(parked)
      if (decision.type === 'refuse') {
        this.sendAway(lane, request.call, decision.error.code === 'session/reset' ? 'reset' : 'behind')
        return
      }
      if (decision.type === 'wait' || !this.areOpen([...request.documents, ...this.log.documentNames])) return
      parked.captured = this.capture(request, decision.debt)
    }
    const { captured } = parked
    const mustBeSaved = request.level === 'majority' || request.level === 'fresh'
    if (mustBeSaved && checkRelease(captured.clock, this.member.view).type !== 'ready') return
    this.unpark(key)
    this.answer(lane, request, captured)
  }

  private capture({ documents, stateVectors }: Parked['request'], debt: VersionVector): Captured {
    const writes = new Map<string, readonly WriteId[]>()
    const registers = new Map<string, WriteId>()
    const updates = new Map<string, Uint8Array>()
    for (const name of documents) {
      const view = this.views.get(name)!
      writes.set(name, idsOf(view))
      for (const [register, id] of view.getMap<WriteId>('registers').entries()) registers.set(`${name}#${register}`, id)
    }
    // What a client holds is one cut, over all documents.
    for (const name of this.log.documentNames) {
      const known = stateVectors.get(name)
      // Here nothing is deleted without something being written.
      if (known && this.stateVectorOf(name).equals(known)) continue
      updates.set(name, Y.encodeStateAsUpdate(this.views.get(name)!, known))
    }
    return { contents: { writes, registers }, updates, clock: this.member.durableVector, debt }
  }

  private answer(lane: Lane, request: Parked['request'], { contents, updates, clock, debt }: Captured): void {
    this.report({ type: 'serve', contents, clock })
    const isCounted = request.level !== 'eventual' && this.mutant !== 'token-forgets-reads'
    if (isCounted) lane.token = this.nextToken(lane, clock, debt)
    const seen: Seen = { token: this.encode(lane), debt, clock }
    this.machine.send(lane.connection, { type: 'answer', call: request.call, contents, updates, seen })
  }

  // --- from time to time ----------------------------------------------------------------------------------------

  private tick(): void {
    this.ticks++
    this.machine.setTimer('tick', TICK_MS)
    this.connect()
    this.stepMember({ type: 'tick', nowMs: this.machine.monotonicMs() })
    this.stepReplica({ type: 'tick', nowMs: this.nowMs })
    this.probeDisk()
    if (this.ticks % PRUNE_EVERY_TICKS === 0) this.prune()
    if (this.ticks % PRINT_EVERY_TICKS === 0) this.printDocuments()
    const isJudging = [...this.lanes.values()].some(({ judged }) => judged.size > 0)
    if (!this.isOffering && !isJudging && this.parked.size === 0) {
      for (const name of [...this.views.keys()]) if (this.machine.entropy.chance(CLOSE_CHANCE)) this.close(name)
    }
    this.isStirred = true
  }
}

function surplusBy(mutant: Mutant | undefined): Surplus {
  if (mutant === 'join-by-replacement') return 'dropped'
  return mutant === 'join-forgets-surplus' ? 'kept in the log alone' : 'kept'
}

/** Of another replica's volume, a replica takes nothing: it begins anew. */
function ownRecords(records: readonly Stored[], name: string): JournalRecord[] {
  const isForeign = (record: Stored): boolean => record.type === 'begun' && replicaNameOf(record.origin) !== name
  const own = records.slice(records.findLastIndex(isForeign) + 1)
  const from = own.findIndex(({ type }) => type === 'begun')
  return from < 0 ? [] : own.slice(from).filter((record) => record.type !== 'client')
}

/** Whether there is debt that was not admitted yet. */
function isBeyond(debt: VersionVector, admitted: VersionVector): boolean {
  return [...debt].some(([origin, seq]) => (admitted.get(origin) ?? 0) < seq)
}

const CHUNK_BYTES = 600

function writeChunk(number: number, index: number): Uint8Array {
  const bytes = new Uint8Array(CHUNK_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, number)
  view.setUint32(4, index)
  return bytes
}

function readChunk(bytes: Uint8Array, images: Images): { readonly image: StateImage; readonly isFirst: boolean } {
  const view = new DataView(bytes.buffer)
  return { image: images.get(view.getUint32(0))!, isFirst: view.getUint32(4) === 0 }
}

function docOf(updates: readonly Uint8Array[]): Y.Doc {
  const doc = new Y.Doc()
  for (const update of updates) Y.applyUpdate(doc, update)
  return doc
}

function idsOf(doc: Y.Doc): WriteId[] {
  return [...doc.getMap('writes').keys()].map(Number)
}
