import { expect, test } from 'vitest'
import { type Receiving, ReceivingBodies } from './receiving.js'

function bodies(limitBytes: number) {
  const all = new ReceivingBodies(limitBytes)
  const given: string[] = []
  const begin = (name: string): Receiving => {
    const body = { bytes: 0, giveUp: () => given.push(name) }
    all.begin(body)
    return body
  }
  return { all, given, begin }
}

test('where too much is being received, the largest goes, not who comes last', () => {
  const { all, given, begin } = bodies(100)
  const [large, small] = [begin('large'), begin('small')]
  all.grow(large, 80)
  all.grow(small, 15)
  expect(given).toEqual([])
  all.grow(small, 6)
  expect(given).toEqual(['large'])
  all.grow(begin('next'), 79)
  expect(given).toEqual(['large'])
})

test('what has ended makes room, and ends once', () => {
  const { all, given, begin } = bodies(100)
  const first = begin('first')
  all.grow(first, 90)
  all.end(first)
  all.end(first)
  all.grow(begin('second'), 100)
  expect(given).toEqual([])
})

test('a body beyond all by itself is the one that goes', () => {
  const { all, given, begin } = bodies(100)
  all.grow(begin('small'), 50)
  all.grow(begin('huge'), 101)
  expect(given).toEqual(['huge'])
})
