import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { readClocks } from './clocks.mjs'

const clients = [7, 300, 3_000_000_001]
const edits = fc.array(
  fc.record({ author: fc.nat(2), at: fc.nat(), text: fc.string({ maxLength: 4, unit: 'binary' }), deletes: fc.nat(3) }),
)

test('the ranges of an update are those of its structs, skips left out', () => {
  fc.assert(
    fc.property(edits, fc.infiniteStream(fc.boolean()), (list, keeps) => {
      const docs = clients.map((id) => Object.assign(new Y.Doc(), { clientID: id }))
      const updates = []
      for (const doc of docs) doc.on('update', (update) => updates.push(update))
      for (const { author, at, text, deletes } of list) {
        const content = docs[author].getText('text')
        content.insert(at % (content.length + 1), text)
        content.delete(at % (content.length + 1), Math.min(deletes, content.length - (at % (content.length + 1))))
      }
      const kept = updates.filter(() => keeps.next().value)
      if (kept.length === 0) return
      const merged = Y.mergeUpdates(kept)
      expect(ranges(merged)).toEqual(rangesByYjs(merged))
      for (const update of kept) expect(ranges(update)).toEqual(rangesByYjs(update))
    }),
  )
})

test('collected content counts as its clocks', () => {
  const doc = Object.assign(new Y.Doc(), { clientID: 5 })
  const text = doc.getText('text')
  text.insert(0, 'abcdef')
  text.delete(1, 3)
  expect(ranges(Y.encodeStateAsUpdate(doc))).toEqual(new Map([[5, [[0, 6]]]]))
})

test('content that the benchmark never writes is refused, not miscounted', () => {
  const doc = new Y.Doc()
  doc.getMap('map').set('key', { any: 'value' })
  expect(() => ranges(Y.encodeStateAsUpdate(doc))).toThrow(/never writes/)
})

/** `Map(client → [[from, to], …])`, neighbours joined. */
function ranges(update) {
  const padded = Buffer.concat([Buffer.from([1, 2, 3]), update])
  const found = []
  readClocks(padded, 3, padded.length, (client, from, to) => found.push([client, from, to]))
  return joined(found)
}

function rangesByYjs(update) {
  const { structs } = Y.decodeUpdate(update)
  const content = structs.filter((struct) => struct.constructor.name !== 'Skip')
  return joined(content.map(({ id, length }) => [id.client, id.clock, id.clock + length]))
}

function joined(found) {
  const byClient = new Map()
  for (const [client, from, to] of found) {
    const list = byClient.get(client) ?? []
    byClient.set(client, list)
    if (list.at(-1)?.[1] === from) list.at(-1)[1] = to
    else list.push([from, to])
  }
  return byClient
}
