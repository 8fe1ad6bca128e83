/**
 * A replica of the reference cell: the design of DESIGN.md section 2 with everything left out that is not needed to keep
 * its promises. Vectors unfolded, ops as sets, a coordination store that never fails, no membership changes. It is there
 * to show that the world is rough enough and the checkers sharp enough, and where its mutants go wrong, one `mutant` each.
 *
 * The path of an op: accepted or received → checked against `staged` (what is on disk or on its way there) → written →
 * synced → applied, which is when `clock` covers it and it is shown. Nothing else enters `clock`.
 */
import { type Dot, makeOrigin, type OriginId, replicaNameOf } from '../../../shared/clock/dot.js'
import { HybridClock } from '../../../shared/clock/hybrid-clock.js'
import { EMPTY_VECTOR, type VersionVector } from '../../../shared/clock/version-vector.js'
import type { ConnectionId, Input, Machine, SyncId } from '../../../shared/simulator/program.js'
import type { ReplicaProgram, ReplicaSetup } from '../cell-under-test.js'
import type { Contents, ServerEvent, WriteId } from '../history.js'
import { keyOf } from '../observed.js'
import { Documents, hashText } from './contents.js'
import { COORDINATION_ORIGIN, COORDINATOR } from './coordinator.js'
import type { Bundle, Entry, Message, OfferedWrite, Op, Stored } from './messages.js'
import type { Mutant } from './mutants.js'
import { covers, isSame, merge, raise } from './vectors.js'

const TICK_MS = 100
const GOSSIP_SOON_MS = 15
const BLOCKED_MS = 200
/** What an op waits for may have died with a disk, its sender's too. It is dropped, and asked for again if anybody has it. */
const ORPHAN_MS = 4_000
const ASK_AGAIN_MS = 300
const MOST_WAIT_MS = 1_000
const LOG_LENGTH = 12
/** A connected peer that lags by more pins no log. */
const LAG_BUDGET = 30
const OPS_PER_MESSAGE = 40

interface Peer {
  readonly name: string
  connection: ConnectionId | undefined
  isOpen: boolean
  origin: OriginId | undefined
  /** What it has on disk, as it said last. */
  clock: VersionVector
  /** The most it ever said it had, in this life of ours. */
  claimed: VersionVector
  /** What it had when it first said hello in this life of ours. */
  hello: VersionVector | undefined
}

interface Client {
  readonly name: string
  readonly connection: ConnectionId
  /** In the order in which they came; the first one may wait for its token. */
  readonly offers: { readonly write: OfferedWrite; readonly token: VersionVector; readonly sinceMs: number }[]
}

interface Parked {
  readonly connection: ConnectionId
  readonly request: Extract<Message, { type: 'read' | 'claim' }>
  readonly lateAtMs: number
  /** Of fresh reads: clocks told by others. */
  readonly told: Map<string, VersionVector>
  captured: { readonly contents: Contents; readonly clock: VersionVector } | undefined
  isProposed: boolean
}

interface OriginLog {
  /** Seqs up to this one are not in the log (any more). */
  below: number
  readonly ops: Op[]
}

export class ReferenceReplica implements ReplicaProgram<Message> {
  private readonly boot: () => Life
  private life: Life

  constructor(machine: Machine<Message, Stored>, setup: ReplicaSetup, mutant: Mutant | undefined) {
    this.boot = () => new Life(machine, setup, mutant)
    this.life = this.boot()
  }

  /** A failed commit ends the life: what was to be committed is gone, and its dots are never used. */
  step(input: Input<Message>): void {
    if (input.type === 'sync-failed') {
      this.life.hangUp()
      this.life = this.boot()
    } else this.life.step(input)
  }

  settled(): Extract<ServerEvent, { type: 'replica-settled' }> {
    return this.life.settled()
  }
}

class Life {
  private readonly machine: Machine<Message, Stored>
  private readonly report: ReplicaSetup['report']
  private readonly members: readonly string[]
  private readonly mutant: Mutant | undefined
  private readonly origin: OriginId
  private readonly predecessor: Dot | undefined
  private readonly hlc = new HybridClock()

  private documents: Documents
  private clock: VersionVector = EMPTY_VECTOR
  private readonly logs = new Map<OriginId, OriginLog>()
  private readonly entries: Entry[] = []
  private readonly owners = new Map<string, Entry>()

  private staged: VersionVector = EMPTY_VECTOR
  private chain = ''
  private readonly committing = new Map<SyncId, readonly Stored[]>()
  private readonly acceptedPlaces = new Map<string, number>()
  /** Offers that are on their way to the disk, and who waits for them. */
  private readonly unanswered = new Map<WriteId, Set<ConnectionId>>()

  private readonly peers = new Map<string, Peer>()
  private readonly clients = new Map<ConnectionId, Client>()
  private readonly heldBack = new Map<string, { readonly op: Op; readonly from: string; readonly sinceMs: number }>()
  private readonly askedAtMs = new Map<string, number>()
  private cut: VersionVector = EMPTY_VECTOR
  private unsaved: { readonly connection: ConnectionId; readonly id: WriteId; readonly clock: VersionVector }[] = []
  private readonly parked = new Map<string, Parked>()
  private ticks = 0
  private isLevelled = false
  private isGossipPlanned = false
  private readonly startedEmpty: boolean
  /** What peers remember of earlier lives of this replica. */
  private owed: VersionVector = EMPTY_VECTOR

  constructor(machine: Machine<Message, Stored>, { members, report }: ReplicaSetup, mutant: Mutant | undefined) {
    this.machine = machine
    this.report = report
    this.members = members
    this.mutant = mutant
    this.documents = new Documents(mutant)
    let lastOrigin: OriginId | undefined
    for (const record of machine.read()) {
      if (record.type === 'origin') lastOrigin = record.origin
      else this.restore(record)
    }
    this.staged = this.clock
    this.startedEmpty = this.clock.size === 0
    const isOwn = lastOrigin && replicaNameOf(lastOrigin) === machine.name
    const kept = mutant === 'reuse-incarnation' && isOwn && this.clock.has(lastOrigin!) ? lastOrigin : undefined
    this.origin = kept ?? makeOrigin(machine.name, machine.entropy.hex(16))
    const lastSeq = lastOrigin && this.clock.get(lastOrigin)
    this.predecessor = lastOrigin && lastSeq ? { origin: lastOrigin, seq: lastSeq } : undefined
    report({ type: 'start', origin: this.origin, clock: this.clock })
    for (const name of members) {
      if (name === machine.name) continue
      const peer = {
        name,
        connection: undefined,
        isOpen: false,
        origin: undefined,
        clock: EMPTY_VECTOR,
        claimed: EMPTY_VECTOR,
        hello: undefined,
      }
      this.peers.set(name, peer)
    }
    this.connect()
    this.level()
    machine.setTimer('tick', TICK_MS)
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
      case 'posted':
        this.receivePost(input.peer, input.message)
        break
      case 'closed':
        this.lose(input.connection, input.peer)
        break
      case 'timer':
        if (input.timer === 'tick') this.tick()
        else if (input.timer === 'gossip') this.gossip()
        else this.giveUp(input.timer)
        break
      case 'synced': {
        const records = this.committing.get(input.sync)
        this.committing.delete(input.sync)
        if (records) this.apply(records)
      }
    }
  }

  hangUp(): void {
    for (const { connection } of this.peers.values()) if (connection !== undefined) this.machine.close(connection)
    for (const connection of this.clients.keys()) this.machine.close(connection)
    for (const parked of this.parked.keys()) this.machine.clearTimer(parked)
    this.machine.clearTimer('gossip')
  }

  settled(): Extract<ServerEvent, { type: 'replica-settled' }> {
    const offers = [...this.clients.values()].reduce((sum, client) => sum + client.offers.length, 0)
    const waiting = this.heldBack.size + this.committing.size + this.parked.size + this.unsaved.length + offers
    return { type: 'replica-settled', clock: this.clock, waiting, held: [...this.documents.held] }
  }

  // Connections

  private connect(): void {
    for (const peer of this.peers.values()) {
      if (peer.connection === undefined && this.machine.name < peer.name) {
        peer.connection = this.machine.open(peer.name)
      }
    }
  }

  private greet(connection: ConnectionId, name: string): void {
    const peer = this.peers.get(name)
    if (!peer) {
      this.clients.set(connection, { name, connection, offers: [] })
      return
    }
    if (peer.connection !== undefined && peer.connection !== connection) this.machine.close(peer.connection)
    peer.connection = connection
    peer.isOpen = true
    this.machine.send(connection, { type: 'hello', origin: this.origin, clock: this.clock, remembered: peer.claimed })
  }

  private lose(connection: ConnectionId, name: string): void {
    this.clients.delete(connection)
    this.unsaved = this.unsaved.filter((waiting) => waiting.connection !== connection)
    for (const [key, parked] of this.parked) if (parked.connection === connection) this.unpark(key)
    const peer = this.peers.get(name)
    if (peer?.connection !== connection) return
    peer.connection = undefined
    peer.isOpen = false
  }

  private receive(connection: ConnectionId, from: string, message: Message): void {
    const peer = this.peers.get(from)
    if (peer) {
      if (peer.connection === connection) this.receiveFromPeer(peer, message)
      return
    }
    const client = this.clients.get(connection)
    if (!client) return
    if (message.type === 'offer') {
      client.offers.push({ write: message.write, token: message.token, sinceMs: this.machine.monotonicMs() })
      this.takeOffers(client)
    } else if (message.type === 'read' || message.type === 'claim') this.park(connection, message)
  }

  private receiveFromPeer(peer: Peer, message: Message): void {
    switch (message.type) {
      case 'hello':
        peer.origin = message.origin
        peer.clock = message.clock
        peer.hello = message.clock
        peer.claimed = merge(peer.claimed, message.clock)
        this.owed = merge(this.owed, message.remembered)
        this.sendMissing(peer, message.clock)
        this.level()
        this.raiseCut()
        break
      case 'ops':
        for (const op of message.ops) this.hold(op, peer.name)
        this.stageDeliverable()
        break
      case 'need':
        this.sendMissing(peer, new Map(this.clock).set(message.origin, message.from - 1))
        break
      case 'bundle':
        if (!covers(this.staged, message.bundle.clock)) this.commit([{ type: 'bundle', bundle: message.bundle }])
        this.stageDeliverable()
        break
      case 'entries':
        this.receiveEntries(message.entries)
        break
      case 'ask-clock':
        this.send(peer, {
          type: 'tell-clock',
          query: message.query,
          clock: this.countsInQuorums ? this.clock : undefined,
        })
        break
      case 'tell-clock': {
        const parked = this.parked.get(message.query)
        if (parked && message.clock) parked.told.set(peer.name, message.clock)
        this.advance(message.query)
      }
    }
  }

  private receivePost(from: string, message: Message): void {
    if (message.type === 'entries') this.receiveEntries(message.entries)
    if (message.type !== 'gossip') return
    const peer = this.peers.get(from)
    // Posts overtake hellos: one of another life says nothing about the disk of this one.
    if (!peer || peer.origin !== message.origin || covers(peer.clock, message.clock)) return
    peer.clock = merge(peer.clock, message.clock)
    peer.claimed = merge(peer.claimed, message.clock)
    this.raiseCut()
  }

  private send(peer: Peer, message: Message): void {
    if (peer.isOpen) this.machine.send(peer.connection!, message)
  }

  // From an offer to the disk

  private takeOffers(client: Client): void {
    for (let next = client.offers[0]; next; next = client.offers[0]) {
      const { write, token } = next
      if (!covers(this.clock, token) && this.mutant !== 'offers-ignore-token') return
      client.offers.shift()
      const isGap = [...write.places].some(
        ([document, place]) => place > this.acceptedPlace(document, write.author) + 1,
      )
      if (isGap && this.mutant !== 'skip-gap-check') {
        this.refuseOffers(client, write.call, 'gap')
        return
      }
      const isKnown = [...write.places].every(
        ([document, place]) => place <= this.acceptedPlace(document, write.author),
      )
      const waiting = this.unanswered.get(write.id)
      if (waiting) waiting.add(client.connection)
      else if (isKnown) this.acknowledge(client.connection, write.id, this.clock)
      else this.accept(client.connection, write)
    }
  }

  /** An offer that cannot be taken ends the connection: what was offered after it must not be taken either. */
  private refuseOffers(client: Client, call: number, code: 'behind' | 'gap'): void {
    client.offers.length = 0
    this.machine.send(client.connection, { type: 'refuse', call, code })
    this.machine.close(client.connection)
    this.lose(client.connection, client.name)
  }

  private acceptedPlace(document: string, author: string): number {
    const accepted = this.acceptedPlaces.get(`${document} ${author}`) ?? 0
    return Math.max(accepted, this.documents.placeOf(document, author))
  }

  private accept(connection: ConnectionId, write: OfferedWrite): void {
    const records: Stored[] = []
    if (!this.staged.has(this.origin)) {
      const seq = (this.predecessor?.seq ?? 0) + 1
      records.push({ type: 'origin', origin: this.origin })
      records.push({ type: 'op', op: this.makeOp(seq, { opens: { predecessor: this.predecessor } }) })
    }
    const before = this.staged.get(this.origin) ?? this.predecessor?.seq ?? 0
    records.push({
      type: 'op',
      op: this.makeOp(before + records.filter(({ type }) => type === 'op').length + 1, { write }),
    })
    for (const [document, place] of write.places) this.acceptedPlaces.set(`${document} ${write.author}`, place)
    this.unanswered.set(write.id, new Set([connection]))
    this.commit(records)
  }

  private makeOp(seq: number, body: Pick<Op, 'opens' | 'write'>): Op {
    const dot = { origin: this.origin, seq }
    const deps = new Map(this.clock)
    deps.delete(this.origin)
    if (this.mutant === 'forget-deps') deps.delete([...deps.keys()].at(-1)!)
    this.chain = hashText(`${this.chain} ${keyOf(dot)} ${body.write?.id}`).toString(16)
    const op: Op = { dot, ...body, deps, chain: this.chain, hlc: this.hlc.next(this.machine.wallMs()) }
    const documents = [...(body.write?.places.keys() ?? [])]
    const id = body.write ? { id: body.write.id } : {}
    const opens = body.opens ? { opens: body.opens } : {}
    this.report({ type: 'accept', dot, ...opens, deps, chain: op.chain, ...id, documents })
    return op
  }

  private hold(op: Op, from: string): void {
    const key = keyOf(op.dot)
    if ((this.staged.get(op.dot.origin) ?? 0) >= op.dot.seq || this.heldBack.has(key)) return
    this.heldBack.set(key, { op, from, sinceMs: this.machine.monotonicMs() })
  }

  private stageDeliverable(): void {
    const records: Stored[] = []
    let staged = this.staged
    for (let hasFound = true; hasFound; ) {
      hasFound = false
      for (const [key, { op }] of this.heldBack) {
        const { origin, seq } = op.dot
        const isDuplicate = (staged.get(origin) ?? 0) >= seq
        if (!isDuplicate && !this.isDeliverable(op, staged)) continue
        this.heldBack.delete(key)
        if (isDuplicate) continue
        records.push({ type: 'op', op })
        staged = raise(staged, origin, seq)
        hasFound = true
      }
    }
    if (records.length > 0) this.commit(records)
  }

  private isDeliverable({ dot, opens, deps }: Op, staged: VersionVector): boolean {
    const last = staged.get(dot.origin)
    if (last === undefined ? !opens : dot.seq !== last + 1) return false
    if (this.mutant === 'skip-deps') return true
    for (const [origin, seq] of deps) {
      if (origin === COORDINATION_ORIGIN && this.mutant === 'red-late') continue
      if ((staged.get(origin) ?? 0) < seq) return false
    }
    return true
  }

  private receiveEntries(entries: readonly Entry[]): void {
    const known = this.staged.get(COORDINATION_ORIGIN) ?? 0
    const fresh = entries.filter(({ index }) => index > known)
    if (fresh[0]?.index !== known + 1) return
    this.commit([{ type: 'entries', entries: fresh }])
    this.stageDeliverable()
  }

  private commit(records: readonly Stored[]): void {
    for (const record of records) this.staged = merge(this.staged, clockOf(record))
    this.machine.write(records)
    if (this.mutant === 'skip-fsync') this.apply(records)
    else this.committing.set(this.machine.sync(), records)
    if (this.mutant === 'show-before-fsync') {
      const [sync] = [...this.committing.keys()].slice(-1)
      this.committing.set(sync!, [])
      this.apply(records, false)
    }
  }

  // From the disk on

  private apply(records: readonly Stored[], isDurable = true): void {
    if (records.length === 0) {
      this.report({ type: 'durable', clock: this.clock })
      return
    }
    let clock = this.clock
    for (const record of records) clock = merge(clock, clockOf(record))
    if (isDurable) this.report({ type: 'durable', clock })
    const own: Op[] = []
    for (const record of records) {
      this.restore(record)
      if (record.type === 'op') {
        const { dot, chain } = record.op
        this.report({ type: 'deliver', dot, chain })
        if (dot.origin === this.origin) own.push(record.op)
      } else if (record.type === 'bundle') {
        this.report({ type: 'install', clock: this.clock, held: [...this.documents.held] })
      } else if (record.type === 'entries') {
        for (const { index, call } of record.entries) {
          this.report({ type: 'coordinate', origin: COORDINATION_ORIGIN, index, entry: `${call}` })
        }
      }
    }
    this.push(own)
    for (const op of own) this.answerOffers(op)
    this.level()
    this.raiseCut()
    for (const client of [...this.clients.values()]) this.takeOffers(client)
    this.stageDeliverable()
    if (this.isGossipPlanned) return
    this.isGossipPlanned = true
    this.machine.setTimer('gossip', GOSSIP_SOON_MS)
  }

  /** Takes a record into the state shown: at the start from the disk, later once it is there. */
  private restore(record: Stored): void {
    switch (record.type) {
      case 'op': {
        const { op } = record
        this.logOf(op.dot.origin).ops.push(op)
        this.show(op)
        break
      }
      case 'bundle':
        this.join(record.bundle)
        break
      case 'entries':
        this.takeEntries(record.entries)
        break
      case 'truncated':
        this.truncate(record.origin, record.below)
    }
    this.clock = merge(this.clock, clockOf(record))
  }

  private show(op: Op): void {
    this.hlc.observe(op.hlc)
    if (op.write && this.mutant !== 'wall-clock-registers') this.hlc.observe(op.write.stamp)
    for (const document of this.documents.apply(op)) this.report({ type: 'pending', document, structs: 1, deletes: 0 })
  }

  /** State transfer adds; it replaces nothing. Ops that came by it are in no log: they cannot be asked for one by one. */
  private join({ clock, ops, entries }: Bundle): void {
    if (this.mutant === 'install-by-replace') {
      this.documents = new Documents(this.mutant)
      this.clock = EMPTY_VECTOR
    }
    for (const op of ops) this.show(op)
    this.takeEntries(entries)
    for (const [origin, seq] of clock) {
      const log = this.logOf(origin)
      if (seq <= (log.ops.at(-1)?.dot.seq ?? log.below)) continue
      log.ops.length = 0
      log.below = seq
    }
  }

  private takeEntries(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.index !== this.entries.length + 1) continue
      this.entries.push(entry)
      if (!this.owners.has(entry.key)) this.owners.set(entry.key, entry)
    }
  }

  private push(ops: readonly Op[]): void {
    for (const peer of this.peers.values()) if (ops.length > 0) this.sendOps(peer, ops)
  }

  private sendOps(peer: Peer, ops: readonly Op[]): void {
    if (!peer.isOpen) return
    for (const { dot } of ops) this.report({ type: 'send', to: peer.name, dot })
    this.send(peer, { type: 'ops', ops })
  }

  /** What is here and not under `clock`: by log where it reaches back far enough, otherwise all at one cut. */
  private sendMissing(peer: Peer, clock: VersionVector): void {
    const known = clock.get(COORDINATION_ORIGIN) ?? 0
    if (known < this.entries.length) this.send(peer, { type: 'entries', entries: this.entries.slice(known) })
    const missing: Op[] = []
    for (const [origin, seq] of this.clock) {
      const from = clock.get(origin) ?? 0
      if (from >= seq || origin === COORDINATION_ORIGIN) continue
      const { below, ops } = this.logOf(origin)
      if (from < below) {
        const bundle = { clock: this.clock, ops: [...this.documents.ops.values()], entries: [...this.entries] }
        this.send(peer, { type: 'bundle', bundle })
        return
      }
      missing.push(...ops.filter(({ dot }) => dot.seq > from))
    }
    // In an order that extends causality, so that little is held back.
    missing.sort((one, other) => one.hlc - other.hlc || one.dot.seq - other.dot.seq)
    for (let at = 0; at < missing.length; at += OPS_PER_MESSAGE)
      this.sendOps(peer, missing.slice(at, at + OPS_PER_MESSAGE))
  }

  private logOf(origin: OriginId): OriginLog {
    let log = this.logs.get(origin)
    if (!log) {
      log = { below: 0, ops: [] }
      this.logs.set(origin, log)
    }
    return log
  }

  // Acknowledgements and the majority-durable cut

  private answerOffers({ dot, deps, write }: Op): void {
    if (!write) return
    const clock = raise(deps, dot.origin, dot.seq)
    for (const connection of this.unanswered.get(write.id) ?? []) this.acknowledge(connection, write.id, clock)
    this.unanswered.delete(write.id)
  }

  private acknowledge(connection: ConnectionId, id: WriteId, clock: VersionVector): void {
    if (!this.clients.has(connection)) return
    this.report({ type: 'acknowledge', id, concern: 'local', clock })
    this.machine.send(connection, { type: 'written', id, clock, stamp: this.hlc.latest })
    this.unsaved.push({ connection, id, clock })
    this.tellSaved()
  }

  private tellSaved(): void {
    this.unsaved = this.unsaved.filter(({ connection, id, clock }) => {
      if (!covers(this.cut, clock) && this.mutant !== 'saved-too-early') return true
      this.report({ type: 'acknowledge', id, concern: 'majority', clock })
      this.machine.send(connection, { type: 'saved', id, clock, stamp: this.hlc.latest })
      return false
    })
  }

  /** By origin the majority-th largest of what the members have on disk. As announced it never goes down. */
  private raiseCut(): void {
    const majority = this.mutant === 'wrong-majority-cut' ? 1 : Math.floor(this.members.length / 2) + 1
    const clocks = [this.clock, ...[...this.peers.values()].map(({ clock }) => clock)]
    const cut = new Map(this.cut)
    for (const clock of clocks) {
      for (const [origin, reached] of clock) {
        if (reached <= (cut.get(origin) ?? 0)) continue
        const seqs = clocks.map((other) => other.get(origin) ?? 0).sort((one, other) => other - one)
        if (seqs[majority - 1]! > (cut.get(origin) ?? 0)) cut.set(origin, seqs[majority - 1]!)
      }
    }
    if (!isSame(cut, this.cut)) {
      this.cut = cut
      this.report({ type: 'majority-cut', cut })
      this.tellSaved()
    }
    for (const key of [...this.parked.keys()]) this.advance(key)
  }

  /** After a start, until it has what N-⌊N/2⌋ others had: its disk may be an old one, and a majority knows that. */
  private level(): void {
    if (this.isLevelled) return
    const others = this.members.length - 1
    const needed = Math.min(others, this.members.length - Math.floor(this.members.length / 2))
    const met = [...this.peers.values()].filter(({ hello }) => hello && covers(this.clock, hello)).length
    if (met < needed) return
    this.isLevelled = true
    this.report({ type: 'recovered' })
  }

  private get countsInQuorums(): boolean {
    if (this.mutant === 'trust-old-disk' && !this.startedEmpty) return covers(this.clock, this.owed)
    return this.isLevelled || this.mutant === 'count-too-soon'
  }

  // Requests that may have to wait

  private park(connection: ConnectionId, request: Parked['request']): void {
    const key = `park ${connection} ${request.call}`
    const waitMs = Math.min(request.waitMs, MOST_WAIT_MS)
    const lateAtMs = this.machine.monotonicMs() + waitMs
    this.parked.set(key, { connection, request, lateAtMs, told: new Map(), captured: undefined, isProposed: false })
    if (this.mutant !== 'park-for-ever') this.machine.setTimer(key, waitMs)
    if (request.type === 'read' && request.level === 'fresh') {
      for (const peer of this.peers.values()) this.send(peer, { type: 'ask-clock', query: key })
    }
    this.advance(key)
  }

  private unpark(key: string): void {
    this.parked.delete(key)
    this.machine.clearTimer(key)
  }

  private giveUp(key: string): void {
    const parked = this.parked.get(key)
    if (!parked) return
    const { connection, request } = parked
    if (this.mutant === 'answer-anyway' && request.type === 'read') {
      this.answerRead(key, parked, { contents: this.documents.read(request.documents), clock: this.clock })
      return
    }
    this.unpark(key)
    const code = covers(this.clock, request.token) ? 'late' : 'behind'
    this.machine.send(connection, { type: 'refuse', call: request.call, code })
  }

  private advance(key: string): void {
    const parked = this.parked.get(key)
    if (!parked) return
    const { request } = parked
    if (request.type === 'claim') this.advanceClaim(key, parked, request)
    else this.advanceRead(key, parked, request)
  }

  private advanceRead(
    key: string,
    parked: Parked,
    { documents, level, token }: Extract<Message, { type: 'read' }>,
  ): void {
    const ignoresToken = level === 'eventual' || this.mutant === 'reads-ignore-token'
    if (!parked.captured) {
      if (!ignoresToken && !covers(this.clock, token)) return
      if (level === 'fresh' && this.mutant !== 'fresh-alone') {
        const members = parked.told.size + (this.countsInQuorums ? 1 : 0)
        if (members < Math.floor(this.members.length / 2) + 1) return
        for (const clock of parked.told.values()) if (!covers(this.clock, clock)) return
      }
      const clock = this.mutant === 'serve-ahead' ? this.staged : this.clock
      parked.captured = { contents: this.documents.read(documents), clock }
    }
    const mustBeSaved = level === 'majority' || level === 'fresh'
    if (!mustBeSaved || covers(this.cut, parked.captured.clock)) this.answerRead(key, parked, parked.captured)
  }

  private answerRead(key: string, parked: Parked, captured: NonNullable<Parked['captured']>): void {
    const { contents, clock } = captured
    this.unpark(key)
    this.report({ type: 'serve', contents, clock })
    this.answer(parked, { type: 'read', contents }, clock)
  }

  private advanceClaim(key: string, parked: Parked, request: Extract<Message, { type: 'claim' }>): void {
    if (!covers(this.clock, request.token)) return
    const owner = this.owners.get(request.key)
    const isDecided = request.isRead || this.entries.some(({ call }) => call === request.call)
    if (isDecided) {
      this.unpark(key)
      const deps = this.mutant === 'forget-claim-past' ? EMPTY_VECTOR : owner?.deps
      this.answer(parked, { type: 'claim', owner: owner?.owner, deps: owner?.deps }, this.clock, deps)
      return
    }
    if (!covers(this.cut, request.token) && this.mutant !== 'propose-early') return
    if (!parked.isProposed) this.report({ type: 'propose', key: request.key, deps: request.token })
    parked.isProposed = true
    this.propose(request)
  }

  private propose({ key, owner, call, token }: Extract<Message, { type: 'claim' }>): void {
    this.machine.post(COORDINATOR, { type: 'propose', entry: { key, owner, call, deps: token } })
  }

  private answer(
    { connection, request }: Parked,
    response: Extract<Message, { type: 'answer' }>['response'],
    clock: VersionVector,
    past: VersionVector = EMPTY_VECTOR,
  ): void {
    const { call } = request
    this.machine.send(connection, { type: 'answer', call, response, clock, past, stamp: this.hlc.latest })
  }

  // From time to time

  private tick(): void {
    this.ticks++
    this.machine.setTimer('tick', TICK_MS)
    this.connect()
    this.gossip()
    if (this.mutant !== 'never-ask') this.askForMissing()
    if (this.ticks % 2 === 0) this.machine.post(COORDINATOR, { type: 'ask-entries', from: this.entries.length + 1 })
    if (this.ticks % 10 === 0) this.truncateLogs()
    if (this.ticks % 20 === 0) this.printDocuments()
    for (const { request, isProposed } of this.parked.values()) {
      if (request.type === 'claim' && isProposed) this.propose(request)
    }
    const lateSinceMs = this.machine.monotonicMs() - MOST_WAIT_MS
    for (const client of [...this.clients.values()]) {
      const [first] = client.offers
      if (first && first.sinceMs < lateSinceMs) this.refuseOffers(client, first.write.call, 'behind')
    }
  }

  private gossip(): void {
    this.isGossipPlanned = false
    const clock = this.mutant === 'gossip-received' ? this.staged : this.clock
    for (const { name } of this.peers.values()) this.machine.post(name, { type: 'gossip', origin: this.origin, clock })
  }

  /** An op that waits is unblocked by who sent it; what a peer is known to have is asked of that peer. */
  private askForMissing(): void {
    const nowMs = this.machine.monotonicMs()
    for (const [key, { op, from, sinceMs }] of this.heldBack) {
      if (nowMs - sinceMs < BLOCKED_MS) continue
      if (nowMs - sinceMs > ORPHAN_MS) this.heldBack.delete(key)
      const peer = this.peers.get(from)!
      if (!op.opens) this.ask(peer, op.dot.origin, op.dot.seq - 1)
      for (const [origin, seq] of op.deps) this.ask(peer, origin, seq)
    }
    for (const peer of this.peers.values()) for (const [origin, seq] of peer.clock) this.ask(peer, origin, seq)
  }

  private ask(peer: Peer, origin: OriginId, seq: number): void {
    const has = this.staged.get(origin) ?? 0
    const key = `${peer.name} ${origin}`
    const nowMs = this.machine.monotonicMs()
    const asked = this.askedAtMs.get(key)
    if (has >= seq || !peer.isOpen) {
      this.askedAtMs.delete(key)
      return
    }
    // The first time it may be on its way.
    if (asked === undefined) this.askedAtMs.set(key, nowMs - ASK_AGAIN_MS + TICK_MS)
    if (asked === undefined || nowMs - asked < ASK_AGAIN_MS) return
    this.askedAtMs.set(key, nowMs)
    this.report({ type: 'need', peer: peer.name, origin, from: has + 1 })
    this.send(peer, { type: 'need', origin, from: has + 1 })
  }

  private truncateLogs(): void {
    for (const [origin, { ops }] of this.logs) {
      let below = ops.at(-LOG_LENGTH - 1)?.dot.seq ?? 0
      if (this.mutant !== 'truncate-early') below = Math.min(below, this.cut.get(origin) ?? 0)
      for (const { isOpen, clock } of this.peers.values()) {
        const has = clock.get(origin) ?? 0
        if (isOpen && below - has <= LAG_BUDGET) below = Math.min(below, has)
      }
      if (below < (ops[0]?.dot.seq ?? Number.POSITIVE_INFINITY)) continue
      this.report({ type: 'truncate', origin, seq: below })
      this.machine.write([{ type: 'truncated', origin, below }])
      this.truncate(origin, below)
    }
  }

  private truncate(origin: OriginId, below: number): void {
    const log = this.logOf(origin)
    log.ops.splice(0, log.ops.filter(({ dot }) => dot.seq <= below).length)
    log.below = Math.max(log.below, below)
  }

  private printDocuments(): void {
    for (const document of this.documents.names) {
      this.report({ type: 'fingerprint', document, ...this.documents.fingerprint(document) })
    }
  }
}

/** What a record adds to the clock. */
function clockOf(record: Stored): VersionVector {
  switch (record.type) {
    case 'op':
      return new Map([[record.op.dot.origin, record.op.dot.seq]])
    case 'bundle':
      return record.bundle.clock
    case 'entries':
      return new Map([[COORDINATION_ORIGIN, record.entries.at(-1)!.index]])
    default:
      return EMPTY_VECTOR
  }
}
