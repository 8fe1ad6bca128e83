/**
 * A cell on its stage: nodes for replicas, clients and services in one world, and the history of what they do. Workload
 * and nemesis act through it.
 */
import type { Choices } from '../../shared/simulator/choices.js'
import { Trace } from '../../shared/simulator/trace.js'
import { type Death, World, type WorldOptions } from '../../shared/simulator/world.js'
import type { CellUnderTest, ClientProgram, ClientSetup, ReplicaProgram } from './cell-under-test.js'
import type { ClientEvent, History, HistoryEvent, Request, ServerEvent, WorldEvent } from './history.js'

export interface StageOptions {
  readonly choices: Choices
  /** Names of replicas. */
  readonly members: readonly string[]
  /** Lines of trace to keep. */
  readonly traceLines?: number
  readonly world?: Pick<WorldOptions<unknown>, 'links' | 'syncLatencyMs'>
}

export class Stage<Message, Stored> {
  readonly world: World<Message, Stored>
  readonly members: readonly string[]
  readonly services: readonly string[]
  /** Those that were not given up. */
  readonly clients: string[] = []
  /** Replicas whose disk was replaced and that have not recovered. */
  readonly damaged = new Set<string>()
  private readonly cell: CellUnderTest<Message, Stored>
  private readonly events: HistoryEvent[] = []
  private readonly replicaPrograms = new Map<string, ReplicaProgram<Message>>()
  private readonly clientPrograms = new Map<string, ClientProgram<Message>>()
  /** Calls without an answer, by client. */
  private readonly open = new Map<string, Map<number, Request>>()
  private calls = 0

  constructor(cell: CellUnderTest<Message, Stored>, options: StageOptions) {
    this.cell = cell
    this.members = options.members
    this.services = [...cell.services.keys()]
    this.world = new World<Message, Stored>({
      choices: options.choices,
      trace: new Trace(options.traceLines),
      describe: cell.describe,
      ...options.world,
    })
    for (const [name, boot] of cell.services) this.world.addNode(name, boot)
    for (const name of this.members) this.addReplica(name)
    for (const name of this.services) this.world.start(name)
  }

  get history(): History {
    return { members: this.members, events: this.events }
  }

  /** Calls made so far. */
  get callCount(): number {
    return this.calls
  }

  // Clients

  get hasClaims(): boolean {
    return this.cell.hasClaims
  }

  addClient(name: string): void {
    this.clients.push(name)
    this.open.set(name, new Map())
    this.world.addNode(name, (machine) => {
      const report: ClientSetup['report'] = (event) => this.record(name, event)
      const program = this.cell.bootClient(machine, { replicas: this.members, report })
      this.clientPrograms.set(name, program)
      return program
    })
    this.world.start(name)
  }

  /** Gives a call to a client. False: it does not run now. */
  submit(name: string, request: Request, deadlineMs: number): boolean {
    if (!this.world.isRunning(name)) return false
    const call = ++this.calls
    return this.world.act(name, () => {
      this.open.get(name)!.set(call, request)
      this.record(name, { type: 'invoke', call, request, ...(request.type === 'write' ? {} : { deadlineMs }) })
      this.clientPrograms.get(name)!.submit(call, request, deadlineMs)
    })
  }

  /** Calls of this client that are under way. */
  openCalls(name: string): Iterable<Request> {
    return this.open.get(name)!.values()
  }

  /** The process ends; writes live on in the outbox on its disk. */
  killClient(name: string): void {
    if (!this.world.isRunning(name)) return
    this.world.end(name, 'kill')
    this.record(name, { type: 'crash' })
    for (const [call, request] of [...this.open.get(name)!]) {
      if (request.type !== 'write') this.record(name, { type: 'unknown', call })
    }
  }

  /** The client is never seen again. */
  giveUpClient(name: string): void {
    this.killClient(name)
    this.record(name, { type: 'gone' })
    this.clients.splice(this.clients.indexOf(name), 1)
  }

  // Replicas

  endReplica(name: string, death: Death): void {
    this.world.end(name, death)
    this.record(name, { type: 'crash' })
  }

  /** What a dead replica will find when it starts. */
  replaceDisk(name: string, fault: 'lost' | 'restored' | 'cloned', records: readonly Stored[]): void {
    this.world.disk(name).replace(records)
    this.damaged.add(name)
    this.record(name, { type: 'disk', fault })
  }

  healed(): void {
    this.record('world', { type: 'healed' })
  }

  /** Whether nothing waits any more and all replicas are at one clock. */
  get isQuiet(): boolean {
    const everyone = [...this.members, ...this.clients]
    if (!everyone.every((name) => this.world.isRunning(name))) return false
    if (this.clients.some((name) => this.open.get(name)!.size > 0)) return false
    if (this.clients.some((name) => this.clientPrograms.get(name)!.settled().outbox > 0)) return false
    const settled = this.members.map((name) => this.replicaPrograms.get(name)!.settled())
    const [first] = settled
    return settled.every(({ waiting, clock }) => waiting === 0 && isEqual(clock, first!.clock))
  }

  /** Reports how everybody ends. */
  settle(): void {
    for (const name of this.clients) {
      if (this.world.isRunning(name)) this.record(name, this.clientPrograms.get(name)!.settled())
    }
    for (const name of this.members) {
      if (this.world.isRunning(name)) this.record(name, this.replicaPrograms.get(name)!.settled())
    }
  }

  private addReplica(name: string): void {
    this.world.addNode(name, (machine) => {
      const report = (event: ServerEvent | WorldEvent): void => {
        if (event.type === 'recovered') this.damaged.delete(name)
        this.record(name, event)
      }
      const program = this.cell.bootReplica(machine, { members: this.members, report })
      this.replicaPrograms.set(name, program)
      return program
    })
    this.world.start(name)
  }

  private record(by: string, event: ClientEvent | ServerEvent | WorldEvent): void {
    if (event.type === 'ok' || event.type === 'refused' || event.type === 'unknown')
      this.open.get(by)?.delete(event.call)
    this.events.push({ atMs: this.world.nowMs, by, ...event })
  }
}

function isEqual(one: ReadonlyMap<string, number>, other: ReadonlyMap<string, number>): boolean {
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value)
}
