import { describe, expect, test } from 'vitest'
import type { CellId, CellIdentity, StoredBirth } from '../../shared/clock/cell.js'
import { Birth, type BirthEffect, ignoredNames } from './birth.js'

const idOf = (digit: string): CellIdentity => {
  return { cell: digit.repeat(32) as CellId, epoch: { ordinal: 1, id: digit.repeat(16) } }
}
const LISTED = new Set(['a', 'b', 'c'])
const make = (self: string, stored?: StoredBirth, drawn = idOf(self), listed: ReadonlySet<string> = LISTED): Birth =>
  new Birth({ self, listed, drawn, stored })
const show = (effect: BirthEffect): string => {
  switch (effect.type) {
    case 'store':
      return `store ${effect.birth.identity.cell[0]}${effect.birth.isBorn ? ', born' : ''}`
    case 'offer':
      return `offer ${effect.identity.cell[0]}${effect.isBorn ? ', born' : ''} to ${effect.peer}`
    case 'born':
      return `born ${effect.how}`
    case 'refuse':
      return `refuse ${effect.peer}: ${effect.error.code}`
  }
}
const met = (peer: string, id?: string, isBorn = false, knowsUs = false) =>
  ({ type: 'met', peer, identity: id === undefined ? undefined : idOf(id), isBorn, knowsUs }) as const
const offered = (peer: string, id: string, isBorn = false) =>
  ({ type: 'offered', peer, identity: idOf(id), isBorn }) as const

test('the least-named draws, once it has met all empty; everybody stores before anybody is born', () => {
  const birth = make('a')
  const step = (input: Parameters<Birth['step']>[0]): string[] => birth.step(input).map(show)
  expect(birth.start()).toEqual([])
  expect(step(met('b'))).toEqual([])
  expect(step(met('c'))).toEqual(['store a'])
  expect(birth.identity).toBeUndefined()
  expect(step({ type: 'stored' })).toEqual(['offer a to b', 'offer a to c'])
  expect(step(offered('b', 'a'))).toEqual([])
  expect(step(offered('c', 'a'))).toEqual(['store a, born'])
  expect(birth.isBorn).toBe(false)
  expect(step({ type: 'stored' })).toEqual(['offer a, born to b', 'offer a, born to c', 'born fresh'])
  expect(birth.isBorn).toBe(true)
})

test('another stores what is offered, and is born when it knows the id on every disk', () => {
  const birth = make('b')
  const step = (input: Parameters<Birth['step']>[0]): string[] => birth.step(input).map(show)
  step(met('a'))
  expect(step(met('c'))).toEqual([])
  expect(step(offered('a', 'a'))).toEqual(['store a'])
  expect(step({ type: 'stored' })).toEqual(['offer a to a', 'offer a to c'])
  // That one is born already says that every disk had it; but this member has to know it of all itself.
  expect(step(offered('a', 'a', true))).toEqual([])
  expect(step(offered('c', 'a'))).toEqual(['store a, born'])
  expect(step({ type: 'stored' })).toContain('born fresh')
})

test('an id that any disk holds is offered again, whoever drew it', () => {
  const birth = make('a')
  birth.step(met('b', 'f'))
  expect(birth.step(met('c')).map(show)).toEqual([])
  expect(birth.step({ type: 'stored' }).map(show)).toEqual(['offer f to b', 'offer f to c'])
  expect(
    make('c', { identity: idOf('f'), isBorn: false })
      .step(met('a'))
      .map(show),
  ).toEqual(['offer f to a'])
})

test('an empty disk that meets a born member joins it, and takes its state first', () => {
  const birth = make('a')
  expect(birth.step(met('b', 'f', true)).map(show)).toEqual(['store f, born'])
  expect(birth.step({ type: 'stored' }).map(show)).toEqual(['offer f, born to b', 'born joined'])
})

test('who was born on another disk is not fresh again, although its id is everywhere', () => {
  const birth = make('b', { identity: idOf('f'), isBorn: false })
  birth.step(met('a', 'f', true, true))
  birth.step(met('c', 'f'))
  expect(birth.step({ type: 'stored' }).map(show)).toContain('born joined')
})

test('a cell of one needs nobody; a member that is told to begins alone, and only once', () => {
  const one = make('a', undefined, idOf('a'), new Set(['a']))
  expect(one.start().map(show)).toEqual(['store a, born'])
  expect(one.step({ type: 'stored' }).map(show)).toEqual(['born fresh'])
  const birth = make('b')
  expect(birth.beginAlone().map(show)).toEqual(['store b, born'])
  expect(birth.beginAlone()).toEqual([])
  expect(birth.step({ type: 'stored' }).map(show)).toEqual(['born alone'])
  expect(make('b', { identity: idOf('f'), isBorn: true }).beginAlone()).toEqual([])
})

test('two born members of different cells refuse each other', () => {
  const birth = make('a', { identity: idOf('f'), isBorn: true })
  expect(birth.step(met('b', 'e', true)).map(show)).toEqual(['refuse b: cell/foreign', 'offer f, born to b'])
  expect(birth.step(met('c', 'f', true)).map(show)).toEqual(['offer f, born to c'])
})

describe('every order, with crashes and lost disks, enumerated', () => {
  /** Three members; messages are whatever each would say when it meets another. */
  interface World {
    readonly disks: readonly (StoredBirth | undefined)[]
    /** Who was ever born, under which id. */
    readonly born: readonly string[]
  }
  const names = [...LISTED]

  /** Runs one process of every member that is up until nothing moves, at each step in the order of `turn`. */
  const run = (world: World, up: readonly string[], turn: number, steps: number): World => {
    const disks = [...world.disks]
    const born = new Set(world.born)
    const births = new Map(up.map((name) => [name, make(name, disks[names.indexOf(name)], idOf(`${turn % 2}`))]))
    const queue: (() => void)[] = []
    const perform = (name: string, effects: BirthEffect[]): void => {
      for (const effect of effects) {
        if (effect.type === 'store') {
          queue.push(() => {
            disks[names.indexOf(name)] = effect.birth
            perform(name, births.get(name)!.step({ type: 'stored' }))
          })
        } else if (effect.type === 'offer') {
          const { identity, isBorn, peer } = effect
          queue.push(() => {
            const other = births.get(peer)
            if (other) perform(peer, other.step({ type: 'offered', peer: name, identity, isBorn }))
          })
        } else if (effect.type === 'born') born.add(births.get(name)!.identity!.cell)
        else throw new Error(show(effect))
      }
    }
    for (const [left, birth] of births) {
      for (const [right, other] of births) {
        if (left === right) continue
        queue.push(() =>
          perform(
            left,
            birth.step({ type: 'met', peer: right, identity: other.identity, isBorn: other.isBorn, knowsUs: false }),
          ),
        )
      }
    }
    for (let step = 0; step < steps && queue.length > 0; step++)
      queue.splice((step * (turn + 1)) % queue.length, 1)[0]!()
    return { disks, born: [...born] }
  }

  test('one cell is born, at most', () => {
    let births = 0
    const seen = new Set<string>()
    const visit = (world: World, depth: number): void => {
      expect(new Set(world.born).size).toBeLessThanOrEqual(1)
      births += world.born.length
      if (depth === 0) return
      const key = `${depth} ${JSON.stringify(world)}`
      if (seen.has(key)) return
      seen.add(key)
      for (const up of [names, ['a', 'b'], ['b', 'c'], ['a', 'c']]) {
        for (let turn = 0; turn < 4; turn++) {
          for (const steps of [1, 3, 5, 7, 9, 12, 100]) visit(run(world, up, turn, steps), depth - 1)
        }
      }
      // A minority of disks is lost.
      for (const lost of names) {
        visit(
          { ...world, disks: world.disks.map((disk, index) => (names[index] === lost ? undefined : disk)) },
          depth - 1,
        )
      }
    }
    visit({ disks: [undefined, undefined, undefined], born: [] }, 3)
    expect(births).toBeGreaterThan(100)
    const done = run({ disks: [undefined, undefined, undefined], born: [] }, names, 0, 1_000)
    expect(done.disks.every((disk) => disk?.isBorn)).toBe(true)
  })
})

test('stored membership wins over flags', () => {
  const stored = { present: new Set(['a', 'b', 'c']), removed: new Set(['d']) }
  expect(ignoredNames(new Set(['a', 'b']), stored)).toEqual([])
  expect(ignoredNames(new Set(['a', 'd']), stored)).toEqual(['d'])
  expect(() => ignoredNames(new Set(['a', 'x', 'e']), stored)).toThrow(
    expect.objectContaining({ code: 'config/invalid', message: expect.stringContaining('e, x') }),
  )
})
