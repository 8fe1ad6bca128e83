/**
 * A client of the production cell: Yjs documents of its own, one connection at a time, a token that it cannot read, and
 * an outbox that a write leaves only when a majority has it. On each connection the whole outbox is offered again, in
 * order; replicas know what they have.
 *
 * Refused as behind, it goes to another replica; where nobody can satisfy its token for long, it accepts that something
 * is missing. Told that something is, it says so and begins anew: with empty documents, since what its own hold may be
 * gone for ever, and with its unsaved writes made again.
 */
import * as Y from 'yjs'
import { EMPTY_VECTOR, maxVector, type VersionVector } from '../../../shared/clock/version-vector.js'
import { decodeToken } from '../../../shared/session/token.js'
import type { ConnectionId, Input, Machine } from '../../../shared/simulator/program.js'
import type { ClientProgram, ClientSetup } from '../cell-under-test.js'
import { type ClientEvent, type Concern, documentOfRegister, type Request, type Response } from '../history.js'
import type { Message, OfferedWrite, RefusalCode, Seen, Stored } from './messages.js'
import { SESSION_KEYS } from './session-keys.js'

const RECONNECT_MS = 5
const ACCEPTS_DEBT_AFTER_MS = 6_000
/** How often the latest write reaches a replica before the others do, as if from another tab. */
const OTHER_TAB_CHANCE = 0.2

type WriteRequest = Extract<Request, { type: 'write' }>

interface Kept {
  readonly write: OfferedWrite
  readonly request: WriteRequest
  readonly concern: Concern
  readonly isAnswered: boolean
}

/** What its disk holds: replaced as a whole. */
interface State {
  readonly token: string | undefined
  readonly debt: VersionVector
  readonly outbox: readonly Kept[]
  /** What made up the documents. */
  readonly updates: ReadonlyMap<string, readonly Uint8Array[]>
}

interface Waiting {
  readonly call: number
  readonly request: Extract<Request, { type: 'read' }>
  readonly deadlineAtMs: number
  sent: VersionVector
}

export class ProductionClient implements ClientProgram<Message> {
  private readonly machine: Machine<Message, Stored>
  private readonly setup: ClientSetup
  private state: State
  private docs = new Map<string, Y.Doc>()
  private readonly waiting = new Map<number, Waiting>()
  private readonly sentOffers = new Map<number, VersionVector>()
  private connection: ConnectionId | undefined
  private isOpen = false
  private decoded: { readonly token: string | undefined; readonly vector: VersionVector } = {
    token: undefined,
    vector: EMPTY_VECTOR,
  }
  private at: number
  private behindSinceMs: number | undefined
  /** The latest write was sent before the others. */
  private isOutOfOrder = false

  constructor(machine: Machine<Message, Stored>, setup: ClientSetup) {
    this.machine = machine
    this.setup = setup
    const kept = machine.read().at(-1)
    this.state =
      kept?.type === 'client'
        ? (kept.state as State)
        : { token: undefined, debt: EMPTY_VECTOR, outbox: [], updates: new Map() }
    for (const [name, updates] of this.state.updates) {
      const doc = this.doc(name)
      for (const update of updates) Y.applyUpdate(doc, update)
    }
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
    if (request.type !== 'read') throw new Error('there are no claims here')
    const deadlineAtMs = this.machine.monotonicMs() + deadlineMs
    const waiting = { call, request, deadlineAtMs, sent: EMPTY_VECTOR }
    this.waiting.set(call, waiting)
    this.machine.setTimer(`${call}`, deadlineMs)
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
    const { outbox, token } = this.state
    const nowMs = this.machine.monotonicMs()
    const acceptsDebt = this.behindSinceMs !== undefined && nowMs - this.behindSinceMs > ACCEPTS_DEBT_AFTER_MS
    this.machine.send(this.connection!, { type: 'session', token, acceptsDebt })
    const last = outbox.at(-1)
    this.isOutOfOrder = Boolean(last && this.couldComeFirst(last) && this.machine.entropy.chance(OTHER_TAB_CHANCE))
    if (last && this.isOutOfOrder) this.send(last)
    for (const kept of outbox) this.send(kept)
    for (const waiting of this.waiting.values()) this.ask(waiting)
  }

  /** Whether a replica that lacks any write of the outbox can tell by this one that it does. */
  private couldComeFirst({ request }: Kept): boolean {
    const { outbox } = this.state
    const { documents } = request
    return outbox.length > 1 && outbox.every((kept) => documents.some((name) => kept.request.documents.includes(name)))
  }

  // Calls

  private offer(call: number, request: WriteRequest): void {
    const write = this.make(call, request)
    const kept = { write, request, concern: request.concern, isAnswered: false }
    this.keep({ outbox: [...this.state.outbox, kept], updates: this.withUpdates(write.parts) })
    if (this.isOpen) this.send(kept)
  }

  /** Writes into the documents. */
  private make(call: number, { id, documents, registers }: WriteRequest): OfferedWrite {
    const parts = documents.map((name) => {
      const doc = this.doc(name)
      const updates: Uint8Array[] = []
      const keep = (update: Uint8Array): unknown => updates.push(update)
      doc.on('update', keep)
      doc.transact(() => {
        doc.getMap('writes').set(`${id}`, true)
        for (const register of registers) {
          if (documentOfRegister(register) === name) doc.getMap('registers').set(register.slice(name.length + 1), id)
        }
      })
      doc.off('update', keep)
      return { document: name, update: updates[0]! }
    })
    return { id, call, parts }
  }

  private doc(name: string): Y.Doc {
    let doc = this.docs.get(name)
    if (!doc) {
      doc = new Y.Doc()
      doc.clientID = this.machine.entropy.between(1, 2 ** 32 - 1)
      this.docs.set(name, doc)
    }
    return doc
  }

  private withUpdates(parts: readonly { document: string; update: Uint8Array }[]): State['updates'] {
    const updates = new Map(this.state.updates)
    for (const { document, update } of parts) updates.set(document, [...(updates.get(document) ?? []), update])
    return updates
  }

  private send(kept: Kept): void {
    this.sentOffers.set(kept.write.id, this.seen)
    this.machine.send(this.connection!, { type: 'offer', write: kept.write })
  }

  private ask(waiting: Waiting): void {
    const { call, request } = waiting
    const { documents, level } = request
    waiting.sent = this.seen
    const waitMs = Math.max(1, waiting.deadlineAtMs - this.machine.monotonicMs())
    const stateVectors = new Map([...this.docs].map(([name, doc]) => [name, Y.encodeStateVector(doc)]))
    this.machine.send(this.connection!, { type: 'read', call, documents, level, waitMs, stateVectors })
  }

  /** What the token says: for the history alone. */
  private get seen(): VersionVector {
    const { token } = this.state
    if (token !== this.decoded.token) {
      this.decoded = { token, vector: token === undefined ? EMPTY_VECTOR : decodeToken(token, SESSION_KEYS).vector }
    }
    return this.decoded.vector
  }

  private receive(message: Message): void {
    switch (message.type) {
      case 'written':
      case 'saved':
        if (!this.isOwing(message.seen)) this.receiveAcknowledgement(message.type, message.id, message.seen)
        break
      case 'answer':
        if (!this.isOwing(message.seen)) this.receiveAnswer(message)
        break
      case 'owing':
        this.isOwing(message.seen)
        break
      case 'refuse':
        this.receiveRefusal(message.call, message.code)
    }
  }

  /** Whether the answer lacks what the session has seen; then all begins anew. */
  private isOwing({ debt, token }: Seen): boolean {
    this.behindSinceMs = undefined
    if ([...debt].every(([origin, seq]) => (this.state.debt.get(origin) ?? 0) >= seq)) return false
    this.beginAnew('degraded', token, debt)
    return true
  }

  private beginAnew(mark: 'degraded' | 'session-reset', token: string | undefined, debt: VersionVector): void {
    for (const { call } of this.waiting.values()) this.expire(call)
    for (const doc of this.docs.values()) doc.destroy()
    this.docs = new Map()
    this.state = { ...this.state, updates: new Map() }
    const outbox: Kept[] = []
    for (const kept of this.state.outbox) {
      const write = this.make(kept.write.call, kept.request)
      outbox.push({ ...kept, write })
      this.state = { ...this.state, updates: this.withUpdates(write.parts) }
    }
    this.keep({ token, debt, outbox })
    this.setup.report({ type: 'marked', mark, remade: outbox.map(({ write }) => write.id) })
    this.hop()
  }

  private receiveAcknowledgement(type: 'written' | 'saved', id: number, { token, clock }: Seen): void {
    const kept = this.state.outbox.find(({ write }) => write.id === id)
    if (!kept) return
    const { concern, write } = kept
    const isAnswered = kept.isAnswered || type === 'saved' || concern === 'local'
    const rest = this.state.outbox.filter((other) => other !== kept)
    const outbox =
      type === 'saved' ? rest : this.state.outbox.map((other) => (other === kept ? { ...kept, isAnswered } : other))
    this.keep({ token, outbox })
    if (isAnswered && !kept.isAnswered) {
      const response = { type: 'written' } as const
      // Of the op's past the token need not speak: whoever has the op has it.
      const token = maxVector(this.seen, clock)
      this.setup.report({ type: 'ok', call: write.call, response, cut: clock, sent: this.sentOffers.get(id)!, token })
    }
    if (type === 'saved') {
      this.sentOffers.delete(id)
      this.setup.report({ type: 'saved', id })
    }
  }

  private receiveAnswer({ call, contents, updates, seen }: Extract<Message, { type: 'answer' }>): void {
    const waiting = this.finish(call)
    if (!waiting) return
    const { sent, request } = waiting
    if (request.level === 'eventual') this.keep({ token: seen.token })
    else {
      const parts = [...updates].map(([document, update]) => ({ document, update }))
      for (const { document, update } of parts) {
        const doc = this.doc(document)
        Y.applyUpdate(doc, update)
        const isPending = doc.store.pendingStructs !== null || doc.store.pendingDs !== null
        if (isPending) this.setup.report({ type: 'pending', document, structs: 1, deletes: 0 })
      }
      this.keep({ token: seen.token, updates: this.withUpdates(parts) })
    }
    const response: Response = { type: 'read', contents }
    this.setup.report({ type: 'ok', call, response, cut: seen.clock, sent, token: this.seen })
  }

  private receiveRefusal(call: number, code: RefusalCode): void {
    switch (code) {
      case 'late':
        if (this.finish(call)) this.setup.report({ type: 'refused', call, code })
        return
      case 'reset':
        this.beginAnew('session-reset', undefined, EMPTY_VECTOR)
        return
      case 'gap': {
        // In order, all that a write refers to lies under the token or was offered before.
        const kept = this.state.outbox.find(({ write }) => write.call === call)
        const document = kept?.request.documents[0] ?? ''
        if (!this.isOutOfOrder) this.setup.report({ type: 'pending', document, structs: 1, deletes: 0 })
        break
      }
      case 'behind':
        this.behindSinceMs ??= this.machine.monotonicMs()
        break
      default:
    }
    this.hop()
  }

  private expire(call: number): void {
    if (this.finish(call)) this.setup.report({ type: 'refused', call, code: 'late' })
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
