import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import type { CellId } from '../../shared/clock/cell.js'
import { Lineages } from '../../shared/clock/lineages.js'
import { EMPTY_VECTOR, maxVector, type VersionVector } from '../../shared/clock/version-vector.js'
import type { SessionToken } from '../../shared/session/token.js'
import { dotOf, originOf, showVector, vectorOf } from '../../test/support/causal-text.js'
import { ManualClock } from '../../test/support/manual-clock.js'
import { createSessionKeys } from '../access/session-keys.js'
import type { Wish } from '../replica/cell.js'
import { SessionDesk } from './session-desk.js'

const CELL = '0f'.repeat(16) as CellId
const EPOCH = { ordinal: 1, id: '1'.repeat(16) }
const WRITE: Wish = { type: 'write' }
const read = (level: 'eventual' | 'session' | 'majority'): Wish => ({ type: 'read', level })
const fresh = (r?: number): Wish => ({ type: 'read', level: 'fresh', r })

/** A replica of three, whose view is written by the test. */
function replica(durable: string, waitingLimit = 1_000) {
  const clock = new ManualClock()
  const lineages = new Lineages()
  const state = {
    durable: vectorOf(durable),
    majorityDurable: EMPTY_VECTOR as VersionVector,
    configEpoch: 1,
    members: 3,
    /** By member, for write concerns. */
    holders: new Map<string, VersionVector>(),
    lost: (_seq: number, _origin: string): boolean => false,
  }
  const waited: string[] = []
  const rounds: ((member: string, durable: VersionVector) => void)[] = []
  const holdersOf = (seen: VersionVector): number =>
    1 + [...state.holders.values()].filter((vector) => lineages.dominates(vector, seen)).length
  const desk = new SessionDesk({
    view: () => ({
      cell: CELL,
      epoch: EPOCH,
      configEpoch: state.configEpoch,
      lineages,
      durable: state.durable,
      majorityDurable: state.majorityDurable,
      isLost: ({ origin, seq }) => state.lost(seq, origin),
      isReoriginated: () => false,
    }),
    keys: createSessionKeys({ cell: CELL }),
    members: () => state.members,
    askVectors: (heard) => {
      rounds.push(heard)
      heard('self', state.durable)
    },
    progressOf: (seen) => {
      const replicas = holdersOf(seen)
      return { acknowledged: replicas === 3 ? 'all' : replicas === 2 ? 'majority' : 'local', replicas }
    },
    isReached: (seen: VersionVector, concern: WriteConcern) =>
      holdersOf(seen) >= (concern === 'local' ? 1 : concern === 'majority' ? 2 : concern === 'all' ? 3 : concern),
    waited: (cause) => waited.push(cause),
    timers: clock,
    waitingLimit,
  })
  const move = (change: Partial<{ [Name in 'durable' | 'majorityDurable']: string }> & { configEpoch?: number }) => {
    if (change.durable !== undefined) state.durable = vectorOf(change.durable)
    if (change.majorityDurable !== undefined) state.majorityDurable = vectorOf(change.majorityDurable)
    if (change.configEpoch !== undefined) state.configEpoch = change.configEpoch
    desk.changed()
  }
  return { desk, clock, lineages, state, waited, rounds, move }
}

const tokenOf = (vector: string, change: Partial<SessionToken> = {}): SessionToken => ({
  cell: CELL,
  epoch: EPOCH,
  configEpoch: 1,
  vector: vectorOf(vector),
  debt: EMPTY_VECTOR,
  ...change,
})

/** What has become of it by now: its vector or progress, its error, or that it waits. */
async function stateOf(request: Promise<unknown>): Promise<string> {
  const settled = request.then(
    (result) =>
      result instanceof Map ? `ready ${showVector(result)}`.trim() : `ready ${JSON.stringify(result) ?? ''}`.trim(),
    (error: { code: string; details: object }) => `${error.code} ${JSON.stringify(error.details)}`,
  )
  const turn = new Promise<string>((resolve) => setImmediate(() => resolve('waits')))
  return await Promise.race([settled, turn])
}

describe('[SG1-SG4] a request of a session that has seen more than this replica', () => {
  test.each([WRITE, read('session'), read('majority'), fresh()])('%j waits until it is here', async (wish) => {
    const { desk, move, state, waited } = replica('a1:3 b1:1')
    state.members = 1
    const request = desk.admit(tokenOf('a1:4 b1:2'), wish, 5_000)
    move({ durable: 'a1:4 b1:1' })
    expect(await stateOf(request)).toBe('waits')
    move({ durable: 'a1:4 b1:2' })
    expect([await stateOf(request), desk.waiting, waited]).toEqual(['ready', 0, ['delivered']])
  })

  test('is refused at its deadline, saying what is missing, and never answered with less', async () => {
    const { desk, clock, move } = replica('a1:3')
    const requests = [WRITE, read('session'), read('majority'), fresh()].map((wish) =>
      desk.admit(tokenOf('a1:4 b1:2'), wish, 5_000),
    )
    move({ durable: 'a1:9' })
    clock.advance(5_000)
    const missing = JSON.stringify({ missing: { [originOf('b1')]: 2 } })
    for (const request of requests) expect(await stateOf(request)).toBe(`session/replica-behind ${missing}`)
    expect(await stateOf(desk.admit(tokenOf('b1:2'), WRITE, 0))).toBe(`session/replica-behind ${missing}`)
  })

  test('is answered at level eventual with what there is', async () => {
    expect(await stateOf(replica('').desk.admit(tokenOf('a1:4'), read('eventual'), 0))).toBe('ready')
  })

  test('is released by a restart that implies what it has seen', async () => {
    const { desk, lineages, move } = replica('a1:3')
    const request = desk.admit(tokenOf('a1:4'), WRITE, 5_000)
    lineages.learnOpening(dotOf('a2:5'), dotOf('a1:4'))
    move({ durable: 'a2:5' })
    expect(await stateOf(request)).toBe('ready')
  })

  test('waits for the configuration too', async () => {
    const { desk, move, waited } = replica('a1:3')
    const request = desk.admit(tokenOf('a1:3', { configEpoch: 3 }), WRITE, 5_000)
    move({ configEpoch: 2 })
    expect(await stateOf(request)).toBe('waits')
    move({ configEpoch: 3 })
    expect([await stateOf(request), waited]).toEqual(['ready', ['configured']])
  })

  test('is told what it owes where that is lost, also when it is found out while it waits', async () => {
    const { desk, state, clock } = replica('a1:3')
    const request = desk.admit(tokenOf('a1:3 c1:7'), read('session'), 60_000)
    expect(await stateOf(request)).toBe('waits')
    state.lost = (seq) => seq > 4
    clock.advance(1_000)
    expect(await stateOf(request)).toBe('ready c1:7')
    const next = desk.next(tokenOf('a1:3 c1:7'), vectorOf('a1:3'), vectorOf('c1:7'))
    expect([showVector(next.vector), showVector(next.debt)]).toEqual(['a1:3', 'c1:7'])
  })

  test('of another cell or epoch begins anew, whatever it asks', async () => {
    const { desk } = replica('a1:3')
    for (const wish of [WRITE, read('eventual'), read('session'), fresh()]) {
      for (const change of [{ cell: '11'.repeat(16) as CellId }, { epoch: { ordinal: 0, id: '1'.repeat(16) } }]) {
        expect(await stateOf(desk.admit(tokenOf('', change), wish, 5_000))).toMatch(/^session\/reset /)
      }
    }
  })

  test('whose client has left waits no more', async () => {
    const { desk } = replica('')
    for (const wish of [WRITE, fresh()]) {
      const client = new AbortController()
      const request = desk.admit(tokenOf('a1:1'), wish, 60_000, client.signal)
      client.abort(new Error('gone'))
      await expect(request).rejects.toThrow('gone')
    }
    expect(desk.waiting).toBe(0)
  })

  test('is refused where too many wait already', async () => {
    const { desk } = replica('', 1)
    const waiting = desk.admit(tokenOf('a1:1'), WRITE, 60_000)
    expect(await stateOf(desk.admit(tokenOf('a1:1'), WRITE, 60_000))).toMatch(/^access\/too-many-requests /)
    expect(await stateOf(desk.admit(tokenOf(''), WRITE, 60_000))).toBe('ready')
    expect(await stateOf(waiting)).toBe('waits')
  })
})

test('tokens are read as they were written, none and an empty one begin a session, a forged one is none', () => {
  const { desk } = replica('a1:3')
  const token = desk.next(desk.fresh(), vectorOf('a1:3'), EMPTY_VECTOR)
  expect(desk.decode(desk.encode(token))).toEqual(tokenOf('a1:3'))
  expect([desk.decode(undefined), desk.decode('')]).toEqual([undefined, undefined])
  expect(() => desk.decode(`${desk.encode(token).slice(0, -2)}AA`)).toThrow(
    expect.objectContaining({ code: 'session/reset' }),
  )
})

describe('[DU2] an answer at level majority', () => {
  test('leaves when all that it shows is under U, and not before', async () => {
    const { desk, move, waited } = replica('a1:3 b1:2')
    const release = desk.release(vectorOf('a1:3 b1:2'), 5_000)
    move({ majorityDurable: 'a1:2 b1:2' })
    expect(await stateOf(release)).toBe('waits')
    move({ majorityDurable: 'a1:3 b1:2' })
    expect([await stateOf(release), waited]).toEqual(['ready', ['majority-durable']])
  })

  test('is refused at its deadline', async () => {
    const { desk, clock } = replica('a1:3')
    const release = desk.release(vectorOf('a1:3'), 100)
    clock.advance(100)
    expect(await stateOf(release)).toBe(
      `read/not-majority-durable ${JSON.stringify({ missing: { [originOf('a1')]: 3 } })}`,
    )
  })
})

describe('a fresh read', () => {
  test('reaches the largest vectors of r members that were asked after it began', async () => {
    const { desk, rounds, move } = replica('a1:3')
    const request = desk.admit(undefined, fresh(), 5_000)
    expect(await stateOf(request)).toBe('waits')
    rounds[0]!('b', vectorOf('a1:2 b1:9'))
    expect(await stateOf(request)).toBe('waits')
    move({ durable: 'a1:3 b1:8' })
    expect(await stateOf(request)).toBe('waits')
    move({ durable: 'a1:3 b1:9' })
    expect(await stateOf(request)).toBe('ready')
  })

  test('takes no vector that was asked for before it began, however late it comes', async () => {
    const { desk, rounds, clock } = replica('a1:3')
    const first = desk.admit(undefined, fresh(), 5_000)
    clock.advance(1)
    const second = desk.admit(undefined, fresh(), 5_000)
    // Sent before the second began: this member may have acknowledged something in between.
    rounds[0]!('b', vectorOf('a1:3'))
    expect([await stateOf(first), await stateOf(second)]).toEqual(['ready', 'waits'])
    clock.advance(4)
    rounds[1]!('b', vectorOf('a1:3 b1:1'))
    expect(await stateOf(second)).toBe('waits')
    clock.advance(5_000)
    expect(await stateOf(second)).toBe(
      `read/not-majority-durable ${JSON.stringify({ missing: { [originOf('b1')]: 1 } })}`,
    )
  })

  test('is served by one round with others that began before it', async () => {
    const { desk, rounds, clock } = replica('a1:3')
    const first = desk.admit(undefined, fresh(), 5_000)
    const rest = Array.from({ length: 50 }, () => desk.admit(undefined, fresh(), 5_000))
    clock.advance(5)
    expect(rounds.length).toBe(2)
    rounds[1]!('c', vectorOf('a1:3'))
    for (const request of [first, ...rest]) expect(await stateOf(request)).toBe('ready')
    clock.advance(10_000)
    expect(rounds.length).toBe(2)
  })

  test('asks again members that were away, and gives up at its deadline', async () => {
    const { desk, rounds, clock } = replica('a1:3')
    const patient = desk.admit(undefined, fresh(), 5_000)
    const hasty = desk.admit(undefined, fresh(), 400)
    clock.advance(600)
    expect(await stateOf(hasty)).toMatch(/^read\/not-majority-durable /)
    expect(rounds.length).toBe(3)
    rounds.at(-1)!('b', vectorOf('a1:3'))
    expect(await stateOf(patient)).toBe('ready')
  })

  test('with r asks so many, of all where that is wished, and refuses what would miss a majority', async () => {
    const { desk, rounds } = replica('a1:3')
    const all = desk.admit(undefined, fresh(3), 5_000)
    rounds[0]!('b', vectorOf('a1:3'))
    rounds[0]!('b', vectorOf('a1:3'))
    expect(await stateOf(all)).toBe('waits')
    rounds[0]!('c', vectorOf('a1:3'))
    expect(await stateOf(all)).toBe('ready')
    expect(await stateOf(desk.admit(undefined, fresh(1), 5_000))).toMatch(/^request\/invalid /)
    expect(await stateOf(desk.admit(undefined, fresh(4), 5_000))).toMatch(/^request\/invalid /)
  })
})

describe('[DU2] a write', () => {
  test.each<[WriteConcern, string[], string]>([
    ['local', [], 'ready {"acknowledged":"local","replicas":1}'],
    ['majority', [], 'waits'],
    ['majority', ['b'], 'ready {"acknowledged":"majority","replicas":2}'],
    [2, ['b'], 'ready {"acknowledged":"majority","replicas":2}'],
    ['all', ['b'], 'waits'],
    [3, ['b'], 'waits'],
    ['all', ['b', 'c'], 'ready {"acknowledged":"all","replicas":3}'],
  ])('with %s, held by %j beside this replica: %s', async (concern, members, expected) => {
    const { desk, state } = replica('a1:3')
    const reached = desk.reached(vectorOf('a1:3'), concern, 5_000)
    const behind = desk.reached(vectorOf('a1:4'), concern === 'local' ? 'all' : concern, 5_000)
    for (const member of members) state.holders.set(member, vectorOf('a1:3'))
    desk.changed()
    expect([await stateOf(reached), await stateOf(behind)]).toEqual([expected, 'waits'])
  })

  test('tells how far it has come when its time is over, or when too many wait', async () => {
    const { desk, state, clock } = replica('a1:3', 1)
    const reached = desk.reached(vectorOf('a1:3'), 'all', 5_000)
    const other = desk.reached(vectorOf('a1:3'), 'all', 5_000)
    expect(await stateOf(other)).toBe('ready {"acknowledged":"local","replicas":1}')
    state.holders.set('b', vectorOf('a1:3'))
    desk.changed()
    clock.advance(5_000)
    expect(await stateOf(reached)).toBe('ready {"acknowledged":"majority","replicas":2}')
  })

  test('of nothing new waits for all that was shown', async () => {
    const { desk, state } = replica('a1:3 b1:2')
    const reached = desk.reached(vectorOf('a1:3 b1:2'), 'majority', 5_000)
    state.holders.set('b', vectorOf('a1:3')).set('c', vectorOf('b1:2'))
    desk.changed()
    expect(await stateOf(reached)).toBe('waits')
    state.holders.set('b', vectorOf('a1:3 b1:2'))
    desk.changed()
    expect(await stateOf(reached)).toMatch(/majority/)
  })
})

test('[SG1-SG4] however a session hops between replicas, what it is shown holds all that it has seen and written', async () => {
  const names = ['a1', 'b1', 'c1']
  const step = fc.oneof(
    fc.record({ type: fc.constantFrom('read' as const, 'write' as const), session: fc.nat(2), at: fc.nat(2) }),
    fc.record({ type: fc.constant('sync' as const), from: fc.nat(2), at: fc.nat(2) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async (steps) => {
      const replicas = names.map(() => replica(''))
      const sessions = names.map(() => ({ text: undefined as string | undefined, past: EMPTY_VECTOR as VersionVector }))
      for (const each of steps) {
        const here = replicas[each.at]!
        if (each.type === 'sync') {
          here.state.durable = maxVector(here.state.durable, replicas[each.from]!.state.durable)
          here.desk.changed()
          continue
        }
        const session = sessions[each.session]!
        const token = here.desk.decode(session.text)
        const wish = each.type === 'write' ? WRITE : read('session')
        const admitted = await stateOf(here.desk.admit(token, wish, 0))
        const isHere = here.lineages.dominates(here.state.durable, session.past)
        expect(admitted.startsWith('ready')).toBe(isHere)
        if (!isHere) continue
        let seen = here.state.durable
        if (each.type === 'write') {
          const origin = originOf(names[each.at]!)
          seen = new Map([[origin, (here.state.durable.get(origin) ?? 0) + 1]])
          here.state.durable = maxVector(here.state.durable, seen)
        }
        session.past = maxVector(session.past, seen)
        session.text = here.desk.encode(here.desk.next(token, seen, EMPTY_VECTOR))
      }
    }),
    { numRuns: 100 },
  )
})
