/**
 * Histories of a cell that keeps its promises, changed in one place so that one promise is broken: the checker of that
 * promise notices, wherever the place is. The histories are random and causally correct, and pass unchanged.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Random } from '../../shared/base/random.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { type CheckedInvariant, checkHistory } from './check-history.js'
import type { Contents, History, HistoryEvent, WriteId } from './history.js'
import { Observed, type Read, type Write } from './observed.js'
import { referenceCell } from './reference/reference-cell.js'
import { runSeed } from './run-seed.js'

const SEEDS = 10
const histories = new Map<number, History>()

function historyOfSeed(seed: number): History {
  let history = histories.get(seed)
  if (!history) {
    history = runSeed(referenceCell(), { seed: 1_000 + seed, lastsMs: 8_000, only: [] }).history
    histories.set(seed, history)
  }
  return history
}

type EventOf<Type extends HistoryEvent['type']> = Extract<HistoryEvent, { type: Type }>

/** A history to be changed at a random place. */
class Draft {
  readonly events: HistoryEvent[]
  readonly observed: Observed
  readonly random: Random

  constructor(history: History, random: Random) {
    this.events = [...history.events]
    this.observed = new Observed(history)
    this.random = random
  }

  /** Replaces a random event of `type` for which `change` gives another one. */
  change<Type extends HistoryEvent['type']>(
    type: Type,
    change: (event: EventOf<Type>, at: number) => HistoryEvent | undefined,
  ): boolean {
    return this.anywhere((at) => {
      const event = this.events[at]!
      const changed = event.type === type ? change(event as EventOf<Type>, at) : undefined
      if (changed) this.events[at] = changed
      return changed !== undefined
    })
  }

  /** Tries the places of the history from a random one on. */
  anywhere(attempt: (at: number) => boolean): boolean {
    const from = this.random.below(this.events.length)
    for (let step = 0; step < this.events.length; step++) {
      if (attempt((from + step) % this.events.length)) return true
    }
    return false
  }

  /** Takes a write out of what a random read showed of a document; `which` says what must have been there. */
  hide(which: (read: Read, document: string, write: Write) => boolean): boolean {
    return this.anywhere((at) => {
      const read = this.observed.reads.find(({ returned, level }) => returned === at && level !== 'eventual')
      for (const [document, ids] of read?.contents.writes ?? []) {
        const id = ids.find((one) => which(read!, document, this.observed.writes.get(one)!))
        if (id === undefined) continue
        this.show(at, without(read!.contents, document, id))
        return true
      }
      return false
    })
  }

  show(at: number, contents: Contents): void {
    this.events[at] = { ...(this.events[at] as EventOf<'ok'>), response: { type: 'read', contents } }
  }

  /** A dot that nobody has at this place of the history. */
  notYet(at: number): VersionVector | undefined {
    const later = this.events.slice(at).find((event) => event.type === 'accept') as EventOf<'accept'> | undefined
    return later && new Map([[later.dot.origin, later.dot.seq]])
  }
}

function without({ writes, registers }: Contents, document: string, id: WriteId): Contents {
  const rest = writes.get(document)!.filter((other) => other !== id)
  const registersLeft = [...registers].filter(([, other]) => other !== id)
  return { writes: new Map(writes).set(document, rest), registers: new Map(registersLeft) }
}

const shows = ({ contents }: Read, id: WriteId): boolean =>
  [...contents.writes.values()].some((ids) => ids.includes(id))

const mutations: Partial<Record<CheckedInvariant, Record<string, (draft: Draft) => boolean>>> = {
  I1: {
    'an op differs where it is delivered': (draft) =>
      draft.change('deliver', (event) => ({ ...event, chain: 'other' })),
    'a dot is given to another op too': (draft) =>
      draft.anywhere((at) => {
        const event = draft.events[at]!
        if (event.type !== 'accept') return false
        draft.events.splice(at + 1, 0, { ...event, chain: 'other' })
        return true
      }),
  },
  I2: {
    'two ops of an origin change places': (draft) =>
      draft.anywhere((at) => {
        const event = draft.events[at]!
        if (event.type !== 'deliver') return false
        const next = draft.events.findIndex(
          (other, later) =>
            later > at && other.type === 'deliver' && other.by === event.by && other.dot.origin === event.dot.origin,
        )
        const between = draft.events.slice(at, next)
        if (next < 0 || between.some(({ type, by }) => by === event.by && (type === 'start' || type === 'install')))
          return false
        draft.events[at] = draft.events[next]!
        draft.events[next] = event
        return true
      }),
    'an op forgets its latest cause': (draft) =>
      draft.change('accept', (event) => {
        const latest = [...event.deps.keys()].find(
          (origin) =>
            !draft.events.some((other) => other.type === 'accept' && other.opens?.predecessor?.origin === origin),
        )
        if (!latest) return undefined
        return { ...event, deps: new Map([...event.deps].filter(([origin]) => origin !== latest)) }
      }),
  },
  I3: {
    'an op is delivered before it is on disk': (draft) =>
      draft.anywhere((at) => {
        const event = draft.events[at]!
        const next = draft.events[at + 1]
        if (event.type !== 'durable' || next?.type !== 'deliver' || next.by !== event.by) return false
        draft.events[at] = next
        draft.events[at + 1] = event
        return true
      }),
  },
  I4: {
    'a write is missing from what is served': (draft) =>
      draft.change('serve', (event) => {
        const [document, ids] = [...event.contents.writes].find(([, list]) => list.length > 0) ?? []
        return document && ids
          ? { ...event, contents: without(event.contents, document, draft.random.pick(ids)) }
          : undefined
      }),
    'a write of later is served': (draft) =>
      draft.change('serve', (event, at) => {
        const later = draft.events.slice(at).find((other) => other.type === 'accept' && other.id !== undefined)
        if (later?.type !== 'accept') return undefined
        const [[document, ids]] = [...event.contents.writes] as [[string, readonly WriteId[]]]
        if (ids.includes(later.id!)) return undefined
        return { ...event, contents: { ...event.contents, writes: new Map([[document, [...ids, later.id!]]]) } }
      }),
  },
  I5: {
    'an own write is missing': (draft) =>
      draft.hide((read, _, { call }) => {
        return call.outcome === 'ok' && call.session === read.session && call.settled! < read.invoked
      }),
  },
  I6: {
    'a write that was read before is missing': (draft) =>
      draft.hide((read, document, write) =>
        draft.observed.reads.some(
          (other) =>
            other.level !== 'eventual' &&
            other.session === read.session &&
            other.returned < read.invoked &&
            other.contents.writes.get(document)?.includes(write.id),
        ),
      ),
  },
  I7: {
    'the earlier of two writes of a session is missing': (draft) =>
      draft.hide((read, _, write) =>
        [...draft.observed.writes.values()].some(
          (later) => later.session === write.session && later.place > write.place && shows(read, later.id),
        ),
      ),
  },
  I8: {
    'what the author of a shown write had read is missing': (draft) =>
      draft.hide((read, document, write) =>
        [...draft.observed.writes.values()].some(
          (later) =>
            later.id !== write.id &&
            shows(read, later.id) &&
            draft.observed.reads.some(
              (other) =>
                other.level !== 'eventual' &&
                other.session === later.session &&
                other.returned < later.call.invoked &&
                other.contents.writes.get(document)?.includes(write.id),
            ),
        ),
      ),
  },
  I9: {
    'an earlier write of a session is missing': (draft) =>
      draft.hide((read, _, write) =>
        [...draft.observed.writes.values()].some(
          (later) => later.session === write.session && later.place > write.place && shows(read, later.id),
        ),
      ),
    'a write of nobody is shown': (draft) =>
      draft.anywhere((at) => {
        const read = draft.observed.reads.find(({ returned, level }) => returned === at && level !== 'eventual')
        if (!read) return false
        const [[document, ids]] = [...read.contents.writes] as [[string, readonly WriteId[]]]
        draft.show(at, { ...read.contents, writes: new Map(read.contents.writes).set(document, [...ids, 999_999]) })
        return true
      }),
  },
  I10: {
    'a register shows what its author had overwritten': (draft) =>
      draft.anywhere((at) => {
        const read = draft.observed.reads.find(({ returned, level }) => returned === at && level !== 'eventual')
        for (const [register, id] of read?.contents.registers ?? []) {
          const write = draft.observed.writes.get(id)!
          const earlier = [...draft.observed.writes.values()].find(
            (other) =>
              other.session === write.session && other.place < write.place && other.registers.includes(register),
          )
          if (!earlier) continue
          draft.show(at, { ...read!.contents, registers: new Map(read!.contents.registers).set(register, earlier.id) })
          return true
        }
        return false
      }),
  },
  I11: {
    'one replica makes another document of the same ops': (draft) =>
      draft.change('fingerprint', (event) => {
        const twins = draft.events.filter(
          (other) => other.type === 'fingerprint' && other.document === event.document && other.digest === event.digest,
        )
        return twins.length > 1 ? { ...event, fingerprint: 'other' } : undefined
      }),
    'one replica ends without a write': (draft) =>
      draft.change('replica-settled', (event) => ({ ...event, held: event.held.slice(1) })),
  },
  I12: {
    'a saved write is nowhere at the end': (draft) => {
      const saved = [...draft.observed.writes.values()].filter((write) => write.saved !== undefined)
      if (saved.length === 0) return false
      const { id } = draft.random.pick(saved)
      for (const [at, event] of draft.events.entries()) {
        if (event.type !== 'replica-settled') continue
        draft.events[at] = { ...event, held: event.held.filter((other) => other !== id) }
      }
      return true
    },
  },
  I13: {
    'an answer comes late': (draft) =>
      draft.change('ok', (event, at) => {
        const { deadlineMs } = draft.observed.callAt.get(at)!
        return deadlineMs === undefined ? undefined : { ...event, atMs: event.atMs + deadlineMs + 1_001 }
      }),
    'an op waits at the end': (draft) => draft.change('replica-settled', (event) => ({ ...event, waiting: 1 })),
  },
  I15: {
    'another entry is applied': (draft) =>
      draft.change('coordinate', (event) => {
        const twins = draft.events.filter((other) => other.type === 'coordinate' && other.index === event.index)
        return twins.length > 1 ? { ...event, entry: 'other' } : undefined
      }),
  },
  I16: {
    'a proposal depends on what no majority has': (draft) =>
      draft.change('propose', (event, at) => {
        const deps = draft.notYet(at)
        return deps && { ...event, deps }
      }),
  },
  I17: {
    'the cut runs ahead': (draft) =>
      draft.change('majority-cut', (event, at) => {
        const ahead = draft.notYet(at)
        return ahead && { ...event, cut: new Map([...event.cut, ...ahead]) }
      }),
  },
  I18: {
    'the log is cut above the majority-durable cut': (draft) =>
      draft.change('truncate', (event) => ({ ...event, seq: event.seq + 1_000 })),
    'state transfer removes a write': (draft) =>
      draft.change('install', (event, at) => {
        const delivered = draft.events
          .slice(0, at)
          .findLast((other) => other.by === event.by && (other.type === 'deliver' || other.type === 'start'))
        const accept =
          delivered?.type === 'deliver'
            ? draft.observed.accepts.get(`${delivered.dot.origin}:${delivered.dot.seq}`)
            : undefined
        if (accept?.id === undefined) return undefined
        return { ...event, held: event.held.filter((id) => id !== accept.id) }
      }),
  },
  I19: {
    'a document has parts that wait': (draft) =>
      draft.change('deliver', ({ atMs, by }) => ({ atMs, by, type: 'pending', document: 'x', structs: 1, deletes: 0 })),
  },
  I20: {
    'a fresh read lacks what was saved': (draft) =>
      draft.hide((read, _, write) => read.level === 'fresh' && write.saved !== undefined && write.saved < read.invoked),
  },
  I21: {
    'an answer stands on nothing': (draft) =>
      draft.change('ok', (event, at) => {
        const { request } = draft.observed.callAt.get(at)!
        const isFree = request.type === 'read' && request.level === 'eventual'
        return isFree || event.sent.size === 0 ? undefined : { ...event, cut: new Map() }
      }),
    'the token is forgotten': (draft) =>
      draft.change('ok', (event, at) => {
        const { request } = draft.observed.callAt.get(at)!
        const isFree = request.type === 'read' && request.level === 'eventual'
        return isFree || event.cut.size === 0 ? undefined : { ...event, token: new Map() }
      }),
  },
}

const kinds = Object.entries(mutations).flatMap(([invariant, kindsOf]) =>
  Object.entries(kindsOf).map(([name, mutate]) => [invariant as CheckedInvariant, name, mutate] as const),
)

describe('random histories', () => {
  test('pass as they are', () => {
    for (let seed = 0; seed < SEEDS; seed++) expect(checkHistory(historyOfSeed(seed))).toEqual([])
  })

  test.each(kinds)('%s notices: %s', (invariant, _, mutate) => {
    let applied = 0
    fc.assert(
      fc.property(fc.nat(), (place) => {
        for (let seed = 0; seed < SEEDS; seed++) {
          const history = historyOfSeed(seed)
          const draft = new Draft(history, new Random(place))
          if (!mutate(draft)) continue
          applied++
          expect(checkHistory({ ...history, events: draft.events }, [invariant])).not.toEqual([])
        }
      }),
      { numRuns: 4 },
    )
    expect(applied).toBeGreaterThanOrEqual(4)
  })
})
