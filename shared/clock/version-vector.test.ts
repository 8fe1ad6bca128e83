import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FrameReader } from '../protocol/frame-reader.js'
import { OpWriter } from '../protocol/op-writer.js'
import { makeOrigin, type OriginId } from './dot.js'
import {
  EMPTY_VECTOR,
  formatVector,
  maxVector,
  parseVector,
  readVector,
  sameVector,
  VECTOR_ENTRIES_LIMIT,
  type VersionVector,
  writeVector,
} from './version-vector.js'

const origin = fc
  .tuple(fc.constantFrom('a', 'a-b', 'b', 'z'.repeat(32)), fc.constantFrom(1, 2, 10, 2 ** 52))
  .map(([name, incarnation]) => makeOrigin(name, incarnation.toString(16).padStart(16, '0')))
const seq = fc.oneof(fc.integer({ min: 1, max: 200 }), fc.constant(Number.MAX_SAFE_INTEGER))
const vector: fc.Arbitrary<VersionVector> = fc
  .uniqueArray(fc.tuple(origin, seq), { selector: ([name]) => name })
  .map((entries) => new Map(entries))

const encode = (value: VersionVector): Uint8Array => {
  const out = new OpWriter()
  writeVector(out, value)
  return out.take()
}
const decode = (bytes: Uint8Array): VersionVector => {
  const reader = new FrameReader(bytes)
  const value = readVector(reader)
  if (reader.remaining > 0) throw new Error('trailing bytes')
  return value
}
const many = (count: number): VersionVector =>
  new Map(Array.from({ length: count }, (_, index) => [makeOrigin('a', index.toString(16).padStart(16, '0')), 1]))

describe('laws', () => {
  test('the maximum is commutative, associative, idempotent', () => {
    fc.assert(
      fc.property(vector, vector, vector, (a, b, c) => {
        expect(sameVector(maxVector(a, b), maxVector(b, a))).toBe(true)
        expect(sameVector(maxVector(maxVector(a, b), c), maxVector(a, maxVector(b, c)))).toBe(true)
        expect(sameVector(maxVector(a, a), a)).toBe(true)
        expect(sameVector(maxVector(a, EMPTY_VECTOR), a)).toBe(true)
      }),
    )
  })

  test('two vectors are the same when they have the same entries', () => {
    fc.assert(
      fc.property(vector, vector, (a, b) => {
        const text = (value: VersionVector) => JSON.stringify([...value].sort())
        expect(sameVector(a, b)).toBe(text(a) === text(b))
      }),
    )
  })
})

describe('text', () => {
  test('what was written is read', () => {
    fc.assert(
      fc.property(vector, (value) => {
        expect(sameVector(parseVector(formatVector(value)), value)).toBe(true)
      }),
    )
  })

  test('people see incarnations only where they are not current', () => {
    const [a, b, old] = ['a.7f03000000000000', 'b.0000000000000001', 'a.1234567800000000'] as OriginId[]
    const value = new Map([
      [b!, 1],
      [a!, 3],
      [old!, 9],
    ])
    expect(formatVector(value, new Set([a!, b!]))).toBe('a.1234:9 a:3 b:1')
  })

  test.each([
    'a:1',
    'a.7f03000000000000',
    'a.7f03000000000000:0',
    'a.7f03000000000000:01',
    'a.7f03000000000000:1:2',
    'a.7f03000000000000:9007199254740992',
    'a.7f03000000000000:1 a.7f03000000000000:2',
    'a.7f03000000000000:1  b.7f03000000000000:2',
    ' a.7f03000000000000:1',
    Array.from({ length: VECTOR_ENTRIES_LIMIT + 1 }, (_, index) => `a.${index.toString(16).padStart(16, '0')}:1`).join(
      ' ',
    ),
  ])('%s is refused', (text) => {
    expect(() => parseVector(text)).toThrow(expect.objectContaining({ code: 'request/invalid' }))
  })

  test('as many entries as the limit says are read', () => {
    expect(parseVector(formatVector(many(VECTOR_ENTRIES_LIMIT))).size).toBe(VECTOR_ENTRIES_LIMIT)
  })
})

describe('bytes', () => {
  test('what was written is read, and one vector has one spelling', () => {
    fc.assert(
      fc.property(vector, (value) => {
        expect(sameVector(decode(encode(value)), value)).toBe(true)
        expect(encode(new Map([...value].reverse()))).toEqual(encode(value))
      }),
    )
  })

  test('whatever is read is written the same way: no second spelling is accepted', () => {
    fc.assert(
      fc.property(vector, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, at, flip) => {
        const bytes = encode(value)
        bytes[at % bytes.length]! ^= flip
        let read: VersionVector
        try {
          read = decode(bytes)
        } catch {
          return
        }
        // Numbers may be padded; lengths and order may not change what is meant.
        expect(sameVector(decode(encode(read)), read)).toBe(true)
      }),
    )
  })

  test('cut bytes are refused', () => {
    fc.assert(
      fc.property(vector, fc.nat(), (value, at) => {
        const bytes = encode(value)
        const cut = bytes.subarray(0, at % bytes.length)
        expect(() => decode(cut)).toThrow(expect.objectContaining({ code: 'protocol/bad-message' }))
      }),
    )
  })

  test('more entries than the limit are neither written nor read', () => {
    expect(decode(encode(many(VECTOR_ENTRIES_LIMIT))).size).toBe(VECTOR_ENTRIES_LIMIT)
    expect(() => encode(many(VECTOR_ENTRIES_LIMIT + 1))).toThrow(
      expect.objectContaining({ code: 'cell/too-many-lineages' }),
    )
    const bytes = encode(many(VECTOR_ENTRIES_LIMIT))
    const at = 3
    expect([bytes[at], bytes[at + 1]]).toEqual([0x80, 0x02])
    bytes[at] = 0x81
    expect(() => decode(bytes)).toThrow(expect.objectContaining({ details: { reason: 'too many entries' } }))
  })

  test.each([
    ['names twice', [2, 1, 97, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 97, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1]],
    ['an incarnation twice', [1, 1, 97, 2, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]],
    ['a name without entries', [1, 1, 97, 0]],
    ['a name of capitals', [1, 1, 65, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]],
    ['an empty name', [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]],
    ['seq 0', [1, 1, 97, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]],
  ])('%s is refused', (_, bytes) => {
    expect(() => decode(Uint8Array.from(bytes))).toThrow(expect.objectContaining({ code: 'protocol/bad-message' }))
  })
})
