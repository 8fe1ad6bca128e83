/**
 * Faults: what can befall nodes, links, disks and clocks, drawn from a random source of its own. It stays within what
 * the promises allow: disks are replaced on a minority at a time, the next only when the last has recovered.
 */
import type { Random } from '../../shared/base/random.js'
import type { Stage } from './stage.js'

const FIRST_MS = 1_500
const BACKUP_EVERY_MS = 4_000
/** Longer than a replica takes to start again. */
const UNSEEN_MS = 4_000
const WATCH_EVERY_MS = 100

/** By weight. */
const FAULTS = {
  kill: 3,
  'power-cut': 3,
  'power-cut-at-operation': 4,
  pause: 2,
  'disk-lost': 2,
  'disk-restored': 3,
  'disk-cloned': 1,
  /** Cut off with its clients, and then its disk is replaced: what only it had is gone. */
  'disk-lost-alone': 3,
  /** Its disk is replaced while one who knows what was on it is out of reach of the others. */
  'disk-lost-unseen': 3,
  'disk-full': 1,
  'disk-failing': 1,
  'disk-slow': 2,
  'isolate-replica': 3,
  'cut-link': 3,
  'cut-one-way': 3,
  'slow-link': 2,
  'break-connections': 3,
  'cut-store': 1,
  'clock-skew': 3,
  'client-kill': 3,
  'client-gone': 2,
  'client-cut': 2,
  'clients-hop': 4,
} as const

export type Fault = keyof typeof FAULTS

const LOTTERY = (Object.keys(FAULTS) as Fault[]).flatMap((fault) => Array.from({ length: FAULTS[fault] }, () => fault))

export class Nemesis<Message, Stored> {
  /** What has been done, as `12034 disk-lost b`. */
  readonly log: string[] = []
  private readonly stage: Stage<Message, Stored>
  private readonly random: Random
  private readonly endsAtMs: number
  private readonly addClient: () => void
  private readonly backups = new Map<string, (readonly Stored[])[]>()
  private readonly restarting = new Set<string>()
  /** Undoes what still lasts. */
  private readonly undo = new Set<() => void>()

  constructor(
    stage: Stage<Message, Stored>,
    random: Random,
    plan: { readonly faults: number; readonly endsAtMs: number; readonly addClient: () => void },
  ) {
    this.stage = stage
    this.random = random
    this.endsAtMs = plan.endsAtMs
    this.addClient = plan.addClient
    const { world } = stage
    for (let count = 0; count < plan.faults; count++) {
      world.at(random.between(FIRST_MS, plan.endsAtMs - FIRST_MS), () => this.strike(random.pick(LOTTERY)))
    }
    for (let atMs = BACKUP_EVERY_MS; atMs < plan.endsAtMs; atMs += BACKUP_EVERY_MS) world.at(atMs, () => this.backUp())
    this.watch()
  }

  /** Nothing fails from now on; who is dead starts again. */
  heal(): void {
    for (const undo of [...this.undo]) undo()
    this.stage.healed()
  }

  private strike(fault: Fault): void {
    const { random } = this
    const replica = random.pick(this.stage.members)
    const client = random.pick(this.stage.clients)
    const lastingMs = random.between(300, 6_000)
    const target = this.perform(fault, replica, client, lastingMs)
    this.log.push(`${this.stage.world.nowMs} ${fault} ${target}`)
    this.stage.world.trace.add(this.stage.world.nowMs, 'nemesis', fault, lastingMs, () => target)
  }

  private perform(fault: Fault, replica: string, client: string, lastingMs: number): string {
    const { stage, random } = this
    const { world, members } = stage
    const other = random.pick([...members, ...stage.services].filter((name) => name !== replica))
    switch (fault) {
      case 'kill':
      case 'power-cut':
        stage.endReplica(replica, fault)
        return replica
      case 'power-cut-at-operation':
        world.endAtOperation(replica, random.between(1, 60), 'power-cut')
        return replica
      case 'pause':
        world.pause(replica)
        this.until(lastingMs, () => world.resume(replica))
        return replica
      case 'disk-lost':
        return this.replaceDisk(replica, 'lost', [])
      case 'disk-restored':
        return this.replaceDisk(replica, 'restored', random.pick(this.backups.get(replica) ?? [[]]))
      case 'disk-cloned':
        return this.replaceDisk(replica, 'cloned', world.disk(random.pick(members)).copy())
      case 'disk-lost-alone':
        for (const name of members) this.cut(replica, name, lastingMs + 1)
        world.at(world.nowMs + lastingMs, () => this.replaceDisk(replica, 'lost', []))
        return replica
      case 'disk-lost-unseen': {
        // For a while two are alone with each other; then one forgets, and the other cannot tell the rest.
        const witness = random.pick(members.filter((name) => name !== replica))
        const rest = members.filter((name) => name !== replica && name !== witness)
        const aloneMs = random.between(300, 1_500)
        for (const name of rest) {
          this.cut(replica, name, aloneMs)
          this.cut(witness, name, lastingMs + UNSEEN_MS)
        }
        const old = random.chance(0.6) ? this.backups.get(replica)?.at(-1) : undefined
        world.at(world.nowMs + aloneMs, () => {
          this.cut(witness, replica, lastingMs + UNSEEN_MS)
          this.replaceDisk(replica, old ? 'restored' : 'lost', old ?? [])
        })
        return `${replica}, ${witness} knows`
      }
      case 'disk-full':
      case 'disk-failing': {
        const disk = world.disk(replica)
        disk.trouble = fault === 'disk-full' ? 'full' : 'failing'
        this.until(lastingMs, () => {
          disk.trouble = undefined
        })
        return replica
      }
      case 'disk-slow': {
        const disk = world.disk(replica)
        const usual = disk.syncLatencyMs
        disk.syncLatencyMs = [20, 250]
        this.until(lastingMs, () => {
          disk.syncLatencyMs = usual
        })
        return replica
      }
      case 'isolate-replica':
        for (const name of members) this.cut(replica, name, lastingMs)
        if (random.chance(0.5)) for (const name of stage.clients) this.cut(replica, name, lastingMs)
        return replica
      case 'cut-link':
        this.cut(replica, other, lastingMs)
        return `${replica} ${other}`
      case 'cut-one-way':
        this.block(replica, other, lastingMs)
        return `${replica}>${other}`
      case 'slow-link':
        this.until(
          lastingMs,
          world.network.tune(replica, other, { latencyMs: [80, 600], spacingMs: 15, postLoss: 0.3 }),
        )
        return `${replica}>${other}`
      case 'break-connections':
        world.network.break(replica, other)
        return `${replica} ${other}`
      case 'cut-store':
        for (const name of stage.services) this.cut(replica, name, lastingMs)
        return replica
      case 'clock-skew': {
        const name = random.pick([replica, client])
        world.skewClock(name, random.pick([-3_600_000, -700, 700, 3_600_000]))
        return name
      }
      case 'client-kill':
        stage.killClient(client)
        this.startLater(client)
        return client
      case 'client-gone':
        stage.giveUpClient(client)
        this.addClient()
        return client
      case 'client-cut':
        for (const name of members) this.cut(client, name, lastingMs)
        return client
      case 'clients-hop':
        for (const name of stage.clients) if (random.chance(0.5)) world.network.break(name, replica)
        return replica
    }
  }

  private replaceDisk(replica: string, fault: 'lost' | 'restored' | 'cloned', records: readonly Stored[]): string {
    const { stage } = this
    const most = Math.floor((stage.members.length - 1) / 2)
    stage.endReplica(replica, 'power-cut')
    if (new Set([...stage.damaged, replica]).size > most) return `${replica}, power only`
    stage.replaceDisk(replica, fault, records)
    return replica
  }

  private backUp(): void {
    const { world, members } = this.stage
    for (const name of members) this.backups.set(name, [...(this.backups.get(name) ?? []), world.disk(name).copy()])
  }

  /** Restarts replicas, however they died. */
  private watch(): void {
    const { world, members } = this.stage
    for (const name of members) if (!world.isRunning(name)) this.startLater(name)
    world.at(world.nowMs + WATCH_EVERY_MS, () => this.watch())
  }

  private startLater(name: string): void {
    if (this.restarting.has(name)) return
    this.restarting.add(name)
    const { world } = this.stage
    const afterMs = world.nowMs < this.endsAtMs ? this.random.between(50, 4_000) : 0
    this.until(afterMs, () => {
      this.restarting.delete(name)
      if (!world.isRunning(name)) world.start(name)
    })
  }

  private cut(one: string, other: string, lastingMs: number): void {
    this.block(one, other, lastingMs)
    this.block(other, one, lastingMs)
  }

  private block(from: string, to: string, lastingMs: number): void {
    if (from === to) return
    const { network } = this.stage.world
    network.block(from, to)
    // Some connections do not outlive it.
    if (this.random.chance(0.3)) network.break(from, to)
    this.until(lastingMs, () => network.unblock(from, to))
  }

  private until(afterMs: number, undo: () => void): void {
    const once = (): void => {
      if (this.undo.delete(once)) undo()
    }
    this.undo.add(once)
    const { world } = this.stage
    world.at(world.nowMs + afterMs, once)
  }
}
