/**
 * A seeded world: nodes with clocks, disks and links, and the programs that run on them, all in one thread and in virtual
 * time. Nothing in it happens but by the agenda, and nothing is decided but by the choices: the same choices give the
 * same world, event by event.
 *
 * The world knows no faults of its own accord: whoever drives it kills, cuts, blocks and skews, at any time, or at the
 * n-th operation of a process from now on, which is how every point between two effects can be reached.
 */
import { assert } from '../base/assert.js'
import { Random } from '../base/random.js'
import { Agenda } from './agenda.js'
import type { Choices } from './choices.js'
import { Disk } from './disk.js'
import { type LinkSettings, Network } from './network.js'
import type { ConnectionId, Input, Machine, Program, SyncId } from './program.js'
import { Trace } from './trace.js'

export interface WorldOptions<Message> {
  readonly choices: Choices
  readonly trace?: Trace
  readonly links?: Partial<LinkSettings>
  readonly syncLatencyMs?: readonly [least: number, most: number]
  /** What the wall clocks of nodes show when the world begins, before any skew. */
  readonly epochMs?: number
  /** A message in a few words, for the trace. */
  readonly describe?: (message: Message) => string
}

/** Starts a program on a machine: reads its disk, connects, sets timers. */
export type Boot<Message, Stored> = (machine: Machine<Message, Stored>) => Program<Message>

/** `kill` is the death of the process alone; a power cut takes what the disk had not synced, and closes no connection. */
export type Death = 'kill' | 'power-cut'

const LINKS: LinkSettings = { latencyMs: [1, 8], spacingMs: 0, postLoss: 0.02, postDuplication: 0.05 }
const SYNC_LATENCY_MS = [1, 6] as const
const EPOCH_MS = 1_750_000_000_000

interface Process<Message> {
  readonly life: number
  program: Program<Message> | undefined
  paused: boolean
  readonly backlog: Input<Message>[]
  readonly timers: Map<string, ReturnType<Agenda['at']>>
}

interface Node<Message, Stored> {
  readonly name: string
  readonly index: number
  readonly boot: Boot<Message, Stored>
  readonly disk: Disk<Stored>
  process: Process<Message> | undefined
  skewMs: number
  operations: number
  doom: { readonly atOperation: number; readonly death: Death } | undefined
}

/** Unwinds a program whose process has died under it. */
class ProcessDied extends Error {
  override readonly name = 'ProcessDied'
}

export class World<Message, Stored> {
  readonly trace: Trace
  readonly network: Network<Message>
  private readonly choices: Choices
  private readonly agenda: Agenda
  private readonly options: WorldOptions<Message>
  private readonly nodes = new Map<string, Node<Message, Stored>>()
  private lifeCount = 0
  private syncCount = 0

  constructor(options: WorldOptions<Message>) {
    this.options = options
    this.choices = options.choices
    this.trace = options.trace ?? new Trace()
    this.agenda = new Agenda(options.choices)
    const lives = {
      lifeOf: (name: string) => this.node(name).process?.life,
      deliver: (name: string, life: number, input: Input<Message>) => this.deliver(this.node(name), life, input),
    }
    this.network = new Network(this.agenda, this.choices, lives, { ...LINKS, ...options.links })
  }

  // Time

  get nowMs(): number {
    return this.agenda.nowMs
  }

  /** Plans something that no process does: a fault, a step of the workload, a look at the state. */
  at(atMs: number, action: () => void): void {
    this.agenda.at(atMs, action)
  }

  /** Lets the next thing happen, if one is due by then. */
  step(untilMs = Number.POSITIVE_INFINITY): boolean {
    return this.agenda.step(untilMs)
  }

  runUntil(untilMs: number): void {
    while (this.agenda.step(untilMs));
  }

  // Nodes

  /** A node with an empty disk and nothing running. */
  addNode(name: string, boot: Boot<Message, Stored>): void {
    assert(!this.nodes.has(name), `there is a node ${name} already`)
    const disk = new Disk<Stored>(this.agenda, this.choices, this.options.syncLatencyMs ?? SYNC_LATENCY_MS)
    this.nodes.set(name, {
      name,
      index: this.nodes.size,
      boot,
      disk,
      process: undefined,
      skewMs: 0,
      operations: 0,
      doom: undefined,
    })
  }

  isRunning(name: string): boolean {
    return this.node(name).process !== undefined
  }

  start(name: string): void {
    const node = this.node(name)
    assert(!node.process, `${name} runs already`)
    const process: Process<Message> = {
      life: ++this.lifeCount,
      program: undefined,
      paused: false,
      backlog: [],
      timers: new Map(),
    }
    node.process = process
    this.tell(node, 'start', process.life)
    const machine = this.machine(node, process)
    this.guard(() => {
      process.program = node.boot(machine)
    })
  }

  /** Ends the process, if one runs. */
  end(name: string, death: Death): void {
    const node = this.node(name)
    if (death === 'power-cut') node.disk.cutPower()
    const process = node.process
    if (!process) return
    this.tell(node, death, process.life)
    node.process = undefined
    node.doom = undefined
    for (const timer of process.timers.values()) this.agenda.cancel(timer)
    this.network.lifeEnded(name, process.life, death === 'kill')
  }

  /** Ends the process when it is about to do its `count`-th operation from now on; 1 is the next one. */
  endAtOperation(name: string, count: number, death: Death): void {
    const node = this.node(name)
    node.doom = { atOperation: node.operations + count, death }
  }

  /** Operations of the machine that this node's programs have done so far, over all lives. */
  operationsOf(name: string): number {
    return this.node(name).operations
  }

  /** Stops the process without a word, as SIGSTOP does: the world goes on around it. */
  pause(name: string): void {
    const { process } = this.node(name)
    if (!process || process.paused) return
    process.paused = true
    this.tell(this.node(name), 'pause', process.life)
  }

  /** The process goes on, with all that came meanwhile. */
  resume(name: string): void {
    const node = this.node(name)
    const { process } = node
    if (!process?.paused) return
    process.paused = false
    this.tell(node, 'resume', process.life)
    for (const input of process.backlog.splice(0)) this.deliver(node, process.life, input)
  }

  /** How far this node's wall clock is ahead of the world's. */
  skewClock(name: string, aheadMs: number): void {
    this.node(name).skewMs = aheadMs
    this.tell(this.node(name), 'skew', aheadMs)
  }

  /** The disk, to bring it into trouble or to copy it. Its content is replaced only while nothing runs on the node. */
  disk(name: string): Disk<Stored> {
    return this.node(name).disk
  }

  /** Lets the process do something of its own accord, as a call into a library. False: none runs, or it is paused. */
  act(name: string, action: () => void): boolean {
    const { process } = this.node(name)
    if (!process || process.paused) return false
    this.guard(action)
    return true
  }

  // Processes

  private node(name: string): Node<Message, Stored> {
    const node = this.nodes.get(name)
    assert(node, `no node ${name}`)
    return node
  }

  private tell(node: Node<Message, Stored>, kind: string, detail: number, text?: () => string): void {
    this.trace.add(this.nowMs, node.name, kind, detail, text)
  }

  private deliver(node: Node<Message, Stored>, life: number, input: Input<Message>): void {
    const { process } = node
    if (process?.life !== life) return
    if (process.paused) {
      process.backlog.push(input)
      return
    }
    this.tell(node, input.type, detailOf(input), () => this.describe(input))
    // Without a program it died while it booted, or an input came in the midst of that: nothing is awaited yet.
    this.guard(() => process.program?.step(input))
  }

  private guard(action: () => void): void {
    try {
      action()
    } catch (error) {
      if (!(error instanceof ProcessDied)) throw error
    }
  }

  /** Each operation passes here first: this is where a process can die. */
  private operate(node: Node<Message, Stored>, life: number): void {
    if (node.process?.life !== life) throw new ProcessDied()
    node.operations++
    const { doom } = node
    if (!doom || node.operations < doom.atOperation) return
    this.end(node.name, doom.death)
    throw new ProcessDied()
  }

  private machine(node: Node<Message, Stored>, process: Process<Message>): Machine<Message, Stored> {
    const { life, timers } = process
    const { name, disk } = node
    const operate = (): void => this.operate(node, life)
    const clearTimer = (timer: string): void => {
      const due = timers.get(timer)
      if (due) this.agenda.cancel(due)
      timers.delete(timer)
    }
    return {
      name,
      entropy: new Random(this.choices.entropy()),
      wallMs: () => (this.options.epochMs ?? EPOCH_MS) + this.nowMs + node.skewMs,
      monotonicMs: () => this.nowMs,
      setTimer: (timer, delayMs) => {
        operate()
        clearTimer(timer)
        const ring = (): void => {
          timers.delete(timer)
          this.deliver(node, life, { type: 'timer', timer })
        }
        timers.set(timer, this.agenda.at(this.nowMs + delayMs, ring))
      },
      clearTimer,
      open: (peer) => {
        operate()
        return this.network.open(name, life, peer)
      },
      send: (connection, message) => {
        operate()
        this.network.send(name, life, connection, message)
      },
      close: (connection: ConnectionId) => {
        operate()
        this.network.close(name, life, connection)
      },
      post: (peer, message) => {
        operate()
        this.network.post(name, peer, message)
      },
      read: () => disk.read(),
      write: (records) => {
        operate()
        disk.write(records)
      },
      sync: () => {
        operate()
        const sync = ++this.syncCount as SyncId
        disk.sync((trouble) =>
          this.deliver(node, life, trouble ? { type: 'sync-failed', sync, trouble } : { type: 'synced', sync }),
        )
        return sync
      },
      note: (text) => this.tell(node, 'note', 0, text),
    }
  }

  private describe(input: Input<Message>): string {
    switch (input.type) {
      case 'received':
        return `${input.peer}#${input.connection} ${this.options.describe?.(input.message) ?? ''}`
      case 'posted':
        return `${input.peer} ${this.options.describe?.(input.message) ?? ''}`
      case 'accepted':
      case 'opened':
      case 'closed':
        return `${input.peer}#${input.connection}`
      case 'timer':
        return input.timer
      case 'synced':
        return `${input.sync}`
      case 'sync-failed':
        return `${input.sync} ${input.trouble}`
    }
  }
}

/** A number that tells inputs of one kind apart, for the digest. */
function detailOf(input: Input<unknown>): number {
  if ('connection' in input) return input.connection
  return 'sync' in input ? input.sync : 0
}
