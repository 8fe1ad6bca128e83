/**
 * Happens-before of a history: the order of events in each session, and each write before the reads that contain it,
 * transitively. The past of an event is a vector with one entry per session: how many of its writes are in it, which is
 * all there is to know because a session's writes are ordered.
 *
 * Cost: one vector per write and read, a join only where a read shows a write that the vector lacks.
 */
import type { Observed, Read, Write } from '../observed.js'

/** Number of writes by session index. */
export type Past = Int32Array

export interface CausalPasts {
  /** Without the write itself. */
  readonly ofWrite: ReadonlyMap<Write, Past>
  /** What a read has to show, what it shows included. */
  readonly ofRead: ReadonlyMap<Read, Past>
  /** Reads that no order of events explains: happens-before has a cycle. */
  readonly unexplained: readonly Read[]
}

const known = new WeakMap<Observed, CausalPasts>()

export function causalPasts(observed: Observed): CausalPasts {
  let pasts = known.get(observed)
  if (!pasts) {
    pasts = compute(observed)
    known.set(observed, pasts)
  }
  return pasts
}

export const isIn = (past: Past, write: Write): boolean => write.place < past[write.session]!

/** Ids that a read shows, of sets and registers. */
export function* shownBy({ contents }: Read): Generator<number, void, undefined> {
  for (const ids of contents.writes.values()) yield* ids
  yield* contents.registers.values()
}

function compute(observed: Observed): CausalPasts {
  const ofWrite = new Map<Write, Past>()
  const ofRead = new Map<Read, Past>()
  const readOf = new Map(observed.reads.map((read) => [read.returned, read]))
  /** What each session has taken in so far, and what it had when an unanswered read began. */
  const contexts = observed.sessions.map(() => new Int32Array(observed.sessions.length))
  const begun = new Map<number, Past>()

  /** False: a write that it shows is not placed yet. */
  const take = (at: number): boolean => {
    const event = observed.events[at]!
    const call = observed.callAt.get(at)!
    const context = contexts[call.session]!
    const { request } = call
    if (event.type === 'invoke') {
      if (request.type === 'write') {
        const write = observed.writes.get(request.id)!
        const past = contexts[write.session]!.slice()
        past[write.session] = write.place
        ofWrite.set(write, past)
      } else begun.set(call.invoked, context.slice())
    } else if (event.type === 'ok' && request.type === 'write') {
      const write = observed.writes.get(request.id)!
      context[write.session] = Math.max(context[write.session]!, write.place + 1)
    } else if (event.type === 'ok') {
      const read = readOf.get(at)
      if (!read || read.level === 'eventual') return true
      const past = begun.get(call.invoked)!
      for (const id of shownBy(read)) {
        const write = observed.writes.get(id)
        if (!write || isIn(past, write)) continue
        const before = ofWrite.get(write)
        if (!before) return false
        joinPast(past, before)
        past[write.session] = Math.max(past[write.session]!, write.place + 1)
      }
      ofRead.set(read, past)
      joinPast(context, past)
    }
    return true
  }

  // In real time order everything explains itself in one pass; clocks of several machines may need more.
  let waiting = [...observed.callAt.keys()].sort((one, other) => one - other)
  for (let before = Number.POSITIVE_INFINITY; waiting.length > 0 && waiting.length < before; ) {
    before = waiting.length
    const stuck = new Set<number>()
    waiting = waiting.filter((at) => {
      const { session } = observed.callAt.get(at)!
      if (!stuck.has(session) && take(at)) return false
      stuck.add(session)
      return true
    })
  }
  const unexplained = waiting.flatMap((at) => readOf.get(at) ?? [])
  return { ofWrite, ofRead, unexplained }
}

export function joinPast(target: Past, source: Past): void {
  for (let index = 0; index < source.length; index++) {
    if (source[index]! > target[index]!) target[index] = source[index]!
  }
}
