import { describe, expect, test } from 'vitest'
import { LINEAGES_ALARM, Lineages } from '../../shared/clock/lineages.js'
import { maxVector, type VersionVector } from '../../shared/clock/version-vector.js'
import type { Claim, Claims, Standing } from '../../shared/protocol/peer.js'
import { showVector, vectorOf } from '../../test/support/causal-text.js'
import { Recovery, type RecoveryEffect, type RecoveryOptions } from './recovery.js'

const claimsOf = (claims: Record<string, string>, life = 0): Claims =>
  new Map(Object.entries(claims).map(([name, vector]): [string, Claim] => [name, { life, vector: vectorOf(vector) }]))
const NONE: Claims = new Map()

const show = (effect: RecoveryEffect): string => {
  switch (effect.type) {
    case 'remember':
      return `remember ${[...effect.claims].map(([name, { life, vector }]) => `${name}/${life} [${showVector(vector)}]`).join(' ')}`
    case 'standing':
      return `${effect.standing} in life ${effect.life}`
    case 'counts':
      return `${effect.name} counts ${effect.vector ? `[${showVector(effect.vector)}]` : 'for nothing'}`
    case 'state':
      return effect.state
    case 'alarm':
      return `alarm ${effect.alarm} ${effect.details}`
  }
}

const make = (durable: string, change: Partial<RecoveryOptions> = {}) => {
  const recovery = new Recovery({
    self: 'a',
    active: new Set(['a', 'b', 'c']),
    lineages: new Lineages(),
    durable: vectorOf(durable),
    disk: 'whole',
    life: 0,
    claims: NONE,
    ...change,
  })
  const only = (effects: RecoveryEffect[], ...types: RecoveryEffect['type'][]): string[] =>
    effects.filter(({ type }) => types.length === 0 || types.includes(type)).map(show)
  const heard = (peer: string, vector: string, options: { standing?: Standing; life?: number; claims?: Claims } = {}) =>
    recovery.step({
      type: 'heard',
      peer,
      vector: vectorOf(vector),
      standing: options.standing ?? 'active',
      life: options.life ?? 0,
      claims: options.claims ?? NONE,
    })
  return {
    recovery,
    only,
    heard,
    hold: (vector: string) => recovery.step({ type: 'durable', vector: vectorOf(vector) }),
  }
}

describe('a member that shows less than it once did', () => {
  test('is recovering as soon as somebody remembers more of it, and leaves when it has found that', () => {
    const { recovery, only, heard, hold } = make('a1:5')
    expect(only(recovery.start())).toEqual(['a counts [a1:5]', 'ready'])
    expect(
      only(heard('b', 'a1:7 b1:1', { claims: claimsOf({ a: 'a1:8' }) }), 'alarm', 'standing', 'state', 'counts'),
    ).toEqual([
      'alarm rollback-detected a.0000000000000001:8',
      'lacking in life 0',
      'b counts [a1:7 b1:1]',
      'a counts for nothing',
      'stuck: majority lost', // c is down, too
      'alarm majority-lost a',
    ])
    expect(recovery.mayServe).toBe(false)
    expect(only(heard('c', 'a1:8'), 'state')).toEqual(['recovering'])
    expect(only(hold('a1:7 b1:1'))).toEqual(['a counts for nothing'])
    expect(only(hold('a1:8 b1:1'))).toEqual(['active in life 0', 'a counts [a1:8 b1:1]', 'ready'])
    expect(recovery.mayServe).toBe(true)
  })

  test('counts for no advance of U at others, while it says so or is seen to lack', () => {
    const { recovery, only, heard } = make('a1:5')
    recovery.start()
    expect(only(heard('b', 'b1:5'), 'counts')).toContain('b counts [b1:5]')
    expect(only(heard('b', 'b1:5', { standing: 'recovering' }), 'counts')).toContain('b counts for nothing')
    expect(only(heard('b', 'b1:3'), 'counts')).toContain('b counts for nothing')
    expect(only(heard('b', 'b1:5'), 'counts')).toContain('b counts [b1:5]')
    // What a third one remembers of it counts too.
    expect(only(heard('c', 'c1:1', { claims: claimsOf({ b: 'b1:9' }) }), 'counts')).toContain('b counts for nothing')
  })

  test('what is remembered is kept on disk before it is used', () => {
    const { only, heard } = make('a1:5')
    expect(only(heard('b', 'b1:5'))[0]).toBe('remember b/0 [b1:5]')
    expect(only(heard('b', 'b1:5'), 'remember')).toEqual([])
    expect(only(heard('b', 'b1:6 c1:1'), 'remember')).toEqual(['remember b/0 [b1:6 c1:1]'])
    expect(only(heard('b', 'b1:2'), 'remember')).toEqual([])
  })
})

describe('an empty disk', () => {
  test('takes what all others hold that lack nothing, N - h of them, and goes on in a new life', () => {
    const { recovery, only, heard, hold } = make('', { disk: 'empty' })
    // Nobody knows yet whether it has lost something, or is new.
    expect(only(recovery.start())).toEqual(['a counts for nothing', 'recovering'])
    expect(only(heard('b', 'a1:4 b1:3', { claims: claimsOf({ a: 'a1:5' }, 2) }), 'standing', 'state', 'alarm')).toEqual(
      [
        'recovering in life 2',
        'alarm rollback-detected a.0000000000000001:5',
        'lacking in life 2',
        'stuck: majority lost',
        'alarm majority-lost a',
      ],
    )
    expect(only(hold('a1:4 b1:3'), 'standing')).toEqual([])
    expect(only(heard('c', 'a1:2 c1:1'), 'standing', 'state')).toEqual(['recovering'])
    // a1:5 died with the disk.
    expect(only(hold('a1:4 b1:3 c1:1'))).toEqual([
      'remember a/3 [a1:4 b1:3 c1:1]',
      'active in life 3',
      'a counts [a1:4 b1:3 c1:1]',
      'ready',
    ])
    // What was claimed of the old life binds nobody any more, whoever still tells it.
    expect(only(heard('c', 'c1:1', { claims: claimsOf({ a: 'a1:5' }, 2) }), 'standing', 'alarm')).toEqual([])
  })

  test('of a member that is new is whole when it holds what all others hold, and not before all are there', () => {
    const { recovery, heard, hold } = make('', { disk: 'empty' })
    recovery.start()
    heard('b', 'b1:3')
    hold('b1:3')
    expect(recovery.standing).toBe('recovering')
    heard('c', '', { standing: 'recovering' })
    expect(recovery.standing).toBe('active')
    expect(recovery.state).toBe('ready')
  })

  test('of a member of which somebody remembers more is not new, whoever is there', () => {
    const { recovery, heard, hold } = make('', { disk: 'empty' })
    recovery.start()
    heard('b', 'b1:3', { claims: claimsOf({ a: 'a1:5' }) })
    heard('c', '', { standing: 'recovering' })
    hold('b1:3')
    expect(recovery.standing).toBe('lacking')
  })

  test('does not leave by what one alone remembers of it', () => {
    const { recovery, heard, hold } = make('', { disk: 'empty' })
    recovery.start()
    heard('b', 'a1:4', { claims: claimsOf({ a: 'a1:4' }) })
    hold('a1:4')
    expect(recovery.standing).toBe('lacking')
    expect(recovery.state).toBe('stuck: majority lost')
  })

  test('of a learner, rolled back or empty, levels with the members there are', () => {
    const learner = make('a1:3', { disk: 'rolled-back', active: new Set(['b']) })
    learner.recovery.start()
    expect(learner.recovery.standing).toBe('lacking')
    const { recovery, heard, hold } = make('', { disk: 'empty', active: new Set(['b']) })
    recovery.start()
    heard('b', 'b1:4')
    expect(recovery.standing).toBe('recovering')
    hold('b1:4')
    expect(recovery.standing).toBe('active')
  })
})

test('a disk that knows itself to be rolled back levels like an empty one; alone it says so and goes on', () => {
  const { recovery, only, heard, hold } = make('a1:3', { disk: 'rolled-back' })
  expect(only(recovery.start(), 'alarm', 'state')).toEqual([
    'alarm rollback-detected ',
    'stuck: majority lost',
    'alarm majority-lost a',
  ])
  heard('b', 'b1:1')
  heard('c', 'c1:1')
  expect(only(hold('a1:3 b1:1'), 'standing')).toEqual([])
  expect(only(hold('a1:3 b1:1 c1:1'), 'standing')).toEqual(['active in life 1'])
  // It is as good as any other disk now: what it then claimed and finds is enough.
  recovery.step({ type: 'lost', peer: 'c' })
  heard('b', 'b1:1', { claims: claimsOf({ a: 'a1:4' }, 1) })
  expect(recovery.standing).toBe('lacking')
  hold('a1:4 b1:1 c1:1')
  expect(recovery.standing).toBe('active')
  const alone = make('a1:3', { disk: 'rolled-back', active: new Set(['a']) })
  expect(alone.only(alone.recovery.start())).toEqual([
    'alarm rollback-detected ',
    'active in life 0',
    'a counts [a1:3]',
    'ready',
  ])
})

test('who has started serves at once, and is unconfirmed until it has levelled with N - h others', () => {
  const { recovery, only, heard, hold } = make('a1:5')
  recovery.start()
  expect([recovery.mayServe, recovery.standing]).toEqual([true, 'unconfirmed'])
  // What `b` does not know, `c` may: this disk may be an old copy.
  expect(only(heard('b', 'a1:4 b1:1'), 'standing')).toEqual([])
  expect(only(hold('a1:5 b1:1'), 'standing')).toEqual([])
  recovery.step({ type: 'lost', peer: 'b' })
  expect(only(heard('c', 'a1:3', { standing: 'recovering' }), 'standing')).toEqual([])
  expect(only(heard('c', 'a1:5', { standing: 'unconfirmed' }), 'standing')).toEqual(['active in life 0'])
  expect(make('', { isNewborn: true }).recovery.standing).toBe('active')
  expect(make('', { active: new Set(['a']) }).recovery.standing).toBe('active')
})

test('what others remember of an older life is owed by nobody', () => {
  const { only, heard } = make('a1:3', { life: 3 })
  expect(only(heard('b', 'b1:1', { claims: claimsOf({ a: 'a1:9' }, 2) }), 'standing', 'alarm')).toEqual([])
})

test('levelling takes along what recovering members hold, and does not count them', () => {
  const five = new Set(['a', 'b', 'c', 'd', 'e'])
  const { recovery, heard, hold } = make('', { disk: 'empty', active: five })
  heard('b', 'b1:1', { standing: 'recovering' })
  heard('c', 'c1:1')
  heard('d', 'd1:1')
  hold('b1:1 c1:1 d1:1')
  expect(recovery.standing).toBe('recovering')
  heard('e', 'e1:1')
  hold('c1:1 d1:1 e1:1')
  expect(recovery.standing).toBe('recovering')
  hold('b1:1 c1:1 d1:1 e1:1')
  expect(recovery.standing).toBe('active')
})

test('others see a new life: what was claimed in the old one is forgotten', () => {
  const { only, heard } = make('a1:5')
  heard('b', 'b1:9')
  expect(only(heard('b', 'b1:7', { standing: 'recovering' }), 'counts')).toContain('b counts for nothing')
  expect(only(heard('b', 'b1:7', { life: 1 }), 'counts', 'remember')).toEqual([
    'remember b/1 [b1:7]',
    'b counts [b1:7]',
    'a counts [a1:5]',
  ])
  expect(only(heard('c', 'c1:1', { claims: claimsOf({ b: 'b1:9' }) }), 'remember')).toEqual(['remember c/0 [c1:1]'])
})

test('a member that was never born lacks nothing, and counts for nothing', () => {
  const { recovery, only, heard } = make('a1:5')
  recovery.start()
  expect(only(heard('b', '', { standing: 'empty' }), 'counts', 'state')).toEqual([
    'b counts for nothing',
    'a counts [a1:5]',
  ])
  expect(only(heard('c', '', { standing: 'empty', claims: claimsOf({ c: 'c1:1' }) }), 'state')).toEqual([])
  expect(recovery.state).toBe('ready')
  expect(only(heard('b', '', { standing: 'empty', claims: claimsOf({ b: 'b1:1' }) }), 'state')).toEqual([
    'stuck: majority lost',
  ])
  // Where nothing is lacking, a stuck cell serves.
  expect(recovery.mayServe).toBe(true)
  expect(only(recovery.step({ type: 'lost', peer: 'b' }), 'state')).toEqual([])
})

test('an operator who accepts loss lets it go on: nothing old is claimed of anybody', () => {
  const { recovery, only, heard } = make('', { disk: 'empty' })
  recovery.start()
  heard('b', 'b1:4', { standing: 'recovering', claims: claimsOf({ a: 'a1:9', c: 'c1:9' }) })
  expect(only(recovery.step({ type: 'forced' }))).toEqual([
    'remember a/1 []',
    'active in life 1',
    'a counts []',
    'ready',
  ])
  expect([...recovery.remembered.keys()]).toEqual(['a'])
})

test('many lineages raise an alarm once', () => {
  const { only, hold } = make('')
  const wide = (count: number) => Array.from({ length: count }, (_, index) => `a${index + 1}:1`).join(' ')
  expect(only(hold(wide(LINEAGES_ALARM)), 'alarm')).toEqual([])
  expect(only(hold(wide(LINEAGES_ALARM + 1)), 'alarm')).toEqual([`alarm many-lineages ${LINEAGES_ALARM + 1}`])
  expect(only(hold(wide(LINEAGES_ALARM + 2)), 'alarm')).toEqual([])
  hold(wide(3))
  expect(only(hold(wide(LINEAGES_ALARM + 1)), 'alarm')).toHaveLength(1)
})

describe('[DU2] every loss of a minority, enumerated', () => {
  const NAMES = ['a', 'b', 'c', 'd', 'e']
  const subsets = (names: readonly string[]): string[][] =>
    names.reduce<string[][]>((sets, name) => sets.concat(sets.map((set) => set.concat(name))), [[]])

  /**
   * An op is on the disks of a majority; then some members lose theirs; `a` is one of them, some others are down, and
   * `a` has taken what some of the reachable ones hold. Calls `check` with what it then holds, and whether it left.
   */
  const explore = (
    size: number,
    mostLost: number,
    check: (seen: { isActive: boolean; hasOp: boolean; all: boolean; lackingOrDown: number; story: string }) => void,
  ): void => {
    const names = NAMES.slice(0, size)
    const others = names.slice(1)
    for (const majority of subsets(names).filter((set) => set.length === Math.floor(size / 2) + 1)) {
      for (const alsoLost of subsets(others).filter((set) => set.length < mostLost)) {
        for (const down of subsets(others)) {
          const reachable = others.filter((name) => !down.includes(name))
          const holds = (name: string): boolean => majority.includes(name) && !alsoLost.includes(name)
          const vector = (name: string): VersionVector => vectorOf(`${name}1:1${holds(name) ? ' x1:1' : ''}`)
          for (const taken of subsets(reachable)) {
            for (const disk of ['empty', 'rolled-back'] as const) {
              const durable = taken.map(vector).reduce(maxVector, vectorOf(''))
              const options = {
                self: 'a',
                active: new Set(names),
                lineages: new Lineages(),
                durable,
                disk,
                life: 0,
                claims: NONE,
              }
              const recovery = new Recovery(options)
              recovery.start()
              for (const peer of reachable) {
                const standing = alsoLost.includes(peer) ? 'recovering' : 'active'
                recovery.step({ type: 'heard', peer, vector: vector(peer), standing, life: 0, claims: NONE })
              }
              check({
                isActive: recovery.standing === 'active',
                hasOp: taken.some(holds),
                all: taken.length === reachable.length,
                lackingOrDown: new Set(['a', ...alsoLost, ...down]).size,
                story: JSON.stringify({ majority, alsoLost, down, taken, disk }),
              })
            }
          }
        }
      }
    }
  }

  test.each([3, 5])('of %i: nobody leaves without what a majority had, and everybody leaves who can', (size) => {
    const minority = Math.floor(size / 2)
    let left = 0
    explore(size, minority, ({ isActive, hasOp, all, lackingOrDown, story }) => {
      if (isActive) {
        left++
        expect(hasOp, story).toBe(true)
      }
      if (all && lackingOrDown <= minority) expect(isActive, story).toBe(true)
    })
    expect(left).toBeGreaterThan(5)
  })
})
