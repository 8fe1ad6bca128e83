import { createEncoder, toUint8Array, writeAny, writeUint8, writeVarString, writeVarUint } from 'lib0/encoding'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { NESTING_LIMIT } from './document-state.js'
import { fingerprint, fingerprintOf } from './fingerprint.js'
import { loadDocument } from './load.js'

const of = (...tail: Uint8Array[]): string => fingerprint({ snapshot: undefined, tail })

/** The update of one item with clock 0 of client 1; `content` follows its place (root `r`, and `key` for a map). */
function itemUpdate(
  ref: number,
  key: string | undefined,
  content: (encoder: ReturnType<typeof createEncoder>) => void,
) {
  const encoder = createEncoder()
  for (const number of [1, 1, 1, 0]) writeVarUint(encoder, number)
  writeUint8(encoder, ref | (key === undefined ? 0 : 0x20))
  writeVarUint(encoder, 1)
  writeVarString(encoder, 'r')
  if (key !== undefined) writeVarString(encoder, key)
  content(encoder)
  writeVarUint(encoder, 0)
  return toUint8Array(encoder)
}

const anyUpdate = (...values: unknown[]): Uint8Array =>
  itemUpdate(8, undefined, (encoder) => {
    writeVarUint(encoder, values.length)
    for (const value of values) writeAny(encoder, value as never)
  })
const embedUpdate = (json: string): Uint8Array => itemUpdate(5, undefined, (encoder) => writeVarString(encoder, json))

test('the fingerprint of a known document is known: another one asks for a new format line', () => {
  const doc = new Y.Doc()
  doc.clientID = 1
  doc.getText('text').insert(0, 'Grüße 👋', { bold: {} })
  doc.getText('text').delete(0, 1)
  const list = new Y.Array<unknown>()
  list.push([1, -0.5, null, true, { a: [1n] }, new Uint8Array([1, 2])])
  doc.getMap('map').set('list', list)
  doc.getXmlFragment('xml').insert(0, [new Y.XmlElement('p')])
  expect(fingerprintOf(doc)).toBe('0fe5815031ab89854e93a326e55bcd6c')
})

test.each([
  ['the order of object keys', anyUpdate({ a: 1, b: 2 }), anyUpdate({ b: 2, a: 1 })],
  ['the order of keys in an embed', embedUpdate('{"a":1,"b":2}'), embedUpdate('{"b":2,"a":1}')],
  ['the spelling of a number', embedUpdate('[100]'), embedUpdate('[1e2]')],
  ['a zero with a sign, which JSON does not write', embedUpdate('[-0]'), embedUpdate('[0]')],
  ['an infinity, which JSON writes as null', embedUpdate('[1e400]'), embedUpdate('[null]')],
])('the fingerprint ignores %s', (_what, one, other) => {
  expect(of(one)).toBe(of(other))
})

test.each([
  ['a value', anyUpdate(1), anyUpdate(2)],
  ['a number and its text', anyUpdate(1), anyUpdate('1')],
  ['a number and a bigint', anyUpdate(1), anyUpdate(1n)],
  ['null and undefined', anyUpdate(null), anyUpdate(undefined)],
  ['bytes and an array', anyUpdate(new Uint8Array([1])), anyUpdate([1])],
  ['where an array ends', anyUpdate([1], 2), anyUpdate([1, 2], 0)],
  ['an embed and a value', embedUpdate('1'), anyUpdate(1)],
  ['two texts cut elsewhere', anyUpdate('ab', 'c'), anyUpdate('a', 'bc')],
  ['a list and a map', anyUpdate(1), itemUpdate(8, 'k', (e) => [writeVarUint(e, 1), writeAny(e, 1)])],
  [
    'a nested map and array',
    itemUpdate(7, 'k', (e) => writeVarUint(e, 0)),
    itemUpdate(7, 'k', (e) => writeVarUint(e, 1)),
  ],
  [
    'the name of an element',
    itemUpdate(7, undefined, (e) => [writeVarUint(e, 3), writeVarString(e, 'p')]),
    itemUpdate(7, undefined, (e) => [writeVarUint(e, 3), writeVarString(e, 'q')]),
  ],
])('the fingerprint tells apart %s', (_what, one, other) => {
  expect(of(one)).not.toBe(of(other))
})

test('a map item of several units has one fingerprint, split or not', () => {
  const update = itemUpdate(4, 'k', (encoder) => writeVarString(encoder, 'abc'))
  const doc = loadDocument({ snapshot: update, tail: [] })
  doc.transact((transaction) => {
    Y.getItemCleanStart(transaction, Y.createID(1, 1))
    expect(doc.store.clients.get(1)).toHaveLength(2)
    expect(fingerprintOf(doc)).toBe(of(update))
  })
})

test('a key named __proto__ that decoding turned into a prototype is no key', () => {
  const withPrototype = itemUpdate(8, undefined, (encoder) => {
    writeVarUint(encoder, 1)
    writeUint8(encoder, 118)
    writeVarUint(encoder, 1)
    writeVarString(encoder, '__proto__')
    writeAny(encoder, { isAdmin: true })
  })
  expect(of(withPrototype)).toBe(of(anyUpdate({})))
})

test('roots that were only looked at do not count', () => {
  const doc = loadDocument({ snapshot: anyUpdate(1), tail: [] })
  doc.getMap('looked at')
  expect(fingerprintOf(doc)).toBe(of(anyUpdate(1)))
})

test('values nested deeper than any that we admit are refused, whatever the stack would bear', () => {
  const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
  expect(of(embedUpdate(nested(NESTING_LIMIT)))).toMatch(/^[0-9a-f]{32}$/)
  expect(() => of(embedUpdate(nested(NESTING_LIMIT + 2)))).toThrow(
    expect.objectContaining({ code: 'document/too-expensive' }),
  )
})
