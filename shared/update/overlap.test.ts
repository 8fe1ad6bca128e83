import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { ByteServer } from '../../test/fuzz/byte-server.js'
import { HonestRoom } from '../../test/fuzz/honest-room.js'
import { steps } from '../../test/fuzz/honest-steps.js'
import * as raw from '../../test/fuzz/update-bytes.js'
import type { ClockRange } from './check.js'
import { contentAgrees } from './overlap.js'
import { parseUpdate } from './parse.js'

const { gc, of, text, update } = raw
const str = (value: string): number[] => [...raw.sizedText(value)]
const float64 = (value: number): number[] => [...new Uint8Array(new Float64Array([value]).buffer)].reverse()
const all = (bytes: Uint8Array): ClockRange[] =>
  parseUpdate(bytes).blocks.map(({ client, clock, clockEnd }) => [client, clock, clockEnd])

test.each<[string, Uint8Array, Uint8Array]>([
  ['the same bytes', of(text('abc')), of(text('abc'))],
  [
    'an item and its parts',
    of(text('abcd', { right: [1, 2] })),
    of(text('ab', { right: [1, 2] }), text('cd', { origin: [9, 1], right: [1, 2] })),
  ],
  ['what was collected and what it was', of(gc(3)), of(text('a'), raw.type(1, { origin: [9, 0] }), text('b'))],
  ['what was deleted and what it was', of(raw.deleted(3)), of(text('abc', { parent: 'other' }))],
  ['deleted inside', of(text('a'), raw.deleted(1, { origin: [9, 0] }), text('c', { origin: [9, 1] })), of(text('abc'))],
  ['split and whole surrogate pairs', of(text('a\ufffd\ufffdb')), of(text('a😀b'))],
  [
    'half a surrogate pair, the rest deleted',
    of(text('a\ufffd'), raw.deleted(2, { origin: [9, 1] })),
    of(text('a😀b')),
  ],
  [
    'keys in another order',
    of(raw.any([[118, 2, ...str('a'), 120, ...str('b'), 117, 1, 126]])),
    of(raw.any([[118, 2, ...str('b'), 117, 1, 126, ...str('a'), 120]])),
  ],
  ['a number in another form', of(raw.any([[125, 5]])), of(raw.any([[123, ...float64(5)]]))],
  ['no number', of(raw.any([[123, ...float64(Number.NaN)]])), of(raw.any([[124, 0x7f, 0xc0, 0, 1]]))],
  ['JSON written otherwise', of(raw.embed('{"a":1,"b":[2]}')), of(raw.embed(' {"b":[2.0], "a":1e0} '))],
  [
    'JSON values split',
    of(raw.json(['1', 'undefined'])),
    of(raw.json(['1']), raw.json(['undefined'], { origin: [9, 0] })),
  ],
  ['formats', of(raw.format('bold', 'true')), of(raw.format('bold', ' true'))],
  [
    'options of a subdocument',
    of(raw.subdocument('a', [118, 0])),
    of(raw.subdocument('a', [118, 1, ...str('gc'), 121])),
  ],
  [
    'the flag of a map key where nothing else is said',
    of(raw.any([[120]], { origin: [1, 1], key: 'ignored' })),
    of(raw.any([[120]], { origin: [1, 1] })),
  ],
])('content agrees: %s', (_, left, right) => {
  expect(contentAgrees(left, right, all(left))).toBe(true)
  expect(contentAgrees(right, left, all(left))).toBe(true)
})

test.each<[string, Uint8Array, Uint8Array]>([
  ['another text', of(text('abc')), of(text('abd'))],
  ['another text behind a split', of(text('abcd')), of(text('ab'), text('ce', { origin: [9, 1] }))],
  ['another half of a surrogate pair', of(text('a😀')), of(text('a😁'))],
  ['another content', of(text('a')), of(raw.any([[119, 1, 97]]))],
  ['another origin', of(text('a', { origin: [1, 1] })), of(text('a', { origin: [1, 2] }))],
  ['no origin', of(text('a', { origin: [1, 1], right: [1, 2] })), of(text('a', { right: [1, 2] }))],
  ['another right origin', of(text('a', { right: [1, 1] })), of(text('a', { right: [2, 1] }))],
  ['another origin inside', of(text('ab')), of(text('a'), text('b', { origin: [1, 0] }))],
  ['another root', of(text('a', { parent: 'x' })), of(text('a', { parent: 'y' }))],
  ['another parent', of(text('a', { parent: [1, 1] })), of(text('a', { parent: [1, 2] }))],
  ['a root instead of a parent', of(text('a', { parent: [1, 1] })), of(text('a', { parent: 'x' }))],
  ['another map key', of(text('a', { key: 'x' })), of(text('a', { key: 'y' }))],
  ['no map key', of(text('a', { key: '' })), of(text('a'))],
  ['another value', of(raw.any([[126]])), of(raw.any([[127]]))],
  ['another value inside', of(raw.any([[117, 2, 120, 121]])), of(raw.any([[117, 2, 120, 120]]))],
  ['one value more', of(raw.any([[117, 1, 120]])), of(raw.any([[117, 2, 120, 120]]))],
  ['another key inside', of(raw.any([[118, 1, 1, 97, 120]])), of(raw.any([[118, 1, 1, 98, 120]]))],
  ['an array instead of an object', of(raw.any([[118, 0]])), of(raw.any([[117, 0]]))],
  ['other bytes', of(raw.binary([1, 2])), of(raw.binary([1, 3]))],
  ['another embed', of(raw.embed('{"a":[1,{"b":2}]}')), of(raw.embed('{"a":[1,{"b":3}]}'))],
  ['another format', of(raw.format('bold', 'true')), of(raw.format('bold', 'false'))],
  ['another format name', of(raw.format('bold', 'true')), of(raw.format('bald', 'true'))],
  ['another type', of(raw.type(0)), of(raw.type(1))],
  ['another element', of(raw.type(3, {}, 'p')), of(raw.type(3, {}, 'b'))],
  ['another subdocument', of(raw.subdocument('a', [118, 0])), of(raw.subdocument('b', [118, 0]))],
])('content disagrees: %s', (_, left, right) => {
  expect(contentAgrees(left, right, all(left))).toBe(false)
  expect(contentAgrees(right, left, all(left))).toBe(false)
})

const deletes = (client: number, clock: number, length: number) => [[client, [[clock, length]]]] as const

test.each<[string, Uint8Array, Uint8Array, number, boolean]>([
  // stored, received, doubtful from, agrees?
  ['text shown where others brought collected structs', of(gc(3)), of(text('abc')), 0, false],
  ['text shown where others brought deleted structs', of(raw.deleted(3)), of(text('abc')), 0, false],
  ['text shown in part of it', of(text('a'), gc(2)), of(text('abc')), 2, false],
  ['text shown before it', of(gc(2), text('c', { origin: [9, 1] })), of(text('abc')), 2, true],
  ['the same text', of(text('abc')), of(text('abc')), 0, true],
  ['another text', of(text('abc')), of(text('abd')), 0, false],
  ['text that its sender has collected', of(text('abc')), of(gc(3)), 0, true],
  ['what is collected on both sides', of(gc(3)), of(gc(1), gc(2)), 0, true],
  [
    'text that its sender has deleted and kept',
    of(gc(3)),
    update([{ client: 9, clock: 0, structs: [text('abc')] }], deletes(9, 0, 3)),
    0,
    true,
  ],
  [
    'text of which its sender has deleted a part',
    of(gc(3)),
    update([{ client: 9, clock: 0, structs: [text('abc')] }], deletes(9, 0, 2)),
    0,
    false,
  ],
])('[DU3] %s', (_, stored, received, from, expected) => {
  expect(contentAgrees(stored, received, all(received), new Map([[9, from]]))).toBe(expected)
})

test('only the ranges given are compared, and those of several clients', () => {
  const stored = update([
    { client: 9, clock: 0, structs: [text('abcdef')] },
    { client: 3, clock: 0, structs: [text('xyz')] },
  ])
  const received = update([
    { client: 9, clock: 1, structs: [text('bXd', { origin: [9, 0] }), raw.skip(1), text('f', { origin: [9, 4] })] },
    { client: 3, clock: 2, structs: [text('Z', { origin: [3, 1] })] },
  ])
  expect(
    contentAgrees(stored, received, [
      [9, 1, 2],
      [9, 3, 4],
      [9, 5, 6],
    ]),
  ).toBe(true)
  expect(
    contentAgrees(stored, received, [
      [9, 1, 2],
      [9, 2, 4],
    ]),
  ).toBe(false)
  expect(
    contentAgrees(stored, received, [
      [9, 1, 2],
      [3, 2, 3],
    ]),
  ).toBe(false)
  expect(contentAgrees(stored, received, [])).toBe(true)
})

test('content that honest people repeat always agrees, whatever they have collected, split, merged or undone', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), steps(), fc.nat(), (people, list, cut) => {
      const room = new HonestRoom(people).play(list)
      const server = new ByteServer()
      const check = (bytes: Uint8Array, mode: 'update' | 'step2') => {
        const { joined } = server
        const checked = server.receive(bytes, mode)
        if (checked.type !== 'gap') expect(contentAgrees(joined, bytes, checked.overlaps)).toBe(true)
      }
      for (const { bytes } of room.messages.slice(0, cut % (room.messages.length + 1))) check(bytes, 'update')
      for (const { doc } of room.people) check(Y.encodeStateAsUpdate(doc), 'step2')
      for (const { bytes } of room.messages) check(bytes, 'update')
      room.settle()
      for (const { doc } of room.people) check(Y.encodeStateAsUpdate(doc), 'step2')
      check(Y.encodeStateAsUpdate(server.reader), 'step2')
      check(Y.mergeUpdates(room.messages.map(({ bytes }) => bytes)), 'step2')
    }),
    { numRuns: 150 },
  )
}, 60_000)

test('a changed letter, value or place in what is repeated is always found', () => {
  fc.assert(
    fc.property(fc.nat(40), fc.nat(40), fc.constantFrom('b', 'é', '😀'), fc.boolean(), (at, from, letter, gcOn) => {
      const doc = new Y.Doc({ gc: gcOn })
      doc.clientID = 9
      const honest = doc.getText('text')
      honest.insert(0, 'a'.repeat(20))
      honest.insert(at % 21, 'a'.repeat(20))
      const twin = new Y.Doc()
      twin.clientID = 9
      const lying = twin.getText('text')
      lying.insert(0, 'a'.repeat(20))
      const wrong = from % 19
      lying.insert(at % 21, `${'a'.repeat(wrong)}${letter}${'a'.repeat(20 - wrong - letter.length)}`)
      const stored = Y.encodeStateAsUpdate(doc)
      const received = Y.encodeStateAsUpdate(twin)
      expect(contentAgrees(stored, received, all(received))).toBe(false)
      // Once those units are deleted nobody can tell, and nothing is reported.
      honest.delete(0, 40)
      expect(contentAgrees(Y.encodeStateAsUpdate(doc), received, all(received))).toBe(gcOn)
    }),
  )
})
