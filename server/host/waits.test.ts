import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { originOf } from '../../test/support/causal-text.js'
import { ManualClock } from '../../test/support/manual-clock.js'
import { type Gate, Waits } from './waits.js'

/** Waits for entries of one vector that moves by hand, with what is asked of it counted. */
function world({ limit = 1_000 } = {}) {
  const clock = new ManualClock()
  const ended: [string, number][] = []
  const waits = new Waits<string>({ timers: clock, observe: (cause, s) => void ended.push([cause, s]), limit })
  const reached = new Map<string, number>()
  const asked = { gate: 0, looks: 0 }
  const gate: Gate = {
    isReached: (origin, seq) => {
      asked.gate++
      return (reached.get(origin) ?? 0) >= seq
    },
  }
  const wait = (wanted: Record<string, number>, change: { timeoutMs?: number; signal?: AbortSignal } = {}) =>
    waits.until<string>({
      timeoutMs: 1_000_000,
      ...change,
      look: () => {
        asked.looks++
        const missing = Object.entries(wanted).find(([name, seq]) => (reached.get(originOf(name)) ?? 0) < seq)
        if (!missing) return { type: 'done', result: 'done' }
        return { type: 'wait', cause: 'test', until: { gate, origin: originOf(missing[0]), seq: missing[1] } }
      },
      atDeadline: () => 'late',
    })
  const move = (name: string, seq: number): void => {
    reached.set(originOf(name), seq)
    waits.changed()
  }
  return { clock, waits, ended, asked, wait, move }
}

/** `done`, `late`, or `waiting`, once everything that is settled has been told. */
async function stateOf(wait: Promise<string>): Promise<string> {
  const turn = new Promise<string>((resolve) => setImmediate(() => resolve('waiting')))
  return await Promise.race([wait, turn])
}

test('who waits is released when the last of what it waits for has come, and not before', async () => {
  const { wait, move, waits, ended, clock } = world()
  const both = wait({ a1: 3, b1: 2 })
  move('a1', 2)
  move('b1', 5)
  expect(await stateOf(both)).toBe('waiting')
  clock.advance(400)
  move('a1', 3)
  expect(await stateOf(both)).toBe('done')
  expect([waits.size, ended, clock.pending]).toEqual([0, [['test', 0.4]], 1]) // the look at everybody, once more
})

test('what is there is not waited for', async () => {
  const { wait, move, ended } = world()
  move('a1', 3)
  expect(await wait({ a1: 3 })).toBe('done')
  expect(ended).toEqual([])
})

test('a deadline ends the wait, and one of nothing at once', async () => {
  const { wait, waits, clock } = world()
  expect(await wait({ a1: 1 }, { timeoutMs: 0 })).toBe('late')
  const late = wait({ a1: 1 }, { timeoutMs: 500 })
  clock.advance(499)
  expect(await stateOf(late)).toBe('waiting')
  clock.advance(1)
  expect([await stateOf(late), waits.size]).toEqual(['late', 0])
})

test('a client that goes away ends the wait, and leaves nothing behind', async () => {
  const { wait, waits, move } = world()
  const client = new AbortController()
  const gone = wait({ a1: 2 }, { signal: client.signal })
  const stays = wait({ a1: 2 })
  client.abort(new Error('gone'))
  await expect(gone).rejects.toThrow('gone')
  expect(waits.size).toBe(1)
  move('a1', 2)
  expect(await stateOf(stays)).toBe('done')
  await expect(wait({ a1: 9 }, { signal: client.signal })).rejects.toThrow('gone')
})

test('beyond the bound one is refused, with advice, and those that wait are not', async () => {
  const { wait, waits, move } = world({ limit: 2 })
  const waiting = [wait({ a1: 1 }), wait({ a1: 1 })]
  await expect(wait({ a1: 1 })).rejects.toMatchObject({
    code: 'access/too-many-requests',
    details: { waiting: 2, retryAfterMs: 1_000 },
  })
  expect(await waits.until({ timeoutMs: 9, look: never, atDeadline: () => 'late', beyondLimit: () => 'full' })).toBe(
    'full',
  )
  move('a1', 1)
  expect(await Promise.all(waiting)).toEqual(['done', 'done'])
})

test('what throws while it is looked at, or at its deadline, ends that wait alone', async () => {
  const { waits, wait, move, clock } = world()
  let thrown: Error | undefined
  const look = () => {
    if (thrown) throw thrown
    return never()
  }
  const broken = waits.until({ timeoutMs: 9_999, look, atDeadline: () => 'late' })
  const late = waits.until<string>({ timeoutMs: 10, look: never, atDeadline: () => thrower('late') })
  const sound = wait({ a1: 1 })
  clock.advance(10)
  await expect(late).rejects.toThrow('late')
  thrown = new Error('broken')
  move('a1', 1)
  await expect(broken).rejects.toThrow('broken')
  expect(await stateOf(sound)).toBe('done')
})

describe('a change', () => {
  test('costs no look at those that it does not concern, however many they are', async () => {
    const { wait, move, asked, waits } = world({ limit: 10_000 })
    const waiting = Array.from({ length: 5_000 }, (_, index) => wait({ a1: 10 + index }))
    Object.assign(asked, { gate: 0, looks: 0 })
    for (let seq = 1; seq < 10; seq++) {
      move('a1', seq)
      move('b1', seq)
    }
    expect(asked).toEqual({ gate: 18, looks: 0 })
    move('a1', 12)
    expect([asked.looks, waits.size]).toEqual([3, 4_997])
    move('a1', 100_000)
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['done']))
    expect(waits.size).toBe(0)
  })

  test('that no entry shows is seen within a second', async () => {
    const { waits, clock } = world()
    let isLost = false
    const wait = waits.until<string>({
      timeoutMs: 60_000,
      look: () => (isLost ? { type: 'done', result: 'done' } : never()),
      atDeadline: () => 'late',
    })
    clock.advance(5_000)
    isLost = true
    clock.advance(1_000)
    expect(await stateOf(wait)).toBe('done')
    clock.advance(1_000)
    expect(clock.pending).toBe(0)
  })

  test('wakes who is woken by hand, and an open gate that is not enough wakes at every change', async () => {
    const { waits } = world()
    let ready = false
    const wakers = { wake: (): void => {} }
    const open: Gate = { isReached: () => true }
    const options = (until: 'woken' | { gate: Gate; origin: ReturnType<typeof originOf>; seq: number }) => ({
      timeoutMs: 60_000,
      look: () =>
        ready ? ({ type: 'done', result: 'done' } as const) : ({ type: 'wait', cause: 'test', until } as const),
      atDeadline: () => 'late',
    })
    const woken = waits.until<string>({
      ...options('woken'),
      onWaiting: (lookAgain) => Object.assign(wakers, { wake: lookAgain }),
    })
    const restless = waits.until<string>(options({ gate: open, origin: originOf('a1'), seq: 1 }))
    ready = true
    waits.changed()
    expect([await stateOf(woken), await stateOf(restless)]).toEqual(['waiting', 'done'])
    wakers.wake()
    expect(await stateOf(woken)).toBe('done')
  })
})

test('whatever comes in whatever order, exactly those are released whose entries have come', async () => {
  const name = fc.constantFrom('a1', 'b1', 'c1')
  const seq = fc.integer({ min: 1, max: 5 })
  const step = fc.oneof(
    fc.record({ type: fc.constant('wait' as const), wanted: fc.dictionary(name, seq, { minKeys: 1, maxKeys: 3 }) }),
    fc.record({ type: fc.constant('move' as const), name, seq }),
    fc.record({ type: fc.constant('leave' as const), index: fc.nat(20) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
      const { wait, move } = world()
      const reached = new Map<string, number>()
      const waiting: { wanted: Record<string, number>; state: string; client: AbortController; isDone: boolean }[] = []
      for (const each of steps) {
        if (each.type === 'move') {
          reached.set(each.name, Math.max(each.seq, reached.get(each.name) ?? 0))
          move(each.name, reached.get(each.name)!)
        } else if (each.type === 'leave') {
          const left = waiting[each.index]
          left?.client.abort(new Error('left'))
          if (left && !left.isDone) left.isDone = true
        } else {
          const client = new AbortController()
          const entry = { wanted: each.wanted, state: 'waiting', client, isDone: false }
          waiting.push(entry)
          wait(each.wanted, { signal: client.signal }).then(
            (state) => {
              entry.state = state
            },
            () => {
              entry.state = 'left'
            },
          )
        }
        await new Promise((resolve) => setImmediate(resolve))
        for (const entry of waiting) {
          const has = Object.entries(entry.wanted).every(([origin, seq]) => (reached.get(origin) ?? 0) >= seq)
          if (entry.isDone) continue
          expect(entry.state).toBe(has ? 'done' : 'waiting')
          entry.isDone = has
        }
      }
    }),
    { numRuns: 200 },
  )
})

const never = () => ({ type: 'wait', cause: 'test', until: 'any-change' }) as const

function thrower(message: string): never {
  throw new Error(message)
}
