import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ByteServer } from '../../test/fuzz/byte-server.js'
import { HonestRoom } from '../../test/fuzz/honest-room.js'
import { steps } from '../../test/fuzz/honest-steps.js'
import * as raw from '../../test/fuzz/update-bytes.js'
import { checkUpdate } from './check.js'
import { joinUpdates } from './join.js'
import { KnownState } from './known-state.js'
import { parseUpdate } from './parse.js'
import { Places } from './places.js'
import { indexUpdate } from './update-index.js'

const { of, text, update } = raw

test('what a document is known to hold is the same from its updates one by one and from its bytes', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), steps(), (people, list) => {
      const server = new ByteServer()
      for (const { bytes } of new HonestRoom(people).play(list).messages) server.receive(bytes, 'update')
      const { known, joined } = server
      for (const other of [
        KnownState.of(joined),
        KnownState.of(indexUpdate(joined)),
        KnownState.decode(known.encode()),
        known.copy(),
      ]) {
        expect(other.clocks.encode()).toEqual(known.clocks.encode())
        expect([...other.deleted]).toEqual([...known.deleted])
        expect([...other.roots].sort()).toEqual([...known.roots].sort())
        expect(other.roots.length).toBe(known.roots.length)
        expect(other.places.isFlat).toBe(known.places.isFlat)
        for (const [client, clock] of known.clocks.entries()) {
          for (let at = 0; at < clock; at++) expect(other.places.get(client, at)).toBe(known.places.get(client, at))
        }
      }
    }),
    { numRuns: 60 },
  )
}, 60_000)

test('a copy does not change with its original', () => {
  const known = KnownState.of(of(text('a')))
  const copy = known.copy()
  known.clocks.advance(9, 5)
  known.deleted.add(9, 0, 1)
  known.places.add(9, 4, 2)
  known.roots.addAll(['more'])
  expect([copy.clocks.get(9), copy.deleted.includes(9, 0), copy.places.isFlat]).toEqual([1, false, true])
  expect([...copy.roots]).toEqual(['text'])
})

test('what was written before roots were counted can be read', () => {
  const known = KnownState.of(of(text('a')))
  const roots = known.roots.encode().length
  const { clocks, roots: read } = KnownState.decode(known.encode().slice(0, -(roots + 1)))
  expect([clocks.get(9), read.size]).toEqual([1, 0])
})

test('structs that are deleted ones are known to be, without a delete set', () => {
  const bytes = of(text('ab'), raw.gc(2), text('c', { origin: [9, 1] }), raw.deleted(1, { origin: [9, 4] }))
  expect([...KnownState.of(bytes).deleted]).toEqual([
    [9, 2, 2],
    [9, 5, 1],
  ])
})

test('an item lies where its left neighbour lies, else where its right one does, else in its parent', () => {
  const bytes = update([
    {
      client: 9,
      clock: 0,
      structs: [
        text('root'),
        raw.type(1, { parent: 'list' }),
        raw.any([[126]], { parent: [9, 4], key: 'k' }),
        raw.type(0, { origin: [1, 0], right: [9, 0] }),
        text('in', { parent: [9, 6] }),
        text('end', { origin: [9, 3] }),
      ],
    },
    { client: 1, clock: 0, structs: [raw.any([[126]], { right: [9, 5] })] },
  ])
  const places = Places.of(indexUpdate(bytes))
  // Twice the types around, plus one for the value of a key.
  expect([0, 3, 4, 5, 6, 7, 8, 9, 11].map((clock) => places.get(9, clock))).toEqual([0, 0, 0, 3, 3, 4, 4, 0, 0])
  expect(places.get(1, 0)).toBe(3)
  expect(places.size).toBe(4)
})

test('what is collected lies nowhere, also where a part of it was known alive', () => {
  const first = of(raw.type(1), raw.any([[126]], { parent: [9, 0], key: 'k' }))
  const known = KnownState.of(first)
  const rest = update([{ client: 9, clock: 1, structs: [raw.gc(3), text('x', { parent: 'text' })] }])
  const checked = checkUpdate(parseUpdate(rest), known, 'update')
  known.add(checked)
  const joined = joinUpdates(first, checked.type === 'new' ? [checked.update] : [])
  for (const state of [known, KnownState.of(joined)]) {
    expect([0, 1, 2, 3, 4].map((clock) => state.places.get(9, clock))).toEqual([0, 3, 0, 0, 0])
  }
})

test('a document of text at the top keeps no places, one of paragraphs a few runs each', () => {
  const typed = of(...Array.from({ length: 500 }, (_, at) => text('a', at === 0 ? {} : { origin: [9, at - 1] })))
  expect(Places.of(indexUpdate(typed)).isFlat).toBe(true)
  const paragraphs = Array.from({ length: 500 }, (_, at) => [
    raw.type(3, at === 0 ? { parent: 'xml' } : { origin: [9, 12 * (at - 1)] }, 'p'),
    raw.type(6, { parent: [9, 12 * at] }),
    text('words in it'.slice(0, 10), { parent: [9, 12 * at + 1] }),
  ])
  const places = Places.of(indexUpdate(of(...paragraphs.flat())))
  expect(places.size).toBeLessThanOrEqual(1_500)
  expect(places.byteSize).toBeLessThanOrEqual(1_500 * 12)
})
