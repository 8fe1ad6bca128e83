import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dotOf, originOf, showDot, showVector, vectorOf } from '../../test/support/causal-text.js'
import { heldByCount, majorityOf } from '../causal/majority-cut.js'
import type { CellEpoch, CellId } from '../clock/cell.js'
import type { Dot, OriginId } from '../clock/dot.js'
import { Lineages } from '../clock/lineages.js'
import { EMPTY_VECTOR, type VersionVector } from '../clock/version-vector.js'
import {
  checkRelease,
  checkSession,
  type Decision,
  freshQuorum,
  freshTarget,
  nextToken,
  type ReplicaView,
  refusalOf,
  type SessionRequest,
  type Wait,
} from './check.js'
import { DEBT_LIMIT, type SessionToken } from './token.js'

const CELL = '0f'.repeat(16) as CellId
const EPOCH: CellEpoch = { ordinal: 2, id: '1'.repeat(16) }

const viewOf = (durable: string, change: Partial<ReplicaView> = {}): ReplicaView => ({
  cell: CELL,
  epoch: EPOCH,
  configEpoch: 1,
  lineages: new Lineages(),
  durable: vectorOf(durable),
  majorityDurable: EMPTY_VECTOR,
  isLost: () => false,
  isReoriginated: () => false,
  ...change,
})
const tokenOf = (vector: string, change: Partial<SessionToken> = {}): SessionToken => ({
  cell: CELL,
  epoch: EPOCH,
  configEpoch: 1,
  vector: vectorOf(vector),
  debt: EMPTY_VECTOR,
  ...change,
})
const show = (decision: Decision): string => {
  switch (decision.type) {
    case 'ready':
      return decision.debt.size > 0 ? `ready, owing ${showVector(decision.debt)}` : 'ready'
    case 'wait':
      return `wait until ${decision.until} ${showVector(decision.missing)}`.trimEnd()
    case 'refuse':
      return `refuse ${decision.error.code}`
  }
}
const WRITE: SessionRequest = { type: 'write' }
const read = (level: 'eventual' | 'session' | 'majority'): SessionRequest => ({ type: 'read', level })
const fresh = (target?: string): SessionRequest => ({
  type: 'read',
  level: 'fresh',
  target: target === undefined ? undefined : vectorOf(target),
})

test.each<[string, string | undefined, SessionRequest, string]>([
  // the replica has, the session saw, request, decision
  ['a1:3 b1:1', 'a1:3', read('session'), 'ready'],
  ['a1:3 b1:1', 'a1:4', read('session'), 'wait until delivered a1:4'],
  ['a1:3 b1:1', 'a1:4 b1:1 c1:2', read('session'), 'wait until delivered a1:4 c1:2'],
  ['a1:3', 'a1:4', read('majority'), 'wait until delivered a1:4'],
  ['a1:3', 'a1:4', WRITE, 'wait until delivered a1:4'],
  ['a1:3', 'a1:4', read('eventual'), 'ready'],
  ['a1:3', undefined, read('session'), 'ready'],
  ['a1:3', undefined, read('eventual'), 'ready'],
  ['a1:3', undefined, WRITE, 'ready'],
  ['a1:3', undefined, fresh(), 'wait until vectors-known'],
  ['a1:3', undefined, fresh('a1:3'), 'ready'],
  ['a1:3', undefined, fresh('a1:3 b1:2'), 'wait until delivered b1:2'],
  ['a1:3', 'a1:4', fresh('a1:3 b1:2'), 'wait until delivered a1:4'],
  ['a1:3 coord1:4', 'coord1:5', read('session'), 'wait until delivered coord1:5'],
])('[SG1-SG4] at %s, for a session that saw %s, %j: %s', (durable, saw, request, expected) => {
  expect(show(checkSession(saw === undefined ? undefined : tokenOf(saw), request, viewOf(durable)))).toBe(expected)
})

test.each<[string, Partial<SessionToken>, string]>([
  ['another cell', { cell: '11'.repeat(16) as CellId }, 'refuse session/reset'],
  ['an older epoch', { epoch: { ordinal: 1, id: '1'.repeat(16) } }, 'refuse session/reset'],
  ['the other side of a split', { epoch: { ordinal: 2, id: '2'.repeat(16) } }, 'refuse session/reset'],
  [
    'a newer epoch, which this replica missed',
    { epoch: { ordinal: 3, id: '1'.repeat(16) } },
    'refuse session/replica-behind',
  ],
  ['a newer configuration', { configEpoch: 2 }, 'wait until configured'],
])('[SG1-SG4] a token of %s, whatever it saw', (_, change, expected) => {
  const view = viewOf('a1:9')
  expect(show(checkSession(tokenOf('a1:1', change), read('session'), view))).toBe(expected)
  expect(show(checkSession(tokenOf('a1:1', change), WRITE, view))).toBe(expected)
  if (expected.startsWith('refuse')) {
    expect(show(checkSession(tokenOf('a1:1', change), read('eventual'), view))).toBe(expected)
  }
})

test('a restart that the session did not see satisfies what it saw before', () => {
  const lineages = new Lineages()
  lineages.learnOpening(dotOf('a2:5'), dotOf('a1:4'))
  expect(show(checkSession(tokenOf('a1:4'), WRITE, viewOf('a2:5', { lineages })))).toBe('ready')
  expect(show(checkSession(tokenOf('a1:5'), WRITE, viewOf('a2:5', { lineages })))).toBe('wait until delivered a1:5')
})

describe('what died with a disk', () => {
  const lost = viewOf('a1:3 b1:2', { isLost: ({ origin, seq }) => origin === originOf('x1') && seq > 4 })

  test('becomes debt that every answer names, and binds nobody any more', () => {
    const decision = checkSession(tokenOf('a1:3 x1:7'), read('session'), lost)
    expect(show(decision)).toBe('ready, owing x1:7')
    const token = nextToken(tokenOf('a1:3 x1:7'), lost, lost.durable, vectorOf('x1:7'))
    expect([showVector(token.vector), showVector(token.debt)]).toEqual(['a1:3 b1:2', 'x1:7'])
    expect(show(checkSession(token, read('majority'), lost))).toBe('ready, owing x1:7')
    expect(show(checkSession(token, WRITE, viewOf('a1:3 b1:2')))).toBe('ready, owing x1:7')
  })

  test('[SG1-SG4] what is left of an origin goes on to bind, through answers that show little of it', () => {
    const view = viewOf('a1:3 x1:5', { isLost: ({ origin, seq }) => origin === originOf('x1') && seq > 5 })
    const first = nextToken(tokenOf('a1:3 x1:7'), view, vectorOf('a1:3'), vectorOf('x1:7'))
    expect([showVector(first.vector), showVector(first.debt)]).toEqual(['a1:3 x1:5', 'x1:7'])
    const later = nextToken(first, view, vectorOf('a1:4'), vectorOf('x1:7'))
    expect([showVector(later.vector), showVector(later.debt)]).toEqual(['a1:4 x1:5', 'x1:7'])
    expect(show(checkSession(later, WRITE, viewOf('a1:4 x1:4')))).toBe('wait until delivered x1:5')
    const read = nextToken(later, viewOf('a1:4 x1:4'), vectorOf('a1:4 x1:4'), later.debt)
    expect(showVector(read.vector)).toBe('a1:4 x1:5')
  })

  test('is not owed together with what may still come', () => {
    expect(show(checkSession(tokenOf('a1:4 x1:7'), read('session'), lost))).toBe('wait until delivered a1:4 x1:7')
    expect(show(checkSession(tokenOf('x1:4'), read('session'), lost))).toBe('wait until delivered x1:4')
  })

  test('a client that has asked everywhere may go on without what is missing', () => {
    expect(show(checkSession(tokenOf('a1:4'), WRITE, viewOf('a1:3'), true))).toBe('ready, owing a1:4')
  })

  test('debt is paid by what comes after all, and by what is offered again', () => {
    const token = tokenOf('a1:1', { debt: vectorOf('x1:7 y1:2') })
    expect(show(checkSession(token, WRITE, viewOf('a1:1 x1:8')))).toBe('ready, owing y1:2')
    const again = viewOf('a1:1', { isReoriginated: ({ origin }) => origin === originOf('y1') })
    expect(show(checkSession(token, WRITE, again))).toBe('ready, owing x1:7')
    expect(show(checkSession(tokenOf('a1:1 y1:2'), WRITE, again))).toBe('ready')
    expect(showVector(nextToken(tokenOf('a1:1 y1:2'), again, EMPTY_VECTOR, EMPTY_VECTOR).vector)).toBe('a1:1')
  })

  test('more of it than a token may carry ends the session', () => {
    const owing = (count: number) => tokenOf(Array.from({ length: count }, (_, index) => `x${index + 1}:1`).join(' '))
    const all = viewOf('', { isLost: () => true })
    expect(checkSession(owing(DEBT_LIMIT), WRITE, all).type).toBe('ready')
    expect(show(checkSession(owing(DEBT_LIMIT + 1), WRITE, all))).toBe('refuse session/reset')
  })

  test('a read without guarantees forgets nothing', () => {
    const token = tokenOf('a1:4 b1:1', { debt: vectorOf('x1:7') })
    const decision = checkSession(token, read('eventual'), viewOf('a1:3 b1:2'))
    expect(show(decision)).toBe('ready, owing x1:7')
    const after = nextToken(token, viewOf('a1:3 b1:2'), vectorOf('a1:3 b1:2'), token.debt)
    expect([showVector(after.vector), showVector(after.debt)]).toEqual(['a1:4 b1:2', 'x1:7'])
  })
})

test('[SG1-SG4] a majority answer is held until a majority has all of it on disk', () => {
  const view = viewOf('a1:4', { majorityDurable: vectorOf('a1:3') })
  expect(show(checkRelease(vectorOf('a1:3'), view))).toBe('ready')
  expect(show(checkRelease(vectorOf('a1:4 b1:1'), view))).toBe('wait until majority-durable a1:4 b1:1')
})

test.each<[Wait['until'], string]>([
  ['delivered', 'session/replica-behind'],
  ['configured', 'session/replica-behind'],
  ['vectors-known', 'read/not-majority-durable'],
  ['majority-durable', 'read/not-majority-durable'],
])('a wait until %s that reaches its deadline is %s, and names what is missing', (until, code) => {
  expect(refusalOf({ type: 'wait', until, missing: vectorOf('a1:4') })).toMatchObject({
    code,
    details: { missing: { [originOf('a1')]: 4 } },
  })
})

describe('fresh', () => {
  test.each([
    // members, wished, quorum
    [1, undefined, 1],
    [3, undefined, 2],
    [3, 2, 2],
    [3, 1, 'request/invalid'],
    [3, 3, 3],
    [3, 4, 'request/invalid'],
    [4, 2, 2],
    [4, undefined, 3],
    [5, 2, 'request/invalid'],
    [5, 3, 3],
    [5, 2.5, 'request/invalid'],
    [5, Number.NaN, 'request/invalid'],
  ])('of %i members, r=%s asks %s', (members, wished, expected) => {
    const quorum = freshQuorum(members, wished)
    expect(typeof quorum === 'number' ? quorum : quorum.code).toBe(expected)
    // Whoever is asked meets every majority that acknowledged.
    if (typeof quorum === 'number') expect(quorum + majorityOf(members)).toBeGreaterThan(members)
  })

  test('the target is what any of the asked holds, and unknown before enough have answered', () => {
    const lineages = new Lineages()
    expect(freshTarget([vectorOf('a1:3')], 2, lineages)).toBeUndefined()
    expect(showVector(freshTarget([vectorOf('a1:3 b1:1'), vectorOf('a1:1 b1:4')], 2, lineages)!)).toBe('a1:3 b1:4')
  })
})

describe('sessions that hop between replicas', () => {
  /** Three replicas with their true sets of ops; `deliver` moves one op whose causes are there. */
  class Cell {
    readonly replicas = ['a1', 'b1', 'c1'].map((origin) => {
      return { origin: originOf(origin), vector: new Map<OriginId, number>(), held: new Set<string>() }
    })
    readonly deps = new Map<string, VersionVector>()
    readonly lineages = new Lineages()

    view(at: number): ReplicaView {
      const vectors = this.replicas.map(({ vector }) => vector)
      const majorityDurable = heldByCount(vectors, majorityOf(vectors.length), this.lineages)
      return viewOf('', { lineages: this.lineages, durable: new Map(this.replicas[at]!.vector), majorityDurable })
    }

    put(at: number, dot: Dot): void {
      const { vector, held } = this.replicas[at]!
      vector.set(dot.origin, dot.seq)
      held.add(showDot(dot))
    }

    write(at: number): Dot {
      const { origin, vector } = this.replicas[at]!
      const dot = { origin, seq: (vector.get(origin) ?? 0) + 1 }
      this.deps.set(showDot(dot), new Map(vector))
      this.put(at, dot)
      return dot
    }

    deliver(from: number, to: number): void {
      const { vector } = this.replicas[to]!
      const next = [...this.replicas[from]!.held].find((text) => {
        const { origin, seq } = dotOf(text)
        return (vector.get(origin) ?? 0) === seq - 1 && this.lineages.dominates(vector, this.deps.get(text)!)
      })
      if (next !== undefined) this.put(to, dotOf(next))
    }
  }

  const act = fc.record({
    type: fc.constantFrom('deliver', 'deliver', 'write', 'session', 'majority', 'fresh', 'eventual'),
    at: fc.nat({ max: 2 }),
    from: fc.nat({ max: 2 }),
    session: fc.nat({ max: 1 }),
  })

  test('[SG1-SG4] an answer holds all that the session saw before, and a replica that holds it answers', () => {
    fc.assert(
      fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
        const cell = new Cell()
        const sessions = [0, 1].map(() => ({ token: undefined as SessionToken | undefined, seen: new Set<string>() }))
        const acknowledged = new Set<string>()
        for (const { type, at, from, session: index } of acts) {
          if (type === 'deliver') {
            cell.deliver(from, at)
            continue
          }
          const session = sessions[index]!
          const before = cell.view(at)
          const quorum = cell.replicas.slice(0, 2).map(({ vector }) => vector)
          const request: SessionRequest =
            type === 'write'
              ? WRITE
              : type === 'fresh'
                ? { type: 'read', level: 'fresh', target: freshTarget(quorum, 2, cell.lineages) }
                : read(type)
          const decision = checkSession(session.token, request, before)
          const { held } = cell.replicas[at]!
          const holdsAll = [...session.seen].every((op) => held.has(op))
          if (type === 'eventual') expect(decision.type).toBe('ready')
          else if (type !== 'fresh') expect(decision.type).toBe(holdsAll ? 'ready' : 'wait')
          if (decision.type !== 'ready') continue
          if (type === 'write') {
            const dot = cell.write(at)
            session.token = nextToken(session.token, cell.view(at), new Map([[dot.origin, dot.seq]]), decision.debt)
            session.seen.add(showDot(dot))
            continue
          }
          if (type !== 'eventual' && type !== 'session') {
            const release = checkRelease(before.durable, before)
            const isHeld = [...held].some((op) => !cell.lineages.includes(before.majorityDurable, dotOf(op)))
            expect(release.type).toBe(isHeld ? 'wait' : 'ready')
            if (release.type !== 'ready') continue
            // Whatever was acknowledged by a majority before a fresh read began is in it.
            if (type === 'fresh') for (const op of acknowledged) expect(held.has(op)).toBe(true)
          }
          session.token = nextToken(session.token, before, before.durable, decision.debt)
          for (const op of held) session.seen.add(op)
          for (const { held: ops } of cell.replicas) {
            for (const op of ops) if (cell.lineages.includes(before.majorityDurable, dotOf(op))) acknowledged.add(op)
          }
        }
      }),
      { numRuns: 500 },
    )
  })
})
