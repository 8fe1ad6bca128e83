import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { ByteWriter } from '../base/byte-writer.js'
import { StateVector } from './state-vector.js'

const client = fc.oneof(fc.nat(5), fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.maxSafeNat())
const entry = fc.tuple(client, fc.oneof(fc.nat(200), fc.integer({ min: 1, max: 2 ** 31 - 1 })))

test('a state vector is written byte for byte as Yjs writes it, and read back', () => {
  fc.assert(
    fc.property(fc.array(entry), (entries) => {
      const vector = new StateVector(entries)
      const encoded = vector.encode()
      expect([...encoded]).toEqual([...Y.encodeStateVector(new Map(vector.entries()))])
      expect(new Map(StateVector.decode(encoded).entries())).toEqual(new Map(vector.entries()))
    }),
  )
})

test('entries for one client count by the largest, and a vector never goes back', () => {
  const vector = StateVector.decode(Uint8Array.of(3, 7, 5, 7, 9, 7, 2))
  expect([...vector.entries()]).toEqual([[7, 9]])
  vector.advance(7, 3)
  expect([vector.get(7), vector.get(8), vector.size]).toEqual([9, 0, 1])
})

test('a copy does not change with its original', () => {
  const vector = new StateVector([[1, 1]])
  const copy = vector.copy()
  vector.advance(1, 2)
  expect([copy.get(1), vector.get(1)]).toEqual([1, 2])
})

const tooMany = (): Uint8Array => {
  const writer = new ByteWriter()
  writer.varUint(1_000_001)
  writer.bytes(new Uint8Array(2_000_002))
  return writer.finish()
}

test.each([
  ['no bytes', Uint8Array.of(), 'state-vector-truncated'],
  ['a count without entries', Uint8Array.of(200, 1, 1, 1), 'state-vector-count-exceeds-bytes'],
  ['a count of 2^49', Uint8Array.of(255, 255, 255, 255, 255, 255, 127), 'state-vector-count-exceeds-bytes'],
  ['a count above 2^53', Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 127), 'state-vector-bad-varint'],
  ['an endless number', new Uint8Array(40).fill(255), 'state-vector-bad-varint'],
  ['a padded number', Uint8Array.of(1, 0x81, 0x00, 1), 'state-vector-bad-varint'],
  ['half an entry', Uint8Array.of(1, 1, 0x80), 'state-vector-truncated'],
  ['trailing bytes', Uint8Array.of(0, 0), 'state-vector-trailing-bytes'],
  ['more entries than the limit', tooMany(), 'state-vector-too-many-entries'],
])('a state vector with %s is refused', (_, bytes, reason) => {
  expect(() => StateVector.decode(bytes)).toThrow(
    expect.objectContaining({ code: 'protocol/bad-message', details: expect.objectContaining({ reason }) }),
  )
})

test('any bytes are a state vector or a typed error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        StateVector.decode(bytes)
      } catch (error) {
        expect(error).toMatchObject({ code: 'protocol/bad-message' })
      }
    }),
  )
})
