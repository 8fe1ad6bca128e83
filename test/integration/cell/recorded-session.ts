/**
 * A client over HTTP that carries its session from replica to replica, and a record of all that it is told. Its writes
 * are made in order, each until it has happened: at another replica where one refuses, breaks or says nothing. To repeat
 * one that may have happened changes nothing, since it adds the same id to a set; only who set a register cannot know
 * what a repetition would overwrite, and ends.
 *
 * A document is a map `set`, of ids of writes, and a map `registers`.
 */
import * as Y from 'yjs'
import { EMPTY_VECTOR, sameVector } from '../../../shared/clock/version-vector.js'
import type { SessionToken } from '../../../shared/session/token.js'
import type { ClientEvent, Contents, Level, Request, Response, WriteId } from '../../simulator/history.js'
import type { HttpOutcome, HttpRequest } from './http-call.js'
import type { Trial } from './trial.js'

/** What a replica may refuse with while faults last. */
const EXPECTED_REFUSALS = new Set([
  'session/replica-behind',
  'read/not-majority-durable',
  'cell/recovering',
  'cell/starting',
  'cell/draining',
])
const PAUSE_MS = 60

type WriteRequest = Extract<Request, { type: 'write' }>
type Answer = Extract<HttpOutcome, { type: 'answer' }>

interface Body {
  readonly types?: { readonly set?: Record<string, true>; readonly registers?: Record<string, WriteId> }
  readonly acknowledged?: string
  readonly replicas?: number
  readonly error?: { readonly code: string; readonly outcome: string }
}

export class RecordedSession {
  /** Another one after the guarantees began anew: what was seen before is owed no more. */
  name: string
  /** Where it asks now. */
  at: string
  /** Ids by what a majority is not known to have. */
  readonly unsaved = new Map<WriteId, WriteRequest>()
  /** Answers other than what was asked for, by what they were, such as `b session/replica-behind`. */
  readonly refusals = new Map<string, number>()
  isGone = false
  private readonly trial: Trial
  private token: string | undefined
  private read: SessionToken | undefined
  private lives = 0

  constructor(trial: Trial, name: string) {
    this.trial = trial
    this.name = name
    this.at = trial.random.pick(trial.cell.names)
  }

  hop(): void {
    const others = this.trial.cell.names.filter((name) => name !== this.at)
    if (others.length > 0) this.at = this.trial.random.pick(others)
  }

  /** Resolves when it has happened, or when that cannot be known and the session is over. */
  async write(
    documents: readonly string[],
    registers: readonly string[],
    concern: 'local' | 'majority',
  ): Promise<void> {
    const { recording } = this.trial
    await this.perform({ type: 'write', id: recording.nextWrite(), documents, registers, concern })
  }

  /** Asks once. Whether it was answered. */
  async readDocument(document: string, level: Level): Promise<boolean> {
    const { recording } = this.trial
    const request: Request = { type: 'read', documents: [document], level }
    const call = recording.nextCall()
    this.add({ type: 'invoke', call, request, deadlineMs: this.trial.timeoutMs + this.trial.graceMs })
    const sent = this.read
    const path = `/v1/documents/${encodeURIComponent(document)}?level=${level}&timeoutMs=${this.trial.timeoutMs}`
    const outcome = await this.ask({ method: 'GET', path })
    if (outcome.type !== 'answer') {
      this.add(outcome.type === 'not-sent' ? { type: 'refused', call, code: 'not-sent' } : { type: 'unknown', call })
      this.hop()
      return false
    }
    const body = JSON.parse(outcome.body) as Body
    if (outcome.status !== 200 && body.error?.code !== 'document/not-found') {
      this.add({ type: 'refused', call, code: body.error?.code ?? '' })
      this.refused(outcome, body)
      this.hop()
      return false
    }
    const contents = contentsOf(document, body)
    this.answered(call, request, { type: 'read', contents }, sent, outcome)
    if (level === 'majority' || level === 'fresh') {
      for (const id of contents.writes.get(document)!) if (this.unsaved.has(id)) this.saved(id)
    }
    return true
  }

  /** Reads everything at every replica, until all of it was answered and all writes are saved. */
  async settle(documents: readonly string[], isOver: () => boolean): Promise<void> {
    while (!this.isGone && !isOver()) {
      let isDone = true
      for (const replica of this.trial.cell.names) {
        for (const document of documents) {
          this.at = replica
          isDone = (await this.readDocument(document, 'majority')) && isDone
        }
      }
      if (isDone && this.unsaved.size === 0) break
    }
    if (!this.isGone) this.add({ type: 'client-settled', outbox: this.unsaved.size })
  }

  private async perform(request: WriteRequest): Promise<void> {
    const { recording, random } = this.trial
    const call = recording.nextCall()
    this.unsaved.set(request.id, request)
    this.add({ type: 'invoke', call, request })
    const wire = wireOf(request, this.trial.timeoutMs, random.below(3))
    while (!this.trial.isOver) {
      const sent = this.read
      const outcome = await this.ask(wire)
      if (outcome.type === 'answer') {
        const body = JSON.parse(outcome.body) as Body
        if (outcome.status === 200 || outcome.status === 202) {
          this.checkProgress(request, outcome, body)
          this.answered(call, request, { type: 'written' }, sent, outcome)
          if (request.concern === 'majority' && outcome.status === 200) this.saved(request.id)
          return
        }
        this.refused(outcome, body)
        if (body.error?.outcome === 'indefinite' && request.registers.length > 0) return this.end(call)
      } else if (outcome.type === 'unknown' && request.registers.length > 0) return this.end(call)
      this.hop()
      await this.trial.pause(PAUSE_MS)
    }
    recording.problem(`${this.name} cannot make write ${request.id}, tried last at ${this.at}`)
  }

  /** The writes of who is gone are its own matter. */
  private end(call: number): void {
    this.add({ type: 'unknown', call })
    this.add({ type: 'gone' })
    this.isGone = true
  }

  private checkProgress({ id, concern }: WriteRequest, { status }: Answer, { acknowledged, replicas = 0 }: Body): void {
    const isReached = acknowledged !== 'local'
    const majority = Math.floor(this.trial.recording.members.length / 2) + 1
    const isHonest =
      isReached === replicas >= majority && (concern === 'majority' ? isReached === (status === 200) : status === 200)
    if (isHonest) return
    this.trial.recording.problem(`write ${id} with w=${concern}: ${status}, ${acknowledged}, ${replicas} replicas`)
  }

  /** A plain answer, or one that says that something is missing: then the guarantees begin anew before it. */
  private answered(
    call: number,
    request: Request,
    response: Response,
    sent: SessionToken | undefined,
    answer: Answer,
  ): void {
    const token = this.take(answer)
    const debt = [...token.debt].filter(([origin, seq]) => (sent?.debt.get(origin) ?? 0) < seq)
    const saysSo = answer.headers['causeway-degraded'] !== undefined
    if (saysSo !== token.debt.size > 0) this.trial.recording.problem(`degraded: ${saysSo}, debt ${token.debt.size}`)
    const cut = token.vector
    if (debt.length === 0) {
      this.add({ type: 'ok', call, response, cut, sent: sent?.vector ?? EMPTY_VECTOR, token: token.vector })
      return
    }
    this.add({ type: 'refused', call, code: 'degraded' })
    this.begin('degraded')
    if (request.type === 'write') this.unsaved.set(request.id, request)
    const again = this.trial.recording.nextCall()
    this.add({ type: 'invoke', call: again, request })
    this.add({ type: 'ok', call: again, response, cut, sent: EMPTY_VECTOR, token: token.vector })
  }

  private refused(answer: Answer, { error }: Body): void {
    const before = this.read
    const { code = String(answer.status), outcome = 'none' } = error ?? {}
    const key = `${this.at} ${code}`
    this.refusals.set(key, (this.refusals.get(key) ?? 0) + 1)
    if (!EXPECTED_REFUSALS.has(code)) this.trial.recording.problem(`${this.at} refuses with ${code}: ${answer.body}`)
    if (answer.headers['causeway-session'] === undefined) return
    const token = this.take(answer)
    if (code === 'session/reset') this.begin('session-reset')
    else if (before && !sameVector(before.vector, token.vector)) {
      this.trial.recording.problem(`a refusal (${code}, ${outcome}) at ${this.at} changes the token`)
    }
  }

  private take({ headers }: Answer): SessionToken {
    this.token = String(headers['causeway-session'])
    this.read = this.trial.recording.decode(this.token)
    return this.read
  }

  /** The session before is over, and what only a lost disk had of it is lost. */
  private begin(mark: 'degraded' | 'session-reset'): void {
    this.add({ type: 'marked', mark })
    this.add({ type: 'gone' })
    this.name = `${this.name.split('.')[0]}.${++this.lives}`
    this.unsaved.clear()
  }

  private saved(id: WriteId): void {
    this.unsaved.delete(id)
    this.add({ type: 'saved', id })
  }

  private async ask({ path, headers, ...request }: Wire): Promise<HttpOutcome> {
    const session: Record<string, string> = this.token === undefined ? {} : { 'causeway-session': this.token }
    const outcome = await this.trial.ask(this.at, path, { ...request, headers: { ...headers, ...session } })
    if (outcome.type !== 'answer') {
      const key = `${this.at} ${outcome.type}`
      this.refusals.set(key, (this.refusals.get(key) ?? 0) + 1)
    }
    return outcome
  }

  private add(event: ClientEvent): void {
    this.trial.recording.add(this.name, event)
  }
}

type Wire = Omit<HttpRequest, 'url'> & { readonly path: string }

/** The same write in several forms. */
function wireOf({ id, documents, registers, concern }: WriteRequest, timeoutMs: number, form: number): Wire {
  const query = `w=${concern}&timeoutMs=${timeoutMs}`
  const json = { 'content-type': 'application/json' }
  const operationsOn = (document: string): object[] => [
    { op: 'set', path: ['set', String(id)], value: true },
    ...registers
      .filter((register) => register.startsWith(`${document}#`))
      .map((register) => ({ op: 'set', path: ['registers', register.slice(document.length + 1)], value: id })),
  ]
  const [document = ''] = documents
  if (documents.length === 1 && registers.length === 0 && form === 0) {
    const path = `/v1/documents/${encodeURIComponent(document)}/updates?${query}`
    return { method: 'POST', path, headers: { 'content-type': 'application/octet-stream' }, body: updateOf(id) }
  }
  if (documents.length === 1) {
    const body = JSON.stringify({ operations: operationsOn(document) })
    return { method: 'PATCH', path: `/v1/documents/${encodeURIComponent(document)}?${query}`, headers: json, body }
  }
  const update = form === 0 && registers.length === 0 ? Buffer.from(updateOf(id)).toString('base64') : undefined
  const parts = documents.map((document) => {
    return update === undefined ? { document, operations: operationsOn(document) } : { document, update }
  })
  return { method: 'POST', path: `/v1/transactions?${query}`, headers: json, body: JSON.stringify({ parts }) }
}

function updateOf(id: WriteId): Uint8Array {
  const document = new Y.Doc()
  document.getMap('set').set(String(id), true)
  return Y.encodeStateAsUpdate(document)
}

export function contentsOf(document: string, { types = {} }: Body): Contents {
  const writes = Object.keys(types.set ?? {}).map(Number)
  const registers = Object.entries(types.registers ?? {}).map(([key, id]) => [`${document}#${key}`, id] as const)
  return { writes: new Map([[document, writes]]), registers: new Map(registers) }
}
