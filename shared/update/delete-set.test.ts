import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { type DeleteRange, DeleteSet } from './delete-set.js'
import { CLOCK_LIMIT } from './limits.js'

/** The slow, obvious version: every deleted id by itself. */
class Model {
  readonly ids = new Set<string>()

  add(client: number, clock: number, length: number): void {
    for (let at = clock; at < clock + length; at++) this.ids.add(`${client}/${at}`)
  }

  ranges(): number[][] {
    const ids = [...this.ids].map((id) => id.split('/').map(Number) as [number, number])
    ids.sort((left, right) => right[0] - left[0] || left[1] - right[1])
    const ranges: number[][] = []
    for (const [client, clock] of ids) {
      const last = ranges.at(-1)
      if (last && last[0] === client && last[1]! + last[2]! === clock) last[2]!++
      else ranges.push([client, clock, 1])
    }
    return ranges
  }
}

const range: fc.Arbitrary<DeleteRange> = fc.tuple(fc.nat(2), fc.nat(60), fc.nat(8))
const ranges = fc.array(range, { maxLength: 40 })

const modelOf = (list: readonly DeleteRange[]): Model => {
  const model = new Model()
  for (const one of list) model.add(...one)
  return model
}

test('ranges added one by one, all at once or by merging are the same set, with as few ranges as possible', () => {
  fc.assert(
    fc.property(ranges, ranges, (left, right) => {
      const expected = modelOf([...left, ...right]).ranges()
      const single = new DeleteSet()
      for (const one of [...left, ...right]) single.add(...one)
      const bulk = new DeleteSet(left)
      bulk.addAll(right)
      const merged = new DeleteSet(left)
      merged.merge(new DeleteSet(right))
      const flat = DeleteSet.fromFlat([...left, ...right].flat())
      for (const set of [single, bulk, merged, flat, merged.copy()]) {
        expect([...set]).toEqual(expected)
        expect(set.size).toBe(expected.length)
      }
    }),
  )
})

test('includes and uncovered agree with the ids', () => {
  fc.assert(
    fc.property(ranges, range, (list, [client, clock, length]) => {
      const set = new DeleteSet(list)
      const model = modelOf(list)
      expect(set.includes(client, clock)).toBe(model.ids.has(`${client}/${clock}`))
      const missing = new Model()
      for (let at = clock; at < clock + length; at++) if (!model.ids.has(`${client}/${at}`)) missing.add(client, at, 1)
      expect(set.uncovered(client, clock, length).map(([at, size]) => [client, at, size])).toEqual(missing.ranges())
    }),
  )
})

test('a merged set shares no memory with its source', () => {
  const source = new DeleteSet([[1, 0, 2]])
  const target = new DeleteSet()
  target.merge(source)
  source.add(1, 2, 5)
  expect([...target]).toEqual([[1, 0, 2]])
})

test('the encoding is the one of Yjs, and any order of clients and ranges is read', () => {
  fc.assert(
    fc.property(ranges, (list) => {
      const set = new DeleteSet(list)
      const encoded = set.encode()
      const update = Uint8Array.of(0, ...encoded)
      const theirs = Y.decodeUpdate(update).ds.clients
      expect([...theirs].flatMap(([client, items]) => items.map((item) => [client, item.clock, item.len]))).toEqual([
        ...set,
      ])
      expect([...DeleteSet.decode(encoded)]).toEqual([...set])
      const unordered = Uint8Array.of(list.length, ...list.flatMap(([client, clock, size]) => [client, 1, clock, size]))
      expect([...DeleteSet.decode(unordered)]).toEqual([...set])
    }),
  )
})

test.each([
  ['no bytes', [], 'truncated'],
  ['a count of clients without bytes', [3, 0], 'count-exceeds-bytes'],
  ['a count of ranges without bytes', [1, 1, 9, 1, 1], 'count-exceeds-bytes'],
  ['a range beyond the clock limit', [1, 1, 1, 1, 255, 255, 255, 255, 7], 'clock-out-of-range'],
  ['trailing bytes', [0, 0], 'trailing-bytes'],
])('a delete set with %s is refused', (_, bytes, reason) => {
  expect(() => DeleteSet.decode(Uint8Array.from(bytes))).toThrow(
    expect.objectContaining({ code: 'document/bad-update', details: expect.objectContaining({ reason }) }),
  )
})

test('a range may end exactly at the clock limit', () => {
  const set = DeleteSet.decode(new DeleteSet([[1, CLOCK_LIMIT - 1, 1]]).encode())
  expect(set.includes(1, CLOCK_LIMIT - 1)).toBe(true)
})

test('100,000 scattered ranges cost at most 16 bytes each, in whatever order they came', () => {
  const count = 100_000
  const scattered = Array.from({ length: count }, (_, at): DeleteRange => [1, 4 * ((at * 7919) % count), 2])
  const bulk = new DeleteSet(scattered)
  const single = new DeleteSet()
  for (let at = 0; at < count; at++) single.add(1, 4 * at, 2)
  for (const set of [bulk, single]) {
    expect(set.size).toBe(count)
    expect(set.byteSize).toBeLessThanOrEqual(16 * count)
  }
})
