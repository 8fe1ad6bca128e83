import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { ByteServer } from '../../test/fuzz/byte-server.js'
import { contentOf, HonestRoom } from '../../test/fuzz/honest-room.js'
import { steps } from '../../test/fuzz/honest-steps.js'
import * as raw from '../../test/fuzz/update-bytes.js'
import { AssertionError } from '../base/assert.js'
import { diffUpdate } from './diff.js'
import { joinIndexed, joinUpdates } from './join.js'
import { parseUpdate } from './parse.js'
import { StateVector } from './state-vector.js'
import { indexUpdate } from './update-index.js'

const { gc, text, update } = raw
const block = (client: number, clock: number, ...structs: Uint8Array[]): raw.RawBlock => ({ client, clock, structs })

test('joining puts bytes of one client behind each other, clients descending and deletes merged', () => {
  const base = update(
    [block(3, 0, text('ab')), block(1, 0, text('x'))],
    [
      [1, [[0, 1]]],
      [3, [[0, 1]]],
    ],
  )
  const tail = [
    update([block(3, 2, text('c', { origin: [3, 1] }))]),
    update([block(9, 0, gc(2))], [[3, [[1, 1]]]]),
    update([block(3, 3, text('d', { origin: [3, 2] })), block(1, 1, text('y', { origin: [1, 0] }))]),
  ]
  expect(joinUpdates(base, tail)).toEqual(
    update(
      [
        block(9, 0, gc(2)),
        block(3, 0, text('ab'), text('c', { origin: [3, 1] }), text('d', { origin: [3, 2] })),
        block(1, 0, text('x'), text('y', { origin: [1, 0] })),
      ],
      [
        [3, [[0, 2]]],
        [1, [[0, 1]]],
      ],
    ),
  )
  expect(joinUpdates(undefined, [])).toEqual(Uint8Array.of(0, 0))
})

test.each<[string, Uint8Array[]]>([
  ['a gap', [update([block(3, 0, text('ab'))]), update([block(3, 3, text('c'))])]],
  ['an overlap', [update([block(3, 0, text('ab'))]), update([block(3, 1, text('c'))])]],
  ['Skips', [update([block(3, 0, text('ab'), raw.skip(1))]), update([block(3, 3, text('c'))])]],
])('joining over %s is our own mistake', (_, updates) => {
  expect(() => joinUpdates(undefined, updates)).toThrow(AssertionError)
})

const history = fc.tuple(fc.integer({ min: 1, max: 5 }), steps(), fc.array(fc.nat(), { maxLength: 8 }))
type History = typeof history extends fc.Arbitrary<infer Value> ? Value : never

/** What is stored when some messages come early, and all in the end. */
function served([people, list, early]: History): ByteServer {
  const { messages } = new HonestRoom(people).play(list)
  const server = new ByteServer()
  if (messages.length > 0) for (const which of early) server.receive(messages[which % messages.length]!.bytes, 'update')
  for (const { bytes } of messages) server.receive(bytes, 'update')
  return server
}

test('joined updates are the document that applying them in order makes', () => {
  fc.assert(
    fc.property(history, fc.nat(), (played, cut) => {
      const { stored, reader, joined } = served(played)
      const whole = new Y.Doc()
      Y.applyUpdate(whole, joined)
      expect(contentOf(whole)).toEqual(contentOf(reader))
      expect(Y.encodeStateVector(whole)).toEqual(Y.encodeStateVector(reader))
      expect(Y.createDeleteSetFromStructStore(whole.store)).toEqual(Y.createDeleteSetFromStructStore(reader.store))
      expect(whole.store.pendingStructs ?? whole.store.pendingDs).toBeNull()
      // In one go or in two, with or without indexes: the same bytes, and an index that says where everything is.
      const head = cut % (stored.length + 1)
      const base = joinUpdates(undefined, stored.slice(0, head))
      if (stored.length > 1) expect(joinUpdates(base, stored.slice(head))).toEqual(joined)
      const index = joinIndexed([parseUpdate(base), ...stored.slice(head).map(indexUpdate)])
      expect(index).toMatchObject(indexUpdate(index.bytes))
      expect(parseUpdate(joined)).toMatchObject({ blocks: indexUpdate(joined).blocks, isPadded: false })
    }),
    { numRuns: 100 },
  )
}, 60_000)

test('a diff brings a document that stands at any of our own vectors to the whole', () => {
  fc.assert(
    fc.property(history, fc.nat(), (played, cut) => {
      const { stored, reader, joined } = served(played)
      const behind = new Y.Doc()
      const clocks = new StateVector()
      for (const bytes of stored.slice(0, cut % (stored.length + 1))) {
        Y.applyUpdate(behind, bytes)
        for (const { client, clockEnd } of indexUpdate(bytes).blocks) clocks.advance(client, clockEnd)
      }
      const diff = diffUpdate(joined, clocks)
      expect(diffUpdate(indexUpdate(joined), clocks)).toEqual(diff)
      expect(diff.length).toBeLessThanOrEqual(joined.length)
      for (const { client, clock } of parseUpdate(diff).blocks) expect(clock).toBe(clocks.get(client))
      Y.applyUpdate(behind, diff)
      expect(contentOf(behind)).toEqual(contentOf(reader))
      expect(Y.encodeStateVector(behind)).toEqual(Y.encodeStateVector(reader))
      expect(Y.createDeleteSetFromStructStore(behind.store)).toEqual(Y.createDeleteSetFromStructStore(reader.store))
    }),
    { numRuns: 100 },
  )
}, 60_000)

test('a diff against a vector that cuts structs anywhere holds what Yjs would send', () => {
  fc.assert(
    fc.property(history, fc.array(fc.nat(100), { minLength: 5, maxLength: 5 }), (played, percents) => {
      const { joined, reader } = served(played)
      const clocks = new StateVector(
        indexUpdate(joined).blocks.map(({ client, clockEnd }, at) => [
          client,
          Math.floor((clockEnd * percents[at]!) / 100),
        ]),
      )
      const diff = diffUpdate(joined, clocks)
      const theirs = Y.diffUpdate(joined, clocks.encode())
      const shape = (bytes: Uint8Array) =>
        Y.decodeUpdate(bytes).structs.map((struct) => [struct.id.client, struct.id.clock, struct.length])
      expect(shape(diff)).toEqual(shape(theirs))
      const ours = new Y.Doc()
      const other = new Y.Doc()
      // What lies below the vector comes afterwards.
      for (const [doc, part] of [
        [ours, diff],
        [other, theirs],
      ] as const) {
        Y.applyUpdate(doc, part)
        Y.applyUpdate(doc, joined)
      }
      expect(contentOf(ours)).toEqual(contentOf(other))
      expect(Y.encodeStateVector(ours)).toEqual(Y.encodeStateVector(reader))
    }),
    { numRuns: 100 },
  )
}, 60_000)

test('diffs of the pieces, joined, are the diff of what they join to', () => {
  fc.assert(
    fc.property(history, fc.nat(), fc.array(fc.nat(120), { minLength: 5, maxLength: 5 }), (played, cut, percents) => {
      const { stored, joined } = served(played)
      fc.pre(stored.length > 1)
      const head = 1 + (cut % (stored.length - 1))
      const pieces = [
        indexUpdate(joinUpdates(undefined, stored.slice(0, head))),
        ...stored.slice(head).map(indexUpdate),
      ]
      const clocks = new StateVector(
        indexUpdate(joined).blocks.map(({ client, clockEnd }, at) => [
          client,
          Math.floor((clockEnd * percents[at]!) / 100),
        ]),
      )
      const ofPieces = joinIndexed(pieces.map((piece) => indexUpdate(diffUpdate(piece, clocks))))
      expect(ofPieces.bytes).toEqual(diffUpdate(joined, clocks))
    }),
    { numRuns: 100 },
  )
})

test('a diff with nothing to leave out is the update itself, and one with nothing to send keeps the delete set', () => {
  const bytes = update([block(3, 0, text('ab'))], [[3, [[0, 1]]]])
  expect(diffUpdate(bytes, new StateVector())).toBe(bytes)
  expect(diffUpdate(bytes, new StateVector([[3, 7]]))).toEqual(update([], [[3, [[0, 1]]]]))
})
