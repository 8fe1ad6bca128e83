import { expect, test } from 'vitest'
import { vectorOf } from '../../test/support/causal-text.js'
import { Acknowledgements } from './acknowledgements.js'

function world() {
  const told: string[] = []
  const reached = { seq: 0, seen: 0 }
  const acknowledgements = new Acknowledgements({
    size: 3,
    reachedSeq: () => reached.seq,
    isReached: (seen) => [...seen.values()][0]! <= reached.seen,
  })
  const write = (lane: object, seq: number): void =>
    acknowledgements.addSeq(seq, 'majority', lane, () => told.push(`write ${seq}`))
  const look = (lane: object, seq: number): void =>
    acknowledgements.addVector(vectorOf(`a1:${seq}`), 'majority', lane, () => told.push(`look ${seq}`))
  return { told, reached, acknowledgements, write, look }
}

test('[DU2] nothing is acknowledged before it has reached its concern, and then all of it, once', () => {
  const { told, reached, acknowledgements, write, look } = world()
  for (const seq of [1, 2, 3]) write(told, seq)
  look(told, 2)
  acknowledgements.advance()
  expect(told).toEqual([])
  Object.assign(reached, { seq: 2, seen: 1 })
  acknowledgements.advance()
  expect(told).toEqual(['write 1', 'write 2'])
  Object.assign(reached, { seq: 3, seen: 2 })
  acknowledgements.advance()
  acknowledgements.advance()
  expect(told).toEqual(['write 1', 'write 2', 'write 3', 'look 2'])
  expect(acknowledgements.size).toBe(0)
})

test('while others cannot be reached, what is kept is bounded by who is there', () => {
  const { told, reached, acknowledgements, write, look } = world()
  const [stays, ...leave] = Array.from({ length: 50 }, () => ({}))
  write(stays!, 1)
  for (const [index, lane] of leave.entries()) {
    write(lane, index + 2)
    look(lane, index + 2)
    acknowledgements.forget(lane, 2)
    expect(acknowledgements.size).toBeLessThan(6)
  }
  Object.assign(reached, { seq: 100, seen: 100 })
  acknowledgements.advance()
  expect(told).toContain('write 1')
})
