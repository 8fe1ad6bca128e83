import { describe, expect, test } from 'vitest'
import type { CellId, CellIdentity, RejoinPhase } from '../../shared/clock/cell.js'
import { Rejoin, type RejoinEffect, type RejoinInput } from './rejoin.js'

const lifeOf = (ordinal: number, id = ordinal): CellIdentity => {
  return { cell: 'c'.repeat(32) as CellId, epoch: { ordinal, id: String(id).repeat(16) } }
}
const make = (stored?: RejoinPhase): Rejoin => new Rejoin({ own: lifeOf(1), stored })
const met = (peer: string, ordinal: number): RejoinInput => ({ type: 'met', peer, identity: lifeOf(ordinal) })
const show = (effect: RejoinEffect): string => {
  switch (effect.type) {
    case 'replace-state':
      return `replace-state of ${effect.peer} in life ${effect.phase.identity.epoch.ordinal}`
    case 'accept-surplus':
      return `accept-surplus from ${effect.from}`
    default:
      return effect.type
  }
}

test('the surplus is saved before the state is replaced, and accepted before it is forgotten', () => {
  const rejoin = make()
  const step = (input: RejoinInput): string[] => rejoin.step(input).map(show)
  const stored = (phase: RejoinPhase['phase'], accepted: number, isLast = false): RejoinInput => {
    return { type: 'stored', phase: { phase, identity: lifeOf(2), accepted }, isLast }
  }
  expect(rejoin.start()).toEqual([])
  expect(rejoin.isUnderWay).toBe(false)
  expect(step(met('b', 2))).toEqual(['save-surplus'])
  expect(step(met('a', 2))).toEqual([])
  expect(step(stored('saved', 0))).toEqual(['replace-state of a in life 2'])
  expect(step(stored('replaced', 0))).toEqual(['accept-surplus from 0'])
  expect(step(stored('replaced', 3))).toEqual(['accept-surplus from 3'])
  expect(rejoin.isUnderWay).toBe(true)
  expect(step(stored('replaced', 5, true))).toEqual(['finished'])
  expect(rejoin.isUnderWay).toBe(false)
  // It belongs to that life now.
  expect(step(met('c', 2))).toEqual([])
})

test('a member of the same or an older life gives nothing; the newest is taken', () => {
  const rejoin = make({ phase: 'saved', identity: lifeOf(2), accepted: 0 })
  expect(rejoin.start()).toEqual([])
  expect(rejoin.step(met('b', 1))).toEqual([])
  expect(make().step({ type: 'met', peer: 'b', identity: lifeOf(1, 9) })).toEqual([])
  expect(rejoin.step(met('c', 3)).map(show)).toEqual(['replace-state of c in life 3'])
})

test('a state that could not be had is taken of whoever comes next', () => {
  const rejoin = make({ phase: 'saved', identity: lifeOf(2), accepted: 0 })
  rejoin.step(met('b', 2))
  expect(rejoin.step({ type: 'retry' })).toEqual([])
  expect(rejoin.step({ type: 'state-failed' })).toEqual([])
  expect(rejoin.step({ type: 'retry' }).map(show)).toEqual(['replace-state of b in life 2'])
  expect(rejoin.step({ type: 'state-failed' })).toEqual([])
  expect(rejoin.step({ type: 'lost', peer: 'b' })).toEqual([])
  expect(rejoin.step(met('c', 2)).map(show)).toEqual(['replace-state of c in life 2'])
})

describe('a crash at every point', () => {
  test('no op of the surplus is lost, and none is accepted into the old state', () => {
    const SURPLUS = ['x', 'y', 'z']
    /** Runs with a crash at the effects numbered in `crashes`, before or after they reached the disk. */
    const run = (crashes: ReadonlyMap<number, 'before' | 'after'>): void => {
      const disk = {
        state: 'old',
        aside: undefined as string[] | undefined,
        phase: undefined as RejoinPhase | undefined,
        accepted: [] as string[],
        life: lifeOf(1),
      }
      let performed = 0
      for (let process = 0; process <= crashes.size; process++) {
        const rejoin = new Rejoin({ own: disk.life, stored: disk.phase })
        const queue = [...rejoin.start(), ...rejoin.step(met('b', 2))]
        for (let effect = queue.shift(); effect; effect = queue.shift()) {
          const crash = crashes.get(performed++)
          if (crash === 'before') break
          let isLast = false
          if (effect.type === 'save-surplus') {
            expect(disk.state).toBe('old')
            disk.aside = SURPLUS
            disk.phase = effect.phase
          } else if (effect.type === 'replace-state') {
            expect(disk.aside).toBe(SURPLUS)
            disk.state = 'new'
            disk.life = effect.phase.identity
            disk.phase = effect.phase
          } else if (effect.type === 'accept-surplus') {
            expect(disk.state).toBe('new')
            const op = disk.aside![effect.from]
            if (op !== undefined) disk.accepted.push(op)
            isLast = effect.from + 1 >= SURPLUS.length
            disk.phase = { ...disk.phase!, accepted: effect.from + 1 }
          } else {
            disk.aside = undefined
            disk.phase = undefined
          }
          if (crash === 'after') break
          if (effect.type !== 'finished') queue.push(...rejoin.step({ type: 'stored', phase: disk.phase!, isLast }))
        }
      }
      expect([...new Set(disk.accepted)]).toEqual(SURPLUS)
      expect([disk.state, disk.aside, disk.phase]).toEqual(['new', undefined, undefined])
    }
    run(new Map())
    for (let first = 0; first < 6; first++) {
      for (const when of ['before', 'after'] as const) {
        run(new Map([[first, when]]))
        for (let second = first + 1; second < 9; second++)
          run(
            new Map([
              [first, when],
              [second, when],
            ]),
          )
      }
    }
  })
})
