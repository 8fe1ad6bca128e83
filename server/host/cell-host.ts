/**
 * The shell around `Member`: performs the core's effects with the log, the peer links and the documents, and tells
 * whoever waits that something has moved.
 */
import { randomBytes } from 'node:crypto'
import { unreachable } from '../../shared/base/assert.js'
import type { DeliveredOp } from '../../shared/causal/delivery.js'
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import type { CellId, CellIdentity } from '../../shared/clock/cell.js'
import { incarnationOf, type OriginId } from '../../shared/clock/dot.js'
import { Lineages } from '../../shared/clock/lineages.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import type { Op } from '../../shared/protocol/op.js'
import type { PeerMessage } from '../../shared/protocol/peer.js'
import type { ReplicaView } from '../../shared/session/check.js'
import type { CellStatus, Progress } from '../replica/cell.js'
import { Member } from '../replica/member.js'
import type { CommittedOp, MemberEffect, MemberInput } from '../replica/member-messages.js'
import type { TalkMessage } from '../replica/peer-link.js'
import type { Log, OpenedCut } from '../storage/log.js'
import { chainAfter } from '../storage/op-row.js'
import type { DocumentCell } from './document-host.js'

/** What the links to peers are for it. */
export interface PeerLinks {
  send(peer: string, message: PeerMessage): void
  close(peer: string, error: CausewayError): void
  /** It is linked no more. */
  remove(peer: string): void
}

/** Documents, as far as the cell moves them. */
export interface CellDocuments {
  deliverOps(ops: readonly Op[]): void
  advanced(): void
  sendAway(error: CausewayError): void
  joinState(cut: VersionVector): Promise<Awaited<ReturnType<Log['joinState']>>>
}

export interface CellHostOptions {
  readonly name: string
  readonly origin: OriginId
  readonly cellName: string
  readonly listed: ReadonlyMap<string, string>
  readonly isNewCell: boolean
  readonly serveAloneAfterMs: number
  readonly log: Log
  readonly now: () => number
  readonly onAlarm: (alarm: string, details: string) => void
  /** An operator's command was carried out. */
  readonly onCommand: (
    event: 'cell/loss-accepted' | 'cell/member-removed',
    fields: { readonly member?: string },
  ) => void
  readonly onFailure: (error: unknown) => void
  /** The disk can no longer be trusted: the process must end. */
  readonly onFatal: (error: CausewayError) => void
}

/** Who waits until this replica has what others had at some moment. */
interface Behind {
  readonly target: VersionVector
  readonly endsAtMs: number
  readonly resolve: (leftMs: number) => void
  readonly timer: ReturnType<typeof setTimeout>
}

/** Beyond so many, nobody waits any more: it is a courtesy, and each costs a comparison per commit. */
const BEHIND_LIMIT = 1_000

const SAVE_AGAIN_MS = 500

type Talk = Extract<MemberEffect, { type: 'talked' }>['talk']

export class CellHost implements DocumentCell {
  readonly member: Member
  private readonly options: CellHostOptions
  private readonly log: Log
  private links: PeerLinks | undefined
  private documents: CellDocuments | undefined
  /** Handed over to the documents and not committed, by op. */
  private readonly delivered = new Map<Op, DeliveredOp>()
  private readonly cuts = new Map<string, OpenedCut>()
  private readonly changeListeners: (() => void)[] = []
  private readonly talkListeners: ((peer: string, message: Talk) => void)[] = []
  private readonly linkListeners: ((peer: string, isLinked: boolean) => void)[] = []
  private readonly vectorListeners: ((told: Extract<MemberEffect, { type: 'vector-told' }>) => void)[] = []
  /** The first one is being performed. */
  private readonly inputs: MemberInput[] = []
  private onServing: (() => void) | undefined
  private isDraining = false
  private readonly behind = new Set<Behind>()
  /** In order; the first may be under way. Few: claims are one at a time, and all else is rare. */
  private readonly saves: Extract<MemberEffect, { type: 'store-cell' }>[] = []
  private isSaving = false
  private isClosed = false
  private saveRetry: ReturnType<typeof setTimeout> | undefined
  private waitsOfDocuments = false
  private waitsOfSessions = false

  /** Resolves when clients may be served for the first time. */
  readonly served: Promise<void>

  /** Throws `config/invalid` where the configuration and the stored membership do not agree. */
  constructor(options: CellHostOptions) {
    const { name, origin, cellName, listed, isNewCell, serveAloneAfterMs, log } = options
    const { recovered } = log
    this.options = options
    this.log = log
    this.served = new Promise((resolve) => {
      this.onServing = resolve
    })
    this.member = new Member({
      self: name,
      incarnation: incarnationOf(origin),
      cellName,
      listed,
      isNewCell,
      serveAloneAfterMs,
      drawn: drawIdentity(),
      stored: recovered.cell,
      heads: recovered,
      position: recovered.position,
      isRolledBack: recovered.rolledBack !== undefined,
      lineages: new Lineages(),
      chain: chainAfter,
    })
  }

  /** Once, before anything else. */
  start(documents: CellDocuments, links: PeerLinks): void {
    this.documents = documents
    this.links = links
    this.step({ type: 'start', nowMs: this.options.now() })
  }

  get name(): string {
    return this.options.name
  }

  // --- for documents --------------------------------------------------------------------------------------------

  get size(): number {
    return this.member.size
  }

  get durable(): VersionVector {
    return this.member.durableVector
  }

  get refusal(): CausewayError | undefined {
    const { isServing, state } = this.member
    if (isServing) return undefined
    return new CausewayError(state === 'starting' ? 'cell/starting' : 'cell/recovering')
  }

  /** Why this process may not add a line of its own to those that the cell knows; while it has not. */
  get refusalToOpen(): CausewayError | undefined {
    const { lineages, durableVector } = this.member
    return lineages.checkOpening(durableVector, this.log.recovered.predecessor)
  }

  reachedSeq(concern: WriteConcern): number {
    return this.member.reachedSeq(concern)
  }

  isReached(seen: VersionVector, concern: WriteConcern): boolean {
    return this.member.isReached(seen, concern)
  }

  committed(ops: readonly Op[], position: number): void {
    const { delivered } = this
    const known: readonly CommittedOp[] =
      delivered.size === 0 ? ops.map((op) => ({ op })) : ops.map((op) => delivered.get(op) ?? { op })
    if (delivered.size > 0) for (const op of ops) delivered.delete(op)
    this.step({ type: 'committed', ops: known, position, nowMs: this.options.now() })
  }

  commitFailed(): void {
    this.delivered.clear()
    this.step({ type: 'commit-failed' })
  }

  writableAgain(): void {
    this.step({ type: 'writable-again', nowMs: this.options.now() })
  }

  waiting(isWaiting: boolean): void {
    this.waitsOfDocuments = isWaiting
    this.tellUrgency()
  }

  /** Whether requests wait for other replicas. */
  sessionsWait(isWaiting: boolean): void {
    if (this.waitsOfSessions === isWaiting) return
    this.waitsOfSessions = isWaiting
    this.tellUrgency()
  }

  private tellUrgency(): void {
    this.step({ type: 'urgency-changed', isUrgent: this.waitsOfDocuments || this.waitsOfSessions })
  }

  // --- for sessions and operators -------------------------------------------------------------------------------

  /** Throws `cell/starting` while this replica belongs to no cell. */
  get view(): ReplicaView {
    if (!this.member.identity) throw new CausewayError('cell/starting')
    return this.member.view
  }

  get identity(): CellIdentity | undefined {
    return this.member.identity
  }

  get hasQuorum(): boolean {
    return this.member.hasQuorum
  }

  progressOf(seen: VersionVector): Progress {
    return this.member.progressOf(seen)
  }

  status(): CellStatus {
    const status = this.member.status()
    return this.isDraining ? { ...status, state: 'draining' } : status
  }

  drain(): void {
    this.isDraining = true
  }

  /** An operator accepts that what died is lost. Throws `cell/nothing-to-recover`, `cell/starting`. */
  forceRecover(): void {
    const refusal = this.member.refusalToForce
    if (refusal) throw refusal
    this.options.onCommand('cell/loss-accepted', {})
    this.step({ type: 'force-recover', epoch: randomBytes(8).toString('hex'), nowMs: this.options.now() })
  }

  /** Takes a dead member out, here; to be done at every replica. Throws `cell/quorum-at-risk`, `request/not-found`. */
  removeMember(name: string): void {
    const refusal = this.member.refusalToRemove(name)
    if (refusal) throw refusal
    this.options.onCommand('cell/member-removed', { member: name })
    this.step({ type: 'remove-member', name, nowMs: this.options.now() })
  }

  onChanged(listener: () => void): void {
    this.changeListeners.push(listener)
  }

  onTalk(listener: (peer: string, message: Talk) => void): void {
    this.talkListeners.push(listener)
  }

  onLink(listener: (peer: string, isLinked: boolean) => void): void {
    this.linkListeners.push(listener)
  }

  onVector(listener: (told: Extract<MemberEffect, { type: 'vector-told' }>) => void): void {
    this.vectorListeners.push(listener)
  }

  /** See `Freshness`. */
  caughtUp(timeoutMs: number): Promise<number> | undefined {
    const { member } = this
    const target = member.peersDurable
    if (member.lineages.dominates(member.durableVector, target) || this.behind.size >= BEHIND_LIMIT) return undefined
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.caught(waiting, 0), timeoutMs)
      const waiting: Behind = { target, endsAtMs: performance.now() + timeoutMs, resolve, timer }
      this.behind.add(waiting)
    })
  }

  private caught(waiting: Behind, leftMs: number): void {
    this.behind.delete(waiting)
    clearTimeout(waiting.timer)
    waiting.resolve(leftMs)
  }

  private releaseBehind(): void {
    const { lineages, durableVector } = this.member
    for (const waiting of this.behind) {
      if (lineages.dominates(durableVector, waiting.target)) this.caught(waiting, waiting.endsAtMs - performance.now())
    }
  }

  /** Asks all linked peers what they have on disk now; the number comes back with their answers. */
  probe(): number {
    const probe = this.member.nextProbe
    this.step({ type: 'probe', probe })
    return probe
  }

  talk(peer: string, message: TalkMessage): void {
    this.step({ type: 'talk', peer, message })
  }

  // --- for the links --------------------------------------------------------------------------------------------

  connected(peer: string): void {
    this.step({ type: 'connected', peer, nowMs: this.options.now() })
  }

  received(peer: string, message: PeerMessage): void {
    this.step({ type: 'received', peer, message, nowMs: this.options.now() })
  }

  disconnected(peer: string): void {
    this.step({ type: 'disconnected', peer, nowMs: this.options.now() })
  }

  /** What the log may be pruned to: see `Member.pruneCeiling`. */
  pruneCeiling(maxLagMs: number): VersionVector {
    return this.member.pruneCeiling(maxLagMs)
  }

  pruned(floor: VersionVector): void {
    this.step({ type: 'pruned', floor, nowMs: this.options.now() })
  }

  tick(): void {
    this.step({ type: 'tick', nowMs: this.options.now() })
  }

  close(): void {
    this.isClosed = true
    clearTimeout(this.saveRetry)
    for (const cut of this.cuts.values()) cut.close()
    this.cuts.clear()
  }

  // --- effects --------------------------------------------------------------------------------------------------

  /** One after the other: what an effect leads to comes after all effects of the same input. */
  private step(input: MemberInput): void {
    this.inputs.push(input)
    if (this.inputs.length > 1) return
    while (this.inputs.length > 0) {
      for (const effect of this.member.step(this.inputs[0]!)) this.perform(effect)
      this.inputs.shift()
    }
  }

  private perform(effect: MemberEffect): void {
    switch (effect.type) {
      case 'send':
        this.links?.send(effect.peer, effect.message)
        break
      case 'close':
        this.links?.close(effect.peer, effect.error ?? new CausewayError('cell/starting'))
        break
      case 'linked':
      case 'unlinked':
        for (const listener of this.linkListeners) listener(effect.peer, effect.type === 'linked')
        break
      case 'talked':
        for (const listener of this.talkListeners) listener(effect.peer, effect.talk)
        break
      case 'deliver':
        for (const delivered of effect.ops) this.delivered.set(delivered.op, delivered)
        this.documents?.deliverOps(effect.ops.map(({ op }) => op))
        break
      case 'read-chains': {
        const { peer, connection, dots } = effect
        this.read(peer, this.log.readChains(dots), (chains) => ({ type: 'chains-read', peer, connection, chains }))
        break
      }
      case 'read-log': {
        const { peer, read, range } = effect
        this.read(peer, this.log.readOps(range), (slice) => {
          return { type: 'log-read', peer, answer: { read, ...slice }, nowMs: this.options.now() }
        })
        break
      }
      case 'open-cut':
        this.openCut(effect.peer, effect.transfer)
        break
      case 'read-chunk':
        this.readChunk(effect.peer, effect.transfer, effect.index)
        break
      case 'close-cut':
        this.closeCut(`${effect.peer} ${effect.transfer}`)
        break
      case 'begin-state':
        this.log.beginState().catch(this.options.onFailure)
        break
      case 'discard-state':
        this.log.discardState().catch(this.options.onFailure)
        break
      case 'store-chunk': {
        const { peer, index, bytes, receipt } = effect
        this.read(peer, this.log.storeChunk(index, bytes), () => {
          return { type: 'chunk-stored', peer, index, receipt, nowMs: this.options.now() }
        })
        break
      }
      case 'join-state':
        this.joinState(effect.cut)
        break
      case 'store-cell':
        this.saves.push(effect)
        this.saveNext()
        break
      case 'advanced':
        this.documents?.advanced()
        if (this.behind.size > 0) this.releaseBehind()
        for (const listener of this.changeListeners) listener()
        break
      case 'removed':
        this.links?.remove(effect.peer)
        break
      case 'serving':
        if (effect.isServing) this.onServing?.()
        else this.documents?.sendAway(this.refusal ?? new CausewayError('cell/recovering'))
        for (const listener of this.changeListeners) listener()
        break
      case 'alarm':
        this.options.onAlarm(effect.alarm, effect.details)
        break
      case 'vector-told':
        for (const listener of this.vectorListeners) listener(effect)
        break
      default:
        unreachable(effect)
    }
  }

  /** One after the other, and again where the disk refuses: a later one may build on an earlier. */
  private saveNext(): void {
    const [next] = this.saves
    if (!next || this.isSaving) return
    this.isSaving = true
    this.log.saveCell(next.change).then(
      () => {
        this.isSaving = false
        this.saves.shift()
        this.step({ type: 'cell-stored', save: next.save, nowMs: this.options.now() })
        this.saveNext()
      },
      (thrown: unknown) => {
        if (this.isClosed) return
        const error = asCausewayError(thrown)
        this.options.onFailure(error)
        if (error.info.outcome === 'indefinite' || error.info.retry === 'never') {
          this.options.onFatal(error)
          return
        }
        this.saveRetry = setTimeout(() => {
          this.isSaving = false
          this.saveNext()
        }, SAVE_AGAIN_MS)
      },
    )
  }

  /** Reads for a link; where that fails, the link is begun anew. */
  private read<Value>(peer: string, reading: Promise<Value>, input: (value: Value) => MemberInput): void {
    reading.then(
      (value) => this.step(input(value)),
      (error: unknown) => {
        this.options.onFailure(error)
        this.links?.close(peer, asCausewayError(error))
        this.disconnected(peer)
      },
    )
  }

  private openCut(peer: string, transfer: number): void {
    this.log.openCut().then(
      (cut) => {
        this.cuts.set(`${peer} ${transfer}`, cut)
        this.step({ type: 'cut-opened', peer, transfer, cut: cut.cut })
      },
      (error: unknown) => {
        this.options.onFailure(error)
        this.step({ type: 'cut-opened', peer, transfer, cut: undefined })
      },
    )
  }

  private readChunk(peer: string, transfer: number, index: number): void {
    const cut = this.cuts.get(`${peer} ${transfer}`)
    if (!cut) return
    this.read(peer, cut.chunk(index), ({ bytes, isLast }) => {
      return { type: 'chunk-read', peer, transfer, index, bytes, isLast }
    })
  }

  private closeCut(key: string): void {
    this.cuts.get(key)?.close()
    this.cuts.delete(key)
  }

  private joinState(cut: VersionVector): void {
    this.documents?.joinState(cut).then(
      (heads) => {
        const { position } = heads
        this.step({ type: 'state-joined', heads, position, nowMs: this.options.now() })
      },
      (error: unknown) => {
        this.options.onFailure(error)
        this.step({ type: 'state-join-failed', nowMs: this.options.now() })
      },
    )
  }
}

function drawIdentity(): CellIdentity {
  const cell = randomBytes(16).toString('hex') as CellId
  return { cell, epoch: { ordinal: 1, id: randomBytes(8).toString('hex') } }
}
