/**
 * A few replicas made of the peer cores alone: a log and a set of ops in memory, frames in queues. Whoever drives it
 * decides what happens next. Each replica keeps the truth about every op's past and complains when it is broken.
 */
import assert from 'node:assert/strict'
import { CatchUp, type CatchUpEffect } from '../../server/replica/catch-up.js'
import type { LogAnswer } from '../../server/replica/op-stream.js'
import { type LinkEffect, type LinkInput, type LinkLimits, PeerLink } from '../../server/replica/peer-link.js'
import { CausalDelivery, type CausalEffect, type Head } from '../../shared/causal/delivery.js'
import type { CellId } from '../../shared/clock/cell.js'
import { type Dot, makeOrigin, type OriginId } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import { Lineages } from '../../shared/clock/lineages.js'
import { maxVector, type VersionVector } from '../../shared/clock/version-vector.js'
import type { CausewayError } from '../../shared/errors/error.js'
import type { Op } from '../../shared/protocol/op.js'
import { decodeOpBatch, encodeOpBatch } from '../../shared/protocol/op-codec.js'
import type { LoggedOp, LogRange } from '../../shared/protocol/op-log.js'
import { opCost, type PeerMessage } from '../../shared/protocol/peer.js'
import { PeerDecoder, PeerEncoder } from '../../shared/protocol/peer-codec.js'
import { showDot, textChain } from './causal-text.js'

const IDENTITY = { cell: 'c0'.repeat(16) as CellId, epoch: { ordinal: 1, id: 'e0'.repeat(8) } }

/** What outlives a process. */
interface Disk {
  ops: Map<string, Op>
  log: LoggedOp[]
  heads: Map<OriginId, Head>
  vector: VersionVector
  /** Below which ops are no longer in the log. */
  floor: VersionVector
  last: Dot | undefined
  position: number
}

const emptyDisk = (): Disk => {
  return {
    ops: new Map(),
    log: [],
    heads: new Map(),
    vector: new Map(),
    floor: new Map(),
    last: undefined,
    position: 0,
  }
}

interface Connection {
  readonly encoder: PeerEncoder
  readonly decoder: PeerDecoder
}

export class TextReplica {
  readonly name: string
  private readonly cell: TextCell
  readonly disk: Disk
  readonly origin: OriginId
  private readonly incarnation: string
  readonly lineages = new Lineages()
  readonly causal: CausalDelivery
  readonly catchUp: CatchUp
  readonly links = new Map<string, PeerLink>()
  readonly connections = new Map<string, Connection>()
  /** Answers of the disk that are still to come. */
  readonly later: (() => void)[] = []
  private opened = false
  private readonly cuts = new Map<number, { vector: VersionVector; ops: Op[] }>()
  private aside: Op[] = []
  readonly errors: CausewayError[] = []
  readonly refusals: string[] = []
  /** Arrivals of each op. */
  readonly arrivals = new Map<string, number>()
  statesTaken = 0

  constructor(cell: TextCell, name: string, incarnation: string, disk: Disk) {
    this.cell = cell
    this.name = name
    this.incarnation = incarnation
    this.disk = disk
    this.origin = makeOrigin(name, incarnation)
    for (const op of disk.ops.values()) if (op.kind === 'open') this.lineages.learnOpening(op.dot, op.predecessor)
    const { vector, heads } = disk
    this.causal = new CausalDelivery({
      own: this.origin,
      lineages: this.lineages,
      chain: textChain,
      vector,
      heads,
      limits: cell.holdBack,
    })
    this.catchUp = new CatchUp({ lineages: this.lineages })
    this.catch(this.catchUp.step({ type: 'advanced', cut: vector, floor: disk.floor, nowMs: cell.nowMs }))
    const others = cell.names.filter((other) => other !== name)
    for (const peer of others) {
      this.links.set(peer, new PeerLink({ peer, ownName: name, lineages: this.lineages, limits: cell.linkLimits }))
    }
    this.catch(this.catchUp.step({ type: 'members-changed', names: new Set(others) }))
  }

  connect(peer: string): void {
    const { disk, incarnation, name } = this
    this.connections.set(peer, { encoder: new PeerEncoder(), decoder: new PeerDecoder() })
    const heads = [...disk.vector.keys()].map((origin) => ({ origin, ...disk.heads.get(origin)! }))
    const facts = {
      identity: IDENTITY,
      configEpoch: 1,
      name,
      incarnation,
      standing: 'active',
      life: 1,
      claims: new Map(),
    } as const
    this.link(peer, {
      type: 'connected',
      facts: { ...facts, durable: disk.vector, heads },
      position: disk.position,
      nowMs: this.cell.nowMs,
    })
  }

  disconnect(peer: string): void {
    this.connections.delete(peer)
    this.link(peer, { type: 'disconnected' })
    this.catch(this.catchUp.step({ type: 'link-closed', peer, nowMs: this.cell.nowMs }))
    this.deliver(this.causal.step({ type: 'peer-lost', peer }))
  }

  receive(peer: string, frame: Uint8Array): void {
    const connection = this.connections.get(peer)
    if (!connection) return
    this.link(peer, { type: 'received', message: connection.decoder.decode(frame), nowMs: this.cell.nowMs })
  }

  write(): void {
    const { disk, origin } = this
    const deps = new Map(disk.vector)
    deps.delete(origin)
    const dot = { origin, seq: (disk.last?.seq ?? 0) + 1 }
    const hlc = (this.cell.written.size + 1) as HybridTime
    const predecessor = disk.last && !this.opened ? { predecessor: disk.last } : {}
    const op: Op = this.opened
      ? {
          kind: 'data',
          dot,
          deps,
          hlc,
          parts: [{ document: 'notes', generation: 0, update: new Uint8Array(this.cell.updateBytes) }],
        }
      : { kind: 'open', dot, deps, hlc, ...predecessor }
    this.opened = true
    this.cell.written.set(showDot(dot), new Set(disk.ops.keys()))
    const chain = textChain(disk.heads.get(origin)?.chain, op)
    disk.last = dot
    this.store([{ op, chain }])
    this.deliver(this.causal.step({ type: 'own-committed', op, chain }))
  }

  tick(): void {
    const { nowMs } = this.cell
    this.deliver(this.causal.step({ type: 'tick', nowMs }))
    this.catch(this.catchUp.step({ type: 'tick', nowMs }))
    for (const peer of this.links.keys()) this.link(peer, { type: 'tick', nowMs })
  }

  /** Forgets the older half of the log, as far as a majority holds it. */
  prune(): void {
    const { disk, cell } = this
    const half = disk.log.slice(0, Math.ceil(disk.log.length / 2))
    const isHeld = ({ op }: LoggedOp): boolean =>
      cell.all.filter(({ disk: other }) => other.ops.has(showDot(op.dot))).length > cell.names.length / 2
    const keep = half.findIndex((logged) => !isHeld(logged))
    const pruned = disk.log.splice(0, keep < 0 ? half.length : keep)
    for (const { op } of pruned) disk.floor = maxVector(disk.floor, new Map([[op.dot.origin, op.dot.seq]]))
    this.advanced()
  }

  private store(ops: readonly { op: Op; chain: Uint8Array; from?: string }[]): void {
    const { disk } = this
    const logged = ops.map(({ op, chain, from }): LoggedOp => {
      const key = showDot(op.dot)
      assert(!disk.ops.has(key), `${this.name} delivers ${key} twice`)
      for (const cause of this.cell.written.get(key)!)
        assert(disk.ops.has(cause), `${this.name} delivers ${key} before ${cause}`)
      disk.ops.set(key, op)
      disk.heads.set(op.dot.origin, { seq: op.dot.seq, chain })
      if (op.kind === 'open') this.lineages.learnOpening(op.dot, op.predecessor)
      disk.vector = this.lineages.merge(disk.vector, new Map([[op.dot.origin, op.dot.seq]]))
      const entry = { op, chain, position: ++disk.position, ...(from !== undefined && { from }) }
      disk.log.push(entry)
      return entry
    })
    this.advanced()
    for (const peer of this.links.keys()) {
      this.link(peer, { type: 'committed', ops: logged, position: disk.position, durable: disk.vector })
    }
  }

  private advanced(): void {
    const { vector: cut, floor } = this.disk
    this.catch(this.catchUp.step({ type: 'advanced', cut, floor, nowMs: this.cell.nowMs }))
  }

  private deliver(effects: readonly CausalEffect[]): void {
    for (const effect of effects) {
      switch (effect.type) {
        case 'deliver':
          this.store(effect.ops)
          break
        case 'request':
          this.catch(
            this.catchUp.step({ type: 'blocked', peer: effect.from, beyond: effect.beyond, upTo: effect.upTo }),
          )
          break
        default:
          assert.fail(`${this.name}: ${JSON.stringify(effect)}`)
      }
    }
  }

  private catch(effects: readonly CatchUpEffect[]): void {
    for (const { peer, ...effect } of effects) this.link(peer, effect as LinkInput)
  }

  private link(peer: string, input: LinkInput): void {
    for (const effect of this.links.get(peer)!.step(input)) this.perform(peer, effect)
  }

  private perform(peer: string, effect: LinkEffect): void {
    const { disk, cell } = this
    const { nowMs } = cell
    switch (effect.type) {
      case 'send': {
        const connection = this.connections.get(peer)
        if (connection) cell.frames(this.name, peer).push(connection.encoder.encode(effect.message))
        cell.onSend(this.name, peer, effect.message)
        break
      }
      case 'read-chains': {
        const chains = effect.dots.map(({ origin, seq }) => {
          const head = disk.heads.get(origin)
          const logged = disk.log.find(({ op }) => op.dot.origin === origin && op.dot.seq === seq)
          return head?.seq === seq ? head.chain : logged?.chain
        })
        this.later.push(() => this.link(peer, { type: 'chains-read', chains }))
        break
      }
      case 'read-log': {
        const answer = { read: effect.read, ...this.readLog(effect.range) }
        this.later.push(() => this.link(peer, { type: 'log-read', answer }))
        break
      }
      case 'opened':
        assert.equal(effect.relation, 'same')
        this.catch(this.catchUp.step({ type: 'link-opened', peer, vector: effect.peer.durable, nowMs }))
        break
      case 'heard':
        this.catch(this.catchUp.step({ type: 'heard', peer, vector: effect.vector }))
        break
      case 'runs':
        for (const { ops } of effect.runs) {
          for (const { dot } of ops) this.arrivals.set(showDot(dot), (this.arrivals.get(showDot(dot)) ?? 0) + 1)
        }
        this.catch(this.catchUp.step({ type: 'arrived', peer, nowMs }))
        this.deliver(this.causal.step({ type: 'runs-received', from: peer, runs: effect.runs, nowMs }))
        this.link(peer, { type: 'settled', receipt: effect.receipt })
        break
      case 'pulled':
        this.catch(this.catchUp.step({ type: 'pulled', peer, pull: effect.pull, outcome: effect.outcome, nowMs }))
        break
      case 'open-cut':
        this.cuts.set(effect.transfer, { vector: disk.vector, ops: [...disk.ops.values()] })
        this.later.push(() =>
          this.link(peer, {
            type: 'cut-opened',
            transfer: effect.transfer,
            cut: this.cuts.get(effect.transfer)!.vector,
          }),
        )
        break
      case 'read-chunk': {
        const { transfer, index } = effect
        const ops = this.cuts.get(transfer)!.ops
        const bytes = encodeOpBatch(ops.slice(index * cell.chunkOps, (index + 1) * cell.chunkOps))
        const isLast = (index + 1) * cell.chunkOps >= ops.length
        this.later.push(() => this.link(peer, { type: 'chunk-read', transfer, index, bytes, isLast }))
        break
      }
      case 'close-cut':
        this.cuts.delete(effect.transfer)
        break
      case 'begin-state':
      case 'discard-state':
        this.aside = []
        break
      case 'store-chunk': {
        const { index, receipt, bytes } = effect
        this.aside.push(...decodeOpBatch(bytes.slice()))
        this.catch(this.catchUp.step({ type: 'arrived', peer, nowMs }))
        this.later.push(() => this.link(peer, { type: 'chunk-stored', index, receipt }))
        break
      }
      case 'join-state':
        this.join(effect.cut)
        this.catch(this.catchUp.step({ type: 'state-ended', isJoined: true, nowMs }))
        break
      case 'state-failed':
        this.catch(this.catchUp.step({ type: 'state-ended', isJoined: false, nowMs }))
        break
      case 'close':
        this.errors.push(effect.error)
        cell.cut(this.name, peer)
        break
      case 'refused':
        this.refusals.push(effect.code)
        break
      case 'birth':
        assert.fail('no births here')
    }
  }

  private readLog({ after, beyond, upTo, names, limitCost }: LogRange): Omit<LogAnswer, 'read'> {
    const { disk, lineages } = this
    const isWanted = ({ dot }: Op): boolean =>
      !lineages.includes(beyond, dot) &&
      (!upTo || lineages.includes(upTo, dot)) &&
      (!names || names.has(dot.origin.slice(0, dot.origin.indexOf('.'))))
    const inLog = new Set(disk.log.map(({ op }) => showDot(op.dot)))
    const isPruned = [...disk.ops.values()].some((op) => isWanted(op) && !inLog.has(showDot(op.dot)))
    const all = disk.log.filter(({ op, position }) => position > after && isWanted(op))
    const ops: LoggedOp[] = []
    let cost = 0
    for (const logged of all) {
      cost += opCost(logged.op)
      if (ops.length > 0 && cost > limitCost) break
      const { from, ...rest } = logged
      void from
      ops.push(rest)
    }
    const atEnd = ops.length === all.length
    return { ops, position: atEnd ? disk.position : ops.at(-1)!.position, atEnd, isPruned }
  }

  private join(cut: VersionVector): void {
    const { disk } = this
    for (const op of this.aside) {
      if (op.kind === 'open') this.lineages.learnOpening(op.dot, op.predecessor)
      disk.ops.set(showDot(op.dot), op)
    }
    const chains = new Map<OriginId, Uint8Array>()
    const heads = new Map<OriginId, Head>()
    for (const op of this.aside) {
      const chain = textChain(chains.get(op.dot.origin), op)
      chains.set(op.dot.origin, chain)
      heads.set(op.dot.origin, { seq: op.dot.seq, chain })
    }
    for (const [origin, head] of heads) if (head.seq > (disk.heads.get(origin)?.seq ?? 0)) disk.heads.set(origin, head)
    disk.vector = this.lineages.merge(disk.vector, cut)
    disk.floor = maxVector(disk.floor, cut)
    this.statesTaken++
    this.deliver(this.causal.step({ type: 'joined', vector: cut, heads }))
    this.advanced()
    for (const peer of this.links.keys()) {
      this.link(peer, { type: 'committed', ops: [], position: disk.position, durable: disk.vector })
    }
  }
}

export class TextCell {
  readonly names: readonly string[]
  readonly linkLimits: Partial<LinkLimits>
  readonly holdBack: { readonly ops: number; readonly bytes: number }
  readonly updateBytes: number
  readonly chunkOps = 3
  nowMs = 0
  /** The past of each op, as it was when it was written. */
  readonly written = new Map<string, Set<string>>()
  private readonly replicas = new Map<string, TextReplica>()
  private readonly queues = new Map<string, Uint8Array[]>()
  private starts = 0
  onSend: (from: string, to: string, message: PeerMessage) => void = () => {}

  constructor(
    options: {
      names?: readonly string[]
      linkLimits?: Partial<LinkLimits>
      holdBackOps?: number
      updateBytes?: number
    } = {},
  ) {
    this.names = options.names ?? ['a', 'b', 'c']
    this.linkLimits = options.linkLimits ?? {}
    this.holdBack = { ops: options.holdBackOps ?? 10_000, bytes: 1e9 }
    this.updateBytes = options.updateBytes ?? 8
    for (const name of this.names) this.start(name, emptyDisk())
  }

  replica(name: string): TextReplica {
    return this.replicas.get(name)!
  }

  get all(): readonly TextReplica[] {
    return [...this.replicas.values()]
  }

  frames(from: string, to: string): Uint8Array[] {
    const key = `${from} ${to}`
    const queue = this.queues.get(key) ?? []
    this.queues.set(key, queue)
    return queue
  }

  connect(left: string, right: string): void {
    if (this.replica(left).connections.has(right)) return
    this.replica(left).connect(right)
    this.replica(right).connect(left)
  }

  connectAll(): void {
    for (const left of this.names) for (const right of this.names) if (left < right) this.connect(left, right)
  }

  cut(left: string, right: string): void {
    for (const [from, to] of [
      [left, right],
      [right, left],
    ] as const) {
      this.frames(from, to).length = 0
      if (this.replica(from).connections.has(to)) this.replica(from).disconnect(to)
    }
  }

  /** A new process on the same disk. */
  restart(name: string): void {
    for (const other of this.names) if (other !== name) this.cut(name, other)
    this.start(name, this.replica(name).disk)
  }

  /** One thing that is under way, chosen by `choice`; false where nothing is. */
  move(choice: number): boolean {
    const moves: (() => void)[] = []
    for (const from of this.names) {
      for (const to of this.names) {
        const queue = this.queues.get(`${from} ${to}`)
        if (queue && queue.length > 0) moves.push(() => this.replica(to).receive(from, queue.shift()!))
      }
      const { later } = this.replica(from)
      if (later.length > 0) moves.push(() => later.shift()!())
    }
    const move = moves[choice % Math.max(1, moves.length)]
    move?.()
    return move !== undefined
  }

  tick(ms: number): void {
    this.nowMs += ms
    for (const replica of this.all) replica.tick()
  }

  /** Lets everything under way come to its end, and time pass. */
  run(ms: number): void {
    for (let passed = 0; passed < ms; passed += 50) {
      for (let moves = 0; this.move(moves); moves++) assert(moves < 100_000, 'the cell does not come to rest')
      this.tick(50)
    }
  }

  private start(name: string, disk: Disk): void {
    this.starts++
    this.replicas.set(name, new TextReplica(this, name, this.starts.toString(16).padStart(16, '0'), disk))
  }
}
