/**
 * A history put in order for the checkers: its calls, writes, sessions and vectors. Built once, used by all of them.
 *
 * What follows a `marked` event is another session: the guarantees of the one before end there. The writes that no
 * majority had by then go over to it: with the disk that had them their place in the order of things may be lost, and
 * their client makes them anew.
 */
import type { Dot } from '../../shared/clock/dot.js'
import type { ClientEvent, Contents, History, HistoryEvent, Level, Request, Response, WriteId } from './history.js'
import { type DenseVector, Lineages } from './lineages.js'

export interface Violation {
  /** `I1` to `I21`. */
  readonly invariant: string
  /** Index of the event that shows it. */
  readonly at: number
  readonly says: string
}

export type Checker = (observed: Observed) => Violation[]

export type Accept = Extract<HistoryEvent, { type: 'accept' }>
type Ok = Extract<ClientEvent, { type: 'ok' }>

export interface Call {
  readonly session: number
  readonly request: Request
  readonly deadlineMs: number | undefined
  /** Indices of events. */
  readonly invoked: number
  settled: number | undefined
  outcome: 'ok' | 'refused' | 'unknown' | 'open'
  ok: Ok | undefined
}

export interface Write {
  readonly id: WriteId
  /** The one that made it last; `call.session` is the one that made it first. */
  session: number
  /** Place among the session's writes, from 0. */
  place: number
  readonly documents: readonly string[]
  readonly registers: readonly string[]
  readonly call: Call
  saved: number | undefined
  /** Made a second time: its registers may be set twice, in other orders. */
  isRemade: boolean
  /** Somebody read it, or it is there at the end. */
  isSeen: boolean
}

/** A read that was answered. */
export interface Read {
  readonly call: Call
  readonly session: number
  readonly level: Level
  readonly invoked: number
  readonly returned: number
  readonly contents: Contents
}

export class Observed {
  readonly history: History
  readonly events: readonly HistoryEvent[]
  readonly lineages: Lineages
  readonly calls: Call[] = []
  readonly writes = new Map<WriteId, Write>()
  /** In the order in which they were answered. */
  readonly reads: Read[] = []
  /** Names by session index; `s`, and `s+1` for what follows its first mark. */
  readonly sessions: string[] = []
  /** Index of the session that each client event belongs to; of the call, for answers. */
  readonly callAt = new Map<number, Call>()
  /** By `keyOf` their dots, without those that were withdrawn. */
  readonly accepts = new Map<string, Accept>()
  /** One more than the greatest id of a write that anything names. */
  readonly idEnd: number

  constructor(history: History) {
    this.history = history
    this.events = history.events
    this.lineages = new Lineages(history)
    for (const event of history.events) {
      if (event.type === 'accept') this.accepts.set(keyOf(event.dot), event)
      else if (event.type === 'withdraw') this.accepts.delete(keyOf(event.dot))
    }
    this.readCalls()
    this.idEnd = this.markSeen()
  }

  /** A write that was accepted as far as anybody can tell; whether the others happened is unknown. */
  isReal(write: Write): boolean {
    return write.call.outcome === 'ok' || write.isSeen
  }

  /** `s+1` is written by this session. */
  nameOf(session: number): string {
    return this.sessions[session]!
  }

  /** Writes whose dots a clock covers. */
  idsUnder(clock: DenseVector): WriteId[] {
    const ids: WriteId[] = []
    for (const event of this.accepts.values()) {
      if (event.id === undefined) continue
      if (event.dot.seq <= clock[this.lineages.indexOf(event.dot.origin)]!) ids.push(event.id)
    }
    return ids
  }

  private readCalls(): void {
    const current = new Map<string, number>()
    const marks = new Map<string, number>()
    const calls = new Map<number, Call>()
    const unsaved = new Map<string, Map<WriteId, Write>>()
    const sessionOf = (name: string): number => {
      let session = current.get(name)
      if (session === undefined) {
        session = this.sessions.length
        const mark = marks.get(name) ?? 0
        this.sessions.push(mark === 0 ? name : `${name}+${mark}`)
        current.set(name, session)
      }
      return session
    }
    for (const [at, event] of this.events.entries()) {
      switch (event.type) {
        case 'marked':
          current.delete(event.by)
          marks.set(event.by, (marks.get(event.by) ?? 0) + 1)
          for (const write of unsaved.get(event.by)?.values() ?? []) write.session = sessionOf(event.by)
          for (const id of event.remade ?? []) {
            const write = this.writes.get(id)
            if (write) write.isRemade = true
          }
          break
        case 'invoke': {
          const { request, deadlineMs } = event
          const session = sessionOf(event.by)
          const call: Call = {
            session,
            request,
            deadlineMs,
            invoked: at,
            settled: undefined,
            outcome: 'open',
            ok: undefined,
          }
          calls.set(event.call, call)
          this.calls.push(call)
          this.callAt.set(at, call)
          if (request.type !== 'write') break
          const { id, documents, registers } = request
          const write = {
            id,
            session,
            place: 0,
            documents,
            registers,
            call,
            saved: undefined,
            isRemade: false,
            isSeen: false,
          }
          this.writes.set(id, write)
          unsaved.set(event.by, (unsaved.get(event.by) ?? new Map<WriteId, Write>()).set(id, write))
          break
        }
        case 'ok':
        case 'refused':
        case 'unknown': {
          const call = calls.get(event.call)
          if (!call) throw new Error(`event ${at} answers a call that was never made`)
          call.outcome = event.type
          call.settled = at
          this.callAt.set(at, call)
          if (event.type !== 'ok') break
          call.ok = event
          this.addRead(call, event.response, at)
          break
        }
        case 'saved': {
          const write = this.writes.get(event.id)
          if (write) write.saved ??= at
          unsaved.get(event.by)?.delete(event.id)
        }
      }
    }
    const counts = new Map<number, number>()
    for (const write of this.writes.values()) {
      write.place = counts.get(write.session) ?? 0
      counts.set(write.session, write.place + 1)
    }
  }

  private addRead(call: Call, response: Response, returned: number): void {
    if (response.type !== 'read' || call.request.type !== 'read') return
    const { session, invoked } = call
    this.reads.push({ call, session, level: call.request.level, invoked, returned, contents: response.contents })
  }

  private markSeen(): number {
    let greatest = Math.max(0, ...this.writes.keys())
    const see = (ids: readonly WriteId[]): void => {
      for (const id of ids) {
        if (id > greatest) greatest = id
        const write = this.writes.get(id)
        if (write) write.isSeen = true
      }
    }
    for (const { contents } of this.reads) {
      for (const ids of contents.writes.values()) see(ids)
      see([...contents.registers.values()])
    }
    for (const event of this.events) {
      if (event.type === 'replica-settled' || event.type === 'install') see(event.held)
      else if (event.type === 'serve') for (const ids of event.contents.writes.values()) see(ids)
      else if (event.type === 'accept' && event.id !== undefined) greatest = Math.max(greatest, event.id)
    }
    return greatest + 1
  }
}

export const keyOf = ({ origin, seq }: Dot): string => `${origin}:${seq}`

/** A set of small numbers that is emptied in no time. */
export class Marks {
  private readonly generations: Int32Array
  private generation = 1

  constructor(end: number) {
    this.generations = new Int32Array(end)
  }

  clear(): void {
    this.generation++
  }

  /** False: it was in already. */
  add(member: number): boolean {
    const isNew = this.generations[member] !== this.generation
    this.generations[member] = this.generation
    return isNew
  }

  has(member: number): boolean {
    return this.generations[member] === this.generation
  }
}

/** Collects what one checker finds, the first few: a broken system breaks its promise again and again. */
export class Findings {
  readonly found: Violation[] = []
  private readonly invariant: string

  constructor(invariant: string) {
    this.invariant = invariant
  }

  add(at: number, says: string): void {
    if (this.found.length < MOST_FINDINGS) this.found.push({ invariant: this.invariant, at, says })
  }
}

const MOST_FINDINGS = 5
