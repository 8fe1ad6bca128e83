/**
 * A client of the reference cell: one connection at a time, a token, and an outbox that a write leaves only when a
 * majority has it. On each connection the whole outbox is offered again, in order; replicas know what they have.
 *
 * Refused as behind, it goes to another replica; where nobody can satisfy its token for long, it says so and begins anew.
 */
import { HybridClock, type HybridTime } from '../../../shared/clock/hybrid-clock.js'
import { EMPTY_VECTOR, type VersionVector } from '../../../shared/clock/version-vector.js'
import type { ConnectionId, Input, Machine } from '../../../shared/simulator/program.js'
import type { ClientProgram, ClientSetup } from '../cell-under-test.js'
import type { ClientEvent, Concern, Request, Response } from '../history.js'
import type { Message, OfferedWrite, Stored } from './messages.js'
import type { Mutant } from './mutants.js'
import { merge } from './vectors.js'

const RECONNECT_MS = 5
const DEGRADE_AFTER_MS = 6_000
/** How often the latest write reaches a replica before the others do, as if from another tab. */
const OTHER_TAB_CHANCE = 0.2

interface Kept {
  readonly write: OfferedWrite
  readonly concern: Concern
  readonly sent: VersionVector
  readonly isAnswered: boolean
}

/** What its disk holds: replaced as a whole. */
interface State {
  readonly token: VersionVector
  readonly outbox: readonly Kept[]
  /** By document: how many writes were made to it. */
  readonly places: ReadonlyMap<string, number>
  readonly stamp: HybridTime
}

interface Waiting {
  readonly call: number
  readonly request: Exclude<Request, { type: 'write' }>
  readonly deadlineAtMs: number
  sent: VersionVector
}

export class ReferenceClient implements ClientProgram<Message> {
  private readonly machine: Machine<Message, Stored>
  private readonly setup: ClientSetup
  private readonly mutant: Mutant | undefined
  private readonly stamps = new HybridClock()
  private state: State
  private readonly waiting = new Map<number, Waiting>()
  private connection: ConnectionId | undefined
  private isOpen = false
  private at: number
  private behindSinceMs: number | undefined
  private isGapped = false

  constructor(machine: Machine<Message, Stored>, setup: ClientSetup, mutant: Mutant | undefined) {
    this.machine = machine
    this.setup = setup
    this.mutant = mutant
    const kept = machine.read().at(-1)
    this.state =
      kept?.type === 'client'
        ? (kept.state as State)
        : { token: EMPTY_VECTOR, outbox: [], places: new Map(), stamp: 0 as HybridTime }
    this.stamps.observe(this.state.stamp)
    this.at = machine.entropy.below(setup.replicas.length)
    this.connect()
  }

  step(input: Input<Message>): void {
    if (input.type === 'timer') {
      if (input.timer === 'connect') this.connect()
      else this.expire(Number(input.timer))
    } else if (input.type === 'opened' && input.connection === this.connection) this.begin()
    else if (input.type === 'received' && input.connection === this.connection) this.receive(input.message)
    else if (input.type === 'closed' && input.connection === this.connection) this.lose()
  }

  submit(call: number, request: Request, deadlineMs: number): void {
    if (request.type === 'write') {
      this.offer(call, request)
      return
    }
    const deadlineAtMs = this.machine.monotonicMs() + deadlineMs
    const waiting = { call, request, deadlineAtMs, sent: this.state.token }
    this.waiting.set(call, waiting)
    if (this.mutant !== 'park-for-ever') this.machine.setTimer(`${call}`, deadlineMs)
    if (this.isOpen) this.ask(waiting)
  }

  settled(): Extract<ClientEvent, { type: 'client-settled' }> {
    return { type: 'client-settled', outbox: this.state.outbox.length }
  }

  // Connections

  private connect(): void {
    this.isOpen = false
    this.connection = this.machine.open(this.setup.replicas[this.at]!)
  }

  private hop(): void {
    if (this.connection !== undefined) this.machine.close(this.connection)
    this.lose()
  }

  private lose(): void {
    this.connection = undefined
    this.isOpen = false
    this.at = (this.at + 1 + this.machine.entropy.below(2)) % this.setup.replicas.length
    this.machine.setTimer('connect', RECONNECT_MS)
  }

  private begin(): void {
    this.isOpen = true
    const { outbox } = this.state
    if (this.mutant === 'reverse-outbox' && !this.isGapped) {
      for (const kept of [...outbox].reverse()) this.send(kept)
    } else {
      const last = outbox.at(-1)
      if (last && this.couldComeFirst(last) && this.machine.entropy.chance(OTHER_TAB_CHANCE)) this.send(last)
      for (const kept of outbox) this.send(kept)
    }
    this.isGapped = false
    for (const waiting of this.waiting.values()) this.ask(waiting)
  }

  /** Whether a replica that lacks any write of the outbox can tell by this one that it does. */
  private couldComeFirst({ write }: Kept): boolean {
    const { outbox } = this.state
    const documents = [...write.places.keys()]
    return outbox.length > 1 && outbox.every((kept) => documents.some((document) => kept.write.places.has(document)))
  }

  // Calls

  private offer(call: number, { id, documents, registers, concern }: Extract<Request, { type: 'write' }>): void {
    const places = new Map(this.state.places)
    for (const document of documents) places.set(document, (places.get(document) ?? 0) + 1)
    const clock = this.mutant === 'wall-clock-registers' ? new HybridClock() : this.stamps
    const write: OfferedWrite = {
      id,
      call,
      author: this.machine.name,
      places: new Map(documents.map((document) => [document, places.get(document)!])),
      registers,
      stamp: clock.next(this.machine.wallMs()),
    }
    const kept = { write, concern, sent: this.state.token, isAnswered: false }
    this.keep({ places, outbox: [...this.state.outbox, kept], stamp: this.stamps.latest })
    if (this.isOpen) this.send(kept)
  }

  private send(kept: Kept): void {
    const { token, outbox } = this.state
    const sent = { ...kept, sent: token }
    this.keep({ outbox: outbox.map((other) => (other.write.id === kept.write.id ? sent : other)) })
    this.machine.send(this.connection!, { type: 'offer', write: kept.write, token })
  }

  private ask(waiting: Waiting): void {
    const { call, request } = waiting
    const { token } = this.state
    waiting.sent = token
    const waitMs = Math.max(1, waiting.deadlineAtMs - this.machine.monotonicMs())
    if (request.type === 'read') {
      const { documents, level } = request
      this.machine.send(this.connection!, { type: 'read', call, documents, level, token, waitMs })
    } else {
      const isRead = request.type === 'read-claim'
      const owner = this.machine.name
      this.machine.send(this.connection!, { type: 'claim', call, key: request.key, owner, isRead, token, waitMs })
    }
  }

  private receive(message: Message): void {
    switch (message.type) {
      case 'written':
      case 'saved':
        this.stamps.observe(message.stamp)
        this.receiveAcknowledgement(message.type, message.id, message.clock)
        break
      case 'answer':
        this.stamps.observe(message.stamp)
        this.receiveAnswer(message.call, message.response, message.clock, message.past)
        break
      case 'refuse':
        this.receiveRefusal(message.call, message.code)
    }
  }

  private receiveAcknowledgement(type: 'written' | 'saved', id: number, clock: VersionVector): void {
    const kept = this.state.outbox.find(({ write }) => write.id === id)
    if (!kept) return
    this.behindSinceMs = undefined
    const { sent, concern, write } = kept
    const token = this.mutant === 'token-without-writes' ? this.state.token : merge(this.state.token, clock)
    const isAnswered = kept.isAnswered || type === 'saved' || concern === 'local'
    const isDone = type === 'saved' || (this.mutant === 'drop-resubmission' && concern === 'local')
    const rest = this.state.outbox.filter((other) => other !== kept)
    const outbox = isDone ? rest : this.state.outbox.map((other) => (other === kept ? { ...kept, isAnswered } : other))
    this.keep({ token, outbox, stamp: this.stamps.latest })
    if (isAnswered && !kept.isAnswered) {
      const response = { type: 'written' } as const
      this.setup.report({ type: 'ok', call: write.call, response, cut: clock, sent, token })
    }
    if (type === 'saved') this.setup.report({ type: 'saved', id })
  }

  private receiveAnswer(call: number, response: Response, clock: VersionVector, past: VersionVector): void {
    const waiting = this.finish(call)
    if (!waiting) return
    this.behindSinceMs = undefined
    const { sent, request } = waiting
    const isCounted = !(
      request.type === 'read' &&
      (request.level === 'eventual' || this.mutant === 'token-without-reads')
    )
    const token = isCounted ? merge(merge(this.state.token, clock), past) : this.state.token
    this.keep({ token, stamp: this.stamps.latest })
    this.setup.report({ type: 'ok', call, response, cut: clock, sent, token })
  }

  private receiveRefusal(call: number, code: 'behind' | 'gap' | 'late'): void {
    if (code === 'late') {
      if (this.finish(call)) this.setup.report({ type: 'refused', call, code })
      return
    }
    this.isGapped = code === 'gap'
    const nowMs = this.machine.monotonicMs()
    if (code === 'behind') this.behindSinceMs ??= nowMs
    if (this.behindSinceMs !== undefined && nowMs - this.behindSinceMs > DEGRADE_AFTER_MS) this.degrade()
    this.hop()
  }

  /** Nobody within reach has what this session has seen. What it waits for is given up: it was asked of the session before. */
  private degrade(): void {
    this.behindSinceMs = undefined
    for (const { call } of this.waiting.values()) this.expire(call)
    this.keep({ token: EMPTY_VECTOR })
    this.setup.report({ type: 'marked', mark: 'degraded' })
  }

  private expire(call: number): void {
    const waiting = this.finish(call)
    if (!waiting) return
    if (waiting.request.type === 'claim') this.setup.report({ type: 'unknown', call })
    else this.setup.report({ type: 'refused', call, code: 'late' })
  }

  private finish(call: number): Waiting | undefined {
    const waiting = this.waiting.get(call)
    this.waiting.delete(call)
    this.machine.clearTimer(`${call}`)
    return waiting
  }

  private keep(change: Partial<State>): void {
    this.state = { ...this.state, ...change }
    this.machine.write([{ type: 'client', state: this.state }])
  }
}
